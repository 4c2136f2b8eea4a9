//! Block allocation.

use crate::inode::{Inode, InodeState};
use crate::{Filesystem, Handle, Result};

/// Per-mount state.
pub(crate) struct Allocator;

impl Allocator {
    /// From the group descriptors, at mount (after replay).
    pub(crate) fn new(fs: &crate::Geometry) -> Allocator {
        let _ = fs;
        Allocator
    }

    /// Free blocks, all of them.
    pub(crate) fn free_blocks(&self) -> u64 {
        0
    }
}

/// Up to `count` contiguous blocks near `goal` for `inode`; updates `state.blocks`.
pub(crate) fn allocate(
    inode: &Inode,
    state: &mut InodeState,
    handle: &mut Handle,
    goal: u64,
    count: u32,
) -> Result<(u64, u32)> {
    let _ = (inode, state, handle, goal, count);
    Err(abi::errno::ENOSYS)
}

/// Frees blocks; `metadata` ones are revoked. They are reused only after the commit.
pub(crate) fn free(
    fs: &Filesystem,
    handle: &mut Handle,
    block: u64,
    count: u32,
    metadata: bool,
) -> Result<()> {
    let _ = (fs, handle, block, count, metadata);
    Err(abi::errno::ENOSYS)
}
