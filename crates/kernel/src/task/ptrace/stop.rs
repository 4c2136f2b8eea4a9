//! The tracee's side: every function here is called by the tracee itself.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use abi::ptrace::*;
use abi::sched::{CLONE_UNTRACED, CLONE_VFORK};
use abi::signal::{
    CLD_STOPPED, CLD_TRAPPED, SA_NOCLDSTOP, SI_USER, SIG_IGN, SIGCHLD, SIGSTOP, SIGTRAP, SigInfo,
};

use super::{Resume, Stop, event_code, link, memory};
use crate::sched::schedule;
use crate::signal::{self, restart};
use crate::task::fork::KernelCloneArgs;
use crate::task::{Task, TaskState};

/// The trap flag.
const TF: u64 = 0x100;

/// Stops the current task for its tracer until that lets it go on, or it dies. Answers the signal that it goes on with.
fn stop(task: &Arc<Task>, code: u32, info: Option<SigInfo>, syscall: u8) -> u32 {
    // The tracer sees memory as the program left it.
    if let Ok(mm) = task.mm() {
        let _ = mm.flush();
        mm.land();
    }
    if task.fatal_signal_pending() {
        return 0;
    }
    clear_step(task);
    {
        let mut state = task.ptrace.state.lock();
        if !task.ptrace.is_traced() {
            return 0;
        }
        task.set_state(TaskState::Traced);
        state.info = None;
        state.stop = Some(Stop { code, info, reported: false, listening: false, syscall, resumed: None });
    }
    tell_tracer(task, code);
    let sig = loop {
        task.set_state(TaskState::Traced);
        let job = {
            let mut state = task.ptrace.state.lock();
            let resumed = state.stop.as_ref().and_then(|s| s.resumed);
            if let Some(sig) = resumed {
                state.stop = None;
                break sig;
            }
            state.job.take()
        };
        if task.fatal_signal_pending() {
            task.ptrace.state.lock().stop = None;
            break 0;
        }
        match job {
            Some(job) => {
                task.set_state(TaskState::Running);
                let answer = memory::run(task, job);
                task.ptrace.state.lock().done = Some(answer);
                wake_tracer(task);
            }
            None => schedule(),
        }
    };
    task.set_state(TaskState::Running);
    {
        let group = task.process.stop.lock();
        signal::recalc(task, &group);
    }
    // Who waits for a job hears of the end.
    wake_tracer(task);
    restart::from_registers(task);
    set_step(task);
    sig
}

fn wake_tracer(task: &Task) {
    let process = task.ptrace.state.lock().tracer_process.upgrade();
    if let Some(process) = process {
        process.wait_chldexit.wake_all();
    }
}

fn tell_tracer(task: &Task, code: u32) {
    let Some(process) = task.ptrace.state.lock().tracer_process.upgrade() else { return };
    let action = process.sighand().action(SIGCHLD);
    if action.handler != SIG_IGN && action.flags & SA_NOCLDSTOP == 0 {
        let uid = task.cred().uid;
        let reason = if code == SIGSTOP { CLD_STOPPED } else { CLD_TRAPPED };
        signal::send_process(&process, SigInfo::chld(reason, task.tid(), uid, (code & 0x7f) as i32, 0, 0));
    }
    process.wait_chldexit.wake_all();
}

fn resume_of(task: &Task) -> Resume {
    task.ptrace.state.lock().resume
}

/// A tracee that is stepped takes a trap after one instruction.
fn set_step(task: &Task) {
    if task.ptrace.is_traced() && resume_of(task) == Resume::Step {
        let _ = task.with_regs(|r| r.eflags |= TF);
    }
}

/// The step is over, or something else came first.
fn clear_step(task: &Task) {
    if resume_of(task) == Resume::Step {
        let _ = task.with_regs(|r| r.eflags &= !TF);
    }
}

/// A handler is about to be entered: its frame has no trap flag.
pub fn before_handler(task: &Task) {
    if task.ptrace.is_traced() {
        clear_step(task);
    }
}

/// A handler has been entered: a tracee that is stepped has taken its step.
pub fn handler_entered(task: &Arc<Task>) {
    if task.ptrace.is_traced() && resume_of(task) == Resume::Step {
        stop(task, SIGTRAP, Some(SigInfo::new(SIGTRAP, SIGTRAP as i32)), PTRACE_SYSCALL_INFO_NONE);
    }
}

/// A signal is about to be acted on: the tracer may take it away or choose another. Answers what is left of it.
pub fn signal_stop(task: &Arc<Task>, info: SigInfo) -> Option<SigInfo> {
    let sig = info.si_signo as u32;
    let chosen = stop(task, sig, Some(info), PTRACE_SYSCALL_INFO_NONE);
    // PTRACE_SETSIGINFO may have put others in place of the signal's details.
    let changed = task.ptrace.state.lock().info.take();
    match chosen {
        0 => None,
        same if same == sig => Some(changed.unwrap_or(info)),
        other => {
            let (pid, uid) = task.ptrace.tracer().map_or((0, 0), |t| (t.tgid(), t.cred().uid));
            Some(SigInfo::kill(other, SI_USER, pid, uid))
        }
    }
}

/// A trap that was asked for: PTRACE_INTERRUPT, or news of a group stop. Whether there was one.
pub fn trap_stop(task: &Arc<Task>) -> bool {
    if !task.ptrace.trap.swap(false, Ordering::SeqCst) || !task.ptrace.is_traced() {
        return false;
    }
    let group = task.process.stop.lock().stop_signal();
    let seized = task.ptrace.is_seized();
    match group {
        0 if !seized => return false,
        0 => {
            let code = event_code(PTRACE_EVENT_STOP);
            stop(task, code, Some(SigInfo::new(SIGTRAP, code as i32)), PTRACE_SYSCALL_INFO_NONE);
        }
        sig => group_stop(task, sig),
    }
    true
}

