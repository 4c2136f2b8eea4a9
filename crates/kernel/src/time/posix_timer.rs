//! POSIX timers: timer_create(2), timer_settime(2), timer_gettime(2), timer_getoverrun(2), timer_delete(2).
//!
//! A timer has one signal in the queue at most. The next period begins when that signal is taken; the periods that passed
//! until then are its overrun.
//!
//! Lock: TIMER_STATE, one timer. Signals are sent without it.

use std::sync::{Arc, Weak};

use abi::Result;
use abi::cred::CAP_WAKE_ALARM;
use abi::errno::{EAGAIN, EINVAL, EOPNOTSUPP, EPERM};
use abi::resource::RLIMIT_SIGPENDING;
use abi::signal::{
    NSIG, SIGALRM, SIGEV_NONE, SIGEV_SIGNAL, SIGEV_THREAD, SIGEV_THREAD_ID, SigEvent, SigInfo,
};
use abi::time::{CLOCK_BOOTTIME_ALARM, CLOCK_REALTIME_ALARM, Itimerspec, TIMER_ABSTIME, Timespec};

use super::alarm::Alarm;
use super::clock::{self, Clock, ClockId, ClockSetWatch};
use crate::signal::{Charge, Queued, queue_to_process, queue_to_task};
use crate::sync::{SpinLock, rank};
use crate::task::{Process, Task, current, pid};
use crate::uaccess::UserPtr;

/// Whom a timer tells.
enum Notify {
    Nobody,
    Process(Weak<Process>),
    Thread(Weak<Task>),
}

/// A POSIX timer, timer_create(2).
pub struct PosixTimer {
    /// Its number in its process.
    pub id: i32,
    clock: Clock,
    notify: Notify,
    signal: u32,
    value: u64,
    state: SpinLock<State>,
    me: Weak<PosixTimer>,
    /// Its place among the user's queued signals, for as long as it exists.
    _charge: Charge,
}

#[derive(Default)]
struct State {
    alarm: Alarm,
    /// It went off, and its signal has not been taken.
    pending: bool,
    /// Its signal is in a queue; with `pending` clear it is out of date and will be dropped.
    queued: bool,
    /// Periods missed since the last signal that was taken.
    overrun: u64,
    /// What the last signal taken said.
    last_overrun: i32,
}

/// While its signal is ignored a timer goes off no more often: ns.
const IGNORED_PERIOD: u64 = 1_000_000;

impl PosixTimer {
    fn arm(&self, alarm: &mut Alarm, not_before: u64) {
        let me = self.me.clone();
        let callback = Arc::new(move || {
            if let Some(timer) = me.upgrade() {
                timer.expired();
            }
        });
        alarm.arm(callback, not_before);
    }

    /// The callback: sends the signal.
    fn expired(&self) {
        let push = {
            let mut state = self.state.lock();
            if state.alarm.expires == 0 || state.pending {
                return;
            }
            if !state.alarm.due() {
                // The clock was set back, or the CPU clock's estimate was early.
                self.arm(&mut state.alarm, 0);
                return;
            }
            state.alarm.disarm();
            if matches!(self.notify, Notify::Nobody) {
                return;
            }
            if state.alarm.interval == 0 {
                state.alarm.clear();
            }
            state.pending = true;
            !core::mem::replace(&mut state.queued, true)
        };
        if push && !self.send() {
            self.ignored();
        }
    }

    fn send(&self) -> bool {
        let queued = Queued {
            info: SigInfo::timer(self.signal, self.id, 0, self.value),
            charge: None,
            timer: Some(self.me.clone()),
        };
        let sent = match &self.notify {
            Notify::Nobody => Ok(false),
            Notify::Process(process) => {
                process.upgrade().map_or(Ok(false), |process| queue_to_process(&process, queued))
            }
            Notify::Thread(task) => task.upgrade().map_or(Ok(false), |task| queue_to_task(&task, queued)),
        };
        sent.unwrap_or(false)
    }

    /// Nobody wanted the signal: the next period begins at once.
    fn ignored(&self) {
        let mut state = self.state.lock();
        state.queued = false;
        state.pending = false;
        if state.alarm.interval != 0 {
            state.alarm.forward();
            self.arm(&mut state.alarm, IGNORED_PERIOD);
        }
    }

