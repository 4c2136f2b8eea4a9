//! Names in host directories. Each call takes a directory's descriptor and one plain name in it.

use std::os::fd::{AsRawFd, BorrowedFd};

use abi::Result;
use abi::errno::ENAMETOOLONG;
use abi::fcntl::PATH_MAX;

use super::open::proc_path;
use super::{component, cstr};
use crate::sys::check;

/// mkdirat(2). The host's umask applies.
pub fn mkdir(dir: BorrowedFd<'_>, name: &[u8], mode: u32) -> Result<()> {
    let name = component(name)?;
    // SAFETY: `name` is a C string that outlives the call.
    check(unsafe { libc::mkdirat(dir.as_raw_fd(), name.as_ptr(), mode & 0o7777) }.into()).map(drop)
}

/// mknodat(2): `mode` with the type bits, `dev` as st_rdev shows it. EPERM for a device without privileges.
pub fn mknod(dir: BorrowedFd<'_>, name: &[u8], mode: u32, dev: u64) -> Result<()> {
    let name = component(name)?;
    // SAFETY: `name` is a C string that outlives the call.
    check(unsafe { libc::mknodat(dir.as_raw_fd(), name.as_ptr(), mode, dev) }.into()).map(drop)
}

/// symlinkat(2).
pub fn symlink(target: &[u8], dir: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
    let (target, name) = (cstr(target)?, component(name)?);
    // SAFETY: both are C strings that outlive the call.
    check(unsafe { libc::symlinkat(target.as_ptr(), dir.as_raw_fd(), name.as_ptr()) }.into()).map(drop)
}

/// linkat(2) of a name; a symbolic link is linked itself.
pub fn link(dir: BorrowedFd<'_>, name: &[u8], new_dir: BorrowedFd<'_>, new_name: &[u8]) -> Result<()> {
    let (name, new_name) = (component(name)?, component(new_name)?);
    let (dir, new_dir) = (dir.as_raw_fd(), new_dir.as_raw_fd());
    // SAFETY: both are C strings that outlive the call.
    check(unsafe { libc::linkat(dir, name.as_ptr(), new_dir, new_name.as_ptr(), 0) }.into()).map(drop)
}

/// Gives an open file without a name (O_TMPFILE) one.
pub fn link_fd(fd: BorrowedFd<'_>, new_dir: BorrowedFd<'_>, new_name: &[u8]) -> Result<()> {
    let (path, name, dir) = (proc_path(fd)?, component(new_name)?, new_dir.as_raw_fd());
    let flags = libc::AT_SYMLINK_FOLLOW;
    // SAFETY: both are C strings that outlive the call.
    let ret = unsafe { libc::linkat(libc::AT_FDCWD, path.as_ptr(), dir, name.as_ptr(), flags) };
    check(ret.into()).map(drop)
}

/// unlinkat(2) of anything but a directory.
pub fn unlink(dir: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
    let name = component(name)?;
    // SAFETY: `name` is a C string that outlives the call.
    check(unsafe { libc::unlinkat(dir.as_raw_fd(), name.as_ptr(), 0) }.into()).map(drop)
}

/// rmdir(2).
pub fn rmdir(dir: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
    let name = component(name)?;
    // SAFETY: `name` is a C string that outlives the call.
    check(unsafe { libc::unlinkat(dir.as_raw_fd(), name.as_ptr(), libc::AT_REMOVEDIR) }.into()).map(drop)
}

/// renameat2(2): `flags` are RENAME_*.
pub fn rename(
    dir: BorrowedFd<'_>,
    name: &[u8],
    new_dir: BorrowedFd<'_>,
    new_name: &[u8],
    flags: u32,
) -> Result<()> {
    let (name, new_name) = (component(name)?, component(new_name)?);
    // SAFETY: both are C strings that outlive the call.
    check(unsafe {
        libc::syscall(
            libc::SYS_renameat2,
            dir.as_raw_fd(),
            name.as_ptr(),
            new_dir.as_raw_fd(),
            new_name.as_ptr(),
            flags,
        )
    })
    .map(drop)
}

/// The target of the symbolic link that an O_PATH descriptor stands for.
pub fn readlink(fd: BorrowedFd<'_>) -> Result<Vec<u8>> {
    let mut target = vec![0; PATH_MAX];
    let buf = target.as_mut_ptr().cast();
    // SAFETY: the name is an empty C string, and `buf` is writable for the length given.
    let n = check(unsafe { libc::readlinkat(fd.as_raw_fd(), c"".as_ptr(), buf, target.len()) } as i64)?;
    if n as usize >= target.len() {
        return Err(ENAMETOOLONG);
    }
    target.truncate(n as usize);
    Ok(target)
}
