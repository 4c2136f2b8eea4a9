//! An open block device: reads, writes and seeks by the byte.
//!
//! They go through the device's page cache (`cache.rs`). With O_DIRECT data goes between the driver and the guest in
//! pieces; a piece that isn't in the host's memory is waited for while the next ones are already under way.

use std::collections::VecDeque;
use std::sync::Arc;

use abi::Result;
use abi::errno::{EFAULT, EINVAL, ENOSPC, EOPNOTSUPP, EPERM};
use abi::fcntl::*;

use super::buffers::{self, PIECE};
use super::{BlockDevice, Pending, SECTOR, ioctl};
use crate::mm::filemap::errseq::Since;
use crate::mm::filemap::{Advice, ReadAhead};
use crate::mm::kmem::Kmem;
use crate::vfs::{File, FileOps, IovDest, IovSource, Mapping, MmapRequest};

/// Pieces under way.
const WINDOW: usize = 4;
/// Bytes of one piece when the kernel has taken as much memory for guests as it may.
const SMALL_PIECE: usize = 16 << 10;

/// How large pieces may be, and how many under way, for a transfer of so many bytes; and what counts their memory.
fn shape(len: u64) -> (usize, usize, Option<Kmem>) {
    let most = len.min((PIECE * WINDOW) as u64) as usize;
    match Kmem::charge(most) {
        Ok(kmem) => (PIECE, WINDOW, Some(kmem)),
        Err(_) => (SMALL_PIECE, 1, None),
    }
}

/// An open block device.
pub(super) struct BdevFile {
    bdev: Arc<BlockDevice>,
    exclusive: bool,
    ahead: ReadAhead,
    since: Since,
}

impl BdevFile {
    /// EBUSY with O_EXCL if somebody holds it.
    pub(super) fn open(bdev: Arc<BlockDevice>, flags: OpenFlags) -> Result<BdevFile> {
        let exclusive = flags.contains(OpenFlags::EXCL);
        if exclusive {
            bdev.disk.claim(bdev.number)?;
        }
        bdev.get();
        let since = bdev.cache().errors().sample();
        Ok(BdevFile { bdev, exclusive, ahead: ReadAhead::default(), since })
    }

    /// The device.
    pub(super) fn bdev(&self) -> &Arc<BlockDevice> {
        &self.bdev
    }

    /// Whether a transfer goes past the cache. EINVAL for one that isn't of whole sectors.
    fn is_direct(file: &File, pos: u64, len: usize) -> Result<bool> {
        let whole = pos.is_multiple_of(SECTOR) && (len as u64).is_multiple_of(SECTOR);
        match file.flags().contains(OpenFlags::DIRECT) {
            true if !whole => Err(EINVAL),
            direct => Ok(direct),
        }
    }

    fn sync(&self, start: u64, end: u64) -> Result<()> {
        let cache = self.bdev.cache();
        // Also what writeback has met since this file was opened.
        cache.fsync(start, end, false).and(cache.errors().check(&self.since))
    }

    /// Reads past the cache.
    fn read_direct(&self, dest: &mut IovDest<'_>, pos: &mut u64) -> Result<usize> {
        let start = *pos;
        let left = usize::try_from(self.bdev.len().saturating_sub(start)).unwrap_or(usize::MAX);
        let end = start + left.min(dest.remaining()) as u64;
        self.bdev.settle(start, end)?;
        let (piece, most, _memory) = shape(end.saturating_sub(start));
        let mut next = start;
        let mut window = Window::new();
        let outcome = loop {
            // Ahead only while there is something to wait for.
            let waits = window.back().is_none_or(|(last, _)| !last.is_ready());
            if next < end && window.len() < most && waits {
                let len = (end - next).min(piece as u64) as usize;
                window.push_back((self.bdev.start_read(next, buffers::take(len)), len));
                next += len as u64;
                continue;
            }
            let Some((pending, len)) = window.pop_front() else { break Ok(()) };
            let (outcome, buf) = pending.wait();
            let copied = outcome.and_then(|()| dest.write(&buf));
            buffers::give(buf);
            match copied {
                Ok(n) => *pos += n as u64,
                Err(errno) => break Err(errno),
            }
            if copied != Ok(len) {
                break Ok(());
            }
        };
        if *pos == start { outcome.map(|()| 0) } else { Ok((*pos - start) as usize) }
    }

    /// Writes past the cache: what was written before an error counts.
    fn write_direct(&self, src: &mut IovSource<'_>, pos: &mut u64, end: u64) -> Result<usize> {
        let start = *pos;
        let (piece, most, _memory) = shape(end - start);
        let mut next = start;
        let mut window = Window::new();
        let mut outcome = Ok(());
        while next < end && outcome.is_ok() {
            let mut buf = buffers::take((end - next).min(piece as u64) as usize);
            match src.read(&mut buf) {
                Ok(n) if n < buf.len() => {
                    // The rest of the guest's memory cannot be read.
                    buf.truncate(n / SECTOR as usize * SECTOR as usize);
                    outcome = Err(EFAULT);
                }
                Ok(_) => {}
                Err(errno) => {
                    outcome = Err(errno);
                    break;
                }
            }
            let len = buf.len();
            window.push_back((self.bdev.start_write(next, buf), len));
            next += len as u64;
            if window.len() == most || window.front().is_some_and(|(pending, _)| pending.is_ready()) {
                outcome = outcome.and(finish_one(&mut window, pos));
            }
        }
        // All are waited for; those behind one that failed don't count.
        let mut written = matches!(outcome, Ok(()) | Err(EFAULT));
        while !window.is_empty() {
            let finished = finish_one(&mut window, if written { &mut *pos } else { &mut next });
            written &= finished.is_ok();
            outcome = outcome.and(finished);
        }
        self.bdev.outdate(start, next.max(end));
        if *pos == start { outcome.map(|()| 0) } else { Ok((*pos - start) as usize) }
    }
}

