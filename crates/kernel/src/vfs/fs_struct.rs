//! [`FsStruct`]: root, working directory and umask, shared by CLONE_FS.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::{Mount, Path};
use crate::sync::{SpinLock, rank};

/// Where path names begin.
pub struct FsStruct {
    /// Root and working directory.
    dirs: SpinLock<(Path, Path)>,
    umask: AtomicU32,
    /// The mount name space that they are in.
    pub ns: Arc<super::mount::MountNamespace>,
}

impl FsStruct {
    /// Both directories at the root of `mount`.
    pub fn new(ns: Arc<super::mount::MountNamespace>, mount: &Arc<Mount>) -> Arc<FsStruct> {
        let root = Path { mnt: mount.clone(), dentry: mount.root.clone() };
        Arc::new(FsStruct {
            dirs: SpinLock::new(rank::FS, (root.clone(), root)),
            umask: AtomicU32::new(0o022),
            ns,
        })
    }

    /// A copy for a child or for unshare(2).
    pub fn copy(&self) -> Arc<FsStruct> {
        let dirs = self.dirs.lock().clone();
        Arc::new(FsStruct {
            dirs: SpinLock::new(rank::FS, dirs),
            umask: AtomicU32::new(self.umask()),
            ns: self.ns.clone(),
        })
    }

    /// A copy in a new name space, a copy of this one: CLONE_NEWNS.
    pub fn copy_namespace(&self) -> Arc<FsStruct> {
        let (ns, pairs) = self.ns.copy();
        let moved = |path: Path| {
            let new = pairs.iter().find(|(old, _)| Arc::ptr_eq(old, &path.mnt)).map(|(_, new)| new.clone());
            // A detached mount is in no name space.
            Path { mnt: new.unwrap_or(path.mnt), dentry: path.dentry }
        };
        let (root, cwd) = self.dirs.lock().clone();
        Arc::new(FsStruct {
            dirs: SpinLock::new(rank::FS, (moved(root), moved(cwd))),
            umask: AtomicU32::new(self.umask()),
            ns,
        })
    }

    /// A copy at the root of another name space: setns(2). ENOENT if that has no root.
    pub fn in_namespace(&self, ns: &Arc<super::mount::MountNamespace>) -> abi::Result<Arc<FsStruct>> {
        let mut root = Path::root_of(&ns.root().ok_or(abi::errno::ENOENT)?);
        // What was mounted over the first root is what its programs see.
        super::mount::traverse_mounts(&mut root);
        Ok(Arc::new(FsStruct {
            dirs: SpinLock::new(rank::FS, (root.clone(), root)),
            umask: AtomicU32::new(self.umask()),
            ns: ns.clone(),
        }))
    }

    /// The root directory.
    pub fn root(&self) -> Path {
        self.dirs.lock().0.clone()
    }

    /// The working directory.
    pub fn cwd(&self) -> Path {
        self.dirs.lock().1.clone()
    }

    /// chroot(2). The old path is dropped without the lock.
    pub fn set_root(&self, path: Path) {
        let old = core::mem::replace(&mut self.dirs.lock().0, path);
        drop(old);
    }

    /// chdir(2).
    pub fn set_cwd(&self, path: Path) {
        let old = core::mem::replace(&mut self.dirs.lock().1, path);
        drop(old);
    }

    /// Permission bits that new files don't get.
    pub fn umask(&self) -> u32 {
        self.umask.load(Ordering::Relaxed)
    }

    /// umask(2): the old one.
    pub fn set_umask(&self, mask: u32) -> u32 {
        self.umask.swap(mask & 0o777, Ordering::Relaxed)
    }
}
