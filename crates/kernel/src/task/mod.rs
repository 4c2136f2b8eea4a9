//! Tasks (threads) and processes (thread groups).
//!
//! - [`Task`]: one guest thread; owns its fiber, its stub thread and its signal mask.
//! - `process.rs`: [`Process`], what the threads of a process share: signals, rlimits, family, accounting.
//! - `pid.rs`: numbers, and the tasklist lock over family, groups and sessions.
//! - `fork.rs`, `exec.rs`, `exit.rs`, `wait.rs`: life and death; `family.rs`: orphans, SIGCHLD, reaping.
//! - `cred.rs`: credentials, and who may signal or trace whom; `setid.rs`, `capability.rs`: how they change.
//! - `session.rs`: process groups and sessions. `pidfd.rs`: processes as descriptors. `share.rs`: unshare, kcmp.
//! - `rlimit.rs`, `rusage.rs`, `user.rs`: limits, and what counts against them.
//! - `ptrace/`: tracing. `seccomp/`: filters of system calls. `coredump/`: what a death leaves. `dumpable.rs`: what changes of power forbid.
//! - `prctl.rs`, `membarrier.rs`, `ids.rs`: the rest of what a task says of itself. `sys.rs`, `syslog.rs`: the system.
//! - `rseq.rs`: restartable sequences.
//! - `usermode.rs`: programs that the kernel starts.
//! - `run.rs`: the loop between guest and kernel. `kthread.rs`: kernel threads.
//!
//! Locks: TASKLIST, then PROCESS, SIGHAND, SIGNAL, CRED, TASK. TASK_USER is taken by the task itself alone.

pub mod capability;
mod clone_args;
pub mod coredump;
mod cred;
pub mod dumpable;
mod elf;
pub mod exec;
pub mod exit;
pub mod family;
pub mod fork;
pub mod ids;
mod io;
pub mod kthread;
pub mod membarrier;
pub mod pid;
pub mod pidfd;
pub mod prctl;
mod prctl_mm;
mod process;
pub mod ptrace;
pub mod rlimit;
pub mod rseq;
pub mod run;
pub mod rusage;
pub mod seccomp;
pub mod session;
pub mod setid;
pub mod share;
mod state;
mod stubs;
pub mod sys;
pub mod syslog;
mod user;
pub mod user_count;
pub mod usermode;
mod vfork;
pub mod wait;

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use abi::Result;
use abi::errno::ESRCH;
use abi::signal::SigSet;
use host::fiber::Fiber;
use host::stub::{Regs, StubThread};

pub use cred::{Cap, CapSet, Cred, capable, may_signal, ptrace_access};
pub use io::{Io, IoCount};
pub use process::{ItimerState, Process, TaskLink};
pub use state::TaskState;
pub use vfork::VforkDone;

use crate::mm::Mm;
use crate::sched::{Sched, SchedAttr};
use crate::signal::{SigAltStackState, SigPending};
use crate::sync::{SpinLock, rank};
use crate::vfs::{FilesStruct, FsStruct};

