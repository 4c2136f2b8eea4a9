//! Readiness of host descriptors: one thread waits in epoll for all of them and calls back.
//!
//! A watch is armed for one event at a time, so a descriptor that nobody asks about costs nothing, and an idle machine
//! has no thread that wakes. The descriptor's own flags are never touched: O_NONBLOCK belongs to an open file
//! description that other programs share.

use std::collections::HashMap;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::{Arc, OnceLock};

use abi::{Errno, Result};
use parking_lot::Mutex;

/// What to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interest {
    /// Data, the end, or an error.
    pub read: bool,
    /// Room, or an error.
    pub write: bool,
}

/// Called on the reactor's thread when an armed watch is ready. Must not block.
pub type Callback = Arc<dyn Fn() + Send + Sync>;

/// A descriptor known to the reactor. Dropping it ends the watch; the descriptor stays open until then.
pub struct Watch {
    fd: Arc<OwnedFd>,
    id: u64,
}

struct Reactor {
    epoll: OwnedFd,
    callbacks: Mutex<(u64, HashMap<u64, Callback>)>,
}

fn last_error() -> Errno {
    Errno::from_raw(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO))
}

fn reactor() -> Result<&'static Reactor> {
    static REACTOR: OnceLock<Result<Reactor>> = OnceLock::new();
    let start = || {
        // SAFETY: epoll_create1 takes no memory; a non-negative answer is a descriptor that nobody else owns.
        let epoll = unsafe {
            let fd = libc::epoll_create1(libc::EPOLL_CLOEXEC);
            if fd < 0 {
                return Err(last_error());
            }
            OwnedFd::from_raw_fd(fd)
        };
        let spawned = std::thread::Builder::new().name("reactor".to_owned()).spawn(run);
        spawned.map_err(|e| Errno::from_raw(e.raw_os_error().unwrap_or(libc::EAGAIN)))?;
        Ok(Reactor { epoll, callbacks: Mutex::new((0, HashMap::new())) })
    };
    REACTOR.get_or_init(start).as_ref().map_err(|e| *e)
}

fn run() {
    // The thread may be here before the OnceLock is filled; the lock makes it wait.
    let Ok(reactor) = reactor() else { return };
    let mut events = [libc::epoll_event { events: 0, u64: 0 }; 32];
    loop {
        // SAFETY: `events` has room for as many entries as said.
        let n = unsafe {
            libc::epoll_wait(reactor.epoll.as_raw_fd(), events.as_mut_ptr(), events.len() as libc::c_int, -1)
        };
        for event in &events[..usize::try_from(n).unwrap_or(0)] {
            let id = event.u64;
            let callback = reactor.callbacks.lock().1.get(&id).cloned();
            if let Some(callback) = callback {
                callback();
            }
        }
    }
}

impl Watch {
    /// Registers a descriptor, not armed. EPERM for one that is always ready (regular files, some devices).
    pub fn new(fd: Arc<OwnedFd>, callback: Callback) -> Result<Watch> {
        let reactor = reactor()?;
        let mut callbacks = reactor.callbacks.lock();
        callbacks.0 += 1;
        let id = callbacks.0;
        control(reactor, libc::EPOLL_CTL_ADD, fd.as_raw_fd(), 0, id)?;
        callbacks.1.insert(id, callback);
        Ok(Watch { fd, id })
    }

    /// Calls back once when one of the events is there; replaces what it was armed for.
    pub fn arm(&self, interest: Interest) -> Result<()> {
        let mut events = libc::EPOLLONESHOT as u32;
        if interest.read {
            events |= (libc::EPOLLIN | libc::EPOLLRDHUP) as u32;
        }
        if interest.write {
            events |= libc::EPOLLOUT as u32;
        }
        control(reactor()?, libc::EPOLL_CTL_MOD, self.fd.as_raw_fd(), events, self.id)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Ok(reactor) = reactor() {
            // It was added by `new`; failing to delete it could only mean that the descriptor is gone.
            let _ = control(reactor, libc::EPOLL_CTL_DEL, self.fd.as_raw_fd(), 0, self.id);
            let callback = reactor.callbacks.lock().1.remove(&self.id);
            drop(callback);
        }
    }
}

