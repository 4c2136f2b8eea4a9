//! Moving bytes: read(2), write(2), their vector and positioned forms, lseek(2), sendfile(2), copy_file_range(2).

use std::sync::Arc;

use abi::Result;
use abi::cred::CAP_FSETID;
use abi::errno::*;
use abi::fcntl::{OpenFlags, SEEK_CUR};
use abi::inotify::{IN_ACCESS, IN_MODIFY};
use abi::resource::{RLIM_INFINITY, RLIMIT_FSIZE};
use abi::signal::{SI_KERNEL, SIGXFSZ, SigInfo};
use abi::stat::{S_ISGID, S_ISUID, S_IXGRP, major, minor};
use abi::uio::*;

use super::{Fd, File, FileMode, FileType, Inode, IovDest, IovSource, SetAttr, notify};
use crate::task::{Cred, Io, current, with_current};
use crate::uaccess::{MAX_RW_COUNT, UserPtr, iovec_from_user, user_dest, user_source};

/// read(2)
pub fn read(fd: Fd, buf: u64, count: usize) -> Result<usize> {
    let file = fd.io()?;
    let mut dest = user_dest(buf, checked_len(count)?)?;
    do_read(&file, &mut dest, None)
}

/// write(2)
pub fn write(fd: Fd, buf: u64, count: usize) -> Result<usize> {
    let file = fd.io()?;
    let mut src = user_source(buf, checked_len(count)?)?;
    do_write(&file, &mut src, None)
}

/// pread64(2)
pub fn pread64(fd: Fd, buf: u64, count: usize, pos: i64) -> Result<usize> {
    let pos = checked_pos(pos)?;
    let file = fd.io()?;
    do_read(&file, &mut user_dest(buf, checked_len(count)?)?, Some(pos))
}

/// pwrite64(2)
pub fn pwrite64(fd: Fd, buf: u64, count: usize, pos: i64) -> Result<usize> {
    let pos = checked_pos(pos)?;
    let file = fd.io()?;
    do_write(&file, &mut user_source(buf, checked_len(count)?)?, Some(pos))
}

/// readv(2)
pub fn readv(fd: Fd, iov: UserPtr<Iovec>, count: usize) -> Result<usize> {
    let file = fd.io()?;
    do_read(&file, &mut vector_dest(iov, count)?, None)
}

/// writev(2)
pub fn writev(fd: Fd, iov: UserPtr<Iovec>, count: usize) -> Result<usize> {
    let file = fd.io()?;
    do_write(&file, &mut vector_source(iov, count)?, None)
}

/// preadv(2)
pub fn preadv(fd: Fd, iov: UserPtr<Iovec>, count: usize, pos: i64, _pos_high: u64) -> Result<usize> {
    let pos = checked_pos(pos)?;
    let file = fd.io()?;
    do_read(&file, &mut vector_dest(iov, count)?, Some(pos))
}

/// pwritev(2)
pub fn pwritev(fd: Fd, iov: UserPtr<Iovec>, count: usize, pos: i64, _pos_high: u64) -> Result<usize> {
    let pos = checked_pos(pos)?;
    let file = fd.io()?;
    do_write(&file, &mut vector_source(iov, count)?, Some(pos))
}

/// preadv2(2). RWF_HIPRI is a hint; RWF_NOWAIT is served for files that can wait (pipes, sockets).
pub fn preadv2(
    fd: Fd,
    iov: UserPtr<Iovec>,
    count: usize,
    pos: i64,
    _pos_high: u64,
    flags: u32,
) -> Result<usize> {
    let pos = if pos == -1 { None } else { Some(checked_pos(pos)?) };
    let file = fd.io()?;
    if flags & !(RWF_HIPRI | RWF_DSYNC | RWF_SYNC | RWF_NOWAIT) != 0 {
        return Err(EOPNOTSUPP);
    }
    let mut dest = vector_dest(iov, count)?;
    if flags & RWF_NOWAIT == 0 {
        return do_read(&file, &mut dest, pos);
    }
    if !file.mode.contains(FileMode::STREAM) || pos.is_some() {
        return Err(EOPNOTSUPP);
    }
    if !file.mode.contains(FileMode::READ) {
        return Err(EBADF);
    }
    file.ops.read(&file, &mut dest, &mut 0)
}

