//! Clocks and timers.

use std::sync::OnceLock;

/// A POSIX timer, timer_create(2).
pub struct PosixTimer;

static BOOT: OnceLock<u64> = OnceLock::new();

/// ns since the guest's boot: its CLOCK_MONOTONIC and CLOCK_BOOTTIME. The first call is the boot.
pub fn since_boot() -> u64 {
    let now = host::clock::monotonic();
    now.saturating_sub(*BOOT.get_or_init(|| now))
}

/// CLOCK_REALTIME.
pub fn now_realtime() -> abi::time::Timespec {
    let now = host::clock::realtime();
    let sec = abi::time::NSEC_PER_SEC;
    abi::time::Timespec { tv_sec: (now / sec) as i64, tv_nsec: (now % sec) as i64 }
}

/// What a clock of the guest says, ns. EINVAL.
pub fn clock_now(clock: i32) -> abi::Result<u64> {
    match clock {
        abi::time::CLOCK_REALTIME => Ok(host::clock::realtime()),
        abi::time::CLOCK_MONOTONIC => Ok(since_boot()),
        _ => Err(abi::errno::EINVAL),
    }
}
