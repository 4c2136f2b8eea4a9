//! Futexes that are locks with an owner: FUTEX_LOCK_PI, FUTEX_UNLOCK_PI and the like.
//!
//! The word holds the owner's tid, and FUTEX_WAITERS while the kernel has waiters; then only the kernel passes the lock
//! on. It is handed to the waiter with the highest priority, which finds itself the owner when it wakes.
//!
//! `PI_LOCK` (sleeping) serialises every change that the kernel makes to such words; guests change them meanwhile, so
//! each change is a compare-and-exchange.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use abi::Result;
use abi::errno::{EAGAIN, EDEADLK, EINVAL, EPERM, ERESTARTNOINTR, ERESTARTSYS, ESRCH};
use abi::futex::*;

use super::queue::{self, Waiter};
use super::wait::{Timeout, sleep};
use super::{Key, word};
use crate::mm::Mm;
use crate::sync::{Mutex, MutexGuard};
use crate::task::{Task, current, pid};

/// Waiting tasks: while there are none an exit has nothing to look for.
static WAITERS: AtomicUsize = AtomicUsize::new(0);

fn pi_lock() -> MutexGuard<'static, ()> {
    static PI_LOCK: OnceLock<Mutex<()>> = OnceLock::new();
    PI_LOCK.get_or_init(|| Mutex::new(())).lock()
}

enum Attempt {
    Taken,
    /// The word says that there are waiters now, and who owns it.
    Busy,
}

/// FUTEX_LOCK_PI, FUTEX_LOCK_PI2
pub fn lock(mm: &Arc<Mm>, addr: u64, shared: bool, timeout: Timeout) -> Result<i64> {
    let key = Key::new(mm, addr, shared)?;
    let task = current();
    let waiter = Waiter::new(&task, FUTEX_BITSET_MATCH_ANY, Some((mm.clone(), addr)));
    {
        let _serial = pi_lock();
        match attempt(mm, addr, &key, &task, true)? {
            Attempt::Taken => return Ok(0),
            Attempt::Busy => waiter.enqueue(key),
        }
        WAITERS.fetch_add(1, Ordering::SeqCst);
    }
    let outcome = sleep(&timeout, || waiter.is_woken().then_some(()));
    let _serial = pi_lock();
    WAITERS.fetch_sub(1, Ordering::SeqCst);
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
    let _serial = pi_lock();
    match attempt(mm, addr, &key, &current(), false)? {
        Attempt::Taken => Ok(0),
        Attempt::Busy => Err(EAGAIN),
    }
}

/// Takes the lock if it is free, else marks it as waited for (unless only trying). EDEADLK, ESRCH, EINVAL.
fn attempt(mm: &Arc<Mm>, addr: u64, key: &Key, task: &Task, wait: bool) -> Result<Attempt> {
    let tid = task.tid() as u32;
    let mut outcome = Ok(Attempt::Busy);
    word::update(mm, addr, |old| {
        let owner = old & FUTEX_TID_MASK;
        outcome = Ok(Attempt::Busy);
        if owner == tid {
            outcome = Err(EDEADLK);
            return None;
        }
        if owner == 0 {
            outcome = Ok(Attempt::Taken);
            let waiters = if has_waiters(key) { FUTEX_WAITERS } else { 0 };
            return Some(tid | waiters | old & FUTEX_OWNER_DIED);
        }
        // The bit in place: nobody unlocks it past the kernel.
        (wait && old & FUTEX_WAITERS == 0).then_some(old | FUTEX_WAITERS)
    })?;
    if matches!(outcome, Ok(Attempt::Busy)) {
        let owner = (word::read(mm, addr)? & FUTEX_TID_MASK) as i32;
        let alive = pid::find_task(owner).is_ok_and(|t| t.mm().is_ok());
        if !alive {
            return Err(if has_waiters(key) { EINVAL } else { ESRCH });
        }
    }
    outcome
}

