//! Dirty pages go to the disk: on demand, by age, and when there are too many.
//!
//! A kernel thread looks every [`interval`](INTERVAL) at the list of dirty caches and writes those whose first dirty page
//! is older than [`EXPIRE`], or all when there are more than the background limit; it sleeps for good while the list is
//! empty. Whoever dirties pages beyond the limit writes some of its own file before it goes on.
//!
//! Lock: DIRTY_LIST, over the list.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use abi::Result;

use super::buffers::{self, Buffer};
use super::chunk::{CHUNK, PAGES, bits, runs};
use super::read::read_object;
use super::{PAGE, PageCache};
use crate::mm::{account, overcommit};
use crate::sync::{SpinLock, WaitQueue, rank};
use crate::task::kthread::{self, KThreadCtx};

/// Bytes that go to the file system at once.
const PIECE: u64 = 4 << 20;
/// Pages that a writer beyond the limit writes before it goes on.
const THROTTLE: u64 = 8 << 20;
const MSEC: u64 = 1_000_000;

/// /proc/sys/vm/dirty_*: what may be set.
pub struct Tunables {
    /// dirty_expire_centisecs
    pub expire: AtomicU64,
    /// dirty_writeback_centisecs; 0 for never.
    pub interval: AtomicU64,
    /// dirty_ratio, in percent, unless `bytes` is set.
    pub ratio: AtomicU64,
    /// dirty_bytes; 0 for `ratio`.
    pub bytes: AtomicU64,
    /// dirty_background_ratio, in percent, unless `background_bytes` is set.
    pub background_ratio: AtomicU64,
    /// dirty_background_bytes; 0 for `background_ratio`.
    pub background_bytes: AtomicU64,
}

/// Those in force, Linux's at first.
pub static TUNABLES: Tunables = Tunables {
    expire: AtomicU64::new(3000),
    interval: AtomicU64::new(500),
    ratio: AtomicU64::new(20),
    bytes: AtomicU64::new(0),
    background_ratio: AtomicU64::new(10),
    background_bytes: AtomicU64::new(0),
};

/// Dirty pages of all caches, and those on their way.
static DIRTY: AtomicU64 = AtomicU64::new(0);
static WRITEBACK: AtomicU64 = AtomicU64::new(0);
/// Caches with dirty pages, which it keeps alive until they are clean.
static LIST: SpinLock<BTreeMap<u64, Arc<PageCache>>> = SpinLock::new(rank::DIRTY_LIST, BTreeMap::new());
/// Caches whose last reference may be here.
static GONE: SpinLock<Vec<Arc<PageCache>>> = SpinLock::new(rank::DIRTY_LIST, Vec::new());
static KICKED: AtomicBool = AtomicBool::new(false);
static FLUSHER: OnceLock<WaitQueue> = OnceLock::new();

/// Bytes that wait to be written: `Dirty`.
pub fn dirty_bytes() -> u64 {
    DIRTY.load(Ordering::Relaxed) * PAGE
}

/// Bytes that are being written: `Writeback`.
pub fn writeback_bytes() -> u64 {
    WRITEBACK.load(Ordering::Relaxed) * PAGE
}

/// Memory that could be dirty at all.
fn dirtyable() -> u64 {
    overcommit::total().saturating_sub(account::uncached()).max(1 << 20)
}

fn limit(bytes: &AtomicU64, ratio: &AtomicU64) -> u64 {
    match bytes.load(Ordering::Relaxed) {
        0 => dirtyable() / 100 * ratio.load(Ordering::Relaxed),
        bytes => bytes,
    }
}

fn over_limit() -> bool {
    dirty_bytes() > limit(&TUNABLES.bytes, &TUNABLES.ratio)
}

fn background() -> u64 {
    limit(&TUNABLES.background_bytes, &TUNABLES.background_ratio)
}

fn over_background() -> bool {
    dirty_bytes() > background()
}

pub(super) fn uncount_dirty(pages: u64) {
    DIRTY.fetch_sub(pages, Ordering::Relaxed);
}

/// The cache has dirty pages: it is on the list from now on.
pub(super) fn note_dirty(cache: &Arc<PageCache>) {
    if cache.listed.swap(true, Ordering::SeqCst) {
        return;
    }
    cache.dirty_since.store(host::clock::monotonic(), Ordering::Relaxed);
    let first = {
        let mut list = LIST.lock();
        let first = list.is_empty();
        list.insert(cache.id, cache.clone());
        first
    };
    if first {
        flusher().wake_all();
    }
}

/// A cache that turned out clean leaves the list.
pub(super) fn unlist(cache: &Arc<PageCache>) {
    if cache.has_work() {
        return;
    }
    let gone = {
        let mut list = LIST.lock();
        cache.listed.store(false, Ordering::SeqCst);
        list.remove(&cache.id)
    };
    drop(gone);
    // Made dirty just before the mark went.
    if cache.has_work() {
        note_dirty(cache);
    }
}

