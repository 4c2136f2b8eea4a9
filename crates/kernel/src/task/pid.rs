//! Process and thread numbers, and the tasklist lock.
//!
//! The tasklist lock guards who is whose parent, group and session. Holding its guard is the proof that functions which
//! change or walk the family take.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use abi::Result;
use abi::errno::{EAGAIN, ESRCH};

use super::{Process, Task};
use crate::sync::{SpinLock, SpinLockGuard, rank};

/// Largest pid plus one: /proc/sys/kernel/pid_max.
pub const PID_MAX: i32 = 32768;

/// Everything that has a number.
pub struct Tasklist {
    /// Threads by tid, zombies included until they are reaped. None while the number is reserved by a fork that is
    /// still at work.
    tasks: BTreeMap<i32, Option<Arc<Task>>>,
    /// Processes by tgid, zombies included.
    processes: BTreeMap<i32, Arc<Process>>,
    last: i32,
}

static TASKLIST: SpinLock<Tasklist> =
    SpinLock::new(rank::TASKLIST, Tasklist { tasks: BTreeMap::new(), processes: BTreeMap::new(), last: 0 });

/// Takes the tasklist lock.
pub fn tasklist() -> SpinLockGuard<'static, Tasklist> {
    TASKLIST.lock()
}

impl Tasklist {
    /// Reserves the next free number; EAGAIN when all are in use (pids and, by Linux's rule, group and session ids).
    pub fn alloc(&mut self) -> Result<i32> {
        if self.tasks.len() as i32 >= PID_MAX - 1 {
            return Err(EAGAIN);
        }
        let in_use = |list: &Tasklist, n: i32| list.tasks.contains_key(&n) || list.group_in_use(n);
        for _ in 0..PID_MAX {
            self.last = if self.last + 1 >= PID_MAX { 300 } else { self.last + 1 };
            if !in_use(self, self.last) {
                self.tasks.insert(self.last, None);
                return Ok(self.last);
            }
        }
        Err(EAGAIN)
    }

    fn group_in_use(&self, n: i32) -> bool {
        // Only a number that was a process's can be a group's: the leader is gone, so members must be asked.
        self.processes.values().any(|p| {
            let link = p.link.lock();
            link.pgrp == n || link.session == n
        })
    }

    /// Gives a reserved number to a thread; the first thread of a process brings its process along.
    pub fn insert(&mut self, task: &Arc<Task>) {
        self.tasks.insert(task.tid, Some(task.clone()));
        if task.is_group_leader() {
            self.processes.insert(task.tid, task.process.clone());
        }
    }

    /// Frees the number of a thread that was never started or has gone.
    pub fn remove_task(&mut self, tid: i32) -> Option<Arc<Task>> {
        self.tasks.remove(&tid).flatten()
    }

    /// Frees the number of a reaped process.
    pub fn remove_process(&mut self, tgid: i32) -> Option<Arc<Process>> {
        self.tasks.remove(&tgid);
        self.processes.remove(&tgid)
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

    /// Members of a process group.
    pub fn group(&self, pgrp: i32) -> Vec<Arc<Process>> {
        self.processes.values().filter(|p| p.pgrp() == pgrp).cloned().collect()
    }

    /// Members of a session.
    pub fn session(&self, session: i32) -> Vec<Arc<Process>> {
        self.processes.values().filter(|p| p.session() == session).cloned().collect()
    }

    /// Number of threads.
    pub fn threads(&self) -> usize {
        self.tasks.len()
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
