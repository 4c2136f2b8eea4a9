//! Directory entries and the nodes of a hash tree.

use super::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The longest file name.
pub const NAME_MAX: usize = 255;
/// Size of an entry's fixed part.
pub const DIRENT_HEADER: usize = 8;
/// Size of the checksum tail of a directory block.
pub const TAIL_SIZE: usize = 12;
/// `det_reserved_ft` of the tail.
pub const FT_TAIL: u8 = 0xDE;

/// The fixed part of `struct ext4_dir_entry_2`. Without the filetype feature `file_type` is the high byte of the
/// name's length (always 0).
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
#[expect(missing_docs, reason = "the names are the documentation: fields of ext4_dir_entry_2")]
pub struct RawDirent {
    pub inode: U32,
    pub rec_len: U16,
    pub name_len: u8,
    pub file_type: u8,
}

/// `struct ext4_dir_entry_tail`: looks like an unused entry of 12 bytes.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
#[expect(missing_docs, reason = "the names are the documentation: fields of ext4_dir_entry_tail")]
pub struct RawDirentTail {
    pub reserved_zero1: U32,
    pub rec_len: U16,
    pub reserved_zero2: u8,
    pub reserved_ft: u8,
    pub checksum: U32,
}

/// `struct dx_root_info`, after the root block's "." and ".." entries (byte 24).
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
#[expect(missing_docs, reason = "the names are the documentation: fields of dx_root_info")]
pub struct RawDxRootInfo {
    pub reserved_zero: U32,
    pub hash_version: u8,
    pub info_length: u8,
    pub indirect_levels: u8,
    pub unused_flags: u8,
}

/// `struct dx_entry`. The first one of a node holds limit and count in place of the hash (`DxCountLimit`).
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
#[expect(missing_docs, reason = "the names are the documentation: fields of dx_entry")]
pub struct RawDxEntry {
    pub hash: U32,
    pub block: U32,
}

/// `struct dx_countlimit`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
#[expect(missing_docs, reason = "the names are the documentation: fields of dx_countlimit")]
pub struct RawDxCountLimit {
    pub limit: U16,
    pub count: U16,
}

/// `struct dx_tail`, right after the node's `limit` entries.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
#[expect(missing_docs, reason = "the names are the documentation: fields of dx_tail")]
pub struct RawDxTail {
    pub reserved: U32,
    pub checksum: U32,
}

const _: () = assert!(size_of::<RawDirent>() == DIRENT_HEADER);
const _: () = assert!(size_of::<RawDirentTail>() == TAIL_SIZE);
const _: () = assert!(size_of::<RawDxRootInfo>() == 8);
const _: () = assert!(size_of::<RawDxEntry>() == 8);

/// Byte offset of the entries in the root of a hash tree.
pub const DX_ROOT_ENTRIES: usize = 32;
/// Byte offset of the entries in an inner node of a hash tree.
pub const DX_NODE_ENTRIES: usize = 8;
