//! FUTEX_WAKE, FUTEX_REQUEUE, FUTEX_CMP_REQUEUE, FUTEX_WAKE_OP.

use std::sync::Arc;

use abi::Result;
use abi::errno::{EAGAIN, EFAULT, EINVAL, ENOSYS};
use abi::futex::*;

use super::queue::{self, Pair, Waiter};
use super::{Key, word};
use crate::mm::Mm;

/// Wakes up to `count` waiters of the futex at `addr`, by a key private to the address space and by a shared one;
/// errors are nobody's to hear.
pub fn wake(mm: &Arc<Mm>, addr: u64, count: usize) {
    let private = Key::new(mm, addr, false);
    let shared = Key::new(mm, addr, true);
    let mut done = 0;
    for key in [private.ok(), shared.ok().filter(|k| Some(*k) != private.ok())].into_iter().flatten() {
        if done < count {
            done += wake_key(&key, count - done, FUTEX_BITSET_MATCH_ANY).map_or(0, |n| n as usize);
        }
    }
}

/// Wakes up to `count` waiters, at least one, whose bit set has a bit of `bitset`; how many.
pub fn wake_key(key: &Key, count: usize, bitset: u32) -> Result<i64> {
    if bitset == 0 {
        return Err(EINVAL);
    }
    let woken = {
        let mut bucket = queue::bucket(key);
        if bucket.iter().any(|e| e.key == *key && e.waiter.lock.is_some()) {
            return Err(EINVAL);
        }
        queue::take(&mut bucket, key, count.max(1), bitset)
    };
    Ok(wake_tasks(&woken))
}

fn wake_tasks(waiters: &[Arc<Waiter>]) -> i64 {
    for waiter in waiters {
        waiter.task.wake_up();
    }
    waiters.len() as i64
}

/// Wakes `wake` waiters of `from` and moves up to `moved` others to `to`. With `expected`, EAGAIN unless the word of
/// `from` has that value. The result counts both.
pub fn requeue(
    mm: &Arc<Mm>,
    from_addr: u64,
    to_addr: u64,
    shared: bool,
    wake: usize,
    moved: usize,
    expected: Option<u32>,
) -> Result<i64> {
    let from = Key::new(mm, from_addr, shared)?;
    let to = Key::new(mm, to_addr, shared)?;
    let (woken, count) = loop {
        let mut pair = Pair::lock(&from, &to);
        if let Some(expected) = expected {
            match word::peek(mm, from_addr) {
                Some(value) if value != expected => return Err(EAGAIN),
                Some(_) => {}
                None => {
                    // Not there at the moment: brought in without the locks, then asked again.
                    drop(pair);
                    word::read(mm, from_addr)?;
                    continue;
                }
            }
        }
        let woken = queue::take(pair.from(), &from, wake, FUTEX_BITSET_MATCH_ANY);
        let count =
            if from == to { count_of(&mut pair, &from, moved) } else { shift(&mut pair, &from, &to, moved) };
        break (woken, count);
    };
    Ok(wake_tasks(&woken) + count as i64)
}

fn count_of(pair: &mut Pair, key: &Key, max: usize) -> usize {
    pair.from().iter().filter(|e| e.key == *key).take(max).count()
}

fn shift(pair: &mut Pair, from: &Key, to: &Key, max: usize) -> usize {
    let mut moving = Vec::new();
    let bucket = pair.from();
    let mut i = 0;
    while i < bucket.len() && moving.len() < max {
        if bucket[i].key == *from && bucket[i].waiter.lock.is_none() {
            moving.extend(bucket.remove(i));
        } else {
            i += 1;
        }
    }
    let count = moving.len();
    for entry in moving {
        entry.waiter.put(pair.to(), *to);
    }
    count
}

