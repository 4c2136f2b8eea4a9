//! The bound on all page caches: about least recently used first, by a second chance.
//!
//! Chunks stand in a queue in the order in which they came. Whoever needs room takes from its front what is clean and
//! was not used since it came, or was looked at last. Entries of chunks that are gone are passed over.
//!
//! Lock: PAGE_LRU, over the queue; never held over a cache's own.

use std::collections::VecDeque;
use std::sync::Weak;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::chunk::{CHUNK, Chunk};
use super::{Kind, PAGE, PageCache, buffers, writeback};
use crate::mm::{account, oom, overcommit};
use crate::sync::{SpinLock, rank};

/// Of this many parts of the memory the caches leave one free, beside what everything else uses.
const RESERVE: u64 = 24;
/// The caches may have one part in so many of the memory, whatever else uses it.
const LEAST: u64 = 32;
/// Room is made in pieces of this many bytes.
const BATCH: u64 = 4 << 20;

struct Candidate {
    cache: Weak<PageCache>,
    index: u64,
    lru: u64,
}

static QUEUE: SpinLock<VecDeque<Candidate>> = SpinLock::new(rank::PAGE_LRU, VecDeque::new());
static NEXT: AtomicU64 = AtomicU64::new(1);
static FILE_PAGES: AtomicU64 = AtomicU64::new(0);
static DEVICE_PAGES: AtomicU64 = AtomicU64::new(0);
static STARTED: AtomicBool = AtomicBool::new(false);

/// Makes the caches known to whoever looks for memory. Any number of times.
pub(super) fn start() {
    if !STARTED.swap(true, Ordering::SeqCst) {
        oom::register_shrinker(oom::Shrinker { held, shrink, in_call: true });
    }
}

/// Bytes that all caches hold.
pub fn held() -> u64 {
    (FILE_PAGES.load(Ordering::Relaxed) + DEVICE_PAGES.load(Ordering::Relaxed)) * PAGE
}

/// Bytes of block devices: `Buffers`.
pub fn buffers() -> u64 {
    DEVICE_PAGES.load(Ordering::Relaxed) * PAGE
}

fn counter(kind: Kind) -> &'static AtomicU64 {
    match kind {
        Kind::File => &FILE_PAGES,
        Kind::BlockDevice => &DEVICE_PAGES,
    }
}

/// A chunk has got more pages.
pub(super) fn count(cache: &PageCache, index: u64, chunk: &mut Chunk, pages: u64) {
    counter(cache.kind).fetch_add(pages, Ordering::Relaxed);
    if chunk.lru == 0 {
        chunk.lru = NEXT.fetch_add(1, Ordering::Relaxed);
        QUEUE.lock().push_back(Candidate { cache: cache.me.clone(), index, lru: chunk.lru });
    }
}

/// Pages are gone.
pub(super) fn uncount(kind: Kind, pages: u64) {
    counter(kind).fetch_sub(pages, Ordering::Relaxed);
}

/// Bytes that the caches may hold, by what everything else used when last looked at.
fn limit() -> u64 {
    let total = overcommit::total();
    total.saturating_sub(total / RESERVE).saturating_sub(account::uncached()).max(total / LEAST)
}

/// Bytes that may still come in without anything going out.
pub fn room() -> u64 {
    limit().saturating_sub(held())
}

/// Makes room for `bytes` if there is none; whether there is now. No spin lock may be held.
pub fn has_room(bytes: u64) -> bool {
    if room() < bytes {
        make_room(bytes);
    }
    room() >= bytes
}

/// Makes room for `bytes` that are about to come in. No spin lock may be held.
pub(super) fn make_room(bytes: u64) {
    let over = (held() + bytes).saturating_sub(limit());
    if over > 0 && evict(over.max(BATCH.min(held() / 4))) < over {
        writeback::kick();
    }
}

fn shrink(wanted: u64) -> u64 {
    let freed = evict(wanted);
    buffers::drop_kept();
    if freed < wanted {
        writeback::kick();
    }
    freed
}

/// Lets go of about `wanted` bytes of clean pages; what it let go of.
fn evict(wanted: u64) -> u64 {
    // Everybody is looked at twice at most: once for the mark, once without it.
    let mut left = QUEUE.lock().len() * 2;
    let mut freed = 0;
    while freed < wanted && left > 0 {
        left -= 1;
        let Some(candidate) = QUEUE.lock().pop_front() else { break };
        let Some(cache) = candidate.cache.upgrade() else { continue };
        match cache.evict(candidate.index, candidate.lru) {
            Eviction::Freed(bytes) => freed += bytes,
            Eviction::Gone => {}
            Eviction::Kept => QUEUE.lock().push_back(candidate),
        }
        // The last reference may do much as it goes: not under whatever the caller holds.
        writeback::drop_later(cache);
    }
    freed
}

/// Lets go of all clean pages: /proc/sys/vm/drop_caches.
pub fn drop_all() -> u64 {
    evict(u64::MAX)
}

enum Eviction {
    Freed(u64),
    Gone,
    Kept,
}

impl PageCache {
    fn evict(&self, index: u64, lru: u64) -> Eviction {
        let mut inner = self.inner.lock();
        let pinned = inner.maps > 0;
        let Some(chunk) = inner.chunks.get_mut(&index).filter(|c| c.lru == lru) else {
            return Eviction::Gone;
        };
        if core::mem::take(&mut chunk.referenced) || pinned || chunk.busy() != 0 {
            return Eviction::Kept;
        }
        let pages = u64::from(chunk.uptodate.count_ones());
        let chunk = inner.chunks.remove(&index);
        if let Some(object) = &inner.object {
            // A host that refuses keeps its memory; what it holds is still what the file holds.
            let _ = object.punch_hole(index * CHUNK, CHUNK);
            if inner.chunks.is_empty() {
                inner.object = None;
            }
        }
        drop(inner);
        if let Some(mut chunk) = chunk {
            chunk.release_heap();
        }
        uncount(self.kind, pages);
        Eviction::Freed(pages * PAGE)
    }
}
