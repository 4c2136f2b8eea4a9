//! eventfd(2): a counter that can be waited for.

use std::sync::atomic::{AtomicU64, Ordering};

use abi::Result;
use abi::errno::{EAGAIN, EINVAL};
use abi::fcntl::{EFD_CLOEXEC, EFD_NONBLOCK, EFD_SEMAPHORE, OpenFlags};

use crate::sync::{PollTable, WaitQueue};
use crate::task::current;
use crate::vfs::anon::anon_file;
use crate::vfs::{Fd, File, FileMode, FileOps, IovDest, IovSource, PollEvents};

/// The largest count; one more only ever overflows it.
const MAX: u64 = u64::MAX - 1;

struct EventFd {
    count: AtomicU64,
    semaphore: bool,
    queue: WaitQueue,
}

/// eventfd(2)
pub fn eventfd(initval: u32) -> Result<Fd> {
    eventfd2(initval, 0)
}

/// eventfd2(2)
pub fn eventfd2(initval: u32, flags: u32) -> Result<Fd> {
    if flags & !(EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE) != 0 {
        return Err(EINVAL);
    }
    let ops = EventFd {
        count: AtomicU64::new(u64::from(initval)),
        semaphore: flags & EFD_SEMAPHORE != 0,
        queue: WaitQueue::new(),
    };
    let open = OpenFlags::RDWR | OpenFlags::from_bits_retain(flags & EFD_NONBLOCK);
    let mode = FileMode::STREAM | FileMode::NOOP_SEEK | FileMode::READ | FileMode::WRITE;
    let file = anon_file("anon_inode:[eventfd]", Box::new(ops), open, mode)?;
    current().files()?.install(file, flags & EFD_CLOEXEC != 0)
}

impl FileOps for EventFd {
    fn read(&self, _: &File, dest: &mut IovDest<'_>, _: &mut u64) -> Result<usize> {
        if dest.remaining() < 8 {
            return Err(EINVAL);
        }
        let take = |count| if self.semaphore { count - 1 } else { 0 };
        let before = self
            .count
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| (n > 0).then(|| take(n)))
            .map_err(|_| EAGAIN)?;
        self.queue.wake(PollEvents::WRITABLE);
        let value = if self.semaphore { 1 } else { before };
        dest.write(&value.to_ne_bytes())
    }

    fn write(&self, _: &File, src: &mut IovSource<'_>, _: &mut u64) -> Result<usize> {
        if src.remaining() != 8 {
            return Err(EINVAL);
        }
        let mut value = [0; 8];
        if src.peek(&mut value)? < value.len() {
            return Err(abi::errno::EFAULT);
        }
        let value = u64::from_ne_bytes(value);
        if value == u64::MAX {
            return Err(EINVAL);
        }
        self.count
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_add(value).filter(|&n| n <= MAX))
            .map_err(|_| EAGAIN)?;
        src.advance(8);
        self.queue.wake(PollEvents::READABLE);
        Ok(8)
    }

    fn poll(&self, _: &File, table: &mut PollTable) -> PollEvents {
        table.register(&self.queue);
        let count = self.count.load(Ordering::SeqCst);
        let mut events = PollEvents::empty();
        if count > 0 {
            events |= PollEvents::IN;
        }
        if count == u64::MAX {
            events |= PollEvents::ERR;
        }
        if count < MAX {
            events |= PollEvents::OUT;
        }
        events
    }

    fn fdinfo(&self, _: &File) -> String {
        format!(
            "eventfd-count: {:16x}\neventfd-semaphore: {}\n",
            self.count.load(Ordering::SeqCst),
            u32::from(self.semaphore)
        )
    }
}
