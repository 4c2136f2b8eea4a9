//! ptrace(2): the tracer's requests.

use std::sync::Arc;

use abi::Result;
use abi::errno::{EFAULT, EINVAL, EIO, EPERM, ESRCH};
use abi::ptrace::*;
use abi::seccomp::AUDIT_ARCH_X86_64;
use abi::signal::{NSIG, SIGKILL, SigInfo, SigSet};
use abi::uio::Iovec;
use zerocopy::IntoBytes;

use super::{Resume, State, ask_trap, attach, memory, regs, stopped, trace_me, unlink};
use crate::signal;
use crate::task::{Task, TaskState, current, pid};
use crate::uaccess::{UserPtr, copy_from_user, copy_to_user};

/// Register sets of PTRACE_GETREGSET.
const NT_PRSTATUS: u64 = 1;
const NT_PRFPREG: u64 = 2;
const NT_X86_XSTATE: u64 = 0x202;
/// No register set is larger.
const REGSET_MAX: usize = 64 << 10;

const OPTIONS: u64 = PTRACE_O_TRACESYSGOOD as u64
    | PTRACE_O_TRACEFORK as u64
    | PTRACE_O_TRACEVFORK as u64
    | PTRACE_O_TRACECLONE as u64
    | PTRACE_O_TRACEEXEC as u64
    | PTRACE_O_TRACEVFORKDONE as u64
    | PTRACE_O_TRACEEXIT as u64
    | PTRACE_O_TRACESECCOMP as u64
    | PTRACE_O_EXITKILL as u64;

/// PTRACE_O_*: EINVAL for one that isn't there.
pub(super) fn options(data: u64) -> Result<u32> {
    if data & !OPTIONS == 0 { Ok(data as u32) } else { Err(EINVAL) }
}

/// ptrace(2)
pub fn ptrace(request: u64, pid: i32, addr: u64, data: u64) -> Result<u64> {
    let request = u32::try_from(request).map_err(|_| EIO)?;
    if request == PTRACE_TRACEME {
        return trace_me(&current()).map(|()| 0);
    }
    let task = pid::find_task(pid)?;
    match request {
        PTRACE_ATTACH => return attach(&task, false, 0, 0).map(|()| 0),
        PTRACE_SEIZE => return attach(&task, true, addr, data).map(|()| 0),
        PTRACE_INTERRUPT => {
            let own = task.ptrace.tracer().is_some_and(|t| Arc::ptr_eq(&t, &current()));
            if !task.ptrace.is_traced() || !own {
                return Err(ESRCH);
            }
            if !task.ptrace.is_seized() {
                return Err(EIO);
            }
            interrupt(&task);
            return Ok(0);
        }
        PTRACE_KILL => {
            if stopped(&task).is_ok() {
                signal::send_process(&task.process, SigInfo::new(SIGKILL, abi::signal::SI_KERNEL));
            }
            return Ok(0);
        }
        _ => stopped(&task)?,
    }
    on_stopped(&task, request, addr, data)
}

/// Stops a seized tracee, or has one that listens in a group stop tell of it again.
fn interrupt(task: &Arc<Task>) {
    let listening = {
        let mut state = task.ptrace.state.lock();
        let stop = state.stop.as_mut().filter(|s| s.listening);
        stop.map(|s| s.resumed = Some(0)).is_some()
    };
    ask_trap(task);
    if listening {
        task.wake_if(|s| s == TaskState::Traced);
    }
}

