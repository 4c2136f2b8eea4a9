//! O_ASYNC: signals that tell of a file's readiness, fcntl(2) F_SETOWN and F_SETSIG.
//!
//! An object that can tell has a [`FasyncList`]; setting O_ASYNC on a file puts the file's owner there.
//!
//! Locks: LEAF, over one list; FILE, over an owner. Signals are sent with neither held; the caller holds nothing above
//! the process list.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering, fence};

use abi::Result;
use abi::errno::ENOTTY;
use abi::fcntl::{F_OWNER_PGRP, F_OWNER_TID, OpenFlags};
use abi::signal::{
    POLL_HUP, POLL_IN, POLL_OUT, SI_KERNEL, SI_SIGIO, SIGBUS, SIGCHLD, SIGFPE, SIGILL, SIGIO, SIGSEGV,
    SIGSYS, SIGTRAP, SigInfo,
};

use super::{File, PollEvents};
use crate::signal::{Queued, queue_to_process, queue_to_task};
use crate::sync::{SpinLock, rank};
use crate::task::{Cred, Task, pid};

/// Who gets SIGIO: F_SETOWN_EX.
#[derive(Clone, Copy, Debug, Default)]
pub struct FileOwner {
    /// F_OWNER_TID, F_OWNER_PID, F_OWNER_PGRP
    pub kind: i32,
    /// Number; 0 for nobody.
    pub id: i32,
    /// F_SETSIG; 0 means SIGIO.
    pub signal: i32,
    /// Real and effective user of the setter, for the permission to signal.
    pub uids: (u32, u32),
}

/// A file's owner, which the lists that it stands on share.
pub type Owner = Arc<SpinLock<FileOwner>>;

/// Nobody's yet.
pub fn new_owner() -> Owner {
    Arc::new(SpinLock::new(rank::FILE, FileOwner::default()))
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Band {
    /// There is something to read, or nothing will come any more.
    In,
    /// There is room.
    Out,
    /// The other side has gone.
    Hup,
}

impl Band {
    fn code_and_events(self) -> (i32, PollEvents) {
        match self {
            Band::In => (POLL_IN, PollEvents::READABLE),
            Band::Out => (POLL_OUT, PollEvents::WRITABLE | PollEvents::WRBAND),
            Band::Hup => (POLL_HUP, PollEvents::HUP | PollEvents::ERR),
        }
    }

    /// What a signal other than SIGIO says: with it a code of its own would mean something else in some signals.
    fn info(self, sig: u32, fd: i32) -> SigInfo {
        let (code, events) = self.code_and_events();
        let specific = [SIGILL, SIGFPE, SIGSEGV, SIGBUS, SIGTRAP, SIGCHLD, SIGSYS].contains(&sig);
        let code = if specific { SI_SIGIO } else { code };
        SigInfo::poll(sig, code, i64::from(events.bits()), fd)
    }
}

struct Entry {
    /// The file's address: only to find it again.
    file: usize,
    fd: i32,
    owner: Owner,
}

/// Files with O_ASYNC of one object.
pub struct FasyncList {
    /// Length, read without the lock: hardly any object has some.
    len: AtomicUsize,
    entries: SpinLock<Vec<Entry>>,
}

impl Default for FasyncList {
    fn default() -> FasyncList {
        FasyncList::new()
    }
}

impl FasyncList {
    /// Nobody.
    pub const fn new() -> FasyncList {
        FasyncList { len: AtomicUsize::new(0), entries: SpinLock::new(rank::LEAF, Vec::new()) }
    }

    fn set(&self, file: &File, fd: i32, on: bool) {
        let address = core::ptr::from_ref(file).addr();
        let owner = file.owner_cell().clone();
        let removed = {
            let mut entries = self.entries.lock();
            let old = entries.iter().position(|e| e.file == address).map(|at| entries.swap_remove(at));
            if on {
                entries.push(Entry { file: address, fd, owner });
            }
            self.len.store(entries.len(), Ordering::SeqCst);
            old
        };
        drop(removed);
    }

    /// Sends everybody their signal.
    pub fn kill(&self, band: Band) {
        fence(Ordering::SeqCst);
        if self.len.load(Ordering::SeqCst) == 0 {
            return;
        }
        let told: Vec<_> = self.entries.lock().iter().map(|e| (e.fd, e.owner.clone())).collect();
        for (fd, owner) in told {
            let owner = *owner.lock();
            send_sigio(owner, fd, band);
        }
    }
}

/// Sets or clears O_ASYNC. Whether the file can tell at all.
pub fn set_async(file: &File, fd: i32, on: bool) -> bool {
    let mut any = false;
    file.ops.fasync(file, on, &mut |list| {
        list.set(file, fd, on);
        any = true;
    });
    if any {
        let bit = if on { OpenFlags::ASYNC } else { OpenFlags::empty() };
        file.set_flags(bit, OpenFlags::ASYNC);
    }
    any
}

/// FIOASYNC. ENOTTY if the file can't tell.
pub fn ioctl_async(file: &File, fd: i32, on: bool) -> Result<()> {
    let changes = file.flags().contains(OpenFlags::ASYNC) != on;
    if changes && !set_async(file, fd, on) { Err(ENOTTY) } else { Ok(()) }
}

fn send_sigio(owner: FileOwner, fd: i32, band: Band) {
    match owner.kind {
        _ if owner.id == 0 => {}
        F_OWNER_PGRP => {
            let members = pid::tasklist().group(owner.id);
            for process in members {
                let leader = process.threads.lock().first().cloned();
                if let Some(leader) = leader {
                    send_to(&leader, owner, fd, band);
                }
            }
        }
        F_OWNER_TID => {
            if let Ok(task) = pid::find_task(owner.id) {
                send_to(&task, owner, fd, band);
            }
        }
        _ => {
            let leader = pid::find_process(owner.id).ok().and_then(|p| p.threads.lock().first().cloned());
            if let Some(leader) = leader {
                send_to(&leader, owner, fd, band);
            }
        }
    }
}

fn send_to(task: &Task, owner: FileOwner, fd: i32, band: Band) {
    if !permitted(owner, &task.cred()) {
        return;
    }
    let queue = |info: SigInfo| {
        let queued = Queued::new(info);
        match owner.kind {
            F_OWNER_TID => queue_to_task(task, queued),
            _ => queue_to_process(&task.process, queued),
        }
    };
    let sig = owner.signal as u32;
    // A queue without room for the chosen signal still takes SIGIO, which says that something was lost.
    if sig == 0 || queue(band.info(sig, fd)).is_err() {
        let _ = queue(SigInfo::kill(SIGIO, SI_KERNEL, 0, 0));
    }
}

fn permitted(owner: FileOwner, cred: &Cred) -> bool {
    let (uid, euid) = owner.uids;
    euid == 0 || [uid, euid].iter().any(|&u| u == cred.uid || u == cred.suid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_that_mean_something_else_in_a_signal_are_not_sent_with_it() {
        let info = Band::Out.info(34, 7);
        assert_eq!((info.si_code, info.si_band(), info.si_fd()), (POLL_OUT, 0x304, 7));
        assert_eq!(Band::In.info(SIGCHLD, 7).si_code, SI_SIGIO);
    }

    #[test]
    fn only_the_same_user_or_root_may_signal() {
        let owner = |uids| FileOwner { uids, ..FileOwner::default() };
        assert!(permitted(owner((5, 5)), &Cred::user(5, 5)));
        assert!(!permitted(owner((5, 5)), &Cred::user(6, 6)));
        assert!(permitted(owner((5, 0)), &Cred::user(6, 6)));
    }
}
