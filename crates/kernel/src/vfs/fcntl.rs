//! Calls on descriptors: close(2), dup(2), close_range(2), fcntl(2), and the ioctls that every file has.

use std::sync::Arc;

use abi::Result;
use abi::errno::*;
use abi::fcntl::*;
use abi::inotify::{IN_CLOSE_NOWRITE, IN_CLOSE_WRITE};
use abi::ioctl::*;
use abi::signal::NSIG;

use super::fasync::{self, FileOwner};
use super::namei::is_owner;
use super::{Fd, File, FileMode, FileType, FilesStruct, locks, notify};
use crate::task::{current, pid};
use crate::uaccess::UserPtr;

/// A descriptor has gone: flushes, ends the POSIX locks of its table on the file, and drops this reference. The error
/// is close(2)'s; the descriptor is gone anyway. With no lock held: it may sleep.
pub fn close_file(file: Arc<File>, files: &FilesStruct) -> Result<()> {
    if file.is_path() {
        return Ok(());
    }
    let flushed = file.ops.flush(&file);
    locks::release_posix(file.inode(), files);
    // The last description tells: fork and dup do not count.
    if notify::active() && Arc::strong_count(&file) == 1 {
        let mask = if file.mode.contains(FileMode::WRITE) { IN_CLOSE_WRITE } else { IN_CLOSE_NOWRITE };
        notify::on_file(&file, mask);
    }
    flushed
}

/// Closes every descriptor of a table that nobody else uses (exit).
pub fn close_all(files: &FilesStruct) {
    for (_, file) in files.remove_where(|_, _| true) {
        let _ = close_file(file, files);
    }
}

/// Closes what is marked FD_CLOEXEC (execve).
pub fn close_on_exec(files: &FilesStruct) {
    for (_, file) in files.remove_where(|_, cloexec| cloexec) {
        let _ = close_file(file, files);
    }
}

/// close(2). An interrupted flush is not repeated: the descriptor is gone.
pub fn close(fd: Fd) -> Result<()> {
    let files = current().files()?;
    let file = files.remove(fd)?;
    match close_file(file, &files) {
        Err(errno) if errno.is_restart() => Err(EINTR),
        outcome => outcome,
    }
}

/// close_range(2)
pub fn close_range(first: u32, last: u32, flags: u32) -> Result<()> {
    if flags & !(CLOSE_RANGE_UNSHARE | CLOSE_RANGE_CLOEXEC) != 0 || first > last {
        return Err(EINVAL);
    }
    let task = current();
    let mut files = task.files()?;
    if flags & CLOSE_RANGE_UNSHARE != 0 {
        // The task's own reference and ours.
        if Arc::strong_count(&files) > 2 {
            let copy = files.copy();
            drop(task.set_files(Some(copy.clone())));
            files = copy;
        }
    }
    let within = |fd: Fd| u32::try_from(fd.0).is_ok_and(|n| (first..=last).contains(&n));
    if flags & CLOSE_RANGE_CLOEXEC != 0 {
        files.mark_cloexec(within);
        return Ok(());
    }
    for (_, file) in files.remove_where(|fd, _| within(fd)) {
        let _ = close_file(file, &files);
    }
    Ok(())
}

/// dup(2)
pub fn dup(fd: Fd) -> Result<Fd> {
    current().files()?.install(fd.file()?, false)
}

/// dup2(2)
pub fn dup2(old: Fd, new: Fd) -> Result<Fd> {
    if old == new {
        old.file()?;
        return Ok(new);
    }
    replace(old, new, false)
}

/// dup3(2)
pub fn dup3(old: Fd, new: Fd, flags: u32) -> Result<Fd> {
    if flags & !O_CLOEXEC != 0 || old == new {
        return Err(EINVAL);
    }
    replace(old, new, flags & O_CLOEXEC != 0)
}

fn replace(old: Fd, new: Fd, cloexec: bool) -> Result<Fd> {
    let files = current().files()?;
    let file = files.get(old)?;
    if let Some(closed) = files.replace(new, file, cloexec)? {
        // dup2(2) has no way to report it.
        let _ = close_file(closed, &files);
    }
    Ok(new)
}

/// fcntl(2)
pub fn fcntl(fd: Fd, cmd: u32, arg: u64) -> Result<u64> {
    let file = fd.file()?;
    if file.is_path()
        && !matches!(cmd, F_DUPFD | F_DUPFD_CLOEXEC | F_GETFD | F_SETFD | F_GETFL | F_DUPFD_QUERY)
    {
        return Err(EBADF);
    }
    let files = current().files()?;
    let number = |fd: Fd| fd.0 as u64;
    match cmd {
        F_DUPFD | F_DUPFD_CLOEXEC => {
            // EINVAL beyond the limit, which a negative number is.
            let from = u64::from(arg as u32);
            files.install_from(from, file, cmd == F_DUPFD_CLOEXEC).map(number)
        }
        F_DUPFD_QUERY => Ok(Arc::ptr_eq(&file, &Fd(arg as i32).file()?).into()),
        F_GETFD => files.cloexec(fd).map(u64::from),
        F_SETFD => files.set_cloexec(fd, arg as u32 & FD_CLOEXEC != 0).map(|()| 0),
        F_GETFL => Ok(file.flags().bits().into()),
        F_SETFL => set_flags(&file, fd, arg as u32).map(|()| 0),
        F_GETLK | F_SETLK | F_SETLKW | F_OFD_GETLK | F_OFD_SETLK | F_OFD_SETLKW => {
            locks::fcntl_lock(&file, &files, cmd, UserPtr::new(arg)).map(|()| 0)
        }
        F_SETOWN | F_GETOWN | F_SETOWN_EX | F_GETOWN_EX | F_SETSIG | F_GETSIG | F_GETOWNER_UIDS => {
            owner(&file, cmd, arg)
        }
        F_SETPIPE_SZ | F_GETPIPE_SZ if file.inode().kind != FileType::Fifo => Err(EBADF),
        // Nobody holds a lease: there are none.
        F_GETLEASE => Ok(F_UNLCK as u64),
        F_SETLEASE | F_NOTIFY => Err(EINVAL),
        _ => file.ops.fcntl(&file, cmd, arg),
    }
}

