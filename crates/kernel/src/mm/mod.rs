//! Guest memory.

use std::sync::Arc;

use host::stub::AddressSpace;

/// An address space.
pub struct Mm {
    /// The stub process that holds it.
    pub space: Arc<AddressSpace>,
}

impl Mm {
    /// Copies from guest memory; the number of bytes before the first that cannot be read.
    pub fn read(&self, addr: u64, buf: &mut [u8]) -> usize {
        self.space.read(addr, buf)
    }

    /// Copies to guest memory; the number of bytes before the first that cannot be written.
    pub fn write(&self, addr: u64, data: &[u8]) -> usize {
        self.space.write(addr, data)
    }
}