fn control(reactor: &Reactor, op: libc::c_int, fd: RawFd, events: u32, id: u64) -> Result<()> {
    let mut event = libc::epoll_event { events, u64: id };
    // SAFETY: `event` lives through the call, which only reads it.
    let done = unsafe { libc::epoll_ctl(reactor.epoll.as_raw_fd(), op, fd, &raw mut event) };
    if done < 0 { Err(last_error()) } else { Ok(()) }
}

/// What a descriptor is ready for at this moment: (read, write, hang-up, error).
pub fn ready_now(fd: &OwnedFd) -> (bool, bool, bool, bool) {
    let mut poll = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN | libc::POLLOUT, revents: 0 };
    // SAFETY: one entry, which lives through the call.
    unsafe { libc::poll(&raw mut poll, 1, 0) };
    let has = |bits| poll.revents & bits != 0;
    (has(libc::POLLIN), has(libc::POLLOUT), has(libc::POLLHUP), has(libc::POLLERR))
}

/// Reads what is there without waiting. EAGAIN for nothing; 0 is the end.
pub fn read_now(fd: &OwnedFd, buf: &mut [u8]) -> Result<usize> {
    let (readable, _, hung_up, error) = ready_now(fd);
    if !readable && !hung_up && !error {
        return Err(abi::errno::EAGAIN);
    }
    let iov = libc::iovec { iov_base: buf.as_mut_ptr().cast(), iov_len: buf.len() };
    // SAFETY: `iov` describes `buf`, which is borrowed for the call.
    let n = unsafe { libc::preadv2(fd.as_raw_fd(), &raw const iov, 1, -1, libc::RWF_NOWAIT) };
    if n >= 0 {
        return Ok(n as usize);
    }
    match last_error() {
        // Files that don't know RWF_NOWAIT. What poll has promised comes without waiting.
        abi::errno::EOPNOTSUPP | abi::errno::EINVAL | abi::errno::ENOSYS | abi::errno::ESPIPE => {
            // SAFETY: `buf` is borrowed for the call and as long as said.
            let n = unsafe { libc::read(fd.as_raw_fd(), buf.as_mut_ptr().cast(), buf.len()) };
            if n < 0 { Err(last_error()) } else { Ok(n as usize) }
        }
        errno => Err(errno),
    }
}

/// Writes what there is room for without waiting. EAGAIN for none, EPIPE when the reader has gone.
pub fn write_now(fd: &OwnedFd, data: &[u8]) -> Result<usize> {
    let (_, writable, hung_up, error) = ready_now(fd);
    if !writable && !hung_up && !error {
        return Err(abi::errno::EAGAIN);
    }
    let iov = libc::iovec { iov_base: data.as_ptr().cast_mut().cast(), iov_len: data.len() };
    // SAFETY: `iov` describes `data`, which is borrowed for the call, and which the call only reads.
    let n = unsafe { libc::pwritev2(fd.as_raw_fd(), &raw const iov, 1, -1, libc::RWF_NOWAIT) };
    if n >= 0 {
        return Ok(n as usize);
    }
    match last_error() {
        abi::errno::EOPNOTSUPP | abi::errno::EINVAL | abi::errno::ENOSYS | abi::errno::ESPIPE => {
            // A pipe that polls writable takes PIPE_BUF bytes without waiting.
            let data = &data[..data.len().min(libc::PIPE_BUF)];
            // SAFETY: `data` is borrowed for the call and as long as said.
            let n = unsafe { libc::write(fd.as_raw_fd(), data.as_ptr().cast(), data.len()) };
            if n < 0 { Err(last_error()) } else { Ok(n as usize) }
        }
        errno => Err(errno),
    }
}

/// Waits up to `millis` for a descriptor to take output. For the end of a machine, when nobody else runs.
pub fn wait_writable(fd: &OwnedFd, millis: i32) {
    let mut poll = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
    // SAFETY: one entry, which lives through the call.
    unsafe { libc::poll(&raw mut poll, 1, millis) };
}