/// The flusher's queue; the thread is made when the first page becomes dirty.
fn flusher() -> &'static WaitQueue {
    static STARTED: AtomicBool = AtomicBool::new(false);
    let queue = FLUSHER.get_or_init(WaitQueue::new);
    if host::fiber::in_fiber()
        && !STARTED.swap(true, Ordering::SeqCst)
        && let Err(errno) = kthread::kthread("flush", flush_loop)
    {
        STARTED.store(false, Ordering::SeqCst);
        crate::pr_err!("writeback: cannot start its thread: {errno}");
    }
    queue
}

/// Drops a reference; if it is the last, the flusher does it.
pub(super) fn drop_later(cache: Arc<PageCache>) {
    if Arc::strong_count(&cache) == 1 && host::fiber::in_fiber() {
        GONE.lock().push(cache);
        flusher().wake_all();
    }
}

/// Tunables have changed: the flusher looks at them.
pub fn tuned() {
    if DIRTY.load(Ordering::Relaxed) > 0 {
        flusher().wake_all();
    }
}

/// Makes the flusher write whatever is dirty: there is no clean memory left.
pub fn kick() {
    if DIRTY.load(Ordering::Relaxed) > 0 {
        KICKED.store(true, Ordering::SeqCst);
        flusher().wake_all();
    }
}

fn flush_loop(ctx: &KThreadCtx) {
    let mut looked = host::clock::monotonic();
    while !ctx.should_stop() {
        let any = !LIST.lock().is_empty();
        let interval = TUNABLES.interval.load(Ordering::Relaxed) * 10 * MSEC;
        let due = (any && interval > 0).then_some(looked + interval);
        ctx.wait(due, &[flusher()], || {
            KICKED.load(Ordering::SeqCst)
                || over_background()
                || !any && !LIST.lock().is_empty()
                || !GONE.lock().is_empty()
        });
        let gone = core::mem::take(&mut *GONE.lock());
        drop(gone);
        let all = KICKED.swap(false, Ordering::SeqCst);
        let now = host::clock::monotonic();
        if all || over_background() || due.is_some_and(|due| now >= due) {
            looked = now;
            write_oldest(all, now);
        } else if !any {
            looked = now;
        }
    }
}

/// Writes what is old, and if there is too much, until there is much less: to look at all files for each page that is one
/// too many would take more time than to write it.
fn write_oldest(all: bool, now: u64) {
    let expire = TUNABLES.expire.load(Ordering::Relaxed) * 10 * MSEC;
    let enough = if over_background() { background() / 2 } else { u64::MAX };
    for cache in caches(None) {
        let age = now.saturating_sub(cache.dirty_since.load(Ordering::Relaxed));
        if !all && dirty_bytes() <= enough && age < expire {
            break;
        }
        let _ = cache.flush();
    }
}

fn caches(group: Option<u64>) -> Vec<Arc<PageCache>> {
    let list = LIST.lock();
    let mut all: Vec<_> = list.values().filter(|c| group.is_none_or(|g| c.group == g)).cloned().collect();
    drop(list);
    // Others may change it meanwhile.
    all.sort_by_cached_key(|c| c.dirty_since.load(Ordering::Relaxed));
    all
}

/// Writes every dirty page of a file system's files (or of a block device): sync(2), syncfs(2), unmount. The first error.
pub fn write_group(group: u64) -> Result<()> {
    let mut outcome = Ok(());
    for cache in caches(Some(group)) {
        outcome = outcome.and(cache.flush());
    }
    outcome
}

/// Slows down whoever makes more pages dirty than there may be. May write.
pub(super) fn throttle(cache: &Arc<PageCache>) {
    if !over_background() {
        return;
    }
    flusher().wake_all();
    if over_limit() {
        let _ = cache.write_some(0, u64::MAX, THROTTLE);
        if over_limit() && host::fiber::in_fiber() {
            // Others have made most of them.
            crate::sched::yield_now();
        }
    }
}

impl PageCache {
    pub(super) fn count_dirty(&self, pages: u64) {
        self.dirty.fetch_add(pages, Ordering::SeqCst);
        DIRTY.fetch_add(pages, Ordering::Relaxed);
    }

    pub(super) fn count_clean(&self, pages: u64) {
        self.dirty.fetch_sub(pages, Ordering::SeqCst);
        DIRTY.fetch_sub(pages, Ordering::Relaxed);
    }

    fn has_work(&self) -> bool {
        self.dirty.load(Ordering::SeqCst) > 0 || self.inner.lock().chunks.values().any(|c| c.writable != 0)
    }

    /// Writes whatever is dirty.
    fn flush(self: &Arc<Self>) -> Result<()> {
        let started = host::clock::monotonic();
        let outcome = self.write_back(0, u64::MAX);
        // What became dirty meanwhile, or may do so through a mapping at any time, counts from here.
        self.dirty_since.store(started, Ordering::Relaxed);
        unlist(self);
        outcome
    }