/// FUTEX_UNLOCK_PI
pub fn unlock(mm: &Arc<Mm>, addr: u64, shared: bool) -> Result<i64> {
    let key = Key::new(mm, addr, shared)?;
    let tid = current().tid() as u32;
    let _serial = pi_lock();
    if word::read(mm, addr)? & FUTEX_TID_MASK != tid {
        return Err(EPERM);
    }
    pass_on(mm, addr, &key, tid, 0)?;
    Ok(0)
}

/// Gives the lock of `tid` to the first waiter, or to nobody. EPERM when it isn't that owner's.
fn pass_on(mm: &Arc<Mm>, addr: u64, key: &Key, tid: u32, died: u32) -> Result<()> {
    let next = take_top(key);
    let next_tid = next.as_ref().map_or(0, |w| w.task.tid() as u32);
    let waiters = if has_waiters(key) { FUTEX_WAITERS } else { 0 };
    let owned = |word: u32| word & FUTEX_TID_MASK == tid;
    let new = next_tid | waiters | died;
    let old = word::update(mm, addr, |old| owned(old).then_some(new));
    if let Some(next) = next {
        // Also when the word is not what it should be: the waiter finds out, instead of sleeping for ever.
        next.task.wake_up();
    }
    if owned(old?) { Ok(()) } else { Err(EPERM) }
}

/// The waiter that gets the lock: the highest priority, then the first.
fn take_top(key: &Key) -> Option<Arc<Waiter>> {
    let mut bucket = queue::bucket(key);
    let priority = |task: &Task| {
        let attr = task.sched.attr();
        // Real-time ones first, then by nice.
        (u32::from(attr.priority), -i32::from(attr.nice))
    };
    let mut best: Option<(usize, (u32, i32))> = None;
    for (i, entry) in bucket.iter().enumerate() {
        let p = priority(&entry.waiter.task);
        if entry.key == *key && entry.waiter.lock.is_some() && best.is_none_or(|(_, top)| p > top) {
            best = Some((i, p));
        }
    }
    let entry = best.and_then(|(i, _)| bucket.remove(i))?;
    entry.waiter.set_woken();
    Some(entry.waiter)
}

fn has_waiters(key: &Key) -> bool {
    queue::bucket(key).iter().any(|e| e.key == *key && e.waiter.lock.is_some())
}

/// The last waiter gave up: the owner may unlock without the kernel again.
fn clear_waiters_bit(mm: &Arc<Mm>, addr: u64, key: &Key) {
    if !has_waiters(key) {
        let _ = word::update(mm, addr, |old| {
            (old & FUTEX_WAITERS != 0 && old & FUTEX_TID_MASK != 0).then_some(old & !FUTEX_WAITERS)
        });
    }
}

/// Passes on the lock of a dead owner, marked so. Whether there was a waiter to take it.
pub fn hand_over_dead(mm: &Arc<Mm>, addr: u64, tid: i32) -> bool {
    let _serial = pi_lock();
    let keys = [Key::new(mm, addr, false), Key::new(mm, addr, true)];
    let waited = keys.into_iter().flatten().find(has_waiters);
    waited.is_some_and(|key| pass_on(mm, addr, &key, tid as u32, FUTEX_OWNER_DIED).is_ok())
}

/// Passes on every lock with waiters that the exiting task still owns, whether in its robust list or not.
pub fn exit_pi_state(task: &Arc<Task>) {
    if WAITERS.load(Ordering::SeqCst) == 0 {
        return;
    }
    let mut locks = Vec::new();
    for bucket in queue::buckets() {
        locks.extend(bucket.iter().filter_map(|e| e.waiter.lock.clone().map(|(mm, addr)| (e.key, mm, addr))));
    }
    for (key, mm, addr) in locks {
        let _serial = pi_lock();
        if word::read(&mm, addr).is_ok_and(|w| (w & FUTEX_TID_MASK) as i32 == task.tid()) {
            let _ = pass_on(&mm, addr, &key, task.tid() as u32, FUTEX_OWNER_DIED);
        }
    }
}
