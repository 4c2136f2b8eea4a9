//! System V IPC (sysvipc(7)) and POSIX message queues (mq_overview(7)).

uapi! {
    /// `struct ipc64_perm`.
    pub struct Ipc64Perm {
        pub key: i32,
        pub uid: u32,
        pub gid: u32,
        pub cuid: u32,
        pub cgid: u32,
        pub mode: u32,
        pub seq: u16,
        pub _pad2: u16,
        pub _pad3: u32,
        pub _unused: [u64; 2],
    }

    /// `struct shmid64_ds`.
    pub struct Shmid64Ds {
        pub shm_perm: Ipc64Perm,
        pub shm_segsz: u64,
        pub shm_atime: i64,
        pub shm_dtime: i64,
        pub shm_ctime: i64,
        pub shm_cpid: i32,
        pub shm_lpid: i32,
        pub shm_nattch: u64,
        pub _unused: [u64; 2],
    }

    /// `struct shminfo64` of `IPC_INFO`.
    pub struct Shminfo64 {
        pub shmmax: u64,
        pub shmmin: u64,
        pub shmmni: u64,
        pub shmseg: u64,
        pub shmall: u64,
        pub _unused: [u64; 4],
    }

    /// `struct shm_info` of `SHM_INFO`.
    pub struct ShmInfo {
        pub used_ids: i32,
        pub _pad: u32,
        pub shm_tot: u64,
        pub shm_rss: u64,
        pub shm_swp: u64,
        pub swap_attempts: u64,
        pub swap_successes: u64,
    }

    /// `struct semid64_ds` of x86-64.
    pub struct Semid64Ds {
        pub sem_perm: Ipc64Perm,
        pub sem_otime: i64,
        pub _unused1: u64,
        pub sem_ctime: i64,
        pub _unused2: u64,
        pub sem_nsems: u64,
        pub _unused3: [u64; 2],
    }

    /// `struct sembuf`.
    pub struct Sembuf {
        pub sem_num: u16,
        pub sem_op: i16,
        pub sem_flg: u16,
    }

    /// `struct seminfo`.
    pub struct Seminfo {
        pub semmap: i32,
        pub semmni: i32,
        pub semmns: i32,
        pub semmnu: i32,
        pub semmsl: i32,
        pub semopm: i32,
        pub semume: i32,
        pub semusz: i32,
        pub semvmx: i32,
        pub semaem: i32,
    }

    /// `struct msqid64_ds`.
    pub struct Msqid64Ds {
        pub msg_perm: Ipc64Perm,
        pub msg_stime: i64,
        pub msg_rtime: i64,
        pub msg_ctime: i64,
        pub msg_cbytes: u64,
        pub msg_qnum: u64,
        pub msg_qbytes: u64,
        pub msg_lspid: i32,
        pub msg_lrpid: i32,
        pub _unused: [u64; 2],
    }

    /// `struct msginfo`.
    pub struct Msginfo {
        pub msgpool: i32,
        pub msgmap: i32,
        pub msgmax: i32,
        pub msgmnb: i32,
        pub msgmni: i32,
        pub msgssz: i32,
        pub msgtql: i32,
        pub msgseg: u16,
        pub _pad: u16,
    }

    /// `struct mq_attr`.
    pub struct MqAttr {
        pub mq_flags: i64,
        pub mq_maxmsg: i64,
        pub mq_msgsize: i64,
        pub mq_curmsgs: i64,
        pub _reserved: [i64; 4],
    }
}

pub const IPC_PRIVATE: i32 = 0;

// The *get and *op calls
consts! { u32;
    IPC_CREAT = 0o1000,
    IPC_EXCL = 0o2000,
    IPC_NOWAIT = 0o4000,
    SEM_UNDO = 0x1000,
    MSG_NOERROR = 0o10000,
    MSG_EXCEPT = 0o20000,
    MSG_COPY = 0o40000,
    SHM_RDONLY = 0o10000,
    SHM_RND = 0o20000,
    SHM_REMAP = 0o40000,
    SHM_EXEC = 0o100000,
    SHM_HUGETLB = 0o4000,
    SHM_NORESERVE = 0o10000,
}

// The *ctl calls
consts! { u32;
    IPC_RMID = 0,
    IPC_SET = 1,
    IPC_STAT = 2,
    IPC_INFO = 3,
    /// Old programs set it; on x86-64 it is EINVAL.
    IPC_64 = 0x0100,
    SHM_LOCK = 11,
    SHM_UNLOCK = 12,
    SHM_STAT = 13,
    SHM_INFO = 14,
    SHM_STAT_ANY = 15,
    GETPID = 11,
    GETVAL = 12,
    GETALL = 13,
    GETNCNT = 14,
    GETZCNT = 15,
    SETVAL = 16,
    SETALL = 17,
    SEM_STAT = 18,
    SEM_INFO = 19,
    SEM_STAT_ANY = 20,
    MSG_STAT = 11,
    MSG_INFO = 12,
    MSG_STAT_ANY = 13,
}

// Bits of `shm_perm.mode` beside the permissions
consts! { u32;
    SHM_DEST = 0o1000,
    SHM_LOCKED = 0o2000,
}

// Limits
consts! { u64;
    /// Attach addresses are multiples of it.
    SHMLBA = 4096,
    SHMMIN = 1,
    SHMMNI = 4096,
    SHMMAX = u64::MAX - (1 << 24),
    SHMALL = u64::MAX - (1 << 24),
    SEMMNI = 32000,
    SEMMSL = 32000,
    SEMMNS = SEMMNI * SEMMSL,
    SEMOPM = 500,
    SEMVMX = 32767,
    SEMAEM = SEMVMX,
    MSGMNI = 32000,
    MSGMAX = 8192,
    MSGMNB = 16384,
}
/// The highest priority of a POSIX message, plus one.
pub const MQ_PRIO_MAX: u32 = 32768;