/// Transfers under way, with their lengths.
type Window = VecDeque<(Pending, usize)>;

fn finish_one(window: &mut Window, pos: &mut u64) -> Result<()> {
    let Some((pending, len)) = window.pop_front() else { return Ok(()) };
    let (outcome, buf) = pending.wait();
    buffers::give(buf);
    outcome.map(|()| *pos += len as u64)
}

impl FileOps for BdevFile {
    fn read(&self, file: &File, dest: &mut IovDest<'_>, pos: &mut u64) -> Result<usize> {
        if *pos >= self.bdev.len() {
            return Ok(0);
        }
        if BdevFile::is_direct(file, *pos, dest.remaining())? {
            return self.read_direct(dest, pos);
        }
        self.bdev.cache().read(dest, pos, &self.ahead)
    }

    fn write(&self, file: &File, src: &mut IovSource<'_>, pos: &mut u64) -> Result<usize> {
        if self.bdev.is_readonly() {
            return Err(EPERM);
        }
        let direct = BdevFile::is_direct(file, *pos, src.remaining())?;
        let size = self.bdev.len();
        if src.remaining() == 0 {
            return Ok(0);
        }
        if *pos >= size {
            return Err(ENOSPC);
        }
        let _writers = self.bdev.writers.lock();
        if direct {
            let end = *pos + (size - *pos).min(src.remaining() as u64);
            self.bdev.settle(*pos, end)?;
            return self.write_direct(src, pos, end);
        }
        self.bdev.cache().write(src, pos, size)
    }

    fn mmap(&self, _: &File, request: MmapRequest) -> Result<Mapping> {
        self.bdev.cache().mmap(request)
    }

    fn fsync_range(&self, _: &File, start: u64, end: u64, _: bool) -> Result<()> {
        self.sync(start, end)
    }

    fn write_range(&self, _: &File, start: u64, end: u64) -> Result<()> {
        let cache = self.bdev.cache();
        cache.write_back(start, end).and(cache.errors().check(&self.since))
    }

    fn fadvise(&self, _: &File, start: u64, end: u64, advice: u32) -> Result<()> {
        let cache = self.bdev.cache();
        match advice {
            POSIX_FADV_NORMAL => self.ahead.advise(Advice::Normal),
            POSIX_FADV_RANDOM => self.ahead.advise(Advice::Random),
            POSIX_FADV_SEQUENTIAL => self.ahead.advise(Advice::Sequential),
            POSIX_FADV_WILLNEED => cache.will_need(start, end.saturating_sub(start)),
            POSIX_FADV_DONTNEED => {
                // Pages that cannot be written stay.
                let _ = cache.write_back(start, end);
                cache.invalidate(start, end);
            }
            _ => {}
        }
        Ok(())
    }

    fn seek(&self, _: &File, pos: u64, offset: i64, whence: u32) -> Result<u64> {
        let size = self.bdev.len();
        let base = match whence {
            SEEK_SET => 0,
            SEEK_CUR => pos,
            SEEK_END => size,
            _ => return Err(EINVAL),
        };
        base.checked_add_signed(offset).filter(|&at| at <= size).ok_or(EINVAL)
    }

    fn fsync(&self, _: &File, _: bool) -> Result<()> {
        self.sync(0, u64::MAX)
    }

    fn fallocate(&self, _: &File, mode: u32, offset: u64, len: u64) -> Result<()> {
        const KNOWN: u32 =
            FALLOC_FL_ZERO_RANGE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE | FALLOC_FL_NO_HIDE_STALE;
        let size = self.bdev.len();
        if mode & !KNOWN != 0 {
            return Err(EOPNOTSUPP);
        }
        let end = offset.checked_add(len).ok_or(EINVAL)?;
        if offset >= size || (end > size && mode & FALLOC_FL_KEEP_SIZE == 0) {
            return Err(EINVAL);
        }
        let len = end.min(size) - offset;
        if !offset.is_multiple_of(SECTOR) || !len.is_multiple_of(SECTOR) {
            return Err(EINVAL);
        }
        match mode & !FALLOC_FL_KEEP_SIZE {
            FALLOC_FL_ZERO_RANGE => self.bdev.write_zeroes(offset, len, false),
            FALLOC_FL_PUNCH_HOLE => self.bdev.write_zeroes(offset, len, true),
            mode if mode == FALLOC_FL_PUNCH_HOLE | FALLOC_FL_NO_HIDE_STALE => self.bdev.discard(offset, len),
            _ => Err(EOPNOTSUPP),
        }
    }

    fn ioctl(&self, file: &File, cmd: u32, arg: u64) -> Result<u64> {
        ioctl::ioctl(&self.bdev, file, cmd, arg)
    }

    fn can_poll(&self, _: &File) -> bool {
        false
    }

    fn release(&self, _: &File) {
        if self.exclusive {
            self.bdev.disk.unclaim(self.bdev.number);
        }
        self.bdev.put();
    }
}

/// The device of an open block device file.
pub(super) fn bdev_of(file: &File) -> Option<&Arc<BlockDevice>> {
    file.ops_as::<BdevFile>().map(BdevFile::bdev)
}
