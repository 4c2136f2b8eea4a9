//! Stub processes: guest address spaces and the threads that run guest code in them.

use crate::cpu::Cpu;
use abi::errno::*;
use abi::{Errno, Result};
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Guest addresses are below; the stub, windows, signal stacks and the host's vDSO live above.
pub const TASK_SIZE: u64 = 0x7ff0_0000_0000;

/// A guest thread's registers, in the order of `user_regs_struct`.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the processor's")]
pub struct Regs {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub rbp: u64,
    pub rbx: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rax: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
    /// The system call number as the guest gave it, at an [`Event::Syscall`]; -1 otherwise.
    pub orig_rax: u64,
    pub rip: u64,
    pub cs: u64,
    pub eflags: u64,
    pub rsp: u64,
    pub ss: u64,
    pub fs_base: u64,
    pub gs_base: u64,
}

/// Which system call table a call was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyscallAbi {
    /// The `syscall` instruction.
    X86_64,
    /// `int $0x80`.
    I386,
}

/// A processor exception in guest code, with what a native Linux would put into siginfo and sigcontext.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// SIGSEGV, SIGBUS, SIGFPE, SIGILL or SIGTRAP.
    pub signal: i32,
    /// si_code.
    pub code: i32,
    /// si_addr (for a page fault: cr2).
    pub addr: u64,
    /// The exception's number.
    pub trapno: u64,
    /// The exception's error code (for a page fault: bit 1 write, bit 4 instruction fetch).
    pub error_code: u64,
}

/// Why guest code stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A system call. `regs.orig_rax` = `regs.rax` = the number; `regs.rip` is after the instruction.
    Syscall {
        /// Which table the number is for.
        abi: SyscallAbi,
    },
    /// A processor exception.
    Fault(Fault),
    /// The tick answered [`Wait::Interrupt`]; the guest stopped between two instructions.
    Interrupted,
    /// A deferred operation failed: those before it are done, it and those after it are not, the guest did not run.
    BatchFailed {
        /// Which of the deferred operations.
        index: usize,
        /// Why.
        errno: Errno,
    },
    /// The host process or thread is gone, or what it said made no sense: kill the guest process.
    Dead,
}

/// How long [`StubThread::run`] lets the guest run before it asks again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Until an event.
    Forever,
    /// Until this monotonic time, ns.
    Until(u64),
    /// Not at all: stop the guest.
    Interrupt,
}

/// What a [`MemOp::Map`] maps.
#[derive(Clone, Debug)]
pub enum MapSource {
    /// Zeroed memory.
    Anonymous,
    /// A memory object or file from `offset` (page aligned).
    Object {
        /// Opened with no more rights than the guest has.
        fd: Arc<OwnedFd>,
        /// Bytes.
        offset: u64,
    },
}

/// A change to a guest address space, made by the stub. All addresses and lengths page aligned, all below [`TASK_SIZE`].
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the fields are the arguments of the host call named in each variant")]
pub enum MemOp {
    /// mmap(2) with MAP_FIXED.
    Map { addr: u64, len: u64, prot: u32, shared: bool, noreserve: bool, populate: bool, source: MapSource },
    /// munmap(2).
    Unmap { addr: u64, len: u64 },
    /// mprotect(2).
    Protect { addr: u64, len: u64, prot: u32 },
    /// mremap(2) with MREMAP_MAYMOVE|MREMAP_FIXED, or without them where `old == new`.
    Remap { old: u64, old_len: u64, new_len: u64, new: u64, dontunmap: bool },
    /// madvise(2).
    Advise { addr: u64, len: u64, advice: i32 },
}

/// One guest address space: a stub process. Killed when dropped.
pub struct AddressSpace {
    pid: i32,
}

impl AddressSpace {
    /// Copies guest memory out; bytes copied, short at the first page the guest could not read.
    pub fn read(&self, addr: u64, buf: &mut [u8]) -> usize {
        let _ = (addr, buf);
        0
    }

    /// Copies into guest memory; bytes copied, short at the first page the guest could not write.
    pub fn write(&self, addr: u64, buf: &[u8]) -> usize {
        let _ = (addr, buf);
        0
    }

    /// Copies several ranges out, one after the other, into `buf`; bytes copied, short at the first inaccessible page.
    pub fn read_vectored(&self, ranges: &[(u64, usize)], buf: &mut [u8]) -> usize {
        let _ = (ranges, buf);
        0
    }

    /// Copies `buf` into several ranges, one after the other; bytes copied, short at the first inaccessible page.
    pub fn write_vectored(&self, ranges: &[(u64, usize)], buf: &[u8]) -> usize {
        let _ = (ranges, buf);
        0
    }

    /// Resident bytes of the guest's address space.
    pub fn resident_bytes(&self) -> u64 {
        0
    }

    /// Kills the host process. Every thread in it reports [`Event::Dead`].
    pub fn kill(&self) {}

    /// The host process id.
    pub fn host_pid(&self) -> i32 {
        self.pid
    }
}

/// One guest thread: a host thread in a stub process. Owned by its guest task; dropped, the host thread exits.
pub struct StubThread {
    regs: Regs,
    space: Arc<AddressSpace>,
}

impl StubThread {
    /// An empty address space from the pool, and its first thread: nothing below [`TASK_SIZE`] is mapped.
    pub fn fresh() -> Result<(Arc<AddressSpace>, StubThread)> {
        Err(ENOSYS)
    }

    /// The registers. Only while stopped, which is whenever the caller has it.
    pub fn regs(&self) -> &Regs {
        &self.regs
    }

    /// The registers, to change.
    pub fn regs_mut(&mut self) -> &mut Regs {
        &mut self.regs
    }

    /// Queues an operation that is done, in order, before the guest runs again, in the same handoff.
    pub fn defer(&mut self, op: MemOp) {
        drop(op);
    }

    /// Does operations now, after the deferred ones. An error names the operation by its place among all of them.
    pub fn batch(&mut self, ops: Vec<MemOp>) -> Result<(), (usize, Errno)> {
        drop(ops);
        Err((0, ENOSYS))
    }

    /// Lets the guest run until an event, on the calling vCPU's time. `tick` is called when `wait` expires or the cpu is
    /// kicked, and its answer is the new wait.
    pub fn run(&mut self, cpu: &Cpu, wait: Wait, tick: &mut dyn FnMut() -> Wait) -> Event {
        let _ = (cpu, wait, tick);
        Event::Dead
    }

    /// A copy of the whole address space with a copy of this thread, as fork(2).
    pub fn fork(&mut self) -> Result<(Arc<AddressSpace>, StubThread)> {
        Err(ENOSYS)
    }

    /// Another thread in the same address space, with a copy of this one's registers.
    pub fn spawn(&mut self) -> Result<StubThread> {
        Err(ENOSYS)
    }

    /// The address space it runs in.
    pub fn address_space(&self) -> &Arc<AddressSpace> {
        &self.space
    }

    /// The vector and floating-point state, as in a signal frame (XSAVE image with `sw_reserved` filled in).
    pub fn fpstate(&mut self) -> Result<Vec<u8>> {
        Err(ENOSYS)
    }

    /// Replaces that state. EINVAL for an image the processor would refuse.
    pub fn set_fpstate(&mut self, image: &[u8]) -> Result<()> {
        let _ = image;
        Err(ENOSYS)
    }

    /// Puts that state to its initial values, as execve(2) does.
    pub fn reset_fpstate(&mut self) {}
}
