//! poll(2), select(2) and epoll(7).

use crate::fcntl::O_CLOEXEC;

uapi! {
    /// `struct pollfd`.
    pub struct PollFd {
        pub fd: i32,
        pub events: u16,
        pub revents: u16,
    }

    /// The sixth argument of pselect6(2) points to this.
    pub struct PselectSigmask {
        pub ss: u64,
        pub ss_len: u64,
    }

    /// `struct epoll_params` of ioctl_epoll `EPIOCSPARAMS`.
    pub struct EpollParams {
        pub busy_poll_usecs: u32,
        pub busy_poll_budget: u16,
        pub prefer_busy_poll: u8,
        pub _pad: u8,
    }
}

/// `struct epoll_event`: packed on x86-64, so 12 bytes.
#[repr(C, packed)]
#[derive(
    zerocopy::FromBytes,
    zerocopy::IntoBytes,
    zerocopy::Immutable,
    zerocopy::KnownLayout,
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
)]
pub struct EpollEvent {
    pub events: u32,
    pub data: u64,
}

// poll(2) and epoll(7) share the low bits. They are u32 here; [`PollFd`] holds the low 16.
consts! { u32;
    POLLIN = 0x0001,
    POLLPRI = 0x0002,
    POLLOUT = 0x0004,
    POLLERR = 0x0008,
    POLLHUP = 0x0010,
    POLLNVAL = 0x0020,
    POLLRDNORM = 0x0040,
    POLLRDBAND = 0x0080,
    POLLWRNORM = 0x0100,
    POLLWRBAND = 0x0200,
    POLLMSG = 0x0400,
    POLLREMOVE = 0x1000,
    POLLRDHUP = 0x2000,
    EPOLLIN = POLLIN,
    EPOLLPRI = POLLPRI,
    EPOLLOUT = POLLOUT,
    EPOLLERR = POLLERR,
    EPOLLHUP = POLLHUP,
    EPOLLNVAL = POLLNVAL,
    EPOLLRDNORM = POLLRDNORM,
    EPOLLRDBAND = POLLRDBAND,
    EPOLLWRNORM = POLLWRNORM,
    EPOLLWRBAND = POLLWRBAND,
    EPOLLMSG = POLLMSG,
    EPOLLRDHUP = POLLRDHUP,
    EPOLLEXCLUSIVE = 1 << 28,
    EPOLLWAKEUP = 1 << 29,
    EPOLLONESHOT = 1 << 30,
    EPOLLET = 1 << 31,
}

consts! { u32;
    EPOLL_CTL_ADD = 1,
    EPOLL_CTL_DEL = 2,
    EPOLL_CTL_MOD = 3,
    EPOLL_CLOEXEC = O_CLOEXEC,
}

// What select(2) counts as ready in each of its three sets.
consts! { u32;
    POLLIN_SET = POLLRDNORM | POLLRDBAND | POLLIN | POLLHUP | POLLERR,
    POLLOUT_SET = POLLWRBAND | POLLWRNORM | POLLOUT | POLLERR,
    POLLEX_SET = POLLPRI,
}
/// Descriptors in a libc `fd_set`; the kernel itself takes any count up to the table's size.
pub const FD_SETSIZE: usize = 1024;
