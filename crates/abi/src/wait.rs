//! wait4(2), waitid(2), and the encoding of a wait status.

consts! { u32;
    WNOHANG = 0x0000_0001,
    WUNTRACED = 0x0000_0002,
    WSTOPPED = WUNTRACED,
    WEXITED = 0x0000_0004,
    WCONTINUED = 0x0000_0008,
    WNOWAIT = 0x0100_0000,
    __WNOTHREAD = 0x2000_0000,
    __WALL = 0x4000_0000,
    __WCLONE = 0x8000_0000,
}

// waitid(2) idtype
consts! { u32;
    P_ALL = 0,
    P_PID = 1,
    P_PGID = 2,
    P_PIDFD = 3,
}

/// The wait status of a stopped task that was continued.
pub const W_CONTINUED: i32 = 0xffff;

/// The wait status of a process that called exit(2).
pub const fn w_exitcode(code: i32) -> i32 {
    (code & 0xff) << 8
}

/// The wait status of a process that a signal killed.
pub const fn w_termsig(sig: u32, core: bool) -> i32 {
    (sig & 0x7f) as i32 | if core { 0x80 } else { 0 }
}

/// The wait status of a process that `sig` stopped. ptrace(2) puts its event above bit 8 of `sig`.
pub const fn w_stopcode(sig: u32) -> i32 {
    (sig << 8) as i32 | 0x7f
}

/// Whether the process called exit(2).
pub const fn wifexited(status: i32) -> bool {
    wtermsig(status) == 0
}

/// What it gave exit(2).
pub const fn wexitstatus(status: i32) -> i32 {
    status >> 8 & 0xff
}

/// The signal that killed it, 0 for none, 0x7f for a stop.
pub const fn wtermsig(status: i32) -> u32 {
    (status & 0x7f) as u32
}

/// Whether a signal killed it.
pub const fn wifsignaled(status: i32) -> bool {
    !matches!(wtermsig(status), 0 | 0x7f)
}

/// Whether it dumped core.
pub const fn wcoredump(status: i32) -> bool {
    status & 0x80 != 0
}

/// Whether it is stopped.
pub const fn wifstopped(status: i32) -> bool {
    status & 0xff == 0x7f
}
