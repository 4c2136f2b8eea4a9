//! The page cache of a block device: what read(2), write(2) and mmap(2) of its node go through.
//!
//! It is made with the first open file and written back and dropped with the last, as on Linux. File systems and O_DIRECT
//! go past it: their writes drop what it has of the place, and their reads come after what is dirty there is written.
//!
//! Locks: `openers` (sleeping), over the coming and going of the cache and of who has the device open; LEAF, over the
//! place that the cache is kept in.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use abi::Result;
use abi::errno::ENXIO;

use super::{BlockDevice, bdev};
use crate::mm::filemap::{AddressSpaceOps, Kind, PageCache};
use crate::sync::{Mutex, SpinLock, rank};

/// Where a device keeps its cache.
pub(super) struct CacheSlot {
    slot: SpinLock<Option<Arc<PageCache>>>,
    /// Whether there is one: asked without the lock.
    present: AtomicBool,
    /// Held while the first user comes and the last goes.
    pub(super) openers: Mutex<()>,
}

impl Default for CacheSlot {
    fn default() -> CacheSlot {
        CacheSlot {
            slot: SpinLock::new(rank::LEAF, None),
            present: AtomicBool::new(false),
            openers: Mutex::new(()),
        }
    }
}

/// The device as the cache sees it.
struct Pages(Weak<BlockDevice>);

impl Pages {
    fn bdev(&self) -> Result<Arc<BlockDevice>> {
        self.0.upgrade().ok_or(ENXIO)
    }
}

impl AddressSpaceOps for Pages {
    fn read_pages(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let bdev = self.bdev()?;
        let stored = bdev.len().saturating_sub(offset).min(buf.len() as u64) as usize;
        let (stored, beyond) = buf.split_at_mut(stored);
        beyond.fill(0);
        bdev.read_past_cache(offset, stored)
    }

    fn write_pages(&self, offset: u64, bufs: &[&[u8]], _size: u64) -> Result<()> {
        self.bdev()?.write_past_cache(offset, bufs)
    }

    fn sync(&self, _data_only: bool) -> Result<()> {
        self.bdev()?.flush()
    }

    fn describe(&self) -> String {
        self.0.upgrade().map_or_else(|| "a removed device".to_owned(), |bdev| bdev.name.clone())
    }
}

impl BlockDevice {
    /// The cache, made if there is none. The caller has the device open.
    pub(super) fn cache(self: &Arc<Self>) -> Arc<PageCache> {
        if let Some(cache) = self.cached() {
            return cache;
        }
        let ops = Arc::new(Pages(Arc::downgrade(self)));
        let new = PageCache::new(ops, self.len(), self.dev, Kind::BlockDevice);
        let cache = self.cache.slot.lock().get_or_insert(new).clone();
        self.cache.present.store(true, Ordering::SeqCst);
        cache
    }

    /// The cache, if there is one.
    pub(super) fn cached(&self) -> Option<Arc<PageCache>> {
        if !self.cache.present.load(Ordering::SeqCst) {
            return None;
        }
        self.cache.slot.lock().clone()
    }

    /// Before a read past the cache: what is dirty of the range is written.
    pub(super) fn settle(&self, start: u64, end: u64) -> Result<()> {
        match self.cached() {
            Some(cache) if cache.is_dirty() => cache.write_back(start, end),
            _ => Ok(()),
        }
    }

    /// After a write past the cache: what it has of the range is outdated.
    pub(super) fn outdate(&self, start: u64, end: u64) {
        if let Some(cache) = self.cached() {
            // In whole pages, also those that were written in part.
            let page = crate::mm::filemap::PAGE;
            cache.invalidate(start / page * page, end.next_multiple_of(page));
        }
    }

    /// Writes back what is cached and drops it: the device's contents or length are about to be others.
    pub(super) fn drop_cache(&self) {
        let _guard = self.cache.openers.lock();
        self.drop_cache_locked();
    }

    pub(super) fn drop_cache_locked(&self) {
        let Some(cache) = self.cached() else { return };
        if let Err(errno) = cache.write_back(0, u64::MAX) {
            crate::pr_err!("{}: writing back failed, data is lost: {errno}", self.name);
        }
        self.cache.present.store(false, Ordering::SeqCst);
        let gone = self.cache.slot.lock().take();
        drop(gone);
        cache.forget();
    }

    /// fsync(2) of the device, BLKFLSBUF, the end of a machine.
    pub fn sync(&self) -> Result<()> {
        match self.cached() {
            Some(cache) => cache.fsync(0, u64::MAX, false),
            None => self.flush(),
        }
    }
}

/// sync(2): whatever is cached of any device is durable on return. Failures are logged.
pub fn sync_all() {
    for bdev in bdev::all() {
        if let Some(cache) = bdev.cached()
            && let Err(errno) = cache.fsync(0, u64::MAX, false)
        {
            crate::pr_err!("{}: sync failed: {errno}", bdev.name);
        }
    }
}
