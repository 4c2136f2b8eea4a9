//! An open block device: reads, writes and seeks by the byte.
//!
//! Data goes between the driver and the guest in pieces; a piece that isn't in the host's memory is waited for while the
//! next ones are already under way. Sectors that are written in part are read first.

use std::collections::VecDeque;
use std::sync::Arc;

use abi::Result;
use abi::errno::{EINVAL, ENOSPC, EOPNOTSUPP, EPERM};
use abi::fcntl::*;

use super::{BlockDevice, Pending, SECTOR, ioctl};
use crate::sync::{SpinLock, rank};
use crate::vfs::{File, FileOps, IovDest, IovSource};

/// Bytes of one piece: what fits a core's own cache.
const PIECE: usize = 256 << 10;
/// Pieces under way.
const WINDOW: usize = 4;
/// Buffers of a piece that are kept: fresh ones cost a page fault for each page.
const KEPT: usize = 16;

static BUFFERS: SpinLock<Vec<Vec<u8>>> = SpinLock::new(rank::LEAF, Vec::new());

fn buffer(len: usize) -> Vec<u8> {
    let kept = if len == PIECE { BUFFERS.lock().pop() } else { None };
    kept.unwrap_or_else(|| vec![0; len])
}

fn give_back(buffer: Vec<u8>) {
    if buffer.len() == PIECE {
        let mut kept = BUFFERS.lock();
        if kept.len() < KEPT {
            kept.push(buffer);
        }
    }
}

/// An open block device.
pub(super) struct BdevFile {
    bdev: Arc<BlockDevice>,
    exclusive: bool,
}

impl BdevFile {
    /// EBUSY with O_EXCL if somebody holds it.
    pub(super) fn open(bdev: Arc<BlockDevice>, flags: OpenFlags) -> Result<BdevFile> {
        let exclusive = flags.contains(OpenFlags::EXCL);
        if exclusive {
            bdev.disk.claim(bdev.number)?;
        }
        bdev.get();
        Ok(BdevFile { bdev, exclusive })
    }

    /// The device.
    pub(super) fn bdev(&self) -> &Arc<BlockDevice> {
        &self.bdev
    }

    /// O_DIRECT takes whole sectors only.
    fn check_direct(file: &File, pos: u64, len: usize) -> Result<()> {
        let whole = pos.is_multiple_of(SECTOR) && (len as u64).is_multiple_of(SECTOR);
        if file.flags().contains(OpenFlags::DIRECT) && !whole { Err(EINVAL) } else { Ok(()) }
    }

    /// Takes what is written in part together with the rest of its sectors.
    fn write_partial(&self, src: &mut IovSource<'_>, pos: u64, len: usize) -> Result<usize> {
        let _guard = self.bdev.partial.lock();
        let first = pos / SECTOR * SECTOR;
        let end = (pos + len as u64).next_multiple_of(SECTOR);
        let mut buf = buffer((end - first) as usize);
        self.bdev.read(first, &mut buf)?;
        let at = (pos - first) as usize;
        let n = src.read(&mut buf[at..at + len])?;
        self.bdev.write(first, &[&buf])?;
        give_back(buf);
        Ok(n)
    }
}

/// A read under way: the bytes to leave out at its start, and how many to copy.
struct Reading {
    pending: Pending,
    skip: usize,
    len: usize,
}

