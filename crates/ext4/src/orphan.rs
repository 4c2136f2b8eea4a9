//! Inodes that a crash must not leak: unlinked but open, or half truncated. The classic list through `i_dtime`, or the
//! orphan file.

use crate::inode::{Inode, InodeState};
use crate::{Handle, Result};

/// Remembers `inode` until [`remove`]; no effect if it is remembered. Four credits.
pub(crate) fn add(inode: &Inode, state: &mut InodeState, handle: &mut Handle) -> Result<()> {
    let _ = (inode, state, handle);
    Err(abi::errno::ENOSYS)
}

/// Forgets `inode`; no effect if it is not remembered. Four credits.
pub(crate) fn remove(inode: &Inode, state: &mut InodeState, handle: &mut Handle) -> Result<()> {
    let _ = (inode, state, handle);
    Err(abi::errno::ENOSYS)
}
