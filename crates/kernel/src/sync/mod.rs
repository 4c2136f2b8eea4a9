//! Locks and waiting.
//!
//! - [`SpinLock`]: a short host lock. It may not be held across a sleep (checked in debug builds), and locks nest only
//!   in the order of their [`rank`]s (checked in debug builds).
//! - [`Mutex`]: a sleeping lock; a waiter gives up its vCPU.
//! - [`WaitQueue`], [`wait_event`]: the one wait primitive, with condition, signal and deadline.
//!
//! Neighbours: `sched` (puts tasks to sleep and wakes them), `vfs::poll` (select, poll, epoll).

mod mutex;
pub mod rank;
mod spinlock;
mod wait;

pub use mutex::{Mutex, MutexGuard};
pub use rank::Rank;
pub use spinlock::{SpinLock, SpinLockGuard, assert_no_spinlock_held};
pub use wait::{Interruptible, PollTable, Sleep, WaitQueue, Wakeable, wait_event, wait_until};
