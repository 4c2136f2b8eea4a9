//! Data of open host files and entries of open host directories.

use std::os::fd::{AsRawFd, BorrowedFd};

use abi::Result;
use abi::errno::{EFBIG, EINVAL, ENXIO};
use abi::stat::DIRENT64_NAME_OFFSET;

use super::uninterrupted;
use crate::sys::check;

fn offset_of(offset: u64) -> Result<i64> {
    i64::try_from(offset).map_err(|_| EINVAL)
}

/// read(2) at the descriptor's own position: bytes read, 0 at the end.
pub fn read(fd: BorrowedFd<'_>, buf: &mut [u8]) -> Result<usize> {
    uninterrupted(|| {
        // SAFETY: `buf` is writable for its length.
        let n = unsafe { libc::read(fd.as_raw_fd(), buf.as_mut_ptr().cast(), buf.len()) };
        check(n as i64).map(|n| n as usize)
    })
}

/// write(2) at the descriptor's own position: bytes written.
pub fn write(fd: BorrowedFd<'_>, buf: &[u8]) -> Result<usize> {
    uninterrupted(|| {
        // SAFETY: `buf` is readable for its length.
        let n = unsafe { libc::write(fd.as_raw_fd(), buf.as_ptr().cast(), buf.len()) };
        check(n as i64).map(|n| n as usize)
    })
}

/// pread(2): bytes read, 0 at the end.
pub fn pread(fd: BorrowedFd<'_>, buf: &mut [u8], offset: u64) -> Result<usize> {
    let offset = offset_of(offset)?;
    uninterrupted(|| {
        // SAFETY: `buf` is writable for its length.
        let n = unsafe { libc::pread(fd.as_raw_fd(), buf.as_mut_ptr().cast(), buf.len(), offset) };
        check(n as i64).map(|n| n as usize)
    })
}

/// pwrite(2): bytes written. With O_APPEND the host writes at the end whatever `offset` says.
pub fn pwrite(fd: BorrowedFd<'_>, buf: &[u8], offset: u64) -> Result<usize> {
    let offset = i64::try_from(offset).map_err(|_| EFBIG)?;
    uninterrupted(|| {
        // SAFETY: `buf` is readable for its length.
        let n = unsafe { libc::pwrite(fd.as_raw_fd(), buf.as_ptr().cast(), buf.len(), offset) };
        check(n as i64).map(|n| n as usize)
    })
}

/// Writes at the end of the file as it is at that moment (RWF_APPEND), whoever else writes. Bytes written, and the
/// offset after them: the caller sees to it that nobody else appends by the same descriptor meanwhile.
pub fn append(fd: BorrowedFd<'_>, buf: &[u8]) -> Result<(usize, u64)> {
    let iov = libc::iovec { iov_base: buf.as_ptr().cast_mut().cast(), iov_len: buf.len() };
    let n = uninterrupted(|| {
        // SAFETY: `iov` describes `buf`, which is readable for its length; a write only reads from it. Offset -1 uses
        // and moves the descriptor's own position.
        let n = unsafe { libc::pwritev2(fd.as_raw_fd(), &iov, 1, -1, libc::RWF_APPEND) };
        check(n as i64).map(|n| n as usize)
    })?;
    Ok((n, seek(fd, 0, abi::fcntl::SEEK_CUR)?))
}

/// copy_file_range(2): bytes copied, 0 at the end of the source. EXDEV where the host can't.
pub fn copy_range(
    from: BorrowedFd<'_>,
    at: u64,
    to: BorrowedFd<'_>,
    to_at: u64,
    len: usize,
) -> Result<usize> {
    let (mut at, mut to_at) = (offset_of(at)?, offset_of(to_at)?);
    uninterrupted(|| {
        // SAFETY: both offsets are valid to read and write during the call.
        let n =
            unsafe { libc::copy_file_range(from.as_raw_fd(), &mut at, to.as_raw_fd(), &mut to_at, len, 0) };
        check(n as i64).map(|n| n as usize)
    })
}

