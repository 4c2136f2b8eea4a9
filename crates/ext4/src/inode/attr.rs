//! stat, chmod, chown, utimes, chattr.

use super::disk::HAS_PROJECT;
use super::{Inode, InodeState, S_IFBLK, S_IFCHR, S_IFMT, SetAttr, Stat};
use crate::Result;
use crate::layout::inode::{I_BLOCK_SIZE, InodeFlags};
use crate::orphan::Orphan;
use abi::errno::EOPNOTSUPP;
use abi::time::Timespec;

/// Flags that chattr(1) may change.
const MODIFIABLE: InodeFlags = InodeFlags::SECRM
    .union(InodeFlags::UNRM)
    .union(InodeFlags::COMPR)
    .union(InodeFlags::SYNC)
    .union(InodeFlags::IMMUTABLE)
    .union(InodeFlags::APPEND)
    .union(InodeFlags::NODUMP)
    .union(InodeFlags::NOATIME)
    .union(InodeFlags::JOURNAL_DATA)
    .union(InodeFlags::NOTAIL)
    .union(InodeFlags::DIRSYNC)
    .union(InodeFlags::TOPDIR)
    .union(InodeFlags::PROJINHERIT);

/// Flags that a new inode has from its directory.
const INHERITED: InodeFlags = InodeFlags::SECRM
    .union(InodeFlags::UNRM)
    .union(InodeFlags::COMPR)
    .union(InodeFlags::SYNC)
    .union(InodeFlags::NODUMP)
    .union(InodeFlags::NOATIME)
    .union(InodeFlags::JOURNAL_DATA)
    .union(InodeFlags::NOTAIL)
    .union(InodeFlags::DIRSYNC)
    .union(InodeFlags::PROJINHERIT);

impl InodeState {
    /// No inode at all: takes a place while the real state is elsewhere.
    pub(crate) fn empty() -> InodeState {
        let never = Timespec { tv_sec: 0, tv_nsec: 0 };
        InodeState {
            mode: 0,
            uid: 0,
            gid: 0,
            project: 0,
            links: 0,
            size: 0,
            blocks: 0,
            atime: never,
            ctime: never,
            mtime: never,
            crtime: never,
            dtime: 0,
            flags: InodeFlags::empty(),
            version: 0,
            generation: 0,
            file_acl: 0,
            block: [0; I_BLOCK_SIZE],
            extra_isize: 0,
            xattrs: Vec::new(),
            data: Default::default(),
            orphan: Orphan::No,
            linkable: false,
        }
    }

    /// The flags that a new inode of type `mode` in this directory has.
    pub(crate) fn inherited_flags(&self, mode: u16) -> InodeFlags {
        let flags = self.flags & INHERITED;
        match mode & S_IFMT {
            super::S_IFDIR => flags,
            super::S_IFREG => flags.difference(InodeFlags::DIRSYNC | InodeFlags::PROJINHERIT),
            _ => flags & (InodeFlags::NODUMP | InodeFlags::NOATIME),
        }
    }

    /// Major and minor of a device node. `i_block` holds them in the old form in its first word or else in the new
    /// one in its second.
    pub(crate) fn rdev(&self) -> (u32, u32) {
        if !matches!(self.mode & S_IFMT, S_IFCHR | S_IFBLK) {
            return (0, 0);
        }
        let word = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|i| self.block[at + i]));
        let (old, new) = (word(0), word(4));
        if old != 0 {
            (old >> 8 & 0xFF, old & 0xFF)
        } else {
            (new >> 8 & 0xFFF, new & 0xFF | new >> 12 & 0xF_FF00)
        }
    }

    /// Sets them.
    pub(crate) fn set_rdev(&mut self, (major, minor): (u32, u32)) {
        let (old, new) = if major < 256 && minor < 256 {
            (major << 8 | minor, 0)
        } else {
            (0, (minor & 0xFF) | (major & 0xFFF) << 8 | (minor & 0xF_FF00) << 12)
        };
        self.block[..4].copy_from_slice(&old.to_le_bytes());
        self.block[4..8].copy_from_slice(&new.to_le_bytes());
    }
}

impl Inode {
    /// stat(2). The size and blocks are what the disk has; what the caller still caches is the caller's to add.
    pub fn stat(&self) -> Stat {
        let state = self.state.read();
        Stat {
            ino: self.ino,
            mode: state.mode,
            links: state.links,
            uid: state.uid,
            gid: state.gid,
            rdev: state.rdev(),
            size: state.size,
            blocks: state.blocks,
            atime: state.atime,
            mtime: state.mtime,
            ctime: state.ctime,
            crtime: (state.extra_isize >= 24).then_some(state.crtime),
            flags: state.flags,
            generation: state.generation,
            version: state.version,
            project: state.project,
        }
    }

    /// `i_flags`.
    pub fn flags(&self) -> InodeFlags {
        self.state.read().flags
    }

    /// The largest size that the file can have, bytes.
    pub fn max_size(&self) -> u64 {
        let blocks = crate::map::end(&self.fs, &self.state.read());
        blocks.saturating_mul(self.fs.geometry.block_size as u64).min(i64::MAX as u64)
    }

    /// Changes attributes; the size is `set_size`'s. EOPNOTSUPP for a flag or a project that this inode can't have.
    pub fn set_attr(&self, attr: &SetAttr) -> Result<()> {
        let mut state = self.state.write();
        if let Some(flags) = attr.flags
            && !(flags ^ state.flags).difference(MODIFIABLE).is_empty()
        {
            return Err(EOPNOTSUPP);
        }
        if attr.project.is_some_and(|project| project != state.project && state.extra_isize < HAS_PROJECT) {
            return Err(EOPNOTSUPP);
        }
        let mut handle = self.fs.begin(2)?;
        let only_atime = attr.mode.is_none()
            && attr.uid.is_none()
            && attr.gid.is_none()
            && attr.mtime.is_none()
            && attr.flags.is_none()
            && attr.project.is_none();
        if let Some(mode) = attr.mode {
            state.mode = state.mode & S_IFMT | mode & !S_IFMT;
        }
        state.uid = attr.uid.unwrap_or(state.uid);
        state.gid = attr.gid.unwrap_or(state.gid);
        state.atime = attr.atime.unwrap_or(state.atime);
        state.mtime = attr.mtime.unwrap_or(state.mtime);
        state.flags = attr.flags.unwrap_or(state.flags);
        state.project = attr.project.unwrap_or(state.project);
        match attr.ctime {
            Some(now) => state.touch(now),
            None if !only_atime => state.touch(self.fs.log.now()),
            None => {}
        }
        self.store(&state, &mut handle)?;
        drop(state);
        handle.stop()
    }
}
