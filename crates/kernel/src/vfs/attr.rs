//! Changing attributes: chmod(2), chown(2), utimensat(2), truncate(2), fallocate(2), umask(2).

use std::sync::Arc;

use abi::Result;
use abi::cred::{CAP_CHOWN, CAP_FSETID};
use abi::errno::*;
use abi::fcntl::*;
use abi::inotify::{IN_ATTRIB, IN_MODIFY};
use abi::resource::RLIMIT_FSIZE;
use abi::stat::{S_ISGID, S_ISUID, S_IXGRP, UTIME_NOW, UTIME_OMIT};
use abi::time::{NSEC_PER_SEC, Timespec, Timeval, USEC_PER_SEC, Utimbuf};

use super::namei::{LookupFlags, MAY_WRITE, is_owner, lookup_flags, path_at, permission, want_write};
use super::read_write::{check_fsize, remove_privileges, without_privileges};
use super::{Fd, FileMode, FileType, Inode, Path, SetAttr, SetTime, notify};
use crate::syscall::UserPath;
use crate::task::{Cred, current};
use crate::uaccess::UserPtr;

/// umask(2)
pub fn umask(mask: u32) -> Result<u32> {
    Ok(current().fs().set_umask(mask))
}

/// chmod(2)
pub fn chmod(path: UserPath, mode: u32) -> Result<()> {
    fchmodat2(Fd::CWD, path, mode, 0)
}

/// fchmod(2)
pub fn fchmod(fd: Fd, mode: u32) -> Result<()> {
    change_mode(&fd.io()?.path, mode)
}

/// fchmodat(2), the call without flags.
pub fn fchmodat(dirfd: Fd, path: UserPath, mode: u32) -> Result<()> {
    fchmodat2(dirfd, path, mode, 0)
}

/// fchmodat2(2)
pub fn fchmodat2(dirfd: Fd, path: UserPath, mode: u32, flags: u32) -> Result<()> {
    if flags & AT_NO_AUTOMOUNT != 0 {
        return Err(EINVAL);
    }
    let lookup = lookup_flags(flags, 0)?;
    change_mode(&path_at(dirfd, &path.read()?, lookup)?, mode)
}

fn change_mode(path: &Path, mode: u32) -> Result<()> {
    let inode = path.inode()?;
    want_write(&path.mnt)?;
    if inode.kind == FileType::Symlink {
        return Err(EOPNOTSUPP);
    }
    let cred = current().cred();
    let attr = inode.getattr()?;
    if !is_owner(&attr, &cred) {
        return Err(EPERM);
    }
    let mut mode = mode & 0o7777;
    if mode & S_ISGID != 0 && !cred.in_group(attr.gid) && !cred.capable(CAP_FSETID) {
        mode &= !S_ISGID;
    }
    apply(path, &SetAttr { mode: Some(mode), ..SetAttr::default() })
}

/// Applies a change that was checked, with the time of the change, and tells watchers.
fn apply(path: &Path, attr: &SetAttr) -> Result<()> {
    let inode = path.inode()?;
    inode.ops.setattr(&inode, &SetAttr { ctime: Some(SetTime::Now), ..*attr })?;
    notify::on_dentry(&path.dentry, IN_ATTRIB);
    Ok(())
}

/// chown(2)
pub fn chown(path: UserPath, uid: u32, gid: u32) -> Result<()> {
    fchownat(Fd::CWD, path, uid, gid, 0)
}

/// lchown(2)
pub fn lchown(path: UserPath, uid: u32, gid: u32) -> Result<()> {
    fchownat(Fd::CWD, path, uid, gid, AT_SYMLINK_NOFOLLOW)
}

/// fchown(2)
pub fn fchown(fd: Fd, uid: u32, gid: u32) -> Result<()> {
    change_owner(&fd.io()?.path, uid, gid)
}

/// fchownat(2)
pub fn fchownat(dirfd: Fd, path: UserPath, uid: u32, gid: u32, flags: u32) -> Result<()> {
    if flags & AT_NO_AUTOMOUNT != 0 {
        return Err(EINVAL);
    }
    let lookup = lookup_flags(flags, 0)?;
    change_owner(&path_at(dirfd, &path.read()?, lookup)?, uid, gid)
}

