//! Terminals: ioctl_tty(2), termios(3), the console's few ioctl_console(2) calls.

uapi! {
    /// `struct termios` of the kernel (`TCGETS`): 36 bytes, unlike libc's.
    pub struct Termios {
        pub c_iflag: u32,
        pub c_oflag: u32,
        pub c_cflag: u32,
        pub c_lflag: u32,
        pub c_line: u8,
        pub c_cc: [u8; NCCS],
    }

    /// `struct termios2` (`TCGETS2`): with speeds in bits per second.
    pub struct Termios2 {
        pub c_iflag: u32,
        pub c_oflag: u32,
        pub c_cflag: u32,
        pub c_lflag: u32,
        pub c_line: u8,
        pub c_cc: [u8; NCCS],
        pub c_ispeed: u32,
        pub c_ospeed: u32,
    }

    /// `struct termio` (`TCGETA`), of System V.
    pub struct Termio {
        pub c_iflag: u16,
        pub c_oflag: u16,
        pub c_cflag: u16,
        pub c_lflag: u16,
        pub c_line: u8,
        pub c_cc: [u8; 8],
        pub _pad: u8,
    }

    /// `struct winsize`.
    pub struct Winsize {
        pub ws_row: u16,
        pub ws_col: u16,
        pub ws_xpixel: u16,
        pub ws_ypixel: u16,
    }
}

/// Control characters of [`Termios`].
pub const NCCS: usize = 19;

// Indexes of c_cc
consts! { usize;
    VINTR = 0,
    VQUIT = 1,
    VERASE = 2,
    VKILL = 3,
    VEOF = 4,
    VTIME = 5,
    VMIN = 6,
    VSWTC = 7,
    VSTART = 8,
    VSTOP = 9,
    VSUSP = 10,
    VEOL = 11,
    VREPRINT = 12,
    VDISCARD = 13,
    VWERASE = 14,
    VLNEXT = 15,
    VEOL2 = 16,
}
/// A control character that is switched off.
pub const _POSIX_VDISABLE: u8 = 0;
/// `c_cc` of a fresh terminal.
pub const INIT_C_CC: [u8; NCCS] =
    [0o3, 0o34, 0o177, 0o25, 0o4, 0, 1, 0, 0o21, 0o23, 0o32, 0, 0o22, 0o17, 0o27, 0o26, 0, 0, 0];

// c_iflag
consts! { u32;
    IGNBRK = 0o000001,
    BRKINT = 0o000002,
    IGNPAR = 0o000004,
    PARMRK = 0o000010,
    INPCK = 0o000020,
    ISTRIP = 0o000040,
    INLCR = 0o000100,
    IGNCR = 0o000200,
    ICRNL = 0o000400,
    IUCLC = 0o001000,
    IXON = 0o002000,
    IXANY = 0o004000,
    IXOFF = 0o010000,
    IMAXBEL = 0o020000,
    IUTF8 = 0o040000,
}

// c_oflag
consts! { u32;
    OPOST = 0o000001,
    OLCUC = 0o000002,
    ONLCR = 0o000004,
    OCRNL = 0o000010,
    ONOCR = 0o000020,
    ONLRET = 0o000040,
    OFILL = 0o000100,
    OFDEL = 0o000200,
    NLDLY = 0o000400,
    NL0 = 0o000000,
    NL1 = 0o000400,
    CRDLY = 0o003000,
    CR0 = 0o000000,
    CR1 = 0o001000,
    CR2 = 0o002000,
    CR3 = 0o003000,
    TABDLY = 0o014000,
    TAB0 = 0o000000,
    TAB1 = 0o004000,
    TAB2 = 0o010000,
    TAB3 = 0o014000,
    XTABS = 0o014000,
    BSDLY = 0o020000,
    BS0 = 0o000000,
    BS1 = 0o020000,
    VTDLY = 0o040000,
    VT0 = 0o000000,
    VT1 = 0o040000,
    FFDLY = 0o100000,
    FF0 = 0o000000,
    FF1 = 0o100000,
}

// c_cflag
consts! { u32;
    CBAUD = 0o010017,
    B0 = 0o000000,
    B50 = 0o000001,
    B75 = 0o000002,
    B110 = 0o000003,
    B134 = 0o000004,
    B150 = 0o000005,
    B200 = 0o000006,
    B300 = 0o000007,
    B600 = 0o000010,
    B1200 = 0o000011,
    B1800 = 0o000012,
    B2400 = 0o000013,
    B4800 = 0o000014,
    B9600 = 0o000015,
    B19200 = 0o000016,
    B38400 = 0o000017,
    CSIZE = 0o000060,
    CS5 = 0o000000,
    CS6 = 0o000020,
    CS7 = 0o000040,
    CS8 = 0o000060,
    CSTOPB = 0o000100,
    CREAD = 0o000200,
    PARENB = 0o000400,
    PARODD = 0o001000,
    HUPCL = 0o002000,
    CLOCAL = 0o004000,
    CBAUDEX = 0o010000,
    /// With [`Termios2`]: the speed is in `c_ospeed`.
    BOTHER = 0o010000,
    B57600 = 0o010001,
    B115200 = 0o010002,
    B230400 = 0o010003,
    B460800 = 0o010004,
    B500000 = 0o010005,
    B576000 = 0o010006,
    B921600 = 0o010007,
    B1000000 = 0o010010,
    B1152000 = 0o010011,
    B1500000 = 0o010012,
    B2000000 = 0o010013,
    B2500000 = 0o010014,
    B3000000 = 0o010015,
    B3500000 = 0o010016,
    B4000000 = 0o010017,
    CIBAUD = 0o02003600000,
    IBSHIFT = 16,
    CMSPAR = 0o10000000000,
    CRTSCTS = 0o20000000000,
}

