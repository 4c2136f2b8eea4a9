//! Mapped files: the pages live in a memory object of the host, and guests map those that are up to date.

use std::sync::Arc;

use abi::Result;
use abi::errno::{EFAULT, ENFILE};
use host::object::Object;

use super::chunk::{PAGES, bits, runs};
use super::read::{ReadAhead, write_object};
use super::{Inner, PAGE, PageCache, reclaim, writeback};
use crate::mm::paged::Pager;
use crate::vfs::{Mapping, MmapRequest};

/// A file up to this size is read when it is mapped, as a whole: most of a program's faults cost more than that.
const WHOLE: u64 = 4 << 20;
/// A first touch brings in at least this much around it, and a first write makes this much dirty. Bytes.
const AROUND: u64 = 64 << 10;

/// A mapping: as long as it lives the object stays and its pages with it.
struct MapGuard {
    cache: Arc<PageCache>,
    writable: bool,
    ahead: ReadAhead,
}

impl PageCache {
    /// mmap(2). ENFILE, ENOMEM.
    pub fn mmap(self: &Arc<Self>, request: MmapRequest) -> Result<Mapping> {
        let writable = request.shared && request.may_write;
        let made = self.map_object(writable);
        let fd = match made {
            Err(ENFILE) => {
                // Objects that nobody maps hold descriptors for nothing.
                reclaim::drop_all();
                self.map_object(writable)?
            }
            made => made?,
        };
        let guard = MapGuard { cache: self.clone(), writable, ahead: ReadAhead::default() };
        let size = self.size();
        if size <= WHOLE && size <= reclaim::room() {
            // Now that it has its place in the object. What cannot be read is an error only for those who touch it.
            let _ = self.fill(0, size.div_ceil(PAGE));
        }
        Ok(Mapping::Paged(fd, Arc::new(guard)))
    }

    fn map_object(&self, writable: bool) -> Result<Arc<std::os::fd::OwnedFd>> {
        let mut inner = self.inner.lock();
        self.become_object(&mut inner)?;
        let Some(object) = &inner.object else { return Err(EFAULT) };
        let fd = if writable { object.fd() } else { object.readonly_fd()? };
        inner.maps += 1;
        inner.writable_maps += u64::from(writable);
        Ok(fd)
    }

    fn become_object(&self, inner: &mut Inner) -> Result<()> {
        if inner.object.is_some() {
            return Ok(());
        }
        let object = Object::create_cache("pagecache")?;
        let size = self.size();
        object.set_len(size)?;
        for (&index, chunk) in &inner.chunks {
            for (from, to) in runs(chunk.uptodate) {
                let at = (index * PAGES + from) * PAGE;
                let len = ((to - from) * PAGE).min(size.saturating_sub(at)) as usize;
                write_object(&object, at, &chunk.peek(from, to)[..len])?;
            }
        }
        for chunk in inner.chunks.values_mut() {
            chunk.release_heap();
        }
        inner.object = Some(object);
        Ok(())
    }

    /// How much of `offset..offset + len` is cached, from `offset` on or at all: mincore(2).
    pub fn cached_pages(&self, offset: u64, len: u64) -> Vec<(u64, u64)> {
        self.inner.lock().pages(offset, offset.saturating_add(len).min(self.size()), false)
    }
}

impl Inner {
    /// Guests are shown what is there of `start..end`.
    fn show(&mut self, start: u64, end: u64) {
        let (first, last) = (start / PAGE, end.div_ceil(PAGE));
        for (&index, chunk) in self.chunks.range_mut(first / PAGES..) {
            let base = index * PAGES;
            if base >= last {
                break;
            }
            let mask = bits(first.saturating_sub(base).min(PAGES), (last - base).min(PAGES));
            chunk.mapped |= chunk.uptodate & mask;
        }
    }

    /// Pages of `start..end` that are up to date (or that guests may write to), as ranges of bytes.
    fn pages(&self, start: u64, end: u64, writable: bool) -> Vec<(u64, u64)> {
        let (first, last) = (start / PAGE, end.div_ceil(PAGE));
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for (&index, chunk) in self.chunks.range(first / PAGES..) {
            let base = index * PAGES;
            if base >= last {
                break;
            }
            let mask = bits(first.saturating_sub(base).min(PAGES), (last - base).min(PAGES));
            let pages = if writable { chunk.writable & chunk.uptodate } else { chunk.uptodate };
            for (from, to) in runs(pages & mask) {
                let (from, to) = ((base + from) * PAGE, (base + to) * PAGE);
                match ranges.last_mut() {
                    Some(range) if range.1 == from => range.1 = to,
                    _ => ranges.push((from, to)),
                }
            }
        }
        ranges
    }
}

