//! [`Alarm`]: one armed moment of a clock, and the arithmetic of periods.

use std::sync::Arc;

use super::clock::Clock;
use super::cpu::CpuTimerHandle;
use crate::sched::Timer;

/// What will call when the moment comes; dropping it takes it back.
enum Armed {
    Host { _timer: Timer },
    Cpu { _timer: CpuTimerHandle },
}

/// A deadline on a clock with a period. The owner's lock guards it, and the owner's callback asks [`Alarm::due`], because
/// the clock may have been set, or the alarm changed, since the callback was armed.
#[derive(Default)]
pub(super) struct Alarm {
    /// The clock of the deadline; none before the first use.
    clock: Option<Clock>,
    /// When it goes off, on that clock; 0 when disarmed.
    pub expires: u64,
    /// The period, 0 for once.
    pub interval: u64,
    armed: Option<Armed>,
}

impl Alarm {
    /// Sets it anew without arming.
    pub fn set(&mut self, clock: Clock, expires: u64, interval: u64) {
        self.armed = None;
        self.clock = Some(clock);
        // A deadline of 0 would read as disarmed.
        self.expires = expires.max(1);
        self.interval = interval;
    }

    /// Disarms it; the period is forgotten.
    pub fn clear(&mut self) {
        self.armed = None;
        self.expires = 0;
        self.interval = 0;
    }

    /// Takes back the callback, but keeps the deadline: it has gone off.
    pub fn disarm(&mut self) {
        self.armed = None;
    }

    /// Calls `callback` when the deadline comes, and no sooner than `not_before` (ns from now).
    pub fn arm(&mut self, callback: Arc<dyn Fn() + Send + Sync>, not_before: u64) {
        let (Some(clock), true) = (&self.clock, self.expires != 0) else { return };
        self.armed = Some(match clock {
            Clock::Cpu(of, counts) => {
                Armed::Cpu { _timer: CpuTimerHandle::start(of.clone(), *counts, self.expires, callback) }
            }
            clock => {
                let floor = host::clock::monotonic().saturating_add(not_before);
                let deadline = clock.to_host(self.expires).max(floor);
                Armed::Host { _timer: Timer::start(deadline, move || callback()) }
            }
        });
    }

    /// Whether a callback is on its way.
    pub fn is_armed(&self) -> bool {
        self.armed.is_some()
    }

    /// The time on its clock.
    pub fn now(&self) -> u64 {
        self.clock.as_ref().map_or(0, Clock::now)
    }

    /// Whether the deadline has come.
    pub fn due(&self) -> bool {
        self.expires != 0 && self.expires <= self.now()
    }

    /// Moves the deadline of a periodic alarm beyond now. The answer is how many periods have passed.
    pub fn forward(&mut self) -> u64 {
        let (expires, passed) = forward(self.expires, self.interval, self.now());
        self.expires = expires;
        passed
    }

    /// ns to the deadline: 0 when disarmed, at least 1 while it is armed.
    pub fn remaining(&self) -> u64 {
        if self.expires == 0 { 0 } else { self.expires.saturating_sub(self.now()).max(1) }
    }

    /// Whether setting CLOCK_REALTIME moves it.
    pub fn is_settable(&self) -> bool {
        self.clock.as_ref().is_some_and(Clock::is_settable)
    }
}

/// The first time after `now` in the series that begins at `expires`, and how many of the series are over. A period of 0
/// has no next time.
pub(super) fn forward(expires: u64, interval: u64, now: u64) -> (u64, u64) {
    if now < expires || interval == 0 {
        return (expires, 0);
    }
    let passed = (now - expires) / interval + 1;
    (expires.saturating_add(passed.saturating_mul(interval)), passed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_are_counted() {
        assert_eq!(forward(100, 10, 99), (100, 0));
        assert_eq!(forward(100, 10, 100), (110, 1));
        assert_eq!(forward(100, 10, 109), (110, 1));
        assert_eq!(forward(100, 10, 110), (120, 2));
        assert_eq!(forward(100, 10, 1005), (1010, 91));
        assert_eq!(forward(100, 0, 500), (100, 0));
        assert_eq!(forward(u64::MAX - 1, 10, u64::MAX), (u64::MAX, 1));
    }

    #[test]
    fn remaining_is_zero_only_when_disarmed() {
        let mut alarm = Alarm::default();
        assert_eq!((alarm.remaining(), alarm.due()), (0, false));
        alarm.set(Clock::Monotonic, 0, 0);
        assert!(alarm.due());
        assert_eq!(alarm.remaining(), 1);
        alarm.clear();
        assert_eq!(alarm.remaining(), 0);
    }
}
