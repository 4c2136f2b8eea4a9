//! Birth: fork(2), vfork(2), clone(2), clone3(2).
//!
//! Everything that can fail is done before the child is in the task list; what was taken until then is given back by
//! the drops of its holders. Neighbours: `mm` (copies the address space), `run.rs` (the child's body).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use abi::Result;
use abi::cred::CAP_SYS_ADMIN;
use abi::errno::{EAGAIN, EFAULT, EINVAL, EPERM, ERESTARTNOINTR};
use abi::resource::RLIMIT_NPROC;
use abi::sched::*;
use abi::signal::SIGCHLD;
use host::stub::{StubThread, TASK_SIZE};
use zerocopy::IntoBytes;

use super::clone_args::{NAMESPACES, read_clone_args};
use super::user::NprocCharge;
use super::{Process, Task, TaskParts, VforkDone, current, pid, pidfd, ptrace, run};
use crate::mm::{Mm, account};
use crate::sched::{self, Policy, SchedAttr};
use crate::signal::SigAltStackState;
use crate::uaccess::UserPtr;
use crate::vfs::Fd;

pub use super::clone_args::KernelCloneArgs;

/// Most tasks at a time, /proc/sys/kernel/threads-max: an eighth of the memory may go into them, as on Linux.
pub fn max_threads() -> usize {
    let fits = crate::mm::overcommit::total() / (128 << 10);
    usize::try_from(fits).unwrap_or(usize::MAX).clamp(128, 30_000)
}

/// fork(2)
pub fn fork() -> Result<i32> {
    kernel_clone(&KernelCloneArgs { exit_signal: SIGCHLD, ..Default::default() })
}

/// vfork(2)
pub fn vfork() -> Result<i32> {
    kernel_clone(&KernelCloneArgs {
        flags: CLONE_VFORK | CLONE_VM,
        exit_signal: SIGCHLD,
        ..Default::default()
    })
}

/// clone(2), x86-64's order of arguments. The pidfd goes where `parent_tid` points.
pub fn clone(flags: u64, stack: u64, parent_tid: u64, child_tid: u64, tls: u64) -> Result<i32> {
    let exit_signal = (flags & CSIGNAL) as u32;
    // The upper half is clone3's alone, and CLONE_DETACHED means nothing but together with CLONE_PIDFD.
    let flags = flags & 0xffff_ffff & !CSIGNAL;
    if flags & CLONE_PIDFD != 0 && flags & CLONE_DETACHED != 0 {
        return Err(EINVAL);
    }
    kernel_clone(&KernelCloneArgs {
        flags: flags & !CLONE_DETACHED,
        pidfd: parent_tid,
        child_tid,
        parent_tid,
        exit_signal,
        stack,
        tls,
        set_tid: 0,
    })
}

/// clone3(2)
pub fn clone3(uargs: u64, size: usize) -> Result<i32> {
    kernel_clone(&read_clone_args(uargs, size)?)
}

/// Makes a child of the current task and starts it; its number. Waits for it with CLONE_VFORK.
pub fn kernel_clone(args: &KernelCloneArgs) -> Result<i32> {
    let parent = current();
    check_flags(&parent, args)?;
    account::admit(args.flags & CLONE_VM == 0)?;
    let number = Number::reserve(args.set_tid)?;
    let tid = number.tid;
    let child = copy_task(&parent, args, tid)?;
    let vfork = (args.flags & CLONE_VFORK != 0).then(|| Arc::new(VforkDone::default()));
    child.vfork_done.lock().clone_from(&vfork);
    let pidfd = if args.flags & CLONE_PIDFD != 0 { Some(give_pidfd(&child, args)?) } else { None };
    if args.flags & CLONE_PARENT_SETTID != 0 {
        // As on Linux, a bad address costs the caller the number and nothing else.
        let _ = UserPtr::<i32>::new(args.parent_tid).write(&tid);
    }
    if args.flags & CLONE_CHILD_SETTID != 0 {
        let _ = child.mm().map(|mm| mm.write_for(&child, args.child_tid, tid.as_bytes()));
    }
    if let Err(errno) = publish(&parent, &child, args) {
        if let Some(fd) = pidfd {
            let _ = parent.files().and_then(|f| f.remove(fd));
        }
        return Err(errno);
    }
    number.keep();
    if args.flags & CLONE_THREAD == 0 {
        crate::cgroup::born(Some(&parent.process), &child.process);
    }
    let event = ptrace::clone_event(&parent, args);
    ptrace::child_born(&parent, &child, event);
    let body = child.clone();
    sched::spawn_kernel_task(&child, move || run::user_task(body));
    drop(child);
    if event != 0 {
        ptrace::event(&parent, event, tid as u64);
    }
    if let Some(vfork) = vfork {
        // A fatal signal ends the wait, and then the caller.
        let _ = vfork.wait();
        ptrace::event(&parent, abi::ptrace::PTRACE_EVENT_VFORK_DONE, tid as u64);
    }
    Ok(tid)
}

