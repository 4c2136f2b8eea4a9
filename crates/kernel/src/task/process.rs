//! [`Process`]: a thread group, Linux's `signal_struct` and `sighand_struct` in one.

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use abi::resource::{RLIMIT_CPU, Rlimit};
use abi::time::NSEC_PER_SEC;

use super::Task;
use crate::signal::{SigHand, SigPending};
use crate::sync::{SpinLock, WaitQueue, rank};
use crate::tty::Tty;

/// Number of resource limits.
pub const RLIM_NLIMITS: usize = 16;

/// What the threads of a process share.
pub struct Process {
    /// Process id, the first thread's tid.
    pub tgid: i32,
    /// Family, group and session: guarded by the tasklist lock, see [`super::pid`].
    pub link: SpinLock<TaskLink>,
    /// Live threads, the leader first if it lives.
    pub threads: SpinLock<Vec<Arc<Task>>>,
    /// Signal actions; shared beyond the process by CLONE_SIGHAND without CLONE_THREAD.
    pub sighand: SpinLock<Arc<SigHand>>,
    /// Signals sent to the process as a whole.
    pub pending: SpinLock<SigPending>,
    /// signalfd and sigtimedwait of any thread wait here.
    pub signal_queue: WaitQueue,
    /// wait4(2) of any thread waits here for a child's change.
    pub wait_chldexit: WaitQueue,
    /// Threads of other processes that its threads trace, ptrace(2).
    pub tracees: SpinLock<Vec<Arc<Task>>>,
    /// Tracees that have ended, for wait4(2).
    pub tracees_ended: SpinLock<Vec<super::ptrace::Ended>>,
    /// It is past its end as a tracer: nobody is added to those. Under their lock.
    pub traces_no_more: AtomicBool,
    /// Its end is a tracer's news first: until that has waited, or has ended, its parent hears nothing. Under the tasklist
    /// lock once it is a zombie.
    pub held: AtomicBool,
    /// Keyrings of its session and its own.
    pub keyrings: SpinLock<crate::keys::ProcessRings>,
    /// Its control group; none before it is born.
    pub cgroup: SpinLock<Option<Arc<crate::cgroup::Cgroup>>>,
    /// pidfds poll here for the exit of the process or of a thread, and execve waits here for its siblings' end.
    pub exit_queue: WaitQueue,
    /// Resource limits by RLIMIT number.
    pub rlimits: SpinLock<[Rlimit; RLIM_NLIMITS]>,
    /// The whole process is exiting with `exit_code` (exit_group, fatal signal).
    pub group_exit: AtomicBool,
    /// Wait status of the process.
    pub exit_code: AtomicI32,
    /// Real user of the thread that ended last, for the parent's siginfo.
    pub exit_uid: AtomicU32,
    /// All threads have exited; the process waits to be reaped.
    pub zombie: AtomicBool,
    /// Signal sent to the parent at exit, SIGCHLD as a rule.
    pub exit_signal: AtomicI32,
    /// Job control: state of the group stop, kept by `signal`. This is also the signal lock of the process: whoever
    /// changes what is pending or blocked in any of its threads holds it.
    pub stop: SpinLock<crate::signal::GroupStop>,
    /// Init: signals that it doesn't handle do nothing to it, until it faults.
    pub unkillable: AtomicBool,
    /// A kernel thread, which takes no signals.
    pub kthread: AtomicBool,
    /// PR_SET_CHILD_SUBREAPER
    pub child_subreaper: AtomicBool,
    /// PR_SET_DUMPABLE
    pub dumpable: AtomicI32,
    /// PR_SET_THP_DISABLE. The host's choice of page sizes is not steered by it.
    pub thp_disable: AtomicBool,
    /// membarrier(2): registrations.
    pub membarrier: AtomicU32,
    /// The zombie's parent has its signal: wait4(2) may answer with it.
    pub announced: AtomicBool,
    /// The process has called execve since its fork: setpgid(2) by its parent fails.
    pub did_exec: AtomicBool,
    /// Command line, executable and environment live in the Mm.
    /// ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF and POSIX timers.
    pub itimers: SpinLock<ItimerState>,
    /// CPU time of all threads, living and dead, ns.
    pub utime: AtomicU64,
    /// CPU time in the kernel, ns.
    pub stime: AtomicU64,
    /// Of reaped children, ns: user.
    pub cutime: AtomicU64,
    /// Of reaped children, ns: kernel.
    pub cstime: AtomicU64,
    /// Faults, switches and largest resident set of dead threads and reaped children.
    pub totals: SpinLock<RusageTotals>,
    /// CPU time (user + kernel for `.1`, user for `.0`) at which the earliest CPU timer or limit is due, ns; MAX for none.
    pub cpu_deadline: (AtomicU64, AtomicU64),
    /// oom_score_adj
    pub oom_score_adj: AtomicI32,
    /// The lowest oom_score_adj that it may have without privilege.
    pub oom_score_adj_min: AtomicI32,
}

