//! FUTEX_WAIT, FUTEX_WAIT_BITSET, futex_waitv(2).

use std::sync::Arc;

use abi::Result;
use abi::errno::{EAGAIN, EINVAL, ERESTARTSYS, ETIMEDOUT};
use abi::futex::*;
use abi::time::{CLOCK_MONOTONIC, CLOCK_REALTIME, Timespec};

use super::queue::Waiter;
use super::{Key, word};
use crate::mm::Mm;
use crate::sync::{Sleep, wait_until};
use crate::task::current;
use crate::uaccess::UserPtr;
use crate::{signal, time};

/// When a wait ends without its event.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timeout {
    /// Host monotonic ns; none waits for ever.
    pub deadline: Option<u64>,
}

impl Timeout {
    /// A span from now on. EINVAL, EFAULT.
    pub fn relative(timeout: UserPtr<Timespec>, _realtime: bool) -> Result<Timeout> {
        let Some(timeout) = timeout.non_null() else { return Ok(Timeout::default()) };
        let span = timeout.read()?.to_ns().ok_or(EINVAL)?;
        Ok(Timeout { deadline: Some(host::clock::monotonic().saturating_add(span)) })
    }

    /// A time of a clock. EINVAL, EFAULT.
    pub fn absolute(timeout: UserPtr<Timespec>, realtime: bool) -> Result<Timeout> {
        let Some(timeout) = timeout.non_null() else { return Ok(Timeout::default()) };
        let at = timeout.read()?.to_ns().ok_or(EINVAL)?;
        Timeout::at(at, if realtime { CLOCK_REALTIME } else { CLOCK_MONOTONIC })
    }

    fn at(at: u64, clock: i32) -> Result<Timeout> {
        let left = at.saturating_sub(time::clock_now(clock)?);
        Ok(Timeout { deadline: Some(host::clock::monotonic().saturating_add(left)) })
    }
}

/// Waits on the word at `addr` while it is `expected`. EAGAIN when it isn't, ETIMEDOUT, or a restart.
pub fn wait(
    mm: &Arc<Mm>,
    addr: u64,
    shared: bool,
    expected: u32,
    timeout: Timeout,
    bitset: u32,
) -> Result<i64> {
    if bitset == 0 {
        return Err(EINVAL);
    }
    let key = Key::new(mm, addr, shared)?;
    let waiter = Waiter::new(&current(), bitset, None);
    waiter.enqueue(key);
    let value = word::read(mm, addr);
    if value != Ok(expected) {
        // A wake-up that has already chosen this waiter counts as a wait that was woken.
        return if waiter.dequeue() { Ok(0) } else { value.and(Err(EAGAIN)) };
    }
    let outcome = sleep(timeout, || waiter.is_woken().then_some(()));
    if waiter.dequeue() {
        return Ok(0);
    }
    match outcome {
        Err(ERESTARTSYS) if timeout.deadline.is_some() => Err(signal::restart_with(move || {
            let mm = current().mm()?;
            wait(&mm, addr, shared, expected, timeout, bitset).map(|n| n as u64)
        })),
        Err(errno) => Err(errno),
        // Not woken and not out of its queue: cannot be, but a wake-up too many does no harm.
        Ok(()) => Ok(0),
    }
}

/// Sleeps without a queue: wakers know the task. They set what `done` looks at first.
pub fn sleep<R>(timeout: Timeout, mut done: impl FnMut() -> Option<R>) -> Result<R> {
    wait_until(Sleep::until(timeout.deadline), |_| done())
}

/// futex_waitv(2): waits for any of several futexes; the index of one that was woken.
pub fn futex_waitv(
    waiters: UserPtr<FutexWaitv>,
    count: u32,
    flags: u32,
    timeout: UserPtr<Timespec>,
    clock: i32,
) -> Result<i64> {
    if flags != 0 || count == 0 || count as usize > FUTEX_WAITV_MAX || waiters.is_null() {
        return Err(EINVAL);
    }
    let timeout = match timeout.non_null() {
        None => Timeout::default(),
        Some(timeout) => match clock {
            CLOCK_MONOTONIC => Timeout::absolute(timeout, false)?,
            CLOCK_REALTIME => Timeout::absolute(timeout, true)?,
            _ => return Err(EINVAL),
        },
    };
    let mm = current().mm()?;
    let futexes = waiters.read_array(count as usize)?;
    let mut queued = Queued(Vec::with_capacity(futexes.len()));
    for futex in &futexes {
        let known = FUTEX2_SIZE_MASK | FUTEX2_PRIVATE;
        if futex.flags & !known != 0
            || futex.flags & FUTEX2_SIZE_MASK != FUTEX2_SIZE_U32
            || futex._reserved != 0
            || futex.val > u64::from(u32::MAX)
        {
            return Err(EINVAL);
        }
    }
    let task = current();
    for futex in &futexes {
        let key = Key::new(&mm, futex.uaddr, futex.flags & FUTEX2_PRIVATE == 0)?;
        let waiter = Waiter::new(&task, FUTEX_BITSET_MATCH_ANY, None);
        waiter.enqueue(key);
        queued.0.push(waiter);
        let value = word::read(&mm, futex.uaddr);
        if value != Ok(futex.val as u32) {
            return match queued.leave() {
                Some(index) => Ok(index),
                None => value.and(Err(EAGAIN)),
            };
        }
    }
    let outcome = sleep(timeout, || queued.0.iter().any(|w| w.is_woken()).then_some(()));
    match (queued.leave(), outcome) {
        (Some(index), _) => Ok(index),
        (None, Err(errno)) => Err(errno),
        (None, Ok(())) => Err(ETIMEDOUT),
    }
}

/// Waiters of one task; dropping them ends their waiting.
struct Queued(Vec<Arc<Waiter>>);

impl Queued {
    /// Leaves every queue; the last that had been woken, as on Linux.
    fn leave(&mut self) -> Option<i64> {
        let mut woken = None;
        for (index, waiter) in self.0.drain(..).enumerate() {
            if waiter.dequeue() {
                woken = Some(index as i64);
            }
        }
        woken
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        let _ = self.leave();
    }
}
