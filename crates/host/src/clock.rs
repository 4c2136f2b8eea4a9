//! The host's clocks, in nanoseconds, and the news that one was set.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, OnceLock};

use crate::reactor::{Interest, Watch, read_now};
use crate::sys::{check, check_fd};

fn read(clock: libc::clockid_t) -> u64 {
    let mut ts = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `ts` is a valid timespec to write to; the clocks below exist on every supported host.
    unsafe { libc::clock_gettime(clock, &mut ts) };
    (ts.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(ts.tv_nsec as u64)
}

/// CLOCK_MONOTONIC of the host, ns.
pub fn monotonic() -> u64 {
    read(libc::CLOCK_MONOTONIC)
}

/// CLOCK_REALTIME of the host, ns since the epoch.
pub fn realtime() -> u64 {
    read(libc::CLOCK_REALTIME)
}

/// CLOCK_BOOTTIME of the host, ns.
pub fn boottime() -> u64 {
    read(libc::CLOCK_BOOTTIME)
}

/// CPU time of the calling host thread, ns.
pub fn thread_cpu() -> u64 {
    read(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// Calls back on the reactor's thread whenever somebody sets the host's CLOCK_REALTIME. Once for the program; where it
/// cannot be had, nobody is told.
pub fn on_step(callback: fn()) {
    static STEP: OnceLock<Option<Watch>> = OnceLock::new();
    let watch = || {
        let fd = step_fd().ok()?;
        let read = fd.clone();
        let told = move || {
            let mut ticks = [0; 8];
            // Its time never comes: what there is to read is that it was cancelled.
            if read_now(&read, &mut ticks) == Err(abi::errno::ECANCELED) {
                callback();
            }
            if let Some(Some(watch)) = STEP.get() {
                let _ = watch.arm(Interest { read: true, write: false });
            }
        };
        Watch::new(fd, Arc::new(told)).ok()
    };
    if let Some(watch) = STEP.get_or_init(watch) {
        let _ = watch.arm(Interest { read: true, write: false });
    }
}

/// A timer for the end of time that setting the clock cancels.
fn step_fd() -> abi::Result<Arc<OwnedFd>> {
    let flags = libc::TFD_CLOEXEC | libc::TFD_NONBLOCK;
    // SAFETY: no memory is passed.
    let fd = check_fd(unsafe { libc::timerfd_create(libc::CLOCK_REALTIME, flags) }.into())?;
    let zero = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let never = libc::timespec { tv_sec: i64::MAX, tv_nsec: 0 };
    let value = libc::itimerspec { it_interval: zero, it_value: never };
    let flags = libc::TFD_TIMER_ABSTIME | libc::TFD_TIMER_CANCEL_ON_SET;
    // SAFETY: `value` outlives the call, which writes nothing.
    check(unsafe { libc::timerfd_settime(fd.as_raw_fd(), flags, &value, std::ptr::null_mut()) }.into())?;
    Ok(Arc::new(fd))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_host_takes_the_timer_that_tells_of_steps() {
        assert!(super::step_fd().is_ok());
        super::on_step(|| {});
        super::on_step(|| {});
    }
}
