//! Small helpers over libc that the other modules share.

use abi::Errno;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU32;

/// The calling thread's errno as an [`Errno`].
pub(crate) fn errno() -> Errno {
    Errno::from_raw(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO))
}

/// This program's process id, which costs a host call only once.
pub(crate) fn own_pid() -> u32 {
    static PID: OnceLock<u32> = OnceLock::new();
    *PID.get_or_init(std::process::id)
}

/// A libc result: -1 becomes the calling thread's errno.
pub(crate) fn check(ret: i64) -> abi::Result<i64> {
    if ret == -1 { Err(errno()) } else { Ok(ret) }
}

/// A new descriptor from a libc call that returns one.
pub(crate) fn check_fd(ret: i64) -> abi::Result<OwnedFd> {
    let fd = check(ret)?;
    // SAFETY: the call has just made this descriptor, so nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// How many descriptors this program may have.
fn descriptor_limit() -> u64 {
    static LIMIT: OnceLock<u64> = OnceLock::new();
    *LIMIT.get_or_init(|| {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: `limit` is writable.
        let known = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } == 0;
        if known { limit.rlim_cur } else { 1024 }
    })
}

/// A new descriptor that guests can have made as often as they like: ENFILE when three quarters of all there may be are
/// in use, so that some are left for processes. The host gives out the lowest numbers first.
pub(crate) fn spared(fd: OwnedFd) -> abi::Result<OwnedFd> {
    if fd.as_raw_fd() as u64 >= descriptor_limit() / 4 * 3 { Err(abi::errno::ENFILE) } else { Ok(fd) }
}

/// Sleeps while `word` holds `value`, until woken or until the monotonic `deadline` in ns.
pub(crate) fn futex_wait(word: &AtomicU32, value: u32, shared: bool, deadline: Option<u64>) {
    let timeout = deadline.map(|ns| libc::timespec {
        tv_sec: (ns / 1_000_000_000) as i64,
        tv_nsec: (ns % 1_000_000_000) as i64,
    });
    let timeout = timeout.as_ref().map_or(ptr::null(), ptr::from_ref);
    let op = libc::FUTEX_WAIT_BITSET | if shared { 0 } else { libc::FUTEX_PRIVATE_FLAG };
    // SAFETY: the word and the timeout outlive the call; a futex wait writes to neither.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), op, value, timeout, ptr::null::<u32>(), !0u32) };
}

/// Wakes one sleeper on `word`.
pub(crate) fn futex_wake(word: &AtomicU32, shared: bool) {
    let op = libc::FUTEX_WAKE | if shared { 0 } else { libc::FUTEX_PRIVATE_FLAG };
    // SAFETY: a futex wake only takes the word's address.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), op, 1) };
}

/// Most descriptors in one message.
const MAX_FDS: usize = 16;

#[repr(C, align(8))]
struct Control([u8; size_of::<libc::cmsghdr>() + MAX_FDS * size_of::<RawFd>()]);

/// Sends bytes and descriptors (at most 16) over a socket.
pub(crate) fn send_fds(socket: &OwnedFd, bytes: &[u8], fds: &[RawFd]) -> abi::Result<()> {
    assert!(fds.len() <= MAX_FDS);
    let mut control = Control([0; _]);
    let mut iov = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: msghdr is plain data, for which zero is a value.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &mut iov;
    message.msg_iovlen = 1;
    if !fds.is_empty() {
        message.msg_control = control.0.as_mut_ptr().cast();
        // SAFETY: CMSG_SPACE and CMSG_LEN only compute; the header and its data lie in `control`, which has room for
        // 16 descriptors.
        unsafe {
            message.msg_controllen = libc::CMSG_SPACE(size_of_val(fds) as u32) as usize;
            let header = libc::CMSG_FIRSTHDR(&message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(size_of_val(fds) as u32) as usize;
            ptr::copy_nonoverlapping(fds.as_ptr().cast(), libc::CMSG_DATA(header), size_of_val(fds));
        }
    }
    // SAFETY: all that `message` points to outlives the call.
    let sent =
        check(
            unsafe { libc::sendmsg(socket.as_raw_fd(), &message, libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT) }
                as i64,
        )?;
    if sent as usize == bytes.len() { Ok(()) } else { Err(abi::errno::EIO) }
}

/// Receives bytes and at most one descriptor.
pub(crate) fn receive_fd(socket: &OwnedFd, bytes: &mut [u8]) -> abi::Result<(usize, Option<OwnedFd>)> {
    let mut control = Control([0; _]);
    let mut iov = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    // SAFETY: msghdr is plain data, for which zero is a value.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &mut iov;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = control.0.len();
    // SAFETY: all that `message` points to outlives the call.
    let n = check(unsafe { libc::recvmsg(socket.as_raw_fd(), &mut message, libc::MSG_CMSG_CLOEXEC) } as i64)?;
    // SAFETY: the host has filled in the control data that these macros walk.
    let fd = unsafe {
        let header = libc::CMSG_FIRSTHDR(&message);
        if header.is_null() || (*header).cmsg_type != libc::SCM_RIGHTS {
            None
        } else {
            Some(OwnedFd::from_raw_fd(libc::CMSG_DATA(header).cast::<RawFd>().read_unaligned()))
        }
    };
    Ok((n as usize, fd))
}

/// A pair of connected local sockets that keep message boundaries, closed on exec.
pub(crate) fn socket_pair() -> abi::Result<(OwnedFd, OwnedFd)> {
    let mut fds = [0; 2];
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
    // SAFETY: `fds` has room for the two descriptors.
    check(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, fds.as_mut_ptr()) }.into())?;
    Ok((check_fd(fds[0].into())?, check_fd(fds[1].into())?))
}
