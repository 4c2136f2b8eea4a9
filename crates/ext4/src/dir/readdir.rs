//! Listing a directory, with cookies that stay valid while entries come and go.

/// One entry of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// Inode number.
    pub ino: u32,
    /// DT_* of getdents(2), 0 where the file system does not say.
    pub kind: u8,
    /// Where to go on after this entry.
    pub next: u64,
    /// Name.
    pub name: Vec<u8>,
}