    /// The signal is being taken: completes what it says, and begins the next period. False if it is out of date.
    pub fn deliver(&self, info: &mut SigInfo) -> bool {
        let mut state = self.state.lock();
        state.queued = false;
        if !core::mem::take(&mut state.pending) {
            return false;
        }
        if state.alarm.interval != 0 {
            let passed = state.alarm.forward();
            state.overrun = state.overrun.saturating_add(passed.saturating_sub(1));
            self.arm(&mut state.alarm, 0);
        }
        state.last_overrun = i32::try_from(core::mem::take(&mut state.overrun)).unwrap_or(i32::MAX);
        info.set_overrun(state.last_overrun);
        true
    }

    /// Time left and period as timer_gettime(2) has them.
    fn left(&self, state: &mut State) -> Itimerspec {
        let alarm = &mut state.alarm;
        // A timer that nobody is told of, or whose signal waits, goes on by itself as far as user space can see.
        if alarm.interval != 0 && !alarm.is_armed() && alarm.due() {
            let passed = alarm.forward();
            if state.pending {
                state.overrun = state.overrun.saturating_add(passed);
            }
        }
        let silent_end = alarm.interval == 0 && !alarm.is_armed() && alarm.due();
        let left = if silent_end { 0 } else { alarm.remaining() };
        Itimerspec { it_interval: Timespec::from_ns(alarm.interval), it_value: Timespec::from_ns(left) }
    }

    fn set(&self, absolute: bool, first: u64, interval: u64) -> Itimerspec {
        let (old, due) = {
            let mut state = self.state.lock();
            let old = self.left(&mut state);
            state.pending = false;
            state.overrun = 0;
            state.last_overrun = 0;
            if first == 0 {
                state.alarm.clear();
                return old;
            }
            // A span doesn't change when the clock is set.
            let clock = match &self.clock {
                clock if !absolute && clock.is_settable() => Clock::Monotonic,
                clock => clock.clone(),
            };
            let at = if absolute { first } else { clock.now().saturating_add(first) };
            state.alarm.set(clock, at, interval);
            let due = state.alarm.due();
            if !due {
                self.arm(&mut state.alarm, 0);
            }
            (old, due)
        };
        if due {
            self.expired();
        }
        old
    }
}

impl ClockSetWatch for PosixTimer {
    fn clock_was_set(&self) {
        let due = {
            let mut state = self.state.lock();
            let waits = state.alarm.is_settable() && state.alarm.is_armed();
            if waits && !state.alarm.due() {
                self.arm(&mut state.alarm, 0);
            }
            waits && state.alarm.due()
        };
        if due {
            self.expired();
        }
    }
}

/// timer_create(2)
pub fn timer_create(clockid: ClockId, sevp: UserPtr<SigEvent>, timerid: UserPtr<i32>) -> Result<()> {
    let clock = Clock::from_id(clockid)?;
    if matches!(clock, Clock::MonotonicRaw | Clock::MonotonicCoarse | Clock::RealtimeCoarse) {
        return Err(EOPNOTSUPP);
    }
    let task = current();
    check_alarm_clock(&task, clockid)?;
    let process = &task.process;
    let event = if sevp.is_null() { None } else { Some(sevp.read()?) };
    let charge = Charge::take(task.cred().uid, process.rlimit(RLIMIT_SIGPENDING)).ok_or(EAGAIN)?;
    let notify = match &event {
        None => Notify::Process(Arc::downgrade(process)),
        Some(event) => notify(process, event)?,
    };
    let (timer, id) = {
        let mut itimers = process.itimers.lock();
        let id = free_id(&itimers.posix).ok_or(EAGAIN)?;
        let timer = Arc::new_cyclic(|me| PosixTimer {
            id,
            clock,
            notify,
            signal: event.map_or(SIGALRM, |e| e.sigev_signo as u32),
            value: event.map_or(id as u64, |e| e.sigev_value),
            state: SpinLock::new(rank::TIMER_STATE, State::default()),
            me: me.clone(),
            _charge: charge,
        });
        itimers.posix.insert(id, timer.clone());
        (timer, id)
    };
    if timer.clock.is_settable() {
        let watcher: Weak<dyn ClockSetWatch> = timer.me.clone();
        clock::watch_settings(watcher);
    }
    timerid.write(&id).inspect_err(|_| {
        let removed = process.itimers.lock().posix.remove(&id);
        drop(removed);
    })
}