    /// Writes the dirty pages of a range, and waits for those that are on their way. On return they are with the device.
    /// An error is also noted for all who have the file open; the pages are clean then.
    pub fn write_back(self: &Arc<Self>, start: u64, end: u64) -> Result<()> {
        self.write_some(start, end, u64::MAX)
    }

    fn write_some(self: &Arc<Self>, start: u64, end: u64, most: u64) -> Result<()> {
        let _io = self.io.lock();
        self.write_locked(start, end, most)
    }

    /// The same for one who holds `io`.
    pub(super) fn write_locked(&self, start: u64, end: u64, most: u64) -> Result<()> {
        let mut outcome = Ok(());
        let mut at = start / PAGE;
        let mut done = 0;
        while done < most
            && let Some(batch) = self.take_dirty(at, end.div_ceil(PAGE))?
        {
            at = batch.end;
            done += (batch.end - batch.start) * PAGE;
            let written = self.write_batch(&batch);
            self.end_writeback(&batch, written);
            outcome = outcome.and(written);
        }
        outcome
    }

    fn write_batch(&self, batch: &Batch) -> Result<()> {
        let size = self.size();
        let offset = batch.start * PAGE;
        // The file may have become shorter since, but not by a truncation, which waits for `io`.
        let mut left = size.saturating_sub(offset);
        let mut bufs = Vec::with_capacity(batch.parts.len());
        for (bytes, range) in &batch.parts {
            let len = (range.len() as u64).min(left) as usize;
            left -= len as u64;
            if len > 0 {
                bufs.push(&bytes[range.start..range.start + len]);
            }
        }
        if bufs.is_empty() { Ok(()) } else { self.ops.write_pages(offset, &bufs, size) }
    }

    /// Marks the first neighbouring dirty pages of `start..end` as being written, and gives what they hold.
    fn take_dirty(&self, start: u64, end: u64) -> Result<Option<Batch>> {
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        let mut batch: Option<Batch> = None;
        let mut cleaned = 0;
        for (&index, chunk) in inner.chunks.range_mut(start / PAGES..) {
            let base = index * PAGES;
            if base >= end || batch.as_ref().is_some_and(|b| b.end != base || b.len() >= PIECE) {
                break;
            }
            let range = bits(start.saturating_sub(base).min(PAGES), (end - base).min(PAGES));
            let wanted = match &batch {
                // Only what follows without a gap.
                Some(_) => runs(chunk.to_write() & range).next().filter(|r| r.0 == 0),
                None => runs(chunk.to_write() & range).next(),
            };
            let Some((from, to)) = wanted else { if batch.is_some() { break } else { continue } };
            let part = match &inner.object {
                Some(object) => {
                    let mut copy = buffers::take(((to - from) * PAGE) as usize);
                    read_object(object, (base + from) * PAGE, &mut copy)?;
                    let len = copy.len();
                    (Arc::new(copy), 0..len)
                }
                None => chunk.heap(from, to),
            };
            let mask = bits(from, to);
            cleaned += u64::from((chunk.dirty & mask).count_ones());
            chunk.dirty &= !mask;
            chunk.writeback |= mask;
            let batch =
                batch.get_or_insert(Batch { start: base + from, end: base + from, parts: Vec::new() });
            batch.parts.push(part);
            batch.end = base + to;
            if to < PAGES {
                break;
            }
        }
        self.count_clean(cleaned);
        if let Some(batch) = &batch {
            WRITEBACK.fetch_add(batch.end - batch.start, Ordering::Relaxed);
        }
        Ok(batch)
    }

    fn end_writeback(&self, batch: &Batch, written: Result<()>) {
        let mut inner = self.inner.lock();
        let (start, end) = (batch.start, batch.end);
        for (&index, chunk) in inner.chunks.range_mut(start / PAGES..end.div_ceil(PAGES)) {
            let base = index * PAGES;
            chunk.writeback &= !bits(start.saturating_sub(base), (end - base).min(PAGES));
        }
        if written.is_ok() {
            inner.stored = inner.stored.max((end * PAGE).min(self.size()));
        }
        drop(inner);
        WRITEBACK.fetch_sub(end - start, Ordering::Relaxed);
        if let Err(errno) = written {
            self.errors.set(errno);
            crate::pr_err!(
                "{}: lost page write: bytes {} to {}: {errno}",
                self.ops.describe(),
                start * PAGE,
                end * PAGE
            );
        }
    }
}

/// Neighbouring pages on their way to the disk.
struct Batch {
    start: u64,
    end: u64,
    parts: Vec<(Arc<Buffer>, std::ops::Range<usize>)>,
}

impl Batch {
    fn len(&self) -> u64 {
        (self.end - self.start) * PAGE
    }
}

const _: () = assert!(PIECE.is_multiple_of(CHUNK));
