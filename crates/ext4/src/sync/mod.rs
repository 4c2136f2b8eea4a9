//! Sleeping locks on a pluggable platform: the only way, beside a block device's call, in which this crate blocks.
//!
//! The kernel's coroutines park as tasks of its own scheduler, tests and tools as host threads. A lock here may be
//! held over device calls and other sleeping locks; `parking_lot` locks elsewhere in the crate may not.
//!
//! The data sits in a `parking_lot` lock that is only ever tried, never waited for; who doesn't get it queues here.
//! Waits are uninterruptible, as those for Linux's file system locks are.

mod rwlock;
#[cfg(test)]
mod tests;

pub use rwlock::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use parking_lot::{Mutex as RawMutex, MutexGuard as RawMutexGuard};
use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

/// What can be woken from [`Platform::park`].
pub trait Thread: Send + Sync {
    /// Ends the thread's present or next `park`.
    fn unpark(&self);
}

/// How the caller of this library sleeps and tells the time.
pub trait Platform: Send + Sync {
    /// The running thread (or task).
    fn current(&self) -> Arc<dyn Thread>;
    /// Sleeps until [`Thread::unpark`], which may have come already; may also return for no reason.
    fn park(&self);
    /// A clock that never goes backwards, in nanoseconds.
    fn now(&self) -> u64;
}

static PLATFORM: OnceLock<&'static dyn Platform> = OnceLock::new();

/// Sets how threads sleep, before the library's first use. Returns false if that was decided already.
pub fn set_platform(platform: &'static dyn Platform) -> bool {
    PLATFORM.set(platform).is_ok()
}

/// The platform: host threads unless [`set_platform`] said otherwise.
pub fn platform() -> &'static dyn Platform {
    *PLATFORM.get_or_init(|| &HostThreads)
}

/// Plain host threads.
struct HostThreads;

impl Thread for std::thread::Thread {
    fn unpark(&self) {
        std::thread::Thread::unpark(self);
    }
}

impl Platform for HostThreads {
    fn current(&self) -> Arc<dyn Thread> {
        Arc::new(std::thread::current())
    }

    fn park(&self) {
        std::thread::park();
    }

    fn now(&self) -> u64 {
        static START: OnceLock<Instant> = OnceLock::new();
        START.get_or_init(Instant::now).elapsed().as_nanos() as u64
    }
}

struct Waiter {
    thread: Arc<dyn Thread>,
    woken: AtomicBool,
}

impl Waiter {
    fn new() -> Arc<Waiter> {
        Arc::new(Waiter { thread: platform().current(), woken: AtomicBool::new(false) })
    }

