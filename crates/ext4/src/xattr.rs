//! Extended attributes.

use crate::inode::{Inode, InodeState};
use crate::{Handle, Result};

/// The value of attribute (`index`, `name`) in the inode's own space (`state.xattrs`).
pub(crate) fn inode_get(
    inode: &Inode,
    state: &InodeState,
    index: u8,
    name: &[u8],
) -> Result<Option<Vec<u8>>> {
    let _ = (inode, state, index, name);
    Err(abi::errno::ENOSYS)
}

/// Sets or removes it, in the inode's own space only: ENOSPC if it doesn't fit. The caller stores the inode.
pub(crate) fn inode_set(
    inode: &Inode,
    state: &mut InodeState,
    index: u8,
    name: &[u8],
    value: Option<&[u8]>,
) -> Result<()> {
    let _ = (inode, state, index, name, value);
    Err(abi::errno::ENOSYS)
}

/// Drops everything outside the inode (block reference, attribute inodes) when an inode is deleted.
pub(crate) fn release(inode: &Inode, state: &mut InodeState, handle: &mut Handle) -> Result<()> {
    let _ = (inode, handle);
    if state.file_acl == 0 { Ok(()) } else { Err(abi::errno::ENOSYS) }
}
