//! `struct ext4_group_desc`: 32 bytes, or 64 and more with the 64bit feature.

use super::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

bitflags::bitflags! {
    /// `bg_flags`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct GroupFlags: u16 {
        /// The inode bitmap and table are not initialised: no inode is in use.
        const INODE_UNINIT = 1;
        /// The block bitmap is not initialised: only the group's own metadata is in use.
        const BLOCK_UNINIT = 2;
        /// The inode table is zeroed.
        const INODE_ZEROED = 4;
        const _ = !0;
    }
}

/// The first 32 bytes of a group descriptor, and the next 32.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
#[expect(missing_docs, reason = "the names are the documentation: fields of ext4_group_desc")]
pub struct RawGroupDesc {
    pub block_bitmap_lo: U32,
    pub inode_bitmap_lo: U32,
    pub inode_table_lo: U32,
    pub free_blocks_count_lo: U16,
    pub free_inodes_count_lo: U16,
    pub used_dirs_count_lo: U16,
    pub flags: U16,
    pub exclude_bitmap_lo: U32,
    pub block_bitmap_csum_lo: U16,
    pub inode_bitmap_csum_lo: U16,
    pub itable_unused_lo: U16,
    pub checksum: U16,
    pub block_bitmap_hi: U32,
    pub inode_bitmap_hi: U32,
    pub inode_table_hi: U32,
    pub free_blocks_count_hi: U16,
    pub free_inodes_count_hi: U16,
    pub used_dirs_count_hi: U16,
    pub itable_unused_hi: U16,
    pub exclude_bitmap_hi: U32,
    pub block_bitmap_csum_hi: U16,
    pub inode_bitmap_csum_hi: U16,
    pub reserved: U32,
}

const _: () = assert!(size_of::<RawGroupDesc>() == 64);
/// Offset of `bg_checksum` in a descriptor.
pub const CHECKSUM_OFFSET: usize = 0x1E;
const _: () = assert!(core::mem::offset_of!(RawGroupDesc, checksum) == CHECKSUM_OFFSET);

/// A group descriptor with its halves put together.
#[derive(Clone, Copy, Debug)]
pub struct GroupDesc {
    /// Block of the block bitmap.
    pub block_bitmap: u64,
    /// Block of the inode bitmap.
    pub inode_bitmap: u64,
    /// First block of the inode table.
    pub inode_table: u64,
    /// Free blocks (clusters).
    pub free_blocks: u32,
    /// Free inodes.
    pub free_inodes: u32,
    /// Directories.
    pub used_dirs: u32,
    /// Which parts are initialised.
    pub flags: GroupFlags,
    /// crc32c of the block bitmap (16 bits of it with 32-byte descriptors).
    pub block_bitmap_csum: u32,
    /// crc32c of the inode bitmap.
    pub inode_bitmap_csum: u32,
    /// Inodes at the end of the table that were never used.
    pub itable_unused: u32,
}

impl GroupDesc {
    /// From a descriptor's bytes: `desc_size` of them, at least 32.
    pub fn decode(bytes: &[u8]) -> GroupDesc {
        let mut full = [0u8; 64];
        let n = bytes.len().min(64);
        full[..n].copy_from_slice(&bytes[..n]);
        let raw: RawGroupDesc = zerocopy::transmute!(full);
        let wide = |lo: U32, hi: U32| u64::from(lo.get()) | u64::from(hi.get()) << 32;
        let word = |lo: U16, hi: U16| u32::from(lo.get()) | u32::from(hi.get()) << 16;
        GroupDesc {
            block_bitmap: wide(raw.block_bitmap_lo, raw.block_bitmap_hi),
            inode_bitmap: wide(raw.inode_bitmap_lo, raw.inode_bitmap_hi),
            inode_table: wide(raw.inode_table_lo, raw.inode_table_hi),
            free_blocks: word(raw.free_blocks_count_lo, raw.free_blocks_count_hi),
            free_inodes: word(raw.free_inodes_count_lo, raw.free_inodes_count_hi),
            used_dirs: word(raw.used_dirs_count_lo, raw.used_dirs_count_hi),
            flags: GroupFlags::from_bits_retain(raw.flags.get()),
            block_bitmap_csum: word(raw.block_bitmap_csum_lo, raw.block_bitmap_csum_hi),
            inode_bitmap_csum: word(raw.inode_bitmap_csum_lo, raw.inode_bitmap_csum_hi),
            itable_unused: word(raw.itable_unused_lo, raw.itable_unused_hi),
        }
    }

    /// Into a descriptor's bytes. Fields that are not decoded (exclude bitmap, checksum) are left as they are.
    pub fn encode(&self, bytes: &mut [u8]) {
        let mut full = [0u8; 64];
        let n = bytes.len().min(64);
        full[..n].copy_from_slice(&bytes[..n]);
        let mut raw: RawGroupDesc = zerocopy::transmute!(full);
        raw.block_bitmap_lo = U32::new(self.block_bitmap as u32);
        raw.inode_bitmap_lo = U32::new(self.inode_bitmap as u32);
        raw.inode_table_lo = U32::new(self.inode_table as u32);
        raw.free_blocks_count_lo = U16::new(self.free_blocks as u16);
        raw.free_inodes_count_lo = U16::new(self.free_inodes as u16);
        raw.used_dirs_count_lo = U16::new(self.used_dirs as u16);
        raw.flags = U16::new(self.flags.bits());
        raw.block_bitmap_csum_lo = U16::new(self.block_bitmap_csum as u16);
        raw.inode_bitmap_csum_lo = U16::new(self.inode_bitmap_csum as u16);
        raw.itable_unused_lo = U16::new(self.itable_unused as u16);
        raw.block_bitmap_hi = U32::new((self.block_bitmap >> 32) as u32);
        raw.inode_bitmap_hi = U32::new((self.inode_bitmap >> 32) as u32);
        raw.inode_table_hi = U32::new((self.inode_table >> 32) as u32);
        raw.free_blocks_count_hi = U16::new((self.free_blocks >> 16) as u16);
        raw.free_inodes_count_hi = U16::new((self.free_inodes >> 16) as u16);
        raw.used_dirs_count_hi = U16::new((self.used_dirs >> 16) as u16);
        raw.itable_unused_hi = U16::new((self.itable_unused >> 16) as u16);
        raw.block_bitmap_csum_hi = U16::new((self.block_bitmap_csum >> 16) as u16);
        raw.inode_bitmap_csum_hi = U16::new((self.inode_bitmap_csum >> 16) as u16);
        bytes[..n].copy_from_slice(&raw.as_bytes()[..n]);
    }
}
