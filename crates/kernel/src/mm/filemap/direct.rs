//! O_DIRECT: past the cache, which is told.
//!
//! What isn't whole pages, and whatever guests have mapped, goes through the cache and is written at once, as Linux does
//! where it cannot invalidate.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use abi::Result;
use abi::errno::EFBIG;

use super::buffers;
use super::chunk::CHUNK;
use super::{PAGE, PageCache};
use crate::vfs::{IovDest, IovSource};

/// Bytes that are moved at once.
const PIECE: u64 = CHUNK;

impl PageCache {
    /// A read that sees what is stored, after what is dirty there has been written.
    pub fn read_direct(self: &Arc<Self>, dest: &mut IovDest<'_>, pos: &mut u64) -> Result<usize> {
        let mut done = 0;
        let mut scratch = buffers::whole();
        while dest.remaining() > 0 {
            // A piece that doesn't begin with a page has one page more.
            let most = PIECE - *pos % PAGE;
            let end = pos.saturating_add((dest.remaining() as u64).min(most)).min(self.size());
            if *pos >= end {
                break;
            }
            let (first, last) = (*pos / PAGE * PAGE, end.next_multiple_of(PAGE));
            let skip = (*pos - first) as usize;
            let len = (end - *pos) as usize;
            let buf = &mut scratch[..(last - first) as usize];
            let outcome = self
                .settle(first, last)
                .and_then(|()| self.ops.read_pages(first, buf))
                .and_then(|()| dest.write(&scratch[skip..skip + len]));
            match outcome {
                Ok(0) => break,
                Ok(n) => {
                    done += n;
                    *pos += n as u64;
                }
                Err(errno) if done == 0 => return Err(errno),
                Err(_) => break,
            }
        }
        Ok(done)
    }

    fn settle(self: &Arc<Self>, start: u64, end: u64) -> Result<()> {
        if self.is_dirty() || self.inner.lock().writable_maps > 0 {
            self.write_back(start, end)
        } else {
            Ok(())
        }
    }

    /// A write that is with the device when it returns. As [`PageCache::write`] otherwise.
    pub fn write_direct(
        self: &Arc<Self>,
        src: &mut IovSource<'_>,
        pos: &mut u64,
        limit: u64,
    ) -> Result<usize> {
        let mut done = 0;
        let mut scratch = buffers::whole();
        while src.remaining() > 0 {
            if *pos >= limit {
                return if done > 0 { Ok(done) } else { Err(EFBIG) };
            }
            let want = (src.remaining() as u64).min(PIECE).min(limit - *pos) as usize;
            let buf = &mut scratch[..want];
            let outcome = src.peek(buf).and_then(|got| self.store(*pos, &buf[..got]).map(|()| got));
            match outcome {
                Ok(0) => break,
                Ok(n) => {
                    src.advance(n);
                    done += n;
                    *pos += n as u64;
                }
                Err(errno) if done == 0 => return Err(errno),
                Err(_) => break,
            }
        }
        Ok(done)
    }

    fn store(self: &Arc<Self>, pos: u64, data: &[u8]) -> Result<()> {
        let end = pos + data.len() as u64;
        let whole = pos.is_multiple_of(PAGE) && end.is_multiple_of(PAGE);
        if !whole || self.inner.lock().maps > 0 {
            let mut at = pos;
            while at < end {
                let stop = ((at / CHUNK + 1) * CHUNK).min(end);
                self.copy_in(at, &data[(at - pos) as usize..(stop - pos) as usize])?;
                at = stop;
            }
            return self.write_back(pos, end);
        }
        self.ops.reserve(pos, end - pos)?;
        let _io = self.io.lock();
        let (first, last) = (pos / PAGE, end / PAGE);
        let forget = || {
            let mut inner = self.inner.lock();
            inner.cancel_reads(first, last);
            if inner.maps == 0 { self.discard(&mut inner, first, last) } else { Ok(()) }
        };
        forget()?;
        self.ops.write_pages(pos, &[data], self.size().max(end))?;
        // Whoever read meanwhile may have read what was there before.
        forget()?;
        let mut inner = self.inner.lock();
        inner.stored = inner.stored.max(end);
        if end > self.size() {
            if let Some(object) = &inner.object {
                object.set_len(end)?;
            }
            self.grow(&mut inner, end);
        }
        debug_assert!(self.size.load(Ordering::SeqCst) >= end);
        Ok(())
    }
}
