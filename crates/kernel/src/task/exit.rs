//! The end of a thread and of a process: exit(2), exit_group(2), and what a fatal signal does.
//!
//! A thread gives back all that it holds, leaves its process, and is gone; the leader stays as a zombie. With the last
//! thread the process becomes a zombie, in one step under the tasklist lock with the signal to its parent, so that
//! wait4(2) and SIGCHLD cannot disagree. Neighbours: `family.rs` (orphans), `wait.rs` (reaping).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use abi::Result;
use abi::errno::EAGAIN;
use abi::ptrace::PTRACE_EVENT_EXIT;
use abi::signal::{SIGCHLD, SigInfo};
use abi::wait::{w_exitcode, w_termsig};

use super::{Process, Task, TaskState, coredump, current, family, pid, ptrace, stubs};
use crate::ipc::futex;
use crate::sync::{Interruptible, Sleep, wait_event};
use crate::{boot, signal, syscall, time, tty};

/// exit(2): ends the calling thread.
pub fn exit(status: i32) -> Result<()> {
    let task = current();
    ptrace::event(&task, PTRACE_EVENT_EXIT, w_exitcode(status) as u64);
    task.exit_code.store(w_exitcode(status), Ordering::SeqCst);
    task.killed.store(true, Ordering::SeqCst);
    task.mark_work();
    Ok(())
}

/// exit_group(2): ends the process.
pub fn exit_group(status: i32) -> Result<()> {
    let task = current();
    ptrace::event(&task, PTRACE_EVENT_EXIT, w_exitcode(status) as u64);
    end_process(&task.process, w_exitcode(status));
    task.killed.store(true, Ordering::SeqCst);
    task.mark_work();
    Ok(())
}

/// Makes the whole process of `task` die of `signal`.
pub fn kill_process(task: &Task, signal: u32) {
    end_process(&task.process, w_termsig(signal, false));
}

/// The same of a signal that dumps core.
pub fn dump_and_kill(task: &Arc<Task>, info: &SigInfo) {
    let dumped = !task.fatal_signal_pending() && coredump::dump(task, info);
    end_process(&task.process, w_termsig(info.si_signo as u32, dumped));
}

/// Makes every thread of a process end. The first caller's wait status stands.
pub fn end_process(process: &Process, status: i32) {
    let threads = process.threads.lock();
    signal::zap_process(process, &threads, status);
}

fn kill_thread(task: &Task) {
    task.killed.store(true, Ordering::SeqCst);
    task.notify_work();
    task.wake_if(|state| {
        matches!(
            state,
            TaskState::Interruptible | TaskState::Killable | TaskState::Stopped | TaskState::Traced
        )
    });
}

/// execve(2) in a process of several threads: ends the others, and makes the caller the leader, with the process's
/// number. EAGAIN when the process is being killed, or another thread was first.
pub fn de_thread(task: &Arc<Task>) -> Result<()> {
    let process = &task.process;
    let others: Vec<_> = {
        let threads = process.threads.lock();
        if process.group_exit.load(Ordering::SeqCst) || task.killed.load(Ordering::SeqCst) {
            return Err(EAGAIN);
        }
        // Marked under the lock: of two threads that do this one finds itself killed.
        let others: Vec<_> = threads.iter().filter(|t| !Arc::ptr_eq(t, task)).cloned().collect();
        others.iter().for_each(|t| t.killed.store(true, Ordering::SeqCst));
        others
    };
    others.iter().for_each(|t| kill_thread(t));
    drop(others);
    let alone = || (process.threads.lock().len() <= 1).then_some(());
    let sleep = Sleep { interruptible: Interruptible::Killable, deadline: None };
    wait_event(&process.exit_queue, sleep, alone).map_err(|_| EAGAIN)?;
    become_leader(task);
    process.exit_signal.store(SIGCHLD as i32, Ordering::Relaxed);
    unshare_sighand(process);
    Ok(())
}

fn become_leader(task: &Arc<Task>) {
    if task.is_group_leader() {
        return;
    }
    let old_leader = {
        let mut list = pid::tasklist();
        list.remove_task(task.tid());
        let old = list.remove_task(task.tgid());
        task.set_tid(task.tgid());
        list.rename(task);
        old
    };
    if let Some(old) = old_leader {
        ptrace::forget(&old);
        old.uncharge();
    }
}

fn unshare_sighand(process: &Process) {
    let sighand = process.sighand();
    // One in the process, one here.
    if Arc::strong_count(&sighand) > 2 {
        let own = sighand.copy();
        let old = core::mem::replace(&mut *process.sighand.lock(), own);
        drop(old);
    }
}

