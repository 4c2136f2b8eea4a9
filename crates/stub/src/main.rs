//! The program inside each guest address space.
//!
//! It runs guest code natively and turns whatever leaves it (a system call, a fault, the preempt signal) into an event
//! for the kernel: a signal handler on a private stack copies the registers to the thread's window, hands over, does
//! what the kernel orders, and returns to the guest. It has no data of its own: the window is found from the stack
//! pointer or, by patched sites (`fast`), from the GS base, and everything it could be tricked into is bounded by its
//! seccomp filter. See `abi` for the window, `sys` for the host calls, `start` for how the first process locks itself in; all others are forks of that one.
#![no_std]
#![no_main]

#[expect(dead_code, reason = "the kernel uses the rest")]
mod abi;
mod answer;
mod argument;
mod copy;
mod fast;
mod relocate;
mod start;
mod sys;

use abi::{
    FDS, GIVE_WAY, SLOT_LEN, SLOTS, STACK_LEN, STACK_OFFSET, WINDOW_LEN, Window, command, event, turn,
};
use core::sync::atomic::Ordering::{Acquire, Relaxed, SeqCst};
use fast::Found;
use sys::*;

/// `siginfo_t`, the parts that are used.
#[repr(C)]
pub struct SigInfo {
    signo: i32,
    errno: i32,
    code: i32,
    pad: i32,
    /// si_addr, or si_call_addr for SIGSYS.
    addr: u64,
    /// si_syscall and si_arch for SIGSYS.
    syscall: u32,
    arch: u32,
}

/// `ucontext_t` as the host lays it out, up to the signal mask.
#[repr(C)]
pub struct UContext {
    flags: u64,
    link: u64,
    stack_sp: u64,
    stack_flags: u64,
    stack_size: u64,
    gregs: [u64; 23],
    fpstate: u64,
    reserved: [u64; 8],
    sigmask: u64,
}

const RDI: usize = 8;
const RSI: usize = 9;
const RAX: usize = 13;
const RIP: usize = 16;

fn window_of(address: u64) -> &'static Window {
    // SAFETY: the caller's address lies in a slot whose window is mapped; every field is atomic and any bits are valid.
    unsafe { &*((address & !(SLOT_LEN - 1)) as *const Window) }
}

/// Every signal arrives here, on the thread's signal stack, with all signals blocked but those of the stub's own faults.
unsafe extern "C" fn handler(signal: i32, info: &SigInfo, context: &mut UContext) {
    let window = window_of(context as *const UContext as u64);
    let rip = context.gregs[RIP];
    let mut signal = signal;
    if rip >= abi::STUB_BASE {
        match above_guest(signal, window, context) {
            Above::Guest => {}
            Above::Done => return,
            Above::Preempted => signal = abi::PREEMPT,
        }
    }
    save(window, context);
    window.signal.store(signal as u32, Relaxed);
    window.code.store(info.code as u32, Relaxed);
    window.addr.store(info.addr, Relaxed);
    window.syscall.store(info.syscall, Relaxed);
    window.arch.store(info.arch, Relaxed);
    window.event.store(event::SIGNAL, Relaxed);
    window.arg_len.store(0, Relaxed);
    if signal == SIGSYS && info.arch == argument::AUDIT_ARCH_X86_64 {
        argument::fetch(window, info.syscall, &context.gregs);
    }
    serve(window, context);
}

/// What a signal above guest memory was.
enum Above {
    /// The guest's, whose registers the context has.
    Guest,
    /// None of its business, and dealt with.
    Done,
    /// The kernel's, which wants the guest to stop.
    Preempted,
}

/// Signals that meet the stub's code or the host's vDSO, though the guest's code may have jumped there.
fn above_guest(signal: i32, window: &Window, context: &mut UContext) -> Above {
    let rip = context.gregs[RIP];
    if signal == SIGSYS {
        return if host_vdso_call(window, context) { Above::Done } else { Above::Guest };
    }
    if matches!(signal, SIGSEGV | SIGBUS) && rip < abi::STUB_BASE + abi::TEXT_LEN {
        // A fault of the stub itself, or of a guest that has jumped into it: only a copy's and a probe's are expected.
        let Some(next) = copy::fixup(rip).or_else(|| fast::fixup(rip, context)) else { exit_group() };
        context.gregs[RIP] = next;
        return Above::Done;
    }
    match fast::found(signal, window, context) {
        Found::Guest => return Above::Guest,
        Found::Later => return Above::Done,
        Found::Trap => {
            adopt(window, context);
            carry_out(window, context);
            if window.postponed.load(Relaxed) == 0 {
                return Above::Done;
            }
        }
        Found::Postponed => {}
    }
    window.postponed.store(0, Relaxed);
    Above::Preempted
}

/// A call that came the fast way gets this signal frame for its own.
fn adopt(window: &Window, context: &mut UContext) {
    window.phase.store(0, Relaxed);
    for (to, from) in context.gregs[..18].iter_mut().zip(&window.regs) {
        *to = from.load(Relaxed);
    }
    window.frame.store(context as *const UContext as u64, Relaxed);
    window.fpstate.store(context.fpstate, Relaxed);
}

