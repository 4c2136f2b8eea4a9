//! Events that wait to be read.
//!
//! Lock: INOTIFY_QUEUE. Readers are serialised by a sleeping lock, because they write to user memory.

use std::collections::VecDeque;

use abi::Result;
use abi::errno::{EAGAIN, EINVAL};
use abi::inotify::{IN_Q_OVERFLOW, InotifyEvent};
use zerocopy::IntoBytes;

use crate::mm::kmem::Kmem;
use crate::sync::{Mutex, SpinLock, WaitQueue, rank};
use crate::vfs::fasync::{Band, FasyncList};
use crate::vfs::{IovDest, PollEvents};

/// /proc/sys/fs/inotify/max_queued_events.
pub const MAX_QUEUED: usize = 16_384;
const HEADER: usize = size_of::<InotifyEvent>();

/// One event.
#[derive(Debug, PartialEq, Eq)]
pub struct Event {
    /// The watch; -1 for an overflow.
    pub wd: i32,
    /// IN_* bits.
    pub mask: u32,
    /// Pairs the halves of a rename.
    pub cookie: u32,
    /// Entry of a watched directory.
    pub name: Option<Box<[u8]>>,
}

impl Event {
    /// Bytes of name and padding that follow the header.
    fn name_space(&self) -> usize {
        self.name.as_ref().map_or(0, |name| (name.len() + 1).next_multiple_of(HEADER))
    }

    fn size(&self) -> usize {
        HEADER + self.name_space()
    }

    fn to_bytes(&self) -> Vec<u8> {
        let len = self.name_space();
        let header = InotifyEvent { wd: self.wd, mask: self.mask, cookie: self.cookie, len: len as u32 };
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend_from_slice(self.name.as_deref().unwrap_or_default());
        bytes.resize(HEADER + len, 0);
        bytes
    }

    /// Whether one of the two is enough to tell.
    fn repeats(&self, last: &Event) -> bool {
        self.wd == last.wd && self.mask == last.mask && self.name == last.name
    }
}

/// A bounded queue.
pub struct Queue {
    /// With what each takes.
    events: SpinLock<VecDeque<(Event, Kmem)>>,
    reading: Mutex<()>,
    waiters: WaitQueue,
    /// Files with O_ASYNC.
    pub fasync: FasyncList,
}

impl Queue {
    /// An empty one.
    pub fn new() -> Queue {
        Queue {
            events: SpinLock::new(rank::INOTIFY_QUEUE, VecDeque::new()),
            reading: Mutex::new(()),
            waiters: WaitQueue::new(),
            fasync: FasyncList::new(),
        }
    }

    /// Adds an event, unless the last one says the same; a full queue ends with IN_Q_OVERFLOW.
    pub fn push(&self, event: Event) {
        {
            let mut events = self.events.lock();
            let memory = if events.len() < MAX_QUEUED { Kmem::charge(64 + event.size()).ok() } else { None };
            let event = if memory.is_some() {
                event
            } else {
                Event { wd: -1, mask: IN_Q_OVERFLOW, cookie: 0, name: None }
            };
            if events.back().is_some_and(|(last, _)| event.repeats(last)) {
                return;
            }
            events.push_back((event, memory.unwrap_or_default()));
        }
        self.waiters.wake(PollEvents::READABLE);
        self.fasync.kill(Band::In);
    }

    /// Those who wait for an event.
    pub fn waiters(&self) -> &WaitQueue {
        &self.waiters
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.events.lock().is_empty()
    }

    /// What reading everything would give: FIONREAD.
    pub fn bytes(&self) -> usize {
        self.events.lock().iter().map(|(event, _)| event.size()).sum()
    }

    /// Gives as many whole events as fit. EAGAIN without any; EINVAL if not even one fits.
    pub fn read(&self, dest: &mut IovDest<'_>) -> Result<usize> {
        let _serial = self.reading.lock();
        let mut done = 0;
        loop {
            let next = {
                let mut events = self.events.lock();
                match events.front() {
                    None if done == 0 => return Err(EAGAIN),
                    None => None,
                    Some((event, _)) if event.size() > dest.remaining() => {
                        if done == 0 {
                            return Err(EINVAL);
                        }
                        None
                    }
                    Some(_) => events.pop_front(),
                }
            };
            let Some((event, _)) = next else { return Ok(done) };
            match dest.write(&event.to_bytes()) {
                Ok(n) => done += n,
                Err(errno) if done == 0 => return Err(errno),
                Err(_) => return Ok(done),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(wd: i32, name: Option<&[u8]>) -> Event {
        Event { wd, mask: 2, cookie: 0, name: name.map(Box::from) }
    }

    fn read(queue: &Queue, room: usize) -> Result<Vec<u8>> {
        let mut buf = vec![0; room];
        let n = queue.read(&mut IovDest::kernel(&mut buf))?;
        buf.truncate(n);
        Ok(buf)
    }

    #[test]
    fn names_are_padded_and_events_stay_whole() {
        let queue = Queue::new();
        queue.push(event(1, Some(b"0123456789abcde")));
        queue.push(event(1, Some(b"0123456789abcdef")));
        assert_eq!(queue.bytes(), 32 + 48);
        assert_eq!(read(&queue, 31), Err(EINVAL));
        assert_eq!(read(&queue, 79).unwrap().len(), 32);
        assert_eq!(read(&queue, 79).unwrap().len(), 48);
        assert_eq!(read(&queue, 79), Err(EAGAIN));
    }

    #[test]
    fn repeated_events_are_merged() {
        let queue = Queue::new();
        queue.push(event(1, None));
        queue.push(event(1, None));
        queue.push(event(2, None));
        queue.push(event(1, None));
        assert_eq!(queue.bytes(), 3 * HEADER);
    }

    #[test]
    fn a_full_queue_overflows_once() {
        let queue = Queue::new();
        for i in 0..MAX_QUEUED as i32 + 10 {
            queue.push(event(i, None));
        }
        let bytes = read(&queue, 1 << 20).unwrap();
        assert_eq!(bytes.len(), (MAX_QUEUED + 1) * HEADER);
        assert_eq!(bytes[bytes.len() - HEADER..][..4], (-1i32).to_ne_bytes());
    }
}
