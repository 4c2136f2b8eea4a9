//! The buffer of a pipe: a ring of page-sized slots, as Linux has it, so that how much fits, when it is full and where
//! packets end are the same. The slots lie in one arena, so that bulk data moves in few copies.

use abi::Result;
use abi::errno::{EAGAIN, EBUSY};

use crate::vfs::{IovDest, IovSource};

/// Bytes of a slot.
pub const SLOT: usize = 4096;

#[derive(Clone, Copy, Default)]
struct Slot {
    start: usize,
    len: usize,
    /// A packet of O_DIRECT: nothing is appended, and a read takes no more than it.
    packet: bool,
}

/// Bytes in order of writing.
pub struct Ring {
    /// `slots.len()` pages; grows towards `capacity` as it is needed.
    arena: Vec<u8>,
    slots: Vec<Slot>,
    head: usize,
    used: usize,
    capacity: usize,
}

impl Ring {
    /// An empty ring of at most `capacity` slots.
    pub fn new(capacity: usize) -> Ring {
        Ring { arena: Vec::new(), slots: Vec::new(), head: 0, used: 0, capacity }
    }

    /// Slots in use.
    pub fn used(&self) -> usize {
        self.used
    }

    /// Slots that there may be.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Whether nothing can be read.
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Whether there is no free slot.
    pub fn is_full(&self) -> bool {
        self.used >= self.capacity
    }

    /// Bytes that can be read.
    pub fn len(&self) -> usize {
        (0..self.used).map(|i| self.slot(i).len).sum()
    }

    /// Changes the number of slots. EBUSY if more are in use.
    pub fn set_capacity(&mut self, capacity: usize) -> Result<()> {
        if self.used > capacity {
            return Err(EBUSY);
        }
        if self.slots.len() > capacity {
            self.resize(capacity);
        }
        self.capacity = capacity;
        Ok(())
    }

    fn slot(&self, nth: usize) -> Slot {
        self.slots[(self.head + nth) % self.slots.len()]
    }

    /// Moves what there is to the front of an arena of `count` slots.
    fn resize(&mut self, count: usize) {
        let mut arena = vec![0; count * SLOT];
        let mut slots = vec![Slot::default(); count];
        for (nth, to) in slots.iter_mut().enumerate().take(self.used) {
            let from = self.slot(nth);
            let at = (self.head + nth) % self.slots.len() * SLOT + from.start;
            arena[nth * SLOT + from.start..][..from.len].copy_from_slice(&self.arena[at..at + from.len]);
            *to = from;
        }
        (self.arena, self.slots, self.head) = (arena, slots, 0);
    }

    /// Takes from `src` what there is room for. At most PIPE_BUF bytes go in whole or not at all. EAGAIN when full.
    pub fn write(&mut self, src: &mut IovSource<'_>, packet: bool) -> Result<usize> {
        let mut done = self.append(src, packet)?;
        while src.remaining() > 0 && self.used < self.capacity {
            let want = src.remaining().div_ceil(SLOT).min(self.capacity - self.used);
            if self.used + want > self.slots.len() {
                let grown = (self.slots.len() * 4).max(self.used + want).min(self.capacity);
                self.resize(grown);
            }
            let first = (self.head + self.used) % self.slots.len();
            let run = want.min(self.slots.len() - first);
            let bytes = (run * SLOT).min(src.remaining());
            match src.read(&mut self.arena[first * SLOT..][..bytes]) {
                Ok(n) => {
                    for at in (0..n).step_by(SLOT) {
                        let slot = Slot { start: 0, len: (n - at).min(SLOT), packet };
                        self.slots[first + at / SLOT] = slot;
                        self.used += 1;
                    }
                    done += n;
                    if n < bytes {
                        break;
                    }
                }
                Err(errno) if done == 0 => return Err(errno),
                Err(_) => break,
            }
        }
        if done == 0 { Err(EAGAIN) } else { Ok(done) }
    }

    /// Puts the odd bytes of a write behind those of the last slot if they fit there.
    fn append(&mut self, src: &mut IovSource<'_>, packet: bool) -> Result<usize> {
        let odd = src.remaining() % SLOT;
        if odd == 0 || self.used == 0 || packet {
            return Ok(0);
        }
        let at = (self.head + self.used - 1) % self.slots.len();
        let slot = &mut self.slots[at];
        let end = slot.start + slot.len;
        if slot.packet || end + odd > SLOT {
            return Ok(0);
        }
        let n = src.read(&mut self.arena[at * SLOT + end..][..odd])?;
        slot.len += n;
        Ok(n)
    }

    /// Gives `dest` what there is, or one packet. 0 when empty.
    pub fn read(&mut self, dest: &mut IovDest<'_>) -> Result<usize> {
        let mut done = 0;
        while self.used > 0 && dest.remaining() > 0 {
            let packet = self.slots[self.head].packet;
            let run = self.front();
            let wanted = run.len().min(dest.remaining());
            let n = match dest.write(run) {
                Ok(n) => n,
                Err(errno) if done == 0 => return Err(errno),
                Err(_) => break,
            };
            done += n;
            if packet {
                self.consume(self.slots[self.head].len);
                break;
            }
            self.consume(n);
            if n < wanted {
                break;
            }
        }
        Ok(done)
    }

