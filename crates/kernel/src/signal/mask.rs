//! Signal masks, and the calls that wait for signals: sigprocmask(2), sigpending(2), sigsuspend(2), pause(2),
//! sigtimedwait(2).

use abi::errno::{EAGAIN, EINTR, EINVAL, ERESTARTNOHAND, ETIMEDOUT};
use abi::signal::{SIG_BLOCK, SIG_SETMASK, SIG_UNBLOCK, SigInfo, SigSet};
use abi::time::Timespec;
use abi::{Errno, Result};

use super::{deliver, send};
use crate::sync::{Sleep, wait_until};
use crate::task::{Task, current};
use crate::uaccess::UserPtr;

/// Sets the mask of the current task; SIGKILL and SIGSTOP stay out of it. Signals of the process that it no longer takes
/// go to other threads.
pub fn set_blocked(task: &Task, new: SigSet) {
    let new = new.difference(SigSet::UNBLOCKABLE);
    if task.signal.lock().blocked == new {
        return;
    }
    let threads = task.process.threads.lock();
    let group = task.process.stop.lock();
    let old = core::mem::replace(&mut task.signal.lock().blocked, new);
    if threads.len() > 1 {
        send::retarget(task, &threads, new.difference(old));
    }
    send::recalc(task, &group);
}

/// Runs `f`, a wait, under another mask (ppoll, pselect6, epoll_pwait). If a signal ends it, the old
/// mask comes back only after that signal's handler: then the handler runs under `mask`.
pub fn with_temp_mask<R>(mask: SigSet, f: impl FnOnce() -> Result<R>) -> Result<R> {
    let task = current();
    let old = {
        let mut signal = task.signal.lock();
        signal.saved_mask = Some(signal.blocked);
        signal.blocked
    };
    set_blocked(&task, mask);
    let outcome = f();
    let interrupted = |errno: &Errno| *errno == EINTR || errno.is_restart();
    if outcome.as_ref().err().is_some_and(interrupted) {
        task.notify_work();
    } else {
        task.signal.lock().saved_mask = None;
        set_blocked(&task, old);
    }
    outcome
}

fn check_size(sigsetsize: usize) -> Result<()> {
    if sigsetsize == size_of::<SigSet>() { Ok(()) } else { Err(EINVAL) }
}

/// rt_sigprocmask(2)
pub fn rt_sigprocmask(
    how: u32,
    set: UserPtr<SigSet>,
    oldset: UserPtr<SigSet>,
    sigsetsize: usize,
) -> Result<()> {
    check_size(sigsetsize)?;
    let task = current();
    let old = task.signal.lock().blocked;
    if !set.is_null() {
        let set = set.read()?;
        let new = match how {
            SIG_BLOCK => old.union(set),
            SIG_UNBLOCK => old.difference(set),
            SIG_SETMASK => set,
            _ => return Err(EINVAL),
        };
        set_blocked(&task, new);
    }
    oldset.write_if(&old)
}

/// rt_sigpending(2)
pub fn rt_sigpending(set: UserPtr<SigSet>, sigsetsize: usize) -> Result<()> {
    if sigsetsize > size_of::<SigSet>() {
        return Err(EINVAL);
    }
    let task = current();
    let shared = task.process.pending.lock().set;
    let pending = {
        let signal = task.signal.lock();
        signal.pending.set.union(shared).intersection(signal.blocked)
    };
    crate::uaccess::copy_to_user(set.addr(), &pending.bits.to_le_bytes()[..sigsetsize])
}

/// rt_sigsuspend(2)
pub fn rt_sigsuspend(set: UserPtr<SigSet>, sigsetsize: usize) -> Result<()> {
    check_size(sigsetsize)?;
    with_temp_mask(set.read()?, pause)
}

/// pause(2)
pub fn pause() -> Result<()> {
    wait_until(Sleep::INTERRUPTIBLE, |_| None::<()>).map_err(|_| ERESTARTNOHAND)
}

/// rt_sigtimedwait(2)
pub fn rt_sigtimedwait(
    set: UserPtr<SigSet>,
    info: UserPtr<SigInfo>,
    timeout: UserPtr<Timespec>,
    sigsetsize: usize,
) -> Result<i32> {
    check_size(sigsetsize)?;
    let set = set.read()?.difference(SigSet::UNBLOCKABLE);
    let timeout = match timeout.is_null() {
        true => None,
        false => Some(timeout.read()?.to_ns().ok_or(EINVAL)?),
    };
    let taken = wait_for(&current(), set, timeout)?;
    info.write_if(&taken)?;
    Ok(taken.si_signo)
}

fn wait_for(task: &Task, set: SigSet, timeout: Option<u64>) -> Result<SigInfo> {
    let except = SigSet::FULL.difference(set);
    if let Some(info) = deliver::dequeue(task, except) {
        return Ok(info);
    }
    if timeout == Some(0) {
        return Err(EAGAIN);
    }
    let deadline = timeout.map(|ns| host::clock::monotonic().saturating_add(ns));
    // While it waits, a signal of the set wakes it, and isn't dropped as ignored.
    {
        let group = task.process.stop.lock();
        {
            let mut signal = task.signal.lock();
            signal.state.real_blocked = signal.blocked;
            signal.blocked = signal.blocked.difference(set);
        }
        send::recalc(task, &group);
    }
    let outcome = wait_until(Sleep::until(deadline), |_| deliver::dequeue(task, except));
    let blocked = core::mem::take(&mut task.signal.lock().state.real_blocked);
    set_blocked(task, blocked);
    outcome.map_err(|errno| if errno == ETIMEDOUT { EAGAIN } else { EINTR })
}