/// The tracee takes part in the stop of its process by `sig`, for its tracer.
pub fn group_stop(task: &Arc<Task>, sig: u32) {
    let (code, info) = if task.ptrace.is_seized() {
        let code = sig | PTRACE_EVENT_STOP << 8;
        (code, Some(SigInfo::new(SIGTRAP, code as i32)))
    } else {
        (sig, None)
    };
    stop(task, code, info, PTRACE_SYSCALL_INFO_NONE);
}

fn event_stop(task: &Arc<Task>, event: u32, message: u64) {
    let code = event_code(event);
    task.ptrace.state.lock().message = message;
    let syscall =
        if event == PTRACE_EVENT_SECCOMP { PTRACE_SYSCALL_INFO_SECCOMP } else { PTRACE_SYSCALL_INFO_NONE };
    let sig = stop(task, code, Some(SigInfo::new(SIGTRAP, code as i32)), syscall);
    send_chosen(task, sig);
}

/// A signal that a tracer gives along after a stop that was none of a signal.
fn send_chosen(task: &Arc<Task>, sig: u32) {
    if sig != 0 {
        let (pid, uid) = task.ptrace.tracer().map_or((0, 0), |t| (t.tgid(), t.cred().uid));
        signal::send_task(task, SigInfo::kill(sig, SI_USER, pid, uid));
    }
}

/// Tells of an event, if the tracer has asked for it.
pub fn event(task: &Arc<Task>, event: u32, message: u64) {
    if task.ptrace.has_option(1 << event) {
        event_stop(task, event, message);
    }
}

/// SECCOMP_RET_TRACE: whether a tracer was there to be asked.
pub fn seccomp_event(task: &Arc<Task>, data: u32) -> bool {
    let asked = task.ptrace.has_option(1 << PTRACE_EVENT_SECCOMP);
    if asked {
        event_stop(task, PTRACE_EVENT_SECCOMP, u64::from(data));
    }
    asked
}

/// execve(2) has succeeded.
pub fn exec_done(task: &Arc<Task>, old_tid: i32) {
    if !task.ptrace.is_traced() {
        return;
    }
    if task.ptrace.has_option(PTRACE_O_TRACEEXEC) {
        event_stop(task, PTRACE_EVENT_EXEC, old_tid as u64);
    } else if !task.ptrace.is_seized() {
        signal::send_task(task, SigInfo::kill(SIGTRAP, SI_USER, task.tgid(), task.cred().uid));
    }
}

/// The event that a clone of these flags is to a tracer who has asked for it; 0 for none.
pub fn clone_event(task: &Task, args: &KernelCloneArgs) -> u32 {
    let event = match () {
        () if args.flags & CLONE_UNTRACED != 0 => return 0,
        () if args.flags & CLONE_VFORK != 0 => PTRACE_EVENT_VFORK,
        () if args.exit_signal != SIGCHLD => PTRACE_EVENT_CLONE,
        () => PTRACE_EVENT_FORK,
    };
    if task.ptrace.has_option(1 << event) { event } else { 0 }
}

/// A child is born to a tracee, which tells of it: the same tracer traces it from its first instruction on.
pub fn child_born(parent: &Task, child: &Arc<Task>, event: u32) {
    if event == 0 {
        return;
    }
    let (tracer, seized, options) = {
        let state = parent.ptrace.state.lock();
        (state.tracer.upgrade(), state.seized, state.options)
    };
    let Some(tracer) = tracer else { return };
    if link(&tracer, child, seized, options).is_err() {
        return;
    }
    if seized {
        child.ptrace.trap.store(true, Ordering::SeqCst);
        child.sigpending.store(true, Ordering::SeqCst);
        child.mark_work();
    } else {
        signal::send_task(child, SigInfo::new(SIGSTOP, SI_USER));
    }
}

/// Before a call: answers whether it is to be left out (PTRACE_SYSEMU).
pub fn syscall_entry(task: &Arc<Task>) -> bool {
    let how = resume_of(task);
    if !task.ptrace.is_traced() || !matches!(how, Resume::Syscall | Resume::Emulate) {
        return false;
    }
    let _ = task.with_regs(|r| r.rax = abi::errno::ENOSYS.to_rax());
    syscall_stop(task, PTRACE_SYSCALL_INFO_ENTRY);
    how == Resume::Emulate
}

/// After a call.
pub fn syscall_exit(task: &Arc<Task>) {
    if !task.ptrace.is_traced() || task.fatal_signal_pending() {
        return;
    }
    match resume_of(task) {
        Resume::Syscall => syscall_stop(task, PTRACE_SYSCALL_INFO_EXIT),
        // The call was the instruction.
        Resume::Step => {
            let _ = task.with_regs(|r| r.eflags &= !TF);
            let ip = task.with_regs(|r| r.rip).unwrap_or(0);
            signal::force(task, SigInfo::fault(SIGTRAP, abi::signal::TRAP_TRACE, ip));
        }
        _ => {}
    }
}

fn syscall_stop(task: &Arc<Task>, place: u8) {
    let good = task.ptrace.has_option(PTRACE_O_TRACESYSGOOD);
    let code = if good { SIGTRAP | 0x80 } else { SIGTRAP };
    let sig = stop(task, code, Some(SigInfo::new(SIGTRAP, code as i32)), place);
    send_chosen(task, sig);
}
