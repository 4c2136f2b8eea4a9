//! ptrace(2) of x86-64.

uapi! {
    /// `struct user_regs_struct` (`PTRACE_GETREGS`, and the general registers of a core dump).
    pub struct UserRegs {
        pub r15: u64,
        pub r14: u64,
        pub r13: u64,
        pub r12: u64,
        pub bp: u64,
        pub bx: u64,
        pub r11: u64,
        pub r10: u64,
        pub r9: u64,
        pub r8: u64,
        pub ax: u64,
        pub cx: u64,
        pub dx: u64,
        pub si: u64,
        pub di: u64,
        pub orig_ax: u64,
        pub ip: u64,
        pub cs: u64,
        pub flags: u64,
        pub sp: u64,
        pub ss: u64,
        pub fs_base: u64,
        pub gs_base: u64,
        pub ds: u64,
        pub es: u64,
        pub fs: u64,
        pub gs: u64,
    }

    /// `struct user_fpregs_struct`: the FXSAVE area.
    pub struct UserFpRegs {
        pub cwd: u16,
        pub swd: u16,
        pub ftw: u16,
        pub fop: u16,
        pub rip: u64,
        pub rdp: u64,
        pub mxcsr: u32,
        pub mxcr_mask: u32,
        pub st_space: [u32; 32],
        pub xmm_space: [u32; 64],
        pub _padding: [u32; 24],
    }

    /// `struct ptrace_peeksiginfo_args`.
    pub struct PtracePeeksiginfoArgs {
        pub off: u64,
        pub flags: u32,
        pub nr: i32,
    }

    /// `struct ptrace_syscall_info` with its union kept raw: for an entry nr and six arguments, for an exit the
    /// result and whether it is an error.
    pub struct PtraceSyscallInfo {
        pub op: u8,
        pub _reserved: u8,
        pub flags: u16,
        pub arch: u32,
        pub instruction_pointer: u64,
        pub stack_pointer: u64,
        pub data: [u64; 8],
    }
}

consts! { u32;
    PTRACE_TRACEME = 0,
    PTRACE_PEEKTEXT = 1,
    PTRACE_PEEKDATA = 2,
    PTRACE_PEEKUSER = 3,
    PTRACE_POKETEXT = 4,
    PTRACE_POKEDATA = 5,
    PTRACE_POKEUSER = 6,
    PTRACE_CONT = 7,
    PTRACE_KILL = 8,
    PTRACE_SINGLESTEP = 9,
    PTRACE_GETREGS = 12,
    PTRACE_SETREGS = 13,
    PTRACE_GETFPREGS = 14,
    PTRACE_SETFPREGS = 15,
    PTRACE_ATTACH = 16,
    PTRACE_DETACH = 17,
    PTRACE_SYSCALL = 24,
    PTRACE_GET_THREAD_AREA = 25,
    PTRACE_SET_THREAD_AREA = 26,
    PTRACE_ARCH_PRCTL = 30,
    PTRACE_SYSEMU = 31,
    PTRACE_SYSEMU_SINGLESTEP = 32,
    PTRACE_SINGLEBLOCK = 33,
    PTRACE_SETOPTIONS = 0x4200,
    PTRACE_GETEVENTMSG = 0x4201,
    PTRACE_GETSIGINFO = 0x4202,
    PTRACE_SETSIGINFO = 0x4203,
    PTRACE_GETREGSET = 0x4204,
    PTRACE_SETREGSET = 0x4205,
    PTRACE_SEIZE = 0x4206,
    PTRACE_INTERRUPT = 0x4207,
    PTRACE_LISTEN = 0x4208,
    PTRACE_PEEKSIGINFO = 0x4209,
    PTRACE_GETSIGMASK = 0x420a,
    PTRACE_SETSIGMASK = 0x420b,
    PTRACE_SECCOMP_GET_FILTER = 0x420c,
    PTRACE_SECCOMP_GET_METADATA = 0x420d,
    PTRACE_GET_SYSCALL_INFO = 0x420e,
    PTRACE_GET_RSEQ_CONFIGURATION = 0x420f,
}

// PTRACE_SETOPTIONS: each event option is `1 << event`
consts! { u32;
    PTRACE_O_TRACESYSGOOD = 1,
    PTRACE_O_TRACEFORK = 1 << 1,
    PTRACE_O_TRACEVFORK = 1 << 2,
    PTRACE_O_TRACECLONE = 1 << 3,
    PTRACE_O_TRACEEXEC = 1 << 4,
    PTRACE_O_TRACEVFORKDONE = 1 << 5,
    PTRACE_O_TRACEEXIT = 1 << 6,
    PTRACE_O_TRACESECCOMP = 1 << 7,
    PTRACE_O_EXITKILL = 1 << 20,
    PTRACE_O_SUSPEND_SECCOMP = 1 << 21,
    PTRACE_EVENT_FORK = 1,
    PTRACE_EVENT_VFORK = 2,
    PTRACE_EVENT_CLONE = 3,
    PTRACE_EVENT_EXEC = 4,
    PTRACE_EVENT_VFORK_DONE = 5,
    PTRACE_EVENT_EXIT = 6,
    PTRACE_EVENT_SECCOMP = 7,
    PTRACE_EVENT_STOP = 128,
}

// PTRACE_GET_SYSCALL_INFO
consts! { u8;
    PTRACE_SYSCALL_INFO_NONE = 0,
    PTRACE_SYSCALL_INFO_ENTRY = 1,
    PTRACE_SYSCALL_INFO_EXIT = 2,
    PTRACE_SYSCALL_INFO_SECCOMP = 3,
}
