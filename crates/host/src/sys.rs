//! Small helpers over libc that the other modules share.

use abi::Errno;

/// The calling thread's errno as an [`Errno`].
pub(crate) fn errno() -> Errno {
    Errno::from_raw(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO))
}

/// A libc result: -1 becomes the calling thread's errno.
pub(crate) fn check(ret: i64) -> abi::Result<i64> {
    if ret == -1 { Err(errno()) } else { Ok(ret) }
}
