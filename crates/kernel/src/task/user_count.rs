//! Bounds on what one user may have of something: inotify instances and watches, epoll items, bytes of
//! message queues, pages of pipes.
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

/// One or more of them; they no longer count when it is dropped.
pub struct Counted {
    of: &'static UserCount,
    uid: u32,
    n: usize,
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
        self.charge_user(current().cred().uid, 1, self.limit)
    }

    /// `n` more for user `uid`; none if that makes more than `limit`, a limit of the caller's own.
    pub fn charge_user(&'static self, uid: u32, n: usize, limit: usize) -> Option<Counted> {
        let mut counts = self.counts.lock();
        let old = counts.get(&uid).copied().unwrap_or(0);
        let new = old.checked_add(n).filter(|&sum| sum <= limit)?;
        counts.insert(uid, new);
        Some(Counted { of: self, uid, n })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut counts = self.of.counts.lock();
        if let Some(count) = counts.get_mut(&self.uid) {
            *count -= self.n;
            if *count == 0 {
                counts.remove(&self.uid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_per_user_until_dropped() {
        static COUNT: UserCount = UserCount::new(10);
        let a = COUNT.charge_user(1, 7, COUNT.limit()).unwrap();
        assert!(COUNT.charge_user(1, 4, COUNT.limit()).is_none());
        assert!(COUNT.charge_user(1, usize::MAX, usize::MAX).is_none());
        let b = COUNT.charge_user(2, 4, COUNT.limit()).unwrap();
        let c = COUNT.charge_user(1, 3, COUNT.limit()).unwrap();
        drop((a, c));
        assert!(COUNT.charge_user(1, 10, COUNT.limit()).is_some());
        assert_eq!(COUNT.counts.lock().get(&2), Some(&4));
        drop(b);
        assert!(COUNT.counts.lock().is_empty());
    }
}
