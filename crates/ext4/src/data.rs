//! Contents of files.

use crate::Result;
use crate::inode::{Inode, InodeState};

/// Delayed allocation and preallocation of one inode.
#[derive(Clone, Debug, Default)]
pub(crate) struct DataState;

/// Frees every block from `size` on, in as many transactions as it takes; the caller holds no handle, but the state's
/// write lock, and has put the inode on the orphan list or does not care. Sets and stores `size` first.
pub(crate) fn truncate_locked(inode: &Inode, state: &mut InodeState, size: u64) -> Result<()> {
    let _ = (inode, state, size);
    Err(abi::errno::ENOSYS)
}
