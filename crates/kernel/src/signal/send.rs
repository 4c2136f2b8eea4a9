//! Sending a signal: what is dropped, which thread is woken, and when a process dies of it.
//!
//! Senders may be timer callbacks: nothing here sleeps. Permissions are checked before, in `kill.rs`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use abi::Result;
use abi::errno::{EAGAIN, ESRCH};
use abi::resource::RLIMIT_SIGPENDING;
use abi::sigframe::X86_TRAP_PF;
use abi::signal::{SI_USER, SIG_DFL, SIG_IGN, SIGCONT, SIGKILL, SIGRTMIN, SIGSEGV, SigInfo, SigSet};
use host::stub::Fault;

use super::jobctl::{GroupStop, cancel_stop};
use super::pending::{Charge, Queued};
use super::{LastFault, action};
use crate::task::{Process, Task, TaskState, pid};
use crate::vfs::PollEvents;

/// Sends a signal of the kernel's to one thread.
pub fn send_task(task: &Task, info: SigInfo) {
    // A full queue only loses the details of a real-time signal, and the kernel sends none of those.
    let _ = queue_to_task(task, Queued::new(info));
}

/// Sends a signal of the kernel's to a process; any thread may take it.
pub fn send_process(process: &Process, info: SigInfo) {
    let _ = queue_to_process(process, Queued::new(info));
}

/// Sends a signal of the kernel's to every member of a process group. ESRCH if it has none.
pub fn send_group(pgrp: i32, info: SigInfo) -> Result<()> {
    let members = pid::tasklist().group(pgrp);
    if members.is_empty() {
        return Err(ESRCH);
    }
    for process in members {
        send_process(&process, info);
    }
    Ok(())
}

/// [`send_task`] for a signal whose details count. EAGAIN when RLIMIT_SIGPENDING leaves no room for a real-time signal.
pub(crate) fn queue_to_task(task: &Task, queued: Queued) -> Result<bool> {
    send(&task.process, Some(task), queued)
}

/// [`send_process`] for a signal whose details count. EAGAIN when RLIMIT_SIGPENDING leaves no room for a real-time
/// signal.
pub(crate) fn queue_to_process(process: &Process, queued: Queued) -> Result<bool> {
    send(process, None, queued)
}

/// Sends; answers whether the signal is now pending, and not dropped as ignored.
fn send(process: &Process, thread: Option<&Task>, queued: Queued) -> Result<bool> {
    let sig = queued.sig();
    let outcome = {
        let threads = process.threads.lock();
        let Some(witness) = thread.or(threads.first().map(|t| &**t)) else {
            return Ok(false);
        };
        let mut group = process.stop.lock();
        if process.group_exit.load(Ordering::SeqCst) {
            return Ok(false);
        }
        cancel_opposites(process, &threads, &mut group, sig);
        if is_ignored(witness, sig) {
            return Ok(false);
        }
        let outcome = enqueue(process, thread, witness, queued);
        if outcome == Ok(true) {
            wake_receiver(process, thread, &threads, sig);
        }
        outcome
    };
    if outcome == Ok(true) {
        process.signal_queue.wake(PollEvents::READABLE);
    }
    outcome
}

/// A stop signal takes back SIGCONT, and SIGCONT every stop.
fn cancel_opposites(process: &Process, threads: &[Arc<Task>], group: &mut GroupStop, sig: u32) {
    let opposite = match sig {
        SIGCONT => SigSet::STOP,
        _ if SigSet::STOP.contains(sig) => SigSet::of(&[SIGCONT]),
        _ => return,
    };
    process.pending.lock().flush(opposite);
    for thread in threads {
        thread.signal.lock().pending.flush(opposite);
    }
    if sig == SIGCONT {
        cancel_stop(threads, group);
    }
}

/// Whether nobody will see the signal: dropped at once unless the receiver has it blocked, in which case it may still
/// change its mind.
fn is_ignored(task: &Task, sig: u32) -> bool {
    if task.process.kthread.load(Ordering::Relaxed) {
        return true;
    }
    if task.ptrace.is_traced() && sig != SIGKILL {
        return false;
    }
    let handler = task.process.sighand().action(sig).handler;
    let unkillable = task.process.unkillable.load(Ordering::SeqCst) && handler == SIG_DFL;
    if !unkillable && !action::ignores(handler, sig) {
        return false;
    }
    let signal = task.signal.lock();
    !signal.blocked.contains(sig) && !signal.state.real_blocked.contains(sig)
}

