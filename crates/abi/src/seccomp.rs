//! seccomp(2).

uapi! {
    /// `struct seccomp_data`: what a filter sees of a call.
    pub struct SeccompData {
        pub nr: i32,
        pub arch: u32,
        pub instruction_pointer: u64,
        pub args: [u64; 6],
    }

    /// `struct seccomp_notif_sizes`.
    pub struct SeccompNotifSizes {
        pub seccomp_notif: u16,
        pub seccomp_notif_resp: u16,
        pub seccomp_data: u16,
    }

    /// `struct seccomp_notif`.
    pub struct SeccompNotif {
        pub id: u64,
        pub pid: u32,
        pub flags: u32,
        pub data: SeccompData,
    }

    /// `struct seccomp_notif_resp`.
    pub struct SeccompNotifResp {
        pub id: u64,
        pub val: i64,
        pub error: i32,
        pub flags: u32,
    }
}

consts! { u32;
    SECCOMP_MODE_DISABLED = 0,
    SECCOMP_MODE_STRICT = 1,
    SECCOMP_MODE_FILTER = 2,
    SECCOMP_SET_MODE_STRICT = 0,
    SECCOMP_SET_MODE_FILTER = 1,
    SECCOMP_GET_ACTION_AVAIL = 2,
    SECCOMP_GET_NOTIF_SIZES = 3,
    SECCOMP_FILTER_FLAG_TSYNC = 1 << 0,
    SECCOMP_FILTER_FLAG_LOG = 1 << 1,
    SECCOMP_FILTER_FLAG_SPEC_ALLOW = 1 << 2,
    SECCOMP_FILTER_FLAG_NEW_LISTENER = 1 << 3,
    SECCOMP_FILTER_FLAG_TSYNC_ESRCH = 1 << 4,
    SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV = 1 << 5,
    SECCOMP_RET_KILL_PROCESS = 0x8000_0000,
    SECCOMP_RET_KILL_THREAD = 0x0000_0000,
    SECCOMP_RET_KILL = SECCOMP_RET_KILL_THREAD,
    SECCOMP_RET_TRAP = 0x0003_0000,
    SECCOMP_RET_ERRNO = 0x0005_0000,
    SECCOMP_RET_USER_NOTIF = 0x7fc0_0000,
    SECCOMP_RET_TRACE = 0x7ff0_0000,
    SECCOMP_RET_LOG = 0x7ffc_0000,
    SECCOMP_RET_ALLOW = 0x7fff_0000,
    SECCOMP_RET_ACTION_FULL = 0xffff_0000,
    SECCOMP_RET_DATA = 0x0000_ffff,
    SECCOMP_USER_NOTIF_FLAG_CONTINUE = 1,
    AUDIT_ARCH_X86_64 = 0xc000_003e,
    AUDIT_ARCH_I386 = 0x4000_0003,
}

// Classic BPF: the parts of an instruction's code
consts! { u16;
    BPF_LD = 0x00,
    BPF_LDX = 0x01,
    BPF_ST = 0x02,
    BPF_STX = 0x03,
    BPF_ALU = 0x04,
    BPF_JMP = 0x05,
    BPF_RET = 0x06,
    BPF_MISC = 0x07,
    BPF_W = 0x00,
    BPF_H = 0x08,
    BPF_B = 0x10,
    BPF_IMM = 0x00,
    BPF_ABS = 0x20,
    BPF_IND = 0x40,
    BPF_MEM = 0x60,
    BPF_LEN = 0x80,
    BPF_MSH = 0xa0,
    BPF_ADD = 0x00,
    BPF_SUB = 0x10,
    BPF_MUL = 0x20,
    BPF_DIV = 0x30,
    BPF_OR = 0x40,
    BPF_AND = 0x50,
    BPF_LSH = 0x60,
    BPF_RSH = 0x70,
    BPF_NEG = 0x80,
    BPF_MOD = 0x90,
    BPF_XOR = 0xa0,
    BPF_JA = 0x00,
    BPF_JEQ = 0x10,
    BPF_JGT = 0x20,
    BPF_JGE = 0x30,
    BPF_JSET = 0x40,
    BPF_K = 0x00,
    BPF_X = 0x08,
    BPF_A = 0x10,
    BPF_TAX = 0x00,
    BPF_TXA = 0x80,
}