/// Place of a process among others.
#[derive(Default)]
pub struct TaskLink {
    /// Parent process; none for init.
    pub parent: Weak<Process>,
    /// The parent's thread that made it, for PR_SET_PDEATHSIG and __WNOTHREAD.
    pub parent_tid: i32,
    /// Children, in the order of their birth.
    pub children: Vec<Arc<Process>>,
    /// Process group id.
    pub pgrp: i32,
    /// Session id.
    pub session: i32,
    /// Controlling terminal of the session, kept by its members.
    pub tty: Option<Arc<Tty>>,
}

/// Sums for getrusage(2).
#[derive(Clone, Copy, Default)]
pub struct RusageTotals {
    /// Of dead threads: minor faults, major faults, voluntary and involuntary switches.
    pub own: [u64; 4],
    /// Of reaped children, the same.
    pub children: [u64; 4],
    /// Of dead threads and reaped children: read and written bytes and calls, see [`super::IoCount`].
    pub io: [u64; 4],
    /// Largest resident set, bytes: own, children.
    pub maxrss: [u64; 2],
}

/// Interval timers of a process; `time` fills them.
#[derive(Default)]
pub struct ItimerState {
    /// ITIMER_REAL: armed timer, and its interval and deadline in ns.
    pub real: Option<crate::sched::Timer>,
    /// Deadline (host monotonic ns) and interval of ITIMER_REAL, zero when disarmed.
    pub real_at: (u64, u64),
    /// ITIMER_VIRTUAL: CPU time at which it fires, and interval; zero when disarmed.
    pub virt: (u64, u64),
    /// ITIMER_PROF: the same.
    pub prof: (u64, u64),
    /// POSIX timers by id.
    pub posix: std::collections::BTreeMap<i32, Arc<crate::time::PosixTimer>>,
    /// Timers on CPU clocks of this process and its threads.
    pub cpu: Vec<crate::time::CpuTimer>,
}

/// The CPU time at which RLIMIT_CPU applies, ns.
fn cpu_limit(rlimits: &[Rlimit; RLIM_NLIMITS]) -> u64 {
    rlimits[RLIMIT_CPU].rlim_cur.saturating_mul(NSEC_PER_SEC)
}

