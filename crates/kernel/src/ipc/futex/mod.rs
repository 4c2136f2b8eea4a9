//! Futexes: futex(2), futex_waitv(2), set_robust_list(2).
//!
//! | concept | where |
//! |---|---|
//! | what a futex word is called | `key.rs` ([`Key`]) |
//! | who waits for it | `queue.rs` |
//! | waiting, with timeouts and restart | `wait.rs` |
//! | waking and requeueing | `wake.rs` |
//! | locks with an owner (`PTHREAD_PRIO_INHERIT`) | `pi.rs`, `boost.rs`, `requeue_pi.rs` |
//! | locks of a thread that died | `robust.rs` |
//!
//! A waiter queues itself first and reads the word afterwards, so that a change and its wake-up in between are not
//! lost, and guest memory is read without a lock held.
//!
//! Lock: FUTEX, one a bucket; two of them in the order of their numbers. No guest memory is touched under it but by a
//! host call that doesn't sleep.

mod boost;
mod key;
mod pi;
mod queue;
mod requeue_pi;
mod robust;
mod wait;
mod wake;
mod word;

use std::sync::Arc;

use abi::errno::{EINVAL, ENOSYS};
use abi::futex::*;
use abi::time::Timespec;
use abi::{Errno, Result};

use crate::mm::Mm;
use crate::task::current;
use crate::uaccess::UserPtr;

pub use key::Key;
pub use pi::exit_pi_state;
pub use robust::{exit_robust_list, get_robust_list, set_robust_list};
pub use wait::futex_waitv;
pub use wake::wake;

use wait::Timeout;

/// futex(2). What the fourth argument is depends on the operation: a timeout or a number.
pub fn futex(
    uaddr: u64,
    op: u32,
    val: u32,
    timeout: UserPtr<Timespec>,
    uaddr2: u64,
    val3: u32,
) -> Result<i64> {
    let command = op & FUTEX_CMD_MASK;
    let shared = op & FUTEX_PRIVATE_FLAG == 0;
    let realtime = op & FUTEX_CLOCK_REALTIME != 0;
    let takes_clock =
        matches!(command, FUTEX_WAIT | FUTEX_WAIT_BITSET | FUTEX_WAIT_REQUEUE_PI | FUTEX_LOCK_PI2);
    if realtime && !takes_clock {
        return Err(ENOSYS);
    }
    let mm = current().mm()?;
    let key = |addr| Key::new(&mm, addr, shared);
    // A number in the place of the timeout.
    let val2 = timeout.addr() as u32;
    match command {
        FUTEX_WAIT => {
            let timeout = Timeout::relative(timeout)?;
            wait::wait(&mm, uaddr, shared, val, timeout, FUTEX_BITSET_MATCH_ANY)
        }
        FUTEX_WAIT_BITSET => {
            let timeout = Timeout::absolute(timeout, realtime)?;
            wait::wait(&mm, uaddr, shared, val, timeout, val3)
        }
        FUTEX_WAKE => wake::wake_key(&key(uaddr)?, limit(val)?, FUTEX_BITSET_MATCH_ANY),
        FUTEX_WAKE_BITSET => wake::wake_key(&key(uaddr)?, limit(val)?, val3),
        FUTEX_REQUEUE => wake::requeue(&mm, uaddr, uaddr2, shared, limit(val)?, limit(val2)?, None),
        FUTEX_CMP_REQUEUE => wake::requeue(&mm, uaddr, uaddr2, shared, limit(val)?, limit(val2)?, Some(val3)),
        FUTEX_WAKE_OP => wake::wake_op(&mm, uaddr, uaddr2, shared, limit(val)?, limit(val2)?, val3),
        // The older of the two always means CLOCK_REALTIME.
        FUTEX_LOCK_PI => pi::lock(&mm, uaddr, shared, Timeout::absolute(timeout, true)?),
        FUTEX_LOCK_PI2 => pi::lock(&mm, uaddr, shared, Timeout::absolute(timeout, realtime)?),
        FUTEX_WAIT_REQUEUE_PI => {
            let timeout = Timeout::absolute(timeout, realtime)?;
            requeue_pi::wait(&mm, uaddr, uaddr2, shared, val, timeout)
        }
        FUTEX_CMP_REQUEUE_PI => {
            requeue_pi::requeue(&mm, uaddr, uaddr2, shared, limit(val)?, limit(val2)?, val3)
        }
        FUTEX_TRYLOCK_PI => pi::trylock(&mm, uaddr, shared),
        FUTEX_UNLOCK_PI => pi::unlock(&mm, uaddr, shared),
        _ => Err(ENOSYS),
    }
}

/// How many to wake: Linux counts in `int`, where even a negative number wakes one.
fn limit(n: u32) -> Result<usize> {
    match n as i32 {
        1.. => Ok(n as usize),
        // Wake-ups of none happen in requeue, and are one in wake: the callers know.
        0 => Ok(0),
        _ => Err(EINVAL),
    }
}

/// The address of a futex word: aligned, in the guest.
fn check_address(addr: u64) -> Result<(), Errno> {
    if addr & 3 != 0 {
        return Err(EINVAL);
    }
    if addr >= host::stub::TASK_SIZE {
        return Err(abi::errno::EFAULT);
    }
    Ok(())
}

/// The current task's address space with a key of its own, for callers inside the kernel.
pub fn private_key(mm: &Arc<Mm>, addr: u64) -> Result<Key> {
    Key::new(mm, addr, false)
}
