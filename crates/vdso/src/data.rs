//! The page before the vDSO's text, which guests can read and the kernel writes.
//!
//! The kernel's `host` crate includes this same file. Each offset is one word: there is nothing to be read torn.

use core::sync::atomic::{AtomicI64, AtomicU32, AtomicU64};

/// Bytes of the page.
pub const DATA_LEN: u64 = 4096;

/// What the vDSO knows.
#[repr(C)]
pub struct Data {
    /// The host's `__vdso_clock_gettime`, as mapped in every guest; 0 if there is none.
    pub clock_gettime: AtomicU64,
    /// The host's `__vdso_clock_getres`.
    pub clock_getres: AtomicU64,
    /// What to add to the host's CLOCK_MONOTONIC, ns.
    pub monotonic: AtomicI64,
    /// What to add to the host's CLOCK_BOOTTIME, ns.
    pub boottime: AtomicI64,
    /// What to add to the host's CLOCK_REALTIME, ns.
    pub realtime: AtomicI64,
    /// `struct timezone`: minutes west of Greenwich.
    pub minutes_west: AtomicU32,
    /// `struct timezone`: kind of daylight saving.
    pub dst: AtomicU32,
}
