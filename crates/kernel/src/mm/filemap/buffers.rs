//! Large buffers that are used again and again: fresh memory costs a page fault of the host's for each page.

use std::ops::{Deref, DerefMut};

use super::chunk::CHUNK;
use crate::sync::{SpinLock, rank};

/// Buffers of a chunk's size that are kept.
const KEPT: usize = 32;

static KEPT_BUFFERS: SpinLock<Vec<Vec<u8>>> = SpinLock::new(rank::LEAF, Vec::new());

/// A vector of `len` bytes with any content.
pub(super) fn take(len: usize) -> Vec<u8> {
    if len == CHUNK as usize
        && let Some(kept) = KEPT_BUFFERS.lock().pop()
    {
        return kept;
    }
    vec![0; len]
}

/// Keeps a vector for [`take`], if it has the size that is asked for most.
pub(super) fn give(buffer: Vec<u8>) {
    if buffer.len() == CHUNK as usize {
        let mut kept = KEPT_BUFFERS.lock();
        if kept.len() < KEPT {
            return kept.push(buffer);
        }
        drop(kept);
    }
    drop(buffer);
}

/// Gives all that is kept back to the host.
pub(super) fn drop_kept() {
    let kept = core::mem::take(&mut *KEPT_BUFFERS.lock());
    drop(kept);
}

/// A buffer of a chunk's size for a moment.
pub(super) struct Scratch(Vec<u8>);

impl Scratch {
    pub(super) fn new() -> Scratch {
        Scratch(take(CHUNK as usize))
    }

    /// The vector, to keep.
    pub(super) fn into_inner(mut self) -> Vec<u8> {
        core::mem::take(&mut self.0)
    }
}

impl Deref for Scratch {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        give(core::mem::take(&mut self.0));
    }
}
