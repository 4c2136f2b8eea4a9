//! Wait queues and the one wait primitive.
//!
//! Whoever waits registers first and tests its condition afterwards, and whoever changes the condition changes it first
//! and wakes afterwards: so no wake-up is lost. An interrupted wait answers ERESTARTSYS; only the syscall's exit turns
//! that into EINTR or a restart.
//!
//! Lock: WAIT_QUEUE, over the list of one queue. Wakers are called after it is released.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::vfs::PollEvents;
use abi::Result;
use abi::errno::{ERESTARTSYS, ETIMEDOUT};

use super::{SpinLock, rank};
use crate::sched::{self, Timer};
use crate::task::{Task, TaskState, current};

/// Something that a [`WaitQueue`] can wake: a sleeping task, or an item of an epoll.
pub trait Wakeable: Send + Sync {
    /// `events` says what happened. Returns whether the wake-up was of use (an exclusive waiter that was already awake
    /// passes it on). May not sleep; called without the queue's lock.
    fn wake(&self, events: PollEvents) -> bool;
}

impl Wakeable for Task {
    fn wake(&self, _events: PollEvents) -> bool {
        self.wake_up()
    }
}

struct Entry {
    id: u64,
    who: Arc<dyn Wakeable>,
    exclusive: bool,
}

struct Inner {
    /// Length of `entries`, read without the lock by wakers: an empty queue costs one load.
    len: AtomicUsize,
    entries: SpinLock<Vec<Entry>>,
}

/// A queue of waiters. Cloning gives another handle of the same queue.
#[derive(Clone)]
pub struct WaitQueue(Arc<Inner>);

impl Default for WaitQueue {
    fn default() -> Self {
        WaitQueue::new()
    }
}

static NEXT_ENTRY: AtomicU64 = AtomicU64::new(1);

impl WaitQueue {
    /// A queue with no waiters.
    pub fn new() -> WaitQueue {
        WaitQueue(Arc::new(Inner {
            len: AtomicUsize::new(0),
            entries: SpinLock::new(rank::WAIT_QUEUE, Vec::new()),
        }))
    }

    /// Adds a waiter; the answer names it for [`WaitQueue::remove`]. Of the exclusive ones a wake-up reaches one.
    pub fn add(&self, who: Arc<dyn Wakeable>, exclusive: bool) -> u64 {
        let id = NEXT_ENTRY.fetch_add(1, Ordering::Relaxed);
        let mut entries = self.0.entries.lock();
        entries.push(Entry { id, who, exclusive });
        self.0.len.store(entries.len(), Ordering::SeqCst);
        id
    }

    /// Removes a waiter; no harm if it is gone.
    pub fn remove(&self, id: u64) {
        let mut entries = self.0.entries.lock();
        let removed = entries.iter().position(|e| e.id == id).map(|at| entries.remove(at));
        self.0.len.store(entries.len(), Ordering::SeqCst);
        drop(entries);
        // A waiter's own drop may take other locks.
        drop(removed);
    }

    /// Wakes all plain waiters and one exclusive one.
    pub fn wake(&self, events: PollEvents) {
        self.wake_some(events, 1);
    }

    /// Wakes every waiter.
    pub fn wake_all(&self) {
        self.wake_some(PollEvents::all(), usize::MAX);
    }

    /// Wakes the waiter at the front (for locks: each waiter stands alone).
    pub fn wake_one(&self) {
        if self.is_empty() {
            return;
        }
        let waiters: Vec<_> = self.0.entries.lock().iter().map(|e| e.who.clone()).collect();
        for who in waiters {
            if who.wake(PollEvents::all()) {
                return;
            }
        }
    }

    /// Whether nobody waits. A full barrier before the load pairs with the waiter's: condition, then queue.
    pub fn is_empty(&self) -> bool {
        std::sync::atomic::fence(Ordering::SeqCst);
        self.0.len.load(Ordering::SeqCst) == 0
    }

    fn wake_some(&self, events: PollEvents, mut exclusive: usize) {
        if self.is_empty() {
            return;
        }
        let waiters: Vec<_> = self.0.entries.lock().iter().map(|e| (e.who.clone(), e.exclusive)).collect();
        for (who, is_exclusive) in waiters {
            if is_exclusive && exclusive == 0 {
                continue;
            }
            if who.wake(events) && is_exclusive {
                exclusive -= 1;
            }
        }
    }
}

