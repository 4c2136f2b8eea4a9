//! ptrace(2): one thread, the tracer, stops another, the tracee, and reads and changes it.
//!
//! - here: who traces whom ([`Ptrace`]): beginning and end.
//! - `stop.rs`: the tracee's side: its stops, and what a signal, a call or an event does to it.
//! - `request.rs`: ptrace(2). `regs.rs`: register sets. `memory.rs`: the tracee's memory.
//! - `wait.rs`: what wait4(2) finds of tracees.
//!
//! A stopped tracee sleeps on its own fiber in [`stop`]. Its registers lie still meanwhile, and the tracer takes them from
//! its user context; what only the tracee itself can do (its memory) it does for the tracer, as a [`Job`].
//!
//! Locks: PTRACE, over one tracee's state or one tracer's list of tracees; one at a time, and nothing is called under it.

mod memory;
mod regs;
mod request;
mod stop;
mod wait;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use abi::Result;
use abi::cred::CAP_SYS_PTRACE;
use abi::errno::{EIO, EPERM, ESRCH};
use abi::ptrace::*;
use abi::signal::{SI_KERNEL, SIGKILL, SIGSTOP, SIGTRAP, SigInfo};

pub use memory::{force_read, force_write};
pub use regs::registers;
pub use request::ptrace;
pub use stop::{
    before_handler, child_born, clone_event, event, exec_done, group_stop, handler_entered, seccomp_event,
    signal_stop, syscall_entry, syscall_exit, trap_stop,
};
pub use wait::{Ended, forget_ended, take as take_wait, thread_ended};

use super::{Process, Task, TaskState, current, ptrace_access};
use crate::signal;
use crate::sync::{SpinLock, rank};

/// A tracee's state.
#[derive(Default)]
pub struct State {
    /// The thread that traces it.
    tracer: Weak<Task>,
    tracer_process: Weak<Process>,
    /// By PTRACE_SEIZE.
    seized: bool,
    /// PTRACE_O_*
    options: u32,
    /// PTRACE_GETEVENTMSG
    message: u64,
    stop: Option<Stop>,
    /// How it was last resumed.
    resume: Resume,
    /// What the tracer has it do.
    job: Option<Job>,
    done: Option<memory::Answer>,
    /// PTRACE_SETSIGINFO
    info: Option<SigInfo>,
}

/// A stop that the tracee is in.
struct Stop {
    /// The wait status without its low byte: a signal, and an event above it.
    code: u32,
    info: Option<SigInfo>,
    /// wait(2) has told of it.
    reported: bool,
    /// PTRACE_LISTEN
    listening: bool,
    /// Where in a system call it is.
    syscall: u8,
    /// The tracer has let it go on, with this signal.
    resumed: Option<u32>,
}

use memory::Job;

/// How far a tracee runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Resume {
    /// PTRACE_CONT
    #[default]
    Cont,
    /// PTRACE_SYSCALL
    Syscall,
    /// PTRACE_SINGLESTEP
    Step,
    /// PTRACE_SYSEMU
    Emulate,
}

/// What a thread is to others by ptrace(2).
pub struct Ptrace {
    /// Whether somebody traces it, read without the lock.
    traced: AtomicBool,
    /// A trap is asked for: PTRACE_INTERRUPT, a stop of its group that it has not told of.
    trap: AtomicBool,
    state: SpinLock<State>,
}

impl Default for Ptrace {
    fn default() -> Ptrace {
        Ptrace {
            traced: AtomicBool::new(false),
            trap: AtomicBool::new(false),
            state: SpinLock::new(rank::PTRACE, State::default()),
        }
    }
}

impl Ptrace {
    /// Whether somebody traces it.
    pub fn is_traced(&self) -> bool {
        self.traced.load(Ordering::SeqCst)
    }

    /// Whether a thread of that process does.
    pub fn is_traced_by(&self, process: &Arc<Process>) -> bool {
        self.is_traced() && core::ptr::eq(self.state.lock().tracer_process.as_ptr(), Arc::as_ptr(process))
    }

    /// Whether it was seized, and not attached to.
    pub fn is_seized(&self) -> bool {
        self.is_traced() && self.state.lock().seized
    }

    /// Whether a trap waits for it.
    pub fn has_trap(&self) -> bool {
        self.trap.load(Ordering::SeqCst)
    }

    fn tracer(&self) -> Option<Arc<Task>> {
        self.state.lock().tracer.upgrade()
    }

    /// TracerPid of /proc/PID/status.
    pub fn tracer_pid(&self) -> i32 {
        if self.is_traced() { self.tracer().map_or(0, |t| t.tgid()) } else { 0 }
    }

    /// Whether a tracer without CAP_SYS_PTRACE traces it, who would take over what it gains.
    pub fn lacks_power(&self) -> bool {
        self.is_traced() && !self.tracer().is_some_and(|t| t.cred().capable(CAP_SYS_PTRACE))
    }

    fn has_option(&self, option: u32) -> bool {
        self.is_traced() && self.state.lock().options & option != 0
    }
}

/// Lets `tracer` trace `task` from now on. EPERM if somebody does already.
fn link(tracer: &Arc<Task>, task: &Arc<Task>, seized: bool, options: u32) -> Result<()> {
    {
        let mut state = task.ptrace.state.lock();
        if task.ptrace.is_traced() {
            return Err(EPERM);
        }
        *state = State {
            tracer: Arc::downgrade(tracer),
            tracer_process: Arc::downgrade(&tracer.process),
            seized,
            options,
            ..State::default()
        };
        task.ptrace.traced.store(true, Ordering::SeqCst);
    }
    tracer.process.tracees.lock().push(task.clone());
    task.note_syscall_work();
    Ok(())
}

