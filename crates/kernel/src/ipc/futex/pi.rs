//! Futexes that are locks with an owner: FUTEX_LOCK_PI, FUTEX_UNLOCK_PI and the like.
//!
//! The word holds the owner's tid, and FUTEX_WAITERS while the kernel has waiters; then only the kernel passes the lock
//! on. It is handed to the waiter with the highest priority, which finds itself the owner when it wakes. While it waits,
//! the owner runs with the waiter's real-time priority if that is higher than its own, and so does whoever that owner
//! waits for (`boost.rs`). `requeue_pi.rs` moves the waiters of a condition variable to such a lock.
//!
//! The PI lock (sleeping) serialises every change that the kernel makes to such words; guests change them meanwhile, so
//! each change is a compare-and-exchange.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use abi::Result;
use abi::errno::{EAGAIN, EDEADLK, EINVAL, EPERM, ERESTARTNOINTR, ERESTARTSYS, ESRCH};
use abi::futex::*;

use super::boost::{self, Waits};
use super::queue::{self, Lock, Waiter};
use super::wait::{Timeout, sleep};
use super::{Key, word};
use crate::mm::Mm;
use crate::task::{Task, current, pid};

/// Waiting tasks: while there are none an exit has nothing to look for.
pub(super) static WAITERS: AtomicUsize = AtomicUsize::new(0);

pub(super) enum Attempt {
    Taken,
    /// The word says that there are waiters now; its owner.
    Busy(Arc<Task>),
}

/// FUTEX_LOCK_PI, FUTEX_LOCK_PI2
pub fn lock(mm: &Arc<Mm>, addr: u64, shared: bool, timeout: Timeout) -> Result<i64> {
    let key = Key::new(mm, addr, shared)?;
    let task = current();
    let waiter = Waiter::new(&task, FUTEX_BITSET_MATCH_ANY, Some(Lock { mm: mm.clone(), addr, key }));
    {
        let mut waits = boost::lock();
        match attempt(mm, addr, &key, &task, true)? {
            Attempt::Taken => return Ok(0),
            Attempt::Busy(owner) if waits.leads_to(&owner, &task) => {
                clear_waiters_bit(mm, addr, &key);
                return Err(EDEADLK);
            }
            Attempt::Busy(owner) => {
                waiter.enqueue(key);
                waits.add(&waiter, key, owner);
            }
        }
        WAITERS.fetch_add(1, Ordering::SeqCst);
    }
    let outcome = sleep(&timeout, || waiter.is_woken().then_some(()));
    let mut waits = boost::lock();
    WAITERS.fetch_sub(1, Ordering::SeqCst);
    waits.forget(&waiter);
    if waiter.dequeue() {
        return Ok(0);
    }
    clear_waiters_bit(mm, addr, &key);
    match outcome {
        // The lock is asked for again, from the beginning.
        Err(ERESTARTSYS) => Err(ERESTARTNOINTR),
        other => other.map(|()| 0),
    }
}

/// FUTEX_TRYLOCK_PI
pub fn trylock(mm: &Arc<Mm>, addr: u64, shared: bool) -> Result<i64> {
    let key = Key::new(mm, addr, shared)?;
    let _serial = boost::lock();
    match attempt(mm, addr, &key, &current(), false)? {
        Attempt::Taken => Ok(0),
        Attempt::Busy(_) => Err(EAGAIN),
    }
}

/// Takes the lock for `task` if it is free, else marks it as waited for (unless only trying). EDEADLK, ESRCH, EINVAL.
pub(super) fn attempt(mm: &Arc<Mm>, addr: u64, key: &Key, task: &Task, wait: bool) -> Result<Attempt> {
    let tid = task.tid() as u32;
    let mut outcome = Ok(true);
    let old = word::update(mm, addr, |old| {
        let owner = old & FUTEX_TID_MASK;
        outcome = Ok(false);
        if owner == tid {
            outcome = Err(EDEADLK);
            return None;
        }
        if owner == 0 {
            outcome = Ok(true);
            let waiters = if has_waiters(key) { FUTEX_WAITERS } else { 0 };
            return Some(tid | waiters | old & FUTEX_OWNER_DIED);
        }
        // The bit in place: nobody unlocks it past the kernel.
        (wait && old & FUTEX_WAITERS == 0).then_some(old | FUTEX_WAITERS)
    })?;
    if outcome? {
        return Ok(Attempt::Taken);
    }
    match pid::find_task((old & FUTEX_TID_MASK) as i32) {
        Ok(owner) if owner.mm().is_ok() => Ok(Attempt::Busy(owner)),
        _ => Err(if has_waiters(key) { EINVAL } else { ESRCH }),
    }
}

