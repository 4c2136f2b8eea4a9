//! Who a task is: getpid(2) and its kin, which stubs answer themselves as a rule; set_tid_address(2).

use std::sync::atomic::Ordering;

use abi::Result;
use host::answers::Ids;

use super::{Process, Task, current};

impl Task {
    /// Tells its stub who it is. Whoever changes that calls this after the change; the process's link is locked meanwhile,
    /// so that the last word is the latest.
    pub fn publish(&self) {
        let link = self.process.link.lock();
        let cred = self.cred();
        self.answers.set(&Ids {
            pid: self.tgid(),
            tid: self.tid(),
            ppid: link.parent.upgrade().map_or(0, |parent| parent.tgid),
            pgrp: link.pgrp,
            uid: cred.uid,
            euid: cred.euid,
            gid: cred.gid,
            egid: cred.egid,
        });
    }
}

impl Process {
    /// The same for all its threads, after a change of parent or group.
    pub fn publish(&self) {
        self.threads().iter().for_each(|thread| thread.publish());
    }
}

/// getpid(2)
pub fn getpid() -> Result<i32> {
    Ok(current().tgid())
}

/// getppid(2)
pub fn getppid() -> Result<i32> {
    Ok(current().process.ppid())
}

/// gettid(2)
pub fn gettid() -> Result<i32> {
    Ok(current().tid())
}

/// set_tid_address(2)
pub fn set_tid_address(addr: u64) -> Result<i32> {
    let task = current();
    task.clear_child_tid.store(addr, Ordering::Relaxed);
    Ok(task.tid())
}