/// ftruncate(2).
pub fn truncate(fd: BorrowedFd<'_>, len: u64) -> Result<()> {
    let len = i64::try_from(len).map_err(|_| EFBIG)?;
    uninterrupted(|| {
        // SAFETY: no memory is passed.
        let ret = unsafe { libc::ftruncate(fd.as_raw_fd(), len) };
        check(ret.into()).map(drop)
    })
}

/// fallocate(2) with FALLOC_FL_* in `mode`.
pub fn fallocate(fd: BorrowedFd<'_>, mode: u32, offset: u64, len: u64) -> Result<()> {
    let (offset, len) = (offset_of(offset)?, offset_of(len)?);
    uninterrupted(|| {
        // SAFETY: no memory is passed.
        let ret = unsafe { libc::fallocate(fd.as_raw_fd(), mode as i32, offset, len) };
        check(ret.into()).map(drop)
    })
}

/// fsync(2), or fdatasync(2) with `data_only`: durable on return.
pub fn fsync(fd: BorrowedFd<'_>, data_only: bool) -> Result<()> {
    uninterrupted(|| {
        let fd = fd.as_raw_fd();
        // SAFETY: no memory is passed.
        let ret = unsafe { if data_only { libc::fdatasync(fd) } else { libc::fsync(fd) } };
        check(ret.into()).map(drop)
    })
}

/// syncfs(2) of the host file system behind an open file (not O_PATH).
pub fn sync_fs(fd: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: no memory is passed.
    check(unsafe { libc::syncfs(fd.as_raw_fd()) }.into()).map(drop)
}

/// [`lseek`] to a position. Moves the descriptor's own, which only directories use here.
pub fn seek(fd: BorrowedFd<'_>, offset: u64, whence: u32) -> Result<u64> {
    lseek(fd, i64::try_from(offset).map_err(|_| ENXIO)?, whence)
}

/// lseek(2), with the descriptor's own position.
pub fn lseek(fd: BorrowedFd<'_>, offset: i64, whence: u32) -> Result<u64> {
    // SAFETY: no memory is passed.
    check(unsafe { libc::lseek(fd.as_raw_fd(), offset, whence as i32) }).map(|n| n as u64)
}

/// An entry of a host directory.
#[derive(Clone, Copy, Debug)]
pub struct Dirent<'a> {
    /// Inode number.
    pub ino: u64,
    /// Position after it, for [`seek`].
    pub next: u64,
    /// DT_*
    pub dtype: u8,
    /// Name.
    pub name: &'a [u8],
}

/// getdents64(2): as many entries from the directory's position on as `buf` has room for; false at the end. `emit` sees
/// each, `.` and `..` too.
pub fn getdents(fd: BorrowedFd<'_>, buf: &mut [u8], mut emit: impl FnMut(Dirent<'_>)) -> Result<bool> {
    // SAFETY: `buf` is writable for its length.
    let n =
        check(unsafe { libc::syscall(libc::SYS_getdents64, fd.as_raw_fd(), buf.as_mut_ptr(), buf.len()) })?
            as usize;
    let mut rest = &buf[..n];
    while let Some((entry, len)) = parse(rest) {
        emit(entry);
        rest = &rest[len..];
    }
    Ok(n > 0)
}

/// The first `struct linux_dirent64` of `buf` and its length.
fn parse(buf: &[u8]) -> Option<(Dirent<'_>, usize)> {
    let word = |at: usize| buf.get(at..at + 8)?.try_into().ok().map(u64::from_ne_bytes);
    let (ino, next) = (word(0)?, word(8)?);
    let len = usize::from(u16::from_ne_bytes(buf.get(16..18)?.try_into().ok()?));
    let dtype = *buf.get(18)?;
    let name = buf.get(DIRENT64_NAME_OFFSET..len)?;
    let name = name.split(|&b| b == 0).next()?;
    Some((Dirent { ino, next, dtype, name }, len))
}
