//! ext2, ext3 and ext4 with JBD2, over a [`BlockDevice`]. No kernel types: the caller brings a device, a place for
//! log lines, and, where it is not plain threads, a [`sync::Platform`] to sleep on.
//!
//! Where is what: on-disk structures `layout`; mount `mount`, statfs and sync `fs`, `errors=` `error`,
//! the superblock `geometry` and `superblock`, group descriptors `group`; inodes in memory `inode`; names
//! `namei` over `dir`; unlinked and half truncated inodes `orphan`; allocation `balloc`, `ialloc`; the block map of a
//! file `map` over `extent` and `indirect`; contents `data`; attributes `xattr`; metadata blocks in memory `buffer`;
//! transactions `journal`.
//!
//! Lock order, outermost first: directory inodes (a parent before its child, else the lower number first) → file
//! inodes → a transaction handle → a group → a buffer's data. Nobody waits for a commit while holding a handle.
//! Guards of parking_lot cover short pieces of memory work only, never a device call or a sleep.
#![forbid(unsafe_code)]

pub mod layout;

mod balloc;
mod bitmap;
mod buffer;
mod csum;
mod data;
mod device;
mod dir;
mod error;
mod extent;
mod fallocate;
mod features;
mod fs;
mod geometry;
mod group;
mod groups;
mod ialloc;
mod indirect;
mod inline;
mod inode;
mod journal;
mod log;
mod map;
mod mount;
mod namei;
mod nodes;
mod options;
mod orphan;
mod ranges;
pub mod recording;
mod seek;
mod superblock;
pub mod sync;
mod trim;
mod truncate;
mod writeback;
mod xattr;

pub use buffer::{Buffer, BufferCache};
pub use device::{BlockDevice, FileDevice, MemoryDevice};
pub use dir::readdir::DirEntry;
pub use features::{Compat, Features, Incompat, RoCompat};
pub use fs::{Filesystem, StatFs};
pub use geometry::Geometry;
pub use inode::{Inode, InodeState, SetAttr, Stat};
pub use journal::{Handle, JournalMap, JournalOptions, Recovered, Run, Tid, Transactions, recover};
pub use layout::inode::InodeFlags;
pub use log::{Level, Log, NoLog};
pub use map::{Create, Extent, ExtentState};
pub use namei::{NewInode, RenameFlags};
pub use options::{DataMode, ErrorsMode, MountOptions};
pub use seek::FiemapExtent;
pub use xattr::XattrFlags;

/// What every fallible operation returns. A damaged structure is `EUCLEAN` (EFSCORRUPTED), a wrong checksum `EBADMSG`
/// (EFSBADCRC).
pub type Result<T, E = abi::Errno> = abi::Result<T, E>;
