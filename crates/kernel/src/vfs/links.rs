//! Names of files: link(2), symlink(2), unlink(2), rename(2).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use abi::Result;
use abi::cred::{CAP_DAC_READ_SEARCH, CAP_MKNOD};
use abi::errno::*;
use abi::fcntl::*;
use abi::inotify::IN_ATTRIB;

use super::dirs::same_mount;
use super::namei::{
    LastKind, LookupFlags, MAY_WRITE, Parent, create_entry, inherit, lookup_parent, may_create, may_delete,
    path_at, permission, protected, want_write,
};
use super::{Dentry, Fd, FileType, notify};
use crate::sync::{Mutex, MutexGuard};
use crate::syscall::UserPath;
use crate::task::{Cred, current};

/// unlink(2) of a name whose directory has been found.
pub fn remove_file(parent: &Parent) -> Result<()> {
    if parent.kind != LastKind::Norm {
        return Err(EISDIR);
    }
    want_write(&parent.path.mnt)?;
    let dir = parent.dir()?;
    let guard = dir.rwsem.lock();
    let victim = parent.path.dentry.lookup_locked(&parent.name)?.ok_or(ENOENT)?;
    if parent.slash {
        return Err(if victim.is_dir() { EISDIR } else { ENOTDIR });
    }
    may_delete(&parent.path.dentry, &victim, false, &current().cred())?;
    if victim.is_mountpoint() {
        return Err(EBUSY);
    }
    let inode = victim.inode().ok_or(ENOENT)?;
    dir.ops.unlink(&dir, &parent.name, &inode)?;
    victim.unhash();
    drop(guard);
    notify::on_inode(&inode, IN_ATTRIB);
    drop(victim);
    notify::deleted(&dir, &inode, &parent.name);
    Ok(())
}

/// symlink(2)
pub fn symlink(target: UserPath, path: UserPath) -> Result<()> {
    symlinkat(target, Fd::CWD, path)
}

/// symlinkat(2)
pub fn symlinkat(target: UserPath, dirfd: Fd, path: UserPath) -> Result<()> {
    let target = target.read()?;
    if target.is_empty() {
        return Err(ENOENT);
    }
    make_symlink(&lookup_parent(dirfd, &path.read()?)?, &target)
}

/// symlink(2) of a name whose directory has been found.
pub fn make_symlink(parent: &Parent, target: &[u8]) -> Result<()> {
    let cred = current().cred();
    create_entry(parent, false, |dir, name| {
        let mut new = inherit(dir, FileType::Symlink.bits(), 0, &cred)?;
        new.mode = FileType::Symlink.bits() | 0o777;
        dir.ops.symlink(dir, name, target, &new)
    })
    .map(drop)
}

/// link(2)
pub fn link(old: UserPath, new: UserPath) -> Result<()> {
    linkat(Fd::CWD, old, Fd::CWD, new, 0)
}

/// linkat(2)
pub fn linkat(old_dirfd: Fd, old: UserPath, new_dirfd: Fd, new: UserPath, flags: u32) -> Result<()> {
    if flags & !(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(EINVAL);
    }
    let cred = current().cred();
    let mut lookup = LookupFlags::empty();
    lookup.set(LookupFlags::FOLLOW, flags & AT_SYMLINK_FOLLOW != 0);
    lookup.set(LookupFlags::EMPTY_PATH, flags & AT_EMPTY_PATH != 0);
    let old_name = old.read()?;
    if old_name.is_empty() && flags & AT_EMPTY_PATH != 0 {
        // Whoever opened the file may link it; others could reach what they were handed for reading only.
        let own = old_dirfd.file().is_ok_and(|f| Arc::ptr_eq(&f.cred, &cred));
        if !own && !cred.capable(CAP_DAC_READ_SEARCH) {
            return Err(ENOENT);
        }
    }
    let old = path_at(old_dirfd, &old_name, lookup)?;
    let parent = lookup_parent(new_dirfd, &new.read()?)?;
    let inode = old.inode()?;
    create_entry(&parent, false, |dir, name| {
        same_mount(&old, &parent.path)?;
        protected::may_link(&inode, &cred)?;
        if inode.is_dir() {
            return Err(EPERM);
        }
        if inode.never_linked.load(Ordering::Relaxed) {
            return Err(ENOENT);
        }
        dir.ops.link(dir, name, &inode)?;
        Ok(inode.clone())
    })?;
    notify::on_inode(&inode, IN_ATTRIB);
    Ok(())
}

/// rename(2)
pub fn rename(old: UserPath, new: UserPath) -> Result<()> {
    renameat2(Fd::CWD, old, Fd::CWD, new, 0)
}

/// renameat(2)
pub fn renameat(old_dirfd: Fd, old: UserPath, new_dirfd: Fd, new: UserPath) -> Result<()> {
    renameat2(old_dirfd, old, new_dirfd, new, 0)
}

/// renameat2(2)
pub fn renameat2(old_dirfd: Fd, old: UserPath, new_dirfd: Fd, new: UserPath, flags: u32) -> Result<()> {
    let old = old.read()?;
    let new = new.read()?;
    do_rename((old_dirfd, &old), (new_dirfd, &new), flags)
}