/// One guest thread.
pub struct Task {
    /// Changes when a thread that is not the leader calls execve.
    tid: AtomicI32,
    /// The process that it belongs to.
    pub process: Arc<Process>,
    /// Weak handle to itself, for methods that hand out an Arc.
    me: Weak<Task>,
    /// Scheduling state, attributes, accounting.
    pub sched: Sched,
    fiber: SpinLock<Option<Fiber>>,
    /// The stub thread that runs its guest code. Locked by the task itself for as long as the guest runs: others may
    /// only try. None for a kernel task and after exit.
    pub user: SpinLock<Option<StubThread>>,
    mm: SpinLock<Option<Arc<Mm>>>,
    /// The guest memory that came with the system call under way: address and length, 0 for none.
    pub(crate) argument: (AtomicU64, AtomicU64),
    /// Its memory has copies waiting for its resume.
    pub(crate) late: AtomicBool,
    files: SpinLock<Option<Arc<FilesStruct>>>,
    fs: SpinLock<Arc<FsStruct>>,
    cred: SpinLock<Arc<Cred>>,
    /// Up to 15 bytes; `prctl(PR_SET_NAME)`, /proc/PID/comm.
    comm: SpinLock<Vec<u8>>,
    /// Signals sent to this thread alone, and its mask.
    pub signal: SpinLock<TaskSignal>,
    /// A signal that isn't blocked is pending, or a stop: kept by `signal` under the process's signal lock.
    pub(crate) sigpending: AtomicBool,
    /// Something to look at before the guest runs on: a signal, an exit, a stop.
    work: AtomicBool,
    /// Set when the task must die: the process exits, or another thread calls execve.
    pub killed: AtomicBool,
    /// `set_tid_address`, CLONE_CHILD_CLEARTID: zeroed and woken at exit. 0 for none.
    pub clear_child_tid: AtomicU64,
    /// `set_robust_list`: guest address of the head, 0 for none.
    pub robust_list: AtomicU64,
    /// rseq(2)
    pub rseq: rseq::Rseq,
    /// seccomp(2)
    pub seccomp: seccomp::Seccomp,
    /// ptrace(2): who traces it.
    pub ptrace: ptrace::Ptrace,
    /// Its system calls are filtered or traced.
    syscall_work: AtomicBool,
    /// PR_SET_NO_NEW_PRIVS
    pub no_new_privs: AtomicBool,
    /// PR_SET_PDEATHSIG
    pub pdeath_signal: AtomicI32,
    /// PR_SET_TIMERSLACK, ns.
    pub timer_slack: AtomicU64,
    /// Wait status of an exited thread.
    pub exit_code: AtomicI32,
    /// Host boot-time clock at its start, ns.
    pub start_time: u64,
    /// End of the last stretch in the guest program; the kernel's time counts from here.
    kernel_since: AtomicU64,
    /// Minor and major faults.
    pub min_flt: AtomicU64,
    /// Faults that read from a disk.
    pub maj_flt: AtomicU64,
    /// Children's completion of vfork(2): the parent waits until it is true.
    pub vfork_done: SpinLock<Option<Arc<VforkDone>>>,
    /// ext4's locks: its next park ends at once.
    pub(crate) unparked: AtomicBool,
    /// Changes of its memory that the host has not confirmed.
    pub undo: crate::mm::UndoLog,
    /// personality(2)
    pub personality: AtomicU32,
    /// ioprio_set(2): class and level; 0 for none.
    pub ioprio: AtomicU32,
    /// PR_MCE_KILL
    mce_kill: AtomicU32,
    /// Bytes and calls of read(2) and write(2).
    pub io: IoCount,
    /// Its place among its real user's tasks, RLIMIT_NPROC; given back when it is reaped.
    nproc: SpinLock<Option<user::NprocCharge>>,
    /// System calls that came by a signal, see [`crate::fastpath`].
    pub(crate) traps: AtomicU64,
    /// What its stub answers without asking.
    pub(crate) answers: host::answers::Record,
}

/// A thread's own signal state.
pub struct TaskSignal {
    /// Blocked signals.
    pub blocked: SigSet,
    /// The mask to restore after sigsuspend, ppoll and the like.
    pub saved_mask: Option<SigSet>,
    /// Sent to this thread.
    pub pending: SigPending,
    /// sigaltstack(2)
    pub altstack: SigAltStackState,
    /// What only `signal` uses: restarts, job control, the last fault.
    pub state: crate::signal::ThreadState,
}

/// What [`Task::new`] needs besides fresh state.
pub struct TaskParts {
    /// Thread id, reserved with [`pid::alloc`].
    pub tid: i32,
    /// The process, new or joined.
    pub process: Arc<Process>,
    /// Address space; none for a kernel task.
    pub mm: Option<Arc<Mm>>,
    /// Open files.
    pub files: Option<Arc<FilesStruct>>,
    /// Root, working directory, umask.
    pub fs: Arc<FsStruct>,
    /// Credentials.
    pub cred: Arc<Cred>,
    /// Name.
    pub comm: Vec<u8>,
    /// Scheduling attributes.
    pub attr: SchedAttr,
    /// Virtual run time to begin with.
    pub vruntime: u64,
    /// Blocked signals.
    pub blocked: SigSet,
    /// Alternate signal stack.
    pub altstack: SigAltStackState,
    /// The stub thread; none for a kernel task.
    pub user: Option<StubThread>,
}

impl TaskParts {
    /// A task of root's that has no program: no memory, no stub, no open files.
    pub fn kernel(tid: i32, process: Arc<Process>, fs: Arc<FsStruct>, comm: &[u8]) -> TaskParts {
        TaskParts {
            tid,
            process,
            mm: None,
            files: None,
            fs,
            cred: Arc::new(Cred::root()),
            comm: comm.to_vec(),
            attr: SchedAttr::default(),
            vruntime: 0,
            blocked: SigSet::default(),
            altstack: SigAltStackState::default(),
            user: None,
        }
    }
}

