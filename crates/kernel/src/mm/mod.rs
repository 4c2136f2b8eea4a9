//! Guest memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use abi::Result;
use abi::errno::ESRCH;
use host::stub::{AddressSpace, Fault, StubThread};

use crate::task::{Task, exit};

/// An address space.
pub struct Mm {
    /// The stub process that holds it.
    pub space: Arc<AddressSpace>,
    /// Names it for private futexes; never used twice.
    pub id: u64,
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

impl Mm {
    /// The address space of a stub.
    pub fn new(space: Arc<AddressSpace>) -> Arc<Mm> {
        Arc::new(Mm { space, id: NEXT_ID.fetch_add(1, Ordering::Relaxed) })
    }

    /// A copy for fork(2), with the child's thread.
    pub fn fork(&self, task: &Task) -> Result<(Arc<Mm>, StubThread)> {
        let (space, thread) = task.user.lock().as_mut().ok_or(ESRCH)?.fork()?;
        Ok((Mm::new(space), thread))
    }

    /// The memory object and offset behind a shared mapping at `addr`; None for private memory. EFAULT.
    pub fn futex_key(&self, _addr: u64) -> Result<Option<(u64, u64)>> {
        Ok(None)
    }

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
