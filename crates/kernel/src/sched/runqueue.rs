//! Run queues and what the scheduler knows of a task.
//!
//! Normal tasks share by weight, as in Linux's fair class: each has a virtual run time that grows more slowly the
//! heavier it is, and the smallest runs next. Real-time tasks come first, by priority.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};

use crate::sync::{SpinLock, rank};
use crate::task::{Task, TaskState};

/// Scheduling policies, sched(7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// SCHED_OTHER
    Normal = 0,
    /// SCHED_FIFO
    Fifo = 1,
    /// SCHED_RR
    RoundRobin = 2,
    /// SCHED_BATCH
    Batch = 3,
    /// SCHED_IDLE
    Idle = 5,
}

impl Policy {
    /// Whether the task runs before every normal one.
    pub fn is_realtime(self) -> bool {
        matches!(self, Policy::Fifo | Policy::RoundRobin)
    }
}

/// What user space may set.
#[derive(Clone, Copy, Debug)]
pub struct SchedAttr {
    /// The policy.
    pub policy: Policy,
    /// -20..=19
    pub nice: i8,
    /// 1..=99 for real-time policies, else 0.
    pub priority: u8,
    /// SCHED_RESET_ON_FORK
    pub reset_on_fork: bool,
    /// Allowed vCPUs, a bit each.
    pub affinity: u64,
}

impl Default for SchedAttr {
    fn default() -> Self {
        SchedAttr { policy: Policy::Normal, nice: 0, priority: 0, reset_on_fork: false, affinity: u64::MAX }
    }
}

/// No vCPU's number.
const NOWHERE: usize = usize::MAX;

/// The scheduler's part of a task.
pub struct Sched {
    state: SpinLock<SchedState>,
    attr: SpinLock<SchedAttr>,
    /// Real-time priority lent by those who wait for its locks; 0 for none.
    lent: AtomicU8,
    /// Weighted run time, ns, by the clock of the vCPU that is named in `pace`.
    vruntime: AtomicU64,
    /// The vCPU by whose queue the virtual run time is reckoned; [`NOWHERE`] before it is in one.
    pace: AtomicUsize,
    /// ns in the guest program and in the kernel.
    pub(crate) utime: AtomicU64,
    pub(crate) stime: AtomicU64,
    /// Voluntary and involuntary switches.
    pub(crate) nvcsw: AtomicU64,
    pub(crate) nivcsw: AtomicU64,
    /// When it got the vCPU, ns: its slice counts from here.
    pub(super) run_start: AtomicU64,
    /// vCPU it ran on last.
    pub(crate) last_cpu: AtomicU64,
}

struct SchedState {
    state: TaskState,
    /// A vCPU runs its fiber at this moment.
    on_cpu: bool,
    /// In a run queue.
    queued: bool,
}

impl Sched {
    /// A new task's part: not queued yet.
    pub fn new(attr: SchedAttr, vruntime: u64) -> Sched {
        Sched {
            state: SpinLock::new(
                rank::TASK_SCHED,
                SchedState { state: TaskState::Uninterruptible, on_cpu: false, queued: false },
            ),
            attr: SpinLock::new(rank::LEAF, attr),
            lent: AtomicU8::new(0),
            vruntime: AtomicU64::new(vruntime),
            pace: AtomicUsize::new(NOWHERE),
            utime: AtomicU64::new(0),
            stime: AtomicU64::new(0),
            nvcsw: AtomicU64::new(0),
            nivcsw: AtomicU64::new(0),
            run_start: AtomicU64::new(0),
            last_cpu: AtomicU64::new(0),
        }
    }

    /// Policy, nice, affinity.
    pub fn attr(&self) -> SchedAttr {
        *self.attr.lock()
    }

    /// Sets them; a running task feels it at its next slice.
    pub fn set_attr(&self, attr: SchedAttr) {
        *self.attr.lock() = attr;
    }

