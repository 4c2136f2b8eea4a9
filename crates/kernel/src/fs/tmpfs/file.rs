//! Open files and directories of tmpfs.
//!
//! Bytes go through a bounded kernel buffer: user memory may fault, and a fault may need this very file.

use abi::Result;
use abi::errno::{EFBIG, EINVAL, EISDIR, ENOSPC, EOPNOTSUPP, EPERM};
use abi::fcntl::{
    F_ADD_SEALS, F_GET_SEALS, F_SEAL_FUTURE_WRITE, F_SEAL_GROW, F_SEAL_WRITE, FALLOC_FL_KEEP_SIZE,
    FALLOC_FL_PUNCH_HOLE, FALLOC_FL_ZERO_RANGE, OpenFlags, SEEK_DATA, SEEK_HOLE,
};
use abi::mm::PAGE_SIZE;
use std::sync::atomic::Ordering;

use super::memfd;
use super::node::{Content, Node};
use super::tmpfs_of;
use crate::mm::account;
use crate::sched::cond_resched;
use crate::vfs::{DirEmit, File, FileOps, IovDest, IovSource, Mapping, MmapRequest, Readdir};

/// Bytes copied at a time.
const CHUNK: usize = 64 * 1024;
/// Bytes allocated at a time.
const PORTION: u64 = 32 << 20;

/// A regular file.
pub struct TmpfsFile;

impl TmpfsFile {
    fn sealed(node: &Node, seals: u32) -> Result<()> {
        if node.seals.load(Ordering::SeqCst) & seals != 0 { Err(EPERM) } else { Ok(()) }
    }
}

impl FileOps for TmpfsFile {
    fn read(&self, file: &File, dest: &mut IovDest<'_>, pos: &mut u64) -> Result<usize> {
        let node = Node::of(file.inode());
        let mut done = 0;
        let mut small = [0; 4096];
        let mut large = Vec::new();
        while dest.remaining() > 0 {
            let buf: &mut [u8] = if dest.remaining() <= small.len() {
                &mut small
            } else {
                large.resize(CHUNK, 0);
                &mut large
            };
            let want = buf.len().min(dest.remaining());
            let got = node.lock().data()?.read(*pos, &mut buf[..want])?;
            if got == 0 {
                break;
            }
            match dest.write(&buf[..got]) {
                Ok(n) => {
                    done += n;
                    *pos += n as u64;
                    if n < got {
                        break;
                    }
                }
                Err(errno) if done == 0 => return Err(errno),
                Err(_) => break,
            }
        }
        if done > 0 && !file.flags().contains(OpenFlags::NOATIME) {
            node.lock().accessed();
        }
        Ok(done)
    }

    fn write(&self, file: &File, src: &mut IovSource<'_>, pos: &mut u64) -> Result<usize> {
        let inode = file.inode();
        let node = Node::of(inode);
        let fs = tmpfs_of(node.sb());
        Self::sealed(node, F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)?;
        let _writers = inode.rwsem.lock();
        if src.appends(file) {
            *pos = node.lock().data()?.size();
        }
        let mut done = 0;
        let mut small = [0; 4096];
        let mut large = Vec::new();
        while src.remaining() > 0 {
            let buf: &mut [u8] = if src.remaining() <= small.len() {
                &mut small
            } else {
                large.resize(CHUNK, 0);
                &mut large
            };
            let outcome = src.peek(buf).and_then(|got| {
                let mut inner = node.lock();
                let data = inner.data()?;
                let mut got = got;
                if node.seals.load(Ordering::SeqCst) & F_SEAL_GROW != 0 {
                    // Page by page, as Linux: the pages before the one that would grow the file are written.
                    let left = data.size().saturating_sub(*pos);
                    if (got as u64) > left {
                        let page_end = (*pos | 4095) + 1;
                        got = (page_end - *pos).min(got as u64) as usize;
                        if got as u64 > left {
                            return Err(EPERM);
                        }
                    }
                }
                let n = data.write(fs, *pos, &buf[..got])?;
                inner.modified();
                Ok((got, n))
            });
            match outcome {
                Ok((got, n)) => {
                    src.advance(n);
                    done += n;
                    *pos += n as u64;
                    if n < got {
                        break;
                    }
                }
                Err(errno) if done == 0 => return Err(errno),
                Err(_) => break,
            }
        }
        Ok(done)
    }

    fn seek(&self, file: &File, pos: u64, offset: i64, whence: u32) -> Result<u64> {
        let node = Node::of(file.inode());
        let mut inner = node.lock();
        let data = inner.data()?;
        let base = match whence {
            SEEK_DATA | SEEK_HOLE => {
                let from = u64::try_from(offset).map_err(|_| abi::errno::ENXIO)?;
                return data.seek(from, whence == SEEK_DATA);
            }
            abi::fcntl::SEEK_SET => 0,
            abi::fcntl::SEEK_CUR => pos as i64,
            abi::fcntl::SEEK_END => data.size() as i64,
            _ => return Err(EINVAL),
        };
        let at = base.checked_add(offset).ok_or(abi::errno::EOVERFLOW)?;
        u64::try_from(at).map_err(|_| EINVAL)
    }

