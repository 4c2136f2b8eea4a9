//! How the first process locks itself in, and the few instructions that must not touch memory.

use crate::abi::{self, Answer, FDS, Hello, SLOTS, STACK_LEN, STACK_OFFSET, STUB_BASE};
use crate::sys::*;
use crate::{UContext, handler, map_stack, map_window, relocate, thread_main};
use core::arch::global_asm;

unsafe extern "C" {
    /// clone(2) as a fork. The child has the host kill it with its parent before it touches any memory, for memory is
    /// the guest's to change: a child must not be able to miss it.
    pub fn stub_fork(flags: u64, parent: u32) -> i64;
    /// clone(2) as a thread on `stack`, which runs [`thread_main`] with `context`.
    pub fn stub_thread(flags: u64, stack: u64, context: u64) -> i64;
    /// Returns from a signal through its frame.
    pub fn return_to(context: *const UContext) -> !;
    fn stub_end();
    fn stub_fork_site();
    fn stub_thread_site();
    fn stub_restorer();
    fn stub_enter(stack: u64, old_stack: u64, old_len: u64) -> !;
}

global_asm!(
    ".globl _start",
    ".globl stub_fork",
    ".globl stub_thread",
    ".globl return_to",
    ".globl stub_fork_site",
    ".globl stub_thread_site",
    ".globl stub_restorer",
    ".globl stub_enter",
    "_start:",
    "xor ebp, ebp",
    "mov rdi, rsp",
    "and rsp, -16",
    "call {start}",
    "ud2",
    // rdi flags, esi parent
    "stub_fork:",
    "mov r9d, esi",
    "xor esi, esi",
    "xor edx, edx",
    "xor r10d, r10d",
    "xor r8d, r8d",
    "mov eax, 56",
    "syscall",
    "stub_fork_site:",
    "test rax, rax",
    "jnz 2f",
    "mov eax, 157", // prctl(PR_SET_PDEATHSIG, SIGKILL)
    "mov edi, 1",
    "mov esi, 9",
    "syscall",
    "mov eax, 110", // getppid
    "syscall",
    "cmp eax, r9d",
    "jne 3f",
    "xor eax, eax",
    "2: ret",
    "3: mov eax, 231",
    "mov edi, 1",
    "syscall",
    "ud2",
    // rdi flags, rsi stack, rdx context
    "stub_thread:",
    "mov r9, rdx",
    "xor edx, edx",
    "xor r10d, r10d",
    "xor r8d, r8d",
    "mov eax, 56",
    "syscall",
    "stub_thread_site:",
    "test rax, rax",
    "jnz 2b",
    "xor ebp, ebp",
    "mov rdi, r9",
    "call {thread_main}",
    "ud2",
    // A signal frame is the restorer's address and then the ucontext: the handler's `ret` leaves rsp at the latter.
    "return_to:",
    "mov rsp, rdi",
    "stub_restorer:",
    "mov eax, 15",
    "syscall",
    "ud2",
    // rdi new stack, rsi and rdx the old one: unmaps that and raises the trap whose frame the kernel then fills.
    "stub_enter:",
    "mov rsp, rdi",
    "mov rdi, rsi",
    "mov rsi, rdx",
    "mov eax, 11",
    "test rsi, rsi",
    "jz 4f",
    "syscall",
    "4: int3",
    "ud2",
    start = sym start,
    thread_main = sym thread_main,
);

#[repr(C)]
struct SigAction {
    handler: u64,
    flags: u64,
    restorer: u64,
    mask: u64,
}

const SA_SIGINFO: u64 = 4;
const SA_ONSTACK: u64 = 0x0800_0000;
const SA_NODEFER: u64 = 0x4000_0000;
const SA_RESTORER: u64 = 0x0400_0000;
const PR_SET_PDEATHSIG: u64 = 1;
const PR_SET_NO_NEW_PRIVS: u64 = 38;
const SECCOMP_SET_MODE_FILTER: u64 = 1;
const FILTER_FLAG_SPEC_ALLOW: u64 = 4;
const FILTER_FLAG_NEW_LISTENER: u64 = 8;
const AT_SYSINFO_EHDR: u64 = 33;
const STACK_TOP: u64 = 0x7fff_ffff_f000;

/// The signals that guest code can cause, and the one that stops it: SIGILL SIGTRAP SIGBUS SIGFPE SIGSEGV SIGSYS.
const SIGNALS: [i32; 7] = [4, 5, 7, 8, 11, SIGSYS, abi::PREEMPT];

