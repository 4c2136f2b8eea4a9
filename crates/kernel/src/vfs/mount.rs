//! Mounts and mount name spaces, mount(2), mount_namespaces(7).
//!
//! Lock: MOUNT, one for the whole name space: the tree of mounts changes rarely.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::{Dentry, SuperBlock};
use crate::sync::{SpinLock, rank};

bitflags::bitflags! {
    /// Options of one mount (not of the file system): MNT_*.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct MountFlags: u32 {
        /// Set-user-ID bits have no effect.
        const NOSUID = 2;
        /// Device nodes cannot be opened.
        const NODEV = 4;
        /// Programs cannot be run.
        const NOEXEC = 8;
        /// Read-only.
        const RDONLY = 1;
        /// Access times are not kept.
        const NOATIME = 1024;
        /// Nor those of directories.
        const NODIRATIME = 2048;
        /// Only when older than the change or a day.
        const RELATIME = 1 << 21;
    }
}

/// A file system, or a part of it, attached to a directory.
pub struct Mount {
    /// mnt_id of /proc/PID/mountinfo.
    pub id: u64,
    /// The file system.
    pub sb: Arc<SuperBlock>,
    /// What it shows as its root.
    pub root: Arc<Dentry>,
    flags: AtomicU32,
    /// Where it is attached: parent mount and the directory in it. None for the root of the name space, and once
    /// detached.
    pub at: SpinLock<Option<(Arc<Mount>, Arc<Dentry>)>>,
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

impl Mount {
    /// A mount that is attached nowhere.
    pub fn new(sb: &Arc<SuperBlock>, root: &Arc<Dentry>, flags: MountFlags) -> Arc<Mount> {
        Arc::new(Mount {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            sb: sb.clone(),
            root: root.clone(),
            flags: AtomicU32::new(flags.bits()),
            at: SpinLock::new(rank::MOUNT, None),
        })
    }

    /// Its options.
    pub fn flags(&self) -> MountFlags {
        MountFlags::from_bits_retain(self.flags.load(Ordering::Relaxed))
    }

    /// remount,bind.
    pub fn set_flags(&self, flags: MountFlags) {
        self.flags.store(flags.bits(), Ordering::Relaxed);
    }
}

/// A tree of mounts: CLONE_NEWNS.
pub struct MountNamespace {
    /// All mounts, in the order of mounting; the first is the root.
    pub mounts: SpinLock<Vec<Arc<Mount>>>,
}
