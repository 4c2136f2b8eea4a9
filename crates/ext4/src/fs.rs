//! A mounted file system: what ties the parts together, statfs, sync, freezing.
//!
//! Locks: `rename_lock` comes before every inode; the short ones here cover memory only. `errors` has no lock order:
//! it is taken alone.

use crate::buffer::{Buffer, BufferCache};
use crate::device::BlockDevice;
use crate::error::Errors;
use crate::geometry::Geometry;
use crate::inode::cache::InodeCache;
use crate::journal::{Handle, Transactions};
use crate::log::Log;
use crate::options::{DataMode, MountOptions};
use crate::orphan::Orphans;
use crate::{Result, balloc, ialloc, sync, xattr};
use abi::errno::{ENODEV, EROFS};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// statfs(2)'s figures.
#[derive(Clone, Copy, Debug)]
pub struct StatFs {
    /// Bytes in a block.
    pub block_size: u32,
    /// Blocks without the file system's own.
    pub blocks: u64,
    /// Free blocks.
    pub blocks_free: u64,
    /// Free blocks without the reserved ones.
    pub blocks_available: u64,
    /// Inodes.
    pub files: u64,
    /// Free inodes.
    pub files_free: u64,
    /// From the UUID.
    pub fsid: u64,
}

/// A mounted file system.
pub struct Filesystem {
    pub(crate) device: Arc<dyn BlockDevice>,
    pub(crate) cache: Arc<BufferCache>,
    pub(crate) transactions: Transactions,
    pub(crate) geometry: Geometry,
    pub(crate) options: parking_lot::RwLock<MountOptions>,
    pub(crate) log: Arc<dyn Log>,
    pub(crate) balloc: balloc::Allocator,
    pub(crate) ialloc: ialloc::Allocator,
    pub(crate) xattr_blocks: xattr::block::Blocks,
    /// Attribute values whose last user is gone, to be deleted.
    pub(crate) xattr_dying: parking_lot::Mutex<Vec<Arc<crate::Inode>>>,
    pub(crate) inodes: InodeCache,
    pub(crate) orphans: Orphans,
    pub(crate) errors: Errors,
    /// Held for writing by a rename between two directories, for reading by what locks a directory inside another.
    pub(crate) rename_lock: sync::RwLock<()>,
    /// The block with the superblock.
    pub(crate) super_buffer: Arc<Buffer>,
    /// Fields of the superblock that live in memory.
    pub(crate) super_state: parking_lot::Mutex<crate::superblock::SuperState>,
    /// The group descriptors' blocks, kept in memory.
    pub(crate) group_descs: Vec<Arc<Buffer>>,
    /// Runs of blocks that hold the file system's own structures, sorted and merged.
    pub(crate) system_zone: Vec<(u64, u64)>,
    /// Blocks of the system zone and other overhead.
    pub(crate) overhead: u64,
    /// No operation may change anything: mounted so, or an error.
    pub(crate) read_only: AtomicBool,
    /// Unmounted: nothing may touch the device.
    pub(crate) dead: AtomicBool,
    /// Bumped to make generation numbers.
    pub(crate) generation: AtomicU32,
    pub(crate) hash_seed: std::hash::RandomState,
}

impl Filesystem {
    /// The facts of the superblock.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The metadata cache, for its size and for shrinking under memory pressure.
    pub fn buffers(&self) -> &BufferCache {
        &self.cache
    }

    /// The mount options in force.
    pub fn options(&self) -> MountOptions {
        self.options.read().clone()
    }

    /// `data=` in force: without a journal there is no order to keep.
    pub fn data_mode(&self) -> DataMode {
        self.options.read().data
    }

    /// Whether nothing may be changed: by a mount option, or since an error.
    pub fn is_read_only(&self) -> bool {
        self.read_only.load(Ordering::Relaxed)
    }

    /// EROFS if the mount is read-only or was made so by an error, ENODEV after unmounting: for what writes to the
    /// device outside a transaction.
    pub(crate) fn check_writable(&self) -> Result<()> {
        match (self.read_only.load(Ordering::Relaxed), self.dead.load(Ordering::Relaxed)) {
            (false, _) => Ok(()),
            (true, false) => Err(EROFS),
            (true, true) => Err(ENODEV),
        }
    }

    /// Starts a transaction handle for changing up to `credits` metadata blocks. EROFS if the mount is read-only or
    /// was made so by an error, ENODEV after unmounting.
    pub(crate) fn begin(&self, credits: usize) -> Result<Handle> {
        self.check_writable()?;
        self.write_pending_error();
        let mut handle = self.transactions.begin(credits)?;
        if self.options.read().sync {
            handle.set_sync();
        }
        Ok(handle)
    }

    /// Runs an operation again after a commit if it met a full disk: blocks that were freed become usable by that.
    pub(crate) fn retry_enospc<R>(&self, mut operation: impl FnMut() -> Result<R>) -> Result<R> {
        let mut tries = 0;
        loop {
            match operation() {
                Err(errno) if balloc::retry_after_commit(self, errno, &mut tries) => {}
                result => return result,
            }
        }
    }

    /// A number for `i_generation`, and for whatever wants one that nobody can foresee.
    pub(crate) fn random(&self) -> u32 {
        use std::hash::BuildHasher;
        let count = self.generation.fetch_add(1, Ordering::Relaxed);
        self.hash_seed.hash_one(count) as u32
    }

    /// statfs(2).
    pub fn statfs(&self) -> StatFs {
        let geometry = &self.geometry;
        let free = self.balloc.free_blocks().saturating_sub(self.balloc.reserved_blocks());
        let uuid = u128::from_le_bytes(geometry.uuid);
        StatFs {
            block_size: geometry.block_size as u32,
            blocks: geometry.blocks_count.saturating_sub(self.overhead),
            blocks_free: free,
            blocks_available: free.saturating_sub(geometry.reserved_blocks),
            files: u64::from(geometry.inodes_count),
            files_free: self.ialloc.free_inodes(),
            fsid: (uuid ^ uuid >> 64) as u64,
        }
    }

    /// sync(2), syncfs(2): every finished operation is durable afterwards. File contents that the caller still caches
    /// are the caller's to write first.
    pub fn sync(&self) -> Result<()> {
        if self.dead.load(Ordering::Relaxed) {
            return Err(ENODEV);
        }
        self.write_pending_error();
        if self.is_read_only() {
            return Ok(());
        }
        xattr::reap(self);
        self.transactions.commit_now(true)?;
        balloc::discard_freed(self);
        Ok(())
    }

    /// Periodic work: commits what is older than `commit=`. `now` in the platform's nanoseconds.
    pub fn tick(&self, now: u64) -> Result<()> {
        self.write_pending_error();
        if self.is_read_only() {
            return Ok(());
        }
        xattr::reap(self);
        balloc::discard_freed(self);
        self.transactions.tick(now)
    }

    /// FIFREEZE: waits for running operations, holds new ones back, and leaves a clean image on the device.
    pub fn freeze(&self) -> Result<()> {
        if self.is_read_only() {
            return Ok(());
        }
        self.transactions.freeze()?;
        self.write_super_clean().inspect_err(|_| self.transactions.thaw())
    }

    /// FITHAW.
    pub fn thaw(&self) -> Result<()> {
        if self.is_read_only() {
            return Ok(());
        }
        let result = self.write_super_mounted();
        self.transactions.thaw();
        result
    }
}