/// FUTEX_UNLOCK_PI
pub fn unlock(mm: &Arc<Mm>, addr: u64, shared: bool) -> Result<i64> {
    let key = Key::new(mm, addr, shared)?;
    let tid = current().tid() as u32;
    let mut waits = boost::lock();
    if word::read(mm, addr)? & FUTEX_TID_MASK != tid {
        return Err(EPERM);
    }
    pass_on(&mut waits, mm, addr, &key, tid, 0)?;
    Ok(0)
}

/// Gives the lock of `tid` to the first waiter, or to nobody. EPERM when it isn't that owner's.
fn pass_on(waits: &mut Waits, mm: &Arc<Mm>, addr: u64, key: &Key, tid: u32, died: u32) -> Result<()> {
    let next = take_top(key);
    let next_tid = next.as_ref().map_or(0, |w| w.task.tid() as u32);
    let waiters = if has_waiters(key) { FUTEX_WAITERS } else { 0 };
    let owned = |word: u32| word & FUTEX_TID_MASK == tid;
    let new = next_tid | waiters | died;
    let old = word::update(mm, addr, |old| owned(old).then_some(new));
    if let Some(next) = next {
        waits.passed_on(key, &next);
        // Also when the word is not what it should be: the waiter finds out, instead of sleeping for ever.
        next.task.wake_up();
    }
    if owned(old?) { Ok(()) } else { Err(EPERM) }
}

/// The waiter that gets the lock: the highest priority, then the first.
fn take_top(key: &Key) -> Option<Arc<Waiter>> {
    let mut bucket = queue::bucket(key);
    let best = boost::top(bucket.iter().enumerate().filter(|(_, e)| e.is_for_lock(key)));
    let entry = best.and_then(|i| bucket.remove(i))?;
    entry.waiter.set_woken();
    Some(entry.waiter)
}

pub(super) fn has_waiters(key: &Key) -> bool {
    queue::bucket(key).iter().any(|e| e.is_for_lock(key))
}

/// The last waiter gave up: the owner may unlock without the kernel again.
pub(super) fn clear_waiters_bit(mm: &Arc<Mm>, addr: u64, key: &Key) {
    if !has_waiters(key) {
        let _ = word::update(mm, addr, |old| {
            (old & FUTEX_WAITERS != 0 && old & FUTEX_TID_MASK != 0).then_some(old & !FUTEX_WAITERS)
        });
    }
}

/// Passes on the lock of a dead owner, marked so. Whether there was a waiter to take it.
pub fn hand_over_dead(mm: &Arc<Mm>, addr: u64, tid: i32) -> bool {
    let mut waits = boost::lock();
    let keys = [Key::new(mm, addr, false), Key::new(mm, addr, true)];
    let waited = keys.into_iter().flatten().find(has_waiters);
    waited.is_some_and(|key| pass_on(&mut waits, mm, addr, &key, tid as u32, FUTEX_OWNER_DIED).is_ok())
}

/// Passes on every lock with waiters that the exiting task still owns, whether in its robust list or not.
pub fn exit_pi_state(task: &Arc<Task>) {
    if WAITERS.load(Ordering::SeqCst) == 0 {
        return;
    }
    let mut locks = Vec::new();
    for bucket in queue::buckets() {
        let waited = bucket.iter().filter(|e| e.is_for_lock(&e.key));
        locks.extend(waited.filter_map(|e| e.waiter.lock.clone()));
    }
    for Lock { mm, addr, key } in locks {
        let mut waits = boost::lock();
        if word::read(&mm, addr).is_ok_and(|w| (w & FUTEX_TID_MASK) as i32 == task.tid()) {
            let _ = pass_on(&mut waits, &mm, addr, &key, task.tid() as u32, FUTEX_OWNER_DIED);
        }
    }
}
