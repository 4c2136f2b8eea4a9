//! The clocks of the guest.
//!
//! CLOCK_MONOTONIC and CLOCK_BOOTTIME begin at the guest's boot and run with the host's; CLOCK_REALTIME is the host's
//! plus what clock_settime(2) made of it. The vDSO computes the same from the same offsets.
//!
//! Lock: LEAF over the list of those who are told when the clock is set.

use std::sync::atomic::{AtomicI32, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, OnceLock, Weak};

use abi::Result;
use abi::errno::EINVAL;
use abi::time::*;

use crate::sync::{SpinLock, WaitQueue, rank};
use crate::syscall::Arg;
use crate::syscall::trace::Line;
use crate::task::{Process, Task, current, pid};

/// The host's CLOCK_MONOTONIC and CLOCK_BOOTTIME at the guest's boot.
static BOOT: OnceLock<(u64, u64)> = OnceLock::new();
/// Guest CLOCK_REALTIME less the host's.
static REALTIME_OFFSET: AtomicI64 = AtomicI64::new(0);
/// CLOCK_TAI less CLOCK_REALTIME, seconds.
static TAI_OFFSET: AtomicI32 = AtomicI32::new(0);
/// How often CLOCK_REALTIME was set.
static SET_COUNT: AtomicU64 = AtomicU64::new(0);
static SET_QUEUE: LazyLock<WaitQueue> = LazyLock::new(WaitQueue::new);
static SET_WATCHERS: SpinLock<Vec<Weak<dyn ClockSetWatch>>> = SpinLock::new(rank::LEAF, Vec::new());

/// A timer that must look at its deadline again when CLOCK_REALTIME is set.
pub(super) trait ClockSetWatch: Send + Sync {
    /// It was.
    fn clock_was_set(&self);
}

fn boot() -> (u64, u64) {
    *BOOT.get_or_init(|| (host::clock::monotonic(), host::clock::boottime()))
}

/// Tells the vDSO, once the host's part of it is there, what the guest's clocks are.
pub fn init() {
    publish();
}

fn publish() {
    let boot = boot();
    let offset = REALTIME_OFFSET.load(Ordering::SeqCst);
    host::vdso::set_offsets((boot.0 as i64).wrapping_neg(), (boot.1 as i64).wrapping_neg(), offset);
}

/// ns since the guest's boot: its CLOCK_MONOTONIC. The first call is the boot.
pub fn since_boot() -> u64 {
    let boot = boot().0;
    host::clock::monotonic().saturating_sub(boot)
}

/// CLOCK_REALTIME, for time stamps.
pub fn now_realtime() -> Timespec {
    Timespec::from_ns(realtime())
}

fn realtime() -> u64 {
    host::clock::realtime().saturating_add_signed(REALTIME_OFFSET.load(Ordering::Relaxed))
}

/// A clock id as a guest gives it: any word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockId(pub i32);

impl Arg for ClockId {
    fn from_raw(raw: u64) -> Self {
        ClockId(raw as i32)
    }
    fn show(raw: u64, line: &mut Line<'_>) {
        const NAMES: [&str; 12] = [
            "REALTIME",
            "MONOTONIC",
            "PROCESS_CPUTIME_ID",
            "THREAD_CPUTIME_ID",
            "MONOTONIC_RAW",
            "REALTIME_COARSE",
            "MONOTONIC_COARSE",
            "BOOTTIME",
            "REALTIME_ALARM",
            "BOOTTIME_ALARM",
            "10",
            "TAI",
        ];
        let id = raw as i32;
        match usize::try_from(id).ok().and_then(|i| NAMES.get(i)) {
            Some(name) => write!(line, "CLOCK_{name}"),
            None => write!(line, "{id}"),
        }
    }
}

/// What a CPU clock counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CpuTime {
    /// User and kernel time.
    Both,
    /// User time.
    User,
}

/// Whose CPU time.
#[derive(Clone)]
pub enum CpuOf {
    /// All threads of a process.
    Process(Weak<Process>),
    /// One thread of a process.
    Thread(Weak<Task>, Weak<Process>),
}

