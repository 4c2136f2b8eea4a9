//! How much memory may be promised: /proc/sys/vm/overcommit_memory, Committed_AS, CommitLimit.
//!
//! The host is always told MAP_NORESERVE: whether a guest may have more than there is, is decided here.

use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};

use abi::Result;
use abi::errno::ENOMEM;

use super::MmInner;
use crate::task::current;

/// Memory of the machine, bytes: `mem=`.
static TOTAL: AtomicU64 = AtomicU64::new(512 << 20);
/// Promised to all address spaces, bytes.
static COMMITTED: AtomicI64 = AtomicI64::new(0);
/// Mappings of all address spaces.
static MAPPINGS: AtomicI64 = AtomicI64::new(0);
/// 0 heuristic, 1 always, 2 never beyond the limit.
static MODE: AtomicU32 = AtomicU32::new(0);
/// Percent of the memory that mode 2 promises.
static RATIO: AtomicU32 = AtomicU32::new(50);

/// What one address space has promised, and its number of mappings; gives them back when it goes. A copy has promised
/// nothing yet.
#[derive(Default)]
pub struct Charge {
    bytes: u64,
    mappings: usize,
}

impl Charge {
    fn set(&mut self, bytes: u64, mappings: usize) {
        if (bytes, mappings) != (self.bytes, self.mappings) {
            COMMITTED.fetch_add(bytes as i64 - self.bytes as i64, Ordering::Relaxed);
            MAPPINGS.fetch_add(mappings as i64 - self.mappings as i64, Ordering::Relaxed);
            (self.bytes, self.mappings) = (bytes, mappings);
        }
    }
}

impl Clone for Charge {
    fn clone(&self) -> Self {
        Charge::default()
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.set(0, 0);
    }
}

impl MmInner {
    /// Brings the sums over all address spaces in line with the VMAs.
    pub(super) fn settle(&mut self) {
        self.hiwater_vm = self.hiwater_vm.max(self.vmas.totals().total);
        self.charge.set(self.vmas.totals().account, self.vmas.len());
    }
}

/// Whether `bytes` more may be promised. ENOMEM.
pub fn check(bytes: u64) -> Result<()> {
    let privileged = || current().cred().capable(abi::cred::CAP_SYS_ADMIN);
    let fits = match MODE.load(Ordering::Relaxed) {
        1 => true,
        2 => {
            // Three percent stay for root.
            let limit = if privileged() { commit_limit() } else { commit_limit() / 100 * 97 };
            committed().saturating_add(bytes) <= limit
        }
        _ => bytes <= total(),
    };
    if fits { Ok(()) } else { Err(ENOMEM) }
}

/// Sets the memory of the machine, bytes.
pub fn set_total(bytes: u64) {
    TOTAL.store(bytes, Ordering::Relaxed);
}

/// Memory of the machine, bytes (MemTotal).
pub fn total() -> u64 {
    TOTAL.load(Ordering::Relaxed)
}

/// Promised, bytes (Committed_AS).
pub fn committed() -> u64 {
    COMMITTED.load(Ordering::Relaxed).max(0) as u64
}

/// Mappings of all address spaces.
pub fn mappings() -> u64 {
    MAPPINGS.load(Ordering::Relaxed).max(0) as u64
}

/// CommitLimit, bytes.
pub fn commit_limit() -> u64 {
    total() / 100 * u64::from(RATIO.load(Ordering::Relaxed))
}

/// /proc/sys/vm/overcommit_memory
pub fn mode() -> u32 {
    MODE.load(Ordering::Relaxed)
}

/// Sets /proc/sys/vm/overcommit_memory: 0 to 2.
pub fn set_mode(mode: u32) {
    MODE.store(mode.min(2), Ordering::Relaxed);
}

/// /proc/sys/vm/overcommit_ratio
pub fn ratio() -> u32 {
    RATIO.load(Ordering::Relaxed)
}

/// Sets /proc/sys/vm/overcommit_ratio.
pub fn set_ratio(percent: u32) {
    RATIO.store(percent, Ordering::Relaxed);
}
