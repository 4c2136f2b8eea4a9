//! New inodes: create, mkdir, symlink, tmpfile; and new names for old ones: link.

use super::{NewInode, check_name};
use crate::dir;
use crate::inode::{Inode, InodeState, S_IFDIR, S_IFLNK, S_IFMT};
use crate::journal::Handle;
use crate::layout::inode::{I_BLOCK_SIZE, InodeFlags, LINK_MAX, ROOT_INO};
use crate::map::Create;
use crate::{Result, ialloc, map, orphan};
use abi::errno::{EEXIST, EINVAL, EMLINK, ENAMETOOLONG, ENOENT, EPERM};
use abi::time::Timespec;
use std::sync::Arc;

/// Blocks of a new inode: bitmap, group, table, perhaps a zeroed neighbour; orphan list if it fails.
const NEW_INODE_CREDITS: usize = 12;
const CREATE_CREDITS: usize = dir::INSERT_CREDITS + NEW_INODE_CREDITS + 12;

/// Allocates an inode with the fields that every new one has. It isn't stored yet.
pub(super) fn new_inode(
    dir: &Inode,
    dir_state: &InodeState,
    handle: &mut Handle,
    new: &NewInode,
) -> Result<Arc<Inode>> {
    let fs = &dir.fs;
    let top = dir.ino == ROOT_INO || dir_state.flags.contains(InodeFlags::TOPDIR);
    let ino = ialloc::allocate(fs, handle, dir.ino, top, new.mode)?;
    let mut state = InodeState::empty();
    state.mode = new.mode;
    state.uid = new.uid;
    state.gid = new.gid;
    state.links = 1;
    (state.atime, state.mtime, state.ctime, state.crtime) = (new.now, new.now, new.now, new.now);
    state.flags = dir_state.inherited_flags(new.mode);
    if dir_state.flags.contains(InodeFlags::PROJINHERIT) {
        state.project = dir_state.project;
    }
    state.generation = fs.random();
    let room = fs.geometry.inode_size - crate::layout::inode::GOOD_OLD_INODE_SIZE;
    state.extra_isize = fs.geometry.want_extra_isize;
    state.xattrs = vec![0; room - usize::from(state.extra_isize)];
    fs.adopt_inode(ino, state)
}

impl Inode {
    /// Makes an inode with a name in this directory: a file, device, FIFO or socket; `mode`'s type says which.
    /// EEXIST, ENOENT (the directory is deleted), ENOSPC, EROFS, EINVAL (not such a type).
    pub fn create(&self, name: &[u8], new: &NewInode) -> Result<Arc<Inode>> {
        if matches!(new.mode & S_IFMT, S_IFDIR | S_IFLNK | 0) {
            return Err(EINVAL);
        }
        self.make(name, new, |inode, state, _| {
            init_contents(inode, state, new);
            Ok(())
        })
    }

    /// Makes a directory.
    pub fn mkdir(&self, name: &[u8], new: &NewInode) -> Result<Arc<Inode>> {
        let new = NewInode { mode: new.mode & !S_IFMT | S_IFDIR, ..*new };
        self.make(name, &new, |inode, state, handle| {
            map::init(inode, state);
            state.links = 2;
            dir::init(inode, state, handle, self.ino)
        })
    }

    /// Makes a symbolic link. ENOENT for an empty target, ENAMETOOLONG for one that doesn't fit a block.
    pub fn symlink(&self, name: &[u8], target: &[u8], new: &NewInode) -> Result<Arc<Inode>> {
        let new = NewInode { mode: S_IFLNK | 0o777, ..*new };
        if target.is_empty() {
            return Err(ENOENT);
        }
        if target.len() >= self.fs.geometry.block_size.min(4096) {
            return Err(ENAMETOOLONG);
        }
        self.make(name, &new, |inode, state, handle| {
            state.size = target.len() as u64;
            if target.len() < I_BLOCK_SIZE {
                state.block[..target.len()].copy_from_slice(target);
                return Ok(());
            }
            map::init(inode, state);
            let extent = map::allocate(inode, state, handle, 0, 1, Create::Yes)?;
            let buffer = inode.fs.cache.get_zeroed(extent.pblk)?;
            handle.create(&buffer, |data| data[..target.len()].copy_from_slice(target))
        })
    }

