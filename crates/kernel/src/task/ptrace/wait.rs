//! What wait4(2) and waitid(2) find of tracees: their stops, and the end of those that are no children.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use abi::signal::SigInfo;

use super::Stop;
use crate::signal;
use crate::task::{Process, Task, family};

/// The end of a tracee that its tracer has not been told of: a thread that isn't a leader, or somebody else's child.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// Its number.
    pub tid: i32,
    /// Its process group.
    pub pgrp: i32,
    /// Its user.
    pub uid: u32,
    /// As wait4 has it.
    pub status: i32,
}

/// A tracee's news: who, its user, the wait status, whether it has ended.
pub struct News {
    /// Its number.
    pub tid: i32,
    /// Its user.
    pub uid: u32,
    /// As wait4 has it.
    pub status: i32,
    /// For its counters.
    pub task: Option<Arc<Task>>,
}

/// The first news of a tracee of `process` that `wanted` (number, group) picks; `keep` leaves it there. The second part:
/// whether there are such tracees at all.
pub fn take(
    process: &Process,
    wanted: impl Fn(i32, i32) -> bool,
    exits: bool,
    keep: bool,
) -> (Option<News>, bool) {
    let tracees = process.tracees.lock().clone();
    let mut any = false;
    for task in &tracees {
        if !wanted(task.tid(), task.process.pgrp()) {
            continue;
        }
        any = true;
        let code = {
            let mut state = task.ptrace.state.lock();
            let fresh = |s: &&mut Stop| !s.reported && s.resumed.is_none();
            state.stop.as_mut().filter(fresh).map(|stop| {
                stop.reported = !keep;
                stop.code
            })
        };
        if let Some(code) = code {
            let status = (code << 8 | 0x7f) as i32;
            let news = News { tid: task.tid(), uid: task.cred().uid, status, task: Some(task.clone()) };
            return (Some(news), true);
        }
    }
    let mut ended = process.tracees_ended.lock();
    let at = ended.iter().position(|e| wanted(e.tid, e.pgrp));
    any |= at.is_some();
    let news = at.filter(|_| exits).map(|at| {
        let e = if keep { ended[at] } else { ended.remove(at) };
        News { tid: e.tid, uid: e.uid, status: e.status, task: None }
    });
    (news, any)
}

/// Leaves news of a tracee's end for its tracer, unless that is its parent and hears of it anyway.
pub(super) fn tell_end(task: &Arc<Task>) {
    let Some(tracer) = task.ptrace.state.lock().tracer_process.upgrade() else { return };
    let own = task.process.parent().is_some_and(|p| Arc::ptr_eq(&p, &tracer));
    if task.is_group_leader() && own {
        return;
    }
    let whole = task.is_group_leader() || task.process.group_exit.load(Ordering::SeqCst);
    let status = if whole { &task.process.exit_code } else { &task.exit_code };
    let status = status.load(Ordering::SeqCst);
    let uid = task.cred().uid;
    let ended = Ended { tid: task.tid(), pgrp: task.process.pgrp(), uid, status };
    tracer.tracees_ended.lock().push(ended);
    let (code, value) = family::exit_reason(status);
    if task.is_group_leader() {
        signal::send_process(&tracer, SigInfo::chld(code, task.tid(), uid, value, 0, 0));
    }
    tracer.wait_chldexit.wake_all();
}

/// A thread ends: whom it traces, and who traces it, hear of it.
pub fn thread_ended(task: &Arc<Task>) {
    super::tracer_exits(task);
    if !task.is_group_leader() {
        super::tracee_exits(task);
    }
}