fn change_owner(path: &Path, uid: u32, gid: u32) -> Result<()> {
    let inode = path.inode()?;
    want_write(&path.mnt)?;
    let cred = current().cred();
    let attr = inode.getattr()?;
    let id = |id: u32| (id != u32::MAX).then_some(id);
    let (uid, gid) = (id(uid), id(gid));
    let own = attr.uid == cred.fsuid;
    let may_uid = uid.is_none_or(|uid| own && uid == attr.uid);
    let may_gid = gid.is_none_or(|gid| own && (gid == attr.gid || cred.in_group(gid)));
    let allowed = (may_uid && may_gid) || cred.capable(CAP_CHOWN);
    if !allowed {
        return Err(EPERM);
    }
    let mut change = SetAttr { uid, gid, ..SetAttr::default() };
    if !inode.is_dir() && attr.mode & (S_ISUID | S_ISGID) != 0 {
        // A new owner must not inherit the set-ID bits; set-group-ID without execution is mandatory locking.
        let gid_bit = if attr.mode & S_IXGRP != 0 { S_ISGID } else { 0 };
        change.mode = Some(attr.mode & 0o7777 & !(S_ISUID | gid_bit));
    }
    apply(path, &change)
}

/// utime(2)
pub fn utime(path: UserPath, times: UserPtr<Utimbuf>) -> Result<()> {
    let times = match times.non_null() {
        Some(times) => {
            let times = times.read()?;
            let at = |sec| Some(SetTime::At(Timespec { tv_sec: sec, tv_nsec: 0 }));
            (at(times.actime), at(times.modtime))
        }
        None => (Some(SetTime::Now), Some(SetTime::Now)),
    };
    set_times(&path_at(Fd::CWD, &path.read()?, LookupFlags::FOLLOW)?, times)
}

/// utimes(2)
pub fn utimes(path: UserPath, times: UserPtr<Timeval>) -> Result<()> {
    futimesat(Fd::CWD, path, times)
}

/// futimesat(2): a null name means `dirfd` itself.
pub fn futimesat(dirfd: Fd, path: UserPath, times: UserPtr<Timeval>) -> Result<()> {
    let times = match times.non_null() {
        Some(times) => {
            let at = |t: Timeval| {
                let valid = (0..USEC_PER_SEC as i64).contains(&t.tv_usec);
                let time = Timespec { tv_sec: t.tv_sec, tv_nsec: t.tv_usec.wrapping_mul(1000) };
                valid.then_some(Some(SetTime::At(time))).ok_or(EINVAL)
            };
            (at(times.read()?)?, at(times.at(1).read()?)?)
        }
        None => (Some(SetTime::Now), Some(SetTime::Now)),
    };
    set_times_at(dirfd, path, times, LookupFlags::FOLLOW)
}

/// utimensat(2)
pub fn utimensat(dirfd: Fd, path: UserPath, times: UserPtr<Timespec>, flags: u32) -> Result<()> {
    if flags & AT_NO_AUTOMOUNT != 0 {
        return Err(EINVAL);
    }
    let lookup = lookup_flags(flags, 0)?;
    let times = match times.non_null() {
        Some(times) => (checked_time(times.read()?)?, checked_time(times.at(1).read()?)?),
        None => (Some(SetTime::Now), Some(SetTime::Now)),
    };
    if times == (None, None) {
        return Ok(());
    }
    set_times_at(dirfd, path, times, lookup)
}

fn checked_time(time: Timespec) -> Result<Option<SetTime>> {
    match time.tv_nsec {
        UTIME_NOW => Ok(Some(SetTime::Now)),
        UTIME_OMIT => Ok(None),
        n if (0..NSEC_PER_SEC as i64).contains(&n) => Ok(Some(SetTime::At(time))),
        _ => Err(EINVAL),
    }
}

type Times = (Option<SetTime>, Option<SetTime>);

fn set_times_at(dirfd: Fd, path: UserPath, times: Times, lookup: LookupFlags) -> Result<()> {
    let path = if path.is_null() && dirfd != Fd::CWD {
        if lookup != LookupFlags::FOLLOW {
            return Err(EINVAL);
        }
        dirfd.io()?.path.clone()
    } else {
        path_at(dirfd, &path.read()?, lookup)?
    };
    set_times(&path, times)
}

fn set_times(path: &Path, (atime, mtime): Times) -> Result<()> {
    let inode = path.inode()?;
    want_write(&path.mnt)?;
    let cred = current().cred();
    let both_now = (atime, mtime) == (Some(SetTime::Now), Some(SetTime::Now));
    if !is_owner(&inode.getattr()?, &cred) {
        // Whoever may write may set both times to now, nothing else.
        if !both_now {
            return Err(EPERM);
        }
        permission(&inode, MAY_WRITE, &cred)?;
    }
    apply(path, &SetAttr { atime, mtime, ..SetAttr::default() })
}

