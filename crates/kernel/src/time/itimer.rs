//! Interval timers of a process: setitimer(2), getitimer(2), alarm(2).
//!
//! ITIMER_REAL goes off once; its next period begins when SIGALRM is taken, so that a program which doesn't take it costs
//! nothing. The other two count CPU time, see `cpu.rs`.

use std::sync::Arc;

use abi::Result;
use abi::errno::EINVAL;
use abi::signal::{SI_KERNEL, SIGALRM, SigInfo};
use abi::time::{ITIMER_PROF, ITIMER_REAL, ITIMER_VIRTUAL, Itimerval, NSEC_PER_SEC, Timeval};

use super::alarm::forward;
use super::clock::{Clock, CpuOf, CpuTime};
use super::cpu::update_cpu_deadline;
use crate::sched::Timer;
use crate::signal;
use crate::task::{Process, current};
use crate::uaccess::UserPtr;

/// setitimer(2)
pub fn setitimer(which: u32, new: UserPtr<Itimerval>, old: UserPtr<Itimerval>) -> Result<()> {
    // A null pointer disarms: Linux keeps this for old programs.
    let value = if new.is_null() { Itimerval::default() } else { new.read()? };
    let first = value.it_value.to_ns().ok_or(EINVAL)?;
    let interval = value.it_interval.to_ns().ok_or(EINVAL)?;
    let before = set(&current().process, which, first, interval)?;
    old.write_if(&itimerval(before))
}

/// getitimer(2)
pub fn getitimer(which: u32, value: UserPtr<Itimerval>) -> Result<()> {
    value.write(&itimerval(get(&current().process, which)?))
}

/// alarm(2)
pub fn alarm(seconds: u32) -> Result<u64> {
    let first = u64::from(seconds) * NSEC_PER_SEC;
    let (left, _) = set(&current().process, ITIMER_REAL, first, 0)?;
    Ok(alarm_seconds(left))
}

/// What alarm(2) says is left: rounded, but never 0 for an armed timer.
fn alarm_seconds(left: u64) -> u64 {
    let (seconds, fraction) = (left / NSEC_PER_SEC, left % NSEC_PER_SEC);
    seconds + u64::from((seconds == 0 && fraction > 0) || fraction >= NSEC_PER_SEC / 2)
}

/// (left, interval) as user space reads them; an armed timer has at least 1 µs left.
fn itimerval((left, interval): (u64, u64)) -> Itimerval {
    let left = if left > 0 { left.max(1000) } else { 0 };
    Itimerval { it_interval: Timeval::from_ns(interval), it_value: Timeval::from_ns(left) }
}

/// ns left and interval.
fn get(process: &Arc<Process>, which: u32) -> Result<(u64, u64)> {
    let cpu = cpu_clock(process, which);
    let now = match &cpu {
        Some(clock) => clock.now(),
        None => host::clock::monotonic(),
    };
    let itimers = process.itimers.lock();
    let left = |at: u64| if at == 0 { 0 } else { at.saturating_sub(now).max(1) };
    Ok(match which {
        ITIMER_REAL => {
            let (at, interval) = itimers.real_at;
            (if itimers.real.is_some() { left(at) } else { 0 }, interval)
        }
        ITIMER_VIRTUAL => (left(itimers.virt.0), itimers.virt.1),
        ITIMER_PROF => (left(itimers.prof.0), itimers.prof.1),
        _ => return Err(EINVAL),
    })
}

fn cpu_clock(process: &Arc<Process>, which: u32) -> Option<Clock> {
    let counts = match which {
        ITIMER_VIRTUAL => CpuTime::User,
        ITIMER_PROF => CpuTime::Both,
        _ => return None,
    };
    Some(Clock::Cpu(CpuOf::Process(Arc::downgrade(process)), counts))
}

/// Sets a timer to go off in `first` ns (0 disarms) and then every `interval` ns. The answer is what was left before.
fn set(process: &Arc<Process>, which: u32, first: u64, interval: u64) -> Result<(u64, u64)> {
    let before = get(process, which)?;
    if which == ITIMER_REAL {
        let at = host::clock::monotonic().saturating_add(first);
        let old = {
            let mut itimers = process.itimers.lock();
            itimers.real_at = if first == 0 { (0, 0) } else { (at, interval) };
            let timer = (first != 0).then(|| start_real(process, at));
            core::mem::replace(&mut itimers.real, timer)
        };
        drop(old);
        return Ok(before);
    }
    let now = cpu_clock(process, which).map_or(0, |clock| clock.now());
    {
        let mut itimers = process.itimers.lock();
        let slot = if which == ITIMER_VIRTUAL { &mut itimers.virt } else { &mut itimers.prof };
        *slot = if first == 0 { (0, 0) } else { (now.saturating_add(first), interval) };
    }
    update_cpu_deadline(process);
    Ok(before)
}

fn start_real(process: &Arc<Process>, at: u64) -> Timer {
    let process = Arc::downgrade(process);
    Timer::start(at, move || {
        if let Some(process) = process.upgrade() {
            real_expired(&process);
        }
    })
}

fn real_expired(process: &Process) {
    let timer = {
        let mut itimers = process.itimers.lock();
        let at = itimers.real_at.0;
        // Set anew or disarmed since: another timer does it.
        if at == 0 || host::clock::monotonic() < at {
            return;
        }
        itimers.real.take()
    };
    if timer.is_some() {
        drop(timer);
        signal::send_process(process, SigInfo::new(SIGALRM, SI_KERNEL));
    }
}

/// Begins the next period of ITIMER_REAL: SIGALRM has been taken.
pub(crate) fn rearm_real(process: &Arc<Process>) {
    let mut itimers = process.itimers.lock();
    let (at, interval) = itimers.real_at;
    if at != 0 && interval != 0 && itimers.real.is_none() {
        let (next, _) = forward(at, interval, host::clock::monotonic());
        itimers.real_at.0 = next;
        itimers.real = Some(start_real(process, next));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alarm_rounds_but_not_to_zero() {
        assert_eq!(alarm_seconds(0), 0);
        assert_eq!(alarm_seconds(1), 1);
        assert_eq!(alarm_seconds(4_999_999_999), 5);
        assert_eq!(alarm_seconds(5_400_000_000), 5);
        assert_eq!(alarm_seconds(5_500_000_000), 6);
    }

    #[test]
    fn an_armed_timer_never_reads_zero() {
        assert!(!itimerval((1, 0)).it_value.is_zero());
        assert!(itimerval((0, 5000)).it_value.is_zero());
    }
}
