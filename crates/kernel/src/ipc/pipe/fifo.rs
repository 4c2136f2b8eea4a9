//! open(2) of a FIFO, fifo(7): it waits for a partner unless O_NONBLOCK.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use abi::Result;
use abi::errno::{EINVAL, ENXIO};
use abi::fcntl::{O_RDONLY, O_RDWR, O_WRONLY, OpenFlags};

use super::{Pipe, PipeEnd};
use crate::sync::{Sleep, WaitQueue, wait_event};
use crate::vfs::{FileOps, FileType, Inode};

/// Opens the FIFO `inode`, or the pipe of an inode of pipefs once more (/proc/PID/fd). EINVAL for an access mode
/// without a meaning; ENXIO for a writer that would have to wait; ERESTARTSYS.
pub fn open_fifo(inode: &Arc<Inode>, flags: OpenFlags) -> Result<Box<dyn FileOps>> {
    if !matches!(flags.accmode(), O_RDONLY | O_WRONLY | O_RDWR) {
        return Err(EINVAL);
    }
    let nonblock = flags.contains(OpenFlags::NONBLOCK);
    let named = inode.sb.fs_type.name != "pipefs";
    let Opening { end, readers_seen, writers_seen } = attach(inode, flags, named && nonblock)?;
    let pipe = &end.pipe;
    if end.readable {
        pipe.write_queue.wake_all();
    }
    if end.writable {
        pipe.read_queue.wake_all();
    }
    let waited = match flags.accmode() {
        O_RDONLY if named && pipe.no_writers() => {
            if nonblock {
                end.no_writer_since.store(writers_seen, Ordering::Relaxed);
                Ok(())
            } else {
                wait_for(&pipe.read_queue, &pipe.writer_opens, writers_seen)
            }
        }
        O_WRONLY if named && pipe.no_readers() => {
            wait_for(&pipe.write_queue, &pipe.reader_opens, readers_seen)
        }
        _ => Ok(()),
    };
    if let Err(errno) = waited {
        end.close();
        forget_unused(inode);
        return Err(errno);
    }
    Ok(Box::new(end))
}

fn wait_for(queue: &WaitQueue, opens: &AtomicU32, seen: u32) -> Result<()> {
    wait_event(queue, Sleep::INTERRUPTIBLE, || (opens.load(Ordering::SeqCst) != seen).then_some(()))
}

struct Opening {
    end: PipeEnd,
    /// Openings before this one.
    readers_seen: u32,
    writers_seen: u32,
}

/// Counts an opening of the pipe that hangs on the inode, which is made if there is none. The inode's lock keeps
/// [`forget_unused`] from taking it away in between.
fn attach(inode: &Arc<Inode>, flags: OpenFlags, needs_reader: bool) -> Result<Opening> {
    if inode.kind != FileType::Fifo {
        return Err(EINVAL);
    }
    let fresh = Pipe::new();
    let mut attached = inode.attached.lock();
    let pipe = match attached.clone() {
        Some(there) => there.downcast::<Pipe>().map_err(|_| EINVAL)?,
        None => fresh.clone(),
    };
    if needs_reader && flags.accmode() == O_WRONLY && pipe.no_readers() {
        return Err(ENXIO);
    }
    let readers_seen = pipe.reader_opens.load(Ordering::SeqCst);
    let writers_seen = pipe.writer_opens.load(Ordering::SeqCst);
    *attached = Some(pipe.clone() as Arc<dyn Any + Send + Sync>);
    Ok(Opening { end: pipe.end(flags), readers_seen, writers_seen })
}

/// The last user of a FIFO has gone: what it holds goes too.
pub(super) fn forget_unused(inode: &Arc<Inode>) {
    let mut attached = inode.attached.lock();
    let unused = attached
        .as_ref()
        .and_then(|a| a.downcast_ref::<Pipe>())
        .is_some_and(|pipe| pipe.no_readers() && pipe.no_writers());
    let gone = if unused { attached.take() } else { None };
    drop(attached);
    drop(gone);
}
