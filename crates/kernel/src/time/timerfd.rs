//! Timers that are read: timerfd_create(2).
//!
//! A periodic timer goes off once; reading it, or asking for its time, begins the next period and counts those that
//! passed. So a timer that nobody reads costs nothing.
//!
//! Lock: TIMER_STATE, one timer. Readers are woken without it.

use std::sync::{Arc, Weak};

use abi::Result;
use abi::errno::{EAGAIN, ECANCELED, EINVAL};
use abi::fcntl::OpenFlags;
use abi::time::*;

use super::alarm::Alarm;
use super::clock::{self, Clock, ClockId, ClockSetWatch};
use super::posix_timer::check_alarm_clock;
use crate::sync::{PollTable, SpinLock, WaitQueue, rank};
use crate::task::current;
use crate::uaccess::UserPtr;
use crate::vfs::anon::anon_file;
use crate::vfs::{Fd, File, FileMode, FileOps, IovDest, PollEvents};

/// The open file.
struct TimerFd(Arc<TimerFdTimer>);

struct TimerFdTimer {
    clockid: i32,
    clock: Clock,
    state: SpinLock<State>,
    queue: WaitQueue,
    me: Weak<TimerFdTimer>,
}

#[derive(Default)]
struct State {
    alarm: Alarm,
    /// How often it went off since the last read.
    ticks: u64,
    /// It went off, and the next period has not begun.
    expired: bool,
    /// TFD_TIMER_CANCEL_ON_SET applies.
    cancel_on_set: bool,
    /// The clock was set since.
    cancelled: bool,
    /// TFD_* of timerfd_settime(2), for /proc.
    settime_flags: u32,
}

impl TimerFdTimer {
    fn arm(&self, alarm: &mut Alarm) {
        let me = self.me.clone();
        let callback = Arc::new(move || {
            if let Some(timer) = me.upgrade() {
                timer.expired();
            }
        });
        alarm.arm(callback, 0);
    }

    /// The callback.
    fn expired(&self) {
        {
            let mut state = self.state.lock();
            if state.alarm.expires == 0 || state.expired {
                return;
            }
            if !state.alarm.due() {
                self.arm(&mut state.alarm);
                return;
            }
            state.alarm.disarm();
            state.expired = true;
            state.ticks = state.ticks.saturating_add(1);
        }
        self.queue.wake(PollEvents::READABLE);
    }

    /// Begins the next period of one that went off, counting those that passed.
    fn catch_up(&self, state: &mut State) {
        if !core::mem::take(&mut state.expired) {
            return;
        }
        if state.alarm.interval == 0 {
            state.alarm.clear();
            return;
        }
        let passed = state.alarm.forward();
        state.ticks = state.ticks.saturating_add(passed.saturating_sub(1));
        self.arm(&mut state.alarm);
    }

    fn take_ticks(&self) -> Result<u64> {
        let mut state = self.state.lock();
        if core::mem::take(&mut state.cancelled) {
            state.ticks = 0;
            self.catch_up(&mut state);
            state.ticks = 0;
            return Err(ECANCELED);
        }
        if state.ticks == 0 {
            return Err(EAGAIN);
        }
        self.catch_up(&mut state);
        Ok(core::mem::take(&mut state.ticks))
    }

    fn left(&self, state: &mut State) -> Itimerspec {
        let interval = state.alarm.interval;
        self.catch_up(state);
        Itimerspec {
            it_interval: Timespec::from_ns(interval),
            it_value: Timespec::from_ns(state.alarm.remaining()),
        }
    }

    fn set(&self, flags: u32, first: u64, interval: u64) -> Itimerspec {
        let absolute = flags & TFD_TIMER_ABSTIME != 0;
        let (old, due) = {
            let mut state = self.state.lock();
            let old = self.left(&mut state);
            state.ticks = 0;
            state.expired = false;
            state.cancelled = false;
            state.settime_flags = flags;
            state.cancel_on_set =
                absolute && flags & TFD_TIMER_CANCEL_ON_SET != 0 && matches!(self.clock, Clock::Realtime);
            let due = if first == 0 {
                state.alarm.clear();
                false
            } else {
                // A span doesn't change when the clock is set.
                let clock = match &self.clock {
                    clock if !absolute && clock.is_settable() => Clock::Monotonic,
                    clock => clock.clone(),
                };
                let at = if absolute { first } else { clock.now().saturating_add(first) };
                state.alarm.set(clock, at, interval);
                let due = state.alarm.due();
                if !due {
                    self.arm(&mut state.alarm);
                }
                due
            };
            (old, due)
        };
        if due {
            self.expired();
        }
        old
    }
}