/// The same with the names read.
pub fn do_rename(old: (Fd, &[u8]), new: (Fd, &[u8]), flags: u32) -> Result<()> {
    let known = RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT;
    let exchange = flags & RENAME_EXCHANGE != 0;
    if flags & !known != 0 || (exchange && flags & (RENAME_NOREPLACE | RENAME_WHITEOUT) != 0) {
        return Err(EINVAL);
    }
    let cred = current().cred();
    if flags & RENAME_WHITEOUT != 0 && !cred.capable(CAP_MKNOD) {
        return Err(EPERM);
    }
    let old = lookup_parent(old.0, old.1)?;
    let new = lookup_parent(new.0, new.1)?;
    same_mount(&old.path, &new.path)?;
    if old.kind != LastKind::Norm {
        return Err(EBUSY);
    }
    if new.kind != LastKind::Norm {
        return Err(if flags & RENAME_NOREPLACE != 0 { EEXIST } else { EBUSY });
    }
    want_write(&old.path.mnt)?;
    let (old_dir, new_dir) = (old.dir()?, new.dir()?);
    let _guards = lock_rename(&old.path.dentry, &new.path.dentry)?;
    let source = old.path.dentry.lookup_locked(&old.name)?.ok_or(ENOENT)?;
    let target = new.path.dentry.lookup_locked(&new.name)?;
    if flags & RENAME_NOREPLACE != 0 && target.is_some() {
        return Err(EEXIST);
    }
    check_slashes(&old, &new, &source, target.as_ref(), exchange)?;
    // A directory must not come to lie below itself; nor may one be replaced by what it holds.
    if new.path.dentry.is_below(&source) {
        return Err(EINVAL);
    }
    if let Some(target) = &target
        && old.path.dentry.is_below(target)
    {
        return Err(if exchange { EINVAL } else { ENOTEMPTY });
    }
    let inode = source.inode().ok_or(ENOENT)?;
    let target_inode = target.as_ref().and_then(|t| t.inode());
    if target_inode.as_ref().is_some_and(|t| Arc::ptr_eq(t, &inode)) {
        // Two names of one file: nothing happens.
        return Ok(());
    }
    check_rename(&old, &new, &source, target.as_ref(), exchange, &cred)?;
    // A directory that is replaced must stay empty.
    let replaced = target_inode.as_ref().filter(|t| t.is_dir() && !exchange);
    let target_guard = replaced.map(|t| t.rwsem.lock());
    if source.is_mountpoint() || target.as_ref().is_some_and(|t| t.is_mountpoint()) {
        return Err(EBUSY);
    }
    let (from, to) = (&old.name, &new.name);
    old_dir.ops.rename(&old_dir, from, &inode, &new_dir, to, target_inode.as_ref(), flags)?;
    match &target {
        Some(target) if exchange => source.exchange(target),
        Some(target) => {
            target.unhash();
            source.move_to(&new.path.dentry, to);
        }
        None => source.move_to(&new.path.dentry, to),
    }
    drop(target_guard);
    let replaced = target_inode.as_deref().filter(|_| !exchange);
    notify::moved((&*old_dir, from), (&*new_dir, to), &inode, replaced);
    if let Some(target) = target_inode.filter(|_| exchange) {
        notify::moved((&*new_dir, to), (&*old_dir, from), &target, None);
    }
    Ok(())
}

/// Trailing slashes ask for a directory.
fn check_slashes(
    old: &Parent,
    new: &Parent,
    source: &Dentry,
    target: Option<&Arc<Dentry>>,
    exchange: bool,
) -> Result<()> {
    if exchange {
        let target = target.ok_or(ENOENT)?;
        if new.slash && !target.is_dir() {
            return Err(ENOTDIR);
        }
    }
    if !source.is_dir() && (old.slash || (!exchange && new.slash)) {
        return Err(ENOTDIR);
    }
    Ok(())
}

fn check_rename(
    old: &Parent,
    new: &Parent,
    source: &Dentry,
    target: Option<&Arc<Dentry>>,
    exchange: bool,
    cred: &Cred,
) -> Result<()> {
    let is_dir = source.is_dir();
    may_delete(&old.path.dentry, source, is_dir, cred)?;
    match target {
        None => may_create(&new.path.dentry, cred)?,
        Some(target) if exchange => may_delete(&new.path.dentry, target, target.is_dir(), cred)?,
        Some(target) => may_delete(&new.path.dentry, target, is_dir, cred)?,
    }
    // A directory that moves gets another `..`: it must be writable.
    if !Arc::ptr_eq(&old.path.dentry, &new.path.dentry) {
        let moving = [Some(source), target.filter(|_| exchange).map(|t| &**t)];
        for inode in moving.into_iter().flatten().filter_map(Dentry::inode_ref).filter(|i| i.is_dir()) {
            permission(inode, MAY_WRITE, cred)?;
        }
    }
    Ok(())
}

/// Locks of a rename: the file system's rename lock when directories differ, and both directories.
pub(crate) type RenameGuards<'a> =
    (Option<MutexGuard<'a, ()>>, MutexGuard<'a, ()>, Option<MutexGuard<'a, ()>>);

/// Locks the directories of a rename: an ancestor before what it holds, else by address. The file system's rename lock
/// keeps the tree from changing under that decision.
pub(crate) fn lock_rename<'a>(old: &'a Arc<Dentry>, new: &'a Arc<Dentry>) -> Result<RenameGuards<'a>> {
    let rwsem = |d: &'a Arc<Dentry>| -> Result<&'a Mutex<()>> { Ok(&d.inode_ref().ok_or(ENOENT)?.rwsem) };
    let (a, b) = (rwsem(old)?, rwsem(new)?);
    if core::ptr::eq(a, b) {
        return Ok((None, a.lock(), None));
    }
    let rename_guard = old.sb.rename_mutex.lock();
    let old_first = if new.is_below(old) {
        true
    } else if old.is_below(new) {
        false
    } else {
        core::ptr::from_ref(a) < core::ptr::from_ref(b)
    };
    let (first, second) = if old_first { (a, b) } else { (b, a) };
    let first = first.lock();
    Ok((Some(rename_guard), first, Some(second.lock())))
}
