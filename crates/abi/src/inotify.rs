//! inotify(7).

use crate::fcntl::{O_CLOEXEC, O_NONBLOCK};

uapi! {
    /// `struct inotify_event`; `len` bytes of name, padded with NULs, follow.
    pub struct InotifyEvent {
        pub wd: i32,
        pub mask: u32,
        pub cookie: u32,
        pub len: u32,
    }
}

consts! { u32;
    IN_ACCESS = 0x0001,
    IN_MODIFY = 0x0002,
    IN_ATTRIB = 0x0004,
    IN_CLOSE_WRITE = 0x0008,
    IN_CLOSE_NOWRITE = 0x0010,
    IN_OPEN = 0x0020,
    IN_MOVED_FROM = 0x0040,
    IN_MOVED_TO = 0x0080,
    IN_CREATE = 0x0100,
    IN_DELETE = 0x0200,
    IN_DELETE_SELF = 0x0400,
    IN_MOVE_SELF = 0x0800,
    IN_UNMOUNT = 0x2000,
    IN_Q_OVERFLOW = 0x4000,
    IN_IGNORED = 0x8000,
    IN_CLOSE = IN_CLOSE_WRITE | IN_CLOSE_NOWRITE,
    IN_MOVE = IN_MOVED_FROM | IN_MOVED_TO,
    IN_ALL_EVENTS = 0x0fff,
    IN_ONLYDIR = 0x0100_0000,
    IN_DONT_FOLLOW = 0x0200_0000,
    IN_EXCL_UNLINK = 0x0400_0000,
    IN_MASK_CREATE = 0x1000_0000,
    IN_MASK_ADD = 0x2000_0000,
    IN_ISDIR = 0x4000_0000,
    IN_ONESHOT = 0x8000_0000,
    IN_CLOEXEC = O_CLOEXEC,
    IN_NONBLOCK = O_NONBLOCK,
}
