//! Reading, filling pages, and read-ahead.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use abi::Result;

use super::buffers::{self, Buffer};
use super::chunk::{CHUNK, PAGES, bits, runs};
use super::{Inner, PAGE, PageCache, reclaim};
use crate::sync::{Interruptible, Sleep, wait_event};
use crate::vfs::IovDest;

/// Read-ahead begins with this much and doubles up to this much, bytes.
const WINDOW_MIN: u64 = 128 << 10;
const WINDOW_MAX: u64 = 1 << 20;
/// Reads up to this size go over the stack, larger ones straight from the pages.
const SMALL: usize = 4096;
/// Bytes of an object that are copied at a time.
const PIECE: u64 = 128 << 10;

/// A read from the disk that is under way.
pub(super) struct Reading {
    id: u64,
    /// Pages, counted from the start of the file.
    start: u64,
    end: u64,
    /// What it reads is outdated by now.
    cancelled: bool,
}

/// posix_fadvise(2) of an open file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "names of POSIX_FADV_*")]
pub enum Advice {
    Normal,
    Random,
    Sequential,
}

/// What an open file was read like so far.
#[derive(Default)]
pub struct ReadAhead {
    /// Where the next read starts if it is sequential.
    next: AtomicU64,
    /// The last window, bytes.
    window: AtomicU64,
    /// 0 normal, 1 random, 2 sequential.
    advice: AtomicU32,
}

impl ReadAhead {
    /// posix_fadvise(2)
    pub fn advise(&self, advice: Advice) {
        self.advice.store(advice as u32, Ordering::Relaxed);
    }

    /// How much is read, at least `want` bytes, when what is at `pos` isn't there.
    pub(super) fn window(&self, pos: u64, want: u64) -> u64 {
        let sequential = pos == self.next.load(Ordering::Relaxed) || pos == 0;
        let last = self.window.load(Ordering::Relaxed);
        let window = match self.advice.load(Ordering::Relaxed) {
            1 => 0,
            2 => WINDOW_MAX,
            _ if sequential => (last * 2).clamp(WINDOW_MIN, WINDOW_MAX),
            _ => 0,
        };
        self.window.store(window, Ordering::Relaxed);
        window.max(want)
    }

    pub(super) fn read(&self, end: u64) {
        self.next.store(end, Ordering::Relaxed);
    }
}

/// What is at a place of the file.
enum Found {
    /// So many bytes are in the small buffer.
    Copied(usize),
    /// Bytes of a chunk on the heap.
    Heap(Arc<Buffer>, std::ops::Range<usize>),
    /// So many bytes of the object are in the large buffer.
    Object(usize),
    /// So many bytes are zeros.
    Zeros(usize),
    /// Must be read first.
    Missing,
}