fn enqueue(process: &Process, thread: Option<&Task>, witness: &Task, mut queued: Queued) -> Result<bool> {
    let sig = queued.sig();
    // A signal that only kills needs no account; and a timer has paid for its own.
    if queued.timer.is_none() && sig != SIGKILL {
        let must_fit = sig < SIGRTMIN && queued.info.si_code >= 0;
        let limit = if must_fit { u64::MAX } else { process.rlimit(RLIMIT_SIGPENDING) };
        queued.charge = Charge::take(witness.cred().uid, limit);
        if queued.charge.is_none() && sig >= SIGRTMIN && queued.info.si_code != SI_USER {
            return Err(EAGAIN);
        }
    }
    let with_details = queued.timer.is_some() || queued.charge.is_some();
    let add = |pending: &mut super::SigPending| {
        // A timer has one instance in the queue at most, but several timers may use one signal.
        if queued.timer.is_none() && pending.is_duplicate(sig) {
            return false;
        }
        if with_details {
            pending.push(queued);
        } else {
            pending.set.insert(sig);
        }
        true
    };
    Ok(match thread {
        Some(task) => add(&mut task.signal.lock().pending),
        None => add(&mut process.pending.lock()),
    })
}

/// Wakes a thread that can take the signal, or kills the process if that is all it does.
fn wake_receiver(process: &Process, thread: Option<&Task>, threads: &[Arc<Task>], sig: u32) {
    let receiver = match thread {
        Some(task) => Some(task).filter(|t| wants(t, sig)),
        None => threads.iter().map(|t| &**t).find(|t| wants(t, sig)),
    };
    let Some(receiver) = receiver else { return };
    if is_fatal(receiver, sig) {
        zap_process(process, threads, sig as i32);
        return;
    }
    signal_wake_up(receiver);
}

/// Whether `task` should be woken for `sig`: it isn't blocked there, and the task isn't busy with another one.
fn wants(task: &Task, sig: u32) -> bool {
    let (blocked, exiting) = {
        let signal = task.signal.lock();
        (signal.blocked.contains(sig), signal.state.exiting)
    };
    if exiting || (blocked && sig != SIGKILL) {
        return false;
    }
    if sig == SIGKILL {
        return true;
    }
    let stopped = matches!(task.state(), TaskState::Stopped | TaskState::Traced);
    !stopped && (task.sched.on_cpu() || !task.signal_pending())
}

/// Whether `sig`, about to reach `task`, can only end the process: then it ends here and now. Signals that dump core
/// are left to the receiver.
fn is_fatal(task: &Task, sig: u32) -> bool {
    let milder = SigSet::DEFAULT_IGNORE.union(SigSet::STOP).union(SigSet::DEFAULT_CORE);
    if sig == SIGKILL {
        return true;
    }
    if task.ptrace.is_traced() {
        return false;
    }
    let process = &task.process;
    process.sighand().action(sig).handler == SIG_DFL
        && !milder.contains(sig)
        && !process.unkillable.load(Ordering::SeqCst)
        && !task.signal.lock().state.real_blocked.contains(sig)
}

/// Ends every thread of a process, whose wait status becomes `status` unless it is exiting already. The caller holds
/// `Process::threads`, whose contents it passes.
pub fn zap_process(process: &Process, threads: &[Arc<Task>], status: i32) {
    if !process.group_exit.swap(true, Ordering::SeqCst) {
        process.exit_code.store(status, Ordering::SeqCst);
    }
    for thread in threads {
        thread.killed.store(true, Ordering::SeqCst);
        thread.notify_work();
        thread.wake_if(|s| {
            matches!(
                s,
                TaskState::Interruptible | TaskState::Killable | TaskState::Stopped | TaskState::Traced
            )
        });
    }
}