impl Task {
    /// A task that nobody runs yet; [`crate::sched::spawn_kernel_task`] gives it a body.
    pub fn new(parts: TaskParts) -> Arc<Task> {
        if let Some(mm) = &parts.mm {
            mm.add_user();
        }
        FIRST_FS.get_or_init(|| parts.fs.copy());
        Arc::new_cyclic(|me| Task {
            tid: AtomicI32::new(parts.tid),
            process: parts.process,
            me: me.clone(),
            sched: Sched::new(parts.attr, parts.vruntime),
            fiber: SpinLock::new(rank::TASK, None),
            user: SpinLock::new(rank::TASK_USER, parts.user),
            mm: SpinLock::new(rank::TASK, parts.mm),
            argument: (AtomicU64::new(0), AtomicU64::new(0)),
            late: AtomicBool::new(false),
            files: SpinLock::new(rank::TASK, parts.files),
            fs: SpinLock::new(rank::TASK, parts.fs),
            cred: SpinLock::new(rank::CRED, parts.cred),
            comm: SpinLock::new(rank::LEAF, parts.comm),
            signal: SpinLock::new(
                rank::SIGNAL,
                TaskSignal {
                    blocked: parts.blocked,
                    saved_mask: None,
                    pending: SigPending::default(),
                    altstack: parts.altstack,
                    state: crate::signal::ThreadState::default(),
                },
            ),
            sigpending: AtomicBool::new(false),
            work: AtomicBool::new(false),
            killed: AtomicBool::new(false),
            clear_child_tid: AtomicU64::new(0),
            robust_list: AtomicU64::new(0),
            rseq: rseq::Rseq::default(),
            seccomp: seccomp::Seccomp::default(),
            ptrace: ptrace::Ptrace::default(),
            syscall_work: AtomicBool::new(false),
            no_new_privs: AtomicBool::new(false),
            pdeath_signal: AtomicI32::new(0),
            timer_slack: AtomicU64::new(50_000),
            exit_code: AtomicI32::new(0),
            start_time: host::clock::boottime(),
            kernel_since: AtomicU64::new(host::clock::monotonic()),
            min_flt: AtomicU64::new(0),
            maj_flt: AtomicU64::new(0),
            vfork_done: SpinLock::new(rank::LEAF, None),
            unparked: AtomicBool::new(false),
            undo: crate::mm::UndoLog::default(),
            personality: AtomicU32::new(0),
            ioprio: AtomicU32::new(0),
            mce_kill: AtomicU32::new(prctl::MCE_KILL_DEFAULT),
            io: IoCount::default(),
            nproc: SpinLock::new(rank::TASK, None),
            traps: AtomicU64::new(0),
            answers: host::answers::Record::new(),
        })
    }

    /// An Arc of itself.
    pub fn arc(&self) -> Arc<Task> {
        self.me.upgrade().expect("a task whose method runs is alive")
    }

    /// Thread id.
    pub fn tid(&self) -> i32 {
        self.tid.load(Ordering::Relaxed)
    }

    /// The number of the process is this thread's from now on: it has called execve.
    fn set_tid(&self, tid: i32) {
        self.tid.store(tid, Ordering::Relaxed);
    }

    /// Counts it among its user's tasks; for a first process, which nobody forked.
    pub fn charge_user(&self) {
        let charge = user::NprocCharge::new(&self.cred(), u64::MAX).ok();
        *self.nproc.lock() = charge;
    }

    /// Gives back its place among its user's tasks.
    fn uncharge(&self) {
        let charge = self.nproc.lock().take();
        drop(charge);
    }

    /// Minor and major faults, voluntary and involuntary switches.
    pub fn counters(&self) -> [u64; 4] {
        [&self.min_flt, &self.maj_flt, &self.sched.nvcsw, &self.sched.nivcsw]
            .map(|n| n.load(Ordering::Relaxed))
    }

    /// Process id: the thread group's.
    pub fn tgid(&self) -> i32 {
        self.process.tgid
    }

    /// Whether it is the first thread of its process.
    pub fn is_group_leader(&self) -> bool {
        self.tid() == self.process.tgid
    }

    /// The address space; ESRCH for a kernel task or one that has exited.
    pub fn mm(&self) -> Result<Arc<Mm>> {
        self.mm.lock().clone().ok_or(ESRCH)
    }

    /// Whether it runs in that address space.
    pub fn runs_in(&self, mm: &Mm) -> bool {
        self.mm.lock().as_ref().is_some_and(|own| core::ptr::eq(&**own, mm))
    }

    /// The guest memory that came with the system call may have changed since.
    pub fn forget_argument(&self) {
        self.argument.1.store(0, Ordering::Relaxed);
    }

