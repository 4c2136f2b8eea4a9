//! Changes of a file's length and layout, and dropping what is cached.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use abi::Result;

use super::chunk::{CHUNK, PAGES, bits, runs};
use super::read::write_object;
use super::{Inner, PAGE, PageCache, reclaim, writeback};

impl PageCache {
    /// truncate(2): `change` does the file system's part. The caller holds the inode's `rwsem`. Pages beyond a shorter
    /// length are gone even if `change` fails.
    pub fn truncate(self: &Arc<Self>, size: u64, change: impl FnOnce() -> Result<()>) -> Result<()> {
        let old = self.size();
        let edge = size.min(old);
        // The rest of the last page becomes zeros on the disk, too.
        let tail = !edge.is_multiple_of(PAGE) && size != old && self.has_stored(edge);
        if tail {
            self.fill(edge / PAGE, edge / PAGE + 1)?;
        }
        let _io = self.io.lock();
        if size < old {
            self.cut(size)?;
        }
        change()?;
        if size > old {
            let mut inner = self.inner.lock();
            if let Some(object) = &inner.object {
                object.set_len(size)?;
            }
            self.grow(&mut inner, size);
        }
        if tail {
            self.redirty(edge / PAGE);
        }
        Ok(())
    }

    /// A change of what is stored in `start..end` that isn't made through the pages: holes, shifted ranges (then `end` is
    /// u64::MAX). `size` is the file's new length if it has another. The caller holds the inode's `rwsem`.
    pub fn change_range(
        self: &Arc<Self>,
        start: u64,
        end: u64,
        size: Option<u64>,
        change: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let _io = self.io.lock();
        let (first, last) = (start / PAGE, end.div_ceil(PAGE));
        self.write_locked(start, end, u64::MAX)?;
        let mapped = {
            let mut inner = self.inner.lock();
            inner.cancel_reads(first, last);
            let mapped = inner.maps > 0;
            if !mapped {
                self.discard(&mut inner, first, last)?;
            }
            mapped
        };
        let outcome = change();
        if let (Ok(()), Some(size)) = (&outcome, size) {
            let old = self.size();
            if size < old {
                self.cut(size)?;
            } else {
                let mut inner = self.inner.lock();
                if let Some(object) = &inner.object {
                    object.set_len(size)?;
                }
                self.grow(&mut inner, size);
                inner.stored = inner.stored.max(size);
            }
        }
        {
            let mut inner = self.inner.lock();
            inner.cancel_reads(first, last);
            if !mapped {
                self.discard(&mut inner, first, last)?;
            }
        }
        if mapped {
            self.refresh(first, last)?;
        }
        outcome
    }

    /// The file system has made the file longer (fallocate), with zeros.
    pub fn extend(&self, size: u64) -> Result<()> {
        let mut inner = self.inner.lock();
        if size > self.size() {
            if let Some(object) = &inner.object {
                object.set_len(size)?;
            }
            self.grow(&mut inner, size);
        }
        Ok(())
    }

    /// Forgets clean pages of a range: POSIX_FADV_DONTNEED, and whoever writes to the disk by another way. Pages that
    /// guests have mapped stay.
    pub fn invalidate(&self, start: u64, end: u64) {
        let (first, last) = (start.div_ceil(PAGE), if end >= self.size() { u64::MAX } else { end / PAGE });
        let mut inner = self.inner.lock();
        if inner.maps > 0 || first >= last {
            return;
        }
        inner.cancel_reads(first, last);
        let clean: Vec<(u64, u64, u64)> = inner
            .chunks
            .range(first / PAGES..)
            .take_while(|(index, _)| *index * PAGES < last)
            .map(|(&index, chunk)| {
                let base = index * PAGES;
                let range = bits(first.saturating_sub(base).min(PAGES), (last - base).min(PAGES));
                (index, range & chunk.uptodate & !chunk.busy(), base)
            })
            .collect();
        for (_, pages, base) in clean {
            for (from, to) in runs(pages) {
                // What an object refuses to give back stays cached.
                let _ = self.discard(&mut inner, base + from, base + to);
            }
        }
    }

    /// The file is going away: nothing of it is written any more.
    pub fn forget(self: &Arc<Self>) {
        let _io = self.io.lock();
        let mut inner = self.inner.lock();
        inner.cancel_reads(0, u64::MAX);
        let _ = self.discard(&mut inner, 0, u64::MAX);
        drop(inner);
        writeback::unlist(self);
    }

    /// Whether something may be stored of the page that holds `offset`, or cached.
    fn has_stored(&self, offset: u64) -> bool {
        let inner = self.inner.lock();
        let page = offset / PAGE;
        page * PAGE < inner.stored
            || inner.chunks.get(&(page / PAGES)).is_some_and(|c| c.uptodate & (1 << (page % PAGES)) != 0)
    }

