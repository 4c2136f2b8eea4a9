//! FUTEX_WAIT_REQUEUE_PI and FUTEX_CMP_REQUEUE_PI: a condition variable whose waiters, when it is signalled, wait for its
//! lock instead of waking all at once.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use abi::Result;
use abi::errno::{EAGAIN, EINVAL, ERESTARTNOINTR, ERESTARTSYS};
use abi::futex::*;

use super::boost;
use super::pi::{Attempt, WAITERS, attempt, clear_waiters_bit, has_waiters};
use super::queue::{self, Lock, Pair, Waiter};
use super::wait::{Timeout, sleep};
use super::{Key, word};
use crate::mm::Mm;
use crate::task::current;

/// Waits on `addr` while it is `expected`, then for the lock at `lock_addr`; 0 with the lock taken. EAGAIN when the word
/// has another value, or when a signal came while it waited for the lock; ETIMEDOUT.
pub fn wait(
    mm: &Arc<Mm>,
    addr: u64,
    lock_addr: u64,
    shared: bool,
    expected: u32,
    timeout: Timeout,
) -> Result<i64> {
    let (key, lock_key) = (Key::new(mm, addr, shared)?, Key::new(mm, lock_addr, shared)?);
    if key == lock_key {
        return Err(EINVAL);
    }
    let lock = Lock { mm: mm.clone(), addr: lock_addr, key: lock_key };
    let waiter = Waiter::new(&current(), FUTEX_BITSET_MATCH_ANY, Some(lock));
    WAITERS.fetch_add(1, Ordering::SeqCst);
    waiter.enqueue(key);
    let value = word::read(mm, addr);
    let outcome = if value == Ok(expected) {
        sleep(&timeout, || waiter.is_woken().then_some(()))
    } else {
        value.and(Err(EAGAIN))
    };
    let mut waits = boost::lock();
    WAITERS.fetch_sub(1, Ordering::SeqCst);
    waits.forget(&waiter);
    let moved = queue::bucket(&lock_key).iter().any(|e| Arc::ptr_eq(&e.waiter, &waiter) && e.key == lock_key);
    if waiter.dequeue() {
        return Ok(0);
    }
    if moved {
        clear_waiters_bit(mm, lock_addr, &lock_key);
    }
    match outcome {
        // Begun anew it would find another value in the word.
        Err(ERESTARTSYS) if moved => Err(EAGAIN),
        Err(ERESTARTSYS) => Err(ERESTARTNOINTR),
        other => other.map(|()| 0),
    }
}

/// Gives the lock at `to_addr` to the first waiter of `from_addr` if it is free, and moves up to `moved` others to its
/// queue, one more if it isn't. EAGAIN unless the word of `from_addr` is `expected`; EINVAL for waiters of another kind;
/// how many were woken and moved.
pub fn requeue(
    mm: &Arc<Mm>,
    from_addr: u64,
    to_addr: u64,
    shared: bool,
    wake: usize,
    moved: usize,
    expected: u32,
) -> Result<i64> {
    let (from, to) = (Key::new(mm, from_addr, shared)?, Key::new(mm, to_addr, shared)?);
    if wake != 1 || from == to {
        return Err(EINVAL);
    }
    let mut waits = boost::lock();
    if word::read(mm, from_addr)? != expected {
        return Err(EAGAIN);
    }
    let Some(first) = first_waiter(&from, &to)? else { return Ok(0) };
    let mut total = 0;
    let (owner, most) = match attempt(mm, to_addr, &to, &first.task, true)? {
        Attempt::Busy(owner) => (owner, moved.saturating_add(1)),
        Attempt::Taken => {
            if !take(&from, &first) {
                // It gave up meanwhile: so does the lock.
                let tid = first.task.tid() as u32;
                let free = |old: u32| (old & FUTEX_TID_MASK == tid).then_some(old & FUTEX_OWNER_DIED);
                word::update(mm, to_addr, free)?;
                return Err(EAGAIN);
            }
            waits.passed_on(&to, &first);
            first.task.wake_up();
            total += 1;
            (first.task.clone(), moved)
        }
    };
    for waiter in shift(&from, &to, most) {
        waits.add(&waiter, to, owner.clone());
        total += 1;
    }
    if has_waiters(&to) {
        word::update(mm, to_addr, |old| (old & FUTEX_WAITERS == 0).then_some(old | FUTEX_WAITERS))?;
    }
    Ok(total)
}

/// Who gets the lock. EINVAL if somebody there waits for anything else.
fn first_waiter(from: &Key, to: &Key) -> Result<Option<Arc<Waiter>>> {
    let bucket = queue::bucket(from);
    let here = || bucket.iter().enumerate().filter(|(_, e)| e.key == *from);
    if here().any(|(_, e)| e.waiter.lock.as_ref().is_none_or(|lock| lock.key != *to)) {
        return Err(EINVAL);
    }
    Ok(boost::top(here()).map(|i| bucket[i].waiter.clone()))
}

/// Takes a waiter out of its queue as woken; false if it is no longer there.
fn take(from: &Key, waiter: &Arc<Waiter>) -> bool {
    let mut bucket = queue::bucket(from);
    let at = bucket.iter().position(|e| Arc::ptr_eq(&e.waiter, waiter));
    let entry = at.and_then(|i| bucket.remove(i));
    if entry.is_some() {
        waiter.set_woken();
    }
    entry.is_some()
}

fn shift(from: &Key, to: &Key, most: usize) -> Vec<Arc<Waiter>> {
    let mut pair = Pair::lock(from, to);
    let mut shifted = Vec::new();
    while shifted.len() < most {
        let bucket = pair.from();
        let best = boost::top(bucket.iter().enumerate().filter(|(_, e)| e.key == *from));
        let Some(entry) = best.and_then(|i| bucket.remove(i)) else { break };
        entry.waiter.put(pair.to(), *to);
        shifted.push(entry.waiter);
    }
    shifted
}
