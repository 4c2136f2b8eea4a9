//! Privileges: capabilities(7), capget(2), securebits.

uapi! {
    /// `struct __user_cap_header_struct`.
    pub struct CapUserHeader {
        pub version: u32,
        pub pid: i32,
    }

    /// `struct __user_cap_data_struct`: one 32-bit half of each set.
    pub struct CapUserData {
        pub effective: u32,
        pub permitted: u32,
        pub inheritable: u32,
    }

    /// `struct vfs_cap_data`, version 2: the `security.capability` attribute.
    pub struct VfsCapData {
        pub magic_etc: u32,
        /// permitted and inheritable, low halves then high halves.
        pub data: [u32; 4],
    }

    /// `struct vfs_ns_cap_data`, version 3: with the root of the user namespace it counts in.
    pub struct VfsNsCapData {
        pub magic_etc: u32,
        pub data: [u32; 4],
        pub rootid: u32,
    }
}

consts! { u32;
    _LINUX_CAPABILITY_VERSION_1 = 0x1998_0330,
    _LINUX_CAPABILITY_VERSION_2 = 0x2007_1026,
    _LINUX_CAPABILITY_VERSION_3 = 0x2008_0522,
    VFS_CAP_REVISION_MASK = 0xff00_0000,
    VFS_CAP_REVISION_1 = 0x0100_0000,
    VFS_CAP_REVISION_2 = 0x0200_0000,
    VFS_CAP_REVISION_3 = 0x0300_0000,
    VFS_CAP_FLAGS_EFFECTIVE = 0x0000_0001,
}

// Numbers of capabilities: bit n of a 64-bit set.
consts! { u32;
    CAP_CHOWN = 0,
    CAP_DAC_OVERRIDE = 1,
    CAP_DAC_READ_SEARCH = 2,
    CAP_FOWNER = 3,
    CAP_FSETID = 4,
    CAP_KILL = 5,
    CAP_SETGID = 6,
    CAP_SETUID = 7,
    CAP_SETPCAP = 8,
    CAP_LINUX_IMMUTABLE = 9,
    CAP_NET_BIND_SERVICE = 10,
    CAP_NET_BROADCAST = 11,
    CAP_NET_ADMIN = 12,
    CAP_NET_RAW = 13,
    CAP_IPC_LOCK = 14,
    CAP_IPC_OWNER = 15,
    CAP_SYS_MODULE = 16,
    CAP_SYS_RAWIO = 17,
    CAP_SYS_CHROOT = 18,
    CAP_SYS_PTRACE = 19,
    CAP_SYS_PACCT = 20,
    CAP_SYS_ADMIN = 21,
    CAP_SYS_BOOT = 22,
    CAP_SYS_NICE = 23,
    CAP_SYS_RESOURCE = 24,
    CAP_SYS_TIME = 25,
    CAP_SYS_TTY_CONFIG = 26,
    CAP_MKNOD = 27,
    CAP_LEASE = 28,
    CAP_AUDIT_WRITE = 29,
    CAP_AUDIT_CONTROL = 30,
    CAP_SETFCAP = 31,
    CAP_MAC_OVERRIDE = 32,
    CAP_MAC_ADMIN = 33,
    CAP_SYSLOG = 34,
    CAP_WAKE_ALARM = 35,
    CAP_BLOCK_SUSPEND = 36,
    CAP_AUDIT_READ = 37,
    CAP_PERFMON = 38,
    CAP_BPF = 39,
    CAP_CHECKPOINT_RESTORE = 40,
    CAP_LAST_CAP = 40,
}
/// The set of every capability.
pub const CAP_FULL_SET: u64 = (1 << (CAP_LAST_CAP + 1)) - 1;

consts! { u32;
    SECBIT_NOROOT = 1 << 0,
    SECBIT_NOROOT_LOCKED = 1 << 1,
    SECBIT_NO_SETUID_FIXUP = 1 << 2,
    SECBIT_NO_SETUID_FIXUP_LOCKED = 1 << 3,
    SECBIT_KEEP_CAPS = 1 << 4,
    SECBIT_KEEP_CAPS_LOCKED = 1 << 5,
    SECBIT_NO_CAP_AMBIENT_RAISE = 1 << 6,
    SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED = 1 << 7,
    SECBIT_EXEC_RESTRICT_FILE = 1 << 8,
    SECBIT_EXEC_RESTRICT_FILE_LOCKED = 1 << 9,
    SECBIT_EXEC_DENY_INTERACTIVE = 1 << 10,
    SECBIT_EXEC_DENY_INTERACTIVE_LOCKED = 1 << 11,
}

/// Groups that setgroups(2) takes at most.
pub const NGROUPS_MAX: usize = 65536;
/// An id that setresuid(2) leaves alone.
pub const ID_UNCHANGED: u32 = u32::MAX;
/// The id shown for one that does not fit or has no mapping.
pub const OVERFLOW_ID: u32 = 65534;