    /// The real-time priority that it runs with, its own or a lent one; 0 for a normal task.
    pub fn realtime_priority(&self) -> u8 {
        self.attr().priority.max(self.lent.load(Ordering::Relaxed))
    }

    /// Lends it a priority; whether that is another than before.
    pub(super) fn lend(&self, priority: u8) -> bool {
        self.lent.swap(priority, Ordering::Relaxed) != priority
    }

    /// Weighted run time so far; a child starts with its parent's.
    pub fn vruntime(&self) -> u64 {
        self.vruntime.load(Ordering::Relaxed)
    }

    /// Charges `ns` of running.
    pub fn charge(&self, ns: u64) {
        self.vruntime.fetch_add(weighted(ns, self.attr()), Ordering::Relaxed);
    }

    /// Weighted run time with the `ns` that are not charged yet.
    pub(super) fn vruntime_with(&self, ns: u64) -> u64 {
        self.vruntime().saturating_add(weighted(ns, self.attr()))
    }

    /// From now on its virtual run time is reckoned by vCPU `id`: each queue's grows at a pace of its own, and `lead` is
    /// by how much that vCPU's is ahead of another's. Without it, whoever comes from a queue that is ahead would wait
    /// until all of the others have caught up.
    pub(super) fn reckon_by(&self, id: usize, lead: impl FnOnce(usize) -> i64) {
        let before = self.pace.swap(id, Ordering::Relaxed);
        if before != id && before != NOWHERE {
            let vruntime = self.vruntime().saturating_add_signed(lead(before));
            self.vruntime.store(vruntime, Ordering::Relaxed);
        }
    }

    /// Moves the task behind its equals, for sched_yield(2).
    pub fn skip_turn(&self) {
        self.charge(super::SLICE / 4);
    }

    /// The state, for wait loops and for /proc.
    pub fn state(&self) -> TaskState {
        self.state.lock().state
    }

    /// Only the task itself sets it, apart from a wake-up.
    pub fn set_state(&self, state: TaskState) {
        self.state.lock().state = state;
    }

    /// Makes a sleeping task runnable if `wakes` says so of its state. Returns whether it did.
    pub fn wake(&self, task: &Arc<Task>, wakes: impl FnOnce(TaskState) -> bool) -> bool {
        let mut state = self.state.lock();
        if state.state == TaskState::Running || !wakes(state.state) {
            return false;
        }
        state.state = TaskState::Running;
        let enqueue = !state.on_cpu && !state.queued;
        state.queued |= enqueue;
        drop(state);
        if enqueue {
            super::vcpu::enqueue(task.clone());
        }
        true
    }

    /// A vCPU takes the task from its queue.
    pub(super) fn switch_in(&self) {
        self.run_start.store(host::clock::monotonic(), Ordering::Relaxed);
        let mut state = self.state.lock();
        state.on_cpu = true;
        state.queued = false;
    }

    /// The fiber has suspended. Returns whether the task must be queued again.
    pub(super) fn switch_out(&self) -> bool {
        let mut state = self.state.lock();
        state.on_cpu = false;
        state.queued = state.state == TaskState::Running;
        state.queued
    }

    /// Whether a vCPU runs it at this moment.
    pub fn on_cpu(&self) -> bool {
        self.state.lock().on_cpu
    }
}

fn weighted(ns: u64, attr: SchedAttr) -> u64 {
    ns.saturating_mul(1024) / weight(attr)
}

/// Linux's weight of a nice level: each step is a quarter more or less.
fn weight(attr: SchedAttr) -> u64 {
    const WEIGHTS: [u64; 40] = [
        88761, 71755, 56483, 46273, 36291, 29154, 23254, 18705, 14949, 11916, 9548, 7620, 6100, 4904, 3906,
        3121, 2501, 1991, 1586, 1277, 1024, 820, 655, 526, 423, 335, 272, 215, 172, 137, 110, 87, 70, 56, 45,
        36, 29, 23, 18, 15,
    ];
    if attr.policy == Policy::Idle {
        return 3;
    }
    WEIGHTS[(attr.nice.clamp(-20, 19) + 20) as usize]
}