/// The host's own vDSO falls back to a system call where the clock source needs one: that call is the host's to answer.
fn host_vdso_call(window: &Window, context: &mut UContext) -> bool {
    let rip = context.gregs[RIP];
    if rip < window.vdso.load(Relaxed) || rip > window.vdso_end.load(Relaxed) {
        return false;
    }
    let nr = context.gregs[RAX];
    if !matches!(nr, SYS_CLOCK_GETTIME | SYS_CLOCK_GETRES | SYS_GETTIMEOFDAY | SYS_TIME | SYS_GETCPU) {
        return false;
    }
    // rdi, rsi, rdx: the pointers are the guest's, into memory that it can write anyway.
    context.gregs[RAX] = syscall3(nr, context.gregs[8], context.gregs[9], context.gregs[12]) as u64;
    true
}

fn save(window: &Window, context: &UContext) {
    for (to, from) in window.regs.iter().zip(&context.gregs) {
        to.store(*from, Relaxed);
    }
    let (fs, gs) = bases(window.fsgsbase.load(Relaxed) != 0);
    window.regs[abi::FS_BASE].store(fs, Relaxed);
    window.regs[abi::GS_BASE].store(gs, Relaxed);
    window.frame.store(context as *const UContext as u64, Relaxed);
    window.fpstate.store(context.fpstate, Relaxed);
}

/// Registers up to and with the segment word go back; the four after it only describe the fault.
fn restore(window: &Window, context: &mut UContext) {
    for (to, from) in context.gregs[..19].iter_mut().zip(&window.regs) {
        *to = from.load(Relaxed);
    }
    set_bases(
        window.fsgsbase.load(Relaxed) != 0,
        window.regs[abi::FS_BASE].load(Relaxed),
        window.regs[abi::GS_BASE].load(Relaxed),
        window as *const Window as u64,
    );
    fast::open(window);
}

/// Gives the turn to the kernel and waits until it gives it back.
fn handoff(window: &Window) {
    window.turn.store(turn::KERNEL, SeqCst);
    if window.kernel_waits.load(SeqCst) != 0 {
        futex_wake(&window.turn);
    }
    if look(window) {
        return;
    }
    window.stub_waits.store(1, SeqCst);
    loop {
        let seen = window.turn.load(SeqCst);
        if seen & turn::KERNEL == 0 {
            break;
        }
        futex_wait(&window.turn, seen);
    }
    window.stub_waits.store(0, Relaxed);
}

/// How many times it lets others run at most, whatever a guest has put into its window: that is the host's time, by which
/// the kernel does not judge it, and the kernel waits for it.
const MOST_WAYS: u32 = 32;

/// Looks for its turn as long as the kernel wants that; whether it has come.
fn look(window: &Window) -> bool {
    let (mut looks, mut ways) = (0, 0);
    loop {
        if window.turn.load(Acquire) & turn::KERNEL == 0 {
            return true;
        }
        let spin = window.spin.load(Relaxed);
        if spin & GIVE_WAY == 0 {
            if looks >= spin {
                return false;
            }
            looks += 1;
            core::hint::spin_loop();
        } else {
            if ways >= (spin & !GIVE_WAY).min(MOST_WAYS) {
                return false;
            }
            ways += 1;
            syscall3(SYS_SCHED_YIELD, 0, 0, 0);
        }
    }
}

/// Hands over and does what the kernel orders, until it orders to return to the guest.
fn serve(window: &Window, context: &mut UContext) {
    handoff(window);
    carry_out(window, context);
}

/// Does what the kernel orders, and hands over, until it orders to return to the guest.
fn carry_out(window: &Window, context: &mut UContext) {
    loop {
        let command = window.command.load(Relaxed);
        if command == command::RESUME {
            if settle(window) {
                restore(window, context);
                return;
            }
            handoff(window);
            continue;
        }
        let mut fds = [-1i32; FDS];
        if !operate(window, &mut fds) {
            close_all(&fds);
            handoff(window);
            continue;
        }
        match command {
            command::FORK => fork(window, context, &mut fds),
            command::THREAD => thread(window, context, &fds),
            command::EXIT => leave(&window.turn),
            command::COPY_OUT | command::COPY_IN => {
                let n = copy::guest(window, command == command::COPY_IN);
                window.ret.store(n, Relaxed);
            }
            command::REVIVE => revive(window, context),
            command::RESET => context.sigmask = 0,
            command::COMPARE_EXCHANGE => window.ret.store(copy::compare_exchange(window), Relaxed),
            _ => window.ret.store(0, Relaxed),
        }
        close_all(&fds);
        if command != command::FORK || window.event.load(Relaxed) != event::READY {
            window.event.store(event::DONE, Relaxed);
        }
        handoff(window);
    }
}

