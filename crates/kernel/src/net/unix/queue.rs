//! Messages in a receive queue, and the sender's account that they are charged to.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use abi::Result;
use abi::errno::{EAGAIN, ENOBUFS};
use abi::net::Ucred;

use super::name::Name;
use super::scm::Rights;
use crate::mm::kmem::Kmem;
use crate::sync::WaitQueue;
use crate::vfs::PollEvents;
use crate::vfs::fasync::{Band, FasyncList};

/// What a sender's messages take until they are received: SO_SNDBUF bounds it.
pub struct WriteMemory {
    used: AtomicUsize,
    /// Senders and pollers that wait for room.
    pub queue: WaitQueue,
    /// The socket's files with O_ASYNC.
    pub fasync: FasyncList,
    /// The send buffer's size when it was last found full, 0 once its owner was told of new room.
    full_at: AtomicUsize,
}

impl WriteMemory {
    /// An empty account.
    pub fn new(queue: WaitQueue) -> Arc<WriteMemory> {
        Arc::new(WriteMemory {
            used: AtomicUsize::new(0),
            queue,
            fasync: FasyncList::new(),
            full_at: AtomicUsize::new(0),
        })
    }

    /// Bytes charged: SIOCOUTQ.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::SeqCst)
    }

    /// Whether poll shows room: not more than a quarter of the buffer is in use.
    pub fn is_writable(&self, sndbuf: usize) -> bool {
        self.used() * 4 <= sndbuf
    }

    /// Charges a message of `len` bytes; EAGAIN once the buffer is used up, ENOBUFS once the machine's memory is.
    pub fn charge(self: &Arc<Self>, len: usize, sndbuf: usize) -> Result<Charge> {
        let size = true_size(len);
        let kmem = Kmem::charge(size).map_err(|_| ENOBUFS)?;
        self.used
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |used| (used < sndbuf).then_some(used + size))
            .map_err(|_| {
                self.full_at.store(sndbuf, Ordering::SeqCst);
                EAGAIN
            })?;
        Ok(Charge { memory: self.clone(), size, _kmem: kmem })
    }
}

/// What Linux counts for a message: its bytes with their management data, in allocator sizes.
fn true_size(len: usize) -> usize {
    const BUFFER_HEAD: usize = 256;
    const SHARED_INFO: usize = 320;
    let data = len + SHARED_INFO;
    let allocated = if data <= 8192 { data.next_power_of_two() } else { data.next_multiple_of(4096) };
    BUFFER_HEAD + allocated
}

/// A message's share of an account, given back when it is dropped.
pub struct Charge {
    memory: Arc<WriteMemory>,
    size: usize,
    _kmem: Kmem,
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.memory.used.fetch_sub(self.size, Ordering::SeqCst);
        self.memory.queue.wake(PollEvents::WRITABLE | PollEvents::WRBAND);
        let full_at = self.memory.full_at.load(Ordering::SeqCst);
        if full_at > 0
            && self.memory.is_writable(full_at)
            && self.memory.full_at.swap(0, Ordering::SeqCst) > 0
        {
            self.memory.fasync.kill(Band::Out);
        }
    }
}

/// The bytes of a message and who sent it.
pub struct Packet {
    /// Bytes.
    pub data: Vec<u8>,
    /// SCM_CREDENTIALS.
    pub creds: Ucred,
    /// Address of the sender's socket, if it has one.
    pub from: Option<Arc<Name>>,
    /// Who pays, until it is dropped.
    pub _charge: Charge,
}

/// A packet in a receive queue.
pub struct Entry {
    /// Shared, so that a reader can copy from it without the socket's lock.
    pub packet: Arc<Packet>,
    /// Bytes of a stream that have been read.
    pub offset: usize,
    /// Descriptors that haven't been received.
    pub rights: Option<Rights>,
}

impl Entry {
    /// A message that nothing was read of.
    pub fn new(packet: Packet, rights: Option<Rights>) -> Entry {
        Entry { packet: Arc::new(packet), offset: 0, rights }
    }

    /// Bytes left.
    pub fn len(&self) -> usize {
        self.packet.data.len() - self.offset
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_ends_at_the_buffer_and_comes_back() {
        let memory = WriteMemory::new(WaitQueue::new());
        let mut held = Vec::new();
        while let Ok(charge) = memory.charge(1, 212_992) {
            held.push(charge);
        }
        // As many one-byte messages as Linux takes.
        assert_eq!(held.len(), 278);
        assert!(!memory.is_writable(212_992));
        held.clear();
        assert_eq!(memory.used(), 0);
        assert!(memory.is_writable(212_992));
    }
}
