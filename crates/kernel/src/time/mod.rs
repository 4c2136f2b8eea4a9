//! Clocks and timers, time(7).
//!
//! | concept | where |
//! |---|---|
//! | clocks and their ids | `clock.rs` ([`Clock`]) |
//! | clock_gettime(2), gettimeofday(2), clock_settime(2) | `calls.rs`; adjtimex(2) in `adjtimex.rs` |
//! | sleeping until a time of a clock | `sleep.rs` (nanosleep(2), clock_nanosleep(2)) |
//! | one-shot timers on any clock, missed periods | `alarm.rs` |
//! | CPU-time timers, RLIMIT_CPU | `cpu.rs` |
//! | setitimer(2), alarm(2) | `itimer.rs` |
//! | timer_create(2) | `posix_timer.rs` ([`PosixTimer`]) |
//! | timerfd_create(2) | `timerfd.rs` |
//!
//! Times are ns in `u64`. A deadline is kept on its own clock and mapped to the host's CLOCK_MONOTONIC when it is armed;
//! whoever waits for an absolute CLOCK_REALTIME is told when that clock is set.
//!
//! Locks: TIMER_STATE (one POSIX timer or timerfd), then `Process::itimers`. Signals are sent under neither.

mod adjtimex;
mod alarm;
pub mod calls;
mod clock;
mod cpu;
pub mod itimer;
pub mod posix_timer;
pub mod rtc;
pub mod sleep;
pub mod timerfd;

pub use adjtimex::{adjtimex, clock_adjtime};
pub use clock::{Clock, ClockId, clock_now, init, now_realtime, since_boot};
pub use cpu::{CpuTimer, run_cpu_timers, update_cpu_deadline};
pub(crate) use itimer::rearm_real as rearm_itimer_real;
pub use posix_timer::{PosixTimer, exec_timers, exit_timers};