/// Ends the tracing of `task`, which runs on with `signal`, or stays stopped with its process.
fn unlink(task: &Arc<Task>, sig: u32) {
    let process = {
        let mut state = task.ptrace.state.lock();
        task.ptrace.traced.store(false, Ordering::SeqCst);
        task.ptrace.trap.store(false, Ordering::SeqCst);
        let process = state.tracer_process.upgrade();
        let stop = state.stop.take();
        *state = State { stop: stop.map(|s| Stop { resumed: Some(sig), ..s }), ..State::default() };
        process
    };
    if let Some(process) = process {
        let mut gone = Vec::new();
        let mut tracees = process.tracees.lock();
        tracees.retain(|t| {
            let stays = !Arc::ptr_eq(t, task);
            if !stays {
                gone.push(t.clone());
            }
            stays
        });
        drop(tracees);
        drop(gone);
    }
    task.note_syscall_work();
    {
        let group = task.process.stop.lock();
        signal::recalc(task, &group);
    }
    task.wake_if(|s| s == TaskState::Traced);
}

/// PTRACE_TRACEME: by the parent.
fn trace_me(task: &Arc<Task>) -> Result<()> {
    if task.ptrace.is_traced() {
        return Err(EPERM);
    }
    let Some(parent) = task.process.parent() else { return Err(EPERM) };
    let tid = task.process.parent_tid();
    let tracer = {
        let threads = parent.threads.lock();
        threads.iter().find(|t| t.tid() == tid).or(threads.first()).cloned()
    };
    link(&tracer.ok_or(EPERM)?, task, false, 0)
}

/// PTRACE_ATTACH and PTRACE_SEIZE.
fn attach(task: &Arc<Task>, seize: bool, addr: u64, options: u64) -> Result<()> {
    let tracer = current();
    let options = match seize {
        true if addr != 0 => return Err(EIO),
        true => request::options(options).map_err(|_| EIO)?,
        false => 0,
    };
    // A task without a program is a part of the kernel: kthreads, and the built-in init.
    if Arc::ptr_eq(&task.process, &tracer.process) || task.mm().is_err() {
        return Err(EPERM);
    }
    ptrace_access(task)?;
    if task.process.zombie.load(Ordering::SeqCst) || task.fatal_signal_pending() {
        return Err(EPERM);
    }
    link(&tracer, task, seize, options)?;
    if !seize {
        signal::send_task(task, SigInfo::new(SIGSTOP, SI_KERNEL));
    }
    // One that has stopped with its process stops for the tracer instead.
    if task.process.stop.lock().signal != 0 {
        ask_trap(task);
        task.wake_if(|s| s == TaskState::Stopped);
    }
    Ok(())
}

/// Has the tracee stop for its tracer before it runs on.
fn ask_trap(task: &Task) {
    task.ptrace.trap.store(true, Ordering::SeqCst);
    let group = task.process.stop.lock();
    signal::recalc(task, &group);
    drop(group);
    task.wake_if(|s| s == TaskState::Interruptible);
}

/// SIGCONT has come for a seized tracee: it tells its tracer that its group runs again. The caller holds the signal lock
/// of its process.
pub fn group_continued(task: &Task) {
    if !task.ptrace.is_traced() {
        return;
    }
    let listening = {
        let mut state = task.ptrace.state.lock();
        if !state.seized {
            return;
        }
        let listening = state.stop.as_mut().filter(|s| s.listening);
        listening.map(|s| s.resumed = Some(0)).is_some()
    };
    task.ptrace.trap.store(true, Ordering::SeqCst);
    if listening {
        task.wake_if(|s| s == TaskState::Traced);
    }
}

/// A thread that may trace others ends: they run on untraced, or die with it.
pub fn tracer_exits(task: &Arc<Task>) {
    let tracees = task.process.tracees.lock().clone();
    for tracee in tracees {
        let (own, kill) = {
            let state = tracee.ptrace.state.lock();
            let own = core::ptr::eq(state.tracer.as_ptr(), Arc::as_ptr(task));
            (own, state.options & PTRACE_O_EXITKILL != 0)
        };
        if !own {
            continue;
        }
        unlink(&tracee, 0);
        if kill {
            signal::send_process(&tracee.process, SigInfo::new(SIGKILL, SI_KERNEL));
        }
    }
}

/// A leader whose place another thread has taken is no tracee any more, and nobody hears of its end.
pub fn forget(task: &Arc<Task>) {
    if task.ptrace.is_traced() {
        unlink(task, 0);
    }
}

/// The tracee's own end: it stands in its tracer's list no more.
pub fn tracee_exits(task: &Arc<Task>) {
    if task.ptrace.is_traced() {
        wait::tell_end(task);
        unlink(task, 0);
    }
}

/// The tracee with that number, which is in a stop and the current task's. ESRCH.
fn stopped(task: &Task) -> Result<()> {
    let me = current();
    let state = task.ptrace.state.lock();
    let own = core::ptr::eq(state.tracer.as_ptr(), Arc::as_ptr(&me));
    let here = state.stop.as_ref().is_some_and(|s| s.resumed.is_none() && !s.listening);
    if task.ptrace.is_traced() && own && here { Ok(()) } else { Err(ESRCH) }
}

/// The status of an event, as wait4(2) has it without its low byte.
fn event_code(event: u32) -> u32 {
    SIGTRAP | event << 8
}
