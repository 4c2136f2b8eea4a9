//! Register sets of a stopped tracee: general registers, FXSAVE and XSAVE images, the user area.

use abi::Result;
use abi::errno::{EINVAL, EIO, ESRCH};
use abi::ptrace::UserRegs;
use abi::sigframe::{FP_XSTATE_MAGIC2, FPX_SW_BYTES_OFFSET, FXSAVE_SIZE, FpxSwBytes};
use host::stub::{Regs, StubThread, TASK_SIZE};
use zerocopy::{FromBytes, IntoBytes};

use crate::task::Task;

/// Bytes of `struct user`, and where its debug registers are.
const USER_SIZE: u64 = 928;
const DEBUGREG: u64 = 848;
/// The extended part's bits for x87 and SSE, in the header after the FXSAVE area.
const XSTATE_BV: usize = 512;
const LEGACY_BITS: u64 = 3;
/// Where a register set has the mask of the processor's features.
const XCR0: usize = 464;

fn stub<R>(task: &Task, f: impl FnOnce(&mut StubThread) -> Result<R>) -> Result<R> {
    f(task.user.lock().as_mut().ok_or(ESRCH)?)
}

/// All of a thread's, for a core dump: general registers, FXSAVE and XSAVE images. None while it runs.
pub fn registers(task: &Task) -> Option<(UserRegs, Vec<u8>, Option<Vec<u8>>)> {
    let running = task.user.try_lock().is_none_or(|stub| stub.is_none());
    if running {
        return None;
    }
    Some((get(task).ok()?, get_fp(task).ok()?, get_xstate(task).ok()))
}

/// NT_PRSTATUS
pub(super) fn get(task: &Task) -> Result<UserRegs> {
    stub(task, |stub| Ok(of(stub.regs())))
}

fn of(r: &Regs) -> UserRegs {
    UserRegs {
        r15: r.r15,
        r14: r.r14,
        r13: r.r13,
        r12: r.r12,
        bp: r.rbp,
        bx: r.rbx,
        r11: r.r11,
        r10: r.r10,
        r9: r.r9,
        r8: r.r8,
        ax: r.rax,
        cx: r.rcx,
        dx: r.rdx,
        si: r.rsi,
        di: r.rdi,
        orig_ax: r.orig_rax,
        ip: r.rip,
        cs: r.cs,
        flags: r.eflags,
        sp: r.rsp,
        ss: r.ss,
        fs_base: r.fs_base,
        gs_base: r.gs_base,
        ds: 0,
        es: 0,
        fs: 0,
        gs: 0,
    }
}

/// Sets them; segments stay as they are. EIO for a base outside user space.
pub(super) fn set(task: &Task, new: &UserRegs) -> Result<()> {
    if new.fs_base >= TASK_SIZE || new.gs_base >= TASK_SIZE {
        return Err(EIO);
    }
    stub(task, |stub| {
        let r = stub.regs_mut();
        *r = Regs {
            r15: new.r15,
            r14: new.r14,
            r13: new.r13,
            r12: new.r12,
            rbp: new.bp,
            rbx: new.bx,
            r11: new.r11,
            r10: new.r10,
            r9: new.r9,
            r8: new.r8,
            rax: new.ax,
            rcx: new.cx,
            rdx: new.dx,
            rsi: new.si,
            rdi: new.di,
            orig_rax: new.orig_ax,
            rip: new.ip,
            eflags: new.flags,
            rsp: new.sp,
            fs_base: new.fs_base,
            gs_base: new.gs_base,
            ..*r
        };
        Ok(())
    })
}

/// NT_PRFPREG: the FXSAVE area.
pub(super) fn get_fp(task: &Task) -> Result<Vec<u8>> {
    let mut image = stub(task, StubThread::fpstate)?;
    image.truncate(FXSAVE_SIZE);
    image[FPX_SW_BYTES_OFFSET..].fill(0);
    Ok(image)
}

/// Sets it. EINVAL for another length, or a state that the processor refuses.
pub(super) fn set_fp(task: &Task, new: &[u8]) -> Result<()> {
    if new.len() != FXSAVE_SIZE {
        return Err(EINVAL);
    }
    stub(task, |stub| {
        let mut image = stub.fpstate()?;
        image[..FPX_SW_BYTES_OFFSET].copy_from_slice(&new[..FPX_SW_BYTES_OFFSET]);
        if let Some(present) = image.get_mut(XSTATE_BV..XSTATE_BV + 1) {
            present[0] |= LEGACY_BITS as u8;
        }
        stub.set_fpstate(&image)
    })
}

/// The image's own description, if it has an extended part.
fn description(image: &[u8]) -> Option<FpxSwBytes> {
    let bytes = image.get(FPX_SW_BYTES_OFFSET..FPX_SW_BYTES_OFFSET + size_of::<FpxSwBytes>())?;
    let sw = FpxSwBytes::read_from_bytes(bytes).ok()?;
    (sw.xstate_size as usize > FXSAVE_SIZE && sw.xstate_size as usize <= image.len()).then_some(sw)
}

/// NT_X86_XSTATE: the XSAVE image, with the processor's features where a frame describes it.
pub(super) fn get_xstate(task: &Task) -> Result<Vec<u8>> {
    let mut image = stub(task, StubThread::fpstate)?;
    let sw = description(&image).ok_or(EINVAL)?;
    image.truncate(sw.xstate_size as usize);
    image[XCR0..FXSAVE_SIZE].fill(0);
    image[XCR0..XCR0 + 8].copy_from_slice(&sw.xfeatures.to_ne_bytes());
    Ok(image)
}

/// Sets it; it must be whole. EINVAL, EFAULT.
pub(super) fn set_xstate(task: &Task, new: &[u8]) -> Result<()> {
    stub(task, |stub| {
        let mut image = stub.fpstate()?;
        let sw = description(&image).ok_or(EINVAL)?;
        let size = sw.xstate_size as usize;
        if new.len() != size {
            return Err(abi::errno::EFAULT);
        }
        image.truncate(size);
        image[..FPX_SW_BYTES_OFFSET].copy_from_slice(&new[..FPX_SW_BYTES_OFFSET]);
        image[FXSAVE_SIZE..].copy_from_slice(&new[FXSAVE_SIZE..]);
        image.extend_from_slice(&FP_XSTATE_MAGIC2.to_le_bytes());
        stub.set_fpstate(&image)
    })
}

/// PTRACE_PEEKUSER: a word of `struct user`. Debug registers read as zero: the host has them. EIO.
pub(super) fn peek_user(task: &Task, addr: u64) -> Result<u64> {
    if !addr.is_multiple_of(8) || addr >= USER_SIZE {
        return Err(EIO);
    }
    let regs = get(task)?;
    let word = regs.as_bytes().chunks_exact(8).nth((addr / 8) as usize);
    Ok(word.and_then(|w| w.first_chunk()).map_or(0, |w| u64::from_ne_bytes(*w)))
}

/// PTRACE_POKEUSER. EIO; EINVAL for a debug register in use.
pub(super) fn poke_user(task: &Task, addr: u64, value: u64) -> Result<()> {
    if !addr.is_multiple_of(8) || addr >= USER_SIZE {
        return Err(EIO);
    }
    let mut regs = get(task)?;
    match regs.as_mut_bytes().chunks_exact_mut(8).nth((addr / 8) as usize) {
        Some(word) => {
            word.copy_from_slice(&value.to_ne_bytes());
            set(task, &regs)
        }
        None if addr < DEBUGREG => Err(EIO),
        None if value == 0 => Ok(()),
        None => Err(EINVAL),
    }
}