/// Ends the current thread; the last one makes its process a zombie. The fiber returns right after it.
pub fn do_exit(task: &Arc<Task>) {
    let process = task.process.clone();
    signal::exit_signals(task);
    ptrace::thread_ended(task);
    leave_mm(task);
    let files = task.set_files(None);
    drop(files);
    task.exit_fs();
    task.account_kernel();
    let last = leave_process(task);
    if syscall::trace_enabled() {
        let whole = last || process.group_exit.load(Ordering::SeqCst);
        let status = if whole { &process.exit_code } else { &task.exit_code };
        syscall::trace::exited(task, status.load(Ordering::SeqCst));
    }
    if last {
        if process.tgid == pid::INIT_PID {
            boot::init_exited(process.exit_code.load(Ordering::SeqCst));
        }
        release_process(&process);
        ptrace::forget_ended(&process);
        crate::cgroup::died(&process);
        let leader = pid::tasklist().task(process.tgid);
        if let Some(leader) = leader {
            ptrace::tracee_exits(&leader);
        }
    }
    task.set_state(TaskState::Zombie);
    if last {
        exit_notify(&process);
    } else {
        pass_on_children(task);
    }
    forget_thread(task);
    process.exit_queue.wake_all();
}

/// Leaves the address space: tells whoever waits for that, then gives back the stub thread.
fn leave_mm(task: &Arc<Task>) {
    task.rseq.clear();
    release_mm(task);
    let user = task.user.lock().take();
    let mm = task.set_mm(None);
    stubs::release(stubs::domain(task, &task.cred()), user, mm);
    let vfork = task.vfork_done.lock().take();
    if let Some(vfork) = vfork {
        vfork.complete();
    }
}

/// Tells those who wait for it that a thread leaves its memory, by exit or execve: robust and PI futexes,
/// CLONE_CHILD_CLEARTID.
pub fn release_mm(task: &Arc<Task>) {
    futex::exit_robust_list(task);
    futex::exit_pi_state(task);
    if let Ok(mm) = task.mm() {
        let clear = task.clear_child_tid.swap(0, Ordering::Relaxed);
        if clear != 0 && mm.users() > 1 {
            let _ = mm.write(clear, &0u32.to_ne_bytes());
            futex::wake(&mm, clear, 1);
        }
        if mm.users() == 1 {
            family::add_memory_totals(task, &mm);
        }
    }
}

/// Takes the thread out of its process; whether it was the last.
fn leave_process(task: &Arc<Task>) -> bool {
    let process = &task.process;
    family::add_thread_totals(task);
    let mut threads = process.threads.lock();
    let own = threads.iter().position(|t| Arc::ptr_eq(t, task)).map(|at| threads.remove(at));
    let last = threads.is_empty();
    if task.is_group_leader() && !process.group_exit.load(Ordering::SeqCst) {
        process.exit_code.store(task.exit_code.load(Ordering::SeqCst), Ordering::SeqCst);
    }
    drop(threads);
    drop(own);
    last
}

/// Another thread takes the children that this one made.
fn pass_on_children(task: &Arc<Task>) {
    let heir = task.process.threads.lock().first().map_or(0, |t| t.tid());
    family::thread_left(&task.process, task.tid(), heir);
}

/// A thread that isn't the leader leaves nothing behind.
fn forget_thread(task: &Arc<Task>) {
    if !task.is_group_leader() {
        let own = pid::tasklist().remove_task(task.tid());
        drop(own);
        task.uncharge();
    }
}

/// What a process without threads needs no longer: timers, its terminal, semaphore adjustments.
fn release_process(process: &Arc<Process>) {
    time::exit_timers(process);
    crate::ipc::sysv::sem::exit_process(process.tgid);
    if process.session() == process.tgid {
        tty::session_leader_exit(process);
    }
    let tty = process.link.lock().tty.take();
    drop(tty);
}

/// The process becomes a zombie, and its relatives learn it.
fn exit_notify(process: &Arc<Process>) {
    let mut news = family::News::default();
    let mut released = Vec::new();
    let held;
    {
        let mut list = pid::tasklist();
        family::forget_children(&mut list, process, &mut news, &mut released);
        family::orphaned_by(process, &mut news);
        process.zombie.store(true, Ordering::SeqCst);
        held = process.held.load(Ordering::SeqCst);
        if !held && family::notify_parent(process, &mut news) {
            released.extend(family::release(&mut list, process));
        }
    }
    drop(released);
    news.deliver((!held).then_some(&**process));
}
