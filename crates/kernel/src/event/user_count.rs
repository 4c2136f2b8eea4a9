//! Bounds on what one user may have of something: inotify instances and watches, epoll items.
//!
//! Lock: LEAF, over the counts of one kind.

use std::collections::BTreeMap;

use crate::sync::{SpinLock, rank};
use crate::task::current;

/// How many of a kind each user has.
pub struct UserCount {
    limit: usize,
    counts: SpinLock<BTreeMap<u32, usize>>,
}

/// One of them; it no longer counts when it is dropped.
pub struct Counted {
    of: &'static UserCount,
    uid: u32,
}

impl UserCount {
    /// A kind of which a user may have `limit`.
    pub const fn new(limit: usize) -> UserCount {
        UserCount { limit, counts: SpinLock::new(rank::LEAF, BTreeMap::new()) }
    }

    /// How many a user may have.
    pub const fn limit(&self) -> usize {
        self.limit
    }

    /// One more for the current user; none at the limit.
    pub fn charge(&'static self) -> Option<Counted> {
        let uid = current().cred().uid;
        let mut counts = self.counts.lock();
        let count = counts.entry(uid).or_default();
        if *count >= self.limit {
            return None;
        }
        *count += 1;
        Some(Counted { of: self, uid })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut counts = self.of.counts.lock();
        if let Some(count) = counts.get_mut(&self.uid) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.uid);
            }
        }
    }
}