/// pwritev2(2)
pub fn pwritev2(
    fd: Fd,
    iov: UserPtr<Iovec>,
    count: usize,
    pos: i64,
    _pos_high: u64,
    flags: u32,
) -> Result<usize> {
    let pos = if pos == -1 { None } else { Some(checked_pos(pos)?) };
    let file = fd.io()?;
    if flags & !(RWF_HIPRI | RWF_DSYNC | RWF_SYNC | RWF_APPEND | RWF_NOAPPEND) != 0 {
        return Err(EOPNOTSUPP);
    }
    let mut src = vector_source(iov, count)?;
    match flags & (RWF_APPEND | RWF_NOAPPEND) {
        0 => {}
        RWF_APPEND => src.set_append(true),
        RWF_NOAPPEND => src.set_append(false),
        _ => return Err(EINVAL),
    }
    let synced = flags & (RWF_DSYNC | RWF_SYNC) != 0;
    let start = pos.filter(|_| !src.appends(&file));
    let written = do_write(&file, &mut src, pos)?;
    if synced && written > 0 {
        // Otherwise wherever it was.
        let (from, to) = start.map_or((0, u64::MAX), |from| (from, from.saturating_add(written as u64)));
        file.ops.fsync_range(&file, from, to, flags & RWF_SYNC == 0)?;
    }
    Ok(written)
}

/// lseek(2)
pub fn lseek(fd: Fd, offset: i64, whence: u32) -> Result<u64> {
    fd.io()?.seek(offset, whence)
}

fn checked_len(count: usize) -> Result<usize> {
    if count > isize::MAX as usize { Err(EINVAL) } else { Ok(count.min(MAX_RW_COUNT)) }
}

fn checked_pos(pos: i64) -> Result<u64> {
    u64::try_from(pos).map_err(|_| EINVAL)
}

fn vector_dest(iov: UserPtr<Iovec>, count: usize) -> Result<IovDest<'static>> {
    Ok(IovDest::user(current().mm()?, iovec_from_user(iov, count)?))
}

fn vector_source(iov: UserPtr<Iovec>, count: usize) -> Result<IovSource<'static>> {
    Ok(IovSource::user(current().mm()?, iovec_from_user(iov, count)?))
}

/// A read at the file's own position or at a given one. EBADF; ESPIPE; EISDIR.
pub fn do_read(file: &File, dest: &mut IovDest<'_>, pos: Option<u64>) -> Result<usize> {
    let result = read_unaccounted(file, dest, pos);
    count_io(Io::Read, &result);
    result
}

fn count_io(io: Io, result: &Result<usize>) {
    with_current(|task| task.io.add(io, *result.as_ref().unwrap_or(&0)));
}

fn read_unaccounted(file: &File, dest: &mut IovDest<'_>, pos: Option<u64>) -> Result<usize> {
    if !file.mode.contains(FileMode::READ) {
        return Err(EBADF);
    }
    if file.inode().is_dir() {
        return Err(EISDIR);
    }
    let n = match pos {
        None => file.read(dest)?,
        Some(mut pos) => {
            file.require_seekable()?;
            check_end(pos, dest.remaining())?;
            file.read_at(dest, &mut pos)?
        }
    };
    if n > 0 {
        notify::on_file(file, IN_ACCESS);
    }
    Ok(n)
}

/// A write at the file's own position or at a given one. EBADF; ESPIPE; EFBIG with SIGXFSZ.
pub fn do_write(file: &File, src: &mut IovSource<'_>, pos: Option<u64>) -> Result<usize> {
    let result = write_unaccounted(file, src, pos);
    count_io(Io::Write, &result);
    result
}

