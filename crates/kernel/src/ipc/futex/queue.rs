//! Waiters by futex, in buckets.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::Key;
use crate::mm::Mm;
use crate::sync::{SpinLock, SpinLockGuard, rank};
use crate::task::Task;

const BUCKETS: usize = 256;

/// A task that waits for one futex. futex_waitv(2) makes one for each of its futexes.
pub struct Waiter {
    pub task: Arc<Task>,
    pub bitset: u32,
    /// It waits for a lock, or for being moved to one's queue (FUTEX_WAIT_REQUEUE_PI): only the lock's owner wakes it.
    pub lock: Option<Lock>,
    woken: AtomicBool,
    /// The bucket it is in; changes only with that bucket locked.
    bucket: AtomicUsize,
}

/// A lock that somebody waits for.
#[derive(Clone)]
pub struct Lock {
    /// Whose word it is.
    pub mm: Arc<Mm>,
    /// Where it is there.
    pub addr: u64,
    pub key: Key,
}

pub struct Entry {
    pub key: Key,
    pub waiter: Arc<Waiter>,
}

impl Entry {
    /// Whether it waits for the lock that this futex is.
    pub fn is_for_lock(&self, key: &Key) -> bool {
        self.key == *key && self.waiter.lock.as_ref().is_some_and(|lock| lock.key == *key)
    }
}

pub type Bucket = VecDeque<Entry>;

static TABLE: [SpinLock<Bucket>; BUCKETS] = [const { SpinLock::new(rank::FUTEX, VecDeque::new()) }; BUCKETS];

/// Locks the bucket of a futex.
pub fn bucket(key: &Key) -> SpinLockGuard<'static, Bucket> {
    TABLE[key.bucket(BUCKETS)].lock()
}

/// Every bucket, one after the other.
pub fn buckets() -> impl Iterator<Item = SpinLockGuard<'static, Bucket>> {
    TABLE.iter().map(SpinLock::lock)
}

/// The buckets of two futexes, which may be one.
pub struct Pair {
    first: SpinLockGuard<'static, Bucket>,
    second: Option<SpinLockGuard<'static, Bucket>>,
    to_is_first: bool,
}

impl Pair {
    /// Locks them in the order of their numbers.
    pub fn lock(from: &Key, to: &Key) -> Pair {
        let (a, b) = (from.bucket(BUCKETS), to.bucket(BUCKETS));
        let first = TABLE[a.min(b)].lock();
        let second = (a != b).then(|| TABLE[a.max(b)].lock_nested());
        Pair { first, second, to_is_first: b < a }
    }

    /// The bucket of the first futex.
    pub fn from(&mut self) -> &mut Bucket {
        match &mut self.second {
            Some(second) if self.to_is_first => second,
            _ => &mut self.first,
        }
    }

    /// The bucket of the second futex.
    pub fn to(&mut self) -> &mut Bucket {
        match &mut self.second {
            Some(second) if !self.to_is_first => second,
            _ => &mut self.first,
        }
    }
}

impl Waiter {
    /// A waiter in no queue.
    pub fn new(task: &Arc<Task>, bitset: u32, lock: Option<Lock>) -> Arc<Waiter> {
        Arc::new(Waiter {
            task: task.clone(),
            bitset,
            lock,
            woken: AtomicBool::new(false),
            bucket: AtomicUsize::new(usize::MAX),
        })
    }

    /// Joins the queue of a futex.
    pub fn enqueue(self: &Arc<Self>, key: Key) {
        self.put(&mut bucket(&key), key);
    }

    /// Joins the queue of a futex whose bucket the caller has locked.
    pub fn put(self: &Arc<Self>, bucket: &mut Bucket, key: Key) {
        self.bucket.store(key.bucket(BUCKETS), Ordering::SeqCst);
        bucket.push_back(Entry { key, waiter: self.clone() });
    }

    /// Whether it has been woken: it is in no queue then.
    pub fn is_woken(&self) -> bool {
        self.woken.load(Ordering::SeqCst)
    }

    /// The caller has taken it out of its bucket, which it has locked. Waking the task comes after the lock.
    pub fn set_woken(&self) {
        self.woken.store(true, Ordering::SeqCst);
    }

    /// Leaves its queue. Whether it had been woken before that.
    pub fn dequeue(self: &Arc<Self>) -> bool {
        loop {
            if self.is_woken() {
                return true;
            }
            let at = self.bucket.load(Ordering::SeqCst);
            let Some(table) = TABLE.get(at) else { return false };
            let mut bucket = table.lock();
            // A requeue may have moved it before the lock was ours.
            if self.bucket.load(Ordering::SeqCst) != at {
                continue;
            }
            let place = bucket.iter().position(|e| Arc::ptr_eq(&e.waiter, self));
            let entry = place.and_then(|i| bucket.remove(i));
            drop(bucket);
            return entry.is_none() && self.is_woken();
        }
    }
}

/// Takes up to `max` waiters of `key` out of its bucket, marked as woken. The caller wakes their tasks without the lock.
pub fn take(bucket: &mut Bucket, key: &Key, max: usize, bitset: u32) -> Vec<Arc<Waiter>> {
    let mut taken = Vec::new();
    let mut i = 0;
    while i < bucket.len() && taken.len() < max {
        let entry = &bucket[i];
        if entry.key == *key && entry.waiter.lock.is_none() && entry.waiter.bitset & bitset != 0 {
            if let Some(entry) = bucket.remove(i) {
                entry.waiter.set_woken();
                taken.push(entry.waiter);
            }
        } else {
            i += 1;
        }
    }
    taken
}
