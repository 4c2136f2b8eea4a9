//! getrusage(2), prlimit(2), sysinfo(2).

use crate::time::Timeval;

uapi! {
    /// `struct rusage`.
    pub struct Rusage {
        pub ru_utime: Timeval,
        pub ru_stime: Timeval,
        /// In KiB.
        pub ru_maxrss: i64,
        pub ru_ixrss: i64,
        pub ru_idrss: i64,
        pub ru_isrss: i64,
        pub ru_minflt: i64,
        pub ru_majflt: i64,
        pub ru_nswap: i64,
        pub ru_inblock: i64,
        pub ru_oublock: i64,
        pub ru_msgsnd: i64,
        pub ru_msgrcv: i64,
        pub ru_nsignals: i64,
        pub ru_nvcsw: i64,
        pub ru_nivcsw: i64,
    }

    /// `struct rlimit` (and `rlimit64`).
    pub struct Rlimit {
        pub rlim_cur: u64,
        pub rlim_max: u64,
    }

    /// `struct sysinfo`.
    pub struct Sysinfo {
        /// Seconds since boot.
        pub uptime: i64,
        /// Load averages over 1, 5 and 15 minutes, times `1 << SI_LOAD_SHIFT`.
        pub loads: [u64; 3],
        pub totalram: u64,
        pub freeram: u64,
        pub sharedram: u64,
        pub bufferram: u64,
        pub totalswap: u64,
        pub freeswap: u64,
        pub procs: u16,
        pub _pad: [u16; 3],
        pub totalhigh: u64,
        pub freehigh: u64,
        /// Bytes that the memory sizes are in units of.
        pub mem_unit: u32,
        pub _pad2: u32,
    }
}

pub const SI_LOAD_SHIFT: u32 = 16;
pub const RLIM_INFINITY: u64 = u64::MAX;
/// How many `RLIMIT_*` there are.
pub const RLIM_NLIMITS: usize = 16;

consts! { usize;
    RLIMIT_CPU = 0,
    RLIMIT_FSIZE = 1,
    RLIMIT_DATA = 2,
    RLIMIT_STACK = 3,
    RLIMIT_CORE = 4,
    RLIMIT_RSS = 5,
    RLIMIT_NPROC = 6,
    RLIMIT_NOFILE = 7,
    RLIMIT_MEMLOCK = 8,
    RLIMIT_AS = 9,
    RLIMIT_LOCKS = 10,
    RLIMIT_SIGPENDING = 11,
    RLIMIT_MSGQUEUE = 12,
    RLIMIT_NICE = 13,
    RLIMIT_RTPRIO = 14,
    RLIMIT_RTTIME = 15,
}

consts! { i32;
    RUSAGE_SELF = 0,
    RUSAGE_CHILDREN = -1,
    RUSAGE_THREAD = 1,
}
