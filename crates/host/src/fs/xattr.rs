//! Extended attributes of host files. Through /proc/self/fd, because the calls that take a descriptor refuse O_PATH
//! ones; what such a path leads to is the open file itself, a symbolic link too.

use std::os::fd::BorrowedFd;

use abi::Result;
use abi::errno::{E2BIG, ERANGE};
use abi::xattr::{XATTR_LIST_MAX, XATTR_SIZE_MAX};

use super::cstr;
use super::open::proc_path;
use crate::sys::check;

/// Fetches a value whose length the host tells when asked with an empty buffer.
fn fetch(max: usize, mut call: impl FnMut(&mut [u8]) -> Result<usize>) -> Result<Vec<u8>> {
    loop {
        let len = call(&mut [])?;
        if len > max {
            return Err(E2BIG);
        }
        if len == 0 {
            return Ok(Vec::new());
        }
        let mut value = vec![0; len];
        match call(&mut value) {
            // It grew in between.
            Err(ERANGE) => {}
            outcome => {
                value.truncate(outcome?);
                return Ok(value);
            }
        }
    }
}

/// getxattr(2). ENODATA.
pub fn getxattr(fd: BorrowedFd<'_>, name: &[u8]) -> Result<Vec<u8>> {
    let (path, name) = (proc_path(fd)?, cstr(name)?);
    fetch(XATTR_SIZE_MAX, |buf| {
        // SAFETY: both names are C strings, and `buf` is writable for its length.
        let n = unsafe { libc::getxattr(path.as_ptr(), name.as_ptr(), buf.as_mut_ptr().cast(), buf.len()) };
        check(n as i64).map(|n| n as usize)
    })
}

/// setxattr(2) with XATTR_CREATE or XATTR_REPLACE in `flags`.
pub fn setxattr(fd: BorrowedFd<'_>, name: &[u8], value: &[u8], flags: u32) -> Result<()> {
    let (path, name) = (proc_path(fd)?, cstr(name)?);
    let (data, flags) = (value.as_ptr().cast(), flags as i32);
    // SAFETY: both names are C strings, and `data` is readable for the length of `value`.
    let ret = unsafe { libc::setxattr(path.as_ptr(), name.as_ptr(), data, value.len(), flags) };
    check(ret.into()).map(drop)
}

/// listxattr(2): the names.
pub fn listxattr(fd: BorrowedFd<'_>) -> Result<Vec<Vec<u8>>> {
    let path = proc_path(fd)?;
    let list = fetch(XATTR_LIST_MAX, |buf| {
        // SAFETY: `path` is a C string, and `buf` is writable for its length.
        let n = unsafe { libc::listxattr(path.as_ptr(), buf.as_mut_ptr().cast(), buf.len()) };
        check(n as i64).map(|n| n as usize)
    })?;
    Ok(list.split(|&b| b == 0).filter(|n| !n.is_empty()).map(<[u8]>::to_vec).collect())
}

/// removexattr(2). ENODATA.
pub fn removexattr(fd: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
    let (path, name) = (proc_path(fd)?, cstr(name)?);
    // SAFETY: both are C strings that outlive the call.
    check(unsafe { libc::removexattr(path.as_ptr(), name.as_ptr()) }.into()).map(drop)
}