fn on_stopped(task: &Arc<Task>, request: u32, addr: u64, data: u64) -> Result<u64> {
    match request {
        PTRACE_CONT => resume(task, Resume::Cont, data)?,
        PTRACE_SYSCALL => resume(task, Resume::Syscall, data)?,
        PTRACE_SINGLESTEP => resume(task, Resume::Step, data)?,
        PTRACE_SYSEMU => resume(task, Resume::Emulate, data)?,
        PTRACE_DETACH => unlink(task, signal_number(data)?),
        PTRACE_LISTEN => listen(task)?,
        PTRACE_PEEKTEXT | PTRACE_PEEKDATA => {
            let mut word = [0; 8];
            memory::force_read(task, addr, &mut word)?;
            copy_to_user(data, &word)?;
        }
        PTRACE_POKETEXT | PTRACE_POKEDATA => {
            let done = memory::force_write(task, addr, &data.to_ne_bytes())?;
            if done < 8 {
                return Err(EIO);
            }
        }
        PTRACE_PEEKUSER => UserPtr::<u64>::new(data).write(&regs::peek_user(task, addr)?)?,
        PTRACE_POKEUSER => regs::poke_user(task, addr, data)?,
        PTRACE_GETREGS => UserPtr::new(data).write(&regs::get(task)?)?,
        PTRACE_SETREGS => regs::set(task, &UserPtr::<UserRegs>::new(data).read()?)?,
        PTRACE_GETFPREGS => copy_to_user(data, &regs::get_fp(task)?)?,
        PTRACE_SETFPREGS => {
            let mut image = vec![0; size_of::<UserFpRegs>()];
            copy_from_user(data, &mut image)?;
            regs::set_fp(task, &image)?;
        }
        PTRACE_GETREGSET | PTRACE_SETREGSET => regset(task, request == PTRACE_SETREGSET, addr, data)?,
        PTRACE_SETOPTIONS => {
            let options = options(data)?;
            task.ptrace.state.lock().options = options;
        }
        PTRACE_GETEVENTMSG => {
            let message = task.ptrace.state.lock().message;
            UserPtr::<u64>::new(data).write(&message)?;
        }
        PTRACE_GETSIGINFO => {
            let info = task.ptrace.state.lock().stop.as_ref().and_then(|s| s.info);
            copy_to_user(data, info.ok_or(EINVAL)?.as_bytes())?;
        }
        PTRACE_SETSIGINFO => {
            let info = UserPtr::<SigInfo>::new(data).read()?;
            let mut state = task.ptrace.state.lock();
            let State { stop, info: kept, .. } = &mut *state;
            let stop = stop.as_mut().filter(|s| s.info.is_some()).ok_or(EINVAL)?;
            stop.info = Some(info);
            *kept = Some(info);
        }
        PTRACE_PEEKSIGINFO => return peek_siginfo(task, addr, data),
        PTRACE_GETSIGMASK => {
            if addr != size_of::<SigSet>() as u64 {
                return Err(EINVAL);
            }
            let blocked = task.signal.lock().blocked;
            UserPtr::<u64>::new(data).write(&blocked.bits)?;
        }
        PTRACE_SETSIGMASK => {
            if addr != size_of::<SigSet>() as u64 {
                return Err(EINVAL);
            }
            let mask = UserPtr::<SigSet>::new(data).read()?.difference(SigSet::UNBLOCKABLE);
            let group = task.process.stop.lock();
            task.signal.lock().blocked = mask;
            signal::recalc(task, &group);
        }
        PTRACE_GET_SYSCALL_INFO => return syscall_info(task, addr, data),
        PTRACE_ARCH_PRCTL => return arch_prctl(task, data, addr),
        _ => return Err(EIO),
    }
    Ok(0)
}

/// EIO unless it is a signal or 0.
fn signal_number(data: u64) -> Result<u32> {
    u32::try_from(data).ok().filter(|&sig| sig <= NSIG).ok_or(EIO)
}

fn resume(task: &Arc<Task>, how: Resume, data: u64) -> Result<()> {
    let sig = signal_number(data)?;
    {
        let mut state = task.ptrace.state.lock();
        state.resume = how;
        state.stop.as_mut().ok_or(ESRCH)?.resumed = Some(sig);
    }
    task.note_syscall_work();
    task.wake_if(|s| s == TaskState::Traced);
    Ok(())
}

/// PTRACE_LISTEN: the tracee stays in its group's stop, and tells when that ends.
fn listen(task: &Arc<Task>) -> Result<()> {
    let again = {
        let mut state = task.ptrace.state.lock();
        let seized = state.seized;
        let stop = state.stop.as_mut().ok_or(ESRCH)?;
        if !seized || stop.code >> 8 != PTRACE_EVENT_STOP {
            return Err(EIO);
        }
        stop.listening = true;
        let again = task.ptrace.has_trap();
        if again {
            stop.resumed = Some(0);
        }
        again
    };
    if again {
        task.wake_if(|s| s == TaskState::Traced);
    }
    Ok(())
}

