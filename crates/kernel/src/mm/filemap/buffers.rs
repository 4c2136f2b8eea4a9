//! Memory of pages: blocks of a chunk's size, which [`host::blocks`] makes cheap, and what the heap gives for less.

use std::ops::{Deref, DerefMut};

use host::blocks::{self, BLOCK, Block};

use super::chunk::CHUNK;

const _: () = assert!(BLOCK as u64 == CHUNK);

/// Bytes that somebody owns.
pub(super) enum Buffer {
    Block(Block),
    Heap(Vec<u8>),
}

/// A buffer of `len` bytes with any content.
pub(super) fn take(len: usize) -> Buffer {
    let block = if len == BLOCK { Block::take() } else { None };
    block.map_or_else(|| Buffer::Heap(vec![0; len]), Buffer::Block)
}

/// A buffer of a chunk's size with any content.
pub(super) fn whole() -> Buffer {
    take(BLOCK)
}

/// Gives all that is kept for later back to the host.
pub(super) fn drop_kept() {
    blocks::trim();
}

impl Buffer {
    /// Grows to `len` bytes; the new ones are zeros.
    pub(super) fn grow(&mut self, len: usize) {
        if let Buffer::Heap(bytes) = self {
            return bytes.resize(len.max(bytes.len()), 0);
        }
        debug_assert!(len <= BLOCK);
    }
}

impl Default for Buffer {
    fn default() -> Buffer {
        Buffer::Heap(Vec::new())
    }
}

impl Clone for Buffer {
    fn clone(&self) -> Buffer {
        let mut copy = take(self.len());
        copy.copy_from_slice(self);
        copy
    }
}

impl From<Vec<u8>> for Buffer {
    fn from(bytes: Vec<u8>) -> Buffer {
        Buffer::Heap(bytes)
    }
}

impl Deref for Buffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self {
            Buffer::Block(block) => block,
            Buffer::Heap(bytes) => bytes,
        }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        match self {
            Buffer::Block(block) => block,
            Buffer::Heap(bytes) => bytes,
        }
    }
}