/// Changes the word at `addr2` as `encoded` says, wakes `count` waiters of `addr`, and `count2` of `addr2` if the old
/// value compares as `encoded` says.
pub fn wake_op(
    mm: &Arc<Mm>,
    addr: u64,
    addr2: u64,
    shared: bool,
    count: usize,
    count2: usize,
    encoded: u32,
) -> Result<i64> {
    let key = Key::new(mm, addr, shared)?;
    let key2 = Key::new(mm, addr2, shared)?;
    let op = WakeOp::decode(encoded)?;
    let old = word::update(mm, addr2, |old| Some(op.apply(old))).map_err(|_| EFAULT)?;
    let woken = queue::take(&mut queue::bucket(&key), &key, count.max(1), FUTEX_BITSET_MATCH_ANY);
    let mut total = wake_tasks(&woken);
    if op.compare(old) {
        let woken = queue::take(&mut queue::bucket(&key2), &key2, count2.max(1), FUTEX_BITSET_MATCH_ANY);
        total += wake_tasks(&woken);
    }
    Ok(total)
}

/// FUTEX_WAKE_OP's `val3`, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct WakeOp {
    op: u32,
    op_arg: u32,
    cmp: u32,
    cmp_arg: i32,
}

impl WakeOp {
    /// Bits, from the top: 4 operation (the highest: argument is a shift), 4 comparison, 12 and 12 arguments, signed.
    fn decode(encoded: u32) -> Result<WakeOp> {
        let signed = |field: u32| (field << 20) as i32 >> 20;
        let raw = encoded >> 28;
        let op = raw & !FUTEX_OP_OPARG_SHIFT;
        let arg = signed(encoded >> 12 & 0xfff);
        let op_arg = if raw & FUTEX_OP_OPARG_SHIFT != 0 { 1u32 << (arg & 31) } else { arg as u32 };
        let cmp = encoded >> 24 & 0xf;
        if op > FUTEX_OP_XOR || cmp > FUTEX_OP_CMP_GE {
            return Err(ENOSYS);
        }
        Ok(WakeOp { op, op_arg, cmp, cmp_arg: signed(encoded & 0xfff) })
    }

    fn apply(self, old: u32) -> u32 {
        match self.op {
            FUTEX_OP_SET => self.op_arg,
            FUTEX_OP_ADD => old.wrapping_add(self.op_arg),
            FUTEX_OP_OR => old | self.op_arg,
            FUTEX_OP_ANDN => old & !self.op_arg,
            _ => old ^ self.op_arg,
        }
    }

    fn compare(self, old: u32) -> bool {
        let old = old as i32;
        match self.cmp {
            FUTEX_OP_CMP_EQ => old == self.cmp_arg,
            FUTEX_OP_CMP_NE => old != self.cmp_arg,
            FUTEX_OP_CMP_LT => old < self.cmp_arg,
            FUTEX_OP_CMP_LE => old <= self.cmp_arg,
            FUTEX_OP_CMP_GT => old > self.cmp_arg,
            _ => old >= self.cmp_arg,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(op: u32, op_arg: u32, cmp: u32, cmp_arg: u32) -> u32 {
        op << 28 | cmp << 24 | (op_arg & 0xfff) << 12 | cmp_arg & 0xfff
    }

    #[test]
    fn wake_op_arithmetic() {
        let op = WakeOp::decode(encode(FUTEX_OP_ADD, 0xfff, FUTEX_OP_CMP_GT, 1)).unwrap();
        assert_eq!(op.apply(5), 4);
        assert!(op.compare(2) && !op.compare(1) && !op.compare(u32::MAX));
        let shift = WakeOp::decode(encode(FUTEX_OP_OR | FUTEX_OP_OPARG_SHIFT, 4, FUTEX_OP_CMP_EQ, 0xfff));
        let shift = shift.unwrap();
        assert_eq!(shift.apply(1), 17);
        assert!(shift.compare(u32::MAX));
        assert!(WakeOp::decode(encode(5, 0, 0, 0)).is_err());
        assert!(WakeOp::decode(encode(0, 0, 6, 0)).is_err());
    }
}
