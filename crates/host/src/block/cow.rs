//! A disk in a copy-on-write file: `cow` knows where things are, [`HostFile`] reads and writes.

use std::path::Path;

use ::cow::{Cow, Open};
use abi::Result;
use abi::errno::EOPNOTSUPP;

use super::{Blocking, HostFile, Limits, OpenOptions, SECTOR, errno, file, lock};

pub(super) struct CowDisk {
    cow: Cow,
    /// The files of `cow`, for as long as that has them.
    file: HostFile,
    backing: HostFile,
    read_only: bool,
    sync: bool,
}

impl CowDisk {
    /// Opens both files; read-only where the copy-on-write file cannot be written.
    pub fn open(path: &Path, backing: Option<&Path>, options: OpenOptions) -> Result<CowDisk, String> {
        let read_only = options.read_only || file::is_unwritable(path);
        let cow = Cow::open(
            path,
            backing,
            Open { readonly: read_only, lock: (!options.shared).then_some(lock::lock_disk) },
        )?;
        let adopt = |file: &std::fs::File, read_only| {
            let file = file.try_clone().map_err(|e| format!("{}: {e}", path.display()))?;
            HostFile::adopt(file, cow.size(), read_only)
        };
        let (file, backing) = (adopt(&cow.file, read_only)?, adopt(&cow.backing, true)?);
        Ok(CowDisk { cow, file, backing, read_only, sync: options.sync })
    }

    /// The backing file, as the header names it.
    pub fn backing_name(&self) -> String {
        self.cow.header().backing.display().to_string()
    }

    /// The disk ends within a sector where its backing file does.
    fn end(&self) -> u64 {
        self.cow.size().next_multiple_of(SECTOR)
    }
}

impl Blocking for CowDisk {
    fn len(&self) -> u64 {
        self.end()
    }

    fn is_read_only(&self) -> bool {
        self.read_only
    }

    fn limits(&self) -> Limits {
        Limits { physical_block: SECTOR as u32, discard: false }
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let mut done = 0;
        while done < buf.len() {
            let extent = self.cow.extent(offset + done as u64..offset + buf.len() as u64);
            let part = &mut buf[done..done + extent.len as usize];
            let file = if extent.cow { &self.file } else { &self.backing };
            file.read(extent.offset, part)?;
            done += extent.len as usize;
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8], fua: bool) -> Result<()> {
        let range = offset..offset + data.len() as u64;
        let target = self.cow.target(range.clone()).map_err(errno)?;
        self.file.write(target, data, false)?;
        self.cow.written(range);
        if fua || self.sync { self.flush() } else { Ok(()) }
    }

    fn flush(&self) -> Result<()> {
        self.cow.flush().map_err(errno)
    }

    fn discard(&self, _offset: u64, _len: u64) -> Result<()> {
        Err(EOPNOTSUPP)
    }

    fn write_zeroes(&self, offset: u64, len: u64, unmap: bool) -> Result<()> {
        let range = offset..offset + len;
        let target = self.cow.target(range.clone()).map_err(errno)?;
        self.file.write_zeroes(target, len, unmap)?;
        self.cow.written(range);
        if self.sync { self.flush() } else { Ok(()) }
    }

    fn read_now(&self, offset: u64, buf: &mut [u8]) -> usize {
        let mut done = 0;
        while done < buf.len() {
            let extent = self.cow.extent(offset + done as u64..offset + buf.len() as u64);
            let part = &mut buf[done..done + extent.len as usize];
            let file = if extent.cow { &self.file } else { &self.backing };
            let now = file.read_now(extent.offset, part);
            done += now;
            if now < extent.len as usize {
                break;
            }
        }
        done
    }

    fn is_plain(&self) -> bool {
        true
    }

    fn write_now(&self, offset: u64, bufs: &[&[u8]]) -> usize {
        if self.sync {
            return 0;
        }
        let len: u64 = bufs.iter().map(|buf| buf.len() as u64).sum();
        let Ok(target) = self.cow.target(offset..offset + len) else { return 0 };
        let whole = self.file.write_now(target, bufs) as u64 / SECTOR * SECTOR;
        self.cow.written(offset..offset + whole);
        whole as usize
    }
}
