//! Credentials, credentials(7), and capabilities, capabilities(7).

use std::sync::Arc;

use abi::Result;
use abi::cred::{CAP_KILL, CAP_SYS_PTRACE};
use abi::errno::EPERM;
use abi::prctl::SUID_DUMP_USER;
use abi::signal::SIGCONT;
use std::sync::atomic::Ordering;

use super::{Task, current};

/// A capability: one of `abi::cred::CAP_*`.
pub type Cap = u32;

/// A set of capabilities, a bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CapSet(pub u64);

impl CapSet {
    /// Every capability that this kernel knows: 0..=40 (CAP_CHECKPOINT_RESTORE).
    pub const FULL: CapSet = CapSet((1 << 41) - 1);
    /// None.
    pub const EMPTY: CapSet = CapSet(0);

    /// Whether `cap` is in it.
    pub fn has(self, cap: Cap) -> bool {
        1u64.checked_shl(cap).is_some_and(|bit| self.0 & bit != 0)
    }

    /// With `cap`.
    pub fn with(self, cap: Cap) -> CapSet {
        CapSet(self.0 | 1u64.checked_shl(cap).unwrap_or(0))
    }

    /// Without `cap`.
    pub fn without(self, cap: Cap) -> CapSet {
        CapSet(self.0 & !1u64.checked_shl(cap).unwrap_or(0))
    }

    /// What is in both.
    pub fn and(self, other: CapSet) -> CapSet {
        CapSet(self.0 & other.0)
    }

    /// What is in either.
    pub fn or(self, other: CapSet) -> CapSet {
        CapSet(self.0 | other.0)
    }

    /// Whether everything in it is in `other`.
    pub fn is_subset(self, other: CapSet) -> bool {
        self.0 & !other.0 == 0
    }
}

/// Who a task is. Immutable: a change makes a new one.
#[derive(Clone, Debug)]
pub struct Cred {
    /// Real, effective, saved and file-system user.
    pub uid: u32,
    /// Effective user.
    pub euid: u32,
    /// Saved user.
    pub suid: u32,
    /// The user that file permissions look at.
    pub fsuid: u32,
    /// Real group.
    pub gid: u32,
    /// Effective group.
    pub egid: u32,
    /// Saved group.
    pub sgid: u32,
    /// The group that file permissions look at.
    pub fsgid: u32,
    /// Supplementary groups.
    pub groups: Arc<[u32]>,
    /// Capabilities that are checked.
    pub effective: CapSet,
    /// Those that it may raise.
    pub permitted: CapSet,
    /// Those kept over execve.
    pub inheritable: CapSet,
    /// Upper bound at execve.
    pub bounding: CapSet,
    /// Given to programs without file capabilities.
    pub ambient: CapSet,
    /// prctl(PR_SET_SECUREBITS)
    pub securebits: u32,
}

impl Cred {
    /// Root with all capabilities.
    pub fn root() -> Cred {
        Cred {
            uid: 0,
            euid: 0,
            suid: 0,
            fsuid: 0,
            gid: 0,
            egid: 0,
            sgid: 0,
            fsgid: 0,
            groups: Arc::new([]),
            effective: CapSet::FULL,
            permitted: CapSet::FULL,
            inheritable: CapSet::EMPTY,
            bounding: CapSet::FULL,
            ambient: CapSet::EMPTY,
            securebits: 0,
        }
    }

    /// An ordinary user without capabilities.
    pub fn user(uid: u32, gid: u32) -> Cred {
        Cred {
            uid,
            euid: uid,
            suid: uid,
            fsuid: uid,
            gid,
            egid: gid,
            sgid: gid,
            fsgid: gid,
            effective: CapSet::EMPTY,
            permitted: CapSet::EMPTY,
            ..Cred::root()
        }
    }

    /// Whether `cap` is effective.
    pub fn capable(&self, cap: Cap) -> bool {
        self.effective.has(cap)
    }

    /// Whether `gid` is the file-system group or a supplementary one.
    pub fn in_group(&self, gid: u32) -> bool {
        self.fsgid == gid || self.groups.contains(&gid)
    }
}

/// Whether the current task has `cap`.
pub fn capable(cap: Cap) -> bool {
    current().cred().capable(cap)
}

/// Whether the current task may send `sig` (0 asks only) to `task`, kill(2). EPERM.
pub fn may_signal(task: &Task, sig: u32) -> Result<()> {
    let me = current();
    if Arc::ptr_eq(&me.process, &task.process) {
        return Ok(());
    }
    let (own, other) = (me.cred(), task.cred());
    let same_user = [own.uid, own.euid].iter().any(|&u| u == other.uid || u == other.suid);
    // A shell may continue its jobs whatever they have become.
    let same_session = || sig == SIGCONT && me.process.session() == task.process.session();
    if same_user || own.capable(CAP_KILL) || same_session() { Ok(()) } else { Err(EPERM) }
}

/// Whether the current task may look into and change `task`, as ptrace(2)'s "PTRACE_MODE_ATTACH_REALCREDS". EPERM.
pub fn ptrace_access(task: &Task) -> Result<()> {
    let me = current();
    if Arc::ptr_eq(&me.process, &task.process) {
        return Ok(());
    }
    let (own, other) = (me.cred(), task.cred());
    if own.capable(CAP_SYS_PTRACE) {
        return Ok(());
    }
    let same = [other.uid, other.euid, other.suid].iter().all(|&u| u == own.uid)
        && [other.gid, other.egid, other.sgid].iter().all(|&g| g == own.gid);
    let dumpable = task.process.dumpable.load(Ordering::Relaxed) == SUID_DUMP_USER as i32;
    if same && dumpable && other.permitted.is_subset(own.permitted) { Ok(()) } else { Err(EPERM) }
}
