//! [`Dentry`]: a name in memory, and the cache of names.
//!
//! A dentry holds its parent; a parent finds its children by name. A dentry without inode is negative: the name is
//! known not to exist. Names that nobody uses are kept in least-recently-used order up to a bound.
//!
//! Locks: DENTRY guards name, parent, inode and children of one dentry. Parent before child.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use abi::Result;
use abi::errno::ENOENT;
use hashbrown::HashMap;

use super::{Inode, Mount, SuperBlock};
use crate::sync::{SpinLock, rank};

/// A place in the name space: which mount shows it, and the dentry.
#[derive(Clone)]
pub struct Path {
    /// The mount.
    pub mnt: Arc<Mount>,
    /// The name.
    pub dentry: Arc<Dentry>,
}

impl PartialEq for Path {
    fn eq(&self, other: &Path) -> bool {
        Arc::ptr_eq(&self.mnt, &other.mnt) && Arc::ptr_eq(&self.dentry, &other.dentry)
    }
}

impl Path {
    /// The inode; ENOENT for a negative dentry.
    pub fn inode(&self) -> Result<Arc<Inode>> {
        self.dentry.inode().ok_or(ENOENT)
    }
}

/// A name in memory.
pub struct Dentry {
    /// Its file system.
    pub sb: Arc<SuperBlock>,
    inner: SpinLock<Inner>,
    /// The inode once it has one, for users that have it open: a name that is unlinked keeps it.
    opened: OnceLock<Arc<Inode>>,
    /// Number of mounts on it in any name space.
    pub mounted: AtomicU32,
}

struct Inner {
    name: Arc<[u8]>,
    parent: Option<Arc<Dentry>>,
    inode: Option<Arc<Inode>>,
    children: HashMap<Arc<[u8]>, Arc<Dentry>>,
    /// Unlinked or replaced: /proc shows " (deleted)".
    unhashed: bool,
}

impl Dentry {
    fn make(
        sb: Arc<SuperBlock>,
        name: &[u8],
        parent: Option<Arc<Dentry>>,
        inode: Option<Arc<Inode>>,
    ) -> Arc<Dentry> {
        let opened = OnceLock::new();
        if let Some(inode) = &inode {
            let _ = opened.set(inode.clone());
        }
        Arc::new(Dentry {
            sb,
            inner: SpinLock::new(
                rank::DENTRY,
                Inner { name: Arc::from(name), parent, inode, children: HashMap::new(), unhashed: false },
            ),
            opened,
            mounted: AtomicU32::new(0),
        })
    }

    /// The root of a file system.
    pub fn root(inode: Arc<Inode>) -> Arc<Dentry> {
        Dentry::make(inode.sb.clone(), b"/", None, Some(inode))
    }

    /// A name outside any directory: pipes, sockets, anonymous inodes, O_TMPFILE.
    pub fn detached(name: &[u8], inode: Arc<Inode>) -> Arc<Dentry> {
        let dentry = Dentry::make(inode.sb.clone(), name, None, Some(inode));
        dentry.inner.lock().unhashed = true;
        dentry
    }

    /// The inode; none for a negative dentry.
    pub fn inode(&self) -> Option<Arc<Inode>> {
        self.inner.lock().inode.clone()
    }

    /// The inode of a dentry that an open file holds: it had one when it was opened.
    ///
    /// # Panics
    /// For a dentry that was never positive.
    pub fn inode_of_open(&self) -> &Arc<Inode> {
        self.opened.get().expect("an open file's dentry has an inode")
    }

    /// Name within the parent.
    pub fn name(&self) -> Arc<[u8]> {
        self.inner.lock().name.clone()
    }

    /// The parent; itself for a root.
    pub fn parent(self: &Arc<Self>) -> Arc<Dentry> {
        self.inner.lock().parent.clone().unwrap_or_else(|| self.clone())
    }

    /// Whether the name is gone from its directory.
    pub fn is_unhashed(&self) -> bool {
        self.inner.lock().unhashed
    }

    /// Whether something is mounted on it in some name space.
    pub fn is_mountpoint(&self) -> bool {
        self.mounted.load(Ordering::SeqCst) > 0
    }
}