    /// Makes a file without a name (O_TMPFILE): it lives as long as somebody holds it, or until [`Inode::link`].
    pub fn tmpfile(&self, new: &NewInode) -> Result<Arc<Inode>> {
        self.fs.retry_enospc(|| {
            let inode;
            let dir_state = self.state.read();
            dir_state.check_dir()?;
            let mut handle = self.fs.begin(NEW_INODE_CREDITS)?;
            inode = new_inode(self, &dir_state, &mut handle, new)?;
            let mut state = inode.state.write();
            init_contents(&inode, &mut state, new);
            state.links = 0;
            state.linkable = true;
            orphan::add(&inode, &mut state, &mut handle)?;
            inode.store_new(&state, &mut handle)?;
            drop((state, dir_state));
            handle.stop()?;
            Ok(inode)
        })
    }

    fn make(
        &self,
        name: &[u8],
        new: &NewInode,
        mut fill: impl FnMut(&Inode, &mut InodeState, &mut Handle) -> Result<()>,
    ) -> Result<Arc<Inode>> {
        check_name(name)?;
        let is_dir = new.mode & S_IFMT == S_IFDIR;
        self.fs.retry_enospc(|| {
            // Let go after the handle, whatever happens.
            let inode;
            let mut dir_state = self.state.write();
            self.check_absent(&dir_state, name)?;
            if is_dir {
                self.check_subdirs(&dir_state)?;
            }
            let mut handle = self.fs.begin(CREATE_CREDITS)?;
            self.maybe_sync(&dir_state, &mut handle);
            inode = new_inode(self, &dir_state, &mut handle, new)?;
            let mut state = inode.state.write();
            let kind = dir::file_type(new.mode);
            let mut result = fill(&inode, &mut state, &mut handle);
            if result.is_ok() {
                result = dir::insert(self, &mut dir_state, &mut handle, name, inode.ino, kind);
            }
            match result {
                Ok(()) => {
                    dir_state.touch_entries(new.now);
                    if is_dir {
                        dir_state.add_subdir();
                    }
                }
                Err(_) => {
                    // Its last holder deletes it; if that can't be before a crash, the next mount does.
                    state.links = 0;
                    orphan::add(&inode, &mut state, &mut handle)?;
                }
            }
            inode.store_new(&state, &mut handle)?;
            self.store(&dir_state, &mut handle)?;
            drop((state, dir_state));
            handle.stop()?;
            result.map(|()| inode)
        })
    }

    /// Gives `inode` another name, in this directory. EEXIST, EMLINK, EPERM (a directory), ENOENT (it was deleted).
    pub fn link(&self, inode: &Arc<Inode>, name: &[u8], now: Timespec) -> Result<()> {
        check_name(name)?;
        if inode.is_dir() {
            return Err(EPERM);
        }
        self.fs.retry_enospc(|| {
            let mut dir_state = self.state.write();
            self.check_absent(&dir_state, name)?;
            let mut state = inode.state.write();
            if state.links >= LINK_MAX {
                return Err(EMLINK);
            }
            if state.links == 0 && !state.linkable {
                return Err(ENOENT);
            }
            let mut handle = self.fs.begin(dir::INSERT_CREDITS + 8)?;
            self.maybe_sync(&dir_state, &mut handle);
            let kind = dir::file_type(state.mode);
            let result = dir::insert(self, &mut dir_state, &mut handle, name, inode.ino, kind);
            if result.is_ok() {
                dir_state.touch_entries(now);
                state.touch(now);
                state.links += 1;
                state.linkable = false;
                if state.links == 1 {
                    orphan::remove(inode, &mut state, &mut handle)?;
                }
                inode.store(&state, &mut handle)?;
            }
            self.store(&dir_state, &mut handle)?;
            drop((state, dir_state));
            handle.stop()?;
            result
        })
    }

    /// EEXIST if the name is there.
    pub(super) fn check_absent(&self, state: &InodeState, name: &[u8]) -> Result<()> {
        state.check_dir()?;
        match dir::find(self, state, name) {
            Ok(_) => Err(EEXIST),
            Err(ENOENT) => Ok(()),
            Err(errno) => Err(errno),
        }
    }
}

/// Contents of a new file or device.
fn init_contents(inode: &Inode, state: &mut InodeState, new: &NewInode) {
    if state.is_file() {
        map::init(inode, state);
    } else {
        state.set_rdev(new.rdev);
    }
}