/// A clock.
#[derive(Clone)]
pub enum Clock {
    /// CLOCK_REALTIME
    Realtime,
    /// CLOCK_TAI
    Tai,
    /// CLOCK_MONOTONIC
    Monotonic,
    /// CLOCK_MONOTONIC_RAW: no timers.
    MonotonicRaw,
    /// CLOCK_BOOTTIME
    Boottime,
    /// CLOCK_REALTIME_COARSE: no timers.
    RealtimeCoarse,
    /// CLOCK_MONOTONIC_COARSE: no timers.
    MonotonicCoarse,
    /// CPU time of a process or thread, clock_getcpuclockid(3).
    Cpu(CpuOf, CpuTime),
}

/// Resolution of the coarse clocks: a tick.
const COARSE_RESOLUTION: u64 = 4_000_000;

impl Clock {
    /// The clock of an id. EINVAL.
    pub fn from_id(id: ClockId) -> Result<Clock> {
        Ok(match id.0 {
            CLOCK_REALTIME | CLOCK_REALTIME_ALARM => Clock::Realtime,
            CLOCK_TAI => Clock::Tai,
            CLOCK_MONOTONIC => Clock::Monotonic,
            CLOCK_MONOTONIC_RAW => Clock::MonotonicRaw,
            CLOCK_BOOTTIME | CLOCK_BOOTTIME_ALARM => Clock::Boottime,
            CLOCK_REALTIME_COARSE => Clock::RealtimeCoarse,
            CLOCK_MONOTONIC_COARSE => Clock::MonotonicCoarse,
            CLOCK_PROCESS_CPUTIME_ID => Clock::of_process(&current().process),
            CLOCK_THREAD_CPUTIME_ID => Clock::of_thread(&current()),
            id if id < 0 => return Clock::from_cpu_id(id),
            _ => return Err(EINVAL),
        })
    }

    fn of_process(process: &Arc<Process>) -> Clock {
        Clock::Cpu(CpuOf::Process(Arc::downgrade(process)), CpuTime::Both)
    }

    fn of_thread(task: &Arc<Task>) -> Clock {
        Clock::Cpu(CpuOf::Thread(Arc::downgrade(task), Arc::downgrade(&task.process)), CpuTime::Both)
    }

    /// A negative id names a process or thread: `!pid << 3 | kind`. EINVAL.
    fn from_cpu_id(id: i32) -> Result<Clock> {
        let number = !(id >> 3);
        let counts = match id & CPUCLOCK_CLOCK_MASK {
            CPUCLOCK_PROF | CPUCLOCK_SCHED => CpuTime::Both,
            CPUCLOCK_VIRT => CpuTime::User,
            _ => return Err(EINVAL),
        };
        let task = current();
        let of = if id & CPUCLOCK_PERTHREAD_MASK != 0 {
            let thread =
                if number == 0 { task.clone() } else { pid::find_task(number).map_err(|_| EINVAL)? };
            // Threads of other processes are none of the caller's business.
            if !Arc::ptr_eq(&thread.process, &task.process) {
                return Err(EINVAL);
            }
            CpuOf::Thread(Arc::downgrade(&thread), Arc::downgrade(&thread.process))
        } else if number == 0 {
            CpuOf::Process(Arc::downgrade(&task.process))
        } else {
            CpuOf::Process(Arc::downgrade(&pid::find_process(number).map_err(|_| EINVAL)?))
        };
        Ok(Clock::Cpu(of, counts))
    }

    /// The time. A CPU clock whose thread is gone stands at 0.
    pub fn now(&self) -> u64 {
        match self {
            Clock::Realtime | Clock::RealtimeCoarse => realtime(),
            Clock::Tai => {
                let tai = i64::from(TAI_OFFSET.load(Ordering::Relaxed)).saturating_mul(NSEC_PER_SEC as i64);
                realtime().saturating_add_signed(tai)
            }
            Clock::Monotonic | Clock::MonotonicRaw | Clock::MonotonicCoarse => since_boot(),
            Clock::Boottime => {
                let boot = boot().1;
                host::clock::boottime().saturating_sub(boot)
            }
            Clock::Cpu(of, counts) => cpu_now(of, *counts),
        }
    }

    /// ns between two readings at best.
    pub fn resolution(&self) -> u64 {
        match self {
            Clock::RealtimeCoarse | Clock::MonotonicCoarse => COARSE_RESOLUTION,
            _ => 1,
        }
    }

    /// Whether absolute times of it move against the others when CLOCK_REALTIME is set.
    pub fn is_settable(&self) -> bool {
        matches!(self, Clock::Realtime | Clock::Tai)
    }

