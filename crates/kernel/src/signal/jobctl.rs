//! Job control: stopping and continuing whole processes, telling the parent.
//!
//! A stop signal marks every thread. Each that sees its mark sleeps; the last one completes the stop and tells the
//! parent. SIGCONT, at the moment it is sent, undoes all of it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use abi::signal::{CLD_CONTINUED, CLD_STOPPED, SA_NOCLDSTOP, SIG_IGN, SIGCHLD, SIGCONT, SigInfo};
use abi::time::{NSEC_PER_SEC, USER_HZ};
use abi::wait::{W_CONTINUED, w_stopcode};

use super::{recalc, send};
use crate::sched::schedule;
use crate::task::{Process, Task, TaskState, pid};

/// Job control of a process. Its lock is also the signal lock.
#[derive(Default)]
pub struct GroupStop {
    /// The signal that stopped it, once every thread has stopped; 0 when it runs.
    pub signal: u32,
    /// The wait status (`w_stopcode`, `W_CONTINUED`) of a change that wait4(2) has not yet taken.
    pub notify: Option<u32>,
    /// The signal of a stop that is under way; 0 for none.
    pending: u32,
    /// Threads that still have to stop.
    left: usize,
    /// CLD_* that a thread of this process has to tell the parent, because the sender of SIGCONT could not; 0 for none.
    tell: i32,
}

impl GroupStop {
    /// Whether a thread that is about to run has something to do here.
    pub(super) fn concerns(&self, task: &Task) -> bool {
        // A tracee has told its tracer, and runs if that wants it.
        (self.signal != 0 && !task.ptrace.is_traced()) || self.tell != 0
    }

    /// The signal of a stop that is complete or under way; 0 for none.
    pub fn stop_signal(&self) -> u32 {
        self.signal.max(self.pending)
    }
}

/// What SIGCONT does when it is sent. The caller holds `Process::threads` and the signal lock.
pub(super) fn cancel_stop(threads: &[Arc<Task>], group: &mut GroupStop) {
    for thread in threads {
        let mut signal = thread.signal.lock();
        signal.state.stop_pending = false;
        signal.state.stop_dequeued = false;
    }
    if group.signal != 0 || group.pending != 0 {
        group.tell = if group.signal != 0 { CLD_CONTINUED } else { CLD_STOPPED };
        *group = GroupStop { notify: Some(W_CONTINUED as u32), tell: group.tell, ..GroupStop::default() };
        for thread in threads {
            crate::task::ptrace::group_continued(thread);
            thread.notify_work();
        }
    }
    for thread in threads {
        thread.wake_if(|s| s == TaskState::Stopped);
    }
}

/// Tells the parent what the sender of SIGCONT left to this process. Answers whether there was something.
pub(super) fn tell_parent(process: &Process) -> bool {
    let code = core::mem::take(&mut process.stop.lock().tell);
    if code != 0 {
        notify_parent(process, code, SIGCONT);
    }
    code != 0
}

/// Begins a stop by `sig`, which the current task has just taken. SIGCONT since then makes it nothing.
pub(super) fn begin_stop(task: &Task, sig: u32) {
    let threads = task.process.threads.lock();
    let mut group = task.process.stop.lock();
    if !core::mem::take(&mut task.signal.lock().state.stop_dequeued)
        || task.process.group_exit.load(Ordering::SeqCst)
    {
        return;
    }
    // A thread that was born into a stopped process only joins the others.
    if group.pending == 0 && group.signal == 0 {
        group.pending = sig;
        group.left = 0;
        for thread in threads.iter() {
            let mut signal = thread.signal.lock();
            if signal.state.exiting {
                continue;
            }
            signal.state.stop_pending = true;
            drop(signal);
            group.left += 1;
            if !core::ptr::eq(&**thread, task) {
                send::signal_wake_up(thread);
            }
        }
    }
    recalc(task, &group);
}

/// Counts the task as stopped if a stop waits for it. The answer is the signal if it was the last: the parent must be
/// told. The caller holds the signal lock.
pub(super) fn participate(task: &Task, group: &mut GroupStop) -> Option<u32> {
    if !core::mem::take(&mut task.signal.lock().state.stop_pending) {
        return None;
    }
    group.left = group.left.saturating_sub(1);
    if group.left > 0 {
        return None;
    }
    group.signal = group.pending;
    group.pending = 0;
    group.notify = Some(w_stopcode(group.signal) as u32);
    Some(group.signal)
}

/// Stops the current task if its process is stopped or stopping, until SIGCONT or death. Answers whether it did.
pub(super) fn stop_if_asked(task: &Task) -> bool {
    let mut stopped = false;
    loop {
        // Before the test: a SIGCONT in between finds the task to be woken.
        task.set_state(TaskState::Stopped);
        let (completed, sig) = {
            let mut group = task.process.stop.lock();
            let traced = task.ptrace.is_traced();
            let asked = (group.signal != 0 && !traced) || task.signal.lock().state.stop_pending;
            let waits = stopped && group.pending != 0 && !traced;
            if task.fatal_signal_pending() || !(asked || waits) {
                drop(group);
                task.set_state(TaskState::Running);
                return stopped;
            }
            let sig = group.pending.max(group.signal);
            (participate(task, &mut group), sig)
        };
        if !stopped && crate::syscall::trace_enabled() {
            crate::syscall::trace::stopped(task, sig);
        }
        stopped = true;
        if let Some(sig) = completed {
            notify_parent(&task.process, CLD_STOPPED, sig);
        }
        if task.ptrace.is_traced() {
            task.set_state(TaskState::Running);
            crate::task::ptrace::group_stop(&task.arc(), sig);
            return true;
        }
        schedule();
    }
}

/// Tells the parent of `process` that it stopped or continued: SIGCHLD unless the parent doesn't want it, and wait4(2).
pub(super) fn notify_parent(process: &Process, code: i32, status: u32) {
    let (parent, uid) = {
        let list = pid::tasklist();
        let parent = process.link.lock().parent.upgrade();
        (parent, list.task(process.tgid).map_or(0, |t| t.cred().uid))
    };
    let Some(parent) = parent else { return };
    let ticks = |ns: u64| ns / (NSEC_PER_SEC / USER_HZ);
    let action = parent.sighand().action(SIGCHLD);
    if action.handler != SIG_IGN && action.flags & SA_NOCLDSTOP == 0 {
        let (utime, stime) = (process.utime.load(Ordering::Relaxed), process.stime.load(Ordering::Relaxed));
        let info = SigInfo::chld(code, process.tgid, uid, status as i32, ticks(utime), ticks(stime));
        send::send_process(&parent, info);
    }
    parent.wait_chldexit.wake_all();
}
