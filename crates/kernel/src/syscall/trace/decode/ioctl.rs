//! ioctl(2): names of requests, and the few arguments that tell something.

use abi::ioctl::{FIONBIO, FIONREAD};
use abi::tty::{
    TCGETS, TCSETS, TCSETSF, TCSETSW, TIOCGPGRP, TIOCGPTN, TIOCGSID, TIOCGWINSZ, TIOCOUTQ, TIOCSPGRP,
    TIOCSPTLCK, TIOCSWINSZ, Termios, Winsize,
};

use super::super::line::Line;

values! {
    tty_request(u32) in tty {
        TCGETS TCSETS TCSETSW TCSETSF TCGETA TCSETA TCSETAW TCSETAF TCSBRK TCXONC TCFLSH TIOCEXCL TIOCNXCL TIOCSCTTY
        TIOCGPGRP TIOCSPGRP TIOCOUTQ TIOCSTI TIOCGWINSZ TIOCSWINSZ TIOCMGET TIOCMBIS TIOCMBIC TIOCMSET TIOCGSOFTCAR
        TIOCSSOFTCAR TIOCLINUX TIOCCONS TIOCGSERIAL TIOCSSERIAL TIOCPKT TIOCNOTTY TIOCSETD TIOCGETD TCSBRKP TIOCSBRK
        TIOCCBRK TIOCGSID TCGETS2 TCSETS2 TCSETSW2 TCSETSF2 TIOCGPTN TIOCSPTLCK TIOCGDEV TIOCVHANGUP TIOCGPKT TIOCGPTLCK
        TIOCGEXCL TIOCSIG TIOCGPTPEER TIOCGICOUNT TIOCMIWAIT KDGKBTYPE KDSETMODE KDGETMODE KDGKBMODE KDSKBMODE
        KDSIGACCEPT VT_OPENQRY VT_GETMODE VT_SETMODE VT_GETSTATE VT_ACTIVATE VT_WAITACTIVE
    }
    other_request(u32) in ioctl {
        FIONREAD FIONBIO FIONCLEX FIOCLEX FIOASYNC FIOQSIZE FIBMAP FIGETBSZ FIFREEZE FITHAW FITRIM FICLONE FICLONERANGE
        FIDEDUPERANGE FS_IOC_GETFLAGS FS_IOC_SETFLAGS FS_IOC_GETVERSION FS_IOC_SETVERSION FS_IOC_FIEMAP
        FS_IOC_FSGETXATTR FS_IOC_FSSETXATTR FS_IOC_GETFSLABEL FS_IOC_SETFSLABEL BLKROSET BLKROGET BLKRRPART BLKGETSIZE
        BLKFLSBUF BLKRASET BLKRAGET BLKSECTGET BLKSSZGET BLKPG BLKBSZGET BLKBSZSET BLKGETSIZE64 BLKDISCARD BLKIOMIN
        BLKIOOPT BLKALIGNOFF BLKPBSZGET BLKDISCARDZEROES BLKSECDISCARD BLKROTATIONAL BLKZEROOUT BLKGETDISKSEQ HDIO_GETGEO
        CDROM_GET_CAPABILITY LOOP_SET_FD LOOP_CLR_FD LOOP_SET_STATUS LOOP_GET_STATUS LOOP_SET_STATUS64
        LOOP_GET_STATUS64 LOOP_CHANGE_FD LOOP_SET_CAPACITY LOOP_SET_DIRECT_IO LOOP_SET_BLOCK_SIZE LOOP_CONFIGURE
        LOOP_CTL_ADD LOOP_CTL_REMOVE LOOP_CTL_GET_FREE RNDGETENTCNT RNDADDTOENTCNT RNDGETPOOL RNDADDENTROPY
        RNDZAPENTCNT RNDCLEARPOOL RNDRESEEDCRNG FIOSETOWN SIOCSPGRP FIOGETOWN SIOCGPGRP SIOCATMARK SIOCGSTAMP
        SIOCGSTAMPNS SIOCUNIXFILE SIOCADDRT SIOCDELRT SIOCGIFNAME SIOCGIFCONF SIOCGIFFLAGS SIOCSIFFLAGS SIOCGIFADDR
        SIOCSIFADDR SIOCGIFDSTADDR SIOCSIFDSTADDR SIOCGIFBRDADDR SIOCSIFBRDADDR SIOCGIFNETMASK SIOCSIFNETMASK
        SIOCGIFMETRIC SIOCGIFMTU SIOCSIFMTU SIOCSIFNAME SIOCSIFHWADDR SIOCGIFHWADDR SIOCADDMULTI SIOCDELMULTI
        SIOCGIFINDEX SIOCGIFTXQLEN SIOCSIFTXQLEN SIOCETHTOOL SIOCGIFMAP NS_GET_USERNS NS_GET_PARENT NS_GET_NSTYPE
        NS_GET_OWNER_UID
    }
}

/// The request of ioctl(2).
pub fn ioctl_cmd(raw: u64, line: &mut Line<'_>) {
    let before = line.text().len();
    tty_request(raw, line);
    if line.text()[before..].starts_with("0x") {
        line.truncate(before);
        other_request(raw, line);
    }
}

/// The argument of ioctl(2), after the call.
pub fn ioctl_arg(raw: u64, line: &mut Line<'_>) {
    match line.arg(1) as u32 {
        TCGETS | TCSETS | TCSETSW | TCSETSF => line.object(raw, termios),
        TIOCGWINSZ | TIOCSWINSZ => line.object(raw, |size: &Winsize, line| {
            write!(
                line,
                "{{ws_row={}, ws_col={}, ws_xpixel={}, ws_ypixel={}}}",
                size.ws_row, size.ws_col, size.ws_xpixel, size.ws_ypixel
            );
        }),
        FIONREAD | FIONBIO | TIOCOUTQ | TIOCGPGRP | TIOCSPGRP | TIOCGSID | TIOCGPTN | TIOCSPTLCK => {
            super::int_at(raw, line);
        }
        _ => super::hex(raw, line),
    }
}

/// The speed and the flags that one looks for first.
fn termios(termios: &Termios, line: &mut Line<'_>) {
    use abi::tty::{CBAUD, ECHO, ICANON, ICRNL, ISIG, IXON, OPOST};
    write!(line, "{{speed={:#o}", termios.c_cflag & CBAUD);
    let shown = [
        (termios.c_iflag, ICRNL, "icrnl"),
        (termios.c_iflag, IXON, "ixon"),
        (termios.c_oflag, OPOST, "opost"),
        (termios.c_lflag, ISIG, "isig"),
        (termios.c_lflag, ICANON, "icanon"),
        (termios.c_lflag, ECHO, "echo"),
    ];
    for (flags, bit, name) in shown {
        write!(line, " {}{name}", if flags & bit == 0 { "-" } else { "" });
    }
    line.put(" ...}");
}