/// Clocks that would wake a suspended machine: the host's business, but only the privileged may ask. EPERM.
pub(super) fn check_alarm_clock(task: &Task, clockid: ClockId) -> Result<()> {
    let alarm = matches!(clockid.0, CLOCK_REALTIME_ALARM | CLOCK_BOOTTIME_ALARM);
    if alarm && !task.cred().capable(CAP_WAKE_ALARM) { Err(EPERM) } else { Ok(()) }
}

fn notify(process: &Arc<Process>, event: &SigEvent) -> Result<Notify> {
    let valid = u32::try_from(event.sigev_signo).is_ok_and(|sig| (1..=NSIG).contains(&sig));
    match event.sigev_notify {
        SIGEV_NONE => Ok(Notify::Nobody),
        SIGEV_SIGNAL | SIGEV_THREAD if valid => Ok(Notify::Process(Arc::downgrade(process))),
        SIGEV_THREAD_ID if valid => {
            let thread = pid::find_task(event.sigev_notify_thread_id).map_err(|_| EINVAL)?;
            if !Arc::ptr_eq(&thread.process, process) {
                return Err(EINVAL);
            }
            Ok(Notify::Thread(Arc::downgrade(&thread)))
        }
        _ => Err(EINVAL),
    }
}

/// The lowest number beyond the highest in use, or a gap once the numbers are at their end.
fn free_id(timers: &std::collections::BTreeMap<i32, Arc<PosixTimer>>) -> Option<i32> {
    match timers.last_key_value() {
        None => Some(0),
        Some((&last, _)) if last < i32::MAX => Some(last + 1),
        Some(_) => (0..i32::MAX).find(|id| !timers.contains_key(id)),
    }
}

fn find(id: i32) -> Result<Arc<PosixTimer>> {
    current().process.itimers.lock().posix.get(&id).cloned().ok_or(EINVAL)
}

/// timer_settime(2)
pub fn timer_settime(
    timerid: i32,
    flags: u32,
    new: UserPtr<Itimerspec>,
    old: UserPtr<Itimerspec>,
) -> Result<()> {
    let value = new.read()?;
    let first = value.it_value.to_ns().ok_or(EINVAL)?;
    let interval = value.it_interval.to_ns().ok_or(EINVAL)?;
    let before = find(timerid)?.set(flags & TIMER_ABSTIME != 0, first, interval);
    old.write_if(&before)
}

/// timer_gettime(2)
pub fn timer_gettime(timerid: i32, value: UserPtr<Itimerspec>) -> Result<()> {
    let timer = find(timerid)?;
    let left = timer.left(&mut timer.state.lock());
    value.write(&left)
}

/// timer_getoverrun(2)
pub fn timer_getoverrun(timerid: i32) -> Result<i32> {
    Ok(find(timerid)?.state.lock().last_overrun)
}

/// timer_delete(2)
pub fn timer_delete(timerid: i32) -> Result<()> {
    let timer = current().process.itimers.lock().posix.remove(&timerid).ok_or(EINVAL)?;
    retire(&timer);
    Ok(())
}

/// Stops a timer for good; a signal of its that is still queued is dropped when its turn comes.
fn retire(timer: &PosixTimer) {
    let mut state = timer.state.lock();
    state.alarm.clear();
    state.pending = false;
}

/// execve(2): POSIX timers go, interval timers stay.
pub fn exec_timers(process: &Process) {
    let timers = core::mem::take(&mut process.itimers.lock().posix);
    timers.values().for_each(|timer| retire(timer));
}

/// The process has no threads any more: all of its timers go.
pub fn exit_timers(process: &Process) {
    let timers = core::mem::take(&mut *process.itimers.lock());
    timers.posix.values().for_each(|timer| retire(timer));
    drop(timers);
}
