//! Blocks of the orphan file: inode numbers, then this tail.

use super::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// `ob_magic`.
pub const ORPHAN_BLOCK_MAGIC: u32 = 0x0B10_CA04;

/// `struct ext4_orphan_block_tail`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawOrphanTail {
    /// [`ORPHAN_BLOCK_MAGIC`].
    pub magic: U32,
    /// crc32c of the block's entries.
    pub checksum: U32,
}

const _: () = assert!(size_of::<RawOrphanTail>() == 8);