// c_lflag
consts! { u32;
    ISIG = 0o000001,
    ICANON = 0o000002,
    XCASE = 0o000004,
    ECHO = 0o000010,
    ECHOE = 0o000020,
    ECHOK = 0o000040,
    ECHONL = 0o000100,
    NOFLSH = 0o000200,
    TOSTOP = 0o000400,
    ECHOCTL = 0o001000,
    ECHOPRT = 0o002000,
    ECHOKE = 0o004000,
    FLUSHO = 0o010000,
    PENDIN = 0o040000,
    IEXTEN = 0o100000,
    EXTPROC = 0o200000,
}

// c_line
consts! { u8;
    N_TTY = 0,
}

// ioctl_tty(2) requests
consts! { u32;
    TCGETS = 0x5401,
    TCSETS = 0x5402,
    TCSETSW = 0x5403,
    TCSETSF = 0x5404,
    TCGETA = 0x5405,
    TCSETA = 0x5406,
    TCSETAW = 0x5407,
    TCSETAF = 0x5408,
    TCSBRK = 0x5409,
    TCXONC = 0x540a,
    TCFLSH = 0x540b,
    TIOCEXCL = 0x540c,
    TIOCNXCL = 0x540d,
    TIOCSCTTY = 0x540e,
    TIOCGPGRP = 0x540f,
    TIOCSPGRP = 0x5410,
    TIOCOUTQ = 0x5411,
    TIOCSTI = 0x5412,
    TIOCGWINSZ = 0x5413,
    TIOCSWINSZ = 0x5414,
    TIOCMGET = 0x5415,
    TIOCMBIS = 0x5416,
    TIOCMBIC = 0x5417,
    TIOCMSET = 0x5418,
    TIOCGSOFTCAR = 0x5419,
    TIOCSSOFTCAR = 0x541a,
    /// The same number as `FIONREAD`.
    TIOCINQ = 0x541b,
    TIOCLINUX = 0x541c,
    TIOCCONS = 0x541d,
    TIOCGSERIAL = 0x541e,
    TIOCSSERIAL = 0x541f,
    TIOCPKT = 0x5420,
    TIOCNOTTY = 0x5422,
    TIOCSETD = 0x5423,
    TIOCGETD = 0x5424,
    TCSBRKP = 0x5425,
    TIOCSBRK = 0x5427,
    TIOCCBRK = 0x5428,
    TIOCGSID = 0x5429,
    TCGETS2 = 0x802c_542a,
    TCSETS2 = 0x402c_542b,
    TCSETSW2 = 0x402c_542c,
    TCSETSF2 = 0x402c_542d,
    TIOCGPTN = 0x8004_5430,
    TIOCSPTLCK = 0x4004_5431,
    TIOCGDEV = 0x8004_5432,
    TIOCVHANGUP = 0x5437,
    TIOCGPKT = 0x8004_5438,
    TIOCGPTLCK = 0x8004_5439,
    TIOCGEXCL = 0x8004_5440,
    /// Signal to the foreground group of a pty.
    TIOCSIG = 0x4004_5436,
    TIOCGPTPEER = 0x5441,
    TIOCGICOUNT = 0x545d,
    TIOCMIWAIT = 0x545c,
}

// TCFLSH, TCXONC
consts! { u32;
    TCIFLUSH = 0,
    TCOFLUSH = 1,
    TCIOFLUSH = 2,
    TCOOFF = 0,
    TCOON = 1,
    TCIOFF = 2,
    TCION = 3,
}

// TIOCPKT: the control byte of packet mode
consts! { u8;
    TIOCPKT_DATA = 0,
    TIOCPKT_FLUSHREAD = 1,
    TIOCPKT_FLUSHWRITE = 2,
    TIOCPKT_STOP = 4,
    TIOCPKT_START = 8,
    TIOCPKT_NOSTOP = 16,
    TIOCPKT_DOSTOP = 32,
    TIOCPKT_IOCTL = 64,
}

// TIOCMGET: modem lines
consts! { u32;
    TIOCM_LE = 0x001,
    TIOCM_DTR = 0x002,
    TIOCM_RTS = 0x004,
    TIOCM_CTS = 0x020,
    TIOCM_CAR = 0x040,
    TIOCM_RNG = 0x080,
    TIOCM_DSR = 0x100,
}

// ioctl_console(2)
consts! { u32;
    KDGKBTYPE = 0x4b33,
    KDSETMODE = 0x4b3a,
    KDGETMODE = 0x4b3b,
    KDGKBMODE = 0x4b44,
    KDSKBMODE = 0x4b45,
    KDSIGACCEPT = 0x4b4e,
    VT_OPENQRY = 0x5600,
    VT_GETMODE = 0x5601,
    VT_SETMODE = 0x5602,
    VT_GETSTATE = 0x5603,
    VT_ACTIVATE = 0x5606,
    VT_WAITACTIVE = 0x5607,
    KD_TEXT = 0,
    KD_GRAPHICS = 1,
    KB_101 = 2,
    K_RAW = 0,
    K_XLATE = 1,
    K_MEDIUMRAW = 2,
    K_UNICODE = 3,
}
