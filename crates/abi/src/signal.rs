//! Signals: numbers, sets, actions, siginfo, the alternate stack and signalfd(2). The frame is in [`crate::sigframe`].

use crate::fcntl::{O_CLOEXEC, O_NONBLOCK};

consts! { u32;
    SIGHUP = 1,
    SIGINT = 2,
    SIGQUIT = 3,
    SIGILL = 4,
    SIGTRAP = 5,
    SIGABRT = 6,
    SIGIOT = 6,
    SIGBUS = 7,
    SIGFPE = 8,
    SIGKILL = 9,
    SIGUSR1 = 10,
    SIGSEGV = 11,
    SIGUSR2 = 12,
    SIGPIPE = 13,
    SIGALRM = 14,
    SIGTERM = 15,
    SIGSTKFLT = 16,
    SIGCHLD = 17,
    SIGCONT = 18,
    SIGSTOP = 19,
    SIGTSTP = 20,
    SIGTTIN = 21,
    SIGTTOU = 22,
    SIGURG = 23,
    SIGXCPU = 24,
    SIGXFSZ = 25,
    SIGVTALRM = 26,
    SIGPROF = 27,
    SIGWINCH = 28,
    SIGIO = 29,
    SIGPOLL = 29,
    SIGPWR = 30,
    SIGSYS = 31,
    SIGRTMIN = 32,
    SIGRTMAX = 64,
    /// Signals are 1..=NSIG, and signal 0 only asks whether one could be sent.
    NSIG = 64,
}

/// Names of signals 1..=31, without their `SIG`.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// The name of a standard signal without its `SIG`; none for a real-time signal or no signal at all.
pub fn name(sig: u32) -> Option<&'static str> {
    NAMES.get((sig as usize).checked_sub(1)?).copied()
}

uapi! {
    /// `sigset_t` of the kernel: signal n is bit n-1.
    #[derive(Hash)]
    pub struct SigSet {
        pub bits: u64,
    }

    /// `struct sigaction` of the kernel (not libc's), for rt_sigaction(2).
    pub struct SigAction {
        pub handler: u64,
        pub flags: u64,
        pub restorer: u64,
        pub mask: SigSet,
    }

    /// `stack_t` of sigaltstack(2).
    pub struct SigAltStack {
        pub ss_sp: u64,
        pub ss_flags: u32,
        pub _pad: u32,
        pub ss_size: u64,
    }

    /// `siginfo_t`: 128 bytes. Its union is kept raw in `fields`; the accessors name its parts.
    pub struct SigInfo {
        pub si_signo: i32,
        pub si_errno: i32,
        pub si_code: i32,
        pub _pad: u32,
        pub fields: [u64; 14],
    }

    /// `struct sigevent` of timer_create(2) and mq_notify(2): 64 bytes.
    pub struct SigEvent {
        pub sigev_value: u64,
        pub sigev_signo: i32,
        pub sigev_notify: i32,
        /// With `SIGEV_THREAD_ID`: the thread.
        pub sigev_notify_thread_id: i32,
        pub _pad: [u32; 11],
    }

    /// `struct signalfd_siginfo`: 128 bytes.
    pub struct SignalfdSiginfo {
        pub ssi_signo: u32,
        pub ssi_errno: i32,
        pub ssi_code: i32,
        pub ssi_pid: u32,
        pub ssi_uid: u32,
        pub ssi_fd: i32,
        pub ssi_tid: u32,
        pub ssi_band: u32,
        pub ssi_overrun: u32,
        pub ssi_trapno: u32,
        pub ssi_status: i32,
        pub ssi_int: i32,
        pub ssi_ptr: u64,
        pub ssi_utime: u64,
        pub ssi_stime: u64,
        pub ssi_addr: u64,
        pub ssi_addr_lsb: u16,
        pub _pad2: u16,
        pub ssi_syscall: i32,
        pub ssi_call_addr: u64,
        pub ssi_arch: u32,
        pub _pad: [u32; 7],
    }
}

impl SigSet {
    pub const EMPTY: SigSet = SigSet { bits: 0 };
    pub const FULL: SigSet = SigSet { bits: !0 };
    /// SIGKILL and SIGSTOP: never blocked, caught or ignored.
    pub const UNBLOCKABLE: SigSet = SigSet::of(&[SIGKILL, SIGSTOP]);
    /// Signals that a fault of the running instruction raises; they go before all others.
    pub const SYNCHRONOUS: SigSet = SigSet::of(&[SIGSEGV, SIGBUS, SIGILL, SIGTRAP, SIGFPE, SIGSYS]);
    /// Signals whose default action stops the process.
    pub const STOP: SigSet = SigSet::of(&[SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU]);
    /// Signals whose default action does nothing. SIGCONT continues, then does nothing.
    pub const DEFAULT_IGNORE: SigSet = SigSet::of(&[SIGCONT, SIGCHLD, SIGWINCH, SIGURG]);
    /// Signals whose default action dumps core.
    pub const DEFAULT_CORE: SigSet =
        SigSet::of(&[SIGQUIT, SIGILL, SIGTRAP, SIGABRT, SIGFPE, SIGSEGV, SIGBUS, SIGSYS, SIGXCPU, SIGXFSZ]);

    /// The set of these signals; a number that is no signal is left out.
    pub const fn of(signals: &[u32]) -> SigSet {
        let mut bits = 0;
        let mut i = 0;
        while i < signals.len() {
            bits |= SigSet::bit(signals[i]);
            i += 1;
        }
        SigSet { bits }
    }

