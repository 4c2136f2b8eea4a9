//! Sleeping until a time of a clock: nanosleep(2), clock_nanosleep(2).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use abi::Result;
use abi::errno::{EINVAL, EOPNOTSUPP, ERESTARTNOHAND, ETIMEDOUT};
use abi::time::{CLOCK_THREAD_CPUTIME_ID, TIMER_ABSTIME, Timespec};

use super::clock::{Clock, ClockId, settings};
use super::cpu::CpuTimerHandle;
use crate::signal::restart_with;
use crate::sync::{Sleep, WaitQueue, wait_event, wait_until};
use crate::uaccess::UserPtr;

/// nanosleep(2)
pub fn nanosleep(duration: UserPtr<Timespec>, rem: UserPtr<Timespec>) -> Result<()> {
    let ns = duration.read()?.to_ns().ok_or(EINVAL)?;
    sleep_for(Clock::Monotonic, ns, rem)
}

/// clock_nanosleep(2)
pub fn clock_nanosleep(
    clockid: ClockId,
    flags: u32,
    time: UserPtr<Timespec>,
    rem: UserPtr<Timespec>,
) -> Result<()> {
    if clockid.0 == CLOCK_THREAD_CPUTIME_ID {
        return Err(EINVAL);
    }
    let clock = Clock::from_id(clockid)?;
    if matches!(clock, Clock::MonotonicRaw | Clock::MonotonicCoarse | Clock::RealtimeCoarse) {
        return Err(EOPNOTSUPP);
    }
    let ns = time.read()?.to_ns().ok_or(EINVAL)?;
    if flags & TIMER_ABSTIME != 0 {
        return sleep_until(&clock, ns).map_err(|_| ERESTARTNOHAND);
    }
    // A span of CLOCK_REALTIME doesn't change when that clock is set.
    let clock = if clock.is_settable() { Clock::Monotonic } else { clock };
    sleep_for(clock, ns, rem)
}

fn sleep_for(clock: Clock, ns: u64, rem: UserPtr<Timespec>) -> Result<()> {
    let until = clock.now().saturating_add(ns);
    go_on(clock, until, rem)
}

/// Sleeps; if a signal ends it, notes what is left and how restart_syscall(2) goes on.
fn go_on(clock: Clock, until: u64, rem: UserPtr<Timespec>) -> Result<()> {
    if sleep_until(&clock, until).is_ok() {
        return Ok(());
    }
    let left = until.saturating_sub(clock.now());
    if left == 0 {
        return Ok(());
    }
    rem.write_if(&Timespec::from_ns(left))?;
    Err(restart_with(move || go_on(clock, until, rem).map(|()| 0)))
}

/// Sleeps until `clock` shows `until`, also if it is set meanwhile. ERESTARTSYS.
pub fn sleep_until(clock: &Clock, until: u64) -> Result<()> {
    if let Clock::Cpu(of, counts) = clock {
        let wake = Arc::new((WaitQueue::new(), AtomicBool::new(false)));
        let waker = wake.clone();
        let fire = Arc::new(move || {
            waker.1.store(true, Ordering::SeqCst);
            waker.0.wake_all();
        });
        if clock.now() >= until {
            return Ok(());
        }
        let timer = CpuTimerHandle::start(of.clone(), *counts, until, fire);
        let outcome =
            wait_event(&wake.0, Sleep::INTERRUPTIBLE, || wake.1.load(Ordering::SeqCst).then_some(()));
        drop(timer);
        return outcome;
    }
    match wait_on_clock(clock, until, || None::<()>) {
        Err(ETIMEDOUT) => Ok(()),
        outcome => outcome,
    }
}

/// Sleeps until `condition` answers something, but not beyond the time `until` of `clock`, which is no CPU clock and may
/// be set meanwhile. Whoever makes the condition true wakes the task. ERESTARTSYS, ETIMEDOUT.
pub fn wait_on_clock<R>(clock: &Clock, until: u64, mut condition: impl FnMut() -> Option<R>) -> Result<R> {
    loop {
        let (queue, count) = settings();
        let sleep = Sleep::until(Some(clock.to_host(until)));
        let outcome = wait_until(sleep, |table| {
            if clock.is_settable() {
                table.register(queue);
            }
            condition().map(Some).or_else(|| (settings().1 != count).then_some(None))
        });
        match outcome {
            Ok(Some(result)) => return Ok(result),
            Err(ETIMEDOUT) if clock.now() >= until => return Err(ETIMEDOUT),
            Ok(None) | Err(ETIMEDOUT) => {}
            Err(errno) => return Err(errno),
        }
    }
}
