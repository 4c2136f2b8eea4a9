//! Writing: bytes become dirty pages.

use std::sync::Arc;

use abi::Result;
use abi::errno::EFBIG;

use super::buffers::{self, Buffer};
use super::chunk::{CHUNK, PAGES, bits};
use super::read::write_object;
use super::{Inner, PAGE, PageCache, reclaim, writeback};
use crate::vfs::IovSource;

/// Bytes copied at a time; up to the smaller, over the stack.
const SMALL: usize = 4096;
const PIECE: u64 = CHUNK;

impl PageCache {
    /// write(2) at `pos`, which is advanced, up to the length `limit` that the file may have. The caller holds the
    /// inode's `rwsem`. Short if an error comes after some bytes. ENOSPC, EDQUOT, EFBIG, EIO of a page that must be read
    /// first, EFAULT.
    pub fn write(self: &Arc<Self>, src: &mut IovSource<'_>, pos: &mut u64, limit: u64) -> Result<usize> {
        let mut done = 0;
        let mut small = [0; SMALL];
        let mut large = None;
        while src.remaining() > 0 {
            if *pos >= limit {
                return if done > 0 { Ok(done) } else { Err(EFBIG) };
            }
            // To the end of the chunk, so that pieces after the first are whole pages.
            let room = (limit - *pos).min(CHUNK - *pos % CHUNK).min(PIECE);
            let want = room.min(src.remaining() as u64) as usize;
            let outcome = if want as u64 == CHUNK {
                self.take_in(*pos, src)
            } else {
                let buf = if want <= SMALL {
                    &mut small[..want]
                } else {
                    &mut large.get_or_insert_with(buffers::whole)[..want]
                };
                src.peek(buf).and_then(|got| {
                    self.copy_in(*pos, &buf[..got])?;
                    Ok(got)
                })
            };
            match outcome {
                Ok(0) => break,
                Ok(n) => {
                    src.advance(n);
                    done += n;
                    *pos += n as u64;
                    writeback::throttle(self);
                }
                Err(errno) if done == 0 => return Err(errno),
                Err(_) => break,
            }
        }
        Ok(done)
    }

    /// Writes a whole chunk, whose buffer becomes the chunk's; what could be had of the source.
    fn take_in(self: &Arc<Self>, pos: u64, src: &IovSource<'_>) -> Result<usize> {
        let mut bytes = buffers::whole();
        let got = src.peek(&mut bytes)?;
        if got as u64 != CHUNK || self.inner.lock().object.is_some() {
            self.copy_in(pos, &bytes[..got])?;
            return Ok(got);
        }
        let dirty = self.inner.lock().chunks.get(&(pos / CHUNK)).map_or(0, |c| c.dirty);
        if dirty != u64::MAX {
            self.ops.reserve(pos, CHUNK)?;
            reclaim::make_room(CHUNK);
        }
        if let Err(bytes) = self.put_whole(pos, bytes) {
            // It was mapped just now.
            self.copy_in(pos, &bytes)?;
        }
        writeback::note_dirty(self);
        Ok(got)
    }

    /// Gives the buffer back where the pages are in an object.
    fn put_whole(&self, pos: u64, bytes: Buffer) -> core::result::Result<(), Buffer> {
        let mut inner = self.inner.lock();
        if inner.object.is_some() {
            return Err(bytes);
        }
        let first = pos / PAGE;
        inner.cancel_reads(first, first + PAGES);
        let chunk = inner.chunks.entry(pos / CHUNK).or_default();
        chunk.replace(bytes);
        let (new, dirtied) = (!chunk.uptodate, !chunk.dirty);
        (chunk.uptodate, chunk.dirty) = (u64::MAX, u64::MAX);
        reclaim::count(self, pos / CHUNK, chunk, u64::from(new.count_ones()));
        self.count_dirty(u64::from(dirtied.count_ones()));
        if pos + CHUNK > self.size() {
            self.grow(&mut inner, pos + CHUNK);
        }
        Ok(())
    }