    /// Replaces the address space (execve, exit); the old one is the caller's to drop.
    pub fn set_mm(&self, mm: Option<Arc<Mm>>) -> Option<Arc<Mm>> {
        self.forget_argument();
        if let Some(mm) = &mm {
            mm.add_user();
        }
        let old = core::mem::replace(&mut *self.mm.lock(), mm);
        if let Some(old) = &old {
            old.remove_user();
        }
        old
    }

    /// Open files; ESRCH after exit.
    pub fn files(&self) -> Result<Arc<FilesStruct>> {
        self.files.lock().clone().ok_or(ESRCH)
    }

    /// Replaces the file table (unshare, execve, exit); the old one is the caller's to drop, with no lock held.
    pub fn set_files(&self, files: Option<Arc<FilesStruct>>) -> Option<Arc<FilesStruct>> {
        core::mem::replace(&mut *self.files.lock(), files)
    }

    /// Root, working directory and umask.
    pub fn fs(&self) -> Arc<FsStruct> {
        self.fs.lock().clone()
    }

    /// Replaces them (unshare).
    pub fn set_fs(&self, fs: Arc<FsStruct>) {
        let old = core::mem::replace(&mut *self.fs.lock(), fs);
        drop(old);
    }

    /// Lets go of its directories at exit: those of the first task stand in, so that there always are some.
    fn exit_fs(&self) {
        if let Some(first) = FIRST_FS.get() {
            self.set_fs(first.clone());
        }
    }

    /// Credentials.
    pub fn cred(&self) -> Arc<Cred> {
        self.cred.lock().clone()
    }

    /// Replaces the credentials.
    pub fn set_cred(&self, cred: Cred) {
        let uid = cred.uid;
        let old = core::mem::replace(&mut *self.cred.lock(), Arc::new(cred));
        if old.uid != uid
            && let Some(charge) = &mut *self.nproc.lock()
        {
            charge.set_uid(uid);
        }
        self.publish();
    }

    /// Name, up to 15 bytes.
    pub fn comm(&self) -> Vec<u8> {
        self.comm.lock().clone()
    }

    /// Sets the name; longer ones are cut.
    pub fn set_comm(&self, name: &[u8]) {
        let name = name.split(|&b| b == 0).next().unwrap_or_default();
        *self.comm.lock() = name[..name.len().min(15)].to_vec();
    }

    /// Runs `f` on the registers of the stopped guest thread. Only the task itself may ask, outside its guest program.
    pub fn with_regs<R>(&self, f: impl FnOnce(&mut Regs) -> R) -> Result<R> {
        Ok(f(self.user.lock().as_mut().ok_or(ESRCH)?.regs_mut()))
    }

    /// The same with the stub thread.
    pub fn with_stub<R>(&self, f: impl FnOnce(&mut StubThread) -> R) -> Result<R> {
        Ok(f(self.user.lock().as_mut().ok_or(ESRCH)?))
    }

    pub(crate) fn take_fiber(&self) -> Option<Fiber> {
        self.fiber.lock().take()
    }

    pub(crate) fn put_fiber(&self, fiber: Fiber) {
        *self.fiber.lock() = Some(fiber);
    }

    /// Scheduling state.
    pub fn state(&self) -> TaskState {
        self.sched.state()
    }

    /// Sets the scheduling state of the current task.
    pub fn set_state(&self, state: TaskState) {
        self.sched.set_state(state);
    }

    /// Wakes the task from any sleep of a wait queue (not from a job-control stop). Returns whether it slept.
    pub fn wake_up(&self) -> bool {
        self.wake_if(|s| {
            matches!(s, TaskState::Interruptible | TaskState::Killable | TaskState::Uninterruptible)
        })
    }

    /// Wakes the task if its state is one that `wakes` names.
    pub fn wake_if(&self, wakes: impl FnOnce(TaskState) -> bool) -> bool {
        match self.me.upgrade() {
            Some(me) => self.sched.wake(&me, wakes),
            None => false,
        }
    }

    /// Whether its system calls are filtered or traced, so that each must come to the kernel.
    pub fn has_syscall_work(&self) -> bool {
        self.syscall_work.load(Ordering::SeqCst)
    }

    /// Works that out anew: it has a new filter, or another tracer.
    pub fn note_syscall_work(&self) {
        let filtered = self.seccomp.mode() != abi::seccomp::SECCOMP_MODE_DISABLED;
        let work = filtered || self.ptrace.is_traced();
        self.syscall_work.store(work, Ordering::SeqCst);
        self.answers.silence(work);
    }

    /// Whether there is something to look at before the guest runs on.
    pub fn has_work(&self) -> bool {
        self.work.load(Ordering::SeqCst)
    }

