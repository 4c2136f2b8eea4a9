//! Inodes in memory: the fields, their lock, and what they mean. `disk` reads and writes them, `cache` keeps one
//! [`Inode`] a number and deletes unlinked ones, `attr` is stat and chmod and the like.

mod attr;
pub(crate) mod cache;
pub(crate) mod disk;

use crate::fs::Filesystem;
use crate::layout::inode::{I_BLOCK_SIZE, InodeFlags};
use crate::orphan::Orphan;
use crate::{Result, sync};
use abi::errno::{ENOENT, ENOTDIR};
use abi::time::Timespec;
use std::sync::Arc;

/// The fields of an inode. `block` and `xattrs` are the raw bytes of `i_block` and of the space for attributes in the
/// inode; they belong to `map` (and `inline`, `namei` for symlinks and devices) and to `xattr`.
#[derive(Clone, Debug)]
pub struct InodeState {
    /// Type and permissions.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Project (0 where the inode has no room for it).
    pub project: u32,
    /// Links. 1 for a directory with more subdirectories than can be counted.
    pub links: u32,
    /// Size in bytes, as on disk (`i_disksize`).
    pub size: u64,
    /// 512-byte sectors allocated, metadata of the file included.
    pub blocks: u64,
    /// Last access.
    pub atime: Timespec,
    /// Last change of the inode.
    pub ctime: Timespec,
    /// Last change of the contents.
    pub mtime: Timespec,
    /// Birth (0 where the inode has no room for it).
    pub crtime: Timespec,
    /// Deletion time, or the next inode of the orphan list.
    pub dtime: u32,
    /// `i_flags`.
    pub flags: InodeFlags,
    /// `i_version`: rises with every change.
    pub version: u64,
    /// `i_generation`.
    pub generation: u32,
    /// Block of extended attributes, or 0.
    pub file_acl: u64,
    /// `i_block`.
    pub block: [u8; I_BLOCK_SIZE],
    /// `i_extra_isize`; 0 with 128-byte inodes.
    pub extra_isize: u16,
    /// The inode's bytes after `128 + i_extra_isize`: in-inode attributes, starting with their magic number or not.
    pub xattrs: Vec<u8>,
    /// Delayed allocation, preallocation: `data` and `balloc`'s state in memory.
    pub(crate) data: crate::data::DataState,
    /// Where a crash would find the inode if it is unlinked or half truncated.
    pub(crate) orphan: Orphan,
    /// Made by O_TMPFILE: may get its first name.
    pub(crate) linkable: bool,
}

/// stat(2)'s view of an inode.
#[derive(Clone, Copy, Debug)]
pub struct Stat {
    /// Number.
    pub ino: u32,
    /// Type and permissions.
    pub mode: u16,
    /// Links.
    pub links: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device number of a device node, as `(major, minor)`.
    pub rdev: (u32, u32),
    /// Size in bytes.
    pub size: u64,
    /// 512-byte sectors.
    pub blocks: u64,
    /// Last access.
    pub atime: Timespec,
    /// Last change of the contents.
    pub mtime: Timespec,
    /// Last change of the inode.
    pub ctime: Timespec,
    /// Birth; none where the inode has no room for it.
    pub crtime: Option<Timespec>,
    /// `i_flags`, for FS_IOC_GETFLAGS and statx.
    pub flags: InodeFlags,
    /// `i_generation`.
    pub generation: u32,
    /// `i_version`.
    pub version: u64,
    /// Project.
    pub project: u32,
}

/// What [`Inode::set_attr`] changes; none leaves a field alone. The caller has checked permissions.
#[derive(Clone, Copy, Debug, Default)]
pub struct SetAttr {
    /// Permission bits (the type stays).
    pub mode: Option<u16>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Last access.
    pub atime: Option<Timespec>,
    /// Last change of the contents.
    pub mtime: Option<Timespec>,
    /// Last change of the inode; none: now, if anything else changes.
    pub ctime: Option<Timespec>,
    /// `i_flags` that chattr(1) may change.
    pub flags: Option<InodeFlags>,
    /// Project.
    pub project: Option<u32>,
}

