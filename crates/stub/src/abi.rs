//! What the stub and the kernel share: addresses, and the window through which they talk.
//!
//! The kernel's `host` crate includes this same file. Every word of a window can be written by the guest at any time:
//! the kernel reads a word once and checks it, and keeps nothing there that it relies on.

use core::sync::atomic::{AtomicI64, AtomicU32, AtomicU64};

/// Where the stub's text lies. Guest addresses are below.
pub const STUB_BASE: u64 = 0x7ff0_0000_0000;
/// Bytes reserved for the text; the seccomp filter takes an instruction pointer in them for the stub's own.
pub const TEXT_LEN: u64 = 0x1_0000;

/// Thread slot `i` begins at `SLOTS + i * SLOT_LEN`: the window, a hole, the signal stack up to the slot's end.
pub const SLOTS: u64 = 0x7ff1_0000_0000;
/// Bytes of a slot; slots are aligned to it, so that a signal handler finds its window from its stack pointer.
pub const SLOT_LEN: u64 = 0x1_0000;
/// How many slots there are.
pub const SLOT_COUNT: u64 = 0x1_0000;
/// Bytes of a window: one page of [`Window`], then the data area.
pub const WINDOW_LEN: u64 = 0x5000;
/// Where in a window the data area begins.
pub const DATA_OFFSET: u64 = 0x1000;
/// Bytes of the data area.
pub const DATA_LEN: u64 = WINDOW_LEN - DATA_OFFSET;
/// Bytes at the beginning of the data area for what a system call's arguments point to.
pub const ARG_LEN: u64 = 0x1000;
/// Bytes of the data area, behind those, for what the kernel has to write to guest memory before the guest goes on.
pub const COPY_LEN: u64 = DATA_LEN - ARG_LEN;
/// How many pieces that may be.
pub const COPIES: usize = 8;
/// Where in a slot the signal stack begins.
pub const STACK_OFFSET: u64 = 0x8000;
/// Bytes of a signal stack.
pub const STACK_LEN: u64 = SLOT_LEN - STACK_OFFSET;

/// Where the answers lie: a page of [`AnswerHead`], then records of [`Answers`]. The same memory in every stub, which none
/// of them can write.
pub const ANSWERS: u64 = 0x7ff2_0000_0000;
/// How many records there are; number 0 is nobody's.
pub const ANSWER_COUNT: usize = 0x1_0000;
/// Of [`Answers::on`]: the record says who its thread is.
pub const ANSWERS_VALID: u32 = 1;
/// Of [`Answers::on`]: the kernel wants to see every call of the thread.
pub const ANSWERS_SILENT: u32 = 2;
/// Bytes of head and records.
pub const ANSWERS_LEN: u64 = 0x1000 + 64 * ANSWER_COUNT as u64;
/// vCPUs whose queues the answers tell of.
pub const ANSWER_CPUS: usize = 256;

/// In [`Window::magic`], and nowhere else by accident: the window is the one that the GS base is at. The instruction that
/// compares it has 32 bits for it.
pub const MAGIC: i32 = -0x5a31_c6d9;

/// Where the host's vDSO is moved if it lies below.
pub const VDSO_HOME: u64 = 0x7ff8_0000_0000;

/// The descriptor of the control socket.
pub const CONTROL: i32 = 3;
/// The signal that stops a running guest (SIGURG).
pub const PREEMPT: i32 = 23;

/// clone(2) flags of a fork: CLONE_PARENT | SIGCHLD.
pub const FORK_FLAGS: u64 = 0x8000 | 17;
/// clone(2) flags of a thread: VM | FS | FILES | SIGHAND | THREAD | SYSVSEM.
pub const THREAD_FLAGS: u64 = 0x100 | 0x200 | 0x400 | 0x800 | 0x1_0000 | 0x4_0000;

/// In [`Window::spin`]: the core is wanted by another stub, which may need this one again soon.
pub const GIVE_WAY: u32 = 1 << 31;

/// Bits of [`Window::turn`].
pub mod turn {
    /// Set while it is the kernel's turn.
    pub const KERNEL: u32 = 1;
    /// Set by a kick, so that a kernel thread about to sleep on the word does not.
    pub const KICK: u32 = 2;
    /// Set, with `KERNEL`, when the thread has left its stack for good.
    pub const GONE: u32 = 4;
}

