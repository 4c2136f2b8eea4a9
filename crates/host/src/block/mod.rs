//! Disks: what a guest's block driver stands on.
//!
//! [`Disk`] is the seam: byte offsets in, completions out. A raw image or block device of the host is one ([`open`]);
//! what lies between the driver and the host's file (copy-on-write, other image formats) implements [`Blocking`], plain
//! calls that wait, and becomes a disk by [`threaded`].
//!
//! - `image.rs`: images by what they are; `cow.rs`, `qcow2.rs`: those that are not raw.
//! - `file.rs`: the host's file as plain calls. `holes.rs`: what needs no reading; `ahead.rs`: what will be read; `slow.rs`:
//!   what keeps its caller waiting. `lock.rs`: locks on it against other machines.
//! - `order.rs`: a flush begins when all writes before it are done.
//! - `uring.rs`: many requests in flight by io_uring. `pool.rs`: the same by threads, where the host refuses io_uring.
//!
//! What the host has in memory needs neither: [`Disk::read_now`] and [`Disk::write_now`] do at once, on the caller's
//! thread, what doesn't wait. A wake-up costs tens of times as much. [`Disk::read_here`] and [`Disk::flush_now`] do wait, for
//! a caller whose thread has nothing else to do: through the ring a request wakes three threads one after the other.
//!
//! Locks: an order's, then the ring's or the pool's. Completions are called with none of them held.

mod ahead;
mod cow;
mod file;
mod holes;
mod image;
mod lock;
mod order;
mod pool;
mod qcow2;
mod slow;
mod uring;

#[cfg(test)]
mod tests;

use std::sync::{Arc, Weak, mpsc};

use abi::errno::{EINVAL, EIO, EOPNOTSUPP, EROFS};
use abi::{Errno, Result};
use parking_lot::Mutex;

pub use file::{HostFile, OpenOptions};
pub use image::{Format, Image, is_header, open_image};
pub use lock::lock_file;
use order::Order;
use slow::Slow;

/// Bytes of a sector: what offsets and lengths of discards and flushes are told in by the guest.
pub const SECTOR: u64 = 512;
/// Most bytes of one read or write.
pub const MAX_BYTES: u64 = 64 << 20;

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Fills `data`.
    Read,
    /// Writes `data`; with `fua` it is durable on completion.
    Write {
        /// Force unit access.
        fua: bool,
    },
    /// Makes durable what was written by requests submitted before.
    Flush,
    /// The range's contents are no longer needed.
    Discard,
    /// The range reads as zeros afterwards.
    WriteZeroes {
        /// The range may be given back to the host.
        unmap: bool,
    },
}

/// Told of a request's outcome, with its buffer. Must not block.
pub type Done = Box<dyn FnOnce(Result<()>, Vec<u8>) + Send>;

/// One request. `data` is its buffer, as long as the transfer; empty for all but reads and writes.
pub struct Request {
    /// What to do.
    pub op: Op,
    /// Bytes from the start of the disk.
    pub offset: u64,
    /// Bytes; the length of `data` for reads and writes.
    pub len: u64,
    /// The buffer.
    pub data: Vec<u8>,
    /// Called once, from any thread, perhaps before `submit` returns.
    pub done: Done,
}

impl Request {
    fn finish(self, outcome: Result<()>) {
        (self.done)(outcome, self.data);
    }

    fn writes(&self) -> bool {
        matches!(self.op, Op::Write { .. } | Op::Discard | Op::WriteZeroes { .. })
    }
}

/// What a disk can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the smallest unit that is written whole.
    pub physical_block: u32,
    /// Whether discarding does anything.
    pub discard: bool,
}

/// A disk with many requests in flight.
#[expect(clippy::len_without_is_empty, reason = "a disk of no bytes is a disk")]
pub trait Disk: Send + Sync {
    /// Bytes.
    fn len(&self) -> u64;

    /// Whether writes answer EROFS.
    fn is_read_only(&self) -> bool;

    /// What it can do.
    fn limits(&self) -> Limits;

    /// Starts a request. Only a flush is ordered against others: it waits for every write before it.
    fn submit(&self, request: Request);

    /// Reads what can be read without waiting: the bytes done, from the start.
    fn read_now(&self, _offset: u64, _buf: &mut [u8]) -> usize {
        0
    }

    /// Writes the buffers one after another, as far as that can be done without waiting, for a later flush to make
    /// durable: the bytes done.
    fn write_now(&self, _offset: u64, _bufs: &[&[u8]]) -> usize {
        0
    }