/// Before the guest goes on: operations, then results. False, with the event that says why, where one can't be done.
fn settle(window: &Window) -> bool {
    if window.op_count.load(Relaxed) | window.fd_count.load(Relaxed) != 0 {
        let mut fds = [-1i32; FDS];
        let done = operate(window, &mut fds);
        close_all(&fds);
        if !done {
            return false;
        }
    }
    let done = copy::results(window);
    if !done {
        window.event.store(event::COPY_FAILED, Relaxed);
    }
    done
}

/// Does the window's operations in order, with the descriptors that come with them; false after the first that fails.
fn operate(window: &Window, fds: &mut [i32; FDS]) -> bool {
    if window.fd_count.load(Relaxed) != 0 {
        receive(fds);
    }
    let count = (window.op_count.load(Relaxed) as usize).min(abi::OPS);
    for (i, op) in window.ops[..count].iter().enumerate() {
        let [nr, a, b, c, d, e, f] = op.each_ref().map(|word| word.load(Relaxed));
        let e = if nr == SYS_MMAP && e != u64::MAX { fds[e as usize % FDS] as u64 } else { e };
        let ret = syscall6(nr, a, b, c, d, e, f);
        if (-4095..0).contains(&ret) {
            window.index.store(i as u32, Relaxed);
            window.ret.store(ret as u64, Relaxed);
            window.event.store(event::OP_FAILED, Relaxed);
            return false;
        }
    }
    true
}

fn fork(window: &Window, context: &UContext, fds: &mut [i32; FDS]) {
    let (socket, memory) = (fds[0], fds[1]);
    window.event.store(event::DONE, Relaxed);
    let parent = window.parent.load(Relaxed);
    // SAFETY: parent and child both go on from here; the child's stack is its own copy.
    let ret = unsafe { start::stub_fork(abi::FORK_FLAGS, parent) };
    if ret != 0 {
        window.ret.store(ret as u64, Relaxed);
        return;
    }
    // The parent's window is not inherited: until the child's own is in its place there is a hole.
    let base = window as *const Window as u64;
    let mapped = map_window(base, memory);
    syscall3(SYS_DUP3, socket as u64, abi::CONTROL as u64, 0);
    if mapped != base as i64 {
        exit_group();
    }
    save(window, context);
    window.event.store(event::READY, Relaxed);
}

fn thread(window: &Window, context: &UContext, fds: &[i32; FDS]) {
    let slot = SLOTS + u64::from(window.slot.load(Relaxed)) * SLOT_LEN;
    if fds[0] >= 0 {
        let mut ret = map_window(slot, fds[0]);
        if ret >= 0 {
            ret = map_stack(slot);
        }
        if ret < 0 {
            window.ret.store(ret as u64, Relaxed);
            return;
        }
    }
    // The new thread starts on a copy of this thread's signal frame, and so returns to the guest with a copy of all
    // registers, vectors included.
    let old = window as *const Window as u64;
    let frame = context as *const UContext as u64 - 8;
    let offset = frame - old;
    copy::bytes(slot + offset, frame, SLOT_LEN - offset);
    // SAFETY: the copy above is a ucontext in the new slot's stack, which nothing else uses yet.
    let copied = unsafe { &mut *((slot + offset + 8) as *mut UContext) };
    copied.fpstate = copied.fpstate.wrapping_sub(old).wrapping_add(slot);
    copied.stack_sp = slot + STACK_OFFSET;
    copied.stack_size = STACK_LEN;
    let top = (slot + offset - 256) & !15;
    // SAFETY: the child runs `thread_main` on the memory below the copied frame; only the parent returns.
    let ret = unsafe { start::stub_thread(abi::THREAD_FLAGS, top, slot + offset + 8) };
    window.ret.store(ret as u64, Relaxed);
}

fn revive(window: &Window, context: &UContext) {
    let other = SLOTS + u64::from(window.slot.load(Relaxed)) * SLOT_LEN;
    copy::bytes(window.addr.load(Relaxed), context.fpstate, window.len.load(Relaxed));
    futex_wake(&window_of(other).turn);
    window.ret.store(0, Relaxed);
}

/// Where a new thread begins; `context` is its copy of its parent's frame.
pub unsafe extern "C" fn thread_main(context: &mut UContext) -> ! {
    let window = window_of(context as *const UContext as u64);
    save(window, context);
    window.event.store(event::READY, Relaxed);
    serve(window, context);
    // SAFETY: `context` is a signal frame's ucontext, as the handler's return would leave it for the restorer.
    unsafe { start::return_to(context) }
}

fn map_window(base: u64, fd: i32) -> i64 {
    let ret = syscall6(SYS_MMAP, base, WINDOW_LEN, PROT_RW, MAP_SHARED | MAP_FIXED, fd as u64, 0);
    if ret >= 0 {
        let advised = syscall3(SYS_MADVISE, base, WINDOW_LEN, MADV_DONTFORK);
        if advised < 0 {
            return advised;
        }
    }
    ret
}

fn map_stack(slot: u64) -> i64 {
    let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
    syscall6(SYS_MMAP, slot + STACK_OFFSET, STACK_LEN, PROT_RW, flags, u64::MAX, 0)
}
