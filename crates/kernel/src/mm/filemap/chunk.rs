//! [`Chunk`]: 64 neighbouring pages of a file, and which of them are there.
//!
//! On the heap a chunk holds one stretch of bytes that begins and ends with pages in use: a small file takes what it
//! needs, and a large one is read in the fewest, largest pieces.

use std::sync::Arc;

use super::PAGE;
use super::buffers::{self, Buffer};

/// Pages in a chunk: the bits of a word.
pub const PAGES: u64 = 64;
/// Bytes in a chunk.
pub const CHUNK: u64 = PAGES * PAGE;

/// Bits of the pages `from..to` of a chunk.
pub fn bits(from: u64, to: u64) -> u64 {
    debug_assert!(from <= to && to <= PAGES);
    let below = |n: u64| if n >= PAGES { u64::MAX } else { (1 << n) - 1 };
    below(to) & !below(from)
}

/// Stretches of set bits, as page ranges.
pub fn runs(mut word: u64) -> impl Iterator<Item = (u64, u64)> {
    std::iter::from_fn(move || {
        if word == 0 {
            return None;
        }
        let from = u64::from(word.trailing_zeros());
        let len = u64::from((!(word >> from)).trailing_zeros()).min(PAGES - from);
        word &= !bits(from, from + len);
        Some((from, from + len))
    })
}

/// Pages of a file. Page numbers in it count from its own first.
#[derive(Default)]
pub struct Chunk {
    /// The page that `data` begins with.
    first: u64,
    /// Bytes of whole pages; none when the pages are in the cache's object. Copied when it is written while somebody
    /// else looks at it.
    data: Arc<Buffer>,
    /// Pages that hold what the file holds.
    pub uptodate: u64,
    /// Pages that are to be written back.
    pub dirty: u64,
    /// Pages that are being written back.
    pub writeback: u64,
    /// Pages that guests may write through a mapping without being noticed.
    pub writable: u64,
    /// Pages that guests may see through a mapping, whatever becomes of them: zeros once the file is shorter and longer
    /// again.
    pub mapped: u64,
    /// Used since reclaim looked last.
    pub referenced: bool,
    /// Names it among the candidates of reclaim.
    pub lru: u64,
}

impl Chunk {
    /// Pages whose content is here and nowhere else.
    pub fn busy(&self) -> u64 {
        self.dirty | self.writeback | self.writable
    }

    /// What is to be written: dirty, or possibly so.
    pub fn to_write(&self) -> u64 {
        (self.dirty | self.writable) & self.uptodate
    }

    /// The bytes of the pages `from..to`, which the heap holds, and where in the vector they are.
    pub fn heap(&self, from: u64, to: u64) -> (Arc<Buffer>, std::ops::Range<usize>) {
        let at = |page: u64| ((page - self.first) * PAGE) as usize;
        (self.data.clone(), at(from)..at(to))
    }

    /// The same to look at under the lock.
    pub fn peek(&self, from: u64, to: u64) -> &[u8] {
        let at = |page: u64| ((page - self.first) * PAGE) as usize;
        &self.data[at(from)..at(to)]
    }

    /// The same to change.
    pub fn heap_mut(&mut self, from: u64, to: u64) -> &mut [u8] {
        self.cover(from, to);
        let at = |page: u64| ((page - self.first) * PAGE) as usize;
        let range = at(from)..at(to);
        &mut Arc::make_mut(&mut self.data)[range]
    }

    /// Takes `bytes`, which nobody else has, as the pages from `from` on. Pages that are up to date stay as they are.
    pub fn install(&mut self, from: u64, bytes: Buffer) {
        let pages = bytes.len() as u64 / PAGE;
        let new = bits(from, from + pages) & !self.uptodate;
        if self.uptodate == 0 {
            self.first = from;
            self.data = Arc::new(bytes);
        } else {
            for (a, b) in runs(new) {
                let part = ((a - from) * PAGE) as usize..((b - from) * PAGE) as usize;
                self.heap_mut(a, b).copy_from_slice(&bytes[part]);
            }
        }
        self.uptodate |= new;
    }

