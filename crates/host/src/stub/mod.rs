//! Stub processes: guest address spaces and the threads that run guest code in them.
//!
//! [`StubThread`] runs a guest thread and reports its [`Event`]s; [`AddressSpace`] is the process it lives in; [`MemOp`]s
//! change that process's memory. Inside: `window` is what both sides talk through, `filter` what a stub may call,
//! `notify` who may clone, `process` who is alive, `progress` who has stopped answering, `pace` who calls often, `fast`
//! calls without a signal, `zygote` where the first stub comes from, `used` and `revive` how stubs and host threads serve
//! again, `undertaker` when processes end.
//!
//! Locks: the registry of processes before a process's own locks; all are held for microseconds, and none by a caller.

#[path = "../../../stub/src/abi.rs"]
#[expect(dead_code, reason = "the stub uses the rest")]
pub(crate) mod abi;
mod count;
mod fast;
mod filter;
mod fp;
mod notify;
mod op;
mod pace;
mod process;
mod progress;
mod regs;
mod revive;
mod run;
mod space;
mod thread;
pub(crate) mod undertaker;
pub(crate) mod used;
mod window;
pub(crate) mod zygote;

pub use count::{Counts, counts};
pub use op::{MapSource, MemOp};
pub(crate) use process::reap_forever;
pub use regs::{Regs, USER_CS, USER_DS, USER32_CS};
pub use space::{AddressSpace, Footprint, Usage};
pub use thread::StubThread;
pub(crate) use window::{Mapping, turn_kick};
pub use zygote::fast_entry;

use ::abi::Errno;

/// Guest addresses are below; the stub, windows, signal stacks and the host's vDSO live above.
pub const TASK_SIZE: u64 = abi::STUB_BASE;

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
    /// A copy that was to be made before the guest went on met memory that the guest cannot write. It did not run.
    CopyFailed,
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