impl Pager for MapGuard {
    fn present(&self, start: u64, end: u64, write: bool) -> Vec<(u64, u64)> {
        let mut inner = self.cache.inner.lock();
        inner.show(start, end.min(self.cache.size()));
        inner.pages(start, end.min(self.cache.size()), write && self.writable)
    }

    fn page_in(&self, offset: u64, write: bool) -> Result<(u64, u64)> {
        let cache = &self.cache;
        loop {
            let size = cache.size();
            let end = size.next_multiple_of(PAGE);
            if offset >= end {
                return Err(EFAULT);
            }
            let around = offset / AROUND * AROUND;
            let window = self.ahead.window(around, AROUND).min(reclaim::room().max(AROUND));
            let stop = around.saturating_add(window).min(end);
            if cache.fill(around / PAGE, stop / PAGE).is_err() {
                // Something else in the window cannot be read.
                cache.fill(offset / PAGE, offset / PAGE + 1)?;
            }
            self.ahead.read(stop);
            if !write || !self.writable {
                return Ok((around, stop));
            }
            let stop = (around + AROUND).min(end);
            cache.ops.reserve(around, stop - around)?;
            if self.make_writable(offset, around, stop) {
                writeback::note_dirty(cache);
                cache.ops.mapped_write();
                return Ok((around, stop));
            }
        }
    }

    fn populate(&self, start: u64, end: u64) -> Result<()> {
        let end = end.min(self.cache.size());
        if start < end { self.cache.fill(start / PAGE, end.div_ceil(PAGE)) } else { Ok(()) }
    }

    fn will_need(&self, start: u64, end: u64) {
        self.cache.will_need(start, end.saturating_sub(start));
    }

    fn shared_by(&self) -> (u64, u64) {
        (self.cache.id, self.cache.inner.lock().maps)
    }

    fn cold(&self, wanted: u64) -> Vec<(u64, u64)> {
        self.cache.cold(wanted)
    }

    fn evict(&self, ranges: &[(u64, u64)]) -> u64 {
        self.cache.evict_hidden(ranges)
    }

    fn write_back(&self, ranges: &[(u64, u64)]) {
        for &(start, end) in ranges {
            // Who has the file open learns of errors by fsync(2).
            let _ = self.cache.write_back(start, end);
        }
    }
}

impl MapGuard {
    /// The pages of `start..end` that are there may be written from now on, without notice. False if the one at `offset`
    /// has gone meanwhile.
    fn make_writable(&self, offset: u64, start: u64, end: u64) -> bool {
        let mut inner = self.cache.inner.lock();
        let page = start / PAGE;
        let Some(chunk) = inner.chunks.get_mut(&(page / PAGES)) else { return false };
        let (from, to) = (page % PAGES, page % PAGES + (end - start) / PAGE);
        if chunk.uptodate & (1 << (offset / PAGE % PAGES)) == 0 {
            return false;
        }
        chunk.writable |= bits(from, to) & chunk.uptodate;
        true
    }
}

impl Drop for MapGuard {
    fn drop(&mut self) {
        let mut dirtied = 0;
        {
            let mut inner = self.cache.inner.lock();
            inner.maps -= 1;
            inner.writable_maps -= u64::from(self.writable);
            if inner.maps == 0 {
                inner.chunks.values_mut().for_each(|chunk| chunk.mapped = 0);
            }
            if self.writable && inner.writable_maps == 0 {
                // Written up to now, perhaps.
                for chunk in inner.chunks.values_mut() {
                    let new = chunk.writable & chunk.uptodate & !chunk.dirty;
                    chunk.dirty |= new;
                    chunk.writable = 0;
                    dirtied += u64::from(new.count_ones());
                }
            }
        }
        if dirtied > 0 {
            self.cache.count_dirty(dirtied);
            writeback::note_dirty(&self.cache);
        }
    }
}
