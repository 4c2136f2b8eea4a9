//! Stubs that programs leave, by exit or execve, and that other programs may use again.
//!
//! A program that was hostile may still have a hand in its stub. So only programs of one [`domain`] use a stub one after
//! the other: those of the same user with the same rights in the same root directory, which could as well trace each
//! other. Neighbours: `exec.rs`, `exit.rs`, `host::stub`.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::Ordering;
use std::sync::{Arc, LazyLock};

use abi::prctl::SUID_DUMP_USER;
use host::stub::StubThread;

use super::Task;
use super::cred::Cred;
use crate::mm::Mm;

/// How much memory of its own a program may have had whose stub need not end at once, bytes. Nobody counts it any more, so
/// a few of them must not matter.
const LARGEST: u64 = 8 << 20;

/// In which domain `task` is with these credentials. None if nobody is to use a stub that it has used.
pub fn domain(task: &Task, cred: &Cred) -> Option<u64> {
    static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    let dumpable = task.process.dumpable.load(Ordering::Relaxed) == SUID_DUMP_USER as i32;
    if !dumpable || task.no_new_privs.load(Ordering::Relaxed) {
        return None;
    }
    let root = task.fs().root();
    let ids = [cred.uid, cred.euid, cred.suid, cred.fsuid, cred.gid, cred.egid, cred.sgid, cred.fsgid];
    let caps =
        [cred.effective, cred.permitted, cred.inheritable, cred.bounding, cred.ambient].map(|set| set.0);
    let place = (Arc::as_ptr(&root.mnt) as usize, Arc::as_ptr(&root.dentry) as usize);
    Some(KEYS.hash_one((ids, &cred.groups, caps, cred.securebits, place)))
}

/// Gives up a thread's stub and memory.
pub fn release(domain: Option<u64>, user: Option<StubThread>, mm: Option<Arc<Mm>>) {
    let small = mm.as_ref().is_some_and(|mm| mm.lock().vmas.totals().data <= LARGEST);
    // Nobody else may know the address space when it is another program's.
    drop(mm);
    match (domain, user) {
        (Some(domain), Some(user)) if small => user.retire(domain),
        (_, Some(user)) if !small => user.end(),
        (_, user) => drop(user),
    }
}

/// A stub for a program that is to be run, from another in the same domain; put back unless it is taken.
pub struct Spare {
    domain: u64,
    stub: Option<StubThread>,
}

impl Spare {
    /// One of the domain that `task` is in, if there is one.
    pub fn new(task: &Task) -> Spare {
        let domain = domain(task, &task.cred());
        Spare { domain: domain.unwrap_or(0), stub: domain.and_then(StubThread::reuse) }
    }

    /// The stub, if it is good for `domain`.
    pub fn take(mut self, domain: Option<u64>) -> Option<StubThread> {
        if domain == Some(self.domain) { self.stub.take() } else { None }
    }
}

impl Drop for Spare {
    fn drop(&mut self) {
        if let Some(stub) = self.stub.take() {
            stub.give_back(self.domain);
        }
    }
}
