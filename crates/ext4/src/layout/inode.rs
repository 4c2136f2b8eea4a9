//! `struct ext4_inode`: 128 bytes, then the part that `i_extra_isize` covers, then in-inode extended attributes.
#![expect(missing_docs, reason = "fields of ext4_inode, and EXT4_*_FL as in chattr(1)")]

use super::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Size of an inode without extra fields.
pub const GOOD_OLD_INODE_SIZE: usize = 128;
/// Size of `i_block`.
pub const I_BLOCK_SIZE: usize = 60;
/// The root directory's number.
pub const ROOT_INO: u32 = 2;
/// The group descriptors' growth inode.
pub const RESIZE_INO: u32 = 7;
/// The journal's usual number.
pub const JOURNAL_INO: u32 = 8;
/// The highest link count that is stored; a directory of more has 1 (dir_nlink).
pub const LINK_MAX: u32 = 65000;

bitflags::bitflags! {
    /// `i_flags`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct InodeFlags: u32 {
        const SECRM = 0x1;
        const UNRM = 0x2;
        const COMPR = 0x4;
        const SYNC = 0x8;
        const IMMUTABLE = 0x10;
        const APPEND = 0x20;
        const NODUMP = 0x40;
        const NOATIME = 0x80;
        const ENCRYPT = 0x800;
        /// The directory is a hash tree.
        const INDEX = 0x1000;
        const JOURNAL_DATA = 0x4000;
        const NOTAIL = 0x8000;
        const DIRSYNC = 0x1_0000;
        const TOPDIR = 0x2_0000;
        /// `i_blocks` counts file system blocks, not sectors.
        const HUGE_FILE = 0x4_0000;
        /// `i_block` is the root of an extent tree.
        const EXTENTS = 0x8_0000;
        const VERITY = 0x10_0000;
        const EA_INODE = 0x20_0000;
        const DAX = 0x200_0000;
        /// The contents are in `i_block` and the `system.data` attribute.
        const INLINE_DATA = 0x1000_0000;
        const PROJINHERIT = 0x2000_0000;
        const CASEFOLD = 0x4000_0000;
        const _ = !0;
    }
}

/// The first 128 bytes.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawInode {
    pub mode: U16,
    pub uid: U16,
    pub size_lo: U32,
    pub atime: U32,
    pub ctime: U32,
    pub mtime: U32,
    pub dtime: U32,
    pub gid: U16,
    pub links_count: U16,
    pub blocks_lo: U32,
    pub flags: U32,
    pub version: U32,
    pub block: [u8; I_BLOCK_SIZE],
    pub generation: U32,
    pub file_acl_lo: U32,
    pub size_high: U32,
    pub obso_faddr: U32,
    pub blocks_high: U16,
    pub file_acl_high: U16,
    pub uid_high: U16,
    pub gid_high: U16,
    pub checksum_lo: U16,
    pub reserved: U16,
}

/// What `i_extra_isize` covers, from byte 128 on.
#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawInodeExtra {
    pub extra_isize: U16,
    pub checksum_hi: U16,
    pub ctime_extra: U32,
    pub mtime_extra: U32,
    pub atime_extra: U32,
    pub crtime: U32,
    pub crtime_extra: U32,
    pub version_hi: U32,
    pub projid: U32,
}

const _: () = assert!(size_of::<RawInode>() == GOOD_OLD_INODE_SIZE);
const _: () = assert!(size_of::<RawInodeExtra>() == 32);
const _: () = assert!(core::mem::offset_of!(RawInode, checksum_lo) == 0x7C);