impl ClockSetWatch for TimerFdTimer {
    fn clock_was_set(&self) {
        let (due, cancelled) = {
            let mut state = self.state.lock();
            let cancelled = state.cancel_on_set;
            if cancelled {
                state.cancelled = true;
                state.ticks = state.ticks.saturating_add(1);
            }
            let waits = state.alarm.is_settable() && state.alarm.is_armed();
            if waits && !state.alarm.due() {
                self.arm(&mut state.alarm);
            }
            (waits && state.alarm.due(), cancelled)
        };
        if due {
            self.expired();
        }
        if cancelled {
            self.queue.wake(PollEvents::READABLE);
        }
    }
}

impl FileOps for TimerFd {
    fn read(&self, _: &File, dest: &mut IovDest<'_>, _: &mut u64) -> Result<usize> {
        if dest.remaining() < size_of::<u64>() {
            return Err(EINVAL);
        }
        let ticks = self.0.take_ticks()?;
        dest.write(&ticks.to_ne_bytes())
    }

    fn poll(&self, _: &File, table: &mut PollTable) -> PollEvents {
        table.register(&self.0.queue);
        if self.0.state.lock().ticks > 0 { PollEvents::READABLE } else { PollEvents::empty() }
    }

    fn fdinfo(&self, _: &File) -> String {
        let mut state = self.0.state.lock();
        let ticks = state.ticks;
        let flags = state.settime_flags;
        let left = self.0.left(&mut state);
        let pair = |t: Timespec| format!("({}, {})", t.tv_sec, t.tv_nsec);
        format!(
            "clockid: {}\nticks: {ticks}\nsettime flags: 0{flags:o}\nit_value: {}\nit_interval: {}\n",
            self.0.clockid,
            pair(left.it_value),
            pair(left.it_interval),
        )
    }
}

/// timerfd_create(2)
pub fn timerfd_create(clockid: ClockId, flags: u32) -> Result<Fd> {
    let allowed =
        [CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_REALTIME_ALARM, CLOCK_BOOTTIME_ALARM];
    if flags & !(TFD_CLOEXEC | TFD_NONBLOCK) != 0 || !allowed.contains(&clockid.0) {
        return Err(EINVAL);
    }
    let task = current();
    check_alarm_clock(&task, clockid)?;
    let clock = Clock::from_id(clockid)?;
    let settable = clock.is_settable();
    let timer = Arc::new_cyclic(|me| TimerFdTimer {
        clockid: clockid.0,
        clock,
        state: SpinLock::new(rank::TIMER_STATE, State::default()),
        queue: WaitQueue::new(),
        me: me.clone(),
    });
    if settable {
        let watcher: Weak<dyn ClockSetWatch> = timer.me.clone();
        clock::watch_settings(watcher);
    }
    let open = OpenFlags::RDWR | OpenFlags::from_bits_retain(flags & TFD_NONBLOCK);
    let file = anon_file(
        "[timerfd]",
        Box::new(TimerFd(timer)),
        open,
        FileMode::READ | FileMode::WRITE | FileMode::STREAM | FileMode::NOOP_SEEK,
    )?;
    task.files()?.install(file, flags & TFD_CLOEXEC != 0)
}

/// timerfd_settime(2)
pub fn timerfd_settime(fd: Fd, flags: u32, new: UserPtr<Itimerspec>, old: UserPtr<Itimerspec>) -> Result<()> {
    let value = new.read()?;
    let times = (value.it_value.to_ns(), value.it_interval.to_ns());
    let (Some(first), Some(interval)) = times else { return Err(EINVAL) };
    if flags & !(TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET) != 0 {
        return Err(EINVAL);
    }
    let file = fd.io()?;
    let timer = &file.ops_as::<TimerFd>().ok_or(EINVAL)?.0;
    let before = timer.set(flags, first, interval);
    old.write_if(&before)
}

/// timerfd_gettime(2)
pub fn timerfd_gettime(fd: Fd, value: UserPtr<Itimerspec>) -> Result<()> {
    let file = fd.io()?;
    let timer = &file.ops_as::<TimerFd>().ok_or(EINVAL)?.0;
    let left = timer.left(&mut timer.state.lock());
    value.write(&left)
}
