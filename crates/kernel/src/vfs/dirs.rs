//! Directories: getdents64(2), mkdir(2), rmdir(2), chdir(2), getcwd(2), chroot(2).

use std::sync::Arc;

use abi::Result;
use abi::cred::CAP_SYS_CHROOT;
use abi::errno::*;
use abi::fcntl::AT_REMOVEDIR;
use abi::inotify::IN_ACCESS;
use abi::stat::{DIRENT64_NAME_OFFSET, DT_DIR};

use super::file::Readdir;
use super::links;
use super::namei::{
    LastKind, LookupFlags, MAY_EXEC, Parent, create_entry, d_path_reachable, inherit, lookup_parent,
    may_delete, path_at, permission, want_write,
};
use super::{DirEmit, Fd, File, FileMode, FileType, Path, notify};
use crate::syscall::UserPath;
use crate::task::current;
use crate::uaccess::copy_to_user;

/// Most bytes of entries handed over by one call.
const MAX_DENTS: usize = 256 * 1024;

/// Lays one entry out in the guest's format after `out`'s end; false if it doesn't fit within `size`.
type Layout = fn(out: &mut Vec<u8>, size: usize, entry: &DirEmit<'_>) -> bool;

/// getdents64(2)
pub fn getdents64(fd: Fd, buf: u64, count: u32) -> Result<usize> {
    read_dir(fd, buf, count, |out, size, entry| {
        let len = (DIRENT64_NAME_OFFSET + entry.name.len() + 1).next_multiple_of(8);
        if out.len() + len > size {
            return false;
        }
        let end = out.len() + len;
        out.extend_from_slice(&entry.ino.to_le_bytes());
        out.extend_from_slice(&entry.next.to_le_bytes());
        out.extend_from_slice(&(len as u16).to_le_bytes());
        out.push(entry.dtype);
        out.extend_from_slice(entry.name);
        out.resize(end, 0);
        true
    })
}

/// getdents(2): the type is the last byte of each entry.
pub fn getdents(fd: Fd, buf: u64, count: u32) -> Result<usize> {
    read_dir(fd, buf, count, |out, size, entry| {
        let len = (18 + entry.name.len() + 2).next_multiple_of(8);
        if out.len() + len > size {
            return false;
        }
        let end = out.len() + len;
        out.extend_from_slice(&entry.ino.to_le_bytes());
        out.extend_from_slice(&entry.next.to_le_bytes());
        out.extend_from_slice(&(len as u16).to_le_bytes());
        out.extend_from_slice(entry.name);
        out.resize(end - 1, 0);
        out.push(entry.dtype);
        true
    })
}

fn read_dir(fd: Fd, buf: u64, count: u32, layout: Layout) -> Result<usize> {
    let file = fd.io()?;
    if !file.inode().is_dir() {
        return Err(ENOTDIR);
    }
    if !file.mode.contains(FileMode::READ) {
        return Err(EBADF);
    }
    let size = (count as usize).min(MAX_DENTS);
    let mut out = Vec::new();
    let mut refused = false;
    let mut pos = file.lock_pos();
    let before = *pos;
    if file.path.dentry.is_unhashed() {
        return Err(ENOENT);
    }
    let outcome = file.ops.iterate(&file, &mut pos, &mut |entry| {
        let taken = layout(&mut out, size, &entry);
        refused |= !taken;
        taken
    });
    if out.is_empty() {
        outcome?;
        return if refused { Err(EINVAL) } else { Ok(0) };
    }
    if let Err(errno) = copy_to_user(buf, &out) {
        // The entries were not seen.
        *pos = before;
        return Err(errno);
    }
    drop(pos);
    notify::on_file(&file, IN_ACCESS);
    Ok(out.len())
}

/// Gives `.` and `..` at positions 0 and 1, as every directory begins. False when `emit` is full.
pub fn emit_dots(file: &File, pos: &mut u64, emit: Readdir<'_>) -> bool {
    let names: [&[u8]; 2] = [b".", b".."];
    while let Some(name) = usize::try_from(*pos).ok().and_then(|at| names.get(at)) {
        let dentry = &file.path.dentry;
        let parent = dentry.parent();
        let inode = if *pos == 0 { dentry.inode_ref() } else { parent.inode_ref() };
        let ino = inode.map_or(1, |i| i.ino);
        if !emit(DirEmit { name, ino, dtype: DT_DIR, next: *pos + 1 }) {
            return false;
        }
        *pos += 1;
    }
    true
}

/// mkdir(2)
pub fn mkdir(path: UserPath, mode: u32) -> Result<()> {
    mkdirat(Fd::CWD, path, mode)
}

/// mkdirat(2)
pub fn mkdirat(dirfd: Fd, path: UserPath, mode: u32) -> Result<()> {
    make_dir(&lookup_parent(dirfd, &path.read()?)?, mode)
}

/// mkdir(2) of a name whose directory has been found.
pub fn make_dir(parent: &Parent, mode: u32) -> Result<()> {
    let cred = current().cred();
    // Only the sticky bit besides permissions: mkdir(2).
    let mode = FileType::Dir.bits() | mode & 0o1777;
    create_entry(parent, true, |dir, name| {
        let new = inherit(dir, mode, 0, &cred)?;
        dir.ops.mkdir(dir, name, &new)
    })
    .map(drop)
}

/// rmdir(2)
pub fn rmdir(path: UserPath) -> Result<()> {
    unlinkat(Fd::CWD, path, AT_REMOVEDIR)
}

/// unlink(2)
pub fn unlink(path: UserPath) -> Result<()> {
    unlinkat(Fd::CWD, path, 0)
}

/// unlinkat(2)
pub fn unlinkat(dirfd: Fd, path: UserPath, flags: u32) -> Result<()> {
    if flags & !AT_REMOVEDIR != 0 {
        return Err(EINVAL);
    }
    let parent = lookup_parent(dirfd, &path.read()?)?;
    if flags & AT_REMOVEDIR != 0 { remove_dir(&parent) } else { links::remove_file(&parent) }
}

/// rmdir(2) of a name whose directory has been found.
pub fn remove_dir(parent: &Parent) -> Result<()> {
    match parent.kind {
        LastKind::Norm => {}
        LastKind::DotDot => return Err(ENOTEMPTY),
        LastKind::Dot => return Err(EINVAL),
        LastKind::Root => return Err(EBUSY),
    }
    want_write(&parent.path.mnt)?;
    let dir = parent.dir()?;
    let guard = dir.rwsem.lock();
    let victim = parent.path.dentry.lookup_locked(&parent.name)?.ok_or(ENOENT)?;
    may_delete(&parent.path.dentry, &victim, true, &current().cred())?;
    let inode = victim.inode().ok_or(ENOENT)?;
    // Nobody makes a name in it meanwhile, or mounts on it.
    let victim_guard = inode.rwsem.lock();
    if victim.is_mountpoint() {
        return Err(EBUSY);
    }
    dir.ops.rmdir(&dir, &parent.name, &inode)?;
    victim.unhash();
    drop(victim_guard);
    drop(guard);
    drop(victim);
    notify::deleted(&dir, &inode, &parent.name);
    Ok(())
}

/// chdir(2)
pub fn chdir(path: UserPath) -> Result<()> {
    let lookup = LookupFlags::FOLLOW | LookupFlags::DIRECTORY;
    let path = path_at(Fd::CWD, &path.read()?, lookup)?;
    enter(&path)?;
    current().fs().set_cwd(path);
    Ok(())
}

/// fchdir(2)
pub fn fchdir(fd: Fd) -> Result<()> {
    let path = fd.file()?.path.clone();
    if !path.dentry.is_dir() {
        return Err(ENOTDIR);
    }
    enter(&path)?;
    current().fs().set_cwd(path);
    Ok(())
}

fn enter(path: &Path) -> Result<()> {
    permission(&*path.inode()?, MAY_EXEC, &current().cred())
}

/// chroot(2)
pub fn chroot(path: UserPath) -> Result<()> {
    let path = path_at(Fd::CWD, &path.read()?, LookupFlags::FOLLOW | LookupFlags::DIRECTORY)?;
    enter(&path)?;
    let task = current();
    if !task.cred().capable(CAP_SYS_CHROOT) {
        return Err(EPERM);
    }
    task.fs().set_root(path);
    Ok(())
}

/// getcwd(2): the length with its zero.
pub fn getcwd(buf: u64, size: usize) -> Result<usize> {
    let fs = current().fs();
    let (mut name, _) = d_path_reachable(&fs.cwd(), &fs.root()).ok_or(ENOENT)?;
    name.push(0);
    if name.len() > abi::fcntl::PATH_MAX {
        return Err(ENAMETOOLONG);
    }
    if name.len() > size {
        return Err(ERANGE);
    }
    copy_to_user(buf, &name)?;
    Ok(name.len())
}

/// Whether two paths are in the same mount: rename(2), link(2). EXDEV.
pub(super) fn same_mount(a: &Path, b: &Path) -> Result<()> {
    if Arc::ptr_eq(&a.mnt, &b.mnt) { Ok(()) } else { Err(EXDEV) }
}
