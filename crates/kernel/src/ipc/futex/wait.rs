//! FUTEX_WAIT, FUTEX_WAIT_BITSET, futex_waitv(2).

use std::sync::Arc;

use abi::Result;
use abi::errno::{EAGAIN, EINVAL, ERESTARTSYS, ETIMEDOUT};
use abi::futex::*;
use abi::time::{CLOCK_MONOTONIC, CLOCK_REALTIME, Timespec};

use super::queue::Waiter;
use super::{Key, word};
use crate::mm::Mm;
use crate::signal;
use crate::sync::{Sleep, wait_until};
use crate::task::current;
use crate::time::Clock;
use crate::time::sleep::wait_event_until;
use crate::uaccess::UserPtr;

/// When a wait ends without its event: a clock and its time in ns, or never.
#[derive(Clone, Default)]
pub struct Timeout(Option<(Clock, u64)>);

impl Timeout {
    /// A span from now on, which no clock's setting changes. EINVAL, EFAULT.
    pub fn relative(timeout: UserPtr<Timespec>) -> Result<Timeout> {
        let Some(timeout) = timeout.non_null() else { return Ok(Timeout::default()) };
        let span = timeout.read()?.to_ns().ok_or(EINVAL)?;
        let clock = Clock::Monotonic;
        let until = clock.now().saturating_add(span);
        Ok(Timeout(Some((clock, until))))
    }

    /// A time of CLOCK_REALTIME or CLOCK_MONOTONIC. EINVAL, EFAULT.
    pub fn absolute(timeout: UserPtr<Timespec>, realtime: bool) -> Result<Timeout> {
        let Some(timeout) = timeout.non_null() else { return Ok(Timeout::default()) };
        let until = timeout.read()?.to_ns().ok_or(EINVAL)?;
        Ok(Timeout(Some((if realtime { Clock::Realtime } else { Clock::Monotonic }, until))))
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
    let outcome = sleep(&timeout, || waiter.is_woken().then_some(()));
    if waiter.dequeue() {
        return Ok(0);
    }
    match outcome {
        Err(ERESTARTSYS) if timeout.0.is_some() => Err(signal::restart_with(move || {
            let mm = current().mm()?;
            wait(&mm, addr, shared, expected, timeout, bitset).map(|n| n as u64)
        })),
        Err(errno) => Err(errno),
        // Not woken and not out of its queue: cannot be, but a wake-up too many does no harm.
        Ok(()) => Ok(0),
    }
}

/// Sleeps without a queue: wakers know the task. They set what `done` looks at first. ERESTARTSYS, ETIMEDOUT.
pub fn sleep<R>(timeout: &Timeout, mut done: impl FnMut() -> Option<R>) -> Result<R> {
    match &timeout.0 {
        None => wait_until(Sleep::INTERRUPTIBLE, |_| done()),
        Some((clock, until)) => wait_event_until(clock, *until, None, done),
    }
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
    let outcome = sleep(&timeout, || queued.0.iter().any(|w| w.is_woken()).then_some(()));
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
