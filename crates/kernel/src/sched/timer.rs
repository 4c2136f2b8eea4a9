//! Timers of the kernel: a callback at a time of the host's CLOCK_MONOTONIC.
//!
//! A timer lives in the queue of the vCPU that armed it; that vCPU wakes for it from its idle sleep or while its guest
//! program runs. Callbacks run on the vCPU's thread outside any task and may not sleep.
//!
//! Lock: TIMER, one vCPU's queue. A callback runs without it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::vcpu;
use crate::sync::{SpinLock, rank};

type Callback = Arc<dyn Fn() + Send + Sync>;

/// The armed timers of one vCPU, by (deadline, id).
pub struct TimerQueue {
    timers: SpinLock<BTreeMap<(u64, u64), Callback>>,
    /// The earliest deadline, u64::MAX for none: read without the lock.
    earliest: AtomicU64,
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

impl TimerQueue {
    /// An empty queue.
    pub fn new() -> TimerQueue {
        TimerQueue { timers: SpinLock::new(rank::TIMER, BTreeMap::new()), earliest: AtomicU64::new(u64::MAX) }
    }

    /// When the next timer is due.
    pub fn earliest(&self) -> Option<u64> {
        Some(self.earliest.load(Ordering::SeqCst)).filter(|&at| at != u64::MAX)
    }

    fn insert(&self, key: (u64, u64), callback: Callback) {
        let mut timers = self.timers.lock();
        timers.insert(key, callback);
        self.note_earliest(&timers);
    }

    fn remove(&self, key: (u64, u64)) {
        let mut timers = self.timers.lock();
        let removed = timers.remove(&key);
        self.note_earliest(&timers);
        drop(timers);
        drop(removed);
    }

    /// Runs every timer that is due at `now`.
    pub fn run_expired(&self, now: u64) {
        while self.earliest.load(Ordering::Relaxed) <= now {
            let mut timers = self.timers.lock();
            let due = timers.first_entry().filter(|e| e.key().0 <= now).map(|e| e.remove());
            self.note_earliest(&timers);
            drop(timers);
            match due {
                Some(callback) => callback(),
                None => return,
            }
        }
    }

    fn note_earliest(&self, timers: &BTreeMap<(u64, u64), Callback>) {
        self.earliest.store(timers.first_key_value().map_or(u64::MAX, |(k, _)| k.0), Ordering::SeqCst);
    }
}

/// An armed timer. Dropping it cancels it; a callback that is running at that moment still ends.
pub struct Timer {
    key: (u64, u64),
    vcpu: Arc<vcpu::Vcpu>,
}

impl Timer {
    /// Calls `callback` once, at or soon after `deadline` (host CLOCK_MONOTONIC, ns).
    pub fn start(deadline: u64, callback: impl Fn() + Send + Sync + 'static) -> Timer {
        let vcpu = vcpu::current_or_first();
        let key = (deadline, NEXT_ID.fetch_add(1, Ordering::Relaxed));
        vcpu.timers.insert(key, Arc::new(callback));
        // Its own thread looks at the queue before it sleeps; anybody else's timer needs a kick.
        if !vcpu.is_current() {
            vcpu.kick();
        }
        Timer { key, vcpu }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.vcpu.timers.remove(self.key);
    }
}
