//! [`Mutex`]: a lock whose waiter sleeps as a task, so its holder may sleep as well.
//!
//! First come, first served is not promised; a woken waiter competes with newcomers.

use core::ops::{Deref, DerefMut};

use super::{Interruptible, Sleep, WaitQueue, wait_event};

/// A sleeping lock. Outside a task (boot, tests) it waits on the host thread instead.
pub struct Mutex<T: ?Sized> {
    waiters: WaitQueue,
    inner: parking_lot::Mutex<T>,
}

/// Access to the value of a locked [`Mutex`].
pub struct MutexGuard<'a, T: ?Sized> {
    waiters: &'a WaitQueue,
    // Taken in drop, so that the lock is free before the waiter is woken.
    inner: Option<parking_lot::MutexGuard<'a, T>>,
}

impl<T> Mutex<T> {
    /// An unlocked mutex.
    pub fn new(value: T) -> Mutex<T> {
        Mutex { waiters: WaitQueue::new(), inner: parking_lot::Mutex::new(value) }
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Takes the lock. May sleep; not interrupted by signals.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        if let Some(guard) = self.try_lock() {
            return guard;
        }
        if !host::fiber::in_fiber() {
            return self.guard(self.inner.lock());
        }
        let sleep = Sleep { interruptible: Interruptible::No, deadline: None };
        loop {
            if let Ok(guard) = wait_event(&self.waiters, sleep, || self.try_lock()) {
                return guard;
            }
        }
    }

    /// Takes the lock if it is free.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        Some(self.guard(self.inner.try_lock()?))
    }

    fn guard<'a>(&'a self, inner: parking_lot::MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        MutexGuard { waiters: &self.waiters, inner: Some(inner) }
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.inner.as_ref().expect("locked until dropped")
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.inner.as_mut().expect("locked until dropped")
    }
}

impl<T: ?Sized> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        self.inner = None;
        self.waiters.wake_one();
    }
}
