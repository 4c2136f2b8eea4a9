//! Timers on CPU clocks, ITIMER_VIRTUAL, ITIMER_PROF and RLIMIT_CPU.
//!
//! The process keeps the CPU time at which the first of them is due; `sched` ends the guest's stretch then, and the task
//! looks here. A thread's clock runs no faster than its process's, so its timers use the same deadline: what comes too
//! early only looks and goes on.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use abi::resource::{RLIM_INFINITY, RLIMIT_CPU};
use abi::signal::{SI_KERNEL, SIGKILL, SIGPROF, SIGVTALRM, SIGXCPU, SigInfo};
use abi::time::NSEC_PER_SEC;

use super::clock::{CpuOf, CpuTime};
use crate::signal;
use crate::task::{ItimerState, Process, Task};

type Callback = Arc<dyn Fn() + Send + Sync>;

/// A timer on a CPU clock of a process or of one of its threads.
pub struct CpuTimer {
    id: u64,
    thread: Option<Weak<Task>>,
    counts: CpuTime,
    expires: u64,
    callback: Callback,
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// An armed [`CpuTimer`]; dropping it takes it back.
pub(super) struct CpuTimerHandle {
    process: Weak<Process>,
    id: u64,
}

impl CpuTimerHandle {
    /// Calls `callback` once, when that CPU time reaches `expires`, in the context of a thread of that process.
    pub fn start(of: CpuOf, counts: CpuTime, expires: u64, callback: Callback) -> CpuTimerHandle {
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let (process, thread) = match of {
            CpuOf::Process(process) => (process, None),
            CpuOf::Thread(thread, process) => (process, Some(thread)),
        };
        if let Some(process) = process.upgrade() {
            process.itimers.lock().cpu.push(CpuTimer { id, thread, counts, expires, callback });
            update_cpu_deadline(&process);
        }
        CpuTimerHandle { process, id }
    }
}

impl Drop for CpuTimerHandle {
    fn drop(&mut self) {
        let Some(process) = self.process.upgrade() else { return };
        let removed = {
            let mut itimers = process.itimers.lock();
            let at = itimers.cpu.iter().position(|t| t.id == self.id);
            at.map(|at| itimers.cpu.swap_remove(at))
        };
        drop(removed);
    }
}

/// Charged CPU time of a process: user, and user with kernel.
fn charged(process: &Process) -> (u64, u64) {
    let user = process.utime.load(Ordering::Relaxed);
    (user, user.saturating_add(process.stime.load(Ordering::Relaxed)))
}

fn charged_to(task: &Task, counts: CpuTime) -> u64 {
    let user = task.sched.utime.load(Ordering::Relaxed);
    match counts {
        CpuTime::User => user,
        CpuTime::Both => user.saturating_add(task.sched.stime.load(Ordering::Relaxed)),
    }
}

/// Works out anew when the first CPU timer or limit of a process is due. To be called when one is set or RLIMIT_CPU
/// changes, and for a new process that inherits a limit.
pub fn update_cpu_deadline(process: &Process) {
    let limit = process.rlimit(RLIMIT_CPU);
    let (user, all) = {
        let itimers = process.itimers.lock();
        deadlines(&itimers, limit, charged(process))
    };
    process.cpu_deadline.0.store(user, Ordering::Relaxed);
    process.cpu_deadline.1.store(all, Ordering::Relaxed);
    // Threads in their guest programs plan their stretch anew.
    for thread in process.threads.lock().iter() {
        if thread.sched.on_cpu() && (user, all) != (u64::MAX, u64::MAX) {
            thread.notify_work();
        }
    }
}

fn deadlines(itimers: &ItimerState, limit: u64, (user_now, all_now): (u64, u64)) -> (u64, u64) {
    let set = |at: u64| if at == 0 { u64::MAX } else { at };
    let (mut user, mut all) = (set(itimers.virt.0), set(itimers.prof.0));
    if limit != RLIM_INFINITY {
        all = all.min(limit.saturating_mul(NSEC_PER_SEC));
    }
    for timer in &itimers.cpu {
        let (now, slot) = match timer.counts {
            CpuTime::User => (user_now, &mut user),
            CpuTime::Both => (all_now, &mut all),
        };
        let at = match &timer.thread {
            None => timer.expires,
            Some(thread) => match thread.upgrade() {
                Some(thread) => {
                    now.saturating_add(timer.expires.saturating_sub(charged_to(&thread, timer.counts)))
                }
                None => continue,
            },
        };
        *slot = at.min(*slot);
    }
    (user, all)
}

/// Fires the CPU timers of the current task's process that are due. Costs two loads when there are none.
pub fn run_cpu_timers(task: &Task) {
    let process = &task.process;
    let (user_due, all_due) =
        (process.cpu_deadline.0.load(Ordering::Relaxed), process.cpu_deadline.1.load(Ordering::Relaxed));
    if user_due == u64::MAX && all_due == u64::MAX {
        return;
    }
    let (user, all) = charged(process);
    if user < user_due && all < all_due {
        return;
    }
    let (mut signals, callbacks) = {
        let mut itimers = process.itimers.lock();
        let itimers = &mut *itimers;
        let mut signals = Vec::new();
        for (timer, now, sig) in [(&mut itimers.virt, user, SIGVTALRM), (&mut itimers.prof, all, SIGPROF)] {
            signals.extend(expire(timer, now).then_some(sig));
        }
        let due = |t: &mut CpuTimer| {
            let now = match (&t.thread, t.counts) {
                (Some(thread), counts) => thread.upgrade().map_or(0, |t| charged_to(&t, counts)),
                (None, CpuTime::User) => user,
                (None, CpuTime::Both) => all,
            };
            now >= t.expires
        };
        let callbacks: Vec<CpuTimer> = itimers.cpu.extract_if(.., due).collect();
        (signals, callbacks)
    };
    signals.extend(check_limit(process, all));
    for timer in callbacks {
        (timer.callback)();
    }
    for sig in signals {
        signal::send_process(process, SigInfo::new(sig, SI_KERNEL));
    }
    update_cpu_deadline(process);
}

/// Whether an interval timer (deadline, period) is due at `now`; moves its deadline on.
fn expire(timer: &mut (u64, u64), now: u64) -> bool {
    let (expires, interval) = *timer;
    if expires == 0 || now < expires {
        return false;
    }
    timer.0 = if interval == 0 { 0 } else { super::alarm::forward(expires, interval, now).0 };
    true
}

/// RLIMIT_CPU: SIGXCPU at the soft limit and each second after it, SIGKILL at the hard one.
fn check_limit(process: &Process, all: u64) -> Option<u32> {
    let mut rlimits = process.rlimits.lock();
    let limit = rlimits.get_mut(RLIMIT_CPU)?;
    let seconds = all / NSEC_PER_SEC;
    if limit.rlim_max != RLIM_INFINITY && seconds >= limit.rlim_max {
        return Some(SIGKILL);
    }
    if limit.rlim_cur == RLIM_INFINITY || seconds < limit.rlim_cur {
        return None;
    }
    limit.rlim_cur = seconds + 1;
    Some(SIGXCPU)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_are_the_earliest() {
        let mut itimers = ItimerState::default();
        assert_eq!(deadlines(&itimers, RLIM_INFINITY, (0, 0)), (u64::MAX, u64::MAX));
        itimers.prof = (5 * NSEC_PER_SEC, 0);
        itimers.virt = (7, 0);
        assert_eq!(deadlines(&itimers, RLIM_INFINITY, (0, 0)), (7, 5 * NSEC_PER_SEC));
        assert_eq!(deadlines(&itimers, 2, (0, 0)), (7, 2 * NSEC_PER_SEC));
        itimers.cpu.push(CpuTimer {
            id: 1,
            thread: None,
            counts: CpuTime::Both,
            expires: 9,
            callback: Arc::new(|| {}),
        });
        assert_eq!(deadlines(&itimers, 2, (0, 0)), (7, 9));
    }

    #[test]
    fn interval_timers_expire_once_a_check() {
        let mut timer = (100, 10);
        assert!(!expire(&mut timer, 99));
        assert!(expire(&mut timer, 125));
        assert_eq!(timer, (130, 10));
        timer = (100, 0);
        assert!(expire(&mut timer, 100));
        assert!(!expire(&mut timer, 200));
    }
}
