//! The host's clocks, in nanoseconds.

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
