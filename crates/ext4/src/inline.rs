//! inline_data: contents in `i_block` and the `system.data` attribute.

use crate::inode::{Inode, InodeState};
use crate::{Handle, Result};

/// Reads inline contents from `offset`; returns the bytes read (less than asked at the end).
pub(crate) fn read(inode: &Inode, state: &InodeState, offset: u64, buf: &mut [u8]) -> Result<usize> {
    let _ = (inode, state, offset, buf);
    Err(abi::errno::ENOSYS)
}

/// Moves inline contents to a block of their own; afterwards the flag is clear and `map` owns `i_block`. The inode is
/// stored. No effect without inline data.
pub(crate) fn convert(inode: &Inode, state: &mut InodeState, handle: &mut Handle) -> Result<()> {
    let _ = (inode, state, handle);
    Err(abi::errno::ENOSYS)
}

/// Cuts inline contents to `size` bytes. The inode is stored.
pub(crate) fn truncate(inode: &Inode, state: &mut InodeState, size: u64, handle: &mut Handle) -> Result<()> {
    let _ = (inode, state, size, handle);
    Err(abi::errno::ENOSYS)
}
