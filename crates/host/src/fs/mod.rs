//! Files of the host, by descriptor: what hostfs and the block back ends stand on.
//!
//! `open.rs` opens, never outside a root; `attr.rs` has attributes, `name.rs` names, `io.rs` data, `xattr.rs` extended
//! attributes. Calls take a descriptor, or a directory's descriptor and one name in it: but for one that says so, no
//! call here follows a symbolic link. Every descriptor is close-on-exec. No locks.

mod attr;
mod io;
mod name;
mod open;
mod xattr;

pub use attr::{chmod, chown, is_privileged, statfs, statx, statx_child, statx_unconfined, utimens};
pub use io::{
    Dirent, append, copy_range, fallocate, fsync, getdents, lseek, pread, pwrite, read, seek, sync_fs,
    truncate, write,
};
pub use name::{link, link_fd, mkdir, mknod, readlink, rename, rmdir, symlink, unlink};
pub use open::{open_beneath, open_child, open_in_root, open_root, reopen, tmpfile};
pub use xattr::{getxattr, listxattr, removexattr, setxattr};

use abi::Result;
use abi::errno::EINVAL;
use std::ffi::CString;

/// A name or path as the host takes it. EINVAL for one with a NUL in it.
fn cstr(name: &[u8]) -> Result<CString> {
    CString::new(name).map_err(|_| EINVAL)
}

/// A single name of a directory. EINVAL for an empty one, `.`, `..` or one with a slash: those lead elsewhere.
fn component(name: &[u8]) -> Result<CString> {
    if name.is_empty() || name == b"." || name == b".." || name.contains(&b'/') {
        return Err(EINVAL);
    }
    cstr(name)
}

/// Calls again what a signal for this thread cut short.
fn uninterrupted<T>(mut call: impl FnMut() -> Result<T>) -> Result<T> {
    loop {
        match call() {
            Err(abi::errno::EINTR) => {}
            outcome => return outcome,
        }
    }
}

#[cfg(test)]
mod tests;