    const fn bit(sig: u32) -> u64 {
        if sig == 0 || sig > NSIG { 0 } else { 1 << (sig - 1) }
    }

    /// Whether `sig` is a member.
    pub const fn contains(self, sig: u32) -> bool {
        self.bits & SigSet::bit(sig) != 0
    }

    pub const fn insert(&mut self, sig: u32) {
        self.bits |= SigSet::bit(sig);
    }

    pub const fn remove(&mut self, sig: u32) {
        self.bits &= !SigSet::bit(sig);
    }

    pub const fn is_empty(self) -> bool {
        self.bits == 0
    }

    pub const fn union(self, other: SigSet) -> SigSet {
        SigSet { bits: self.bits | other.bits }
    }

    pub const fn intersection(self, other: SigSet) -> SigSet {
        SigSet { bits: self.bits & other.bits }
    }

    /// The members of `self` that are not in `other`.
    pub const fn difference(self, other: SigSet) -> SigSet {
        SigSet { bits: self.bits & !other.bits }
    }

    /// The lowest member.
    pub const fn first(self) -> Option<u32> {
        if self.bits == 0 { None } else { Some(self.bits.trailing_zeros() + 1) }
    }

    /// The members, lowest first.
    pub fn iter(self) -> impl Iterator<Item = u32> {
        let mut rest = self;
        core::iter::from_fn(move || {
            let sig = rest.first()?;
            rest.remove(sig);
            Some(sig)
        })
    }
}

// sa_handler
consts! { u64;
    SIG_DFL = 0,
    SIG_IGN = 1,
}

// sa_flags
consts! { u64;
    SA_NOCLDSTOP = 0x0000_0001,
    SA_NOCLDWAIT = 0x0000_0002,
    SA_SIGINFO = 0x0000_0004,
    /// User space asks with it whether the kernel clears unknown flags; the kernel always clears this one.
    SA_UNSUPPORTED = 0x0000_0400,
    SA_EXPOSE_TAGBITS = 0x0000_0800,
    SA_RESTORER = 0x0400_0000,
    SA_ONSTACK = 0x0800_0000,
    SA_RESTART = 0x1000_0000,
    SA_NODEFER = 0x4000_0000,
    SA_RESETHAND = 0x8000_0000,
}

// rt_sigprocmask(2)
consts! { u32;
    SIG_BLOCK = 0,
    SIG_UNBLOCK = 1,
    SIG_SETMASK = 2,
}

// sigaltstack(2)
consts! { u32;
    SS_ONSTACK = 1,
    SS_DISABLE = 2,
    SS_AUTODISARM = 1 << 31,
}
/// The least size of an alternate stack that sigaltstack(2) takes without `AT_MINSIGSTKSZ`.
pub const MINSIGSTKSZ: u64 = 2048;

// sigev_notify
consts! { i32;
    SIGEV_SIGNAL = 0,
    SIGEV_NONE = 1,
    SIGEV_THREAD = 2,
    SIGEV_THREAD_ID = 4,
}

// signalfd4(2)
consts! { u32;
    SFD_CLOEXEC = O_CLOEXEC,
    SFD_NONBLOCK = O_NONBLOCK,
}

// si_code: by any signal; those of user space are zero or less
consts! { i32;
    SI_USER = 0,
    SI_KERNEL = 0x80,
    SI_QUEUE = -1,
    SI_TIMER = -2,
    SI_MESGQ = -3,
    SI_ASYNCIO = -4,
    SI_SIGIO = -5,
    SI_TKILL = -6,
    SI_DETHREAD = -7,
    SI_ASYNCNL = -60,
}

// si_code by signal
consts! { i32;
    ILL_ILLOPC = 1,
    ILL_ILLOPN = 2,
    ILL_ILLADR = 3,
    ILL_ILLTRP = 4,
    ILL_PRVOPC = 5,
    ILL_PRVREG = 6,
    ILL_COPROC = 7,
    ILL_BADSTK = 8,
    FPE_INTDIV = 1,
    FPE_INTOVF = 2,
    FPE_FLTDIV = 3,
    FPE_FLTOVF = 4,
    FPE_FLTUND = 5,
    FPE_FLTRES = 6,
    FPE_FLTINV = 7,
    FPE_FLTSUB = 8,
    FPE_FLTUNK = 14,
    FPE_CONDTRAP = 15,
    SEGV_MAPERR = 1,
    SEGV_ACCERR = 2,
    SEGV_BNDERR = 3,
    SEGV_PKUERR = 4,
    BUS_ADRALN = 1,
    BUS_ADRERR = 2,
    BUS_OBJERR = 3,
    BUS_MCEERR_AR = 4,
    BUS_MCEERR_AO = 5,
    TRAP_BRKPT = 1,
    TRAP_TRACE = 2,
    TRAP_BRANCH = 3,
    TRAP_HWBKPT = 4,
    TRAP_UNK = 5,
    CLD_EXITED = 1,
    CLD_KILLED = 2,
    CLD_DUMPED = 3,
    CLD_TRAPPED = 4,
    CLD_STOPPED = 5,
    CLD_CONTINUED = 6,
    POLL_IN = 1,
    POLL_OUT = 2,
    POLL_MSG = 3,
    POLL_ERR = 4,
    POLL_PRI = 5,
    POLL_HUP = 6,
    SYS_SECCOMP = 1,
    SYS_USER_DISPATCH = 2,
}