fn write_unaccounted(file: &File, src: &mut IovSource<'_>, pos: Option<u64>) -> Result<usize> {
    if !file.mode.contains(FileMode::WRITE) {
        return Err(EBADF);
    }
    if pos.is_some() {
        file.require_seekable()?;
    }
    let n = if file.mode.contains(FileMode::STREAM) && pos.is_none() {
        file.write(src)?
    } else {
        let kind = file.inode().kind;
        let regular = kind == FileType::Regular;
        let mut own = match pos {
            None => Some(file.lock_pos()),
            Some(_) => None,
        };
        let mut at = pos.unwrap_or_else(|| own.as_deref().copied().unwrap_or(0));
        check_end(at, src.remaining())?;
        if regular && src.remaining() > 0 {
            limit_size(file, src, at)?;
            remove_privileges(file.inode(), &current().cred())?;
        }
        let n = file.write_at(src, &mut at)?;
        if let Some(own) = &mut own {
            **own = at;
        }
        drop(own);
        if (regular || kind == FileType::BlockDev) && file.flags().contains(OpenFlags::DSYNC) && n > 0 {
            let data_only = !file.flags().contains(OpenFlags::SYNC);
            file.ops.fsync_range(file, at.saturating_sub(n as u64), at, data_only)?;
        }
        n
    };
    if n > 0 {
        notify::on_file(file, IN_MODIFY);
    }
    Ok(n)
}

fn check_end(pos: u64, len: usize) -> Result<()> {
    let end = pos.checked_add(len as u64).ok_or(EINVAL)?;
    if end > i64::MAX as u64 { Err(EINVAL) } else { Ok(()) }
}

/// RLIMIT_FSIZE: cuts the write at the limit, or answers EFBIG with SIGXFSZ.
fn limit_size(file: &File, src: &mut IovSource<'_>, pos: u64) -> Result<()> {
    let limit = current().process.rlimit(RLIMIT_FSIZE);
    if limit == RLIM_INFINITY {
        return Ok(());
    }
    let pos = if src.appends(file) { file.inode().getattr()?.size } else { pos };
    check_fsize(pos)?;
    src.truncate(usize::try_from(limit - pos).unwrap_or(usize::MAX));
    Ok(())
}

/// EFBIG with SIGXFSZ when a file may not be written at `pos` by RLIMIT_FSIZE.
pub fn check_fsize(pos: u64) -> Result<()> {
    let task = current();
    if pos < task.process.rlimit(RLIMIT_FSIZE) {
        return Ok(());
    }
    crate::signal::send_task(&task, SigInfo::new(SIGXFSZ, SI_KERNEL));
    Err(EFBIG)
}

/// A write by somebody without CAP_FSETID takes the set-ID bits off.
pub fn remove_privileges(inode: &Inode, cred: &Cred) -> Result<()> {
    if cred.capable(CAP_FSETID) {
        return Ok(());
    }
    let mode = inode.getattr()?.mode;
    match without_privileges(mode) {
        same if same == mode => Ok(()),
        mode => {
            let attr = SetAttr { mode: Some(mode & 0o7777), ..SetAttr::default() };
            inode.ops.setattr(inode, &attr)
        }
    }
}

/// The mode without set-user-ID, and without set-group-ID where that isn't mandatory locking.
pub fn without_privileges(mode: u32) -> u32 {
    let gid = if mode & S_IXGRP != 0 { S_ISGID } else { 0 };
    mode & !(S_ISUID | gid)
}

/// Bytes moved in one step by sendfile(2) and copy_file_range(2).
const CHUNK: usize = 64 * 1024;

/// sendfile(2)
pub fn sendfile(out_fd: Fd, in_fd: Fd, offset: UserPtr<i64>, count: usize) -> Result<usize> {
    let (input, output) = (in_fd.io()?, out_fd.io()?);
    if !input.mode.contains(FileMode::READ) || !output.mode.contains(FileMode::WRITE) {
        return Err(EBADF);
    }
    if output.flags().contains(OpenFlags::APPEND) || !can_send(&input)? {
        return Err(EINVAL);
    }
    let mut pos = match offset.non_null() {
        Some(offset) => {
            let pos = checked_pos(offset.read()?)?;
            input.require_seekable()?;
            Some(pos)
        }
        None => None,
    };
    let outcome = copy(&input, &mut pos, &output, &mut None, count.min(MAX_RW_COUNT));
    if let Some(pos) = pos {
        offset.write_if(&(pos as i64))?;
    }
    outcome
}

