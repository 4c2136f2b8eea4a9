//! Attributes of host files, by descriptor; O_PATH descriptors will do.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use abi::Result;
use abi::errno::{ENOSYS, EOPNOTSUPP};
use abi::fcntl::{AT_EMPTY_PATH, AT_NO_AUTOMOUNT, AT_SYMLINK_NOFOLLOW};
use abi::stat::{STATX_BASIC_STATS, STATX_BTIME, Statfs, Statx};
use abi::time::Timespec;

use super::open::proc_path;
use super::{component, cstr, uninterrupted};
use crate::sys::check;

const _: () = assert!(size_of::<Statx>() == size_of::<libc::statx>());
const _: () = assert!(size_of::<Statfs>() == size_of::<libc::statfs>());

fn statx_at(fd: BorrowedFd<'_>, name: &std::ffi::CStr, flags: u32) -> Result<Statx> {
    let mut out = Statx::default();
    let flags = (flags | AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) as i32;
    let mask = STATX_BASIC_STATS | STATX_BTIME;
    // SAFETY: `name` is a C string and `out` has the size and layout of the host's statx; both outlive the call.
    let ret = unsafe { libc::statx(fd.as_raw_fd(), name.as_ptr(), flags, mask, (&raw mut out).cast()) };
    check(ret.into())?;
    Ok(out)
}

/// statx(2) of an open file, times of birth included where the host has them.
pub fn statx(fd: BorrowedFd<'_>) -> Result<Statx> {
    statx_at(fd, c"", AT_EMPTY_PATH)
}

/// statx(2) of one name in a directory; of a symbolic link itself.
pub fn statx_child(dir: BorrowedFd<'_>, name: &[u8]) -> Result<Statx> {
    statx_at(dir, &component(name)?, 0)
}

/// statx(2) of a path from `root`, which may be empty. Unlike all else here it follows links on the way, even out of the
/// root: only for asking whether a file that is known is still there, by comparing device and inode number.
pub fn statx_unconfined(root: BorrowedFd<'_>, path: &[u8]) -> Result<Statx> {
    statx_at(root, &cstr(path)?, if path.is_empty() { AT_EMPTY_PATH } else { 0 })
}

/// fstatfs(2).
pub fn statfs(fd: BorrowedFd<'_>) -> Result<Statfs> {
    let mut out = Statfs::default();
    // SAFETY: `out` has the size and layout of the host's statfs and outlives the call.
    uninterrupted(|| check(unsafe { libc::fstatfs(fd.as_raw_fd(), (&raw mut out).cast()) }.into()))?;
    Ok(out)
}

const SYS_FCHMODAT2: i64 = 452;
static NO_FCHMODAT2: AtomicBool = AtomicBool::new(false);

/// chmod(2). EOPNOTSUPP for a symbolic link.
pub fn chmod(fd: BorrowedFd<'_>, mode: u32) -> Result<()> {
    let mode = mode & 0o7777;
    if !NO_FCHMODAT2.load(Ordering::Relaxed) {
        // SAFETY: the name is an empty C string.
        let ret =
            check(unsafe { libc::syscall(SYS_FCHMODAT2, fd.as_raw_fd(), c"".as_ptr(), mode, AT_EMPTY_PATH) });
        match ret {
            Err(ENOSYS) => NO_FCHMODAT2.store(true, Ordering::Relaxed),
            outcome => return outcome.map(drop),
        }
    }
    if u32::from(statx(fd)?.stx_mode) & abi::stat::S_IFMT == abi::stat::S_IFLNK {
        return Err(EOPNOTSUPP);
    }
    let path = proc_path(fd)?;
    // SAFETY: `path` is a C string that outlives the call.
    check(unsafe { libc::chmod(path.as_ptr(), mode) }.into()).map(drop)
}

/// Whether the host lets us set owners of files.
pub fn is_privileged() -> bool {
    // SAFETY: geteuid has no preconditions and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// chown(2), of a symbolic link itself. None leaves that owner as it is.
pub fn chown(fd: BorrowedFd<'_>, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
    let (uid, gid) = (uid.unwrap_or(u32::MAX), gid.unwrap_or(u32::MAX));
    // SAFETY: the name is an empty C string.
    let ret = unsafe { libc::fchownat(fd.as_raw_fd(), c"".as_ptr(), uid, gid, AT_EMPTY_PATH as i32) };
    check(ret.into()).map(drop)
}

/// utimensat(2): access and modification time, with UTIME_NOW and UTIME_OMIT in `tv_nsec`.
pub fn utimens(fd: BorrowedFd<'_>, times: [Timespec; 2]) -> Result<()> {
    let times = times.map(|t| libc::timespec { tv_sec: t.tv_sec, tv_nsec: t.tv_nsec });
    // SAFETY: the name is an empty C string and `times` two timespecs; both outlive the call. libc's wrapper would
    // refuse the empty name, so the call is made directly.
    check(unsafe {
        libc::syscall(libc::SYS_utimensat, fd.as_raw_fd(), c"".as_ptr(), times.as_ptr(), AT_EMPTY_PATH)
    })
    .map(drop)
}