    /// Writes bytes of one chunk.
    pub(super) fn copy_in(self: &Arc<Self>, pos: u64, data: &[u8]) -> Result<()> {
        if data.is_empty() {
            return Ok(());
        }
        let end = pos + data.len() as u64;
        let pages = (pos / PAGE, end.div_ceil(PAGE));
        let base = pos / CHUNK * PAGES;
        let range = bits(pages.0 - base, pages.1 - base);
        let dirty = self.inner.lock().chunks.get(&(pos / CHUNK)).map_or(0, |c| c.dirty);
        if range & !dirty != 0 {
            self.ops.reserve(pages.0 * PAGE, (pages.1 - pages.0) * PAGE)?;
            reclaim::make_room((pages.1 - pages.0) * PAGE);
        }
        loop {
            {
                let mut inner = self.inner.lock();
                if self.covers_edges(&inner, pos, end) {
                    self.put(&mut inner, pos, data)?;
                    break;
                }
            }
            // Pages of which only a part is written keep the rest.
            if !pos.is_multiple_of(PAGE) {
                self.fill(pages.0, pages.0 + 1)?;
            }
            if !end.is_multiple_of(PAGE) {
                self.fill(pages.1 - 1, pages.1)?;
            }
        }
        writeback::note_dirty(self);
        Ok(())
    }

    /// Whether the pages at both ends are up to date, or written whole, or hold nothing.
    fn covers_edges(&self, inner: &Inner, pos: u64, end: u64) -> bool {
        let uptodate = inner.chunks.get(&(pos / CHUNK)).map_or(0, |c| c.uptodate);
        let stored = inner.stored.next_multiple_of(PAGE);
        let fine = |at: u64| {
            let page = at / PAGE;
            page * PAGE >= stored || uptodate & (1 << (page % PAGES)) != 0
        };
        (pos.is_multiple_of(PAGE) || fine(pos)) && (end.is_multiple_of(PAGE) || fine(end))
    }

    fn put(&self, inner: &mut Inner, pos: u64, data: &[u8]) -> Result<()> {
        let end = pos + data.len() as u64;
        let (start_page, end_page) = (pos / PAGE, end.div_ceil(PAGE));
        let (index, base) = (pos / CHUNK, pos / CHUNK * PAGES);
        inner.cancel_reads(start_page, end_page);
        let (from, to) = (start_page - base, end_page - base);
        let old_size = self.size();
        // What nothing is stored of is zero around the bytes.
        for page in [start_page, end_page - 1] {
            let partial = page * PAGE < pos || (page + 1) * PAGE > end;
            if partial && page * PAGE >= inner.stored.next_multiple_of(PAGE) {
                self.zero(inner, page, page + 1);
            }
        }
        let Inner { chunks, object, maps, .. } = inner;
        let chunk = chunks.entry(index).or_default();
        match object {
            Some(object) => {
                if end > old_size {
                    // A guest may have scribbled behind the end of the last page.
                    let tail = old_size.next_multiple_of(PAGE).min(pos).saturating_sub(old_size);
                    object.set_len(end)?;
                    if tail > 0 && *maps > 0 {
                        write_object(object, old_size, &vec![0; tail as usize])?;
                    }
                }
                write_object(object, pos, data)?;
            }
            None => {
                let at = (pos - start_page * PAGE) as usize;
                chunk.heap_mut(from, to)[at..at + data.len()].copy_from_slice(data);
            }
        }
        let new = bits(from, to) & !chunk.uptodate;
        chunk.uptodate |= new;
        let dirtied = bits(from, to) & !chunk.dirty;
        chunk.dirty |= dirtied;
        reclaim::count(self, index, chunk, u64::from(new.count_ones()));
        self.count_dirty(u64::from(dirtied.count_ones()));
        if end > old_size {
            self.grow(inner, end);
        }
        Ok(())
    }
}
