//! The page cache: pages of a file on a disk, or of a block device.
//!
//! A [`PageCache`] stands between read(2), write(2), mmap(2) and an [`AddressSpaceOps`], which moves whole pages. It owns
//! the file's length as programs see it; the file system's own follows when dirty pages are written.
//!
//! - `chunk.rs`: pages in pieces of 256 KiB, and which of them are up to date or dirty. `buffers.rs`: their memory.
//! - `read.rs`: reading, filling and read-ahead. `write.rs`: writing. `direct.rs`: O_DIRECT.
//! - `map.rs`: a mapped file: its pages live in a memory object of the host, see [`super::paged`].
//! - `truncate.rs`: length changes, holes, dropping what is cached.
//! - `writeback.rs`: dirty pages to the disk, by age, by amount and on demand; errors (`errseq.rs`).
//! - `reclaim.rs`: the bound on all caches together. `evict.rs`: pages of mapped files.
//!
//! Pages of a file that nobody maps are on the kernel's heap, and shared with whoever copies them: a reader or the
//! writeback holds a chunk's `Arc`, and a writer that meets it makes a copy. So nothing is locked while user memory is
//! touched or a disk is waited for.
//!
//! Locks: the inode's `rwsem` (the file system's, for writes and truncation) → `io` (sleeping; writeback and truncation
//! of one cache exclude each other) → PAGE_CACHE (`inner`) → DIRTY_LIST, PAGE_LRU.

mod buffers;
mod chunk;
mod direct;
pub mod errseq;
mod evict;
mod map;
mod read;
pub mod reclaim;
mod truncate;
mod write;
pub mod writeback;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use abi::Result;
use host::object::Object;

use crate::sync::{Mutex, SpinLock, WaitQueue, rank};
use chunk::Chunk;
use errseq::ErrSeq;
pub use read::{Advice, ReadAhead};

/// Bytes in a page.
pub const PAGE: u64 = 4096;

/// Where a cache's pages come from and where they go. Called with no spin lock held; may sleep.
pub trait AddressSpaceOps: Send + Sync {
    /// Fills `buf`, whole pages from a page's start. What lies beyond the end of the stored file reads as zeros.
    fn read_pages(&self, offset: u64, buf: &mut [u8]) -> Result<()>;

    /// Stores the buffers one after the other from `offset` on, a page's start. Only the last may end within a page: at
    /// `size`, the file's length. On return the data is with the device, perhaps in its volatile cache.
    fn write_pages(&self, offset: u64, bufs: &[&[u8]], size: u64) -> Result<()>;

    /// Room for a range that is about to become dirty, so that `write_pages` will not run out of space: delayed
    /// allocation. Again and again for the same range is fine. ENOSPC, EDQUOT.
    fn reserve(&self, _offset: u64, _len: u64) -> Result<()> {
        Ok(())
    }

    /// Makes what `write_pages` has stored durable, with the metadata that is needed to find it (`data_only`) or all.
    fn sync(&self, data_only: bool) -> Result<()>;

    /// A guest writes through a shared mapping: mtime and ctime change.
    fn mapped_write(&self) {}

    /// Names the file in messages about lost data.
    fn describe(&self) -> String;
}

/// What a cache belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file: `Cached` in /proc/meminfo.
    File,
    /// A block device: `Buffers`.
    BlockDevice,
}

/// The cached pages of one file or block device.
pub struct PageCache {
    me: Weak<PageCache>,
    ops: Arc<dyn AddressSpaceOps>,
    /// Device number of the file system, or of the block device: what syncfs(2) is for.
    group: u64,
    kind: Kind,
    id: u64,
    inner: SpinLock<Inner>,
    /// The file's length, kept by `inner`'s holders.
    size: AtomicU64,
    /// Held by whoever writes pages back or changes what is behind them.
    io: Mutex<()>,
    /// Those who wait for a read that is under way.
    reads: WaitQueue,
    errors: ErrSeq,
    /// Dirty pages; changed under `inner`.
    dirty: AtomicU64,
    /// On the list of dirty caches.
    listed: AtomicBool,
    /// When it was put there, host monotonic ns.
    dirty_since: AtomicU64,
}

struct Inner {
    chunks: BTreeMap<u64, Chunk>,
    /// From this byte on nothing is stored: pages that are not cached are zeros.
    stored: u64,
    /// The pages' place once the file was mapped.
    object: Option<Object>,
    /// Mappings of the object, and those of them that may be written.
    maps: u64,
    writable_maps: u64,
    /// Reads that are under way, in pages.
    reading: Vec<read::Reading>,
    next_reading: u64,
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

impl PageCache {
    /// An empty cache of something `size` bytes long. `group` is the st_dev of the file system or of the device itself.
    pub fn new(ops: Arc<dyn AddressSpaceOps>, size: u64, group: u64, kind: Kind) -> Arc<PageCache> {
        reclaim::start();
        Arc::new_cyclic(|me| PageCache {
            me: me.clone(),
            ops,
            group,
            kind,
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            inner: SpinLock::new(
                rank::PAGE_CACHE,
                Inner {
                    chunks: BTreeMap::new(),
                    stored: size,
                    object: None,
                    maps: 0,
                    writable_maps: 0,
                    reading: Vec::new(),
                    next_reading: 0,
                },
            ),
            size: AtomicU64::new(size),
            io: Mutex::new(()),
            reads: WaitQueue::new(),
            errors: ErrSeq::default(),
            dirty: AtomicU64::new(0),
            listed: AtomicBool::new(false),
            dirty_since: AtomicU64::new(0),
        })
    }

    /// The file's length as programs see it, bytes.
    pub fn size(&self) -> u64 {
        self.size.load(Ordering::SeqCst)
    }

    /// What is behind it.
    pub fn ops(&self) -> &Arc<dyn AddressSpaceOps> {
        &self.ops
    }

    /// Errors of writeback, for each open file to sample and check.
    pub fn errors(&self) -> &ErrSeq {
        &self.errors
    }

    /// Whether pages wait to be written.
    pub fn is_dirty(&self) -> bool {
        self.dirty.load(Ordering::SeqCst) > 0
    }

    /// fsync(2) of a range: what is dirty there is written, and all that was written is durable. The error is this
    /// call's own; those of earlier writeback are in [`PageCache::errors`].
    pub fn fsync(self: &Arc<Self>, start: u64, end: u64, data_only: bool) -> Result<()> {
        self.write_back(start, end)?;
        self.ops.sync(data_only)
    }
}

impl Drop for PageCache {
    fn drop(&mut self) {
        let inner = self.inner.get_mut();
        let held: u64 = inner.chunks.values().map(|c| u64::from(c.uptodate.count_ones())).sum();
        reclaim::uncount(self.kind, held);
        writeback::uncount_dirty(self.dirty.load(Ordering::SeqCst));
    }
}
