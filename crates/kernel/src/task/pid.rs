//! Process and thread numbers, and the tasklist lock.
//!
//! The tasklist lock guards who is whose parent, group and session. Holding its guard is the proof that functions which
//! change or walk the family take.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Weak};

use abi::Result;
use abi::errno::{EAGAIN, EEXIST, EINVAL, ESRCH};

use super::{Process, Task};
use crate::sync::{SpinLock, SpinLockGuard, rank};

/// Largest pid plus one as the machine starts: /proc/sys/kernel/pid_max.
pub const PID_MAX: i32 = 32768;
/// What pid_max can be set to.
pub const PID_MAX_RANGE: (i32, i32) = (301, 4 << 20);

static LIMIT: AtomicI32 = AtomicI32::new(PID_MAX);

/// /proc/sys/kernel/pid_max.
pub fn pid_max() -> i32 {
    LIMIT.load(Ordering::Relaxed)
}

/// Sets it, within [`PID_MAX_RANGE`].
pub fn set_pid_max(max: i32) {
    LIMIT.store(max, Ordering::Relaxed);
}

/// The first process, which gets the orphans.
pub const INIT_PID: i32 = 1;

/// Everything that has a number.
pub struct Tasklist {
    /// Threads by tid, zombies included until they are reaped. None while the number is reserved by a fork that is
    /// still at work.
    tasks: BTreeMap<i32, Option<Arc<Task>>>,
    /// Processes by tgid, zombies included.
    processes: BTreeMap<i32, Arc<Process>>,
    /// Members of process groups and of sessions, zombies included: a number in use here is not given out.
    groups: Members,
    sessions: Members,
    last: i32,
    forks: u64,
}

/// Processes by group or session id, then by tgid.
#[derive(Default)]
struct Members(BTreeMap<i32, BTreeMap<i32, Arc<Process>>>);

impl Members {
    const fn new() -> Members {
        Members(BTreeMap::new())
    }

    fn add(&mut self, id: i32, process: &Arc<Process>) {
        self.0.entry(id).or_default().insert(process.tgid, process.clone());
    }

    fn remove(&mut self, id: i32, tgid: i32) {
        if let Some(members) = self.0.get_mut(&id) {
            members.remove(&tgid);
            if members.is_empty() {
                self.0.remove(&id);
            }
        }
    }

    fn of(&self, id: i32) -> impl Iterator<Item = &Arc<Process>> {
        self.0.get(&id).into_iter().flat_map(BTreeMap::values)
    }
}

static TASKLIST: SpinLock<Tasklist> = SpinLock::new(
    rank::TASKLIST,
    Tasklist {
        tasks: BTreeMap::new(),
        processes: BTreeMap::new(),
        groups: Members::new(),
        sessions: Members::new(),
        last: 0,
        forks: 0,
    },
);

/// Takes the tasklist lock.
pub fn tasklist() -> SpinLockGuard<'static, Tasklist> {
    TASKLIST.lock()
}

impl Tasklist {
    /// Reserves the next free number; EAGAIN when all are in use (pids and, by Linux's rule, group and session ids).
    pub fn alloc(&mut self) -> Result<i32> {
        let max = pid_max();
        if self.tasks.len() as i32 >= max - 1 {
            return Err(EAGAIN);
        }
        for _ in 0..max {
            self.last = if self.last + 1 >= max { 300 } else { self.last + 1 };
            if !self.in_use(self.last) {
                self.tasks.insert(self.last, None);
                return Ok(self.last);
            }
        }
        Err(EAGAIN)
    }

    /// Reserves a chosen number, clone3(2) with `set_tid`; EINVAL out of range, EEXIST when it is in use.
    pub fn alloc_at(&mut self, n: i32) -> Result<i32> {
        if !(1..pid_max()).contains(&n) {
            return Err(EINVAL);
        }
        if self.in_use(n) {
            return Err(EEXIST);
        }
        self.tasks.insert(n, None);
        Ok(n)
    }

    fn in_use(&self, n: i32) -> bool {
        self.tasks.contains_key(&n) || self.groups.0.contains_key(&n) || self.sessions.0.contains_key(&n)
    }

    /// Gives a reserved number to a thread; the first thread of a process brings its process along.
    pub fn insert(&mut self, task: &Arc<Task>) {
        self.tasks.insert(task.tid(), Some(task.clone()));
        self.forks += 1;
        if task.is_group_leader() {
            let process = &task.process;
            self.processes.insert(process.tgid, process.clone());
            let (pgrp, session) = {
                let link = process.link.lock();
                (link.pgrp, link.session)
            };
            self.groups.add(pgrp, process);
            self.sessions.add(session, process);
        }
    }

