//! [`Item`]: one descriptor that an epoll watches.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use abi::Result;
use abi::errno::ENOSPC;
use abi::poll::{EPOLLEXCLUSIVE, EpollEvent};

use super::{ALWAYS, Eventpoll, PRIVATE_BITS};
use crate::mm::kmem::Kmem;
use crate::sync::{PollTable, SpinLock, Wakeable, rank};
use crate::task::user_count::{Counted, UserCount};
use crate::vfs::{File, PollEvents};

/// What an item takes, with its places in tables and queues.
const SIZE: usize = 512;

/// How many items a user may have.
pub fn max_user_watches() -> usize {
    WATCHES.limit()
}

/// /proc/sys/fs/epoll/max_user_watches.
static WATCHES: UserCount = UserCount::new(200_000);

/// A watched descriptor. It lives in its epoll's table and on the wait queues of its file.
pub struct Item {
    me: Weak<Item>,
    ep: Weak<Eventpoll>,
    /// Weak: watching keeps no file open.
    pub file: Weak<File>,
    fd: i32,
    events: AtomicU32,
    data: AtomicU64,
    /// On the ready list, or retired; changed under its lock.
    pub queued: AtomicBool,
    queues: SpinLock<PollTable>,
    _counted: Counted,
    _memory: Kmem,
}

impl Item {
    /// An item that is registered nowhere; ENOSPC when the user has too many; ENOMEM.
    pub fn new(ep: Weak<Eventpoll>, file: &Arc<File>, fd: i32, event: EpollEvent) -> Result<Arc<Item>> {
        let counted = WATCHES.charge().ok_or(ENOSPC)?;
        let memory = Kmem::charge(SIZE)?;
        Ok(Arc::new_cyclic(|me| Item {
            me: me.clone(),
            ep,
            file: Arc::downgrade(file),
            fd,
            events: AtomicU32::new(event.events | ALWAYS),
            data: AtomicU64::new(event.data),
            queued: AtomicBool::new(false),
            queues: SpinLock::new(rank::LEAF, PollTable::none()),
            _counted: counted,
            _memory: memory,
        }))
    }

    /// Wanted events and private bits.
    pub fn events(&self) -> u32 {
        self.events.load(Ordering::SeqCst)
    }

    /// The caller's word.
    pub fn data(&self) -> u64 {
        self.data.load(Ordering::SeqCst)
    }

    /// Replaces events and data.
    pub fn set(&self, event: EpollEvent) {
        self.data.store(event.data, Ordering::SeqCst);
        self.events.store(event.events | ALWAYS, Ordering::SeqCst);
    }

    /// EPOLLONESHOT: no more events until it is modified.
    pub fn disarm(&self) {
        self.events.fetch_and(PRIVATE_BITS, Ordering::SeqCst);
    }

    /// What the file is ready for now.
    pub fn poll(&self, file: &File) -> PollEvents {
        file.ops.poll(file, &mut PollTable::none())
    }

    /// Stands on the file's queues from now on; what it is ready for.
    pub fn register(self: &Arc<Self>, file: &File) -> PollEvents {
        let exclusive = self.events() & EPOLLEXCLUSIVE != 0;
        let mut table = PollTable::new(self.clone(), exclusive);
        let found = file.ops.poll(file, &mut table);
        table.seal();
        let old = core::mem::replace(&mut *self.queues.lock(), table);
        drop(old);
        found
    }

    /// Leaves the file's queues.
    pub fn unregister(&self) {
        let table = core::mem::replace(&mut *self.queues.lock(), PollTable::none());
        drop(table);
    }

    /// Its line in /proc/PID/fdinfo.
    pub fn fdinfo(&self) -> String {
        let (ino, dev) = match self.file.upgrade() {
            Some(file) => (file.inode().ino, file.inode().sb.dev),
            None => (0, 0),
        };
        format!(
            "tfd: {:8} events: {:8x} data: {:16x}  pos:0 ino:{ino:x} sdev:{dev:x}\n",
            self.fd,
            self.events(),
            self.data()
        )
    }
}

impl Wakeable for Item {
    fn wake(&self, events: PollEvents) -> bool {
        let wanted = self.events();
        if events.bits() & wanted & !PRIVATE_BITS == 0 {
            return false;
        }
        let (Some(ep), Some(me)) = (self.ep.upgrade(), self.me.upgrade()) else { return false };
        let waited = ep.queue(&me);
        // An exclusive wake-up is spent only if it reached somebody who waits.
        wanted & EPOLLEXCLUSIVE == 0 || waited
    }
}