fn regset(task: &Task, set: bool, kind: u64, iov: u64) -> Result<()> {
    let user = UserPtr::<Iovec>::new(iov);
    let mut iov = user.read()?;
    let room = usize::try_from(iov.iov_len).unwrap_or(usize::MAX);
    if !matches!(kind, NT_PRSTATUS | NT_PRFPREG | NT_X86_XSTATE) || !room.is_multiple_of(8) {
        return Err(EINVAL);
    }
    let now = match kind {
        NT_PRSTATUS => regs::get(task)?.as_bytes().to_vec(),
        NT_PRFPREG => regs::get_fp(task)?,
        _ => regs::get_xstate(task)?,
    };
    let len = now.len().min(room).min(REGSET_MAX);
    if set {
        let mut new = now;
        copy_from_user(iov.iov_base, &mut new[..len])?;
        match kind {
            NT_PRSTATUS => {
                let mut regs = UserRegs::default();
                regs.as_mut_bytes().copy_from_slice(&new);
                regs::set(task, &regs)?;
            }
            NT_PRFPREG => regs::set_fp(task, &new)?,
            // An image is taken whole or not at all.
            _ if len < new.len() => return Err(EFAULT),
            _ => regs::set_xstate(task, &new)?,
        }
    } else {
        copy_to_user(iov.iov_base, &now[..len])?;
    }
    iov.iov_len = len as u64;
    user.write(&iov)
}

fn peek_siginfo(task: &Task, addr: u64, data: u64) -> Result<u64> {
    const SHARED: u32 = 1;
    let args = UserPtr::<PtracePeeksiginfoArgs>::new(addr).read()?;
    if args.flags & !SHARED != 0 || args.nr < 0 {
        return Err(EINVAL);
    }
    let infos = match args.flags {
        0 => task.signal.lock().pending.infos(),
        _ => task.process.pending.lock().infos(),
    };
    let skip = usize::try_from(args.off).unwrap_or(usize::MAX);
    let chosen: Vec<_> = infos.into_iter().skip(skip).take(args.nr as usize).collect();
    for (i, info) in chosen.iter().enumerate() {
        UserPtr::<SigInfo>::new(data).at(i).write(info)?;
    }
    Ok(chosen.len() as u64)
}

fn syscall_info(task: &Task, size: u64, data: u64) -> Result<u64> {
    let (op, message) = {
        let state = task.ptrace.state.lock();
        (state.stop.as_ref().map_or(PTRACE_SYSCALL_INFO_NONE, |s| s.syscall), state.message)
    };
    let regs = regs::get(task)?;
    let mut info = PtraceSyscallInfo {
        op,
        arch: AUDIT_ARCH_X86_64,
        instruction_pointer: regs.ip,
        stack_pointer: regs.sp,
        ..PtraceSyscallInfo::default()
    };
    let call = [regs.orig_ax, regs.di, regs.si, regs.dx, regs.r10, regs.r8, regs.r9];
    // How much of the structure means something.
    let len = match op {
        PTRACE_SYSCALL_INFO_ENTRY => {
            info.data[..7].copy_from_slice(&call);
            80
        }
        PTRACE_SYSCALL_INFO_SECCOMP => {
            info.data[..7].copy_from_slice(&call);
            info.data[7] = message & 0xffff_ffff;
            84
        }
        PTRACE_SYSCALL_INFO_EXIT => {
            let error = (-4095..0).contains(&(regs.ax as i64));
            info.data[..2].copy_from_slice(&[regs.ax, u64::from(error)]);
            33
        }
        _ => 24,
    };
    let n = usize::try_from(size).unwrap_or(usize::MAX).min(len);
    copy_to_user(data, &info.as_bytes()[..n])?;
    Ok(len as u64)
}

/// PTRACE_ARCH_PRCTL: the bases of FS and GS.
fn arch_prctl(task: &Task, code: u64, addr: u64) -> Result<u64> {
    use abi::prctl::{ARCH_GET_FS, ARCH_GET_GS, ARCH_SET_FS, ARCH_SET_GS};
    let mut all = regs::get(task)?;
    match u32::try_from(code).map_err(|_| EINVAL)? {
        ARCH_SET_FS | ARCH_SET_GS if addr >= host::stub::TASK_SIZE => return Err(EPERM),
        ARCH_SET_FS => all.fs_base = addr,
        ARCH_SET_GS => all.gs_base = addr,
        ARCH_GET_FS => return UserPtr::<u64>::new(addr).write(&all.fs_base).map(|()| 0),
        ARCH_GET_GS => return UserPtr::<u64>::new(addr).write(&all.gs_base).map(|()| 0),
        _ => return Err(EINVAL),
    }
    regs::set(task, &all).map(|()| 0)
}