/// What may end a wait before its condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interruptible {
    /// Any signal that is not blocked.
    Yes,
    /// Only a fatal signal.
    Killable,
    /// Nothing.
    No,
}

/// How to sleep.
#[derive(Clone, Copy, Debug)]
pub struct Sleep {
    /// Which signals end it.
    pub interruptible: Interruptible,
    /// `CLOCK_MONOTONIC` of the host in ns; none sleeps for ever.
    pub deadline: Option<u64>,
}

impl Sleep {
    /// Until the condition holds or a signal comes.
    pub const INTERRUPTIBLE: Sleep = Sleep { interruptible: Interruptible::Yes, deadline: None };

    /// The same with a deadline.
    pub fn until(deadline: Option<u64>) -> Sleep {
        Sleep { interruptible: Interruptible::Yes, deadline }
    }
}

/// Sleeps on one queue until `condition` answers something. Errors: ERESTARTSYS, ETIMEDOUT.
pub fn wait_event<R>(queue: &WaitQueue, sleep: Sleep, mut condition: impl FnMut() -> Option<R>) -> Result<R> {
    if let Some(result) = condition() {
        return Ok(result);
    }
    wait_until(sleep, |table| {
        table.register(queue);
        condition()
    })
}

/// The queues that one wait stands in. `poll` methods register theirs with it; on later rounds it is already full and
/// registering does nothing.
pub struct PollTable {
    who: Option<Arc<dyn Wakeable>>,
    exclusive: bool,
    queues: Vec<(WaitQueue, u64)>,
}

impl PollTable {
    /// A table that registers nothing: poll methods are only asked what is ready now.
    pub fn none() -> PollTable {
        PollTable { who: None, exclusive: false, queues: Vec::new() }
    }

    /// A table that puts `who` on every queue until it is dropped.
    pub fn new(who: Arc<dyn Wakeable>, exclusive: bool) -> PollTable {
        PollTable { who: Some(who), exclusive, queues: Vec::new() }
    }

    /// Stands on `queue` from now on.
    pub fn register(&mut self, queue: &WaitQueue) {
        if let Some(who) = &self.who {
            let id = queue.add(who.clone(), self.exclusive);
            self.queues.push((queue.clone(), id));
        }
    }

    /// Ends registration: later rounds of a wait only ask.
    pub fn seal(&mut self) {
        self.who = None;
    }
}

impl Drop for PollTable {
    fn drop(&mut self) {
        for (queue, id) in self.queues.drain(..) {
            queue.remove(id);
        }
    }
}

/// Sleeps until `condition` answers something. In its first round it registers with the table it is given every queue
/// that can make a difference. Errors: ERESTARTSYS, ETIMEDOUT.
pub fn wait_until<R>(sleep: Sleep, mut condition: impl FnMut(&mut PollTable) -> Option<R>) -> Result<R> {
    let task = current();
    let mut table = PollTable::new(task.clone(), false);
    let mut timer = None;
    loop {
        // The state is set before the condition is tested: a wake-up in between makes the sleep a no-op.
        task.set_state(match sleep.interruptible {
            Interruptible::Yes => TaskState::Interruptible,
            Interruptible::Killable => TaskState::Killable,
            Interruptible::No => TaskState::Uninterruptible,
        });
        let outcome = match condition(&mut table) {
            Some(result) => Some(Ok(result)),
            None if interrupted(&task, sleep.interruptible) => Some(Err(ERESTARTSYS)),
            None if sleep.deadline.is_some_and(|d| host::clock::monotonic() >= d) => Some(Err(ETIMEDOUT)),
            None => None,
        };
        table.seal();
        if let Some(outcome) = outcome {
            task.set_state(TaskState::Running);
            return outcome;
        }
        if let Some(deadline) = sleep.deadline
            && timer.is_none()
        {
            let sleeper = Arc::downgrade(&task);
            timer = Some(Timer::start(deadline, move || {
                if let Some(task) = sleeper.upgrade() {
                    task.wake_up();
                }
            }));
        }
        sched::schedule();
    }
}

fn interrupted(task: &Task, interruptible: Interruptible) -> bool {
    match interruptible {
        Interruptible::Yes => task.signal_pending(),
        Interruptible::Killable => task.fatal_signal_pending(),
        Interruptible::No => false,
    }
}