impl PageCache {
    /// read(2) at `pos`, which is advanced; 0 at the end of the file. EIO, EFAULT.
    pub fn read(self: &Arc<Self>, dest: &mut IovDest<'_>, pos: &mut u64, ahead: &ReadAhead) -> Result<usize> {
        let mut done = 0;
        let mut small = [0; SMALL];
        let mut large = None;
        let sequential = *pos == ahead.next.load(Ordering::Relaxed);
        while dest.remaining() > 0 {
            let want = (dest.remaining() as u64).min(self.size().saturating_sub(*pos));
            if want == 0 {
                break;
            }
            let outcome = match self.look(*pos, want, sequential || done > 0, &mut small, &mut large) {
                Err(errno) => Err(errno),
                Ok(Found::Copied(n)) => dest.write(&small[..n]),
                Ok(Found::Heap(bytes, range)) => dest.write(&bytes[range]),
                Ok(Found::Object(n)) => {
                    large.as_deref().map_or(Ok(0), |large: &[u8]| dest.write(&large[..n]))
                }
                Ok(Found::Zeros(n)) => dest.write_zeros(n),
                Ok(Found::Missing) => match self.read_ahead(*pos, want, ahead) {
                    Ok(()) => continue,
                    Err(errno) => Err(errno),
                },
            };
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
        ahead.read(*pos);
        Ok(done)
    }

    fn look(
        &self,
        pos: u64,
        want: u64,
        sequential: bool,
        small: &mut [u8; SMALL],
        large: &mut Option<Buffer>,
    ) -> Result<Found> {
        let (index, within) = (pos / CHUNK, pos % CHUNK);
        let page = within / PAGE;
        let mut inner = self.inner.lock();
        let Inner { chunks, object, stored, .. } = &mut *inner;
        let chunk = chunks.get_mut(&index);
        let uptodate = chunk.as_ref().map_or(0, |c| c.uptodate);
        let present = u64::from((!(uptodate >> page)).trailing_zeros()).min(PAGES - page);
        if present == 0 {
            // A hole that was never written, and will read as zeros until it is.
            let hole = u64::from((uptodate >> page).trailing_zeros()).min(PAGES - page);
            let from = stored.next_multiple_of(PAGE);
            if pos >= from {
                return Ok(Found::Zeros(((page + hole) * PAGE - within).min(want) as usize));
            }
            return Ok(Found::Missing);
        }
        let Some(chunk) = chunk else { return Ok(Found::Missing) };
        if !sequential || within == 0 {
            chunk.referenced |= !sequential;
        }
        let len = ((page + present) * PAGE - within).min(want);
        if let Some(object) = object {
            let len = len.min(PIECE) as usize;
            let buf = if len <= SMALL {
                &mut small[..len]
            } else {
                &mut large.get_or_insert_with(buffers::whole)[..len]
            };
            read_object(object, pos, buf)?;
            return Ok(if len <= SMALL { Found::Copied(len) } else { Found::Object(len) });
        }
        let offset = (within % PAGE) as usize;
        if len as usize <= SMALL {
            let pages = (offset as u64 + len).div_ceil(PAGE);
            let len = len as usize;
            small[..len].copy_from_slice(&chunk.peek(page, page + pages)[offset..offset + len]);
            return Ok(Found::Copied(len));
        }
        let (bytes, range) = chunk.heap(page, page + present);
        Ok(Found::Heap(bytes, range.start + offset..range.start + offset + len as usize))
    }

    fn read_ahead(&self, pos: u64, want: u64, ahead: &ReadAhead) -> Result<()> {
        let end = self.size();
        let window = ahead.window(pos, want.min(WINDOW_MAX));
        let wanted = (pos / PAGE, pos.saturating_add(want.min(PAGE)).min(end).div_ceil(PAGE));
        // A chunk that comes in two parts is copied.
        let to = if window < CHUNK { PAGE } else { CHUNK };
        let window_end = pos.saturating_add(window).next_multiple_of(to).min(end).div_ceil(PAGE);
        match self.fill(wanted.0, window_end.max(wanted.1)) {
            Ok(()) => Ok(()),
            // Something further on cannot be read, which nobody asked for yet.
            Err(_) => self.fill(wanted.0, wanted.1),
        }
    }

    /// readahead(2), POSIX_FADV_WILLNEED: reads a range, as far as there is memory for it. Errors are left to those who
    /// read.
    pub fn will_need(&self, offset: u64, len: u64) {
        let end = offset.saturating_add(len).min(self.size());
        let end = end.min(offset.saturating_add(reclaim::room()));
        if offset < end {
            let _ = self.fill(offset / PAGE, end.div_ceil(PAGE));
        }
    }

    /// Reads the missing ones of the pages `start..end`.
    pub(super) fn fill(&self, start: u64, end: u64) -> Result<()> {
        let mut at = start;
        while at < end {
            let stop = ((at / PAGES + 1) * PAGES).min(end);
            self.fill_in_chunk(at, stop)?;
            at = stop;
        }
        Ok(())
    }

    fn fill_in_chunk(&self, start: u64, end: u64) -> Result<()> {
        let base = start / PAGES * PAGES;
        loop {
            let (id, from, to) = {
                let mut inner = self.inner.lock();
                let uptodate = inner.chunks.get(&(start / PAGES)).map_or(0, |c| c.uptodate);
                let missing = bits(start - base, end - base) & !uptodate;
                let Some((from, to)) = runs(missing).next() else { return Ok(()) };
                let (from, to) = (base + from, base + to);
                if from * PAGE >= inner.stored.next_multiple_of(PAGE) {
                    self.zero(&mut inner, from, to);
                    continue;
                }
                if let Some(other) = inner.reading.iter().find(|r| r.start < to && from < r.end) {
                    let id = other.id;
                    drop(inner);
                    self.wait_for_reading(id);
                    continue;
                }
                let id = inner.next_reading;
                inner.next_reading += 1;
                inner.reading.push(Reading { id, start: from, end: to, cancelled: false });
                (id, from, to)
            };
            reclaim::make_room((to - from) * PAGE);
            let mut buf = buffers::take(((to - from) * PAGE) as usize);
            let outcome = self.ops.read_pages(from * PAGE, &mut buf);
            let installed = {
                let mut inner = self.inner.lock();
                let at = inner.reading.iter().position(|r| r.id == id);
                let cancelled = at.is_none_or(|at| inner.reading.swap_remove(at).cancelled);
                if outcome.is_ok() && !cancelled { self.install(&mut inner, from, buf) } else { Ok(()) }
            };
            self.reads.wake_all();
            outcome?;
            installed?;
        }
    }

    fn wait_for_reading(&self, id: u64) {
        let over = || (!self.inner.lock().reading.iter().any(|r| r.id == id)).then_some(());
        if host::fiber::in_fiber() {
            let sleep = Sleep { interruptible: Interruptible::No, deadline: None };
            let _ = wait_event(&self.reads, sleep, over);
        } else {
            while over().is_none() {
                std::thread::yield_now();
            }
        }
    }

    /// Puts pages that were read where they belong, unless newer ones are there.
    fn install(&self, inner: &mut Inner, start: u64, bytes: Buffer) -> Result<()> {
        let (index, from) = (start / PAGES, start % PAGES);
        let to = from + bytes.len() as u64 / PAGE;
        let size = self.size();
        let Inner { chunks, object, .. } = inner;
        let chunk = chunks.entry(index).or_default();
        let new = bits(from, to) & !chunk.uptodate;
        match object {
            Some(object) => {
                for (a, b) in runs(new) {
                    let at = (index * PAGES + a) * PAGE;
                    let len = ((b - a) * PAGE).min(size.saturating_sub(at)) as usize;
                    let part = ((a - from) * PAGE) as usize;
                    write_object(object, at, &bytes[part..part + len])?;
                }
                chunk.uptodate |= new;
            }
            None => chunk.install(from, bytes),
        }
        reclaim::count(self, index, chunk, u64::from(new.count_ones()));
        Ok(())
    }

    /// Pages that nothing is stored of come up to date as zeros. The object's are zeros already, or what a guest has
    /// written there.
    pub(super) fn zero(&self, inner: &mut Inner, start: u64, end: u64) {
        let (index, from, to) = (start / PAGES, start % PAGES, start % PAGES + (end - start));
        let Inner { chunks, object, .. } = inner;
        let chunk = chunks.entry(index).or_default();
        let new = bits(from, to) & !chunk.uptodate;
        if object.is_none() {
            for (a, b) in runs(new) {
                chunk.heap_mut(a, b).fill(0);
            }
        }
        chunk.uptodate |= new;
        reclaim::count(self, index, chunk, u64::from(new.count_ones()));
    }
}

impl Inner {
    /// Reads under way that overlap the pages `start..end` come too late.
    pub(super) fn cancel_reads(&mut self, start: u64, end: u64) {
        for reading in &mut self.reading {
            reading.cancelled |= reading.start < end && start < reading.end;
        }
    }
}

/// Reads all of `buf`; what the object lacks is zeros.
pub(super) fn read_object(object: &host::object::Object, offset: u64, buf: &mut [u8]) -> Result<()> {
    let mut done = 0;
    while done < buf.len() {
        match object.pread(offset + done as u64, &mut buf[done..])? {
            0 => {
                buf[done..].fill(0);
                break;
            }
            n => done += n,
        }
    }
    Ok(())
}

/// Writes all of `data`.
pub(super) fn write_object(object: &host::object::Object, offset: u64, data: &[u8]) -> Result<()> {
    let mut done = 0;
    while done < data.len() {
        match object.pwrite(offset + done as u64, &data[done..])? {
            0 => return Err(abi::errno::ENOSPC),
            n => done += n,
        }
    }
    Ok(())
}
