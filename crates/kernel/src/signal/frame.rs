//! The stack frame of a signal handler, and rt_sigreturn(2), exactly as x86-64 Linux has them.

use abi::errno::{EFAULT, EINVAL};
use abi::sigframe::*;
use abi::signal::{
    SA_ONSTACK, SA_RESTORER, SA_SIGINFO, SS_AUTODISARM, SS_DISABLE, SigAction, SigAltStack, SigInfo, SigSet,
};
use abi::{Errno, Result};
use host::stub::Regs;
use zerocopy::IntoBytes;

use super::{LastFault, SigAltStackState, altstack, fpu, mask, send};
use crate::task::{Task, current};

const FRAME_SIZE: u64 = size_of::<RtSigFrame>() as u64;
/// Flags that user space may set by a signal frame.
const USER_EFLAGS: u64 = X86_EFLAGS_AC
    | X86_EFLAGS_OF
    | X86_EFLAGS_DF
    | X86_EFLAGS_TF
    | X86_EFLAGS_SF
    | X86_EFLAGS_ZF
    | X86_EFLAGS_AF
    | X86_EFLAGS_PF
    | X86_EFLAGS_CF
    | X86_EFLAGS_RF;
/// rt_sigreturn(2) reads this much at once: with all but the largest processor states a whole frame.
const SIGRETURN_READ: usize = 4096;
/// What `orig_rax` is outside a syscall.
const NO_SYSCALL: u64 = u64::MAX;

/// Where a frame goes.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    frame: u64,
    fpstate: u64,
}

/// Finds the place below the guest's stack pointer or on its alternate stack; none if that would overflow it.
fn place(sp: u64, stack: &SigAltStackState, use_altstack: bool, fpstate_len: u64) -> Option<Place> {
    let nested = stack.in_use(sp);
    let mut at = sp.checked_sub(RED_ZONE)?;
    let entering = use_altstack && stack.size != 0 && !stack.in_use(at);
    if entering {
        at = stack.sp.checked_add(stack.size)?;
    }
    let fpstate = at.checked_sub(fpstate_len)? & !63;
    // As after a call: the stack pointer plus 8 is a multiple of 16.
    let frame = (fpstate.checked_sub(FRAME_SIZE)? & !15).checked_sub(8)?;
    if (nested || entering) && !stack.holds(frame) {
        return None;
    }
    Some(Place { frame, fpstate })
}

/// Makes the current task run a handler when it returns to its guest program. An error means that the frame could not
/// be built: SIGSEGV.
pub(super) fn enter_handler(task: &Task, info: &SigInfo, action: &SigAction) -> Result<()> {
    if action.flags & SA_RESTORER == 0 {
        return Err(EFAULT);
    }
    // What the interrupted call still has to do to the memory is done before the frame goes there, and may still fail
    // the call.
    if let Err(errno) = task.mm()?.flush() {
        task.with_regs(|r| r.rax = errno.to_rax())?;
    }
    let (stack, saved_mask, fault) = {
        let signal = task.signal.lock();
        (signal.altstack, signal.saved_mask.unwrap_or(signal.blocked), signal.state.fault)
    };
    let regs = task.with_regs(|r| *r)?;
    let (fpstate, extended) = fpu::save(task)?;
    let place =
        place(regs.rsp, &stack, action.flags & SA_ONSTACK != 0, fpstate.len() as u64).ok_or(EFAULT)?;

    let mut flags = UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS;
    if extended {
        flags |= UC_FP_XSTATE;
    }
    let frame = RtSigFrame {
        pretcode: action.restorer,
        uc: UContext {
            uc_flags: flags,
            uc_link: 0,
            uc_stack: SigAltStack {
                ss_sp: stack.sp,
                ss_flags: stack_flags(&stack),
                _pad: 0,
                ss_size: stack.size,
            },
            uc_mcontext: context(&regs, &fault, place.fpstate, saved_mask),
            uc_sigmask: saved_mask,
        },
        info: if action.flags & SA_SIGINFO != 0 { *info } else { SigInfo::default() },
    };
    let mut image = vec![0; (place.fpstate - place.frame) as usize + fpstate.len()];
    image[..size_of::<RtSigFrame>()].copy_from_slice(frame.as_bytes());
    image[(place.fpstate - place.frame) as usize..].copy_from_slice(&fpstate);
    if task.mm()?.write(place.frame, &image) != image.len() {
        return Err(EFAULT);
    }

    if stack.flags & SS_AUTODISARM != 0 {
        task.signal.lock().altstack = SigAltStackState { sp: 0, size: 0, flags: SS_DISABLE };
    }
    let mut user = task.user.lock();
    let stub = user.as_mut().ok_or(EFAULT)?;
    stub.reset_fpstate();
    let r = stub.regs_mut();
    r.rdi = u64::from(info.si_signo as u32);
    r.rsi = place.frame + core::mem::offset_of!(RtSigFrame, info) as u64;
    r.rdx = place.frame + core::mem::offset_of!(RtSigFrame, uc) as u64;
    r.rax = 0;
    r.rip = action.handler;
    r.rsp = place.frame;
    r.cs = u64::from(USER_CS);
    r.ss = u64::from(USER_DS);
    r.eflags &= !(X86_EFLAGS_DF | X86_EFLAGS_RF | X86_EFLAGS_TF);
    r.orig_rax = NO_SYSCALL;
    Ok(())
}

/// The flags as the frame has them: those that were set, and SS_DISABLE for a stack that never was.
fn stack_flags(stack: &SigAltStackState) -> u32 {
    if stack.size == 0 { stack.flags | SS_DISABLE } else { stack.flags }
}

