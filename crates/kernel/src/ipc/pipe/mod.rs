//! Pipes and FIFOs, pipe(7).
//!
//! - `ring.rs`: the buffer. `fifo.rs`: open(2) of a FIFO. `calls.rs`: pipe(2), F_SETPIPE_SZ.
//!
//! Locks: the ring's (sleeping, because user memory is copied under it). Counts of readers and writers and the fill
//! level are atomics: poll takes no lock. A count that decides what a read or a write answers is read under the ring's
//! lock, so that no byte is missed.

mod calls;
mod fifo;
mod ring;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use abi::Result;
use abi::errno::{EAGAIN, ENOMEM, ENOTTY, EPIPE};
use abi::fcntl::OpenFlags;
use abi::signal::{SI_USER, SIGPIPE, SigInfo};

pub use calls::{PIPE_MAX_SIZE, pipe, pipe2};
pub use fifo::open_fifo;
pub use ring::{Ring, SLOT};

use crate::mm::kmem::{self, Kmem};
use crate::sync::{Mutex, MutexGuard, PollTable, SpinLock, WaitQueue, rank};
use crate::task::current;
use crate::uaccess::UserPtr;
use crate::vfs::fasync::{Band, FasyncList};
use crate::vfs::{File, FileMode, FileOps, IovDest, IovSource, PollEvents};

/// The object behind both ends.
pub struct Pipe {
    ring: Mutex<Ring>,
    /// What the slots in use take.
    memory: SpinLock<Kmem>,
    /// Slots in use and allowed, for poll.
    used: AtomicUsize,
    capacity: AtomicUsize,
    readers: AtomicU32,
    writers: AtomicU32,
    /// Openings so far, for FIFOs: whoever waits for a partner waits for a change.
    reader_opens: AtomicU32,
    writer_opens: AtomicU32,
    /// Readers wait here for bytes or for the last writer to go, writers for room or the last reader.
    read_queue: WaitQueue,
    write_queue: WaitQueue,
    /// Ends with O_ASYNC.
    read_async: FasyncList,
    write_async: FasyncList,
    /// Whose pages it counts among.
    charge: calls::Charge,
}

impl Pipe {
    /// An empty pipe without ends, charged to the current user.
    pub fn new() -> Arc<Pipe> {
        let charge = calls::Charge::new();
        let capacity = charge.slots();
        Arc::new(Pipe {
            ring: Mutex::new(Ring::new(capacity)),
            memory: SpinLock::new(rank::LEAF, Kmem::default()),
            used: AtomicUsize::new(0),
            capacity: AtomicUsize::new(capacity),
            readers: AtomicU32::new(0),
            writers: AtomicU32::new(0),
            reader_opens: AtomicU32::new(0),
            writer_opens: AtomicU32::new(0),
            read_queue: WaitQueue::new(),
            write_queue: WaitQueue::new(),
            read_async: FasyncList::new(),
            write_async: FasyncList::new(),
            charge,
        })
    }

    /// An end with the access of `flags`, counted among the readers and writers.
    fn end(self: &Arc<Self>, flags: OpenFlags) -> PipeEnd {
        if flags.readable() {
            self.readers.fetch_add(1, Ordering::SeqCst);
            self.reader_opens.fetch_add(1, Ordering::SeqCst);
        }
        if flags.writable() {
            self.writers.fetch_add(1, Ordering::SeqCst);
            self.writer_opens.fetch_add(1, Ordering::SeqCst);
        }
        PipeEnd {
            pipe: self.clone(),
            readable: flags.readable(),
            writable: flags.writable(),
            no_writer_since: AtomicU32::new(NEVER),
        }
    }

    /// The pipe of an open file; none for another kind of file.
    pub fn of(file: &File) -> Option<&Arc<Pipe>> {
        file.ops_as::<PipeEnd>().map(|end| &end.pipe)
    }

    /// Takes the ring; [`Pipe::done`] gives it back.
    pub fn lock(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock()
    }

    /// Gives the ring back after a read or write, and wakes whom the change concerns: readers if bytes came, writers if
    /// a full pipe has room again. Signals tell of every read and write.
    pub fn done(&self, ring: MutexGuard<'_, Ring>, wrote: bool, was_full: bool) {
        self.publish(&ring);
        let room = was_full && !ring.is_full();
        drop(ring);
        if wrote {
            self.read_queue.wake(PollEvents::READABLE);
            self.read_async.kill(Band::In);
        }
        if room {
            self.write_queue.wake(PollEvents::WRITABLE);
        }
        if !wrote {
            self.write_async.kill(Band::Out);
        }
    }

    /// Gives the ring back with another capacity.
    fn resized(&self, ring: MutexGuard<'_, Ring>) {
        self.publish(&ring);
    }

    fn publish(&self, ring: &Ring) {
        let used = ring.used();
        if self.used.swap(used, Ordering::SeqCst) != used {
            self.memory.lock().set(used * SLOT);
        }
        self.capacity.store(ring.capacity(), Ordering::SeqCst);
    }

    /// Whether there is nobody who could read.
    pub fn no_readers(&self) -> bool {
        self.readers.load(Ordering::SeqCst) == 0
    }

    /// Whether there is nobody who could write.
    pub fn no_writers(&self) -> bool {
        self.writers.load(Ordering::SeqCst) == 0
    }

    /// Whether something can be read or, without writers, never will.
    pub fn has_input(&self) -> bool {
        self.used.load(Ordering::SeqCst) > 0 || self.no_writers()
    }

