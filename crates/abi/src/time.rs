//! Times and clocks: clock_gettime(2), setitimer(2), timer_create(2), timerfd_create(2), adjtimex(2).

use crate::fcntl::{O_CLOEXEC, O_NONBLOCK};

/// Nanoseconds in a second.
pub const NSEC_PER_SEC: u64 = 1_000_000_000;
/// Microseconds in a second.
pub const USEC_PER_SEC: u64 = 1_000_000;
/// Ticks per second of every time that user space sees in ticks: times(2), /proc/PID/stat.
pub const USER_HZ: u64 = 100;

uapi! {
    /// `struct timespec`.
    pub struct Timespec {
        pub tv_sec: i64,
        pub tv_nsec: i64,
    }

    /// `struct timeval`.
    pub struct Timeval {
        pub tv_sec: i64,
        pub tv_usec: i64,
    }

    /// `struct itimerspec`.
    pub struct Itimerspec {
        pub it_interval: Timespec,
        pub it_value: Timespec,
    }

    /// `struct itimerval`.
    pub struct Itimerval {
        pub it_interval: Timeval,
        pub it_value: Timeval,
    }

    /// `struct timezone`.
    pub struct Timezone {
        pub tz_minuteswest: i32,
        pub tz_dsttime: i32,
    }

    /// `struct tms` of times(2), in ticks of [`USER_HZ`].
    pub struct Tms {
        pub tms_utime: i64,
        pub tms_stime: i64,
        pub tms_cutime: i64,
        pub tms_cstime: i64,
    }

    /// `struct utimbuf` of utime(2).
    pub struct Utimbuf {
        pub actime: i64,
        pub modtime: i64,
    }

    /// `struct timex` of adjtimex(2).
    pub struct Timex {
        pub modes: u32,
        pub _pad0: u32,
        pub offset: i64,
        pub freq: i64,
        pub maxerror: i64,
        pub esterror: i64,
        pub status: i32,
        pub _pad1: u32,
        pub constant: i64,
        pub precision: i64,
        pub tolerance: i64,
        pub time: Timeval,
        pub tick: i64,
        pub ppsfreq: i64,
        pub jitter: i64,
        pub shift: i32,
        pub _pad2: u32,
        pub stabil: i64,
        pub jitcnt: i64,
        pub calcnt: i64,
        pub errcnt: i64,
        pub stbcnt: i64,
        pub tai: i32,
        pub _reserved: [i32; 11],
    }
}

impl Timespec {
    /// The time of that many nanoseconds.
    pub const fn from_ns(ns: u64) -> Timespec {
        Timespec { tv_sec: (ns / NSEC_PER_SEC) as i64, tv_nsec: (ns % NSEC_PER_SEC) as i64 }
    }

    /// Nanoseconds, saturating; none where Linux says EINVAL: a negative second, or nanoseconds outside 0..10^9.
    pub const fn to_ns(self) -> Option<u64> {
        if self.tv_sec < 0 || self.tv_nsec < 0 || self.tv_nsec >= NSEC_PER_SEC as i64 {
            return None;
        }
        Some((self.tv_sec as u64).saturating_mul(NSEC_PER_SEC).saturating_add(self.tv_nsec as u64))
    }

    /// Whether both fields are zero.
    pub const fn is_zero(self) -> bool {
        self.tv_sec == 0 && self.tv_nsec == 0
    }
}

impl Timeval {
    /// The time of that many nanoseconds, rounded down.
    pub const fn from_ns(ns: u64) -> Timeval {
        Timeval { tv_sec: (ns / NSEC_PER_SEC) as i64, tv_usec: (ns % NSEC_PER_SEC / 1000) as i64 }
    }

    /// Nanoseconds, saturating; none for a negative second, or microseconds outside 0..10^6.
    pub const fn to_ns(self) -> Option<u64> {
        if self.tv_sec < 0 || self.tv_usec < 0 || self.tv_usec >= USEC_PER_SEC as i64 {
            return None;
        }
        Some((self.tv_sec as u64).saturating_mul(NSEC_PER_SEC).saturating_add(self.tv_usec as u64 * 1000))
    }

    /// Whether both fields are zero.
    pub const fn is_zero(self) -> bool {
        self.tv_sec == 0 && self.tv_usec == 0
    }
}

consts! { i32;
    CLOCK_REALTIME = 0,
    CLOCK_MONOTONIC = 1,
    CLOCK_PROCESS_CPUTIME_ID = 2,
    CLOCK_THREAD_CPUTIME_ID = 3,
    CLOCK_MONOTONIC_RAW = 4,
    CLOCK_REALTIME_COARSE = 5,
    CLOCK_MONOTONIC_COARSE = 6,
    CLOCK_BOOTTIME = 7,
    CLOCK_REALTIME_ALARM = 8,
    CLOCK_BOOTTIME_ALARM = 9,
    CLOCK_TAI = 11,
}

// The low bits of a negative clock id, which names a process or thread: `!pid << 3 | CPUCLOCK_…`.
consts! { i32;
    CPUCLOCK_PROF = 0,
    CPUCLOCK_VIRT = 1,
    CPUCLOCK_SCHED = 2,
    CPUCLOCK_CLOCK_MASK = 3,
    CPUCLOCK_PERTHREAD_MASK = 4,
}

// setitimer(2)
consts! { u32;
    ITIMER_REAL = 0,
    ITIMER_VIRTUAL = 1,
    ITIMER_PROF = 2,
}

consts! { u32;
    TIMER_ABSTIME = 1,
    TFD_TIMER_ABSTIME = 1,
    TFD_TIMER_CANCEL_ON_SET = 2,
    TFD_CLOEXEC = O_CLOEXEC,
    TFD_NONBLOCK = O_NONBLOCK,
}

// adjtimex(2): modes, status bits, and the clock states it returns
consts! { u32;
    ADJ_OFFSET = 0x0001,
    ADJ_FREQUENCY = 0x0002,
    ADJ_MAXERROR = 0x0004,
    ADJ_ESTERROR = 0x0008,
    ADJ_STATUS = 0x0010,
    ADJ_TIMECONST = 0x0020,
    ADJ_TAI = 0x0080,
    ADJ_SETOFFSET = 0x0100,
    ADJ_MICRO = 0x1000,
    ADJ_NANO = 0x2000,
    ADJ_TICK = 0x4000,
    ADJ_OFFSET_SINGLESHOT = 0x8001,
    ADJ_OFFSET_SS_READ = 0xa001,
}
consts! { i32;
    STA_PLL = 0x0001,
    STA_UNSYNC = 0x0040,
    STA_NANO = 0x2000,
    TIME_OK = 0,
    TIME_ERROR = 5,
}
