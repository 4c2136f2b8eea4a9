//! The block map of a file.

use crate::inode::{Inode, InodeState};
use crate::{Handle, Result};

/// Whether holes are filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Create {
    /// No.
    No,
    /// By written blocks.
    Yes,
    /// By unwritten blocks.
    Unwritten,
}

/// What a range of a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtentState {
    /// Nothing allocated.
    Hole,
    /// Data.
    Written,
    /// Allocated, reads as zeros.
    Unwritten,
}

/// A run of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// First block in the file.
    pub lblk: u32,
    /// First block on the device (0 for a hole).
    pub pblk: u64,
    /// Blocks.
    pub len: u32,
    /// What it is.
    pub state: ExtentState,
}

/// What is at `lblk`, at most `len` blocks of it. Takes no lock.
pub(crate) fn lookup(inode: &Inode, state: &InodeState, lblk: u32, len: u32) -> Result<Extent> {
    let _ = (inode, state, lblk, len);
    Err(abi::errno::ENOSYS)
}

/// Like [`lookup`], but fills a hole (may fill less than `len`). Does not store the inode: the caller does.
pub(crate) fn allocate(
    inode: &Inode,
    state: &mut InodeState,
    handle: &mut Handle,
    lblk: u32,
    len: u32,
    create: Create,
) -> Result<Extent> {
    let _ = (inode, state, handle, lblk, len, create);
    Err(abi::errno::ENOSYS)
}

/// An empty map for a new inode: an extent root if the file system has extents (sets the flag), else no blocks.
pub(crate) fn init(inode: &Inode, state: &mut InodeState) {
    let _ = (inode, state);
}