fn check_flags(parent: &Task, args: &KernelCloneArgs) -> Result<()> {
    let flags = args.flags;
    let both = |a: u64, b: u64| flags & a != 0 && flags & b != 0;
    if both(CLONE_NEWNS, CLONE_FS) || both(CLONE_NEWUSER, CLONE_FS) {
        return Err(EINVAL);
    }
    if flags & CLONE_THREAD != 0 && flags & CLONE_SIGHAND == 0 {
        return Err(EINVAL);
    }
    if flags & CLONE_SIGHAND != 0 && flags & CLONE_VM == 0 {
        return Err(EINVAL);
    }
    if flags & CLONE_PIDFD != 0 && flags & CLONE_PARENT_SETTID != 0 && args.pidfd == args.parent_tid {
        return Err(EINVAL);
    }
    // Siblings of init would be nobody's children.
    if flags & CLONE_PARENT != 0 && parent.tgid() == pid::INIT_PID {
        return Err(EINVAL);
    }
    if both(CLONE_THREAD, CLONE_NEWUSER | CLONE_NEWPID) {
        return Err(EINVAL);
    }
    if flags & CLONE_SETTLS != 0 && args.tls >= TASK_SIZE {
        return Err(EPERM);
    }
    check_namespaces(parent, flags)
}

/// There is one name space of each kind but of mounts. EINVAL is Linux's answer where a kind isn't built in, after the permission.
pub(super) fn check_namespaces(task: &Task, flags: u64) -> Result<()> {
    if flags & NAMESPACES == 0 {
        return Ok(());
    }
    if flags & CLONE_NEWUSER == 0 && !task.cred().capable(CAP_SYS_ADMIN) {
        return Err(EPERM);
    }
    if flags & NAMESPACES & !CLONE_NEWNS != 0 { Err(EINVAL) } else { Ok(()) }
}

/// A reserved number, freed unless it is kept.
struct Number {
    tid: i32,
    kept: bool,
}

impl Number {
    fn reserve(wanted: i32) -> Result<Number> {
        let mut list = pid::tasklist();
        if list.threads() >= max_threads() {
            return Err(EAGAIN);
        }
        let tid = if wanted == 0 { list.alloc()? } else { list.alloc_at(wanted)? };
        Ok(Number { tid, kept: false })
    }

    fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Number {
    fn drop(&mut self) {
        if !self.kept {
            pid::tasklist().remove_task(self.tid);
        }
    }
}

/// The child with all that it shares or copies, known to nobody yet.
fn copy_task(parent: &Arc<Task>, args: &KernelCloneArgs, tid: i32) -> Result<Arc<Task>> {
    let flags = args.flags;
    let share = |flag| flags & flag != 0;
    let cred = parent.cred();
    let charge = NprocCharge::new(&cred, parent.process.rlimit(RLIMIT_NPROC))?;
    let files = parent.files()?;
    let files = if share(CLONE_FILES) { files } else { files.copy() };
    let fs = match () {
        () if share(CLONE_NEWNS) => parent.fs().copy_namespace(),
        () if share(CLONE_FS) => parent.fs(),
        () => parent.fs().copy(),
    };
    let process = if share(CLONE_THREAD) { parent.process.clone() } else { copy_process(parent, args, tid) };
    let (mm, mut user) = copy_mm(parent, share(CLONE_VM))?;
    let regs = user.regs_mut();
    regs.rax = 0;
    if args.stack != 0 {
        regs.rsp = args.stack;
    }
    if share(CLONE_SETTLS) {
        regs.fs_base = args.tls;
    }
    let (blocked, altstack) = {
        let signal = parent.signal.lock();
        (signal.blocked, signal.altstack)
    };
    let child = Task::new(TaskParts {
        tid,
        process,
        mm: Some(mm),
        files: Some(files),
        fs,
        cred,
        comm: parent.comm(),
        attr: child_attr(parent.sched.attr()),
        vruntime: parent.sched.vruntime(),
        blocked,
        // A thread has no use for its parent's stack; a vfork child runs while the parent waits.
        altstack: if share(CLONE_VM) && !share(CLONE_VFORK) { SigAltStackState::default() } else { altstack },
        user: Some(user),
    });
    if !share(CLONE_VM) {
        child.rseq.inherit(&parent.rseq, &*child.mm()?);
    }
    *child.nproc.lock() = Some(charge);
    let copy_flag = |from: &std::sync::atomic::AtomicU32, to: &std::sync::atomic::AtomicU32| {
        to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
    };
    copy_flag(&parent.personality, &child.personality);
    copy_flag(&parent.ioprio, &child.ioprio);
    child.no_new_privs.store(parent.no_new_privs.load(Ordering::Relaxed), Ordering::Relaxed);
    child.timer_slack.store(parent.timer_slack.load(Ordering::Relaxed), Ordering::Relaxed);
    if share(CLONE_CHILD_CLEARTID) {
        child.clear_child_tid.store(args.child_tid, Ordering::Relaxed);
    }
    Ok(child)
}

fn copy_mm(parent: &Arc<Task>, share: bool) -> Result<(Arc<Mm>, StubThread)> {
    let mm = parent.mm()?;
    if !share {
        return mm.fork(parent);
    }
    mm.land();
    let user = parent.user.lock().as_mut().ok_or(EFAULT)?.spawn()?;
    Ok((mm, user))
}

fn copy_process(parent: &Task, args: &KernelCloneArgs, tid: i32) -> Arc<Process> {
    let from = &parent.process;
    let sighand = from.sighand();
    let sighand = if args.flags & CLONE_SIGHAND != 0 {
        sighand
    } else if args.flags & CLONE_CLEAR_SIGHAND != 0 {
        sighand.copy_without_handlers()
    } else {
        sighand.copy()
    };
    let process = Process::new(tid, sighand, *from.rlimits.lock());
    let exit_signal = if args.flags & CLONE_PARENT != 0 {
        from.exit_signal.load(Ordering::Relaxed)
    } else {
        args.exit_signal as i32
    };
    process.exit_signal.store(exit_signal, Ordering::Relaxed);
    let rings = from.keyrings.lock().for_child();
    *process.keyrings.lock() = rings;
    process.dumpable.store(from.dumpable.load(Ordering::Relaxed), Ordering::Relaxed);
    process.oom_score_adj.store(from.oom_score_adj.load(Ordering::Relaxed), Ordering::Relaxed);
    process.oom_score_adj_min.store(from.oom_score_adj_min.load(Ordering::Relaxed), Ordering::Relaxed);
    process
}

fn child_attr(parent: SchedAttr) -> SchedAttr {
    if !parent.reset_on_fork {
        return parent;
    }
    let nice = if parent.policy.is_realtime() { 0 } else { parent.nice.max(0) };
    let policy = if parent.policy.is_realtime() { Policy::Normal } else { parent.policy };
    SchedAttr { policy, nice, priority: 0, reset_on_fork: false, ..parent }
}

fn give_pidfd(child: &Arc<Task>, args: &KernelCloneArgs) -> Result<Fd> {
    let file = pidfd::file_of(child, args.flags & CLONE_THREAD != 0, false)?;
    let files = current().files()?;
    let fd = files.install(file, true)?;
    if let Err(errno) = UserPtr::<i32>::new(args.pidfd).write(&fd.0) {
        let closed = files.remove(fd);
        drop(closed);
        return Err(errno);
    }
    Ok(fd)
}

/// Puts the child where others find it. Fails when its process is on its way out.
fn publish(parent: &Arc<Task>, child: &Arc<Task>, args: &KernelCloneArgs) -> Result<()> {
    let process = &child.process;
    let mut list = pid::tasklist();
    // A signal to a group, or a stop, reaches the child as well or the parent before its fork.
    if parent.signal_pending() {
        return Err(ERESTARTNOINTR);
    }
    if args.flags & CLONE_THREAD != 0 {
        let mut threads = process.threads.lock();
        if process.group_exit.load(Ordering::SeqCst) || parent.killed.load(Ordering::SeqCst) {
            return Err(ERESTARTNOINTR);
        }
        child.seccomp.inherit(&parent.seccomp);
        child.no_new_privs.store(parent.no_new_privs.load(Ordering::Relaxed), Ordering::Relaxed);
        threads.push(child.clone());
    } else {
        child.seccomp.inherit(&parent.seccomp);
        let (pgrp, session, tty, grandparent) = {
            let link = parent.process.link.lock();
            (link.pgrp, link.session, link.tty.clone(), link.parent.upgrade())
        };
        let (family, parent_tid) = if args.flags & CLONE_PARENT != 0 {
            (grandparent.ok_or(EINVAL)?, parent.process.parent_tid())
        } else {
            (parent.process.clone(), parent.tid())
        };
        {
            let mut link = process.link.lock();
            (link.pgrp, link.session, link.tty, link.parent_tid) = (pgrp, session, tty, parent_tid);
        }
        // From here on nothing fails: the thread and its process keep each other alive.
        process.threads.lock().push(child.clone());
        list.set_parent(process, &family);
    }
    child.note_syscall_work();
    list.insert(child);
    Ok(())
}
