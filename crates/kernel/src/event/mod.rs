//! Waiting for events.
//!
//! - `poll.rs`, `select.rs`: poll(2), select(2). `epoll/`: epoll(7). `eventfd.rs`: eventfd(2).
//! - `inotify/`: inotify(7), which `vfs` feeds through [`crate::vfs::InodeWatch`].
//!
//! Here is what they share: timeouts and temporary signal masks.

pub mod epoll;
pub mod eventfd;
pub mod inotify;
pub mod poll;
pub mod select;

use abi::errno::{EINVAL, ETIMEDOUT};
use abi::signal::SigSet;
use abi::time::{NSEC_PER_SEC, Timespec};
use abi::{Errno, Result};

use crate::sync::{PollTable, Sleep, wait_until};
use crate::uaccess::UserPtr;

/// When a wait ends without an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timeout {
    /// At once: only ask.
    Zero,
    /// At this time of the host's CLOCK_MONOTONIC, ns.
    At(u64),
    /// Never.
    Never,
}

impl Timeout {
    /// In `millis` from now; never if negative.
    pub fn from_millis(millis: i32) -> Timeout {
        match millis {
            0 => Timeout::Zero,
            1.. => Timeout::At(host::clock::monotonic().saturating_add(millis as u64 * 1_000_000)),
            _ => Timeout::Never,
        }
    }

    /// After `ts`; EINVAL for a negative or denormal time.
    pub fn from_timespec(ts: Timespec) -> Result<Timeout> {
        let nsec = u64::try_from(ts.tv_nsec).ok().filter(|&n| n < NSEC_PER_SEC).ok_or(EINVAL)?;
        let sec = u64::try_from(ts.tv_sec).map_err(|_| EINVAL)?;
        let total = sec.saturating_mul(NSEC_PER_SEC).saturating_add(nsec);
        Ok(match total {
            0 => Timeout::Zero,
            _ => Timeout::At(host::clock::monotonic().saturating_add(total)),
        })
    }

    /// After the time at a guest address, never for a null one. EFAULT, EINVAL.
    pub fn from_user(ts: UserPtr<Timespec>) -> Result<Timeout> {
        match ts.non_null() {
            Some(ts) => Timeout::from_timespec(ts.read()?),
            None => Ok(Timeout::Never),
        }
    }

    /// What is left of it.
    pub fn remaining(self) -> Timespec {
        let left = match self {
            Timeout::At(at) => at.saturating_sub(host::clock::monotonic()),
            Timeout::Zero | Timeout::Never => 0,
        };
        Timespec { tv_sec: (left / NSEC_PER_SEC) as i64, tv_nsec: (left % NSEC_PER_SEC) as i64 }
    }
}

/// Waits until `scan` answers something: it asks every file in question, registering with the table. None at the
/// timeout; ERESTARTSYS.
pub fn wait_for<R>(timeout: Timeout, mut scan: impl FnMut(&mut PollTable) -> Option<R>) -> Result<Option<R>> {
    let deadline = match timeout {
        Timeout::Zero => return Ok(scan(&mut PollTable::none())),
        Timeout::At(at) => Some(at),
        Timeout::Never => None,
    };
    match wait_until(Sleep::until(deadline), scan) {
        Ok(found) => Ok(Some(found)),
        Err(ETIMEDOUT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Runs `wait` under the signal mask at a guest address, as ppoll(2) and its like do; without one if it is null. An
/// interrupted wait leaves the mask in place until the handler has been entered. EINVAL for a set of another size.
pub fn with_user_mask<R>(mask: u64, size: u64, wait: impl FnOnce() -> Result<R>) -> Result<R> {
    if mask == 0 {
        return wait();
    }
    if size != size_of::<SigSet>() as u64 {
        return Err(EINVAL);
    }
    let mask = UserPtr::<SigSet>::new(mask).read()?;
    crate::signal::with_temp_mask(mask, wait)
}

/// Writes back what is left of the timeout, as Linux does for ppoll and select. A wait that could not, isn't
/// restarted: it would begin with the full time again.
fn finish<R>(
    outcome: Result<R>,
    timeout: Timeout,
    write_back: impl FnOnce(Timespec) -> Result<()>,
) -> Result<R> {
    let left = timeout.remaining();
    let written = if timeout == Timeout::Never { Ok(()) } else { write_back(left) };
    match outcome {
        Err(errno) if errno.is_restart() && written.is_err() => Err(abi::errno::EINTR),
        other => other,
    }
}

/// The code of an interrupted wait that is restarted only if no handler ran.
fn no_handler(errno: Errno) -> Errno {
    if errno == abi::errno::ERESTARTSYS { abi::errno::ERESTARTNOHAND } else { errno }
}