    /// A read on the caller's thread, which waits for the host's disk; None if the host has been slow with that.
    fn read_here(&self, _offset: u64, _buf: &mut [u8]) -> Option<Result<()>> {
        None
    }

    /// A flush on the caller's thread, which waits for the host's disk; None if writes are under way that it would have
    /// to wait for, or the host has been slow with that.
    fn flush_now(&self) -> Option<Result<()>> {
        None
    }
}

/// A disk as plain calls that wait. Ranges have been checked against [`Blocking::len`].
#[expect(clippy::len_without_is_empty, reason = "a disk of no bytes is a disk")]
pub trait Blocking: Send + Sync + 'static {
    /// Bytes.
    fn len(&self) -> u64;

    /// Whether it cannot be written.
    fn is_read_only(&self) -> bool;

    /// What it can do.
    fn limits(&self) -> Limits;

    /// Fills `buf`.
    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()>;

    /// Writes `data`, durably with `fua`.
    fn write(&self, offset: u64, data: &[u8], fua: bool) -> Result<()>;

    /// Makes durable what has been written.
    fn flush(&self) -> Result<()>;

    /// The range's contents are no longer needed. EOPNOTSUPP.
    fn discard(&self, offset: u64, len: u64) -> Result<()>;

    /// The range reads as zeros afterwards. EOPNOTSUPP.
    fn write_zeroes(&self, offset: u64, len: u64, unmap: bool) -> Result<()>;

    /// See [`Disk::read_now`].
    fn read_now(&self, _offset: u64, _buf: &mut [u8]) -> usize {
        0
    }

    /// See [`Disk::write_now`].
    fn write_now(&self, _offset: u64, _bufs: &[&[u8]]) -> usize {
        0
    }

    /// Whether [`Blocking::read`] and [`Blocking::flush`] need no more than a few system calls: callers have small stacks.
    fn is_plain(&self) -> bool {
        false
    }

    /// Does what a request asks for.
    fn perform(&self, request: &mut Request) -> Result<()> {
        let (offset, len) = (request.offset, request.len);
        match request.op {
            Op::Read => self.read(offset, &mut request.data),
            Op::Write { fua } => self.write(offset, &request.data, fua),
            Op::Flush => self.flush(),
            Op::Discard => self.discard(offset, len),
            Op::WriteZeroes { unmap } => self.write_zeroes(offset, len, unmap),
        }
    }
}

/// The errno of what std and the image crates answer.
fn errno(error: std::io::Error) -> Errno {
    match (error.raw_os_error(), error.kind()) {
        (Some(code), _) => Errno::from_raw(code),
        (None, std::io::ErrorKind::InvalidInput) => EINVAL,
        (None, std::io::ErrorKind::Unsupported) => EOPNOTSUPP,
        (None, _) => EIO,
    }
}

/// How a host file's requests are carried out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Engine {
    /// io_uring where the host has it, else threads.
    #[default]
    Auto,
    /// io_uring; it is an error if the host has none.
    Uring,
    /// Threads.
    Threads,
}

/// Opens a raw image or a block device of the host.
///
/// # Errors
/// In words for the user.
pub fn open(path: &std::path::Path, options: OpenOptions, engine: Engine) -> Result<Arc<dyn Disk>, String> {
    let file = Arc::new(HostFile::open(path, options)?);
    let ring = match engine {
        Engine::Threads => None,
        Engine::Auto => uring::ring().ok(),
        Engine::Uring => Some(uring::ring().map_err(|e| format!("the host has no io_uring: {e}"))?),
    };
    Ok(match ring {
        Some(ring) => {
            let through = file.clone();
            queue(file, Box::new(move |request| ring.start(&through, request)))
        }
        None => threaded(file),
    })
}

/// A disk whose requests are done by threads.
pub fn threaded<B: Blocking>(disk: Arc<B>) -> Arc<dyn Disk> {
    let through = disk.clone();
    queue(
        disk,
        Box::new(move |mut request| {
            let disk = through.clone();
            pool::run(Box::new(move || {
                let outcome = disk.perform(&mut request);
                request.finish(outcome);
            }));
        }),
    )
}

fn queue<B: Blocking>(disk: Arc<B>, start: Box<dyn Fn(Request) + Send + Sync>) -> Arc<dyn Disk> {
    let order = Arc::new(Order::new(start));
    let disk: Arc<dyn Disk> =
        Arc::new(Queue { disk, order, slow_reads: Slow::default(), slow_flushes: Slow::default() });
    let mut open = OPEN.lock();
    open.retain(|disk| disk.strong_count() > 0);
    open.push(Arc::downgrade(&disk));
    disk
}