impl FileOps for BdevFile {
    fn read(&self, file: &File, dest: &mut IovDest<'_>, pos: &mut u64) -> Result<usize> {
        BdevFile::check_direct(file, *pos, dest.remaining())?;
        let size = self.bdev.len();
        let left = usize::try_from(size.saturating_sub(*pos)).unwrap_or(usize::MAX);
        let end = *pos + left.min(dest.remaining()) as u64;
        let (mut next, mut done) = (*pos, 0);
        let mut window: VecDeque<Reading> = VecDeque::new();
        let outcome = loop {
            // Ahead only while there is something to wait for.
            let waits = window.back().is_none_or(|last| !last.pending.is_ready());
            if next < end && window.len() < WINDOW && waits {
                let first = next / SECTOR * SECTOR;
                let stop = end.min(first + PIECE as u64);
                let buf = buffer((stop.next_multiple_of(SECTOR) - first) as usize);
                let pending = self.bdev.start_read(first, buf);
                window.push_back(Reading {
                    pending,
                    skip: (next - first) as usize,
                    len: (stop - next) as usize,
                });
                next = stop;
                continue;
            }
            let Some(reading) = window.pop_front() else { break Ok(()) };
            let (outcome, buf) = reading.pending.wait();
            if let Err(errno) = outcome {
                break Err(errno);
            }
            let copied = dest.write(&buf[reading.skip..reading.skip + reading.len]);
            give_back(buf);
            match copied {
                Ok(n) => {
                    done += n;
                    if n < reading.len {
                        break Ok(());
                    }
                }
                Err(errno) => break Err(errno),
            }
        };
        *pos += done as u64;
        if done == 0 { outcome.map(|()| 0) } else { Ok(done) }
    }

    fn write(&self, file: &File, src: &mut IovSource<'_>, pos: &mut u64) -> Result<usize> {
        if self.bdev.is_readonly() {
            return Err(EPERM);
        }
        BdevFile::check_direct(file, *pos, src.remaining())?;
        let size = self.bdev.len();
        if src.remaining() == 0 {
            return Ok(0);
        }
        if *pos >= size {
            return Err(ENOSPC);
        }
        let end = *pos + (size - *pos).min(src.remaining() as u64);
        let (mut next, mut done) = (*pos, 0);
        let mut window: VecDeque<(Pending, usize)> = VecDeque::new();
        let mut outcome = Ok(());
        while next < end && outcome.is_ok() {
            let len = (end - next).min(PIECE as u64) as usize;
            let whole = next.is_multiple_of(SECTOR) && len as u64 >= SECTOR;
            let started = if whole {
                let len = len / SECTOR as usize * SECTOR as usize;
                let mut buf = buffer(len);
                match src.read(&mut buf) {
                    // The rest of the guest's memory could not be read.
                    Ok(n) if n < len => {
                        buf.truncate(n / SECTOR as usize * SECTOR as usize);
                        outcome = Err(abi::errno::EFAULT);
                        Ok((buf.len(), Some(buf)))
                    }
                    Ok(_) => Ok((len, Some(buf))),
                    Err(errno) => Err(errno),
                }
            } else {
                let sector_end = (next + 1).next_multiple_of(SECTOR);
                self.write_partial(src, next, (sector_end.min(end) - next) as usize).map(|n| (n, None))
            };
            match started {
                Ok((len, buf)) => {
                    let pending = match buf {
                        Some(buf) => self.bdev.start_write(next, buf),
                        None => Pending::ready(Ok(()), Vec::new()),
                    };
                    window.push_back((pending, len));
                    next += len as u64;
                }
                Err(errno) => outcome = Err(errno),
            }
            if window.len() == WINDOW || window.front().is_some_and(|(pending, _)| pending.is_ready()) {
                outcome = outcome.and(finish_one(&mut window, &mut done));
            }
        }
        while !window.is_empty() {
            // After an error the rest is waited for, and does not count.
            let mut more = 0;
            let finished = finish_one(&mut window, &mut more);
            if outcome.is_ok() || outcome == Err(abi::errno::EFAULT) {
                done += more;
            }
            outcome = outcome.and(finished);
        }
        *pos += done as u64;
        if done == 0 { outcome.map(|()| 0) } else { Ok(done) }
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
        self.bdev.flush()
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

fn finish_one(window: &mut VecDeque<(Pending, usize)>, done: &mut usize) -> Result<()> {
    let Some((pending, len)) = window.pop_front() else { return Ok(()) };
    let (outcome, buf) = pending.wait();
    give_back(buf);
    outcome.map(|()| *done += len)
}

/// The device of an open block device file.
pub(super) fn bdev_of(file: &File) -> Option<&Arc<BlockDevice>> {
    file.ops_as::<BdevFile>().map(BdevFile::bdev)
}
