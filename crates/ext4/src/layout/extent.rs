//! Extent tree nodes.

use super::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// `eh_magic`.
pub const EXTENT_MAGIC: u16 = 0xF30A;
/// The deepest tree.
pub const MAX_DEPTH: u16 = 5;
/// The longest initialised extent; an unwritten one stores its length plus this.
pub const INIT_MAX_LEN: u16 = 0x8000;

/// `struct ext4_extent_header`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
#[expect(missing_docs, reason = "the names are the documentation: fields of ext4_extent_header")]
pub struct RawExtentHeader {
    pub magic: U16,
    pub entries: U16,
    pub max: U16,
    pub depth: U16,
    pub generation: U32,
}

/// `struct ext4_extent_idx`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
#[expect(missing_docs, reason = "the names are the documentation: fields of ext4_extent_idx")]
pub struct RawExtentIdx {
    pub block: U32,
    pub leaf_lo: U32,
    pub leaf_hi: U16,
    pub unused: U16,
}

/// `struct ext4_extent`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
#[expect(missing_docs, reason = "the names are the documentation: fields of ext4_extent")]
pub struct RawExtent {
    pub block: U32,
    pub len: U16,
    pub start_hi: U16,
    pub start_lo: U32,
}

const _: () = assert!(size_of::<RawExtentHeader>() == 12);
const _: () = assert!(size_of::<RawExtentIdx>() == 12);
const _: () = assert!(size_of::<RawExtent>() == 12);