    fn redirty(self: &Arc<Self>, page: u64) {
        let mut inner = self.inner.lock();
        let Some(chunk) = inner.chunks.get_mut(&(page / PAGES)) else { return };
        let new = bits(page % PAGES, page % PAGES + 1) & chunk.uptodate & !chunk.dirty;
        chunk.dirty |= new;
        drop(inner);
        self.count_dirty(u64::from(new.count_ones()));
        writeback::note_dirty(self);
    }

    /// The new, shorter length: pages beyond it are gone, and the rest of the last one is zero.
    fn cut(&self, size: u64) -> Result<()> {
        let mut inner = self.inner.lock();
        self.size.store(size, Ordering::SeqCst);
        inner.stored = inner.stored.min(size);
        let (page, within) = (size / PAGE, (size % PAGE) as usize);
        let beyond = size.div_ceil(PAGE);
        inner.cancel_reads(page, u64::MAX);
        if let Some(object) = &inner.object {
            object.set_len(size)?;
        }
        self.discard(&mut inner, beyond, u64::MAX)?;
        let Inner { chunks, object, .. } = &mut *inner;
        if within != 0
            && object.is_none()
            && let Some(chunk) = chunks.get_mut(&(page / PAGES))
            && chunk.uptodate & bits(page % PAGES, page % PAGES + 1) != 0
        {
            chunk.heap_mut(page % PAGES, page % PAGES + 1)[within..].fill(0);
        }
        Ok(())
    }

    /// The file has become longer. What guests see beyond its old end through their mappings is part of it again.
    pub(super) fn grow(&self, inner: &mut Inner, size: u64) {
        let old = self.size.swap(size, Ordering::SeqCst);
        if inner.maps == 0 {
            return;
        }
        let end = size.div_ceil(PAGE);
        for (&index, chunk) in inner.chunks.range_mut(old / CHUNK..) {
            let base = index * PAGES;
            if base >= end {
                break;
            }
            let new = chunk.mapped & bits(0, (end - base).min(PAGES)) & !chunk.uptodate;
            chunk.uptodate |= new;
            reclaim::count(self, index, chunk, u64::from(new.count_ones()));
        }
    }

    /// Drops the pages `start..end`, dirty or not. Those that guests may see are remembered as such.
    pub(super) fn discard(&self, inner: &mut Inner, start: u64, end: u64) -> Result<()> {
        let Inner { chunks, object, maps, .. } = inner;
        let (mut cleaned, mut gone, mut empty) = (0, 0, Vec::new());
        for (&index, chunk) in chunks.range_mut(start / PAGES..) {
            let base = index * PAGES;
            if base >= end {
                break;
            }
            let mask = bits(start.saturating_sub(base).min(PAGES), (end - base).min(PAGES));
            cleaned += u64::from((chunk.dirty & mask).count_ones());
            gone += u64::from((chunk.uptodate & mask).count_ones());
            if let Some(object) = object {
                for (from, to) in runs(chunk.uptodate & mask) {
                    object.punch_hole((base + from) * PAGE, (to - from) * PAGE)?;
                }
            }
            chunk.uptodate &= !mask;
            chunk.dirty &= !mask;
            if *maps == 0 {
                chunk.writable &= !mask;
                chunk.mapped &= !mask;
            }
            chunk.trim();
            if chunk.uptodate | chunk.writeback | chunk.writable | chunk.mapped == 0 {
                empty.push(index);
            }
        }
        for index in empty {
            chunks.remove(&index);
        }
        if chunks.is_empty() && *maps == 0 {
            *object = None;
        }
        self.count_clean(cleaned);
        reclaim::uncount(self.kind, gone);
        Ok(())
    }

    /// Pages of the object that guests see are read anew.
    fn refresh(&self, start: u64, end: u64) -> Result<()> {
        let pages: Vec<(u64, u64)> = {
            let inner = self.inner.lock();
            let chunks = inner.chunks.range(start / PAGES..);
            chunks
                .take_while(|(index, _)| *index * PAGES < end)
                .flat_map(|(&index, chunk)| {
                    let base = index * PAGES;
                    let mask = bits(start.saturating_sub(base).min(PAGES), (end - base).min(PAGES));
                    runs(chunk.uptodate & mask).map(move |(a, b)| (base + a, base + b))
                })
                .collect()
        };
        for (from, to) in pages {
            let mut buf = vec![0; ((to - from) * PAGE) as usize];
            self.ops.read_pages(from * PAGE, &mut buf)?;
            let inner = self.inner.lock();
            let len = (buf.len() as u64).min(self.size().saturating_sub(from * PAGE)) as usize;
            if let Some(object) = &inner.object {
                write_object(object, from * PAGE, &buf[..len])?;
            }
        }
        Ok(())
    }
}