/// The steps that can fail, in the order of [`Answer::step`]: receive, vDSO, window, stack, altstack, handlers, prctl,
/// listener, filter.
fn prepare(hello: &mut Hello, answer: &mut Answer) -> Result<i32, i64> {
    fn check(answer: &mut Answer, ret: i64) -> Result<i64, i64> {
        answer.step += 1;
        if ret < 0 { Err(ret) } else { Ok(ret) }
    }
    let mut fds = [-1; FDS];
    // SAFETY: Hello is plain integers: any bytes are a value of it.
    let bytes =
        unsafe { core::slice::from_raw_parts_mut((hello as *mut Hello).cast::<u8>(), size_of::<Hello>()) };
    check(answer, receive_message(bytes, &mut fds))?;
    let vdso = relocate::vdso(answer.vdso);
    answer.vdso = vdso.unwrap_or(0);
    check(answer, vdso.err().unwrap_or(0))?;
    check(answer, map_window(SLOTS, fds[0]))?;
    close_all(&fds);
    check(answer, map_stack(SLOTS))?;
    let stack: [u64; 3] = [SLOTS + STACK_OFFSET, 0, STACK_LEN];
    check(answer, syscall3(SYS_SIGALTSTACK, stack.as_ptr() as u64, 0, 0))?;
    let action = SigAction {
        handler: handler as *const () as u64,
        flags: SA_SIGINFO | SA_ONSTACK | SA_RESTORER | SA_NODEFER,
        restorer: stub_restorer as *const () as u64,
        mask: !(1 << (SIGSEGV - 1) | 1 << (SIGBUS - 1)),
    };
    let mut ret = 0;
    for signal in SIGNALS {
        ret |= syscall6(SYS_RT_SIGACTION, signal as u64, &raw const action as u64, 0, 8, 0, 0);
    }
    check(answer, ret)?;
    let ret = syscall6(SYS_PRCTL, PR_SET_PDEATHSIG, 9, 0, 0, 0, 0)
        | syscall6(SYS_PRCTL, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0);
    check(answer, ret)?;
    // The speculation flags keep the host from switching mitigations on that guard a process against itself.
    let listener = [hello.listener_len, hello.listener.as_ptr() as u64];
    let flags = FILTER_FLAG_NEW_LISTENER | FILTER_FLAG_SPEC_ALLOW;
    let fd = check(answer, syscall3(SYS_SECCOMP, SECCOMP_SET_MODE_FILTER, flags, listener.as_ptr() as u64))?;
    Ok(fd as i32)
}

/// Has the host copy the text's page table entries at each fork, where it would else leave them out and every child would
/// begin with a page fault: it does that for private memory that was written to once. A refusal costs only speed.
fn own_text() {
    const RX: u64 = 5;
    let len = (stub_end as *const () as u64 - STUB_BASE + 0xfff) & !0xfff;
    if syscall3(SYS_MPROTECT, STUB_BASE, len, RX | PROT_RW) < 0 {
        return;
    }
    let header = STUB_BASE as *mut u8;
    // SAFETY: the image's header lies there, mapped and now writable, and its first byte is written as it is.
    unsafe { header.write_volatile(header.read_volatile()) };
    if syscall3(SYS_MPROTECT, STUB_BASE, len, RX) < 0 {
        exit_group();
    }
}

unsafe extern "C" fn start(stack: *const u64) -> ! {
    // SAFETY: Hello is plain integers, for which zero is a value.
    let mut hello: Hello = unsafe { core::mem::zeroed() };
    let mut answer = Answer {
        vdso: host_vdso(stack),
        fork_site: stub_fork_site as *const () as u64,
        thread_site: stub_thread_site as *const () as u64,
        ..Answer::default()
    };
    own_text();
    let listener = prepare(&mut hello, &mut answer);
    answer.error = listener.err().unwrap_or(0);
    // SAFETY: Answer is plain integers without padding.
    let bytes = unsafe { core::slice::from_raw_parts((&raw const answer).cast::<u8>(), size_of::<Answer>()) };
    send_message(bytes, listener.ok());
    let Ok(listener) = listener else { exit_group() };
    syscall3(SYS_CLOSE, listener as u64, 0, 0);
    // The old stack is unmapped before the filter forbids it; the host's vDSO may lie close.
    let low = (stack as u64 & !0xfff).wrapping_sub(0x10_0000);
    let len = if (low..STACK_TOP).contains(&answer.vdso) { 0 } else { STACK_TOP - low };
    let filter = [hello.filter_len, hello.filter.as_ptr() as u64];
    if syscall3(SYS_SECCOMP, SECCOMP_SET_MODE_FILTER, FILTER_FLAG_SPEC_ALLOW, filter.as_ptr() as u64) < 0 {
        exit_group();
    }
    fence();
    // SAFETY: nothing on the old stack is used again; the signal stack is mapped, and the trap's handler never returns
    // here, for the kernel sets every register before it lets the guest run.
    unsafe { stub_enter(SLOTS + STACK_OFFSET + STACK_LEN - 4096, low, len) }
}

/// The host's vDSO, from the auxiliary vector above arguments and environment.
fn host_vdso(stack: *const u64) -> u64 {
    // SAFETY: the host lays the initial stack out as argc, argv, 0, envp, 0, auxv ending in AT_NULL.
    unsafe {
        let mut at = stack.add(*stack as usize + 2);
        while *at != 0 {
            at = at.add(1);
        }
        at = at.add(1);
        while *at != 0 {
            if *at == AT_SYSINFO_EHDR {
                return *at.add(1);
            }
            at = at.add(2);
        }
    }
    0
}