    /// Whether a slot is free, or writing fails at once.
    pub fn has_room(&self) -> bool {
        self.used.load(Ordering::SeqCst) < self.capacity.load(Ordering::SeqCst) || self.no_readers()
    }

    /// Queue of those who wait for input.
    pub fn read_queue(&self) -> &WaitQueue {
        &self.read_queue
    }

    /// Queue of those who wait for room.
    pub fn write_queue(&self) -> &WaitQueue {
        &self.write_queue
    }
}

/// The answer of a write without readers: SIGPIPE and EPIPE.
pub fn broken_pipe() -> abi::Errno {
    let task = current();
    crate::signal::send_task(&task, SigInfo::kill(SIGPIPE, SI_USER, task.tgid(), task.cred().uid));
    EPIPE
}

/// No opening count: the reader came while there were writers.
const NEVER: u32 = u32::MAX;

/// One opening of a pipe: FileOps of both ends and of FIFOs.
pub struct PipeEnd {
    pipe: Arc<Pipe>,
    readable: bool,
    writable: bool,
    /// A FIFO opened with O_NONBLOCK before any writer came: the count of writers' openings then. No hang-up is shown
    /// until it changes.
    no_writer_since: AtomicU32,
}

impl FileOps for PipeEnd {
    fn fcntl(&self, _: &File, cmd: u32, arg: u64) -> Result<u64> {
        calls::fcntl(&self.pipe, cmd, arg)
    }

    fn read(&self, _: &File, dest: &mut IovDest<'_>, _: &mut u64) -> Result<usize> {
        if dest.remaining() == 0 {
            return Ok(0);
        }
        let pipe = &self.pipe;
        let mut ring = pipe.lock();
        if ring.is_empty() {
            return if pipe.no_writers() { Ok(0) } else { Err(EAGAIN) };
        }
        let was_full = ring.is_full();
        let outcome = ring.read(dest);
        pipe.done(ring, false, was_full);
        outcome
    }

    fn write(&self, file: &File, src: &mut IovSource<'_>, _: &mut u64) -> Result<usize> {
        if src.remaining() == 0 {
            return Ok(0);
        }
        let pipe = &self.pipe;
        let mut ring = pipe.lock();
        if pipe.no_readers() {
            drop(ring);
            return Err(broken_pipe());
        }
        if kmem::is_exhausted() {
            return Err(ENOMEM);
        }
        let outcome = ring.write(src, file.flags().contains(OpenFlags::DIRECT));
        pipe.done(ring, outcome.is_ok(), false);
        outcome
    }

    fn poll(&self, _: &File, table: &mut PollTable) -> PollEvents {
        let pipe = &self.pipe;
        let mut events = PollEvents::empty();
        if self.readable {
            table.register(&pipe.read_queue);
        }
        if self.writable {
            table.register(&pipe.write_queue);
        }
        let used = pipe.used.load(Ordering::SeqCst);
        if self.readable {
            if used > 0 {
                events |= PollEvents::READABLE;
            }
            let opens = pipe.writer_opens.load(Ordering::SeqCst);
            if pipe.no_writers() && self.no_writer_since.load(Ordering::Relaxed) != opens {
                events |= PollEvents::HUP;
            }
        }
        if self.writable {
            if used < pipe.capacity.load(Ordering::SeqCst) {
                events |= PollEvents::WRITABLE;
            }
            if pipe.no_readers() {
                events |= PollEvents::ERR;
            }
        }
        events
    }

    fn ioctl(&self, _: &File, cmd: u32, arg: u64) -> Result<u64> {
        match cmd {
            abi::ioctl::FIONREAD => {
                let len = self.pipe.lock().len();
                UserPtr::<i32>::new(arg).write(&i32::try_from(len).unwrap_or(i32::MAX))?;
                Ok(0)
            }
            _ => Err(ENOTTY),
        }
    }

    fn is_stream(&self) -> bool {
        true
    }

    fn fasync(&self, _: &File, _: bool, set: &mut dyn FnMut(&FasyncList)) {
        if self.readable {
            set(&self.pipe.read_async);
        }
        if self.writable {
            set(&self.pipe.write_async);
        }
    }

    fn release(&self, file: &File) {
        self.close();
        fifo::forget_unused(file.inode());
    }
}

impl PipeEnd {
    /// Uncounts this end and tells the other side if it was the last.
    fn close(&self) {
        let pipe = &self.pipe;
        let last_reader = self.readable && pipe.readers.fetch_sub(1, Ordering::SeqCst) == 1;
        let last_writer = self.writable && pipe.writers.fetch_sub(1, Ordering::SeqCst) == 1;
        if last_writer {
            pipe.read_queue.wake_all();
        }
        if last_reader {
            pipe.write_queue.wake_all();
        }
        // One side is left alone.
        if (last_reader || last_writer) && pipe.no_readers() != pipe.no_writers() {
            pipe.read_async.kill(Band::In);
            pipe.write_async.kill(Band::Out);
        }
    }
}

/// Both ends of a fresh pipe: FileMode of the first is reading, of the second writing.
pub fn create_pipe(flags: OpenFlags) -> [Arc<File>; 2] {
    let path = crate::fs::pipefs::new_inode();
    let pipe = Pipe::new();
    if let Some(inode) = path.dentry.inode() {
        *inode.attached.lock() = Some(pipe.clone());
    }
    [OpenFlags::RDONLY, OpenFlags::WRONLY].map(|access| {
        let ops = Box::new(pipe.end(access));
        let mode = FileMode::STREAM | if access.readable() { FileMode::READ } else { FileMode::WRITE };
        File::new(path.clone(), ops, access | flags, mode)
    })
}