    /// The host's CLOCK_MONOTONIC when this clock, which is no CPU clock, will show `at`.
    pub fn to_host(&self, at: u64) -> u64 {
        let now = self.now();
        host::clock::monotonic().saturating_add(at.saturating_sub(now))
    }
}

fn cpu_now(of: &CpuOf, counts: CpuTime) -> u64 {
    let now = host::clock::monotonic();
    let pick = |(user, kernel): (u64, u64)| match counts {
        CpuTime::Both => user.saturating_add(kernel),
        CpuTime::User => user,
    };
    match of {
        CpuOf::Thread(task, _) => task.upgrade().map_or(0, |t| pick(t.cpu_time(now))),
        CpuOf::Process(process) => process.upgrade().map_or(0, |p| pick(process_cpu_time(&p, now))),
    }
}

/// CPU time of a process up to `now` (host CLOCK_MONOTONIC): user and kernel.
fn process_cpu_time(process: &Process, now: u64) -> (u64, u64) {
    let uncharged: u64 = process.threads.lock().iter().map(|t| t.cpu_time_uncharged(now)).sum();
    let (user, kernel) = (process.utime.load(Ordering::Relaxed), process.stime.load(Ordering::Relaxed));
    (user, kernel + uncharged)
}

/// The time of clock `id` (CLOCK_*), ns. EINVAL.
pub fn clock_now(id: i32) -> Result<u64> {
    Ok(Clock::from_id(ClockId(id))?.now())
}

/// Sets CLOCK_REALTIME. EINVAL for a time before the boot.
pub(super) fn set_realtime(ns: u64) -> Result<()> {
    if ns < since_boot() || i64::try_from(ns).is_err() {
        return Err(EINVAL);
    }
    let offset = (ns as i64).wrapping_sub(host::clock::realtime() as i64);
    REALTIME_OFFSET.store(offset, Ordering::SeqCst);
    was_set();
    Ok(())
}

/// CLOCK_TAI less CLOCK_REALTIME, seconds.
pub(super) fn tai_offset() -> i32 {
    TAI_OFFSET.load(Ordering::Relaxed)
}

/// Sets it.
pub(super) fn set_tai_offset(seconds: i32) {
    TAI_OFFSET.store(seconds, Ordering::SeqCst);
    was_set();
}

fn was_set() {
    publish();
    SET_COUNT.fetch_add(1, Ordering::SeqCst);
    SET_QUEUE.wake_all();
    let watchers: Vec<_> = {
        let mut list = SET_WATCHERS.lock();
        list.retain(|w| w.strong_count() > 0);
        list.clone()
    };
    for watcher in watchers.iter().filter_map(Weak::upgrade) {
        watcher.clock_was_set();
    }
}

/// Tells `watcher` from now on, as long as it lives.
pub(super) fn watch_settings(watcher: Weak<dyn ClockSetWatch>) {
    host::clock::on_step(was_set);
    let mut list = SET_WATCHERS.lock();
    // Dead ones go when the list has doubled, so that it stays in proportion to the living.
    if list.len() == list.capacity() {
        list.retain(|w| w.strong_count() > 0);
    }
    list.push(watcher);
}

/// Where those sleep who must know when the clock is set, and how often it was.
pub(super) fn settings() -> (&'static WaitQueue, u64) {
    host::clock::on_step(was_set);
    (&SET_QUEUE, SET_COUNT.load(Ordering::SeqCst))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_without_a_task() {
        assert!(matches!(Clock::from_id(ClockId(CLOCK_BOOTTIME_ALARM)), Ok(Clock::Boottime)));
        assert_eq!(Clock::from_id(ClockId(10)).err(), Some(EINVAL));
        assert_eq!(Clock::from_id(ClockId(12)).err(), Some(EINVAL));
        assert_eq!(Clock::from_id(ClockId(!0 << 3 | 3)).err(), Some(EINVAL));
    }

    #[test]
    fn clocks_agree_with_their_deadlines() {
        for clock in [Clock::Monotonic, Clock::Realtime, Clock::Boottime, Clock::Tai] {
            let at = clock.now() + 1_000_000_000;
            let left = clock.to_host(at) - host::clock::monotonic();
            assert!((900_000_000..=1_000_000_000).contains(&left), "{left}");
            assert!(clock.to_host(0) <= host::clock::monotonic());
        }
    }
}
