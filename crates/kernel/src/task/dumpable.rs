//! What becomes of a process whose power changes: /proc/sys/fs/suid_dumpable, proc(5), PR_SET_DUMPABLE.

use std::sync::atomic::{AtomicI32, Ordering::Relaxed};

use super::Process;

static SUID: AtomicI32 = AtomicI32::new(0);

/// /proc/sys/fs/suid_dumpable: 0 no, 1 as any process, 2 for root's eyes only.
pub fn suid() -> i32 {
    SUID.load(Relaxed)
}

/// Sets it.
pub fn set_suid(value: i32) {
    SUID.store(value, Relaxed);
}

/// The process has got other power than whoever started it has: it is dumped and traced only as far as `suid_dumpable`
/// allows.
pub fn restrict(process: &Process) {
    process.dumpable.store(suid(), Relaxed);
}