/// What sendfile(2) reads from: files, and the memory devices that give bytes.
fn can_send(input: &File) -> Result<bool> {
    match input.inode().kind {
        FileType::Regular | FileType::BlockDev => Ok(input.mode.contains(FileMode::SEEK)),
        FileType::CharDev => {
            let rdev = input.inode().getattr()?.rdev;
            Ok(major(rdev) == 1 && matches!(minor(rdev), 5 | 7 | 8 | 9))
        }
        _ => Ok(false),
    }
}

/// copy_file_range(2)
pub fn copy_file_range(
    fd_in: Fd,
    off_in: UserPtr<i64>,
    fd_out: Fd,
    off_out: UserPtr<i64>,
    len: usize,
    flags: u32,
) -> Result<usize> {
    if flags != 0 {
        return Err(EINVAL);
    }
    let (input, output) = (fd_in.io()?, fd_out.io()?);
    let kinds = (input.inode().kind, output.inode().kind);
    if kinds.0 == FileType::Dir || kinds.1 == FileType::Dir {
        return Err(EISDIR);
    }
    if kinds != (FileType::Regular, FileType::Regular) || !(input.mode & output.mode).contains(FileMode::SEEK)
    {
        return Err(EINVAL);
    }
    let modes = (input.mode.contains(FileMode::READ), output.mode.contains(FileMode::WRITE));
    if modes != (true, true) || output.flags().contains(OpenFlags::APPEND) {
        return Err(EBADF);
    }
    if [&input, &output].iter().any(|f| f.mode.contains(FileMode::STREAM)) {
        // A file of the host's that was passed through: on no file system of the guest.
        return Err(EXDEV);
    }
    let read_pos = |file: &Arc<File>, ptr: UserPtr<i64>| match ptr.non_null() {
        Some(ptr) => checked_pos(ptr.read()?),
        None => Ok(*file.lock_pos()),
    };
    let (from, to) = (read_pos(&input, off_in)?, read_pos(&output, off_out)?);
    let mut len = len.min(MAX_RW_COUNT);
    check_end(from, len)?;
    check_end(to, len)?;
    let left = input.inode().getattr()?.size.saturating_sub(from);
    len = len.min(usize::try_from(left).unwrap_or(usize::MAX));
    if Arc::ptr_eq(input.inode(), output.inode()) && from.abs_diff(to) < len as u64 {
        return Err(EINVAL);
    }
    let (mut pos_in, mut pos_out) = (Some(from), Some(to));
    let copied = copy(&input, &mut pos_in, &output, &mut pos_out, len)?;
    let write_pos = |file: &Arc<File>, ptr: UserPtr<i64>, pos: Option<u64>| match (ptr.non_null(), pos) {
        (Some(ptr), Some(pos)) => ptr.write(&(pos as i64)),
        (None, Some(pos)) => {
            *file.lock_pos() = pos;
            Ok(())
        }
        (_, None) => Ok(()),
    };
    write_pos(&input, off_in, pos_in)?;
    write_pos(&output, off_out, pos_out)?;
    Ok(copied)
}

/// Copies up to `count` bytes; a position of none is the file's own. What was copied before an error is the result.
/// Bytes that were read but could not be written are read again next time where the input has a position.
fn copy(
    input: &File,
    pos_in: &mut Option<u64>,
    output: &File,
    pos_out: &mut Option<u64>,
    count: usize,
) -> Result<usize> {
    let mut buf = vec![0; CHUNK.min(count)];
    let mut done = 0;
    while done < count {
        let want = CHUNK.min(count - done);
        let got = match do_read(input, &mut IovDest::kernel(&mut buf[..want]), *pos_in) {
            Ok(0) => break,
            Ok(n) => n,
            Err(errno) => return if done > 0 { Ok(done) } else { Err(errno) },
        };
        let written = do_write(output, &mut IovSource::kernel(&buf[..got]), *pos_out);
        let n = *written.as_ref().unwrap_or(&0);
        match pos_in {
            Some(pos) => *pos += n as u64,
            None if n < got && input.mode.contains(FileMode::SEEK) => {
                input.seek(-((got - n) as i64), SEEK_CUR)?;
            }
            None => {}
        }
        if let Some(pos) = pos_out {
            *pos += n as u64;
        }
        done += n;
        match written {
            Err(errno) if done == 0 => return Err(errno),
            Ok(n) if n == got => {}
            _ => break,
        }
    }
    Ok(done)
}
