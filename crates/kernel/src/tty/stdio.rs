//! The host's standard files in the guest: pipes, files and sockets pass through exactly.
//!
//! A guest task that waits for them gives up its vCPU; the host's reactor wakes it.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use abi::Result;
use abi::errno::{EINVAL, EPIPE};
use abi::fcntl::OpenFlags;
use abi::signal::{SIGPIPE, SigInfo};
use host::reactor::{Interest, Watch, read_now, ready_now, write_now};

use crate::sync::{PollTable, WaitQueue};
use crate::task::current;
use crate::vfs::{File, FileMode, FileOps, IovDest, IovSource, PollEvents, anon};

/// Bytes copied at a time.
const CHUNK: usize = 64 * 1024;

/// A host descriptor as a guest file.
pub struct HostFile {
    fd: Arc<OwnedFd>,
    queue: WaitQueue,
    /// None for a descriptor that is always ready.
    watch: Option<Watch>,
}

/// Opens a host descriptor for the guest.
pub fn open(fd: OwnedFd, readable: bool, writable: bool) -> Result<Arc<File>> {
    let fd = Arc::new(fd);
    let queue = WaitQueue::new();
    let waiters = queue.clone();
    // Regular files are refused: they never make anybody wait.
    let watch = Watch::new(fd.clone(), Arc::new(move || waiters.wake_all())).ok();
    let (flags, access) = match (readable, writable) {
        (true, false) => (OpenFlags::empty(), FileMode::READ),
        (false, true) => (OpenFlags::WRONLY, FileMode::WRITE),
        _ => (OpenFlags::RDWR, FileMode::READ | FileMode::WRITE),
    };
    let ops = Box::new(HostFile { fd, queue, watch });
    anon::anon_file("host", ops, flags, access | FileMode::STREAM)
}

impl FileOps for HostFile {
    fn read(&self, _: &File, dest: &mut IovDest<'_>, _: &mut u64) -> Result<usize> {
        let mut buf = vec![0; dest.remaining().min(CHUNK)];
        let got = read_now(&self.fd, &mut buf)?;
        dest.write(&buf[..got])
    }

    fn write(&self, _: &File, src: &mut IovSource<'_>, _: &mut u64) -> Result<usize> {
        let mut buf = vec![0; src.remaining().min(CHUNK)];
        let got = src.peek(&mut buf)?;
        let n = write_now(&self.fd, &buf[..got]).inspect_err(|&errno| {
            if errno == EPIPE {
                let task = current();
                crate::signal::send_task(
                    &task,
                    SigInfo::kill(SIGPIPE, abi::signal::SI_USER, task.tgid(), task.cred().uid),
                );
            }
        })?;
        src.advance(n);
        Ok(n)
    }

    fn poll(&self, _: &File, table: &mut PollTable) -> PollEvents {
        table.register(&self.queue);
        let (readable, writable, hung_up, error) = ready_now(&self.fd);
        let mut events = PollEvents::empty();
        events.set(PollEvents::READABLE, readable);
        events.set(PollEvents::WRITABLE, writable);
        events.set(PollEvents::HUP, hung_up);
        events.set(PollEvents::ERR, error);
        if let Some(watch) = &self.watch
            && !(readable && writable)
        {
            // Whoever waits wants what is missing. An error here means that the descriptor is always ready.
            let _ = watch.arm(Interest { read: !readable && !hung_up, write: !writable && !error });
        }
        events
    }

    fn fsync(&self, _: &File, _: bool) -> Result<()> {
        Err(EINVAL)
    }
}
