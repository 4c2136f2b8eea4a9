//! Tasks and their scheduling: clone(2), clone3(2), unshare(2), sched(7), getpriority(2), membarrier(2), rseq(2).
//! Their ends are in [`crate::wait`], their limits in [`crate::resource`], their privileges in [`crate::cred`].

uapi! {
    /// `struct clone_args` of clone3(2).
    pub struct CloneArgs {
        pub flags: u64,
        pub pidfd: u64,
        pub child_tid: u64,
        pub parent_tid: u64,
        pub exit_signal: u64,
        pub stack: u64,
        pub stack_size: u64,
        pub tls: u64,
        pub set_tid: u64,
        pub set_tid_size: u64,
        pub cgroup: u64,
    }

    /// `struct sched_param`.
    pub struct SchedParam {
        pub sched_priority: i32,
    }

    /// `struct sched_attr` of sched_setattr(2).
    pub struct SchedAttr {
        pub size: u32,
        pub sched_policy: u32,
        pub sched_flags: u64,
        pub sched_nice: i32,
        pub sched_priority: u32,
        pub sched_runtime: u64,
        pub sched_deadline: u64,
        pub sched_period: u64,
        pub sched_util_min: u32,
        pub sched_util_max: u32,
    }

    /// `struct rseq`, the part that every kernel knows. Registered with a 32-byte alignment.
    pub struct Rseq {
        pub cpu_id_start: u32,
        pub cpu_id: u32,
        pub rseq_cs: u64,
        pub flags: u32,
        pub node_id: u32,
        pub mm_cid: u32,
        pub _pad: u32,
    }

    /// `struct rseq_cs`: a restartable sequence.
    pub struct RseqCs {
        pub version: u32,
        pub flags: u32,
        pub start_ip: u64,
        pub post_commit_offset: u64,
        pub abort_ip: u64,
    }
}

/// Sizes of the published versions of [`CloneArgs`].
pub const CLONE_ARGS_SIZE_VER0: usize = 64;
pub const CLONE_ARGS_SIZE_VER1: usize = 80;
pub const CLONE_ARGS_SIZE_VER2: usize = 88;
/// Sizes of the published versions of [`SchedAttr`].
pub const SCHED_ATTR_SIZE_VER0: usize = 48;
pub const SCHED_ATTR_SIZE_VER1: usize = 56;
/// The size of the first [`Rseq`].
pub const ORIG_RSEQ_SIZE: usize = 32;

consts! { u64;
    /// The exit signal, in the low byte of clone(2)'s flags.
    CSIGNAL = 0x0000_00ff,
    CLONE_NEWTIME = 0x0000_0080,
    CLONE_VM = 0x0000_0100,
    CLONE_FS = 0x0000_0200,
    CLONE_FILES = 0x0000_0400,
    CLONE_SIGHAND = 0x0000_0800,
    CLONE_PIDFD = 0x0000_1000,
    CLONE_PTRACE = 0x0000_2000,
    CLONE_VFORK = 0x0000_4000,
    CLONE_PARENT = 0x0000_8000,
    CLONE_THREAD = 0x0001_0000,
    CLONE_NEWNS = 0x0002_0000,
    CLONE_SYSVSEM = 0x0004_0000,
    CLONE_SETTLS = 0x0008_0000,
    CLONE_PARENT_SETTID = 0x0010_0000,
    CLONE_CHILD_CLEARTID = 0x0020_0000,
    CLONE_DETACHED = 0x0040_0000,
    CLONE_UNTRACED = 0x0080_0000,
    CLONE_CHILD_SETTID = 0x0100_0000,
    CLONE_NEWCGROUP = 0x0200_0000,
    CLONE_NEWUTS = 0x0400_0000,
    CLONE_NEWIPC = 0x0800_0000,
    CLONE_NEWUSER = 0x1000_0000,
    CLONE_NEWPID = 0x2000_0000,
    CLONE_NEWNET = 0x4000_0000,
    CLONE_IO = 0x8000_0000,
    CLONE_CLEAR_SIGHAND = 0x1_0000_0000,
    CLONE_INTO_CGROUP = 0x2_0000_0000,
}

consts! { u32;
    SCHED_NORMAL = 0,
    SCHED_OTHER = 0,
    SCHED_FIFO = 1,
    SCHED_RR = 2,
    SCHED_BATCH = 3,
    SCHED_IDLE = 5,
    SCHED_DEADLINE = 6,
    SCHED_EXT = 7,
    SCHED_RESET_ON_FORK = 0x4000_0000,
}
consts! { u64;
    SCHED_FLAG_RESET_ON_FORK = 0x01,
    SCHED_FLAG_RECLAIM = 0x02,
    SCHED_FLAG_DL_OVERRUN = 0x04,
    SCHED_FLAG_KEEP_POLICY = 0x08,
    SCHED_FLAG_KEEP_PARAMS = 0x10,
    SCHED_FLAG_UTIL_CLAMP_MIN = 0x20,
    SCHED_FLAG_UTIL_CLAMP_MAX = 0x40,
    SCHED_FLAG_ALL = 0x7f,
}

// getpriority(2), ioprio_get(2)
consts! { u32;
    PRIO_PROCESS = 0,
    PRIO_PGRP = 1,
    PRIO_USER = 2,
    IOPRIO_WHO_PROCESS = 1,
    IOPRIO_WHO_PGRP = 2,
    IOPRIO_WHO_USER = 3,
    IOPRIO_CLASS_SHIFT = 13,
    IOPRIO_CLASS_NONE = 0,
    IOPRIO_CLASS_RT = 1,
    IOPRIO_CLASS_BE = 2,
    IOPRIO_CLASS_IDLE = 3,
}
consts! { i32;
    MIN_NICE = -20,
    MAX_NICE = 19,
}

// membarrier(2)
consts! { u32;
    MEMBARRIER_CMD_QUERY = 0,
    MEMBARRIER_CMD_GLOBAL = 1 << 0,
    MEMBARRIER_CMD_GLOBAL_EXPEDITED = 1 << 1,
    MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED = 1 << 2,
    MEMBARRIER_CMD_PRIVATE_EXPEDITED = 1 << 3,
    MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED = 1 << 4,
    MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE = 1 << 5,
    MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE = 1 << 6,
    MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ = 1 << 7,
    MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ = 1 << 8,
    MEMBARRIER_CMD_GET_REGISTRATIONS = 1 << 9,
    MEMBARRIER_CMD_FLAG_CPU = 1,
}

// rseq(2)
consts! { u32;
    RSEQ_FLAG_UNREGISTER = 1,
    RSEQ_CPU_ID_UNINITIALIZED = u32::MAX,
    RSEQ_CPU_ID_REGISTRATION_FAILED = u32::MAX - 1,
}

// kcmp(2)
consts! { u32;
    KCMP_FILE = 0,
    KCMP_VM = 1,
    KCMP_FILES = 2,
    KCMP_FS = 3,
    KCMP_SIGHAND = 4,
    KCMP_IO = 5,
    KCMP_SYSVSEM = 6,
    KCMP_EPOLL_TFD = 7,
}

// pidfd_open(2), pidfd_send_signal(2)
consts! { u32;
    PIDFD_NONBLOCK = 0o4000,
    PIDFD_THREAD = 0o200,
    PIDFD_SIGNAL_THREAD = 1,
    PIDFD_SIGNAL_THREAD_GROUP = 2,
    PIDFD_SIGNAL_PROCESS_GROUP = 4,
}
