//! uname(2), reboot(2), syslog(2).

/// Longest name in a [`Utsname`], without its NUL.
pub const __NEW_UTS_LEN: usize = 64;

uapi! {
    /// `struct new_utsname`: NUL-terminated strings.
    pub struct Utsname {
        pub sysname: [u8; 65],
        pub nodename: [u8; 65],
        pub release: [u8; 65],
        pub version: [u8; 65],
        pub machine: [u8; 65],
        pub domainname: [u8; 65],
    }
}

// reboot(2)
consts! { u32;
    LINUX_REBOOT_MAGIC1 = 0xfee1_dead,
    LINUX_REBOOT_MAGIC2 = 672274793,
    LINUX_REBOOT_MAGIC2A = 85072278,
    LINUX_REBOOT_MAGIC2B = 369367448,
    LINUX_REBOOT_MAGIC2C = 537993216,
    LINUX_REBOOT_CMD_RESTART = 0x0123_4567,
    LINUX_REBOOT_CMD_HALT = 0xcdef_0123,
    LINUX_REBOOT_CMD_CAD_ON = 0x89ab_cdef,
    LINUX_REBOOT_CMD_CAD_OFF = 0x0000_0000,
    LINUX_REBOOT_CMD_POWER_OFF = 0x4321_fedc,
    LINUX_REBOOT_CMD_RESTART2 = 0xa1b2_c3d4,
    LINUX_REBOOT_CMD_SW_SUSPEND = 0xd000_fce2,
    LINUX_REBOOT_CMD_KEXEC = 0x4558_4543,
}

// syslog(2)
consts! { u32;
    SYSLOG_ACTION_CLOSE = 0,
    SYSLOG_ACTION_OPEN = 1,
    SYSLOG_ACTION_READ = 2,
    SYSLOG_ACTION_READ_ALL = 3,
    SYSLOG_ACTION_READ_CLEAR = 4,
    SYSLOG_ACTION_CLEAR = 5,
    SYSLOG_ACTION_CONSOLE_OFF = 6,
    SYSLOG_ACTION_CONSOLE_ON = 7,
    SYSLOG_ACTION_CONSOLE_LEVEL = 8,
    SYSLOG_ACTION_SIZE_UNREAD = 9,
    SYSLOG_ACTION_SIZE_BUFFER = 10,
}
