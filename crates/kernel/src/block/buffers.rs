//! Buffers of requests to the host that are used again and again: fresh ones cost a page fault for each page.
//!
//! Lock: LEAF.

use crate::sync::{SpinLock, rank};

/// Bytes of one piece of a transfer: what fits a core's own cache.
pub(super) const PIECE: usize = 256 << 10;
/// Buffers of a piece that are kept.
const KEPT: usize = 16;

static BUFFERS: SpinLock<Vec<Vec<u8>>> = SpinLock::new(rank::LEAF, Vec::new());

/// A buffer of `len` bytes with any content.
pub(super) fn take(len: usize) -> Vec<u8> {
    let kept = if len == PIECE { BUFFERS.lock().pop() } else { None };
    kept.unwrap_or_else(|| vec![0; len])
}

/// Keeps a buffer for [`take`], if it is one of a piece.
pub(super) fn give(buffer: Vec<u8>) {
    if buffer.len() == PIECE {
        let mut kept = BUFFERS.lock();
        if kept.len() < KEPT {
            return kept.push(buffer);
        }
        drop(kept);
    }
    drop(buffer);
}
