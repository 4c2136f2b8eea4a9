//! [`SpinLock`]: a short lock on the host's own lock, with ranks checked in debug builds.
//!
//! The name is Linux's: like there, its holder may not sleep. The host lock spins briefly and then parks the vCPU's
//! thread, so a holder that the host preempts costs no CPU.

use core::fmt;
use core::ops::{Deref, DerefMut};

use super::Rank;

/// A lock that is held for short stretches only, never across a sleep.
pub struct SpinLock<T: ?Sized> {
    rank: Rank,
    inner: parking_lot::Mutex<T>,
}

/// Access to the value of a locked [`SpinLock`].
pub struct SpinLockGuard<'a, T: ?Sized> {
    inner: parking_lot::MutexGuard<'a, T>,
    #[cfg(debug_assertions)]
    rank: Rank,
}

impl<T> SpinLock<T> {
    /// An unlocked lock of that class.
    pub const fn new(rank: Rank, value: T) -> SpinLock<T> {
        SpinLock { rank, inner: parking_lot::Mutex::new(value) }
    }

    /// The value, when the lock is no longer shared.
    pub fn into_inner(self) -> T {
        self.inner.into_inner()
    }
}

impl<T: ?Sized> SpinLock<T> {
    /// Takes the lock. Debug builds panic when a lock of the same or a higher rank is held.
    #[inline]
    pub fn lock(&self) -> SpinLockGuard<'_, T> {
        #[cfg(debug_assertions)]
        held::push(self.rank, true);
        self.guard(self.inner.lock())
    }

    /// Takes the lock if it is free; allowed in any order, because it doesn't wait.
    #[inline]
    pub fn try_lock(&self) -> Option<SpinLockGuard<'_, T>> {
        let inner = self.inner.try_lock()?;
        #[cfg(debug_assertions)]
        held::push(self.rank, false);
        Some(self.guard(inner))
    }

    /// Takes a second lock of a class that is already held (two inodes, two sockets). The caller has its own order
    /// among them, by address or by tree.
    #[inline]
    pub fn lock_nested(&self) -> SpinLockGuard<'_, T> {
        #[cfg(debug_assertions)]
        held::push(self.rank, false);
        self.guard(self.inner.lock())
    }

    /// The value, by exclusive reference.
    pub fn get_mut(&mut self) -> &mut T {
        self.inner.get_mut()
    }

    fn guard<'a>(&self, inner: parking_lot::MutexGuard<'a, T>) -> SpinLockGuard<'a, T> {
        SpinLockGuard {
            inner,
            #[cfg(debug_assertions)]
            rank: self.rank,
        }
    }

    /// The class of this lock.
    pub fn rank(&self) -> Rank {
        self.rank
    }
}

impl<T: ?Sized> Deref for SpinLockGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T: ?Sized> DerefMut for SpinLockGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}

#[cfg(debug_assertions)]
impl<T: ?Sized> Drop for SpinLockGuard<'_, T> {
    fn drop(&mut self) {
        held::pop(self.rank);
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for SpinLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SpinLock({}) ", self.rank.name)?;
        self.inner.fmt(f)
    }
}

/// Panics in debug builds when the calling thread holds a [`SpinLock`]: called before every sleep.
pub fn assert_no_spinlock_held() {
    #[cfg(debug_assertions)]
    held::assert_none();
}

#[cfg(debug_assertions)]
mod held {
    //! The ranks of the locks that this host thread holds. A guard never moves to another thread, because its holder
    //! doesn't sleep.

    use super::Rank;
    use std::cell::RefCell;

    thread_local! {
        static HELD: RefCell<Vec<Rank>> = const { RefCell::new(Vec::new()) };
    }

    #[inline(never)]
    pub fn push(rank: Rank, ordered: bool) {
        HELD.with(|held| {
            let mut held = held.borrow_mut();
            if ordered
                && let Some(top) = held.iter().max_by_key(|r| r.order)
                && top.order >= rank.order
            {
                let names: Vec<_> = held.iter().map(|r| r.name).collect();
                drop(held);
                panic!("lock order: {} taken while holding {names:?}", rank.name);
            }
            held.push(rank);
        });
    }

    #[inline(never)]
    pub fn pop(rank: Rank) {
        HELD.with(|held| {
            let mut held = held.borrow_mut();
            if let Some(at) = held.iter().rposition(|r| r.order == rank.order) {
                held.remove(at);
            }
        });
    }

    #[inline(never)]
    pub fn assert_none() {
        HELD.with(|held| {
            let held = held.borrow();
            assert!(held.is_empty(), "sleeping with spinlocks held: {:?}", *held);
        });
    }
}