/// Makes a thread look at its signals, and ends its interruptible sleep.
pub(super) fn signal_wake_up(task: &Task) {
    task.sigpending.store(true, Ordering::SeqCst);
    task.notify_work();
    task.wake_if(|s| s == TaskState::Interruptible);
}

/// Works out anew whether `task` has a signal to take or a stop to take part in. The caller holds the signal lock of
/// its process, whose value it passes.
pub(crate) fn recalc(task: &Task, group: &GroupStop) {
    let shared = task.process.pending.lock().set;
    let (own, blocked, stop) = {
        let signal = task.signal.lock();
        (signal.pending.set, signal.blocked, signal.state.stop_pending)
    };
    let trap = task.ptrace.has_trap();
    let pending = stop || trap || group.concerns(task) || !shared.union(own).difference(blocked).is_empty();
    task.sigpending.store(pending, Ordering::SeqCst);
    if pending {
        task.notify_work();
    }
}

/// Sends the current task a signal that it cannot escape: what its own instruction deserves. A signal that is ignored or
/// blocked gets its default action first, and init loses its immunity.
pub fn force(task: &Task, info: SigInfo) {
    let sig = info.si_signo as u32;
    {
        let group = task.process.stop.lock();
        let blocked = {
            let mut signal = task.signal.lock();
            let blocked = signal.blocked.contains(sig);
            signal.blocked.remove(sig);
            blocked
        };
        let sighand = task.process.sighand();
        let mut actions = sighand.actions.lock();
        let action = &mut actions[action::index(sig)];
        if blocked || action.handler == SIG_IGN {
            action.handler = SIG_DFL;
        }
        if action.handler == SIG_DFL {
            task.process.unkillable.store(false, Ordering::SeqCst);
        }
        drop(actions);
        recalc(task, &group);
    }
    send_task(task, info);
}

/// Ends the current task with SIGSEGV, because a signal frame couldn't be written or made no sense. `sig` is the signal
/// that was being delivered: failing to deliver SIGSEGV itself is final.
pub(super) fn force_sigsegv(task: &Task, sig: u32) {
    if sig == SIGSEGV {
        task.process.sighand().actions.lock()[action::index(SIGSEGV)].handler = SIG_DFL;
    }
    force(task, SigInfo::new(SIGSEGV, abi::signal::SI_KERNEL));
}

/// Sends the current task the signal that a processor exception deserves, and keeps what its frame says of it.
pub fn force_fault(task: &Task, fault: &Fault, info: SigInfo) {
    {
        let last = &mut task.signal.lock().state.fault;
        let cr2 = if fault.trapno == X86_TRAP_PF { fault.addr } else { last.cr2 };
        *last = LastFault { trapno: fault.trapno, error_code: fault.error_code, cr2 };
    }
    force(task, info);
}

/// exit(2): the current thread takes part in no more stops and takes no more signals; those of the process that it would
/// have taken go to others. Called before the thread leaves `Process::threads`.
pub fn exit_signals(task: &Task) {
    let process = &task.process;
    let stopped = {
        let threads = process.threads.lock();
        let mut group = process.stop.lock();
        let blocked = {
            let mut signal = task.signal.lock();
            signal.state.exiting = true;
            signal.blocked
        };
        retarget(task, &threads, SigSet::FULL.difference(blocked));
        super::jobctl::participate(task, &mut group)
    };
    if let Some(sig) = stopped {
        super::jobctl::notify_parent(process, abi::signal::CLD_STOPPED, sig);
    }
}

/// Wakes other threads for those pending signals of the process that are in `which`, which `task` no longer takes. The
/// caller holds `Process::threads` and the signal lock.
pub(super) fn retarget(task: &Task, threads: &[Arc<Task>], which: SigSet) {
    let mut left = task.process.pending.lock().set.intersection(which);
    for thread in threads.iter().filter(|t| !core::ptr::eq(&***t, task)) {
        if left.is_empty() {
            return;
        }
        let (blocked, exiting) = {
            let signal = thread.signal.lock();
            (signal.blocked, signal.state.exiting)
        };
        if exiting || left.difference(blocked).is_empty() {
            continue;
        }
        left = left.intersection(blocked);
        if !thread.signal_pending() {
            signal_wake_up(thread);
        }
    }
}