/// Runnable tasks of one vCPU.
#[derive(Default)]
pub struct RunQueue {
    /// Key: (99 - priority, arrival).
    realtime: BTreeMap<(u8, u64), Arc<Task>>,
    /// Key: (virtual run time, arrival).
    fair: BTreeMap<(u64, u64), Arc<Task>>,
    arrivals: u64,
    /// Never decreases; a task that slept long starts here and not far behind.
    min_vruntime: u64,
}

impl RunQueue {
    /// Time does not stand still while one task runs alone: it is `now` then, the virtual run time of that one.
    pub fn alone_until(&mut self, now: u64) {
        if self.fair.is_empty() {
            self.min_vruntime = self.min_vruntime.max(now);
        }
    }

    /// Adds a runnable task.
    pub fn push(&mut self, task: Arc<Task>) {
        self.arrivals += 1;
        let priority = task.sched.realtime_priority();
        if priority > 0 {
            self.realtime.insert((99u8.saturating_sub(priority), self.arrivals), task);
            return;
        }
        // A sleeper gets half a slice of credit, no more.
        let floor = self.min_vruntime.saturating_sub(super::SLICE / 2);
        let vruntime = task.sched.vruntime.fetch_max(floor, Ordering::Relaxed).max(floor);
        self.fair.insert((vruntime, self.arrivals), task);
    }

    /// Puts a task whose priority has changed where it belongs, if it is here.
    pub fn resort(&mut self, task: &Arc<Task>) {
        let at = self.realtime.iter().find(|(_, t)| Arc::ptr_eq(t, task)).map(|(key, _)| *key);
        let realtime = at.and_then(|key| self.realtime.remove(&key));
        let at = self.fair.iter().find(|(_, t)| Arc::ptr_eq(t, task)).map(|(key, _)| *key);
        let fair = at.and_then(|key| self.fair.remove(&key));
        if let Some(task) = realtime.or(fair) {
            self.push(task);
        }
    }

    /// Takes who runs next on vCPU `id`.
    pub fn pop(&mut self, id: usize) -> Option<Arc<Task>> {
        let allowed = |task: &Arc<Task>| id >= 64 || task.sched.attr().affinity & (1 << id) != 0;
        if let Some(key) = self.realtime.iter().find(|(_, t)| allowed(t)).map(|(k, _)| *k) {
            return self.realtime.remove(&key);
        }
        let key = self.fair.iter().find(|(_, t)| allowed(t)).map(|(k, _)| *k)?;
        self.min_vruntime = self.min_vruntime.max(key.0);
        self.fair.remove(&key)
    }

    /// Whether somebody here may run on vCPU `id`.
    pub fn has_for(&self, id: usize) -> bool {
        let allowed = |task: &Arc<Task>| id >= 64 || task.sched.attr().affinity & (1 << id) != 0;
        self.realtime.values().any(allowed) || self.fair.values().any(allowed)
    }

    /// How far its virtual time is, ns.
    pub fn min_vruntime(&self) -> u64 {
        self.min_vruntime
    }

    /// Number of runnable tasks.
    pub fn len(&self) -> usize {
        self.realtime.len() + self.fair.len()
    }

    /// Whether somebody here should run before `task`, which has just used up its slice or is being asked to yield.
    pub fn should_preempt(&self, task: &Task) -> bool {
        let priority = task.sched.realtime_priority();
        if let Some(((key, _), _)) = self.realtime.first_key_value() {
            let own = 99u8.saturating_sub(priority);
            let takes_turns = || task.sched.attr().policy == Policy::RoundRobin;
            if priority == 0 || *key < own || (*key == own && takes_turns()) {
                return true;
            }
        }
        priority == 0 && !self.fair.is_empty()
    }
}
