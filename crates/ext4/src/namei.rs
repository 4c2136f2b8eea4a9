//! Names: lookup, create, link, unlink, rename.

use abi::time::Timespec;

/// What a new inode is made from.
#[derive(Clone, Copy, Debug)]
pub struct NewInode {
    /// Type and permissions, umask applied.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group (setgid directories are the caller's business).
    pub gid: u32,
    /// Major and minor of a device node.
    pub rdev: (u32, u32),
    /// Its times.
    pub now: Timespec,
}

bitflags::bitflags! {
    /// renameat2(2)'s flags.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct RenameFlags: u32 {
        /// EEXIST if the target exists.
        const NOREPLACE = 1;
        /// Swap the two.
        const EXCHANGE = 2;
        /// Leave a whiteout in the place of the source.
        const WHITEOUT = 4;
    }
}
