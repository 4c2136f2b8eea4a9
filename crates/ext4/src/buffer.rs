//! Metadata blocks in memory.

use crate::Result;
use std::sync::Arc;

/// One block.
pub struct Buffer {
    block: u64,
    data: parking_lot::RwLock<Vec<u8>>,
}

impl Buffer {
    /// Block number.
    pub fn block(&self) -> u64 {
        self.block
    }

    /// Its bytes.
    pub fn data(&self) -> parking_lot::RwLockReadGuard<'_, Vec<u8>> {
        self.data.read()
    }

    /// Whether its checksum was found right.
    pub fn verified(&self) -> bool {
        false
    }

    /// Its checksum was found right.
    pub fn set_verified(&self) {}
}

/// All of them.
pub struct BufferCache;

impl BufferCache {
    /// The block, read if need be.
    pub fn read(&self, block: u64) -> Result<Arc<Buffer>> {
        let _ = block;
        Err(abi::errno::ENOSYS)
    }

    /// A freshly allocated block, zeroed, not read.
    pub fn get_zeroed(&self, block: u64) -> Result<Arc<Buffer>> {
        let _ = block;
        Err(abi::errno::ENOSYS)
    }

    /// Starts reading blocks that will be wanted.
    pub fn read_ahead(&self, first: u64, count: u32) {
        let _ = (first, count);
    }
}
