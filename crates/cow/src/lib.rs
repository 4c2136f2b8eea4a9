//! User-Mode Linux's copy-on-write files: a disk's changes, over a backing file that is never written.
//!
//! ```text
//! header (with the backing file's name, size and mtime) | bitmap, a bit a sector | sectors
//! ```
//!
//! A set bit says that the sector is in this file; others are read from the backing file.
//!
//! - [`Header`]: the four layouts that there are (`header.rs`).
//! - [`Bitmap`]: which sectors are here, and which of the bits the file does not know yet (`bitmap.rs`).
//! - [`Cow`]: a COW file with its backing file: where a range is, and in which order a crash may see what is written
//!   (`cow.rs`).
//! - [`merge`]: a COW file and its backing file made one (`merge.rs`).
#![forbid(unsafe_code)]

mod bitmap;
mod cow;
mod header;
mod merge;

pub use bitmap::Bitmap;
pub use cow::{Cow, Extent, Lock, Open, Storage, create};
pub use header::{Header, Version};
pub use merge::{Progress, merge_in_place, merge_to};

/// Bytes in a sector: the only size that anybody has written.
pub const SECTOR: u64 = 512;

/// What is wrong, and with which file: a sentence for the user.
pub type Error = String;
/// The crate's results.
pub type Result<T> = std::result::Result<T, Error>;
