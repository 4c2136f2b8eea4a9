//! Taking signals: on the way back to the guest program a signal stops, kills, does nothing, or enters a handler.

use abi::signal::{
    SA_NODEFER, SA_RESETHAND, SIG_DFL, SIG_IGN, SIGALRM, SIGKILL, SIGSTOP, SigAction, SigInfo, SigSet,
};

use super::{action, frame, jobctl, mask, restart, send};
use crate::syscall::{trace, trace_enabled};
use crate::task::{Task, exit, family, pid, ptrace, rseq};
use crate::time;

/// Acts on what is pending before the current task returns to its guest program: dies, stops, or enters a handler.
pub fn before_user(task: &Task) {
    time::run_cpu_timers(task);
    match next_signal(task) {
        Some((info, action)) => handle(task, &info, &action),
        None if task.fatal_signal_pending() => {}
        None => {
            restart::without_handler(task);
            let saved = task.signal.lock().saved_mask.take();
            if let Some(saved) = saved {
                mask::set_blocked(task, saved);
            }
        }
    }
}

/// Enters a handler.
fn handle(task: &Task, info: &SigInfo, action: &SigAction) {
    let sig = info.si_signo as u32;
    restart::before_handler(task, action.flags);
    ptrace::before_handler(task);
    if rseq::before_handler(task).and_then(|()| frame::enter_handler(task, info, action)).is_err() {
        send::force_sigsegv(task, sig);
        return;
    }
    let mut blocked = {
        let mut signal = task.signal.lock();
        // The frame has it.
        signal.saved_mask = None;
        signal.blocked.union(action.mask)
    };
    if action.flags & SA_NODEFER == 0 {
        blocked.insert(sig);
    }
    mask::set_blocked(task, blocked);
    ptrace::handler_entered(&task.arc());
}

/// Takes signals until one has a handler, and does what the others do by default.
fn next_signal(task: &Task) -> Option<(SigInfo, SigAction)> {
    loop {
        if task.fatal_signal_pending() {
            return None;
        }
        if jobctl::tell_parent(&task.process) || ptrace::trap_stop(&task.arc()) || jobctl::stop_if_asked(task)
        {
            continue;
        }
        let blocked = task.signal.lock().blocked;
        let mut info = dequeue(task, blocked)?;
        if task.ptrace.is_traced() && info.si_signo as u32 != SIGKILL {
            // Whatever signal comes of it may stop the process.
            task.signal.lock().state.stop_dequeued = true;
            match ptrace::signal_stop(&task.arc(), info) {
                None => continue,
                Some(changed) => info = changed,
            }
            if task.signal.lock().blocked.contains(info.si_signo as u32) {
                send::send_task(task, info);
                continue;
            }
        }
        if trace_enabled() {
            trace::signal_taken(task, &info);
        }
        let sig = info.si_signo as u32;
        let action = take_action(task, sig);
        match action.handler {
            SIG_IGN => {}
            SIG_DFL => default_action(task, &info),
            _ => return Some((info, action)),
        }
    }
}

/// The action of a signal that is being taken; SA_RESETHAND makes it the last time.
fn take_action(task: &Task, sig: u32) -> SigAction {
    let sighand = task.process.sighand();
    let mut actions = sighand.actions.lock();
    let slot = &mut actions[action::index(sig)];
    let action = *slot;
    if action.handler > SIG_IGN && action.flags & SA_RESETHAND != 0 {
        slot.handler = SIG_DFL;
    }
    action
}

fn default_action(task: &Task, info: &SigInfo) {
    let sig = info.si_signo as u32;
    let process = &task.process;
    let immune = process.unkillable.load(std::sync::atomic::Ordering::SeqCst);
    if SigSet::DEFAULT_IGNORE.contains(sig) || (immune && !SigSet::UNBLOCKABLE.contains(sig)) {
        return;
    }
    if SigSet::STOP.contains(sig) {
        // Nobody could continue a member of an orphaned group: only SIGSTOP stops it.
        if sig == SIGSTOP || !family::is_orphaned(&pid::tasklist(), process.pgrp(), None) {
            jobctl::begin_stop(task, sig);
        }
        return;
    }
    ptrace::event(&task.arc(), abi::ptrace::PTRACE_EVENT_EXIT, u64::from(sig));
    if SigSet::DEFAULT_CORE.contains(sig) {
        exit::dump_and_kill(&task.arc(), info);
    } else {
        exit::kill_process(task, sig);
    }
}

/// Takes the next pending signal of the current task that isn't in `except`, and lets the timer that sent it go on.
pub(super) fn dequeue(task: &Task, except: SigSet) -> Option<SigInfo> {
    let process = &task.process;
    loop {
        let (queued, from_process) = {
            let group = process.stop.lock();
            let own = {
                let mut signal = task.signal.lock();
                let pending = &mut signal.pending;
                pending.take_synchronous(except).or_else(|| pending.take(except))
            };
            let taken = match own {
                Some(queued) => Some((queued, false)),
                None => process.pending.lock().take(except).map(|queued| (queued, true)),
            };
            if taken.as_ref().is_some_and(|(queued, _)| SigSet::STOP.contains(queued.sig())) {
                task.signal.lock().state.stop_dequeued = true;
            }
            send::recalc(task, &group);
            taken?
        };
        let mut info = queued.info;
        if let Some(timer) = queued.timer {
            // A timer that was set anew or deleted since takes its signal back.
            if !timer.upgrade().is_some_and(|timer| timer.deliver(&mut info)) {
                continue;
            }
        } else if from_process && queued.info.si_signo as u32 == SIGALRM {
            time::rearm_itimer_real(process);
        }
        return Some(info);
    }
}
