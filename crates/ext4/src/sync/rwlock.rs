//! The sleeping reader-writer lock.

use super::{WaitQueue, Waiter, platform};
use parking_lot::{RwLock as RawRwLock, RwLockReadGuard as RawReadGuard, RwLockWriteGuard as RawWriteGuard};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

/// A sleeping reader-writer lock, first come first served: readers that come after a waiting writer wait too. So a
/// thread that holds it for reading must not take it again.
#[derive(Default)]
pub struct RwLock<T: ?Sized> {
    pub(super) waiters: WaitQueue,
    data: RawRwLock<T>,
}

/// Shared access to what an [`RwLock`] holds, until dropped.
pub struct RwLockReadGuard<'a, T: ?Sized> {
    lock: &'a RwLock<T>,
    /// None only while the guard is dropped.
    data: Option<RawReadGuard<'a, T>>,
}

/// Exclusive access to what an [`RwLock`] holds, until dropped.
pub struct RwLockWriteGuard<'a, T: ?Sized> {
    lock: &'a RwLock<T>,
    /// None only while the guard is dropped or downgraded.
    data: Option<RawWriteGuard<'a, T>>,
}

impl<T> RwLock<T> {
    /// An open lock.
    pub const fn new(value: T) -> RwLock<T> {
        RwLock { waiters: WaitQueue::new(), data: RawRwLock::new(value) }
    }
}

impl<T: ?Sized> RwLock<T> {
    /// Locks for reading, sleeping as long as a writer has it or waits for it.
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        let data = self.acquire(|| self.data.try_read());
        RwLockReadGuard { lock: self, data: Some(data) }
    }

    /// Locks for writing, sleeping as long as anyone has it.
    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        let data = self.acquire(|| self.data.try_write());
        RwLockWriteGuard { lock: self, data: Some(data) }
    }

    /// Locks for reading if that needs no sleep.
    pub fn try_read(&self) -> Option<RwLockReadGuard<'_, T>> {
        let data = if self.waiters.is_empty() { self.data.try_read() } else { None };
        data.map(|data| RwLockReadGuard { lock: self, data: Some(data) })
    }

    /// Locks for writing if that needs no sleep.
    pub fn try_write(&self) -> Option<RwLockWriteGuard<'_, T>> {
        let data = if self.waiters.is_empty() { self.data.try_write() } else { None };
        data.map(|data| RwLockWriteGuard { lock: self, data: Some(data) })
    }

    /// The value, of which the caller is the only user.
    pub fn get_mut(&mut self) -> &mut T {
        self.data.get_mut()
    }

    /// Takes the lock by `take` at once if nobody queues, else in the queue's order: only its head may try.
    fn acquire<G>(&self, take: impl Fn() -> Option<G>) -> G {
        if self.waiters.is_empty()
            && let Some(guard) = take()
        {
            return guard;
        }
        let waiter = Waiter::new();
        self.waiters.push(&waiter);
        loop {
            waiter.woken.store(false, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            let mut queue = self.waiters.waiters.lock();
            if queue.front().is_some_and(|first| Arc::ptr_eq(first, &waiter))
                && let Some(guard) = take()
            {
                self.waiters.pop(&mut queue);
                // The next may be a reader that can come in beside this one.
                let next = queue.front().cloned();
                drop(queue);
                if let Some(next) = next {
                    next.wake();
                }
                return guard;
            }
            drop(queue);
            while !waiter.woken.load(Ordering::Acquire) {
                platform().park();
            }
        }
    }

    /// Tells the queue's head to try.
    fn released(&self) {
        if !self.waiters.is_empty() {
            let first = self.waiters.waiters.lock().front().cloned();
            if let Some(first) = first {
                first.wake();
            }
        }
    }
}

impl<'a, T: ?Sized> RwLockWriteGuard<'a, T> {
    /// Turns exclusive into shared access, with no writer in between.
    pub fn downgrade(mut self) -> RwLockReadGuard<'a, T> {
        let data = self.data.take().map(RawWriteGuard::downgrade);
        // Dropping self tells the queue's head, which may be a reader.
        RwLockReadGuard { lock: self.lock, data }
    }
}

impl<T: ?Sized> Drop for RwLockReadGuard<'_, T> {
    fn drop(&mut self) {
        self.data = None;
        self.lock.released();
    }
}

impl<T: ?Sized> Drop for RwLockWriteGuard<'_, T> {
    fn drop(&mut self) {
        self.data = None;
        self.lock.released();
    }
}

impl<T: ?Sized> Deref for RwLockReadGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.data.as_ref().expect("a guard holds its lock until dropped")
    }
}

impl<T: ?Sized> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.data.as_ref().expect("a guard holds its lock until dropped")
    }
}

impl<T: ?Sized> DerefMut for RwLockWriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.data.as_mut().expect("a guard holds its lock until dropped")
    }
}
