//! The fast way into the kernel: from a patched site, without a signal.
//!
//! A site's slot (see `fastpath` in the kernel) jumps to `fast_entry` with the address after the `syscall` instruction in
//! r11, which a system call clobbers, as it does rcx. Everything else must be as it was when the guest goes on, flags and
//! vector registers included, and nothing may be written below its stack pointer. The thread's window is at its GS base,
//! unless the guest has set one of its own: then the entry goes back to the instruction itself, which traps.
//!
//! No signal is blocked here, so a handler may find a thread anywhere in it ([`found`]). Until the kernel is told of the
//! call it is as if the guest had not made it yet; once it is, the signal waits; and after the last look for such a
//! signal, the guest has gone on. A call that turns out to need more than registers, copies and memory operations raises a
//! trap, and goes on
//! in the handler as if it had come by a signal.

use crate::abi::{self, MAGIC, SLOT_LEN, WINDOW_LEN, Window, command, event, phase};
use crate::sys::*;
use crate::{RAX, RIP, UContext, answer, argument, handoff, settle};
use core::arch::global_asm;
use core::mem::offset_of;
use core::sync::atomic::Ordering::{Relaxed, SeqCst};

unsafe extern "C" {
    fn fast_entry();
    fn fast_on_stack();
    fn fast_saved();
    fn fast_look();
    fn fast_answered();
    fn fast_again();
    fn fast_left();
    fn fast_trapped();
}

global_asm!(
    ".globl fast_entry",
    ".globl fast_on_stack",
    ".globl fast_saved",
    ".globl fast_look",
    ".globl fast_answered",
    ".globl fast_again",
    ".globl fast_left",
    ".globl fast_trapped",
    ".macro fast_restore",
    "mov dword ptr gs:[{phase}], 0",
    "push qword ptr gs:[{regs} + 8*17]",
    "popfq",
    "mov r8, gs:[{regs} + 8*0]",
    "mov r9, gs:[{regs} + 8*1]",
    "mov r10, gs:[{regs} + 8*2]",
    "mov r11, gs:[{regs} + 8*3]",
    "mov r12, gs:[{regs} + 8*4]",
    "mov r13, gs:[{regs} + 8*5]",
    "mov r14, gs:[{regs} + 8*6]",
    "mov r15, gs:[{regs} + 8*7]",
    "mov rdi, gs:[{regs} + 8*8]",
    "mov rsi, gs:[{regs} + 8*9]",
    "mov rbp, gs:[{regs} + 8*10]",
    "mov rbx, gs:[{regs} + 8*11]",
    "mov rdx, gs:[{regs} + 8*12]",
    ".endm",
    ".balign 64",
    "fast_entry:",
    // Neither flags nor other registers may change before it is known that this is a window.
    "mov rcx, gs:[{magic}]",
    "lea rcx, [rcx - ({MAGIC})]",
    "jrcxz 2f",
    "lea rcx, [r11 - 2]",
    "jmp rcx",
    "2:",
    "mov gs:[{regs} + 8*0], r8",
    "mov gs:[{regs} + 8*1], r9",
    "mov gs:[{regs} + 8*2], r10",
    "mov gs:[{regs} + 8*4], r12",
    "mov gs:[{regs} + 8*5], r13",
    "mov gs:[{regs} + 8*6], r14",
    "mov gs:[{regs} + 8*7], r15",
    "mov gs:[{regs} + 8*8], rdi",
    "mov gs:[{regs} + 8*9], rsi",
    "mov gs:[{regs} + 8*10], rbp",
    "mov gs:[{regs} + 8*11], rbx",
    "mov gs:[{regs} + 8*12], rdx",
    "mov gs:[{regs} + 8*13], rax",
    "mov gs:[{regs} + 8*14], r11",
    "mov gs:[{regs} + 8*15], rsp",
    "mov gs:[{regs} + 8*16], r11",
    "mov rsp, gs:[{fast_stack}]",
    "fast_on_stack:",
    "mov dword ptr gs:[{phase}], {BEFORE}",
    "pushfq",
    "pop rcx",
    "mov gs:[{regs} + 8*17], rcx",
    "fast_saved:",
    "mov gs:[{regs} + 8*3], rcx",
    "cld",
    "mov rdi, rsp",
    "and rdi, {slot_mask}",
    "call {call}",
    "cmp edx, {AGAIN}",
    "je 5f",
    "ja 4f",
    "cmp edx, {RESUME}",
    "jne 6f",
    "fast_look:",
    "cmp dword ptr gs:[{postponed}], 0",
    "jne 3f",
    "fast_restore",
    "mov rax, gs:[{regs} + 8*13]",
    "mov rcx, gs:[{regs} + 8*14]",
    "mov rsp, gs:[{regs} + 8*15]",
    "jmp qword ptr gs:[{regs} + 8*16]",
    "fast_answered:",
    // The result stays in rax.
    "6: fast_restore",
    "mov rcx, gs:[{regs} + 8*14]",
    "mov rsp, gs:[{regs} + 8*15]",
    "jmp qword ptr gs:[{regs} + 8*16]",
    "fast_again:",
    "5: fast_restore",
    "mov rax, gs:[{regs} + 8*13]",
    "mov rsp, gs:[{regs} + 8*15]",
    "mov rcx, gs:[{regs} + 8*16]",
    "lea rcx, [rcx - 2]",
    "jmp rcx",
    "fast_left:",
    "3: mov dword ptr gs:[{phase}], {POSTPONED}",
    "int3",
    "ud2",
    "4: mov dword ptr gs:[{phase}], {TRAP}",
    "int3",
    "fast_trapped:",
    "ud2",
    MAGIC = const MAGIC,
    RESUME = const then::RESUME,
    AGAIN = const then::AGAIN,
    BEFORE = const phase::BEFORE,
    TRAP = const phase::TRAP,
    POSTPONED = const phase::POSTPONED,
    slot_mask = const -(SLOT_LEN as i64),
    magic = const offset_of!(Window, magic),
    regs = const offset_of!(Window, regs),
    fast_stack = const offset_of!(Window, fast_stack),
    phase = const offset_of!(Window, phase),
    postponed = const offset_of!(Window, postponed),
    call = sym fast_call,
);

