//! Block devices: what the file system lies on. Offsets and lengths are bytes and multiples of 512.
//!
//! The kernel gives its own; [`FileDevice`] and [`MemoryDevice`] serve tests and tools.

use crate::Result;
use abi::Errno;
use abi::errno::{EINVAL, EIO, EOPNOTSUPP, EROFS};
use parking_lot::RwLock;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// A device that reads and writes in place. Calls may come from many threads at once; the caller never has two
/// overlapping writes in flight.
pub trait BlockDevice: Send + Sync {
    /// The size in bytes.
    fn len(&self) -> u64;

    /// Whether there is no byte at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether writes fail.
    fn is_readonly(&self) -> bool;

    /// Fills `buf` from `offset`.
    ///
    /// # Errors
    /// `EIO` and what else the device reports; also for a range past the end.
    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()>;

    /// Writes the buffers one after another at `offset`. When it returns, reads see the data, but a power cut may
    /// still lose any part of it until [`BlockDevice::flush`].
    ///
    /// # Errors
    /// `EROFS`, `EIO` and what else the device reports; parts may have been written then.
    fn write(&self, offset: u64, bufs: &[&[u8]]) -> Result<()>;

    /// Makes everything that was completed before the call durable.
    ///
    /// # Errors
    /// What the device reports: the data may be lost then.
    fn flush(&self) -> Result<()>;

    /// Tells the device that the range's content isn't needed any more; it is undefined afterwards.
    ///
    /// # Errors
    /// `EOPNOTSUPP` where the device has no use for that.
    fn discard(&self, offset: u64, len: u64) -> Result<()> {
        let _ = (offset, len);
        Err(EOPNOTSUPP)
    }
}

/// Whether `len` bytes from `offset` lie inside a device of `size` bytes.
pub(crate) fn in_range(size: u64, offset: u64, len: usize) -> bool {
    offset.checked_add(len as u64).is_some_and(|end| end <= size)
}

/// A disk image in a host file.
pub struct FileDevice {
    file: File,
    len: u64,
    readonly: bool,
}

impl FileDevice {
    /// Uses `file` with its present length.
    ///
    /// # Errors
    /// What the host says to fstat(2).
    pub fn new(file: File, readonly: bool) -> Result<FileDevice> {
        let len = file.metadata().map_err(from_host)?.len();
        Ok(FileDevice { file, len, readonly })
    }
}

fn from_host(error: std::io::Error) -> Errno {
    error.raw_os_error().map_or(EIO, Errno::from_raw)
}

impl BlockDevice for FileDevice {
    fn len(&self) -> u64 {
        self.len
    }

    fn is_readonly(&self) -> bool {
        self.readonly
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.file.read_exact_at(buf, offset).map_err(from_host)
    }

    fn write(&self, mut offset: u64, bufs: &[&[u8]]) -> Result<()> {
        if self.readonly {
            return Err(EROFS);
        }
        for buf in bufs {
            if !in_range(self.len, offset, buf.len()) {
                return Err(EIO);
            }
            self.file.write_all_at(buf, offset).map_err(from_host)?;
            offset += buf.len() as u64;
        }
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        self.file.sync_data().map_err(from_host)
    }
}

/// A disk image in memory.
pub struct MemoryDevice {
    data: RwLock<Vec<u8>>,
}

impl MemoryDevice {
    /// A device with that content.
    pub fn new(data: Vec<u8>) -> MemoryDevice {
        MemoryDevice { data: RwLock::new(data) }
    }

    /// The present content.
    pub fn snapshot(&self) -> Vec<u8> {
        self.data.read().clone()
    }
}

impl BlockDevice for MemoryDevice {
    fn len(&self) -> u64 {
        self.data.read().len() as u64
    }

    fn is_readonly(&self) -> bool {
        false
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let data = self.data.read();
        if !in_range(data.len() as u64, offset, buf.len()) {
            return Err(EIO);
        }
        let start = offset as usize;
        buf.copy_from_slice(&data[start..start + buf.len()]);
        Ok(())
    }

    fn write(&self, offset: u64, bufs: &[&[u8]]) -> Result<()> {
        let mut data = self.data.write();
        let mut start = offset;
        for buf in bufs {
            if !in_range(data.len() as u64, start, buf.len()) {
                return Err(EIO);
            }
            data[start as usize..][..buf.len()].copy_from_slice(buf);
            start += buf.len() as u64;
        }
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }

    fn discard(&self, offset: u64, len: u64) -> Result<()> {
        let mut data = self.data.write();
        let len = usize::try_from(len).map_err(|_| EINVAL)?;
        if !in_range(data.len() as u64, offset, len) {
            return Err(EINVAL);
        }
        data[offset as usize..][..len].fill(0);
        Ok(())
    }
}
