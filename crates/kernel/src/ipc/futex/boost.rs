//! Priority inheritance: who waits for whose lock, and what that makes of the owner's priority.
//!
//! As on Linux only real-time priorities are handed on: among normal tasks a waiter gives its owner nothing.
//!
//! Lock: [`lock`] (sleeping), the PI lock; under it the buckets and, in `sched`, run queues.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use super::Key;
use super::queue::{Entry, Waiter};
use crate::sched;
use crate::sync::{Mutex, MutexGuard};
use crate::task::Task;

/// How far a chain of owners that wait is followed, as on Linux.
const MAX_DEPTH: usize = 1024;

/// Everybody who waits for a lock.
#[derive(Default)]
pub struct Waits {
    all: Vec<Wait>,
    /// Who runs with another's priority.
    boosted: Vec<Arc<Task>>,
}

struct Wait {
    waiter: Arc<Waiter>,
    key: Key,
    owner: Arc<Task>,
}

/// Takes the PI lock.
pub fn lock() -> MutexGuard<'static, Waits> {
    static WAITS: OnceLock<Mutex<Waits>> = OnceLock::new();
    WAITS.get_or_init(|| Mutex::new(Waits::default())).lock()
}

/// Which of these entries comes first: the highest priority, then the nicest to others last, then the order.
pub fn top<'a>(entries: impl Iterator<Item = (usize, &'a Entry)>) -> Option<usize> {
    let mut best: Option<(usize, (u8, i32))> = None;
    for (i, entry) in entries {
        let sched = &entry.waiter.task.sched;
        let priority = (sched.realtime_priority(), -i32::from(sched.attr().nice));
        if best.is_none_or(|(_, top)| priority > top) {
            best = Some((i, priority));
        }
    }
    best.map(|(i, _)| i)
}

impl Waits {
    /// `waiter` waits for the lock `key` of `owner`.
    pub fn add(&mut self, waiter: &Arc<Waiter>, key: Key, owner: Arc<Task>) {
        self.all.push(Wait { waiter: waiter.clone(), key, owner });
        self.settle();
    }

    /// It no longer does.
    pub fn forget(&mut self, waiter: &Arc<Waiter>) {
        let before = self.all.len();
        self.all.retain(|wait| !Arc::ptr_eq(&wait.waiter, waiter));
        if self.all.len() != before {
            self.settle();
        }
    }

    /// The lock is `next`'s now.
    pub fn passed_on(&mut self, key: &Key, next: &Arc<Waiter>) {
        self.all.retain(|wait| !Arc::ptr_eq(&wait.waiter, next));
        for wait in self.all.iter_mut().filter(|wait| wait.key == *key) {
            wait.owner = next.task.clone();
        }
        self.settle();
    }

    /// Whether `owner` waits, perhaps by way of others, for a lock of `task`'s: waiting for `owner` would be for ever.
    pub fn leads_to(&self, owner: &Arc<Task>, task: &Arc<Task>) -> bool {
        let mut at = owner;
        for _ in 0..MAX_DEPTH {
            if Arc::ptr_eq(at, task) {
                return true;
            }
            match self.all.iter().find(|wait| Arc::ptr_eq(&wait.waiter.task, at)) {
                Some(wait) => at = &wait.owner,
                None => return false,
            }
        }
        true
    }

    fn settle(&mut self) {
        let old = core::mem::take(&mut self.boosted);
        let pairs: Vec<_> = self.all.iter().map(|w| (id(&w.waiter.task), id(&w.owner))).collect();
        let own: HashMap<usize, u8> =
            self.all.iter().map(|w| (id(&w.waiter.task), w.waiter.task.sched.attr().priority)).collect();
        let lent = lend(&pairs, &own);
        for wait in &self.all {
            let priority = lent.get(&id(&wait.owner)).copied().unwrap_or(0);
            if priority > 0 && !self.boosted.iter().any(|t| Arc::ptr_eq(t, &wait.owner)) {
                sched::boost(&wait.owner, priority);
                self.boosted.push(wait.owner.clone());
            }
        }
        for task in old.iter().filter(|t| !lent.contains_key(&id(t))) {
            sched::boost(task, 0);
        }
    }
}

fn id(task: &Arc<Task>) -> usize {
    Arc::as_ptr(task).addr()
}

/// What each owner is lent, above 0: the highest priority of those that wait for it, theirs own or lent. `waits` are
/// pairs of waiter and owner.
fn lend(waits: &[(usize, usize)], own: &HashMap<usize, u8>) -> HashMap<usize, u8> {
    let mut lent: HashMap<usize, u8> = HashMap::new();
    if own.values().all(|priority| *priority == 0) {
        return lent;
    }
    for _ in 0..MAX_DEPTH {
        let mut changed = false;
        for (waiter, owner) in waits {
            let known = |map: &HashMap<usize, u8>| map.get(waiter).copied().unwrap_or(0);
            let priority = known(own).max(known(&lent));
            if priority > lent.get(owner).copied().unwrap_or(0) {
                lent.insert(*owner, priority);
                changed = true;
            }
        }
        if !changed {
            break;
        }
    }
    lent
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priorities_are_lent_along_chains() {
        let own = HashMap::from([(1, 0), (2, 50), (3, 7), (4, 0)]);
        // 1 waits for 5; 2 for 1; 3 for 5; 4 for 6.
        let lent = lend(&[(1, 5), (2, 1), (3, 5), (4, 6)], &own);
        assert_eq!(lent, HashMap::from([(1, 50), (5, 50)]));
        assert!(lend(&[(1, 5), (4, 6)], &HashMap::from([(1, 0), (4, 0)])).is_empty());
        // A circle, which guests can make by lying in their words, ends.
        assert_eq!(lend(&[(1, 2), (2, 1)], &HashMap::from([(1, 3), (2, 0)])).len(), 2);
    }
}