/// Values of [`Window::event`].
pub mod event {
    /// A new thread, a forked child or the first process waits for its first command.
    pub const READY: u32 = 1;
    /// A signal was delivered in guest code.
    pub const SIGNAL: u32 = 2;
    /// The command is done; `ret` is its result.
    pub const DONE: u32 = 3;
    /// Operation `index` failed with `ret`.
    pub const OP_FAILED: u32 = 4;
    /// One of `copies` met memory that the guest cannot write.
    pub const COPY_FAILED: u32 = 5;
    /// A system call through a patched site: there is no signal frame. The guest's registers are as after the instruction.
    pub const FAST: u32 = 6;
}

/// Values of [`Window::command`]. Operations are done first.
pub mod command {
    /// Make `copies` and return to the guest with `regs`.
    pub const RESUME: u32 = 1;
    /// Nothing more than the operations.
    pub const BATCH: u32 = 2;
    /// Fork the process; the first two descriptors are the child's control socket and window.
    pub const FORK: u32 = 3;
    /// Make a thread in `slot`; the first descriptor, if any, is its window.
    pub const THREAD: u32 = 4;
    /// End the thread.
    pub const EXIT: u32 = 5;
    /// Copy `len` bytes from guest memory at `addr` to the data area; `ret` is the count.
    pub const COPY_OUT: u32 = 6;
    /// Copy `len` bytes from the data area to guest memory at `addr`; `ret` is the count.
    pub const COPY_IN: u32 = 7;
    /// Replace the 32-bit word at `addr` by the upper half of `len` if it is its lower half; `ret` is what was there, or
    /// minus EFAULT.
    pub const COMPARE_EXCHANGE: u32 = 8;
    /// Make the thread as good as a fresh one: no signal blocked.
    pub const RESET: u32 = 9;
    /// Copy `len` bytes of this thread's vector state to `addr`, the place of that of the sleeping thread in `slot`, and
    /// wake that.
    pub const REVIVE: u32 = 10;
}

/// Values of [`Window::phase`]: how far a thread is on the fast way, for a signal handler that finds it there.
pub mod phase {
    /// Nothing is told to the kernel yet: the call can be made again.
    pub const BEFORE: u32 = 1;
    /// The kernel knows of the call.
    pub const AFTER: u32 = 2;
    /// The thread raises a trap to get a signal frame.
    pub const TRAP: u32 = 3;
    /// The same, to report the signal that it has postponed.
    pub const POSTPONED: u32 = 4;
}

/// Operations in a batch.
pub const OPS: usize = 62;
/// Descriptors in a batch.
pub const FDS: usize = 16;

/// One host call: its number, then its arguments. The fifth argument of mmap is an index into the batch's descriptors,
/// unless it is -1.
pub type Op = [AtomicU64; 7];

/// Words of [`Window::regs`]: the 23 of `gregset_t` in their order, then the FS and GS bases.
pub const REGS: usize = 25;
/// Index of the FS base.
pub const FS_BASE: usize = 23;
/// Index of the GS base.
pub const GS_BASE: usize = 24;

/// The first page of a window.
#[repr(C)]
pub struct Window {
    /// Whose turn it is: a shared futex word of the bits in [`turn`].
    pub turn: AtomicU32,
    /// The stub sleeps, or is about to.
    pub stub_waits: AtomicU32,
    /// The kernel sleeps, or is about to.
    pub kernel_waits: AtomicU32,
    /// How many times the stub looks before it sleeps; read at each look, so that 0 sends it to sleep at once. With
    /// [`GIVE_WAY`], how many times it lets others run on its core.
    pub spin: AtomicU32,
    /// What the stub wants to say.
    pub event: AtomicU32,
    /// si_signo.
    pub signal: AtomicU32,
    /// si_code.
    pub code: AtomicU32,
    /// What the stub is to do.
    pub command: AtomicU32,
    /// How many of `ops` to do.
    pub op_count: AtomicU32,
    /// How many descriptors wait on the control socket for this command.
    pub fd_count: AtomicU32,
    /// The new thread's slot.
    pub slot: AtomicU32,
    /// Of the operation that failed.
    pub index: AtomicU32,
    /// For SIGSYS: the system call number and AUDIT_ARCH.
    pub syscall: AtomicU32,
    /// See `syscall`.
    pub arch: AtomicU32,
    /// Whether FS and GS base are set by instruction, not by arch_prctl.
    pub fsgsbase: AtomicU32,
    /// The kernel's process id.
    pub parent: AtomicU32,
    /// si_addr, or a copy's guest address.
    pub addr: AtomicU64,
    /// A copy's length.
    pub len: AtomicU64,
    /// A command's result, or minus an errno.
    pub ret: AtomicU64,
    /// Where the signal frame's ucontext is.
    pub frame: AtomicU64,
    /// Where the signal frame's vector state is.
    pub fpstate: AtomicU64,
    /// Known to the kernel alone until it is put here; identifies the process that has this window.
    pub nonce: AtomicU64,
    /// Where the host's vDSO begins.
    pub vdso: AtomicU64,
    /// Where the host's vDSO ends.
    pub vdso_end: AtomicU64,
    /// The guest's registers.
    pub regs: [AtomicU64; REGS],
    /// What a system call's arguments point to is in the data area from here...
    pub arg_addr: AtomicU64,
    /// ...to here on, as far as it could be read. 0 for none.
    pub arg_len: AtomicU64,
    /// How many of `copies` to make.
    pub copy_count: AtomicU64,
    /// Address and length of each; their bytes follow each other in the data area.
    pub copies: [[AtomicU64; 2]; COPIES],
    /// For a call that leaves the address space: its minor and major faults, and its largest resident set in KiB.
    pub usage: [AtomicU64; 3],
    /// [`MAGIC`] once a guest may come the fast way.
    pub magic: AtomicU64,
    /// The fast way's stack pointer.
    pub fast_stack: AtomicU64,
    /// One of [`phase`], or 0.
    pub phase: AtomicU32,
    /// A signal found the thread in [`phase::AFTER`]. The kernel clears it when it gives the turn.
    pub postponed: AtomicU32,
    /// What is to be resumed takes a signal frame, though the call came without one.
    pub full: AtomicU32,
    /// The thread's record among the answers.
    pub answers: AtomicU32,
    /// Calls answered without the kernel.
    pub answered: AtomicU64,
    reserved: [AtomicU64; 10],
    /// Operations to do before the command.
    pub ops: [Op; OPS],
}