/// An inode in memory. One per number and mount.
pub struct Inode {
    pub(crate) fs: Arc<Filesystem>,
    pub(crate) ino: u32,
    /// The type's bits of the mode: they never change.
    kind: u16,
    pub(crate) state: sync::RwLock<InodeState>,
    /// What `data` keeps for the contents.
    pub(crate) data: crate::data::FileData,
}

/// Bits of `i_mode` that give the type.
pub(crate) const S_IFMT: u16 = 0o170000;
pub(crate) const S_IFIFO: u16 = 0o010000;
pub(crate) const S_IFCHR: u16 = 0o020000;
pub(crate) const S_IFDIR: u16 = 0o040000;
pub(crate) const S_IFBLK: u16 = 0o060000;
pub(crate) const S_IFREG: u16 = 0o100000;
pub(crate) const S_IFLNK: u16 = 0o120000;
pub(crate) const S_IFSOCK: u16 = 0o140000;

impl InodeState {
    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.mode & S_IFMT == S_IFDIR
    }

    /// Whether it is a regular file.
    pub fn is_file(&self) -> bool {
        self.mode & S_IFMT == S_IFREG
    }

    /// Whether it is a symbolic link.
    pub fn is_symlink(&self) -> bool {
        self.mode & S_IFMT == S_IFLNK
    }

    /// Whether `i_block` has the target of the symbolic link itself.
    pub(crate) fn is_fast_symlink(&self, block_size: usize) -> bool {
        let attributes = if self.file_acl != 0 { block_size as u64 / 512 } else { 0 };
        self.is_symlink()
            && self.size < I_BLOCK_SIZE as u64
            && !self.flags.contains(InodeFlags::INLINE_DATA)
            && self.blocks <= attributes
    }

    /// Whether `i_block` maps blocks, by extents or not.
    pub(crate) fn has_block_map(&self, block_size: usize) -> bool {
        matches!(self.mode & S_IFMT, S_IFREG | S_IFDIR | S_IFLNK)
            && !self.flags.contains(InodeFlags::INLINE_DATA)
            && !self.is_fast_symlink(block_size)
    }

    /// Whether the contents are in the inode.
    pub fn is_inline(&self) -> bool {
        self.flags.contains(InodeFlags::INLINE_DATA)
    }

    /// ENOTDIR for anything but a directory, ENOENT for one that is deleted.
    pub(crate) fn check_dir(&self) -> Result<()> {
        match (self.is_dir(), self.links) {
            (false, _) => Err(ENOTDIR),
            (true, 0) => Err(ENOENT),
            _ => Ok(()),
        }
    }

    /// Notes a change of the inode at `now`.
    pub(crate) fn touch(&mut self, now: Timespec) {
        self.ctime = now;
        self.version = self.version.wrapping_add(1);
    }

    /// Notes a change of a directory's entries at `now`.
    pub(crate) fn touch_entries(&mut self, now: Timespec) {
        self.mtime = now;
        self.touch(now);
    }
}

impl Inode {
    /// Number.
    pub fn ino(&self) -> u32 {
        self.ino
    }

    /// The mount.
    pub fn filesystem(&self) -> &Arc<Filesystem> {
        &self.fs
    }

    /// Seed of the checksums of everything that belongs to this inode (extent nodes, directory blocks).
    pub(crate) fn csum_seed(&self, state: &InodeState) -> u32 {
        crate::csum::inode_seed(self.fs.geometry.csum_seed, self.ino, state.generation)
    }

    /// A copy of the fields, for the curious.
    pub fn snapshot(&self) -> InodeState {
        self.state.read().clone()
    }

    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.kind == S_IFDIR
    }
}
