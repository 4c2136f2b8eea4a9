//! The page cache's way to a file's blocks.

use std::sync::Arc;

use abi::Result;
use abi::errno::ENOSPC;

use super::Volume;
use crate::mm::filemap::{AddressSpaceOps, writeback};

/// Contents of a file, or of a symbolic link.
pub(super) struct Contents {
    pub volume: Arc<Volume>,
    pub inode: Arc<ext4::Inode>,
}

impl AddressSpaceOps for Contents {
    fn read_pages(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.inode.read_at(offset, buf)
    }

    fn write_pages(&self, offset: u64, bufs: &[&[u8]], size: u64) -> Result<()> {
        self.volume.changed();
        self.inode.write_back(offset, bufs, size)
    }

    fn reserve(&self, offset: u64, len: u64) -> Result<()> {
        let privileged =
            crate::task::try_current().is_some_and(|task| self.volume.may_use_reserve(&task.cred()));
        match self.inode.reserve_as(offset, len, privileged) {
            Err(ENOSPC) => {
                // Promises are for the worst case: what is written gives back what it didn't need.
                // What cannot be written is told elsewhere.
                let _ = writeback::write_group(self.volume.dev());
                self.inode.reserve_as(offset, len, privileged)
            }
            outcome => outcome,
        }
    }

    fn sync(&self, data_only: bool) -> Result<()> {
        self.inode.fsync(data_only)
    }

    fn mapped_write(&self) {
        // A time that cannot be set is no reason to refuse the write.
        let _ = super::node::touch_modified(&self.volume, &self.inode);
    }

    fn describe(&self) -> String {
        format!("EXT4-fs ({}): inode {}", self.volume.name(), self.inode.ino())
    }
}
