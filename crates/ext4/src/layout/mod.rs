//! On-disk structures: little-endian, unaligned-safe (zerocopy), their sizes asserted. Plain data: what the fields
//! mean together is decided by the modules that own the concept.

pub mod dirent;
pub mod extent;
pub mod group;
pub mod inode;
pub mod orphan;
pub mod superblock;
pub mod xattr;

pub use zerocopy::little_endian::{U16, U32, U64};
