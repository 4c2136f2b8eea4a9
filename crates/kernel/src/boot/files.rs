//! Files made by the kernel itself at boot: from an initial archive, and for mount points.
//!
//! All names are absolute, and the current task is root with an umask of its own choice.

use std::sync::Arc;

use abi::Result;
use abi::errno::ENOENT;
use abi::fcntl::OpenFlags;
use abi::time::Timespec;

use crate::task::current;
use crate::vfs::dirs::remove_dir;
use crate::vfs::links::remove_file;
use crate::vfs::namei::{LookupFlags, create_entry, inherit, lookup_parent, mknod_at, path_at};
use crate::vfs::{Fd, File, FileType, Inode, SetAttr, SetTime, open};

/// Opens a file.
pub fn open_file(name: &[u8], flags: OpenFlags, mode: u32) -> Result<Arc<File>> {
    open::filp_open(name, flags, mode)
}

/// mkdir(2). EEXIST.
pub fn mkdir(name: &[u8], mode: u32) -> Result<()> {
    let cred = current().cred();
    let made = create_entry(&lookup_parent(Fd::CWD, name)?, true, |dir, name| {
        let new = inherit(dir, FileType::Dir.bits() | mode, 0, &cred)?;
        dir.ops.mkdir(dir, name, &new)
    });
    made.map(drop)
}

/// mknod(2): `mode` with its type.
pub fn mknod(name: &[u8], mode: u32, rdev: u64) -> Result<()> {
    mknod_at(&lookup_parent(Fd::CWD, name)?, mode, rdev).map(drop)
}

/// symlink(2)
pub fn symlink(target: &[u8], name: &[u8]) -> Result<()> {
    let cred = current().cred();
    let made = create_entry(&lookup_parent(Fd::CWD, name)?, false, |dir, name| {
        let new = inherit(dir, FileType::Symlink.bits() | 0o777, 0, &cred)?;
        dir.ops.symlink(dir, name, target, &new)
    });
    made.map(drop)
}

/// link(2)
pub fn link(old: &[u8], name: &[u8]) -> Result<()> {
    let target = path_at(Fd::CWD, old, LookupFlags::empty())?.inode()?;
    let made = create_entry(&lookup_parent(Fd::CWD, name)?, false, |dir, name| {
        dir.ops.link(dir, name, &target)?;
        Ok(target.clone())
    });
    made.map(drop)
}

/// Type of a file, of a symbolic link itself. None if there is none of that name.
pub fn kind(name: &[u8]) -> Result<Option<FileType>> {
    match path_at(Fd::CWD, name, LookupFlags::empty()).and_then(|path| path.inode()) {
        Ok(inode) => Ok(Some(inode.kind)),
        Err(ENOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// unlink(2), or rmdir(2) of a directory.
pub fn remove(name: &[u8], kind: FileType) -> Result<()> {
    let parent = lookup_parent(Fd::CWD, name)?;
    if kind == FileType::Dir { remove_dir(&parent) } else { remove_file(&parent) }
}

/// Sets owner, permission bits and modification time, of a symbolic link itself.
pub fn set_attr(name: &[u8], mode: Option<u32>, uid: u32, gid: u32, mtime: i64) -> Result<()> {
    let inode: Arc<Inode> = path_at(Fd::CWD, name, LookupFlags::empty())?.inode()?;
    let time = SetTime::At(Timespec { tv_sec: mtime, tv_nsec: 0 });
    let attr = SetAttr { mode, uid: Some(uid), gid: Some(gid), mtime: Some(time), ..Default::default() };
    inode.ops.setattr(&inode, &attr)
}