    /// Marks that there is, and makes a vCPU that runs the guest notice.
    pub fn notify_work(&self) {
        self.work.store(true, Ordering::SeqCst);
        if self.sched.on_cpu()
            && let Some(vcpu) = crate::sched::vcpus().get(self.sched.last_cpu.load(Ordering::SeqCst) as usize)
        {
            vcpu.kick();
        }
    }

    /// Marks it for the current task itself, which looks before it runs its guest again.
    pub fn mark_work(&self) {
        self.work.store(true, Ordering::SeqCst);
    }

    /// The current task has looked; it clears the mark before it looks.
    pub fn clear_work(&self) {
        self.work.store(false, Ordering::SeqCst);
    }

    /// Charges a stretch in the guest program, and the kernel's work since the one before it.
    pub fn account_user(&self, started: u64, ended: u64) {
        let in_kernel = started.saturating_sub(self.kernel_since.swap(ended, Ordering::Relaxed));
        let in_user = ended.saturating_sub(started);
        self.sched.utime.fetch_add(in_user, Ordering::Relaxed);
        self.sched.stime.fetch_add(in_kernel, Ordering::Relaxed);
        self.process.charge_cpu(in_user, in_kernel);
        self.sched.charge(in_user + in_kernel);
    }

    /// Charges the kernel's work since the last stretch in the guest program.
    pub fn account_kernel(&self) {
        let now = host::clock::monotonic();
        let in_kernel = now.saturating_sub(self.kernel_since.swap(now, Ordering::Relaxed));
        self.sched.stime.fetch_add(in_kernel, Ordering::Relaxed);
        self.process.charge_cpu(0, in_kernel);
        self.sched.charge(in_kernel);
    }

    /// Changes each time the task leaves its guest program.
    fn stretch_ended(&self) -> u64 {
        self.kernel_since.load(Ordering::SeqCst)
    }

    /// The task got a vCPU after a sleep: what passed since is nobody's work.
    pub fn account_resume(&self) {
        self.kernel_since.store(host::clock::monotonic(), Ordering::Relaxed);
    }

    /// CPU time of this thread up to `now` (host CLOCK_MONOTONIC, ns): in its guest program, and in the kernel. A stretch
    /// that a vCPU is running counts as the kernel's.
    pub fn cpu_time(&self, now: u64) -> (u64, u64) {
        let (user, kernel) =
            (self.sched.utime.load(Ordering::Relaxed), self.sched.stime.load(Ordering::Relaxed));
        (user, kernel + self.cpu_time_uncharged(now))
    }

    /// The part of [`Task::cpu_time`] that is not charged yet.
    pub fn cpu_time_uncharged(&self, now: u64) -> u64 {
        if !self.sched.on_cpu() {
            return 0;
        }
        now.saturating_sub(self.kernel_since.load(Ordering::Relaxed))
    }

    /// When a CPU-time limit or timer of the process is due if the guest runs on from `now`; u64::MAX for never.
    pub fn cpu_time_limit(&self, now: u64) -> u64 {
        self.process.cpu_time_limit(now)
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        // Only of a child that was never started: an exit has let go of it.
        if let Some(mm) = self.mm.get_mut().take() {
            mm.remove_user();
        }
    }
}

/// Directories of the first task, as they were at its birth: see [`Task::exit_fs`].
static FIRST_FS: OnceLock<Arc<FsStruct>> = OnceLock::new();

thread_local! {
    static CURRENT: RefCell<Option<Arc<Task>>> = const { RefCell::new(None) };
}

/// The task that this vCPU runs. Never inlined: a fiber may be on another host thread after each sleep, and the
/// compiler must not keep the address of the thread-local over it.
///
/// # Panics
/// Outside a task.
#[inline(never)]
pub fn current() -> Arc<Task> {
    CURRENT.with(|c| c.borrow().clone()).expect("kernel code that needs a task runs in one")
}

/// Runs `f` on the current task, if there is one, without counting a reference. `f` must not sleep.
#[inline(never)]
pub fn with_current<R>(f: impl FnOnce(&Task) -> R) -> Option<R> {
    CURRENT.with(|c| c.borrow().as_deref().map(f))
}

/// The current task, if the caller is in one.
#[inline(never)]
pub fn try_current() -> Option<Arc<Task>> {
    CURRENT.with(|c| c.borrow().clone())
}

/// Set by the vCPU loop around each resume (and by unit tests).
#[inline(never)]
pub fn set_current(task: Option<Arc<Task>>) {
    let old = CURRENT.with(|c| core::mem::replace(&mut *c.borrow_mut(), task));
    drop(old);
}
