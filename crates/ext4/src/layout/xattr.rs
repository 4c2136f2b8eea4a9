//! Extended attributes in a block and in an inode.

use super::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// `h_magic` of both headers.
pub const XATTR_MAGIC: u32 = 0xEA02_0000;

/// `struct ext4_xattr_header`: start of an attribute block.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
#[expect(missing_docs, reason = "the names are the documentation: fields of ext4_xattr_header")]
pub struct RawXattrHeader {
    pub magic: U32,
    pub refcount: U32,
    pub blocks: U32,
    pub hash: U32,
    pub checksum: U32,
    pub reserved: [U32; 3],
}

/// `struct ext4_xattr_entry`, followed by the name, padded to 4.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
#[expect(missing_docs, reason = "the names are the documentation: fields of ext4_xattr_entry")]
pub struct RawXattrEntry {
    pub name_len: u8,
    pub name_index: u8,
    pub value_offs: U16,
    pub value_inum: U32,
    pub value_size: U32,
    pub hash: U32,
}

const _: () = assert!(size_of::<RawXattrHeader>() == 32);
const _: () = assert!(size_of::<RawXattrEntry>() == 16);