impl Process {
    /// A process with no threads yet.
    pub fn new(tgid: i32, sighand: Arc<SigHand>, rlimits: [Rlimit; RLIM_NLIMITS]) -> Arc<Process> {
        Arc::new(Process {
            tgid,
            link: SpinLock::new(rank::PROCESS, TaskLink::default()),
            threads: SpinLock::new(rank::PROCESS, Vec::new()),
            sighand: SpinLock::new(rank::SIGHAND, sighand),
            pending: SpinLock::new(rank::SIGNAL, SigPending::default()),
            signal_queue: WaitQueue::new(),
            wait_chldexit: WaitQueue::new(),
            tracees: SpinLock::new(rank::PTRACE, Vec::new()),
            tracees_ended: SpinLock::new(rank::PTRACE, Vec::new()),
            traces_no_more: AtomicBool::new(false),
            held: AtomicBool::new(false),
            keyrings: SpinLock::new(rank::KEYS, crate::keys::ProcessRings::default()),
            cgroup: SpinLock::new(rank::CGROUP, None),
            exit_queue: WaitQueue::new(),
            rlimits: SpinLock::new(rank::LEAF, rlimits),
            group_exit: AtomicBool::new(false),
            exit_code: AtomicI32::new(0),
            exit_uid: AtomicU32::new(0),
            zombie: AtomicBool::new(false),
            exit_signal: AtomicI32::new(17),
            stop: SpinLock::new(rank::SIGLOCK, crate::signal::GroupStop::default()),
            unkillable: AtomicBool::new(tgid == 1),
            kthread: AtomicBool::new(false),
            child_subreaper: AtomicBool::new(false),
            dumpable: AtomicI32::new(1),
            thp_disable: AtomicBool::new(false),
            membarrier: AtomicU32::new(0),
            announced: AtomicBool::new(false),
            did_exec: AtomicBool::new(false),
            itimers: SpinLock::new(rank::PROCESS, ItimerState::default()),
            utime: AtomicU64::new(0),
            stime: AtomicU64::new(0),
            cutime: AtomicU64::new(0),
            cstime: AtomicU64::new(0),
            totals: SpinLock::new(rank::LEAF, RusageTotals::default()),
            cpu_deadline: (AtomicU64::new(u64::MAX), AtomicU64::new(cpu_limit(&rlimits))),
            oom_score_adj: AtomicI32::new(0),
            oom_score_adj_min: AtomicI32::new(0),
        })
    }

    /// The soft limit of resource `which` (RLIMIT_*).
    pub fn rlimit(&self, which: usize) -> u64 {
        self.rlimits.lock().get(which).map_or(u64::MAX, |r| r.rlim_cur)
    }

    /// Signal actions.
    pub fn sighand(&self) -> Arc<SigHand> {
        self.sighand.lock().clone()
    }

    /// Live threads.
    pub fn threads(&self) -> Vec<Arc<Task>> {
        self.threads.lock().clone()
    }

    /// Process group id.
    pub fn pgrp(&self) -> i32 {
        self.link.lock().pgrp
    }

    /// Session id.
    pub fn session(&self) -> i32 {
        self.link.lock().session
    }

    /// Parent process id as getppid(2) has it; 0 for init.
    pub fn ppid(&self) -> i32 {
        self.link.lock().parent.upgrade().map_or(0, |p| p.tgid)
    }

    /// The parent's thread that made it, or the one that took over.
    pub fn parent_tid(&self) -> i32 {
        self.link.lock().parent_tid
    }

    /// Parent process; none for init.
    pub fn parent(&self) -> Option<Arc<Process>> {
        self.link.lock().parent.upgrade()
    }

    /// Charges CPU time, ns.
    pub fn charge_cpu(&self, user: u64, kernel: u64) {
        self.utime.fetch_add(user, Ordering::Relaxed);
        self.stime.fetch_add(kernel, Ordering::Relaxed);
    }

    /// When a thread that runs on from `now` should look at the CPU timers of the process; u64::MAX for never. With
    /// several threads it is too early rather than too late: all of them may be running.
    pub fn cpu_time_limit(&self, now: u64) -> u64 {
        let (user, all) =
            (self.cpu_deadline.0.load(Ordering::Relaxed), self.cpu_deadline.1.load(Ordering::Relaxed));
        if user == u64::MAX && all == u64::MAX {
            return u64::MAX;
        }
        let utime = self.utime.load(Ordering::Relaxed);
        let total = utime + self.stime.load(Ordering::Relaxed);
        let left = user.saturating_sub(utime).min(all.saturating_sub(total));
        let shared = left / self.threads.lock().len().max(1) as u64;
        now.saturating_add(shared.max(left.min(crate::sched::SLICE / 4)))
    }
}
