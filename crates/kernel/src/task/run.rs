//! The loop of a guest thread between its program and the kernel.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use host::stub::{Event, SyscallAbi};

use super::seccomp::{self, Verdict};
use super::{Task, exit, ptrace, rseq};
use crate::{fastpath, mm, sched, signal, syscall, time};

/// The body of a user task's fiber: runs the guest until the thread exits.
///
/// A panic in kernel code is an oops: it is logged, and kills this task alone.
pub fn user_task(task: Arc<Task>) {
    let outcome = catch_unwind(AssertUnwindSafe(|| user_loop(&task)));
    if let Err(panic) = outcome {
        oops(&task, &*panic);
    }
    exit::do_exit(&task);
}

fn user_loop(task: &Arc<Task>) {
    loop {
        // Marks set from here on end the next stretch in the guest at once.
        while task.has_work() {
            task.clear_work();
            signal::before_user(task);
            if task.killed.load(Ordering::SeqCst) {
                return;
            }
        }
        if !rseq::before_user(task) {
            continue;
        }
        let event = sched::run_user(task);
        if task.rseq.is_registered() {
            task.rseq.stretch_ended(matches!(event, Event::Syscall { .. }));
        }
        if !matches!(event, Event::BatchFailed { .. }) {
            mm::batch_landed(task);
        }
        match event {
            Event::Syscall { abi } => handle_syscall(task, abi),
            Event::Fault(mut fault) => {
                if !fastpath::where_it_is(task, Some(&mut fault)) {
                    mm::handle_fault(task, &fault);
                }
            }
            Event::Interrupted => {
                fastpath::where_it_is(task, None);
                time::run_cpu_timers(task);
            }
            Event::BatchFailed { index, errno } => mm::batch_failed(task, index, errno),
            Event::CopyFailed if task.rseq.copy_failed(task) => {}
            Event::CopyFailed => {
                let _ = task.with_regs(|r| r.rax = abi::errno::EFAULT.to_rax());
            }
            Event::Dead => {
                if !task.fatal_signal_pending() {
                    let mm = task.mm();
                    let why =
                        mm.as_ref().ok().and_then(|mm| mm.space.obituary()).unwrap_or("killed by the host");
                    crate::pr_warn!("{}[{}]: stub is gone: {why}", task.comm().escape_ascii(), task.tid());
                }
                exit::kill_process(task, abi::signal::SIGKILL);
            }
        }
    }
}

fn handle_syscall(task: &Arc<Task>, abi: SyscallAbi) {
    if task.has_syscall_work() {
        return syscall_with_work(task, abi);
    }
    let Ok((number, args, fast)) = task.with_stub(|stub| {
        let r = stub.regs();
        (r.orig_rax, [r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9], stub.came_fast())
    }) else {
        return;
    };
    if abi == SyscallAbi::X86_64 && !fast {
        fastpath::trapped(task);
    }
    let result = match abi {
        SyscallAbi::X86_64 => syscall::dispatch(task, number, &args),
        SyscallAbi::I386 => Err(abi::errno::ENOSYS),
    };
    signal::syscall_exit(task, result);
}

/// A call that a tracer or a filter has a say in.
fn syscall_with_work(task: &Arc<Task>, abi: SyscallAbi) {
    let call = || task.with_regs(|r| (r.orig_rax, [r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9]));
    let emulated = ptrace::syscall_entry(task);
    let mut result = None;
    let mut after_tracer = false;
    // A tracer that a filter has asked may have made it another call, which the filters see once more.
    while !emulated && !task.fatal_signal_pending() {
        let Ok((number, args)) = call() else { return };
        if number as i32 == -1 {
            break;
        }
        result = match (seccomp::check(task, number, &args, after_tracer), abi) {
            (Verdict::Again, _) => {
                after_tracer = true;
                continue;
            }
            (Verdict::Skip, _) => None,
            (Verdict::Answer(answer), _) => Some(answer),
            (Verdict::Run, SyscallAbi::X86_64) => Some(syscall::dispatch(task, number, &args)),
            (Verdict::Run, SyscallAbi::I386) => Some(Err(abi::errno::ENOSYS)),
        };
        break;
    }
    if let Some(result) = result {
        signal::syscall_exit(task, result);
    }
    ptrace::syscall_exit(task);
}

fn oops(task: &Task, panic: &(dyn std::any::Any + Send)) {
    let message = panic.downcast_ref::<String>().map(String::as_str);
    let message = message.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("unknown cause");
    crate::pr_emerg!("Oops: {}[{}]: {message}", task.comm().escape_ascii(), task.tid());
    exit::kill_process(task, abi::signal::SIGSEGV);
}
