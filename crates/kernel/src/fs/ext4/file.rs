//! Open regular files.

use std::sync::Arc;

use abi::Result;
use abi::errno::{EINVAL, ENXIO, EOPNOTSUPP, EOVERFLOW, EPERM};
use abi::fcntl::*;
use ext4::InodeFlags;

use super::node::Node;
use super::{ioctl, volume_of};
use crate::mm::filemap::errseq::Since;
use crate::mm::filemap::{Advice, PageCache, ReadAhead};
use crate::vfs::{File, FileOps, IovDest, IovSource, Mapping, MmapRequest};

/// O_DIRECT takes multiples of this many bytes.
const SECTOR: u64 = 512;

/// A regular file.
pub(super) struct RegularFile {
    cache: Arc<PageCache>,
    ahead: ReadAhead,
    since: Since,
}

impl RegularFile {
    pub(super) fn new(cache: &Arc<PageCache>) -> RegularFile {
        RegularFile { cache: cache.clone(), ahead: ReadAhead::default(), since: cache.errors().sample() }
    }

    fn sync(&self, start: u64, end: u64, data_only: bool) -> Result<()> {
        let own = self.cache.fsync(start, end, data_only);
        // Also what writeback has met since this file was opened.
        own.and(self.cache.errors().check(&self.since))
    }
}

fn check_direct(pos: u64, len: usize) -> Result<()> {
    if pos.is_multiple_of(SECTOR) && (len as u64).is_multiple_of(SECTOR) { Ok(()) } else { Err(EINVAL) }
}

impl FileOps for RegularFile {
    fn read(&self, file: &File, dest: &mut IovDest<'_>, pos: &mut u64) -> Result<usize> {
        let done = if file.flags().contains(OpenFlags::DIRECT) {
            check_direct(*pos, dest.remaining())?;
            self.cache.read_direct(dest, pos)?
        } else {
            self.cache.read(dest, pos, &self.ahead)?
        };
        if done > 0 {
            Node::of(file.inode()).accessed(file);
        }
        Ok(done)
    }

    fn write(&self, file: &File, src: &mut IovSource<'_>, pos: &mut u64) -> Result<usize> {
        let inode = file.inode();
        let node = Node::of(inode);
        node.volume.writable()?;
        let start;
        let done = {
            let _writers = inode.rwsem.lock();
            if src.appends(file) {
                *pos = self.cache.size();
            }
            start = *pos;
            let limit = node.max_size();
            node.touch_modified()?;
            if file.flags().contains(OpenFlags::DIRECT) {
                check_direct(*pos, src.remaining())?;
                self.cache.write_direct(src, pos, limit)?
            } else {
                self.cache.write(src, pos, limit)?
            }
        };
        if node.is_synchronous() && !file.flags().contains(OpenFlags::DSYNC) {
            self.sync(start, *pos, false)?;
        }
        Ok(done)
    }

    fn seek(&self, file: &File, pos: u64, offset: i64, whence: u32) -> Result<u64> {
        let size = self.cache.size();
        let base = match whence {
            SEEK_DATA | SEEK_HOLE => {
                let from = u64::try_from(offset).map_err(|_| ENXIO)?;
                if from >= size {
                    return Err(ENXIO);
                }
                // Blocks are known once they are allocated.
                self.cache.write_back(0, u64::MAX)?;
                let inode = &Node::of(file.inode()).inode;
                return if whence == SEEK_DATA {
                    inode.seek_data(from, size)
                } else {
                    inode.seek_hole(from, size)
                };
            }
            SEEK_SET => 0,
            SEEK_CUR => pos as i64,
            SEEK_END => size as i64,
            _ => return Err(EINVAL),
        };
        u64::try_from(base.checked_add(offset).ok_or(EOVERFLOW)?).map_err(|_| EINVAL)
    }

