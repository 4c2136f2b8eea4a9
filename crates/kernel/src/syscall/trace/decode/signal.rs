//! Signals.

use abi::signal::{SIG_DFL, SIG_IGN, SIGRTMIN, SigAction, SigAltStack, SigInfo, SigSet};

use super::super::line::Line;
use super::address;

flags! {
    sa_flags(u64) in signal {
        SA_NOCLDSTOP SA_NOCLDWAIT SA_SIGINFO SA_UNSUPPORTED SA_EXPOSE_TAGBITS SA_RESTORER SA_ONSTACK SA_RESTART
        SA_NODEFER SA_RESETHAND
    }
    ss_flags(u32) in signal { SS_ONSTACK SS_DISABLE SS_AUTODISARM }
    /// signalfd4(2)
    signalfd_flags(u32) in signal { SFD_CLOEXEC SFD_NONBLOCK }
}

values! {
    /// rt_sigprocmask(2)
    sigmask_how(u32) in signal { SIG_BLOCK SIG_UNBLOCK SIG_SETMASK }
    code_of_any(i32) in signal {
        SI_USER SI_KERNEL SI_QUEUE SI_TIMER SI_MESGQ SI_ASYNCIO SI_SIGIO SI_TKILL SI_DETHREAD SI_ASYNCNL
    }
    code_of_chld(i32) in signal { CLD_EXITED CLD_KILLED CLD_DUMPED CLD_TRAPPED CLD_STOPPED CLD_CONTINUED }
    code_of_segv(i32) in signal { SEGV_MAPERR SEGV_ACCERR SEGV_BNDERR SEGV_PKUERR }
    code_of_bus(i32) in signal { BUS_ADRALN BUS_ADRERR BUS_OBJERR BUS_MCEERR_AR BUS_MCEERR_AO }
    code_of_ill(i32) in signal {
        ILL_ILLOPC ILL_ILLOPN ILL_ILLADR ILL_ILLTRP ILL_PRVOPC ILL_PRVREG ILL_COPROC ILL_BADSTK
    }
    code_of_fpe(i32) in signal {
        FPE_INTDIV FPE_INTOVF FPE_FLTDIV FPE_FLTOVF FPE_FLTUND FPE_FLTRES FPE_FLTINV FPE_FLTSUB
    }
    code_of_trap(i32) in signal { TRAP_BRKPT TRAP_TRACE TRAP_BRANCH TRAP_HWBKPT TRAP_UNK }
}

/// A signal: `SIGCHLD`, `SIGRT_1`, or the number.
pub fn signal_name(raw: u64, line: &mut Line<'_>) {
    let sig = raw as u32;
    match abi::signal::name(sig) {
        Some(name) => write!(line, "SIG{name}"),
        None if (SIGRTMIN..=abi::signal::NSIG).contains(&sig) => write!(line, "SIGRT_{}", sig - SIGRTMIN),
        None => write!(line, "{}", raw as i32),
    }
}

/// A set: `[INT CHLD]`, or `~[KILL]` where most are in it.
pub fn sigset_members(set: SigSet, line: &mut Line<'_>) {
    let inverted = set.bits.count_ones() > 32;
    let shown = if inverted { SigSet::FULL.difference(set) } else { set };
    line.put(if inverted { "~[" } else { "[" });
    for (nth, sig) in shown.iter().enumerate() {
        let gap = if nth > 0 { " " } else { "" };
        match abi::signal::name(sig) {
            Some(name) => write!(line, "{gap}{name}"),
            None => write!(line, "{gap}RT_{}", sig - SIGRTMIN),
        }
    }
    line.put("]");
}

/// `sigset_t`
pub fn sigset(raw: u64, line: &mut Line<'_>) {
    line.object(raw, |set: &SigSet, line| sigset_members(*set, line));
}

/// `struct sigaction`
pub fn sigaction(raw: u64, line: &mut Line<'_>) {
    line.object(raw, |action: &SigAction, line| {
        line.put("{sa_handler=");
        match action.handler {
            SIG_DFL => line.put("SIG_DFL"),
            SIG_IGN => line.put("SIG_IGN"),
            handler => address(handler, line),
        }
        line.put(", sa_mask=");
        sigset_members(action.mask, line);
        line.put(", sa_flags=");
        sa_flags(action.flags, line);
        if action.restorer != 0 {
            write!(line, ", sa_restorer={:#x}", action.restorer);
        }
        line.put("}");
    });
}

/// `stack_t`
pub fn sigaltstack(raw: u64, line: &mut Line<'_>) {
    line.object(raw, |stack: &SigAltStack, line| {
        line.put("{ss_sp=");
        address(stack.ss_sp, line);
        line.put(", ss_flags=");
        ss_flags(u64::from(stack.ss_flags), line);
        write!(line, ", ss_size={}}}", stack.ss_size);
    });
}

/// `siginfo_t`
pub fn siginfo(raw: u64, line: &mut Line<'_>) {
    line.object(raw, siginfo_fields);
}

/// The fields of a siginfo that its signal and code make valid.
pub fn siginfo_fields(info: &SigInfo, line: &mut Line<'_>) {
    use abi::signal::*;
    let signo = info.si_signo as u32;
    if signo == 0 {
        return line.put("{}");
    }
    line.put("{si_signo=");
    signal_name(u64::from(signo), line);
    line.put(", si_code=");
    let code = info.si_code as u64;
    let fault = matches!(signo, SIGSEGV | SIGBUS | SIGILL | SIGFPE | SIGTRAP);
    match signo {
        _ if info.si_code <= 0 || info.si_code == SI_KERNEL => code_of_any(code, line),
        SIGCHLD => code_of_chld(code, line),
        SIGSEGV => code_of_segv(code, line),
        SIGBUS => code_of_bus(code, line),
        SIGILL => code_of_ill(code, line),
        SIGFPE => code_of_fpe(code, line),
        SIGTRAP => code_of_trap(code, line),
        _ => write!(line, "{}", info.si_code),
    }
    match info.si_code {
        SI_TIMER => write!(line, ", si_timerid={}, si_overrun={}", info.si_timerid(), info.si_overrun()),
        SI_KERNEL => {}
        code if code <= 0 => write!(line, ", si_pid={}, si_uid={}", info.si_pid(), info.si_uid()),
        _ if signo == SIGCHLD => write!(line, ", si_pid={}, si_uid={}", info.si_pid(), info.si_uid()),
        _ if fault => write!(line, ", si_addr={:#x}", info.si_addr()),
        _ => {}
    }
    if signo == SIGCHLD && info.si_code > 0 && info.si_code != SI_KERNEL {
        line.put(", si_status=");
        match info.si_code {
            CLD_EXITED => write!(line, "{}", info.si_status()),
            _ => signal_name(info.si_status() as u64, line),
        }
    }
    if info.si_code == SI_QUEUE {
        write!(line, ", si_value={:#x}", info.si_value());
    }
    line.put("}");
}