fn set_flags(file: &File, fd: Fd, arg: u32) -> Result<()> {
    let new = OpenFlags::from_bits_retain(arg);
    if new.contains(OpenFlags::NOATIME) && !file.flags().contains(OpenFlags::NOATIME) {
        let attr = file.inode().getattr()?;
        if !is_owner(&attr, &current().cred()) {
            return Err(EPERM);
        }
    }
    file.ops.check_flags(file, new)?;
    let on = new.contains(OpenFlags::ASYNC);
    if on != file.flags().contains(OpenFlags::ASYNC) {
        // A file that has nothing to tell stays without it.
        fasync::set_async(file, fd.0, on);
    }
    file.set_flags(new, OpenFlags::SETFL.difference(OpenFlags::ASYNC));
    Ok(())
}

fn owner(file: &File, cmd: u32, arg: u64) -> Result<u64> {
    match cmd {
        F_SETOWN => {
            let id = arg as i32;
            let kind = if id < 0 { F_OWNER_PGRP } else { F_OWNER_PID };
            set_owner(file, kind, id.checked_abs().ok_or(EINVAL)?)?;
            Ok(0)
        }
        F_GETOWN => {
            let owner = file.owner();
            let id = if owner.kind == F_OWNER_PGRP { -owner.id } else { owner.id };
            Ok(i64::from(id) as u64)
        }
        F_SETOWN_EX => {
            let wanted = UserPtr::<FOwnerEx>::new(arg).read()?;
            if !matches!(wanted.type_, F_OWNER_TID | F_OWNER_PID | F_OWNER_PGRP) {
                return Err(EINVAL);
            }
            set_owner(file, wanted.type_, wanted.pid)?;
            Ok(0)
        }
        F_GETOWN_EX => {
            let owner = file.owner();
            UserPtr::new(arg).write(&FOwnerEx { type_: owner.kind, pid: owner.id })?;
            Ok(0)
        }
        F_SETSIG => {
            if arg > u64::from(NSIG) {
                return Err(EINVAL);
            }
            file.owner_cell().lock().signal = arg as i32;
            Ok(0)
        }
        F_GETSIG => Ok(file.owner().signal as u64),
        _ => {
            let uids = file.owner().uids;
            UserPtr::new(arg).write(&uids.0)?;
            UserPtr::new(arg.wrapping_add(4)).write(&uids.1)?;
            Ok(0)
        }
    }
}

/// F_SETOWN_EX; ESRCH for a number that nobody has. 0 is nobody.
pub fn set_owner(file: &File, kind: i32, id: i32) -> Result<()> {
    if id < 0 {
        return Err(EINVAL);
    }
    if id > 0 {
        match kind {
            F_OWNER_TID => drop(pid::find_task(id)?),
            F_OWNER_PID => drop(pid::find_process(id)?),
            _ if pid::tasklist().group(id).is_empty() => return Err(ESRCH),
            _ => {}
        }
    }
    let cred = current().cred();
    let mut owner = file.owner_cell().lock();
    *owner = FileOwner { kind, id, signal: owner.signal, uids: (cred.uid, cred.euid) };
    Ok(())
}

/// ioctl(2)
pub fn ioctl(fd: Fd, cmd: u32, arg: u64) -> Result<u64> {
    let file = fd.io()?;
    match cmd {
        FIOCLEX | FIONCLEX => current().files()?.set_cloexec(fd, cmd == FIOCLEX).map(|()| 0),
        FIOASYNC => {
            let on = UserPtr::<i32>::new(arg).read()? != 0;
            fasync::ioctl_async(&file, fd.0, on).map(|()| 0)
        }
        FIONBIO => {
            let on = UserPtr::<i32>::new(arg).read()? != 0;
            let bit = OpenFlags::NONBLOCK;
            let flags = if on { bit } else { OpenFlags::empty() };
            file.ops.check_flags(&file, file.flags().difference(bit) | flags)?;
            file.set_flags(flags, bit);
            Ok(0)
        }
        FIOQSIZE => match file.inode().kind {
            FileType::Dir | FileType::Regular | FileType::Symlink => {
                UserPtr::new(arg).write(&(file.inode().getattr()?.size as i64))?;
                Ok(0)
            }
            _ => Err(ENOTTY),
        },
        FIONREAD if file.inode().kind == FileType::Regular && !file.mode.contains(FileMode::STREAM) => {
            let left = (file.inode().getattr()?.size as i64).saturating_sub(file.seek(0, SEEK_CUR)? as i64);
            UserPtr::new(arg).write(&(left as i32))?;
            Ok(0)
        }
        _ => file.ops.ioctl(&file, cmd, arg),
    }
}

/// flock(2)
pub fn flock(fd: Fd, operation: u32) -> Result<()> {
    locks::flock(&fd.io()?, operation)
}
