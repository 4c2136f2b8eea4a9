//! Making things durable, and advice: sync(2), fsync(2), sync_file_range(2), posix_fadvise(2), readahead(2).

use std::sync::Arc;

use abi::Result;
use abi::errno::*;
use abi::fcntl::*;

use super::mount::MountNamespace;
use super::{Fd, FileMode, FileType, SuperBlock};
use crate::task::current;

/// sync(2): every file system of the caller's name space. It has no way to fail.
pub fn sync() -> Result<()> {
    sync_all(&current().fs().ns);
    Ok(())
}

/// Writes back every file system of a name space; failures are logged (sync(2), power off).
pub fn sync_all(ns: &MountNamespace) {
    let mut done: Vec<Arc<SuperBlock>> = Vec::new();
    for mnt in ns.list() {
        if done.iter().any(|sb| Arc::ptr_eq(sb, &mnt.sb)) {
            continue;
        }
        if let Err(errno) = mnt.sb.ops.sync(&mnt.sb) {
            crate::pr_err!("{}: sync failed: {errno}", mnt.sb.fs_type.name);
        }
        done.push(mnt.sb.clone());
    }
    crate::block::sync_all();
}

/// The part of sync(2) that is about disks, at the end of a machine: file systems without a device have nothing to keep.
pub fn sync_disks(ns: &MountNamespace) {
    for mnt in ns.list().into_iter().filter(|mnt| !mnt.sb.fs_type.nodev) {
        if let Err(errno) = mnt.sb.ops.sync(&mnt.sb) {
            crate::pr_err!("{}: sync failed: {errno}", mnt.sb.fs_type.name);
        }
    }
    crate::block::sync_all();
}

/// syncfs(2)
pub fn syncfs(fd: Fd) -> Result<()> {
    let file = fd.io()?;
    let sb = &file.path.mnt.sb;
    sb.ops.sync(sb)
}

/// fsync(2)
pub fn fsync(fd: Fd) -> Result<()> {
    let file = fd.io()?;
    file.ops.fsync(&file, false)
}

/// fdatasync(2)
pub fn fdatasync(fd: Fd) -> Result<()> {
    let file = fd.io()?;
    file.ops.fsync(&file, true)
}

/// sync_file_range(2): whatever the flags, it waits until the range is written.
pub fn sync_file_range(fd: Fd, offset: i64, len: i64, flags: u32) -> Result<()> {
    let known = SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;
    let file = fd.io()?;
    if flags & !known != 0 || offset < 0 || len < 0 || offset.checked_add(len).is_none() {
        return Err(EINVAL);
    }
    match file.inode().kind {
        FileType::Regular | FileType::BlockDev | FileType::Dir => {}
        FileType::Symlink => return Err(EINVAL),
        _ => return Err(ESPIPE),
    }
    if flags == 0 {
        return Ok(());
    }
    let end = if len == 0 { u64::MAX } else { offset as u64 + len as u64 };
    file.ops.write_range(&file, offset as u64, end)
}

/// fadvise64(2)
pub fn fadvise64(fd: Fd, offset: i64, len: i64, advice: u32) -> Result<()> {
    let file = fd.io()?;
    if file.inode().kind == FileType::Fifo {
        return Err(ESPIPE);
    }
    if len < 0 || advice > POSIX_FADV_NOREUSE {
        return Err(EINVAL);
    }
    let start = u64::try_from(offset).unwrap_or(0);
    let end = if len == 0 { u64::MAX } else { offset.saturating_add(len).max(0) as u64 };
    file.ops.fadvise(&file, start, end, advice)
}

/// readahead(2)
pub fn readahead(fd: Fd, offset: i64, count: usize) -> Result<()> {
    let file = fd.io()?;
    if !file.mode.contains(FileMode::READ) {
        return Err(EBADF);
    }
    if !matches!(file.inode().kind, FileType::Regular | FileType::BlockDev) {
        return Err(EINVAL);
    }
    let start = u64::try_from(offset).map_err(|_| EINVAL)?;
    file.ops.fadvise(&file, start, start.saturating_add(count as u64), POSIX_FADV_WILLNEED)
}
