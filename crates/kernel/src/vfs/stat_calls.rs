//! Asking about files: stat(2), statx(2), statfs(2), access(2), readlink(2).

use std::sync::Arc;

use abi::Result;
use abi::errno::*;
use abi::fcntl::*;
use abi::stat::*;
use abi::time::Timespec;

use super::namei::{LookupFlags, Walk, lookup_flags, path_at, permission};
use super::{Fd, FileType, Kstat, Mount, MountFlags, Path};
use crate::syscall::UserPath;
use crate::task::{CapSet, Cred, current};
use crate::uaccess::{UserPtr, copy_to_user};

/// stat(2)
pub fn stat(path: UserPath, buf: UserPtr<Stat>) -> Result<()> {
    newfstatat(Fd::CWD, path, buf, 0)
}

/// lstat(2)
pub fn lstat(path: UserPath, buf: UserPtr<Stat>) -> Result<()> {
    newfstatat(Fd::CWD, path, buf, AT_SYMLINK_NOFOLLOW)
}

/// fstat(2); O_PATH files too.
pub fn fstat(fd: Fd, buf: UserPtr<Stat>) -> Result<()> {
    let file = fd.file()?;
    buf.write(&to_stat(&file.inode().getattr()?))
}

/// newfstatat(2): fstatat(3).
pub fn newfstatat(dirfd: Fd, path: UserPath, buf: UserPtr<Stat>, flags: u32) -> Result<()> {
    let path = resolve(dirfd, path, flags, 0)?;
    buf.write(&to_stat(&path.inode()?.getattr()?))
}

/// statx(2)
pub fn statx(dirfd: Fd, path: UserPath, flags: u32, mask: u32, buf: UserPtr<Statx>) -> Result<()> {
    if mask & STATX__RESERVED != 0 || flags & AT_STATX_SYNC_TYPE == AT_STATX_SYNC_TYPE {
        return Err(EINVAL);
    }
    let path = resolve(dirfd, path, flags, AT_STATX_SYNC_TYPE)?;
    let attr = path.inode()?.getattr()?;
    buf.write(&to_statx(&path, &attr, mask))
}

/// Where a name with AT_* flags leads. A null name with AT_EMPTY_PATH is an empty one.
fn resolve(dirfd: Fd, path: UserPath, flags: u32, others: u32) -> Result<Path> {
    let lookup = lookup_flags(flags, others)?;
    let name =
        if path.is_null() && lookup.contains(LookupFlags::EMPTY_PATH) { Vec::new() } else { path.read()? };
    path_at(dirfd, &name, lookup)
}

fn to_stat(attr: &Kstat) -> Stat {
    Stat {
        st_dev: attr.dev,
        st_ino: attr.ino,
        st_nlink: u64::from(attr.nlink),
        st_mode: attr.mode,
        st_uid: attr.uid,
        st_gid: attr.gid,
        st_rdev: attr.rdev,
        st_size: attr.size as i64,
        st_blksize: i64::from(attr.blksize),
        st_blocks: attr.blocks as i64,
        st_atime: attr.atime.tv_sec,
        st_atime_nsec: attr.atime.tv_nsec,
        st_mtime: attr.mtime.tv_sec,
        st_mtime_nsec: attr.mtime.tv_nsec,
        st_ctime: attr.ctime.tv_sec,
        st_ctime_nsec: attr.ctime.tv_nsec,
        ..Stat::default()
    }
}

fn to_statx(path: &Path, attr: &Kstat, mask: u32) -> Statx {
    let time =
        |t: Timespec| StatxTimestamp { tv_sec: t.tv_sec, tv_nsec: t.tv_nsec as u32, ..Default::default() };
    let mut mnt_bits = STATX_MNT_ID;
    if mask & STATX_MNT_ID_UNIQUE != 0 {
        mnt_bits = STATX_MNT_ID_UNIQUE;
    }
    let btime_bit = if attr.btime.is_some() { STATX_BTIME } else { 0 };
    let mount_root = Arc::ptr_eq(&path.dentry, &path.mnt.root);
    Statx {
        stx_mask: STATX_BASIC_STATS | btime_bit | mnt_bits,
        stx_blksize: attr.blksize,
        stx_attributes: if mount_root { STATX_ATTR_MOUNT_ROOT } else { 0 },
        stx_attributes_mask: STATX_ATTR_MOUNT_ROOT,
        stx_nlink: attr.nlink,
        stx_uid: attr.uid,
        stx_gid: attr.gid,
        stx_mode: attr.mode as u16,
        stx_ino: attr.ino,
        stx_size: attr.size,
        stx_blocks: attr.blocks,
        stx_atime: time(attr.atime),
        stx_btime: attr.btime.map(time).unwrap_or_default(),
        stx_ctime: time(attr.ctime),
        stx_mtime: time(attr.mtime),
        stx_rdev_major: major(attr.rdev),
        stx_rdev_minor: minor(attr.rdev),
        stx_dev_major: major(attr.dev),
        stx_dev_minor: minor(attr.dev),
        stx_mnt_id: path.mnt.id,
        ..Statx::default()
    }
}

