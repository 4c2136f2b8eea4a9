//! Names: lookup here; `create`, `unlink` and `rename` beside it. Permissions, mount points, sticky bits and the
//! question whether a directory would move into itself are the caller's.
//!
//! Locks: `rename_lock` (renames between directories) → directories, the lower number first → files, the lower number
//! first → a handle. A directory below a locked one is only tried for; whoever fails starts over. An inode's last
//! holder may delete it: so no inode is let go while a handle is open.

mod create;
mod rename;
mod unlink;

use crate::dir;
use crate::inode::{Inode, InodeState};
use crate::journal::Handle;
use crate::layout::dirent::NAME_MAX;
use crate::layout::inode::{I_BLOCK_SIZE, InodeFlags, LINK_MAX};
use crate::map::ExtentState;
use crate::{Result, RoCompat, inline, map};
use abi::errno::{EINVAL, EMLINK, ENAMETOOLONG, ENOENT, ESTALE};
use abi::time::Timespec;
use std::sync::Arc;

/// What a new inode is made from.
#[derive(Clone, Copy, Debug)]
pub struct NewInode {
    /// Type and permissions, umask applied.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group (setgid directories are the caller's business).
    pub gid: u32,
    /// Major and minor of a device node.
    pub rdev: (u32, u32),
    /// Its times.
    pub now: Timespec,
}

bitflags::bitflags! {
    /// renameat2(2)'s flags.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct RenameFlags: u32 {
        /// EEXIST if the target exists.
        const NOREPLACE = 1;
        /// Swap the two.
        const EXCHANGE = 2;
        /// Leave a whiteout in the place of the source.
        const WHITEOUT = 4;
    }
}

/// A name that an entry may have.
fn check_name(name: &[u8]) -> Result<()> {
    match name {
        [] => Err(ENOENT),
        _ if name.len() > NAME_MAX => Err(ENAMETOOLONG),
        _ if name.contains(&b'/') || name.contains(&0) => Err(EINVAL),
        _ => Ok(()),
    }
}

impl Inode {
    /// The inode with a name in this directory. ENOENT, ENOTDIR, ENAMETOOLONG; EUCLEAN if the name leads nowhere.
    pub fn lookup(&self, name: &[u8]) -> Result<Arc<Inode>> {
        if name.len() > NAME_MAX {
            return Err(ENAMETOOLONG);
        }
        let state = self.state.read();
        state.check_dir()?;
        let found = dir::find(self, &state, name)?;
        self.entry_inode(found.ino)
    }

    /// The number of the inode with a name, without loading it.
    pub fn lookup_ino(&self, name: &[u8]) -> Result<u32> {
        let state = self.state.read();
        state.check_dir()?;
        Ok(dir::find(self, &state, name)?.ino)
    }

    /// The inode that an entry of this directory names.
    fn entry_inode(&self, ino: u32) -> Result<Arc<Inode>> {
        self.fs.iget(ino).map_err(|errno| match errno {
            ESTALE => {
                self.fs.corrupted("lookup", self.ino, 0, format_args!("deleted inode referenced: {ino}"))
            }
            _ => errno,
        })
    }

    /// The number of this directory's parent.
    pub fn parent(&self) -> Result<u32> {
        let state = self.state.read();
        state.check_dir()?;
        dir::parent(self, &state)
    }

    /// The target of a symbolic link. EINVAL for anything else.
    pub fn read_link(&self) -> Result<Vec<u8>> {
        let state = self.state.read();
        if !state.is_symlink() {
            return Err(EINVAL);
        }
        let bad = |text: &str| self.fs.corrupted("readlink", self.ino, 0, format_args!("{text}"));
        let block_size = self.fs.geometry.block_size;
        let size = usize::try_from(state.size).ok().filter(|&size| size > 0 && size <= block_size);
        let size = size.ok_or_else(|| bad("bad symlink size"))?;
        let mut target = vec![0; size];
        if state.is_inline() {
            inline::read(self, &state, 0, &mut target)?;
        } else if state.is_fast_symlink(block_size) {
            target.copy_from_slice(&state.block[..size.min(I_BLOCK_SIZE)]);
        } else {
            let extent = map::lookup(self, &state, 0, 1)?;
            if extent.state != ExtentState::Written {
                return Err(bad("symlink without a block"));
            }
            target.copy_from_slice(&self.fs.cache.read(extent.pblk)?.data()[..size]);
        }
        target.truncate(target.iter().position(|&c| c == 0).unwrap_or(size));
        if target.is_empty() { Err(bad("empty symlink")) } else { Ok(target) }
    }

    /// Makes the operation durable before it returns, where a mount option or a flag says so.
    fn maybe_sync(&self, state: &InodeState, handle: &mut Handle) {
        let options = self.fs.options.read();
        if options.dirsync || state.flags.intersects(InodeFlags::DIRSYNC | InodeFlags::SYNC) {
            handle.set_sync();
        }
    }

    /// EMLINK if the directory can't have another subdirectory.
    fn check_subdirs(&self, state: &InodeState) -> Result<()> {
        let uncounted = self.fs.geometry.features.ro_compat.contains(RoCompat::DIR_NLINK)
            && state.flags.contains(InodeFlags::INDEX);
        if state.links >= LINK_MAX && !uncounted { Err(EMLINK) } else { Ok(()) }
    }
}

impl InodeState {
    /// Counts another subdirectory; beyond what can be counted, links stay at 1 (dir_nlink).
    fn add_subdir(&mut self) {
        self.links += 1;
        if self.flags.contains(InodeFlags::INDEX) && (self.links > LINK_MAX || self.links == 2) {
            self.links = 1;
        }
    }

    /// Counts one less.
    fn drop_subdir(&mut self) {
        if self.links > 2 {
            self.links -= 1;
        }
    }
}