/// Calls that need a signal frame, or leave the address space: they trap as if they were not patched. rt_sigreturn clone
/// fork vfork execve exit exit_group execveat clone3.
fn traps(nr: u64) -> bool {
    matches!(nr, 15 | 56 | 57 | 58 | 59 | 60 | 231 | 322 | 435) || nr >= 512
}

/// What comes after [`fast_call`].
mod then {
    /// The answer is the result.
    pub const ANSWERED: u64 = 0;
    /// The guest goes on with the registers in the window.
    pub const RESUME: u64 = 1;
    /// The call is made by the instruction.
    pub const AGAIN: u64 = 2;
    /// The call goes on in a signal handler.
    pub const TRAP: u64 = 3;
}

/// A result, and one of [`then`], in rax and rdx.
#[repr(C)]
struct Outcome(u64, u64);

/// The system call whose registers are in the window, which stay as they are until the kernel knows of it.
unsafe extern "C" fn fast_call(window: &Window) -> Outcome {
    let nr = window.regs[RAX].load(Relaxed);
    if let Some(result) = answer::find(window, nr) {
        window.answered.store(window.answered.load(Relaxed).wrapping_add(1), Relaxed);
        return Outcome(result as u64, then::ANSWERED);
    }
    if traps(nr) {
        return Outcome(0, then::AGAIN);
    }
    argument::fetch_fast(window, nr as u32);
    if let Some(fs) = fs_base(window.fsgsbase.load(Relaxed) != 0) {
        window.regs[abi::FS_BASE].store(fs, Relaxed);
    }
    window.event.store(event::FAST, Relaxed);
    window.phase.store(phase::AFTER, SeqCst);
    loop {
        handoff(window);
        if window.command.load(Relaxed) != command::RESUME || window.full.load(Relaxed) != 0 {
            return Outcome(0, then::TRAP);
        }
        if settle(window) {
            return Outcome(0, then::RESUME);
        }
    }
}

/// Where patched sites go.
pub fn entry() -> u64 {
    fast_entry as *const () as u64
}

/// Lets the thread come this way from now on.
pub fn open(window: &Window) {
    let slot = window as *const Window as u64;
    const { assert!(WINDOW_LEN < abi::STACK_OFFSET) };
    window.fast_stack.store(slot + SLOT_LEN - 64, Relaxed);
    window.magic.store(i64::from(MAGIC) as u64, Relaxed);
}

/// Where to go on after a fault at `rip`: the look at a GS base that is no window's.
pub fn fixup(rip: u64, context: &UContext) -> Option<u64> {
    (rip == entry()).then(|| context.gregs[R11].wrapping_sub(2))
}

const R11: usize = 3;
const RSP: usize = 15;

/// What a signal found.
pub enum Found {
    /// The guest, whose registers are in the context now.
    Guest,
    /// The same, after a call during which it was told to stop.
    Postponed,
    /// A thread that can't be bothered: it will see [`Window::postponed`].
    Later,
    /// A call that wants a signal frame.
    Trap,
}

/// Sorts out where on the fast way the signal has met the thread, if there.
pub fn found(signal: i32, window: &Window, context: &mut UContext) -> Found {
    let rip = context.gregs[RIP];
    let at = |label: unsafe extern "C" fn()| label as *const () as u64;
    let after = |start: unsafe extern "C" fn(), end: unsafe extern "C" fn()| rip > at(start) && rip < at(end);
    if rip == at(fast_entry) || after(fast_entry, fast_saved) {
        // Registers are the guest's, but for rcx, and the stack pointer from where it is switched.
        if rip >= at(fast_on_stack) {
            context.gregs[RSP] = window.regs[RSP].load(Relaxed);
        }
        context.gregs[RIP] = context.gregs[R11].wrapping_sub(2);
        window.phase.store(0, Relaxed);
        return Found::Guest;
    }
    if after(fast_look, fast_answered) {
        return guest(window, context, 0);
    }
    if after(fast_answered, fast_again) {
        let result = context.gregs[RAX];
        guest(window, context, 0);
        context.gregs[RAX] = result;
        return Found::Guest;
    }
    if after(fast_again, fast_left) {
        return guest(window, context, 2);
    }
    match window.phase.load(Relaxed) {
        phase::BEFORE => guest(window, context, 2),
        phase::TRAP if signal == SIGTRAP && rip == at(fast_trapped) => Found::Trap,
        phase::POSTPONED => {
            guest(window, context, 0);
            Found::Postponed
        }
        phase::AFTER | phase::TRAP => {
            window.postponed.store(1, SeqCst);
            Found::Later
        }
        _ => Found::Guest,
    }
}

/// The guest as it is, or as it was `back` bytes before, with the registers in the window.
fn guest(window: &Window, context: &mut UContext, back: u64) -> Found {
    for (to, from) in context.gregs[..18].iter_mut().zip(&window.regs) {
        *to = from.load(Relaxed);
    }
    context.gregs[RIP] = context.gregs[RIP].wrapping_sub(back);
    window.phase.store(0, Relaxed);
    Found::Guest
}
