//! An open regular file of the host. Its page cache is the host's: read and write are the host's calls through a
//! buffer of ours, and mappings show the host's file itself.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, OnceLock};

use abi::Result;
use abi::errno::{EFAULT, EINVAL, ENXIO, EOVERFLOW};
use abi::fcntl::*;

use super::node::Node;
use crate::sync::{SpinLock, rank};
use crate::vfs::{File, FileOps, IovDest, IovSource, Mapping, MmapRequest};

/// Transfers up to this go through the stack.
const SMALL: usize = 4096;
/// Bytes that one host call moves at most.
const CHUNK: usize = 64 << 10;
/// Buffers of [`CHUNK`] bytes kept for reuse.
const SPARE_BUFFERS: usize = 8;

static BUFFERS: SpinLock<Vec<Box<[u8]>>> = SpinLock::new(rank::LEAF, Vec::new());

/// Calls `f` with a buffer of [`CHUNK`] bytes, or a small one if `len` fits it.
pub(super) fn with_buffer<T>(len: usize, f: impl FnOnce(&mut [u8]) -> T) -> T {
    if len <= SMALL {
        return f(&mut [0; SMALL]);
    }
    let spare = BUFFERS.lock().pop();
    let mut buffer = spare.unwrap_or_else(|| vec![0; CHUNK].into_boxed_slice());
    let result = f(&mut buffer);
    let mut spare = BUFFERS.lock();
    if spare.len() < SPARE_BUFFERS {
        spare.push(buffer);
    }
    result
}

/// An open regular file.
pub(super) struct HostFile {
    fd: Arc<OwnedFd>,
    /// Whether the host's descriptor can write; the guest's file may be read-only all the same.
    writable: bool,
    /// A descriptor without the right to write, for mappings that don't need it.
    readonly: OnceLock<Arc<OwnedFd>>,
}

impl HostFile {
    pub(super) fn open(node: &Arc<Node>, flags: OpenFlags) -> Result<HostFile> {
        let fresh = node.fresh.lock().take();
        let (fd, writable) = match fresh.filter(|_| !node.fs.options.append) {
            Some(fd) => (fd, true),
            None => (Self::open_anew(node, flags)?, flags.writable()),
        };
        let fd = Arc::new(fd);
        node.add_handle(&fd, writable);
        Ok(HostFile { fd, writable, readonly: OnceLock::new() })
    }

    fn open_anew(node: &Arc<Node>, flags: OpenFlags) -> Result<OwnedFd> {
        let mut host_flags = flags.accmode();
        if node.fs.options.append && flags.writable() {
            host_flags |= O_APPEND;
        }
        Ok(node.open(host_flags)?.0)
    }

    fn write_at(&self, data: &[u8], append: bool, pos: &mut u64) -> Result<usize> {
        if append {
            let (n, end) = host::fs::append(self.fd.as_fd(), data)?;
            *pos = end;
            return Ok(n);
        }
        let n = host::fs::pwrite(self.fd.as_fd(), data, *pos)?;
        *pos += n as u64;
        Ok(n)
    }
}

impl FileOps for HostFile {
    fn read(&self, _: &File, dest: &mut IovDest<'_>, pos: &mut u64) -> Result<usize> {
        with_buffer(dest.remaining(), |buffer| {
            let mut done = 0;
            while dest.remaining() > 0 {
                let want = dest.remaining().min(buffer.len());
                let got = match host::fs::pread(self.fd.as_fd(), &mut buffer[..want], *pos) {
                    Ok(got) => got,
                    Err(errno) if done == 0 => return Err(errno),
                    Err(_) => break,
                };
                let copied = match dest.write(&buffer[..got]) {
                    Ok(copied) => copied,
                    Err(EFAULT) if done > 0 => break,
                    Err(errno) => return Err(errno),
                };
                *pos += copied as u64;
                done += copied;
                if copied < want {
                    break;
                }
            }
            Ok(done)
        })
    }

    fn write(&self, file: &File, src: &mut IovSource<'_>, pos: &mut u64) -> Result<usize> {
        let flags = file.flags();
        let append = src.appends(file);
        let _writer = file.inode().rwsem.lock();
        let done = with_buffer(src.remaining(), |buffer| {
            let mut done = 0;
            while src.remaining() > 0 {
                let data = match src.peek(buffer) {
                    Ok(n) => &buffer[..n],
                    Err(EFAULT) if done > 0 => break,
                    Err(errno) => return Err(errno),
                };
                let n = match self.write_at(data, append, pos) {
                    Ok(n) => n,
                    Err(errno) if done == 0 => return Err(errno),
                    Err(_) => break,
                };
                src.advance(n);
                done += n;
                if n < data.len() {
                    break;
                }
            }
            Ok(done)
        })?;
        if flags.contains(OpenFlags::DSYNC) {
            host::fs::fsync(self.fd.as_fd(), !flags.contains(OpenFlags::SYNC))?;
        }
        Ok(done)
    }

    fn seek(&self, _: &File, pos: u64, offset: i64, whence: u32) -> Result<u64> {
        let base = match whence {
            SEEK_SET => 0,
            SEEK_CUR => pos,
            SEEK_END => host::fs::statx(self.fd.as_fd())?.stx_size,
            SEEK_DATA | SEEK_HOLE => {
                let offset = u64::try_from(offset).map_err(|_| ENXIO)?;
                return host::fs::seek(self.fd.as_fd(), offset, whence);
            }
            _ => return Err(EINVAL),
        };
        let at = i64::try_from(base).ok().and_then(|base| base.checked_add(offset)).ok_or(EOVERFLOW)?;
        u64::try_from(at).map_err(|_| EINVAL)
    }

    fn mmap(&self, _: &File, request: MmapRequest) -> Result<Mapping> {
        if !self.writable || (request.shared && request.may_write) {
            return Ok(Mapping::Object(self.fd.clone()));
        }
        if let Some(fd) = self.readonly.get() {
            return Ok(Mapping::Object(fd.clone()));
        }
        let fd = Arc::new(host::fs::reopen(self.fd.as_fd(), O_RDONLY)?);
        Ok(Mapping::Object(self.readonly.get_or_init(|| fd).clone()))
    }

    fn fsync(&self, _: &File, data_only: bool) -> Result<()> {
        host::fs::fsync(self.fd.as_fd(), data_only)
    }

    fn fallocate(&self, _: &File, mode: u32, offset: u64, len: u64) -> Result<()> {
        host::fs::fallocate(self.fd.as_fd(), mode, offset, len)
    }
}