const _: () = assert!(size_of::<Window>() == DATA_OFFSET as usize);

/// What the stub knows without asking: this, and for each thread a record.
#[repr(C)]
pub struct AnswerHead {
    /// Whether anything is to be answered.
    pub on: AtomicU32,
    /// `struct timezone`.
    pub minutes_west: AtomicU32,
    /// `struct timezone`
    pub dst: AtomicU32,
    reserved: AtomicU32,
    /// The host's `__vdso_clock_gettime`; 0 if there is none.
    pub clock_gettime: AtomicU64,
    /// What to add to the host's CLOCK_MONOTONIC, CLOCK_BOOTTIME and CLOCK_REALTIME, ns.
    pub monotonic: AtomicI64,
    /// See `monotonic`.
    pub boottime: AtomicI64,
    /// See `monotonic`.
    pub realtime: AtomicI64,
    /// Tasks that wait for each vCPU.
    pub queued: [AtomicU32; ANSWER_CPUS],
}

const _: () = assert!(size_of::<AnswerHead>() <= 0x1000);

/// What is known of a thread.
#[repr(C, align(64))]
pub struct Answers {
    /// [`ANSWERS_VALID`] alone: the stub answers.
    pub on: AtomicU32,
    /// getpid(2)
    pub pid: AtomicU32,
    /// gettid(2)
    pub tid: AtomicU32,
    /// getppid(2)
    pub ppid: AtomicU32,
    /// getpgrp(2)
    pub pgrp: AtomicU32,
    /// getuid(2)
    pub uid: AtomicU32,
    /// geteuid(2)
    pub euid: AtomicU32,
    /// getgid(2)
    pub gid: AtomicU32,
    /// getegid(2)
    pub egid: AtomicU32,
    /// The vCPU.
    pub cpu: AtomicU32,
}

const _: () = assert!(size_of::<Answers>() == 64);

/// Most instructions of the filter.
pub const FILTER_MAX: usize = 640;

/// What the first process is told, as the one message on its control socket; the descriptors of the window and of
/// the answers come with it.
#[repr(C)]
pub struct Hello {
    /// Instructions in `listener`.
    pub listener_len: u64,
    /// Instructions in `filter`.
    pub filter_len: u64,
    /// The filter that gives clone to the kernel to decide.
    pub listener: [u64; 16],
    /// The filter that says what the stub may call at all.
    pub filter: [u64; FILTER_MAX],
}

/// What the first process answers, with the seccomp listener's descriptor.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Answer {
    /// Minus an errno, or 0.
    pub error: i64,
    /// Which step failed, for the message.
    pub step: u64,
    /// AT_SYSINFO_EHDR.
    pub vdso: u64,
    /// The instruction after the fork's clone.
    pub fork_site: u64,
    /// The instruction after the thread's clone.
    pub thread_site: u64,
    /// Where patched sites go: the way back is in r11.
    pub fast_entry: u64,
}