    /// Gives a thread that has become the leader its new number.
    pub fn rename(&mut self, task: &Arc<Task>) {
        self.tasks.insert(task.tid(), Some(task.clone()));
    }

    /// Frees the number of a thread that was never started or has gone.
    pub fn remove_task(&mut self, tid: i32) -> Option<Arc<Task>> {
        self.tasks.remove(&tid).flatten()
    }

    /// Ends a reaped process's membership of its group and session; its last thread's number goes by
    /// [`Tasklist::remove_task`].
    pub fn remove_process(&mut self, tgid: i32) -> Option<Arc<Process>> {
        let process = self.processes.remove(&tgid)?;
        let (pgrp, session) = {
            let link = process.link.lock();
            (link.pgrp, link.session)
        };
        self.groups.remove(pgrp, tgid);
        self.sessions.remove(session, tgid);
        Some(process)
    }

    /// Thread by number.
    pub fn task(&self, tid: i32) -> Option<Arc<Task>> {
        self.tasks.get(&tid)?.clone()
    }

    /// Process by number.
    pub fn process(&self, tgid: i32) -> Option<Arc<Process>> {
        self.processes.get(&tgid).cloned()
    }

    /// All processes, by number.
    pub fn processes(&self) -> impl Iterator<Item = &Arc<Process>> {
        self.processes.values()
    }

    /// The process with that number or the next one that is in use.
    pub fn next_process(&self, from: i32) -> Option<Arc<Process>> {
        self.processes.range(from..).next().map(|(_, p)| p.clone())
    }

    /// Every thread, zombies included.
    pub fn all_tasks(&self) -> Vec<Arc<Task>> {
        self.tasks.values().flatten().cloned().collect()
    }

    /// Members of a process group.
    pub fn group(&self, pgrp: i32) -> Vec<Arc<Process>> {
        self.groups.of(pgrp).cloned().collect()
    }

    /// Members of a session.
    pub fn session(&self, session: i32) -> Vec<Arc<Process>> {
        self.sessions.of(session).cloned().collect()
    }

    /// Moves a process into another group.
    pub fn set_pgrp(&mut self, process: &Arc<Process>, pgrp: i32) {
        let old = core::mem::replace(&mut process.link.lock().pgrp, pgrp);
        self.groups.remove(old, process.tgid);
        self.groups.add(pgrp, process);
        process.publish();
    }

    /// Makes a process the leader of a new session, with a group of its own.
    pub fn set_session(&mut self, process: &Arc<Process>) {
        let old = core::mem::replace(&mut process.link.lock().session, process.tgid);
        self.sessions.remove(old, process.tgid);
        self.sessions.add(process.tgid, process);
        self.set_pgrp(process, process.tgid);
    }

    /// Number of threads.
    pub fn threads(&self) -> usize {
        self.tasks.len()
    }

    /// Threads made since the boot.
    pub fn forks(&self) -> u64 {
        self.forks
    }

    /// The number given out last, for /proc/loadavg.
    pub fn last_pid(&self) -> i32 {
        self.last
    }

    /// Sets `child`'s parent, taking it from its old one.
    pub fn set_parent(&mut self, child: &Arc<Process>, parent: &Arc<Process>) {
        let old = {
            let mut link = child.link.lock();
            core::mem::replace(&mut link.parent, Arc::downgrade(parent))
        };
        if let Some(old) = Weak::upgrade(&old) {
            old.link.lock().children.retain(|c| !Arc::ptr_eq(c, child));
        }
        parent.link.lock().children.push(child.clone());
        child.publish();
    }

    /// Takes in a process that nobody has forked, with its one thread; the number is that of its parent's thread.
    pub fn add_process(&mut self, task: &Arc<Task>, parent: Option<(&Arc<Process>, i32)>) {
        let process = &task.process;
        task.charge_user();
        process.threads.lock().push(task.clone());
        if let Some((parent, tid)) = parent {
            process.link.lock().parent_tid = tid;
            self.set_parent(process, parent);
        }
        self.insert(task);
    }
}

/// Thread by number; ESRCH.
pub fn find_task(tid: i32) -> Result<Arc<Task>> {
    tasklist().task(tid).ok_or(ESRCH)
}

/// Process by number; ESRCH.
pub fn find_process(tgid: i32) -> Result<Arc<Process>> {
    tasklist().process(tgid).ok_or(ESRCH)
}