/// Disks that are open. A leaf lock.
static OPEN: Mutex<Vec<Weak<dyn Disk>>> = Mutex::new(Vec::new());

/// Makes durable what has been written to every disk: at the end of a machine.
///
/// # Errors
/// In words for the user.
pub fn flush_all() -> Result<(), String> {
    let disks: Vec<_> = OPEN.lock().iter().filter_map(Weak::upgrade).collect();
    for disk in disks.iter().filter(|disk| !disk.is_read_only()) {
        let (sender, outcome) = mpsc::channel();
        let done = Box::new(move |outcome, _| {
            // Whoever waits for it is below.
            let _ = sender.send(outcome);
        });
        disk.submit(Request { op: Op::Flush, offset: 0, len: 0, data: Vec::new(), done });
        outcome.recv().unwrap_or(Err(EIO)).map_err(|e| format!("a disk's last writes may be lost: {e}"))?;
    }
    Ok(())
}

/// Plain calls, an order among the requests, and something that carries them out.
struct Queue<B> {
    disk: Arc<B>,
    order: Arc<Order>,
    /// Reads, and flushes, on the caller's thread.
    slow_reads: Slow,
    slow_flushes: Slow,
}

/// A read, or a flush, of more ns than this keeps the caller waiting for too long.
const SLOW_READ_NS: u64 = 5_000_000;
const SLOW_FLUSH_NS: u64 = 2_000_000;
/// They are then left to others for so many times what that one took.
const SLOW_READ_PAUSE: u64 = 4;
const SLOW_FLUSH_PAUSE: u64 = 10;
/// Most bytes of a read that the caller waits for.
const HERE_MAX: usize = 1 << 20;

impl<B: Blocking> Queue<B> {
    fn check(&self, request: &Request) -> Result<()> {
        let transfer = matches!(request.op, Op::Read | Op::Write { .. });
        if transfer && (request.data.len() as u64 != request.len || request.len > MAX_BYTES) {
            return Err(EINVAL);
        }
        if request.op != Op::Flush
            && request.offset.checked_add(request.len).is_none_or(|end| end > self.disk.len())
        {
            return Err(EIO);
        }
        if request.writes() && self.disk.is_read_only() {
            return Err(EROFS);
        }
        if request.op == Op::Discard && !self.disk.limits().discard {
            return Err(EOPNOTSUPP);
        }
        Ok(())
    }

    fn fits(&self, offset: u64, len: usize) -> bool {
        offset.checked_add(len as u64).is_some_and(|end| end <= self.disk.len())
    }
}

impl<B: Blocking> Disk for Queue<B> {
    fn len(&self) -> u64 {
        self.disk.len()
    }

    fn is_read_only(&self) -> bool {
        self.disk.is_read_only()
    }

    fn limits(&self) -> Limits {
        self.disk.limits()
    }

    fn submit(&self, request: Request) {
        match self.check(&request) {
            Ok(()) if request.op != Op::Flush && request.len == 0 => request.finish(Ok(())),
            Ok(()) => self.order.submit(request),
            Err(errno) => request.finish(Err(errno)),
        }
    }

    fn read_now(&self, offset: u64, buf: &mut [u8]) -> usize {
        if self.fits(offset, buf.len()) { self.disk.read_now(offset, buf) } else { 0 }
    }

    fn write_now(&self, offset: u64, bufs: &[&[u8]]) -> usize {
        let len = bufs.iter().map(|buf| buf.len()).sum();
        let may = !self.disk.is_read_only() && self.fits(offset, len);
        if may { self.disk.write_now(offset, bufs) } else { 0 }
    }

    fn read_here(&self, offset: u64, buf: &mut [u8]) -> Option<Result<()>> {
        if !self.disk.is_plain() || buf.len() > HERE_MAX || !self.fits(offset, buf.len()) {
            return None;
        }
        self.slow_reads.unless(
            || self.disk.read(offset, buf),
            |_, took| if took > SLOW_READ_NS { took * SLOW_READ_PAUSE } else { 0 },
        )
    }

    fn flush_now(&self) -> Option<Result<()>> {
        if !self.disk.is_plain() || self.order.has_writes_under_way() {
            return None;
        }
        self.slow_flushes.unless(
            || self.disk.flush(),
            |_, took| if took > SLOW_FLUSH_NS { took * SLOW_FLUSH_PAUSE } else { 0 },
        )
    }
}