    fn mmap(&self, file: &File, request: MmapRequest) -> Result<Mapping> {
        let node = Node::of(file.inode());
        let writable = request.shared && request.may_write;
        let sealed = writable && Self::sealed(node, F_SEAL_WRITE | F_SEAL_FUTURE_WRITE).is_err();
        if sealed && request.write {
            return Err(EPERM);
        }
        let mut inner = node.lock();
        let object = inner.data()?.object()?;
        Ok(match (sealed, writable) {
            (true, _) => Mapping::ReadOnly(object.readonly_fd()?),
            (false, true) => Mapping::Object(object.fd()),
            (false, false) => Mapping::Object(object.readonly_fd()?),
        })
    }

    fn fsync(&self, _: &File, _: bool) -> Result<()> {
        Ok(())
    }

    fn fcntl(&self, file: &File, cmd: u32, arg: u64) -> Result<u64> {
        match cmd {
            F_ADD_SEALS => memfd::add_seals(file, arg as u32).map(|()| 0),
            F_GET_SEALS => memfd::get_seals(file).map(u64::from),
            _ => Err(EINVAL),
        }
    }

    fn fallocate(&self, file: &File, mode: u32, offset: u64, len: u64) -> Result<()> {
        let inode = file.inode();
        let node = Node::of(inode);
        let fs = tmpfs_of(node.sb());
        let keep_size = mode & FALLOC_FL_KEEP_SIZE != 0;
        let end = offset.checked_add(len).ok_or(EFBIG)?;
        let large = mode & !FALLOC_FL_KEEP_SIZE == 0 && len > PORTION;
        if large {
            let size = node.lock().data()?.size();
            account::room_for(len.saturating_sub(size)).map_err(|_| ENOSPC)?;
        }
        let _writers = inode.rwsem.lock();
        let seals = node.seals.load(Ordering::SeqCst);
        if large {
            let size = node.lock().data()?.size();
            if end > size && !keep_size && seals & F_SEAL_GROW != 0 {
                return Err(EPERM);
            }
            fs.has_room((len / PAGE_SIZE).saturating_sub(size / PAGE_SIZE))?;
            // The host may take a second for a gigabyte, and others wait for the lock.
            let mut at = offset;
            while at < end {
                let portion = PORTION.min(end - at);
                node.lock().data()?.allocate(fs, at, portion, keep_size)?;
                at += portion;
                cond_resched()?;
            }
            node.lock().modified();
            return Ok(());
        }
        let mut inner = node.lock();
        let data = inner.data()?;
        match mode & !FALLOC_FL_KEEP_SIZE {
            FALLOC_FL_PUNCH_HOLE if keep_size => {
                if seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE) != 0 {
                    return Err(EPERM);
                }
                data.punch_hole(fs, offset, len)?;
            }
            0 | FALLOC_FL_ZERO_RANGE => {
                if end > data.size() && !keep_size && seals & F_SEAL_GROW != 0 {
                    return Err(EPERM);
                }
                if mode & FALLOC_FL_ZERO_RANGE != 0 {
                    // As Linux's tmpfs, which has no such mode.
                    return Err(EOPNOTSUPP);
                }
                data.allocate(fs, offset, len, keep_size)?;
            }
            _ => return Err(EOPNOTSUPP),
        }
        inner.modified();
        Ok(())
    }
}

/// A directory.
pub struct DirFile;

impl FileOps for DirFile {
    fn read(&self, _: &File, _: &mut IovDest<'_>, _: &mut u64) -> Result<usize> {
        Err(EISDIR)
    }

    fn iterate(&self, file: &File, pos: &mut u64, emit: Readdir<'_>) -> Result<()> {
        let inode = file.inode();
        if *pos == 0 {
            if !emit(DirEmit { name: b".", ino: inode.ino, dtype: 4, next: 1 }) {
                return Ok(());
            }
            *pos = 1;
        }
        if *pos == 1 {
            let parent = file.path.dentry.parent().inode().map_or(inode.ino, |i| i.ino);
            if !emit(DirEmit { name: b"..", ino: parent, dtype: 4, next: 2 }) {
                return Ok(());
            }
            *pos = 2;
        }
        loop {
            let next = match &Node::of(inode).lock().content {
                Content::Dir(entries) => entries.next_from(*pos),
                _ => None,
            };
            let Some((cookie, name, child)) = next else { return Ok(()) };
            if !emit(DirEmit { name: &name, ino: child.ino, dtype: child.kind.dtype(), next: cookie + 1 }) {
                return Ok(());
            }
            *pos = cookie + 1;
        }
    }

    fn seek(&self, _: &File, pos: u64, offset: i64, whence: u32) -> Result<u64> {
        let base = match whence {
            abi::fcntl::SEEK_SET => 0,
            abi::fcntl::SEEK_CUR => pos as i64,
            _ => return Err(EINVAL),
        };
        u64::try_from(base.checked_add(offset).ok_or(EINVAL)?).map_err(|_| EINVAL)
    }

    fn fsync(&self, _: &File, _: bool) -> Result<()> {
        Ok(())
    }
}
