//! What wait4(2) and waitid(2) find of tracees: their stops, and the end of those that are no children.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use abi::signal::SigInfo;

use super::Stop;
use crate::signal;
use crate::task::{Process, Task, family};

/// The end of a tracee that its tracer has not been told of: a thread that isn't a leader, or somebody else's child.
#[derive(Clone)]
pub struct Ended {
    /// Its number.
    pub tid: i32,
    /// Its process group.
    pub pgrp: i32,
    /// Its user.
    pub uid: u32,
    /// As wait4 has it.
    pub status: i32,
    /// The process, whose parent hears of it only afterwards; none of a thread.
    pub process: Option<Arc<Process>>,
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
    /// The process that has ended, and whether its parent is to hear of it now.
    pub ended: Option<(Arc<Process>, bool)>,
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
            let news =
                News { tid: task.tid(), uid: task.cred().uid, status, task: Some(task.clone()), ended: None };
            return (Some(news), true);
        }
    }
    let mut ended = process.tracees_ended.lock();
    let at = ended.iter().position(|e| wanted(e.tid, e.pgrp));
    any |= at.is_some();
    let news = at.filter(|_| exits).map(|at| {
        let e = if keep { ended[at].clone() } else { ended.remove(at) };
        News { tid: e.tid, uid: e.uid, status: e.status, task: None, ended: e.process.map(|p| (p, !keep)) }
    });
    (news, any)
}

/// A process that has ended hears of its tracees no more: their parents do.
pub fn forget_ended(process: &Process) {
    let ended = {
        let mut ended = process.tracees_ended.lock();
        process.traces_no_more.store(true, Ordering::SeqCst);
        core::mem::take(&mut *ended)
    };
    ended.into_iter().filter_map(|e| e.process).for_each(|p| family::tracer_has_heard(&p, None));
}

/// Leaves news of a tracee's end for its tracer, unless that is its parent and hears of it anyway. The parent of a process
/// hears of it after the tracer.
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
    let process = task.is_group_leader().then(|| task.process.clone());
    let news = Ended { tid: task.tid(), pgrp: task.process.pgrp(), uid, status, process };
    {
        let mut ended = tracer.tracees_ended.lock();
        if tracer.traces_no_more.load(Ordering::SeqCst) {
            return;
        }
        task.process.held.store(task.is_group_leader(), Ordering::SeqCst);
        ended.push(news);
    }
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
