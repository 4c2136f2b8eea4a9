//! What the two kinds of mapping tree (`extent`, `indirect`) ask of the world: their blocks. `map` implements this over
//! the buffer cache, a handle and the block allocator; tests over a table in memory.

use crate::Result;
use abi::Errno;

/// Reading a tree's blocks.
pub trait Nodes {
    /// Bytes in a block.
    fn block_size(&self) -> usize;

    /// Looks at a block. It was checked (checksum, and for extent nodes their structure) when it came from the device.
    fn read<R>(&self, block: u64, look: impl FnOnce(&[u8]) -> R) -> Result<R>;

    /// Reports that `block` (0: the inode itself) makes no sense; returns the errno to give.
    fn corrupted(&self, block: u64, what: &str) -> Errno;
}

/// Changing a tree's blocks.
pub trait NodesMut: Nodes {
    /// Changes a block, under the caller's transaction.
    fn modify<R>(&mut self, block: u64, change: impl FnOnce(&mut [u8]) -> R) -> Result<R>;

    /// Allocates a block near `goal`, zeroes it, and fills it.
    fn create(&mut self, goal: u64, fill: impl FnOnce(&mut [u8])) -> Result<u64>;

    /// Gives a block back.
    fn free(&mut self, block: u64) -> Result<()>;
}
