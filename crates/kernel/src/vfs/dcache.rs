//! The bound on the cache of names: about least recently used first, by the clock algorithm.
//!
//! Lock: DENTRY_LRU, a leaf among the dentries' locks: it is held only to take candidates and put them back.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use super::Dentry;
use crate::sync::{SpinLock, rank};

/// Most names kept. A name costs some 300 bytes and its inode.
const MAX_DENTRIES: usize = 65_536;
/// Candidates looked at for one new name when the cache is full.
const SCAN: usize = 8;

static CLOCK: SpinLock<VecDeque<Weak<Dentry>>> = SpinLock::new(rank::DENTRY_LRU, VecDeque::new());

/// Counts a new name, and makes room when there are too many. Names in use stay whatever the bound is.
pub(super) fn add(dentry: &Arc<Dentry>) {
    let mut candidates = [const { None }; SCAN];
    {
        let mut clock = CLOCK.lock();
        clock.push_back(Arc::downgrade(dentry));
        if clock.len() > MAX_DENTRIES {
            candidates = core::array::from_fn(|_| clock.pop_front());
        }
    }
    for candidate in candidates.into_iter().flatten() {
        let Some(dentry) = candidate.upgrade() else { continue };
        let keep = dentry.is_mountpoint() || dentry.take_referenced() || !dentry.evict();
        if keep {
            CLOCK.lock().push_back(candidate);
        }
    }
}

/// Drops every name that nobody uses: memory is short, or /proc/sys/vm/drop_caches was written.
pub fn shrink_all() {
    let mut round = core::mem::take(&mut *CLOCK.lock());
    // Deepest names were mostly added last; parents become free only after their children.
    let mut kept = VecDeque::new();
    while let Some(candidate) = round.pop_back() {
        if let Some(dentry) = candidate.upgrade()
            && (dentry.is_mountpoint() || !dentry.evict())
        {
            kept.push_front(candidate);
        }
    }
    CLOCK.lock().append(&mut kept);
}
