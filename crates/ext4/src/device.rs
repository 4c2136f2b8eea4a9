//! The device under a file system.

use crate::Result;

/// A block device.
pub trait BlockDevice: Send + Sync {
    /// Bytes.
    fn len(&self) -> u64;
    /// Whether writes are refused.
    fn is_readonly(&self) -> bool;
    /// Reads all of `buf`.
    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()>;
    /// Writes all of `bufs`, one after the other; complete, maybe volatile.
    fn write(&self, offset: u64, bufs: &[&[u8]]) -> Result<()>;
    /// Everything completed before is durable after it.
    fn flush(&self) -> Result<()>;
    /// The range's contents are no longer wanted.
    fn discard(&self, offset: u64, len: u64) -> Result<()> {
        let _ = (offset, len);
        Err(abi::errno::EOPNOTSUPP)
    }
}

/// A host file.
pub struct FileDevice;
/// Bytes in memory.
pub struct MemoryDevice;