fn context(r: &Regs, fault: &LastFault, fpstate: u64, mask: SigSet) -> SigContext {
    SigContext {
        r8: r.r8,
        r9: r.r9,
        r10: r.r10,
        r11: r.r11,
        r12: r.r12,
        r13: r.r13,
        r14: r.r14,
        r15: r.r15,
        di: r.rdi,
        si: r.rsi,
        bp: r.rbp,
        bx: r.rbx,
        dx: r.rdx,
        ax: r.rax,
        cx: r.rcx,
        sp: r.rsp,
        ip: r.rip,
        flags: r.eflags,
        cs: r.cs as u16,
        gs: 0,
        fs: 0,
        ss: r.ss as u16,
        err: fault.error_code,
        trapno: fault.trapno,
        oldmask: mask.bits,
        cr2: fault.cr2,
        fpstate,
        _reserved1: [0; 8],
    }
}

/// Registers after rt_sigreturn. EINVAL for segments that user mode cannot run with.
fn restored(before: &Regs, c: &SigContext, uc_flags: u64) -> Result<Regs> {
    // The privilege level is always the user's; a selector of the program's own (LDT) doesn't exist here.
    let cs = c.cs | 3;
    let ss = if uc_flags & UC_STRICT_RESTORE_SS != 0 { c.ss | 3 } else { USER_DS };
    if (cs != USER_CS && cs != USER32_CS) || ss != USER_DS {
        return Err(EINVAL);
    }
    Ok(Regs {
        r8: c.r8,
        r9: c.r9,
        r10: c.r10,
        r11: c.r11,
        r12: c.r12,
        r13: c.r13,
        r14: c.r14,
        r15: c.r15,
        rdi: c.di,
        rsi: c.si,
        rbp: c.bp,
        rbx: c.bx,
        rdx: c.dx,
        rax: c.ax,
        rcx: c.cx,
        rsp: c.sp,
        rip: c.ip,
        eflags: before.eflags & !USER_EFLAGS | c.flags & USER_EFLAGS,
        cs: u64::from(cs),
        ss: u64::from(ss),
        orig_rax: NO_SYSCALL,
        ..*before
    })
}

/// rt_sigreturn(2): goes back to where the signal came. A frame that makes no sense is SIGSEGV.
pub fn rt_sigreturn() -> Result<u64> {
    let task = current();
    sigreturn(&task).or_else(|_: Errno| {
        send::force(&task, SigInfo::new(abi::signal::SIGSEGV, abi::signal::SI_KERNEL));
        Ok(0)
    })
}

fn sigreturn(task: &Task) -> Result<u64> {
    let before = task.with_regs(|r| *r)?;
    // The handler's return has popped the frame's first word.
    let memory = fpu::Fetched::read(task, before.rsp, SIGRETURN_READ)?;
    let mut uc = UContext::default();
    memory.copy(before.rsp, uc.as_mut_bytes())?;
    mask::set_blocked(task, uc.uc_sigmask);
    task.signal.lock().state.restart_block = None;
    let regs = restored(&before, &uc.uc_mcontext, uc.uc_flags)?;
    fpu::restore(task, &memory, uc.uc_mcontext.fpstate)?;
    task.with_regs(|r| *r = regs)?;
    // As Linux: a bad alternate stack is left alone.
    let _ = altstack::set(task, Some(&uc.uc_stack), regs.rsp);
    Ok(regs.rax)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_linux() {
        assert_eq!(size_of::<SigContext>(), 256);
        assert_eq!(size_of::<UContext>(), 304);
        assert_eq!(FRAME_SIZE, 440);
    }

    #[test]
    fn frame_is_aligned_below_the_red_zone() {
        let off = SigAltStackState::default();
        let at = place(0x7000_0123, &off, true, 2696).unwrap();
        assert_eq!(at.fpstate % 64, 0);
        assert_eq!((at.frame + 8) % 16, 0);
        assert!(at.fpstate + 2696 <= 0x7000_0123 - 128);
        assert!(at.frame + FRAME_SIZE <= at.fpstate);
        assert_eq!(place(100, &off, false, 2696), None);
        assert_eq!(place(3000, &off, false, 2696), None);
    }

    #[test]
    fn alternate_stack_is_entered_once_and_not_overflowed() {
        let stack = SigAltStackState { sp: 0x10000, size: 0x4000, flags: 0 };
        let entered = place(0x7000_0000, &stack, true, 2696).unwrap();
        assert!(stack.holds(entered.frame));
        let nested = place(entered.frame, &stack, true, 2696).unwrap();
        assert!(nested.frame < entered.frame && stack.holds(nested.frame));
        assert_eq!(place(0x10800, &stack, true, 2696), None);
        assert!(!stack.holds(place(0x7000_0000, &stack, false, 2696).unwrap().frame));
        let small = SigAltStackState { sp: 0x10000, size: 2048, flags: 0 };
        assert_eq!(place(0x7000_0000, &small, true, 2696), None);
    }

    #[test]
    fn return_keeps_the_kernel_flags_and_user_segments() {
        let before = Regs { eflags: 0x202, fs_base: 7, ..Regs::default() };
        let mut c = SigContext { flags: !0, cs: USER_CS, ss: USER_DS, ax: 5, ..SigContext::default() };
        let regs = restored(&before, &c, UC_STRICT_RESTORE_SS).unwrap();
        assert_eq!(regs.eflags, 0x202 | USER_EFLAGS);
        assert_eq!((regs.rax, regs.fs_base, regs.orig_rax), (5, 7, u64::MAX));
        c.cs = 0x10;
        assert_eq!(restored(&before, &c, 0).unwrap_err(), EINVAL);
    }
}