    fn mmap(&self, file: &File, request: MmapRequest) -> Result<Mapping> {
        let mapping = self.cache.mmap(request)?;
        Node::of(file.inode()).accessed(file);
        Ok(mapping)
    }

    fn fsync(&self, _: &File, data_only: bool) -> Result<()> {
        self.sync(0, u64::MAX, data_only)
    }

    fn fsync_range(&self, _: &File, start: u64, end: u64, data_only: bool) -> Result<()> {
        self.sync(start, end, data_only)
    }

    fn write_range(&self, _: &File, start: u64, end: u64) -> Result<()> {
        self.cache.write_back(start, end).and(self.cache.errors().check(&self.since))
    }

    fn fadvise(&self, _: &File, start: u64, end: u64, advice: u32) -> Result<()> {
        match advice {
            POSIX_FADV_NORMAL => self.ahead.advise(Advice::Normal),
            POSIX_FADV_RANDOM => self.ahead.advise(Advice::Random),
            POSIX_FADV_SEQUENTIAL => self.ahead.advise(Advice::Sequential),
            POSIX_FADV_WILLNEED => self.cache.will_need(start, end.saturating_sub(start)),
            POSIX_FADV_DONTNEED => {
                // Pages that cannot be written stay.
                let _ = self.cache.write_back(start, end);
                self.cache.invalidate(start, end);
            }
            _ => {}
        }
        Ok(())
    }

    fn fallocate(&self, file: &File, mode: u32, offset: u64, len: u64) -> Result<()> {
        let inode = file.inode();
        let node = Node::of(inode);
        node.volume.writable()?;
        let _writers = inode.rwsem.lock();
        let flags = node.inode.stat().flags;
        let keep = mode & FALLOC_FL_KEEP_SIZE != 0;
        if flags.contains(InodeFlags::IMMUTABLE)
            || flags.contains(InodeFlags::APPEND) && mode & !FALLOC_FL_KEEP_SIZE != 0
        {
            return Err(EPERM);
        }
        let size = self.cache.size();
        let end = offset.saturating_add(len);
        if end > node.max_size() && mode & FALLOC_FL_COLLAPSE_RANGE == 0 {
            return Err(abi::errno::EFBIG);
        }
        node.volume.changed();
        let privileged = node.volume.may_use_reserve(&file.cred);
        let change = || node.inode.fallocate(mode, offset, len, privileged).map(drop);
        match mode & !FALLOC_FL_KEEP_SIZE {
            0 => {
                // What is dirty has its place first, so that the library's length is the file's.
                self.cache.write_back(0, u64::MAX)?;
                change()?;
                if !keep {
                    self.cache.extend(end.max(size))?;
                }
            }
            FALLOC_FL_PUNCH_HOLE => self.cache.change_range(offset, end, None, change)?,
            FALLOC_FL_ZERO_RANGE => {
                let new = if keep { size } else { size.max(end) };
                self.cache.change_range(offset, end, (new != size).then_some(new), change)?;
            }
            FALLOC_FL_COLLAPSE_RANGE => {
                if end >= size {
                    return Err(EINVAL);
                }
                self.cache.write_back(0, u64::MAX)?;
                self.cache.change_range(offset, u64::MAX, Some(size - len), change)?;
            }
            FALLOC_FL_INSERT_RANGE => {
                if offset >= size {
                    return Err(EINVAL);
                }
                let new = size.checked_add(len).filter(|&n| n <= node.max_size()).ok_or(abi::errno::EFBIG)?;
                self.cache.write_back(0, u64::MAX)?;
                self.cache.change_range(offset, u64::MAX, Some(new), change)?;
            }
            _ => return Err(EOPNOTSUPP),
        }
        node.touch_modified()
    }

    fn ioctl(&self, file: &File, cmd: u32, arg: u64) -> Result<u64> {
        ioctl::ioctl(file, Arc::clone(volume_of(&file.inode().sb)), cmd, arg)
    }
}
