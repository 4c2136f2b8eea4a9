//! Changes of the upper layer, as the VFS makes them for a guest: under the directories' locks and with its names in
//! memory kept right, so that whoever looks at the upper directory itself sees them too.
//!
//! What must appear at once with all that belongs to it is made in the work directory and moved into place.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use abi::Result;
use abi::errno::{EEXIST, EIO, ENOENT, EXDEV};
use abi::fcntl::{OpenFlags, RENAME_EXCHANGE, RENAME_NOREPLACE};
use abi::stat::S_IFCHR;

use super::dir::list;
use super::lookup::is_whiteout;
use crate::task::Cred;
use crate::vfs::links::lock_rename;
use crate::vfs::{Dentry, File, FileMode, FileType, Inode, Mount, NewInode, Path};

/// The upper layer.
pub(super) struct Upper {
    pub root: Path,
    /// Where things are made before they are moved into place.
    work: Arc<Dentry>,
    next: AtomicU64,
}

fn inode_of(dentry: &Dentry) -> Result<&Arc<Inode>> {
    dentry.inode_ref().ok_or(ENOENT)
}

/// Opens a real file with the kernel's rights.
pub(super) fn open_real(path: Path, flags: OpenFlags) -> Result<Arc<File>> {
    let inode = path.inode()?;
    let ops = inode.ops.open(&inode, flags)?;
    let mut mode = FileMode::SEEK;
    mode.set(FileMode::READ, flags.readable());
    mode.set(FileMode::WRITE, flags.writable());
    Ok(File::with_cred(path, ops, flags, mode, Arc::new(Cred::root())))
}

/// A path for an inode of layer `mnt` whose name nobody needs.
pub(super) fn nameless(mnt: &Arc<Mount>, inode: &Arc<Inode>) -> Path {
    Path { mnt: mnt.clone(), dentry: Dentry::detached(b"", inode.clone()) }
}

/// Makes a file of any type; `target` is a symbolic link's.
pub(super) fn make(dir: &Arc<Dentry>, name: &[u8], new: &NewInode, target: &[u8]) -> Result<Arc<Dentry>> {
    let inode = inode_of(dir)?;
    let _guard = inode.rwsem.lock();
    let made = match FileType::from_mode(new.mode) {
        Some(FileType::Dir) => inode.ops.mkdir(inode, name, new)?,
        Some(FileType::Symlink) => inode.ops.symlink(inode, name, target, new)?,
        _ => inode.ops.create(inode, name, new)?,
    };
    Ok(dir.add(name, Some(made)))
}

/// Gives a file another name.
pub(super) fn link(dir: &Arc<Dentry>, name: &[u8], target: &Arc<Inode>) -> Result<Arc<Dentry>> {
    let inode = inode_of(dir)?;
    let _guard = inode.rwsem.lock();
    inode.ops.link(inode, name, target)?;
    Ok(dir.add(name, Some(target.clone())))
}

/// Removes a file, or a directory that is empty.
pub(super) fn remove(child: &Arc<Dentry>) -> Result<()> {
    let (name, dir) = child.name_and_parent();
    let dir = dir.ok_or(EIO)?;
    let (dir, inode) = (inode_of(&dir)?, inode_of(child)?);
    let _guard = dir.rwsem.lock();
    if inode.is_dir() {
        let _victim = inode.rwsem.lock();
        dir.ops.rmdir(dir, &name, inode)?;
    } else {
        dir.ops.unlink(dir, &name, inode)?;
    }
    child.unhash();
    Ok(())
}

/// rename(2): `flags` are RENAME_*.
pub(in crate::fs) fn rename(from: &Arc<Dentry>, dir: &Arc<Dentry>, name: &[u8], flags: u32) -> Result<()> {
    let (old_name, old_dir) = from.name_and_parent();
    let old_dir = old_dir.ok_or(EIO)?;
    let _guards = lock_rename(&old_dir, dir)?;
    let target = dir.lookup_locked(name)?;
    if flags & RENAME_NOREPLACE != 0 && target.is_some() {
        return Err(EEXIST);
    }
    let exchange = flags & RENAME_EXCHANGE != 0;
    let target_inode = target.as_ref().and_then(|t| t.inode());
    let replaced = target_inode.as_ref().filter(|t| t.is_dir() && !exchange);
    let _target_guard = replaced.map(|t| t.rwsem.lock());
    let (old_inode, inode, new_inode) = (inode_of(&old_dir)?, inode_of(from)?, inode_of(dir)?);
    old_inode.ops.rename(old_inode, &old_name, inode, new_inode, name, target_inode.as_ref(), flags)?;
    match &target {
        Some(target) if exchange => from.exchange(target),
        Some(target) => {
            target.unhash();
            from.move_to(dir, name);
        }
        None => from.move_to(dir, name),
    }
    Ok(())
}

