//! A new name in a directory: what mknod(2), mkdir(2), symlink(2), link(2) and bind(2) share.

use std::sync::Arc;

use abi::Result;
use abi::cred::{CAP_FSETID, CAP_MKNOD};
use abi::errno::{EEXIST, EINVAL, ENOENT, EPERM};
use abi::stat::{S_ISGID, S_IXGRP};

use super::{LastKind, Parent, lookup_parent, may_create, want_write};
use crate::syscall::UserPath;
use crate::task::{Cred, current};
use crate::vfs::{Dentry, Fd, FileType, Inode, NewInode, notify};

/// Makes the name `parent` by `make`, which gets the directory and the name. EEXIST; ENOENT for a trailing slash
/// unless it becomes a directory; EROFS; EACCES.
pub fn create_entry(
    parent: &Parent,
    is_dir: bool,
    make: impl FnOnce(&Arc<Inode>, &[u8]) -> Result<Arc<Inode>>,
) -> Result<Arc<Dentry>> {
    if parent.kind != LastKind::Norm {
        return Err(EEXIST);
    }
    let dir = parent.dir()?;
    let _guard = dir.rwsem.lock();
    let dentry = &parent.path.dentry;
    if dentry.lookup_locked(&parent.name)?.is_some() {
        return Err(EEXIST);
    }
    if dir.ops.refuses_names(&dir) {
        return Err(ENOENT);
    }
    if parent.slash && !is_dir {
        return Err(ENOENT);
    }
    want_write(&parent.path.mnt)?;
    may_create(dentry, &current().cred())?;
    let inode = make(&dir, &parent.name)?;
    let child = dentry.add(&parent.name, Some(inode));
    notify::created(&dir, &child, &parent.name);
    Ok(child)
}

/// What a new inode in `dir` begins with. `mode` has its type; the umask of the current task is taken off.
pub fn inherit(dir: &Inode, mode: u32, rdev: u64, cred: &Cred) -> Result<NewInode> {
    let umask = if dir.ops.ignores_umask(dir) { 0 } else { current().fs().umask() };
    let mut new = NewInode { mode: mode & !umask, uid: cred.fsuid, gid: cred.fsgid, rdev };
    let attr = dir.getattr()?;
    if attr.mode & S_ISGID != 0 {
        new.gid = attr.gid;
        if FileType::from_mode(mode) == Some(FileType::Dir) {
            new.mode |= S_ISGID;
        } else if mode & (S_ISGID | S_IXGRP) == S_ISGID | S_IXGRP
            && !cred.in_group(attr.gid)
            && !cred.capable(CAP_FSETID)
        {
            new.mode &= !S_ISGID;
        }
    }
    Ok(new)
}

/// Makes a file of the type in `mode`, without looking at who may make a device: mknod(2), bind(2) of a socket.
pub fn mknod_at(parent: &Parent, mode: u32, rdev: u64) -> Result<Arc<Dentry>> {
    let cred = current().cred();
    create_entry(parent, false, |dir, name| {
        let new = inherit(dir, mode, rdev, &cred)?;
        dir.ops.create(dir, name, &new)
    })
}

/// mknodat(2)
pub fn mknodat(dirfd: Fd, path: UserPath, mode: u32, dev: u32) -> Result<()> {
    let mode = match mode & 0o170000 {
        0 => mode | FileType::Regular.bits(),
        _ => mode,
    };
    let rdev = match FileType::from_mode(mode).ok_or(EINVAL)? {
        FileType::Dir => return Err(EPERM),
        FileType::Symlink => return Err(EINVAL),
        // A character device 0:0 is a whiteout: anybody may make one.
        FileType::CharDev | FileType::BlockDev => {
            let whiteout = FileType::from_mode(mode) == Some(FileType::CharDev) && dev == 0;
            if !whiteout && !current().cred().capable(CAP_MKNOD) {
                return Err(EPERM);
            }
            // The argument has the old 32-bit form, which is the low word of the 64-bit one.
            u64::from(dev)
        }
        FileType::Fifo | FileType::Regular | FileType::Socket => 0,
    };
    let parent = lookup_parent(dirfd, &path.read()?)?;
    mknod_at(&parent, mode & 0o177777, rdev).map(drop)
}

/// mknod(2)
pub fn mknod(path: UserPath, mode: u32, dev: u32) -> Result<()> {
    mknodat(Fd::CWD, path, mode, dev)
}