/// truncate(2)
pub fn truncate(path: UserPath, len: i64) -> Result<()> {
    let len = u64::try_from(len).map_err(|_| EINVAL)?;
    let path = path_at(Fd::CWD, &path.read()?, LookupFlags::FOLLOW)?;
    let inode = path.inode()?;
    match inode.kind {
        FileType::Regular => {}
        FileType::Dir => return Err(EISDIR),
        _ => return Err(EINVAL),
    }
    let cred = current().cred();
    want_write(&path.mnt)?;
    permission(&inode, MAY_WRITE, &cred)?;
    inode.get_write_access()?;
    let outcome = set_size(&inode, len, &cred);
    inode.put_write_access();
    outcome?;
    notify::on_dentry(&path.dentry, IN_MODIFY);
    Ok(())
}

/// ftruncate(2)
pub fn ftruncate(fd: Fd, len: i64) -> Result<()> {
    let len = u64::try_from(len).map_err(|_| EINVAL)?;
    let file = fd.io()?;
    if file.inode().kind != FileType::Regular || !file.mode.contains(FileMode::WRITE) {
        return Err(EINVAL);
    }
    set_size(file.inode(), len, &current().cred())?;
    notify::on_file(&file, IN_MODIFY);
    Ok(())
}

/// Sets the length of a regular file: RLIMIT_FSIZE holds for growing, and the set-ID bits go.
pub fn set_size(inode: &Arc<Inode>, size: u64, cred: &Cred) -> Result<()> {
    let attr = inode.getattr()?;
    let limit = current().process.rlimit(RLIMIT_FSIZE);
    if size > attr.size && size > limit {
        check_fsize(size)?;
    }
    let now = Some(SetTime::Now);
    let mut change = SetAttr { size: Some(size), mtime: now, ctime: now, ..SetAttr::default() };
    let mode = without_privileges(attr.mode);
    if mode != attr.mode && !cred.capable(CAP_FSETID) {
        change.mode = Some(mode & 0o7777);
    }
    inode.ops.setattr(inode, &change)
}

/// fallocate(2)
pub fn fallocate(fd: Fd, mode: u32, offset: i64, len: i64) -> Result<()> {
    let file = fd.io()?;
    let (Ok(offset), Ok(len)) = (u64::try_from(offset), u64::try_from(len)) else {
        return Err(EINVAL);
    };
    check_fallocate_mode(mode)?;
    if len == 0 {
        return Err(EINVAL);
    }
    if !file.mode.contains(FileMode::WRITE) {
        return Err(EBADF);
    }
    match file.inode().kind {
        FileType::Regular => {}
        FileType::Fifo => return Err(ESPIPE),
        FileType::Dir => return Err(EISDIR),
        _ => return Err(ENODEV),
    }
    let end = offset.checked_add(len).filter(|&end| end <= i64::MAX as u64).ok_or(EFBIG)?;
    if mode & (FALLOC_FL_KEEP_SIZE | FALLOC_FL_COLLAPSE_RANGE) == 0 && end > file.inode().getattr()?.size {
        // The last byte must be allowed.
        check_fsize(end - 1)?;
    }
    remove_privileges(file.inode(), &current().cred())?;
    file.ops.fallocate(&file, mode, offset, len)?;
    notify::on_file(&file, IN_MODIFY);
    Ok(())
}

/// One operation, with KEEP_SIZE where it may or must stand.
fn check_fallocate_mode(mode: u32) -> Result<()> {
    let known = FALLOC_FL_KEEP_SIZE
        | FALLOC_FL_PUNCH_HOLE
        | FALLOC_FL_COLLAPSE_RANGE
        | FALLOC_FL_ZERO_RANGE
        | FALLOC_FL_INSERT_RANGE
        | FALLOC_FL_UNSHARE_RANGE;
    if mode & !known != 0 {
        return Err(EOPNOTSUPP);
    }
    let keep = mode & FALLOC_FL_KEEP_SIZE != 0;
    match mode & !FALLOC_FL_KEEP_SIZE {
        0 | FALLOC_FL_ZERO_RANGE | FALLOC_FL_UNSHARE_RANGE => Ok(()),
        FALLOC_FL_PUNCH_HOLE if keep => Ok(()),
        FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE if !keep => Ok(()),
        FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE => Err(EINVAL),
        _ => Err(EOPNOTSUPP),
    }
}
