//! Lock ranks: a lock may be taken only while every [`super::SpinLock`] held has a lower rank.
//!
//! One line a lock class, outermost first. ARCHITECTURE.md explains the groups; a new class goes where its callers and
//! callees leave room.

/// The place of a lock class in the order, and its name for messages.
#[derive(Clone, Copy, Debug)]
pub struct Rank {
    /// Locks nest from low to high.
    pub order: u16,
    /// What a report calls it.
    pub name: &'static str,
}

macro_rules! ranks {
    ($($name:ident = $order:literal),* $(,)?) => {
        $(
            #[doc = concat!("rank ", $order)]
            pub const $name: Rank = Rank { order: $order, name: stringify!($name) };
        )*
    };
}

ranks! {
    // User context of the current task: only its own task takes it, and everything may be called under it.
    TASK_USER = 10,
    // Sockets, epoll and terminals: they call into wait queues and signals.
    EPOLL = 100,
    EPOLL_READY = 105,
    SOCKET_TABLE = 110,
    SOCKET = 120,
    SOCKET_PEER = 125,
    TTY_TABLE = 135,
    TTY = 140,
    TTY_BUFFER = 145,
    // Name space: mounts, dentries, inodes.
    MOUNT = 200,
    MOUNT_PLACE = 202,
    MOUNT_LIST = 204,
    DENTRY_PARENT = 210,
    DENTRY = 220,
    DENTRY_LRU = 230,
    INODE_TABLE = 240,
    INODE = 250,
    SUPER = 255,
    FILE_LOCKS = 260,
    INOTIFY = 270,
    INOTIFY_QUEUE = 275,
    FILE = 280,
    PIPE = 300,
    // Processes and signals.
    FILES = 400,
    FS = 405,
    TASKLIST = 500,
    // POSIX timers and timerfd: they arm timers of processes.
    TIMER_STATE = 505,
    PROCESS = 510,
    // The signal lock of a process (its group stop): whatever is pending or blocked changes under it.
    SIGLOCK = 515,
    SIGHAND = 520,
    SIGNAL = 530,
    CRED = 540,
    // Who traces whom, and the state of a tracee.
    PTRACE = 545,
    TASK = 550,
    IPC_TABLE = 555,
    IPC = 560,
    FUTEX = 600,
    MM = 610,
    // Pages of one file or block device.
    PAGE_CACHE = 620,
    DIRTY_LIST = 630,
    PAGE_LRU = 640,
    // Ready list of an epoll: whoever wakes may hold any lock above.
    EPOLL_WAKE = 790,
    // Wake-up path: nothing is called under these but what stands below.
    WAIT_QUEUE = 800,
    TIMER = 810,
    TASK_SCHED = 820,
    RUN_QUEUE = 830,
    // A control group, and a process's place.
    CGROUP = 870,
    // Keys, and the tables that they are found by.
    KEYRINGS = 880,
    KEYS = 885,
    // Leaves.
    LEAF = 900,
    TRACE = 940,
    PRINTK = 950,
}