    /// The bytes at the front that lie in one piece; one packet at most.
    fn front(&self) -> &[u8] {
        let first = self.slots[self.head];
        let start = self.head * SLOT + first.start;
        let mut end = start + first.len;
        let mut next = self.head + 1;
        while !first.packet && next < self.slots.len() && next - self.head < self.used {
            let slot = self.slots[next];
            if end != next * SLOT || slot.start != 0 || slot.packet {
                break;
            }
            end += slot.len;
            next += 1;
        }
        &self.arena[start..end]
    }

    /// Copies up to `buf.len()` bytes, or one packet, without taking them out. The second answer is whether it is a
    /// packet.
    pub fn peek(&self, buf: &mut [u8]) -> (usize, bool) {
        let mut done = 0;
        for nth in 0..self.used {
            let slot = self.slot(nth);
            if done == buf.len() || (slot.packet && nth > 0) {
                break;
            }
            let n = slot.len.min(buf.len() - done);
            let at = (self.head + nth) % self.slots.len() * SLOT + slot.start;
            buf[done..done + n].copy_from_slice(&self.arena[at..at + n]);
            done += n;
            if slot.packet {
                return (done, true);
            }
        }
        (done, false)
    }

    /// Bytes of the first slot: a packet, if it is one.
    pub fn first_len(&self) -> usize {
        if self.used == 0 { 0 } else { self.slots[self.head].len }
    }

    /// Takes out the first `n` bytes.
    pub fn consume(&mut self, mut n: usize) {
        while n > 0 && self.used > 0 {
            let slot = &mut self.slots[self.head];
            let step = n.min(slot.len);
            slot.start += step;
            slot.len -= step;
            n -= step;
            if slot.len == 0 {
                self.head = (self.head + 1) % self.slots.len();
                self.used -= 1;
            }
        }
        if self.used == 0 {
            // The same warm page serves the next message.
            self.head = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(ring: &mut Ring, data: &[u8], packet: bool) -> Result<usize> {
        ring.write(&mut IovSource::kernel(data), packet)
    }

    fn get(ring: &mut Ring, room: usize) -> Vec<u8> {
        let mut buf = vec![0; room];
        let n = ring.read(&mut IovDest::kernel(&mut buf)).unwrap();
        buf.truncate(n);
        buf
    }

    #[test]
    fn small_writes_share_a_slot() {
        let mut ring = Ring::new(2);
        for i in 0..100u8 {
            assert_eq!(put(&mut ring, &[i], false), Ok(1));
        }
        assert_eq!((ring.used(), ring.len()), (1, 100));
        assert_eq!(get(&mut ring, 1000), (0..100).collect::<Vec<u8>>());
        assert!(ring.is_empty());
    }

    #[test]
    fn fills_and_wraps_in_order() {
        let mut ring = Ring::new(4);
        let data: Vec<u8> = (0..40_000u32).map(|i| (i % 251) as u8).collect();
        let (mut written, mut read) = (0, Vec::new());
        while read.len() < data.len() {
            match put(&mut ring, &data[written..], false) {
                Ok(n) => written += n,
                Err(errno) => assert!(errno == EAGAIN && (ring.is_full() || written == data.len())),
            }
            let n = read.len() % 3000 + 700;
            read.extend(get(&mut ring, n));
        }
        assert_eq!(read, data);
    }

    #[test]
    fn a_write_of_up_to_a_page_is_whole_or_nothing() {
        let mut ring = Ring::new(2);
        assert_eq!(put(&mut ring, &[1; 4000], false), Ok(4000));
        assert_eq!(put(&mut ring, &[2; 4000], false), Ok(4000));
        assert_eq!(put(&mut ring, &[3; 4000], false), Err(EAGAIN));
        // Beyond PIPE_BUF a part is taken: the odd bytes that fit behind the last.
        assert_eq!(put(&mut ring, &[3; 4096 + 50], false), Ok(50));
    }

    #[test]
    fn packets_keep_their_ends() {
        let mut ring = Ring::new(16);
        put(&mut ring, b"one", true).unwrap();
        put(&mut ring, b"two", true).unwrap();
        put(&mut ring, b"plain", false).unwrap();
        assert_eq!(get(&mut ring, 2), b"on");
        assert_eq!(get(&mut ring, 100), b"two");
        assert_eq!(get(&mut ring, 100), b"plain");
    }

    #[test]
    fn resizing_keeps_the_bytes() {
        let mut ring = Ring::new(4);
        put(&mut ring, &[7; 3 * SLOT], false).unwrap();
        get(&mut ring, SLOT + 10);
        put(&mut ring, &[8; SLOT], false).unwrap();
        assert_eq!(ring.set_capacity(2), Err(EBUSY));
        ring.set_capacity(16).unwrap();
        put(&mut ring, &[9; 5 * SLOT], false).unwrap();
        let all = get(&mut ring, 100 * SLOT);
        assert_eq!(all.len(), 8 * SLOT - 10);
        assert!(all[..2 * SLOT - 10].iter().all(|&b| b == 7) && all[3 * SLOT..].iter().all(|&b| b == 9));
    }

    #[test]
    fn a_peek_takes_nothing() {
        let mut ring = Ring::new(4);
        put(&mut ring, b"hello", false).unwrap();
        let mut buf = [0; 3];
        assert_eq!(ring.peek(&mut buf), (3, false));
        assert_eq!(&buf, b"hel");
        ring.consume(2);
        assert_eq!(get(&mut ring, 10), b"llo");
    }
}