/// statfs(2)
pub fn statfs(path: UserPath, buf: UserPtr<Statfs>) -> Result<()> {
    let path = path_at(Fd::CWD, &path.read()?, LookupFlags::FOLLOW)?;
    buf.write(&statfs_of(&path.mnt)?)
}

/// fstatfs(2)
pub fn fstatfs(fd: Fd, buf: UserPtr<Statfs>) -> Result<()> {
    let file = fd.file()?;
    buf.write(&statfs_of(&file.path.mnt)?)
}

fn statfs_of(mnt: &Mount) -> Result<Statfs> {
    let mut st = mnt.sb.ops.statfs(&mnt.sb)?;
    let flags = mnt.flags();
    st.f_flags = ST_VALID;
    for (flag, bit) in [
        (MountFlags::NOSUID, ST_NOSUID),
        (MountFlags::NODEV, ST_NODEV),
        (MountFlags::NOEXEC, ST_NOEXEC),
        (MountFlags::NOATIME, ST_NOATIME),
        (MountFlags::NODIRATIME, ST_NODIRATIME),
        (MountFlags::RELATIME, ST_RELATIME),
        (MountFlags::NOSYMFOLLOW, ST_NOSYMFOLLOW),
    ] {
        st.f_flags |= if flags.contains(flag) { bit } else { 0 };
    }
    if mnt.is_readonly() {
        st.f_flags |= ST_RDONLY;
    }
    if st.f_frsize == 0 {
        st.f_frsize = st.f_bsize;
    }
    Ok(st)
}

/// access(2)
pub fn access(path: UserPath, mode: u32) -> Result<()> {
    faccessat2(Fd::CWD, path, mode, 0)
}

/// faccessat(2), the call without flags.
pub fn faccessat(dirfd: Fd, path: UserPath, mode: u32) -> Result<()> {
    faccessat2(dirfd, path, mode, 0)
}

/// faccessat2(2)
pub fn faccessat2(dirfd: Fd, path: UserPath, mode: u32, flags: u32) -> Result<()> {
    if mode & !(R_OK | W_OK | X_OK) != 0 {
        return Err(EINVAL);
    }
    if flags & AT_NO_AUTOMOUNT != 0 {
        return Err(EINVAL);
    }
    let lookup = lookup_flags(flags, AT_EACCESS)?;
    let cred = current().cred();
    let asked = if flags & AT_EACCESS != 0 { cred } else { Arc::new(real_cred(&cred)) };
    let name = path.read()?;
    let walk = Walk::at(dirfd, &name, lookup)?.with_cred(asked.clone());
    check_access(&walk.lookup(&name)?, mode, &asked)
}

/// The real ids as file-system ids: what access(2) asks about. Root by real id has its capabilities, others none.
fn real_cred(cred: &Cred) -> Cred {
    let effective = if cred.uid == 0 { cred.permitted } else { CapSet::EMPTY };
    Cred { fsuid: cred.uid, fsgid: cred.gid, effective, ..cred.clone() }
}

fn check_access(path: &Path, mode: u32, cred: &Cred) -> Result<()> {
    let inode = path.inode()?;
    if mode & X_OK != 0 && inode.kind == FileType::Regular && path.mnt.flags().contains(MountFlags::NOEXEC) {
        return Err(EACCES);
    }
    permission(&inode, mode, cred)?;
    let special =
        matches!(inode.kind, FileType::CharDev | FileType::BlockDev | FileType::Fifo | FileType::Socket);
    if mode & W_OK != 0 && !special && path.mnt.is_readonly() {
        return Err(EROFS);
    }
    Ok(())
}

/// readlink(2)
pub fn readlink(path: UserPath, buf: u64, size: i32) -> Result<usize> {
    readlinkat(Fd::CWD, path, buf, size)
}

/// readlinkat(2). An empty name is the link that `dirfd` was opened on with O_PATH.
pub fn readlinkat(dirfd: Fd, path: UserPath, buf: u64, size: i32) -> Result<usize> {
    let size = usize::try_from(size).ok().filter(|&n| n > 0).ok_or(EINVAL)?;
    let name = path.read()?;
    let path = path_at(dirfd, &name, LookupFlags::EMPTY_PATH)?;
    let inode = path.inode()?;
    if inode.kind != FileType::Symlink {
        return Err(if name.is_empty() { ENOENT } else { EINVAL });
    }
    let target = inode.ops.readlink(&inode)?;
    let n = target.len().min(size);
    copy_to_user(buf, &target[..n])?;
    Ok(n)
}