    /// Takes a whole chunk of bytes in place of what is there.
    pub fn replace(&mut self, bytes: Buffer) {
        self.release_heap();
        (self.first, self.data) = (0, Arc::new(bytes));
    }

    /// Makes room for the pages `from..to`; what is new has any content.
    fn cover(&mut self, from: u64, to: u64) {
        if self.data.is_empty() {
            self.first = from;
            self.data = Arc::new(buffers::take(((to - from) * PAGE) as usize));
            return;
        }
        let end = self.first + self.data.len() as u64 / PAGE;
        if from < self.first {
            let mut data = buffers::take(((end.max(to) - from) * PAGE) as usize);
            let at = ((self.first - from) * PAGE) as usize;
            data[at..at + self.data.len()].copy_from_slice(&self.data);
            (self.first, self.data) = (from, Arc::new(data));
        } else if to > end && self.first == 0 && to > PAGES / 2 {
            // It will be whole before long.
            let mut data = buffers::whole();
            data[..self.data.len()].copy_from_slice(&self.data);
            self.data = Arc::new(data);
        } else if to > end {
            let len = ((to - self.first) * PAGE) as usize;
            match Arc::get_mut(&mut self.data) {
                Some(data) => data.grow(len),
                None => {
                    let mut data = buffers::take(len);
                    data[..self.data.len()].copy_from_slice(&self.data);
                    self.data = Arc::new(data);
                }
            }
        }
    }

    /// Forgets the bytes of pages that are not up to date, as far as they lie at the ends; all when none is.
    pub fn trim(&mut self) {
        if self.data.is_empty() {
            return;
        }
        if self.uptodate == 0 {
            self.data = Arc::default();
            return;
        }
        let (from, to) =
            (u64::from(self.uptodate.trailing_zeros()), PAGES - u64::from(self.uptodate.leading_zeros()));
        let end = self.first + self.data.len() as u64 / PAGE;
        if from > self.first || to < end {
            let kept = Buffer::from(self.peek(from, to).to_vec());
            (self.first, self.data) = (from, Arc::new(kept));
        }
    }

    /// The pages have moved to an object, or are dropped.
    pub fn release_heap(&mut self) {
        self.data = Arc::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_bits() {
        let all: Vec<_> = runs(0b1110_0110 | 1 << 63).collect();
        assert_eq!(all, [(1, 3), (5, 8), (63, 64)]);
        assert_eq!(runs(u64::MAX).collect::<Vec<_>>(), [(0, 64)]);
        assert_eq!(runs(0).count(), 0);
        assert_eq!(bits(0, 64), u64::MAX);
        assert_eq!(bits(3, 5), 0b11000);
        assert_eq!(bits(64, 64), 0);
    }

    fn page(byte: u8) -> Buffer {
        vec![byte; PAGE as usize].into()
    }

    #[test]
    fn a_chunk_grows_to_both_sides_and_keeps_what_it_has() {
        let mut chunk = Chunk::default();
        chunk.install(5, page(5));
        chunk.install(7, page(7));
        chunk.install(2, page(2));
        // Pages that are there are newer.
        chunk.install(4, [&page(4)[..], &page(99), &page(6)].concat().into());
        for n in [2u64, 4, 5, 6, 7] {
            assert_eq!(chunk.peek(n, n + 1), &page(n as u8)[..], "page {n}");
        }
        assert_eq!(chunk.uptodate, bits(4, 8) | bits(2, 3));
        let (shared, range) = chunk.heap(5, 6);
        chunk.heap_mut(5, 6).fill(55);
        assert_eq!(shared[range], page(5)[..], "who looks keeps what was there");
        assert_eq!(chunk.peek(5, 6), &page(55)[..]);
        chunk.uptodate = bits(5, 7);
        chunk.trim();
        assert_eq!(chunk.data.len() as u64, 2 * PAGE);
        assert_eq!(chunk.peek(5, 6), &page(55)[..]);
        assert_eq!(chunk.peek(6, 7), &page(6)[..]);
    }
}
