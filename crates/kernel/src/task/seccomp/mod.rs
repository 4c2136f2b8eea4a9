//! seccomp(2): what system calls a thread may still make.
//!
//! - here: modes and filters of a thread, and what a filter's answer does to a call ([`check`]).
//! - `calls.rs`: seccomp(2), PR_SET_SECCOMP. `notify.rs`: SECCOMP_RET_USER_NOTIF, whose answers a supervisor gives.
//!
//! Lock: LEAF, over a thread's list of filters. Who adds to it holds `Process::threads`, so that a thread that is born
//! meanwhile has either list, and SECCOMP_FILTER_FLAG_TSYNC finds all.

mod calls;
mod notify;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use abi::errno::ENOSYS;
use abi::seccomp::*;
use abi::signal::{SIGKILL, SIGSYS, SigInfo};
use abi::{Errno, Result, nr};
use zerocopy::IntoBytes;

pub use calls::{prctl_set, seccomp};

use super::{Task, exit, ptrace};
use crate::bpf::Program;
use crate::signal;
use crate::sync::{SpinLock, rank};
use notify::Listener;

/// The largest errno that a filter can answer.
const MAX_ERRNO: u32 = 4095;

/// One filter.
pub struct Filter {
    program: Program,
    /// SECCOMP_FILTER_FLAG_LOG
    log: bool,
    listener: Option<Arc<Listener>>,
}

impl Drop for Filter {
    fn drop(&mut self) {
        if let Some(listener) = &self.listener {
            listener.abandoned();
        }
    }
}

/// Filters, oldest first. Threads share them until one adds another.
type Filters = Arc<[Arc<Filter>]>;

/// A thread's state.
pub struct Seccomp {
    mode: AtomicU32,
    filters: SpinLock<Option<Filters>>,
}

impl Default for Seccomp {
    fn default() -> Seccomp {
        Seccomp { mode: AtomicU32::new(SECCOMP_MODE_DISABLED), filters: SpinLock::new(rank::LEAF, None) }
    }
}

impl Seccomp {
    /// SECCOMP_MODE_*
    pub fn mode(&self) -> u32 {
        self.mode.load(Ordering::SeqCst)
    }

    /// Number of filters.
    pub fn count(&self) -> usize {
        self.filters.lock().as_ref().map_or(0, |f| f.len())
    }

    fn filters(&self) -> Option<Filters> {
        self.filters.lock().clone()
    }

    /// Gives a thread that is being born its parent's state. The caller holds `Process::threads` of a thread that joins.
    pub fn inherit(&self, parent: &Seccomp) {
        let filters = parent.filters();
        let old = core::mem::replace(&mut *self.filters.lock(), filters);
        drop(old);
        self.mode.store(parent.mode(), Ordering::SeqCst);
    }
}

/// What becomes of a call.
pub enum Verdict {
    /// It is made.
    Run,
    /// It is not; it answers this.
    Answer(Result<u64>),
    /// It is not, and `rax` stays as it is: a signal or the end is on its way, or a tracer has chosen the result.
    Skip,
    /// A tracer has been asked and may have changed it: it is looked at again.
    Again,
}

/// Asks the filters of the current task about a call. `after_tracer`: a tracer has seen it already.
pub fn check(task: &Arc<Task>, number: u64, args: &[u64; 6], after_tracer: bool) -> Verdict {
    match task.seccomp.mode() {
        SECCOMP_MODE_DISABLED => Verdict::Run,
        SECCOMP_MODE_STRICT => {
            if matches!(number, nr::READ | nr::WRITE | nr::EXIT | nr::RT_SIGRETURN) {
                return Verdict::Run;
            }
            end_thread(task, SIGKILL);
            Verdict::Skip
        }
        _ => filter(task, number, args, after_tracer),
    }
}

fn filter(task: &Arc<Task>, number: u64, args: &[u64; 6], after_tracer: bool) -> Verdict {
    let Some(filters) = task.seccomp.filters() else { return Verdict::Run };
    let ip = task.with_regs(|r| r.rip).unwrap_or(0);
    let data =
        SeccompData { nr: number as i32, arch: AUDIT_ARCH_X86_64, instruction_pointer: ip, args: *args };
    // The newest filter runs first; the most severe answer counts, and of equal ones the first.
    let severity = |answer: u32| (answer & SECCOMP_RET_ACTION_FULL) as i32;
    let mut chosen = (SECCOMP_RET_ALLOW, None);
    for filter in filters.iter().rev() {
        let answer = filter.program.run(data.as_bytes());
        if severity(answer) < severity(chosen.0) {
            chosen = (answer, Some(filter));
        }
    }
    let (answer, by) = chosen;
    let low = answer & SECCOMP_RET_DATA;
    let action = answer & SECCOMP_RET_ACTION_FULL;
    if action == SECCOMP_RET_LOG || (by.is_some_and(|f| f.log) && action != SECCOMP_RET_ALLOW) {
        log(task, number, answer);
    }
    match action {
        SECCOMP_RET_ALLOW | SECCOMP_RET_LOG => Verdict::Run,
        SECCOMP_RET_ERRNO => Verdict::Answer(match low.min(MAX_ERRNO) {
            0 => Ok(0),
            errno => Err(Errno::from_raw(errno as i32)),
        }),
        SECCOMP_RET_TRAP => {
            trap(task, number, low);
            Verdict::Skip
        }
        SECCOMP_RET_TRACE if after_tracer => Verdict::Run,
        SECCOMP_RET_TRACE => match ptrace::seccomp_event(task, low) {
            true => Verdict::Again,
            false => Verdict::Answer(Err(ENOSYS)),
        },
        SECCOMP_RET_USER_NOTIF => match by.and_then(|f| f.listener.as_ref()) {
            Some(listener) => listener.ask(task, data).unwrap_or_else(|e| Verdict::Answer(Err(e))),
            None => Verdict::Answer(Err(ENOSYS)),
        },
        SECCOMP_RET_KILL_THREAD => {
            log(task, number, answer);
            if task.process.threads.lock().len() > 1 {
                end_thread(task, SIGSYS);
            } else {
                exit::dump_and_kill(task, &denied(task, number, low));
            }
            Verdict::Skip
        }
        // KILL_PROCESS, and whatever later kernels know.
        _ => {
            log(task, number, answer);
            exit::dump_and_kill(task, &denied(task, number, low));
            Verdict::Skip
        }
    }
}

fn denied(task: &Task, number: u64, data: u32) -> SigInfo {
    let ip = task.with_regs(|r| r.rip).unwrap_or(0);
    SigInfo::sys(ip, number as i32, AUDIT_ARCH_X86_64, data as i32)
}

fn log(task: &Task, number: u64, answer: u32) {
    crate::pr_info!(
        "seccomp: {}[{}]: syscall {number} answered {answer:#x}",
        task.comm().escape_ascii(),
        task.tid()
    );
}

/// SIGSYS, whose handler finds the registers as they were at the call.
fn trap(task: &Task, number: u64, data: u32) {
    let _ = task.with_regs(|r| r.rax = r.orig_rax);
    signal::force(task, denied(task, number, data));
}

/// Ends this thread alone, as if by a signal.
fn end_thread(task: &Task, sig: u32) {
    task.exit_code.store(abi::wait::w_termsig(sig, false), Ordering::SeqCst);
    task.killed.store(true, Ordering::SeqCst);
    task.mark_work();
}
