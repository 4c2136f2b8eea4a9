//! How system calls came: counts for whoever wonders.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

static FAST: AtomicU64 = AtomicU64::new(0);
static TRAPPED: AtomicU64 = AtomicU64::new(0);
static ANSWERED: AtomicU64 = AtomicU64::new(0);

/// System calls of all guests so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Through patched sites.
    pub fast: u64,
    /// By a signal.
    pub trapped: u64,
    /// Answered by the stubs, as they say themselves.
    pub answered: u64,
}

/// The counts.
pub fn counts() -> Counts {
    Counts { fast: FAST.load(Relaxed), trapped: TRAPPED.load(Relaxed), answered: ANSWERED.load(Relaxed) }
}

#[inline]
pub(super) fn fast() {
    FAST.fetch_add(1, Relaxed);
}

#[inline]
pub(super) fn trapped() {
    TRAPPED.fetch_add(1, Relaxed);
}

pub(super) fn answered(more: u64) {
    ANSWERED.fetch_add(more, Relaxed);
}
