//! Transactions.

use crate::Result;
use crate::buffer::Buffer;
use std::sync::Arc;

/// Transaction number.
pub type Tid = u32;

/// The journal, or none.
pub struct Transactions;

impl Transactions {
    /// Starts a handle.
    pub fn begin(&self, credits: usize) -> Result<Handle> {
        let _ = credits;
        Err(abi::errno::ENOSYS)
    }
}

/// One operation's part of a transaction.
pub struct Handle;

impl Handle {
    /// Changes a block.
    pub fn modify<R>(&mut self, buffer: &Arc<Buffer>, change: impl FnOnce(&mut [u8]) -> R) -> Result<R> {
        let _ = (buffer, change);
        Err(abi::errno::ENOSYS)
    }

    /// Fills a block that was just allocated.
    pub fn create<R>(&mut self, buffer: &Arc<Buffer>, change: impl FnOnce(&mut [u8]) -> R) -> Result<R> {
        let _ = (buffer, change);
        Err(abi::errno::ENOSYS)
    }

    /// A metadata block was freed.
    pub fn forget(&mut self, block: u64) -> Result<()> {
        let _ = block;
        Err(abi::errno::ENOSYS)
    }

    /// Asks for more credits; false if the transaction has no room: then restart.
    pub fn extend(&mut self, credits: usize) -> Result<bool> {
        let _ = credits;
        Err(abi::errno::ENOSYS)
    }

    /// Ends this handle's part and begins another in a later transaction.
    pub fn restart(&mut self, credits: usize) -> Result<()> {
        let _ = credits;
        Err(abi::errno::ENOSYS)
    }

    /// The transaction.
    pub fn tid(&self) -> Tid {
        0
    }

    /// Runs `callback` when the transaction is durable.
    pub fn on_commit(&mut self, callback: Box<dyn FnOnce() + Send>) {
        let _ = callback;
    }

    /// Dropping the handle waits for the commit.
    pub fn set_sync(&mut self) {}
}
