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

/// How many waiters a wake-up takes out of the list at a time.
const BATCH: usize = 4;

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
        let mut entries = self.0.entries.lock();
        // Under the lock: a queue's entries are in the order of their ids.
        let id = NEXT_ENTRY.fetch_add(1, Ordering::Relaxed);
        entries.push(Entry { id, who, exclusive });
        self.0.len.store(entries.len(), Ordering::SeqCst);
        id
    }

    /// Removes a waiter; no harm if it is gone.
    pub fn remove(&self, id: u64) {
        let mut entries = self.0.entries.lock();
        let removed = entries.binary_search_by_key(&id, |e| e.id).ok().map(|at| entries.remove(at));
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
        self.visit(|who, _| !who.wake(PollEvents::all()));
    }

    /// Whether nobody waits. A full barrier before the load pairs with the waiter's: condition, then queue.
    pub fn is_empty(&self) -> bool {
        std::sync::atomic::fence(Ordering::SeqCst);
        self.0.len.load(Ordering::SeqCst) == 0
    }

    fn wake_some(&self, events: PollEvents, mut exclusive: usize) {
        self.visit(|who, is_exclusive| {
            if !is_exclusive {
                who.wake(events);
            } else if exclusive > 0 && who.wake(events) {
                exclusive -= 1;
            }
            true
        });
    }

    /// Calls `each` on everybody who waits now and whether they are exclusive, until it says false. The lock isn't held
    /// meanwhile, and nothing is allocated: a few at a time are taken out of the list's order, which ids give.
    fn visit(&self, mut each: impl FnMut(&dyn Wakeable, bool) -> bool) {
        if self.is_empty() {
            return;
        }
        let end = NEXT_ENTRY.load(Ordering::Relaxed);
        let mut next = 0;
        while next < end {
            let mut batch: [Option<(Arc<dyn Wakeable>, bool)>; BATCH] = [const { None }; BATCH];
            {
                let entries = self.0.entries.lock();
                let from = entries.partition_point(|e| e.id < next);
                let waiting = entries[from..].iter().take_while(|e| e.id < end);
                next = end;
                for (i, entry) in waiting.take(BATCH + 1).enumerate() {
                    match batch.get_mut(i) {
                        Some(place) => *place = Some((entry.who.clone(), entry.exclusive)),
                        None => next = entry.id,
                    }
                }
            }
            for (who, exclusive) in batch.into_iter().flatten() {
                if !each(&*who, exclusive) {
                    return;
                }
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
    /// Most waits stand in one queue or two: those cost no allocation.
    first: [Option<(WaitQueue, u64)>; 2],
    more: Vec<(WaitQueue, u64)>,
}

impl PollTable {
    /// A table that registers nothing: poll methods are only asked what is ready now.
    pub fn none() -> PollTable {
        PollTable { who: None, exclusive: false, first: [None, None], more: Vec::new() }
    }

    /// A table that puts `who` on every queue until it is dropped.
    pub fn new(who: Arc<dyn Wakeable>, exclusive: bool) -> PollTable {
        PollTable { who: Some(who), exclusive, first: [None, None], more: Vec::new() }
    }

    /// Stands on `queue` from now on.
    pub fn register(&mut self, queue: &WaitQueue) {
        let Some(who) = &self.who else { return };
        let entry = (queue.clone(), queue.add(who.clone(), self.exclusive));
        match self.first.iter_mut().find(|place| place.is_none()) {
            Some(place) => *place = Some(entry),
            None => self.more.push(entry),
        }
    }

    /// Of the waiters registered from now on a wake-up reaches one: for those who take what they are woken for, and
    /// wake others if something is left.
    pub fn set_exclusive(&mut self) {
        self.exclusive = true;
    }

    /// Ends registration: later rounds of a wait only ask.
    pub fn seal(&mut self) {
        self.who = None;
    }
}

impl Drop for PollTable {
    fn drop(&mut self) {
        let first = self.first.iter_mut().filter_map(Option::take);
        for (queue, id) in first.chain(self.more.drain(..)) {
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    /// Counts its wake-ups; of use or not.
    struct Probe(AtomicUsize, bool);

    impl Wakeable for Probe {
        fn wake(&self, _: PollEvents) -> bool {
            self.0.fetch_add(1, Ordering::SeqCst);
            self.1
        }
    }

    fn probe(useful: bool) -> Arc<Probe> {
        Arc::new(Probe(AtomicUsize::new(0), useful))
    }

    fn counts(probes: &[Arc<Probe>]) -> Vec<usize> {
        probes.iter().map(|p| p.0.load(Ordering::SeqCst)).collect()
    }

    #[test]
    fn every_plain_waiter_and_one_exclusive_are_woken_however_many_there_are() {
        let queue = WaitQueue::new();
        // Exclusive: all but every third; of those the first two have no use for it.
        let probes: Vec<_> = (0..20).map(|i| probe(i > 2)).collect();
        for (i, who) in probes.iter().enumerate() {
            queue.add(who.clone(), i % 3 != 0);
        }
        queue.wake(PollEvents::IN);
        let expected: Vec<_> = (0..20).map(|i| usize::from(i % 3 == 0 || i <= 4)).collect();
        assert_eq!(counts(&probes), expected);
        queue.wake_all();
        assert!(counts(&probes).iter().zip(expected).all(|(now, before)| *now == before + 1));
    }

    #[test]
    fn wake_one_passes_over_those_who_are_awake() {
        let queue = WaitQueue::new();
        let probes: Vec<_> = (0..7).map(|i| probe(i == 5)).collect();
        let ids: Vec<_> = probes.iter().map(|who| queue.add(who.clone(), false)).collect();
        queue.remove(ids[1]);
        queue.wake_one();
        assert_eq!(counts(&probes), [1, 0, 1, 1, 1, 1, 0]);
    }

    #[test]
    fn who_comes_during_a_wake_up_is_not_part_of_it() {
        struct Again(WaitQueue, AtomicUsize);
        impl Wakeable for Again {
            fn wake(&self, _: PollEvents) -> bool {
                self.1.fetch_add(1, Ordering::SeqCst);
                for _ in 0..BATCH {
                    self.0.add(probe(true), false);
                }
                true
            }
        }
        let queue = WaitQueue::new();
        let who = Arc::new(Again(queue.clone(), AtomicUsize::new(0)));
        queue.add(who.clone(), false);
        queue.wake(PollEvents::IN);
        assert_eq!(who.1.load(Ordering::SeqCst), 1);
        assert_eq!(queue.0.entries.lock().len(), 1 + BATCH);
    }

    #[test]
    fn a_table_leaves_all_its_queues() {
        let queues: Vec<_> = (0..5).map(|_| WaitQueue::new()).collect();
        let who = probe(true);
        let mut table = PollTable::new(who.clone(), false);
        queues.iter().for_each(|q| table.register(q));
        table.seal();
        table.register(&queues[0]);
        queues.iter().for_each(|q| q.wake(PollEvents::IN));
        assert_eq!(who.0.load(Ordering::SeqCst), 5);
        drop(table);
        assert!(queues.iter().all(WaitQueue::is_empty));
    }
}