    fn wake(&self) {
        self.woken.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

/// Threads waiting for a condition that others make true and then announce.
#[derive(Default)]
pub struct WaitQueue {
    waiters: RawMutex<VecDeque<Arc<Waiter>>>,
    /// The queue's length, so that a wake-up of nobody costs one load.
    queued: AtomicUsize,
}

impl WaitQueue {
    /// An empty queue.
    pub const fn new() -> WaitQueue {
        WaitQueue { waiters: RawMutex::new(VecDeque::new()), queued: AtomicUsize::new(0) }
    }

    /// Sleeps until `condition` gives a value. It is asked at once and after each wake-up, by this thread, and must
    /// not sleep itself.
    pub fn wait_for<T>(&self, mut condition: impl FnMut() -> Option<T>) -> T {
        if let Some(value) = condition() {
            return value;
        }
        loop {
            let waiter = Waiter::new();
            self.push(&waiter);
            if let Some(value) = condition() {
                self.leave(&waiter);
                return value;
            }
            while !waiter.woken.load(Ordering::Acquire) {
                platform().park();
            }
        }
    }

    /// Wakes the one that has waited longest.
    pub fn wake_one(&self) {
        if !self.is_empty() {
            let first = self.pop(&mut self.waiters.lock());
            if let Some(waiter) = first {
                waiter.wake();
            }
        }
    }

    /// Wakes all.
    pub fn wake_all(&self) {
        if !self.is_empty() {
            let all = {
                let mut waiters = self.waiters.lock();
                self.queued.store(0, Ordering::SeqCst);
                std::mem::take(&mut *waiters)
            };
            all.iter().for_each(|waiter| waiter.wake());
        }
    }

    /// Whether nobody waits. What the caller did before is seen by whoever queues after.
    fn is_empty(&self) -> bool {
        fence(Ordering::SeqCst);
        self.queued.load(Ordering::Relaxed) == 0
    }

    fn push(&self, waiter: &Arc<Waiter>) {
        let mut waiters = self.waiters.lock();
        waiters.push_back(waiter.clone());
        self.queued.store(waiters.len(), Ordering::SeqCst);
        drop(waiters);
        fence(Ordering::SeqCst);
    }

    fn pop(&self, waiters: &mut VecDeque<Arc<Waiter>>) -> Option<Arc<Waiter>> {
        let first = waiters.pop_front();
        self.queued.store(waiters.len(), Ordering::SeqCst);
        first
    }

    /// Takes the waiter out of the queue; a wake-up that it swallowed goes to the next.
    fn leave(&self, waiter: &Arc<Waiter>) {
        let mut waiters = self.waiters.lock();
        waiters.retain(|queued| !Arc::ptr_eq(queued, waiter));
        self.queued.store(waiters.len(), Ordering::SeqCst);
        drop(waiters);
        if waiter.woken.load(Ordering::Acquire) {
            self.wake_one();
        }
    }
}

/// A sleeping mutex. Whoever runs may overtake those who sleep, which keeps it fast where it is contended.
#[derive(Default)]
pub struct Mutex<T: ?Sized> {
    waiters: WaitQueue,
    data: RawMutex<T>,
}

/// Access to what a [`Mutex`] holds, until dropped.
pub struct MutexGuard<'a, T: ?Sized> {
    lock: &'a Mutex<T>,
    /// None only while the guard is dropped.
    data: Option<RawMutexGuard<'a, T>>,
}

impl<T> Mutex<T> {
    /// An open lock.
    pub const fn new(value: T) -> Mutex<T> {
        Mutex { waiters: WaitQueue::new(), data: RawMutex::new(value) }
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Locks, sleeping as long as another has it.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        let data = self.waiters.wait_for(|| self.data.try_lock());
        MutexGuard { lock: self, data: Some(data) }
    }

    /// Locks if that needs no sleep.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.data.try_lock().map(|data| MutexGuard { lock: self, data: Some(data) })
    }

    /// The value, of which the caller is the only user.
    pub fn get_mut(&mut self) -> &mut T {
        self.data.get_mut()
    }
}

impl<T: ?Sized> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        self.data = None;
        self.lock.waiters.wake_one();
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.data.as_ref().expect("a guard holds its lock until dropped")
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.data.as_mut().expect("a guard holds its lock until dropped")
    }
}

/// A condition variable for [`Mutex`].
#[derive(Default)]
pub struct Condvar {
    waiters: WaitQueue,
}

impl Condvar {
    /// One nobody waits for.
    pub const fn new() -> Condvar {
        Condvar { waiters: WaitQueue::new() }
    }

    /// Unlocks, sleeps until notified, locks again. May return for no reason.
    pub fn wait<'a, T: ?Sized>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        let lock = guard.lock;
        let waiter = Waiter::new();
        self.waiters.push(&waiter);
        drop(guard);
        while !waiter.woken.load(Ordering::Acquire) {
            platform().park();
        }
        lock.lock()
    }

    /// Wakes one waiter.
    pub fn notify_one(&self) {
        self.waiters.wake_one();
    }

    /// Wakes all waiters.
    pub fn notify_all(&self) {
        self.waiters.wake_all();
    }
}