impl Upper {
    /// The layer of `root`, with a `work` directory in `workdir` on the same file system. What a crash left there is
    /// removed.
    pub(super) fn new(root: Path, workdir: &Path) -> Result<Upper> {
        if !Arc::ptr_eq(&root.dentry.sb, &workdir.dentry.sb) {
            return Err(EXDEV);
        }
        let new = NewInode { mode: abi::stat::S_IFDIR, uid: 0, gid: 0, rdev: 0 };
        let work = match workdir.dentry.lookup(b"work", false)? {
            Some(work) => work,
            None => make(&workdir.dentry, b"work", &new, &[])?,
        };
        let upper = Upper { root, work, next: AtomicU64::new(1) };
        upper.clear(&upper.work)?;
        Ok(upper)
    }

    /// A path to a file of this layer.
    pub(super) fn path(&self, dentry: &Arc<Dentry>) -> Path {
        Path { mnt: self.root.mnt.clone(), dentry: dentry.clone() }
    }

    fn temp_name(&self) -> Vec<u8> {
        format!("#{:x}", self.next.fetch_add(1, Ordering::Relaxed)).into_bytes()
    }

    /// Makes a file in the work directory.
    pub(super) fn temp(&self, new: &NewInode, target: &[u8]) -> Result<Arc<Dentry>> {
        make(&self.work, &self.temp_name(), new, target)
    }

    /// A second name for a file, in the work directory.
    pub(super) fn temp_link(&self, target: &Arc<Inode>) -> Result<Arc<Dentry>> {
        link(&self.work, &self.temp_name(), target)
    }

    /// Removes what is in the work directory, or could not be moved from there.
    pub(super) fn discard(&self, temp: &Arc<Dentry>) {
        let cleared = if temp.is_dir() { self.clear(temp) } else { Ok(()) };
        if let Err(errno) = cleared.and_then(|()| remove(temp)) {
            crate::pr_warn!("overlay: leaving something in the work directory: {errno}");
        }
    }

    /// Empties a directory that shows nothing any more: whiteouts, and the leftovers of a crash. Not by recursion: how
    /// deep it goes may be the guest's choice.
    pub(super) fn clear(&self, dir: &Arc<Dentry>) -> Result<()> {
        let mut chain = vec![dir.clone()];
        while let Some(at) = chain.last().cloned() {
            let mut deeper = None;
            for entry in list(&self.path(&at))? {
                match at.lookup(&entry.name, false)? {
                    Some(child) if child.is_dir() => deeper = Some(child),
                    Some(child) => remove(&child)?,
                    None => {}
                }
            }
            match deeper {
                Some(child) => chain.push(child),
                None => {
                    chain.pop();
                    if !chain.is_empty() {
                        remove(&at)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Moves a file from the work directory to a name that nothing or a whiteout has.
    pub(super) fn install(&self, temp: &Arc<Dentry>, dir: &Arc<Dentry>, name: &[u8]) -> Result<()> {
        match dir.lookup(name, false)? {
            None => rename(temp, dir, name, RENAME_NOREPLACE),
            Some(old) if !old.inode_ref().is_some_and(|i| is_whiteout(i)) => Err(EEXIST),
            Some(_) if !temp.is_dir() => rename(temp, dir, name, 0),
            Some(whiteout) => {
                rename(temp, dir, name, RENAME_EXCHANGE)?;
                self.discard(&whiteout);
                Ok(())
            }
        }
    }

    /// Puts a whiteout at a name, in one step with removing the file or emptied directory that has it.
    pub(super) fn whiteout(&self, dir: &Arc<Dentry>, name: &[u8]) -> Result<()> {
        let new = NewInode { mode: S_IFCHR, uid: 0, gid: 0, rdev: 0 };
        let temp = self.temp(&new, &[])?;
        let old = dir.lookup(name, false)?;
        let placed = match &old {
            Some(old) if old.is_dir() => rename(&temp, dir, name, RENAME_EXCHANGE),
            _ => rename(&temp, dir, name, 0),
        };
        if let Err(errno) = placed {
            self.discard(&temp);
            return Err(errno);
        }
        if let Some(old) = old.filter(|old| old.is_dir()) {
            self.discard(&old);
        }
        Ok(())
    }

    /// Removes an upper file or directory; a directory may still hold whiteouts.
    pub(super) fn remove(&self, child: &Arc<Dentry>) -> Result<()> {
        if child.is_dir() && !list(&self.path(child))?.is_empty() {
            // In one step for whoever looks, and after a crash: first out of sight, then emptied.
            rename(child, &self.work, &self.temp_name(), RENAME_NOREPLACE)?;
            self.discard(child);
            return Ok(());
        }
        remove(child)
    }
}
