//! Inode allocation.

use crate::{Filesystem, Handle, Result};

/// Per-mount state.
pub(crate) struct Allocator;

impl Allocator {
    /// From the group descriptors, at mount (after replay).
    pub(crate) fn new(fs: &crate::Geometry) -> Allocator {
        let _ = fs;
        Allocator
    }

    /// Free inodes, all of them.
    pub(crate) fn free_inodes(&self) -> u64 {
        0
    }
}

/// A free inode number near `parent`, marked used. `top`: the parent is a place to spread directories from (root or
/// TOPDIR flag).
pub(crate) fn allocate(
    fs: &Filesystem,
    handle: &mut Handle,
    parent: u32,
    top: bool,
    mode: u16,
) -> Result<u32> {
    let _ = (fs, handle, parent, top, mode);
    Err(abi::errno::ENOSYS)
}

/// Marks `ino` free.
pub(crate) fn free(fs: &Filesystem, handle: &mut Handle, ino: u32, is_dir: bool) -> Result<()> {
    let _ = (fs, handle, ino, is_dir);
    Err(abi::errno::ENOSYS)
}
