//! One [`Inode`] for each number in use: found by number while anybody holds it; deleted from the disk when the last
//! holder of an unlinked one lets go.
//!
//! Locks: `loading` (sleeping; a load holds it over its read, so that two never make two) → a shard's map (short).

use super::{Inode, InodeState, S_IFMT};
use crate::fs::Filesystem;
use crate::layout::inode::ROOT_INO;
use crate::layout::xattr::XATTR_MAGIC;
use crate::{Result, balloc, data, ialloc, orphan, sync, truncate, xattr};
use abi::errno::ESTALE;
use hashbrown::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

const SHARDS: usize = 64;

#[derive(Default)]
struct Shard {
    loading: sync::Mutex<()>,
    map: parking_lot::Mutex<HashMap<u32, Weak<Inode>>>,
}

/// Inodes by number.
pub(crate) struct InodeCache {
    shards: Box<[Shard]>,
}

impl InodeCache {
    pub(crate) fn new() -> InodeCache {
        InodeCache { shards: (0..SHARDS).map(|_| Shard::default()).collect() }
    }

    fn shard(&self, ino: u32) -> &Shard {
        &self.shards[ino as usize % SHARDS]
    }

    /// The inode if it is in memory.
    pub(crate) fn get(&self, ino: u32) -> Option<Arc<Inode>> {
        self.shard(ino).map.lock().get(&ino).and_then(Weak::upgrade)
    }
}

impl Inode {
    fn new(fs: &Arc<Filesystem>, ino: u32, state: InodeState) -> Arc<Inode> {
        let kind = state.mode & S_IFMT;
        let contents = data::FileData::default();
        // What changed it while it was in memory before may not be durable yet, and fsync has to wait for that.
        contents.note(fs.transactions.running_tid(), true);
        Arc::new(Inode { fs: fs.clone(), ino, kind, state: sync::RwLock::new(state), data: contents })
    }
}

impl Filesystem {
    /// The root directory.
    pub fn root(self: &Arc<Self>) -> Result<Arc<Inode>> {
        let root = self.iget(ROOT_INO)?;
        if !root.state.read().is_dir() {
            return Err(self.corrupted("mount", ROOT_INO, 0, format_args!("the root is no directory")));
        }
        Ok(root)
    }

    /// The inode `ino`, from memory or the disk. ESTALE if it is not in use, EUCLEAN if it makes no sense.
    pub fn iget(self: &Arc<Self>, ino: u32) -> Result<Arc<Inode>> {
        if ino != ROOT_INO && ino < self.geometry.first_ino {
            return Err(self.corrupted("iget", ino, 0, format_args!("reserved inode")));
        }
        self.load_inode(ino, false)
    }

    /// Like [`Self::iget`], also for the reserved ones and, with `unlinked`, for those without links.
    pub(crate) fn load_inode(self: &Arc<Self>, ino: u32, unlinked: bool) -> Result<Arc<Inode>> {
        if let Some(inode) = self.inodes.get(ino) {
            return Ok(inode);
        }
        let shard = self.inodes.shard(ino);
        let _loading = shard.loading.lock();
        if let Some(inode) = self.inodes.get(ino) {
            return Ok(inode);
        }
        let state = self.read_inode(ino, unlinked)?;
        let inode = Inode::new(self, ino, state);
        shard.map.lock().insert(ino, Arc::downgrade(&inode));
        Ok(inode)
    }

    /// Puts an inode that was just allocated into memory. EUCLEAN if the number is in use: the bitmap lied.
    pub(crate) fn adopt_inode(self: &Arc<Self>, ino: u32, state: InodeState) -> Result<Arc<Inode>> {
        let shard = self.inodes.shard(ino);
        let _loading = shard.loading.lock();
        if self.inodes.get(ino).is_some() {
            return Err(self.corrupted("new_inode", ino, 0, format_args!("allocated inode is in use")));
        }
        let inode = Inode::new(self, ino, state);
        shard.map.lock().insert(ino, Arc::downgrade(&inode));
        Ok(inode)
    }
}

/// Credits for the last step of deleting: the inode, its bitmap and group, the superblock or orphan file, an
/// attribute block with its bitmap and group.
const EVICT_CREDITS: usize = 16;

/// Frees everything of an unlinked inode and the inode.
fn delete(inode: &Inode, state: &mut InodeState) -> Result<()> {
    let fs = &*inode.fs;
    if state.has_block_map(fs.geometry.block_size) && (state.size > 0 || state.blocks > 0) {
        truncate::truncate_locked(inode, state, 0)?;
    }
    let mut handle = fs.begin(EVICT_CREDITS)?;
    if state.file_acl != 0 || state.xattrs.starts_with(&XATTR_MAGIC.to_le_bytes()) {
        xattr::release(inode, state, &mut handle)?;
    }
    orphan::remove(inode, state, &mut handle)?;
    state.size = 0;
    state.dtime = (fs.log.now().tv_sec as u32).max(1);
    inode.store(state, &mut handle)?;
    ialloc::free(fs, &mut handle, inode.ino, state.is_dir())
}

impl Drop for Inode {
    fn drop(&mut self) {
        let fs = self.fs.clone();
        let (this, ino): (*const Inode, u32) = (self, self.ino);
        let forget = || {
            let mut map = fs.inodes.shard(ino).map.lock();
            if map.get(&ino).is_some_and(|weak| std::ptr::eq(weak.as_ptr(), this)) {
                map.remove(&ino);
            }
        };
        let dead = fs.dead.load(Ordering::Relaxed) || fs.is_read_only() || std::thread::panicking();
        let mut state = std::mem::replace(self.state.get_mut(), InodeState::empty());
        if state.links == 0 && !dead {
            // A failure leaves the inode on the orphan list: the next mount deletes it.
            if let Err(errno) = delete(self, &mut state)
                && errno != ESTALE
            {
                fs.log
                    .log(crate::Level::Warning, format_args!("inode #{ino}: could not be deleted: {errno}"));
            }
        }
        balloc::discard_window(self);
        forget();
    }
}
