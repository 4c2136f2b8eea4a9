//! An open file of the overlay: the real file behind it.
//!
//! One opened before copy-up reads the copy from then on, as in Linux. Only its mappings go on showing the lower file.

use std::sync::{Arc, OnceLock};

use abi::Result;
use abi::errno::EIO;
use abi::fcntl::OpenFlags;

use super::node::overlay;
use super::upper::{nameless, open_real};
use crate::sync::PollTable;
use crate::vfs::{File, FileOps, Inode, IovDest, IovSource, Mapping, MmapRequest, PollEvents};

/// An open regular file.
pub(super) struct OverlayFile {
    inode: Arc<Inode>,
    flags: OpenFlags,
    lower: Option<Arc<File>>,
    upper: OnceLock<Arc<File>>,
}

impl OverlayFile {
    /// Opens what the inode is now; for writing it has been copied up.
    pub(super) fn open(inode: &Arc<Inode>, flags: OpenFlags) -> Result<OverlayFile> {
        let node = overlay(inode)?;
        let flags =
            flags.difference(OpenFlags::CREAT | OpenFlags::EXCL | OpenFlags::TRUNC | OpenFlags::NOCTTY);
        let mut file = OverlayFile { inode: inode.clone(), flags, lower: None, upper: OnceLock::new() };
        if node.upper().is_some() {
            file.real(flags)?;
        } else {
            let lower = node.lowers.first().ok_or(EIO)?;
            let mnt = &node.fs.layers[lower.layer].mnt;
            file.lower = Some(open_real(nameless(mnt, &lower.inode), flags)?);
        }
        Ok(file)
    }

    /// The real file as of now, with the flags that fcntl(2) may have changed since.
    fn real(&self, flags: OpenFlags) -> Result<&Arc<File>> {
        let node = overlay(&self.inode)?;
        let real = match (self.upper.get(), node.upper(), &self.lower) {
            (Some(real), _, _) => real,
            (None, Some(upper), _) => {
                let opened = open_real(node.fs.upper()?.path(&upper), self.flags)?;
                self.upper.get_or_init(|| opened)
            }
            (None, None, Some(lower)) => lower,
            (None, None, None) => return Err(EIO),
        };
        if real.flags() != flags {
            real.set_flags(flags, OpenFlags::SETFL);
        }
        Ok(real)
    }
}

impl FileOps for OverlayFile {
    fn read(&self, file: &File, dest: &mut IovDest<'_>, pos: &mut u64) -> Result<usize> {
        let real = self.real(file.flags())?;
        real.ops.read(real, dest, pos)
    }

    fn write(&self, file: &File, src: &mut IovSource<'_>, pos: &mut u64) -> Result<usize> {
        let real = self.real(file.flags())?;
        real.ops.write(real, src, pos)
    }

    fn poll(&self, file: &File, table: &mut PollTable) -> PollEvents {
        match self.real(file.flags()) {
            Ok(real) => real.ops.poll(real, table),
            Err(_) => PollEvents::ERR,
        }
    }

    fn ioctl(&self, file: &File, cmd: u32, arg: u64) -> Result<u64> {
        let real = self.real(file.flags())?;
        real.ops.ioctl(real, cmd, arg)
    }

    fn seek(&self, file: &File, pos: u64, offset: i64, whence: u32) -> Result<u64> {
        let real = self.real(file.flags())?;
        real.ops.seek(real, pos, offset, whence)
    }

    fn mmap(&self, file: &File, request: MmapRequest) -> Result<Mapping> {
        let real = self.real(file.flags())?;
        real.ops.mmap(real, request)
    }

    fn fsync(&self, file: &File, data_only: bool) -> Result<()> {
        let node = overlay(&self.inode)?;
        // What is below has nothing to write.
        if node.fs.options.volatile || node.upper().is_none() {
            return Ok(());
        }
        let real = self.real(file.flags())?;
        real.ops.fsync(real, data_only)
    }

    fn fallocate(&self, file: &File, mode: u32, offset: u64, len: u64) -> Result<()> {
        let real = self.real(file.flags())?;
        real.ops.fallocate(real, mode, offset, len)
    }

    fn flush(&self, file: &File) -> Result<()> {
        let real = self.real(file.flags())?;
        real.ops.flush(real)
    }

    fn check_flags(&self, file: &File, flags: OpenFlags) -> Result<()> {
        let real = self.real(file.flags())?;
        real.ops.check_flags(real, flags)
    }
}
