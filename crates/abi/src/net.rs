//! Sockets: socket(2), send(2), recvmsg(2), socket(7), unix(7). Internet and netlink are in [`crate::inet`] and
//! [`crate::netlink`].

use crate::fcntl::{O_CLOEXEC, O_NONBLOCK};

uapi! {
    /// `struct sockaddr_storage`: room for any address.
    pub struct SockaddrStorage {
        pub ss_family: u16,
        pub data: [u8; 126],
    }

    /// `struct sockaddr_un`.
    pub struct SockaddrUn {
        pub sun_family: u16,
        pub sun_path: [u8; UNIX_PATH_MAX],
    }

    /// `struct sockaddr_ll` of packet(7).
    pub struct SockaddrLl {
        pub sll_family: u16,
        /// Big-endian.
        pub sll_protocol: [u8; 2],
        pub sll_ifindex: i32,
        pub sll_hatype: u16,
        pub sll_pkttype: u8,
        pub sll_halen: u8,
        pub sll_addr: [u8; 8],
    }

    /// `struct msghdr`.
    pub struct Msghdr {
        pub msg_name: u64,
        pub msg_namelen: i32,
        pub _pad1: u32,
        pub msg_iov: u64,
        pub msg_iovlen: u64,
        pub msg_control: u64,
        pub msg_controllen: u64,
        pub msg_flags: u32,
        pub _pad2: u32,
    }

    /// `struct mmsghdr`.
    pub struct Mmsghdr {
        pub msg_hdr: Msghdr,
        pub msg_len: u32,
        pub _pad: u32,
    }

    /// `struct cmsghdr`; its data follows, and the next header is aligned to 8 bytes.
    pub struct Cmsghdr {
        /// Bytes of this header and its data.
        pub cmsg_len: u64,
        pub cmsg_level: u32,
        pub cmsg_type: u32,
    }

    /// `struct ucred`.
    pub struct Ucred {
        pub pid: i32,
        pub uid: u32,
        pub gid: u32,
    }

    /// `struct linger`.
    pub struct Linger {
        pub l_onoff: i32,
        /// In seconds.
        pub l_linger: i32,
    }

    /// `struct sock_filter`: one instruction of classic BPF.
    pub struct SockFilter {
        pub code: u16,
        pub jt: u8,
        pub jf: u8,
        pub k: u32,
    }

    /// `struct sock_fprog`.
    pub struct SockFprog {
        pub len: u16,
        pub _pad: [u16; 3],
        pub filter: u64,
    }
}

/// Bytes of [`SockaddrUn`]'s path.
pub const UNIX_PATH_MAX: usize = 108;
/// Queue of pending connections that listen(2) is cut to.
pub const SOMAXCONN: u32 = 4096;
/// Descriptors in one SCM_RIGHTS message.
pub const SCM_MAX_FD: usize = 253;
/// Instructions in a classic BPF program.
pub const BPF_MAXINSNS: usize = 4096;

/// Rounds the length of a control message up to where the next one starts; none on overflow.
pub const fn cmsg_align(len: u64) -> Option<u64> {
    len.checked_next_multiple_of(8)
}

// Address families, in a `sa_family_t`
consts! { u16;
    AF_UNSPEC = 0,
    AF_UNIX = 1,
    AF_LOCAL = 1,
    AF_INET = 2,
    AF_AX25 = 3,
    AF_INET6 = 10,
    AF_NETLINK = 16,
    AF_PACKET = 17,
    AF_ALG = 38,
    AF_VSOCK = 40,
    AF_XDP = 44,
    AF_MAX = 46,
}

// socket(2) types, and the flags that come with them
consts! { u32;
    SOCK_STREAM = 1,
    SOCK_DGRAM = 2,
    SOCK_RAW = 3,
    SOCK_RDM = 4,
    SOCK_SEQPACKET = 5,
    SOCK_DCCP = 6,
    SOCK_PACKET = 10,
    SOCK_TYPE_MASK = 0xf,
    SOCK_CLOEXEC = O_CLOEXEC,
    SOCK_NONBLOCK = O_NONBLOCK,
}

consts! { u32;
    SHUT_RD = 0,
    SHUT_WR = 1,
    SHUT_RDWR = 2,
}

// Levels of options and control messages
consts! { u32;
    SOL_IP = 0,
    SOL_SOCKET = 1,
    SOL_TCP = 6,
    SOL_UDP = 17,
    SOL_IPV6 = 41,
    SOL_ICMPV6 = 58,
    SOL_RAW = 255,
    SOL_PACKET = 263,
    SOL_NETLINK = 270,
}

// Options of SOL_SOCKET
consts! { u32;
    SO_DEBUG = 1,
    SO_REUSEADDR = 2,
    SO_TYPE = 3,
    SO_ERROR = 4,
    SO_DONTROUTE = 5,
    SO_BROADCAST = 6,
    SO_SNDBUF = 7,
    SO_RCVBUF = 8,
    SO_KEEPALIVE = 9,
    SO_OOBINLINE = 10,
    SO_NO_CHECK = 11,
    SO_PRIORITY = 12,
    SO_LINGER = 13,
    SO_BSDCOMPAT = 14,
    SO_REUSEPORT = 15,
    SO_PASSCRED = 16,
    SO_PEERCRED = 17,
    SO_RCVLOWAT = 18,
    SO_SNDLOWAT = 19,
    SO_RCVTIMEO = 20,
    SO_SNDTIMEO = 21,
    SO_BINDTODEVICE = 25,
    SO_ATTACH_FILTER = 26,
    SO_DETACH_FILTER = 27,
    SO_PEERNAME = 28,
    SO_TIMESTAMP = 29,
    SO_ACCEPTCONN = 30,
    SO_PEERSEC = 31,
    SO_SNDBUFFORCE = 32,
    SO_RCVBUFFORCE = 33,
    SO_PASSSEC = 34,
    SO_TIMESTAMPNS = 35,
    SO_MARK = 36,
    SO_TIMESTAMPING = 37,
    SO_PROTOCOL = 38,
    SO_DOMAIN = 39,
    SO_RXQ_OVFL = 40,
    SO_WIFI_STATUS = 41,
    SO_PEEK_OFF = 42,
    SO_NOFCS = 43,
    SO_LOCK_FILTER = 44,
    SO_SELECT_ERR_QUEUE = 45,
    SO_BUSY_POLL = 46,
    SO_MAX_PACING_RATE = 47,
    SO_BPF_EXTENSIONS = 48,
    SO_INCOMING_CPU = 49,
    SO_ATTACH_BPF = 50,
    SO_ATTACH_REUSEPORT_CBPF = 51,
    SO_ATTACH_REUSEPORT_EBPF = 52,
    SO_CNX_ADVICE = 53,
    SO_MEMINFO = 55,
    SO_INCOMING_NAPI_ID = 56,
    SO_COOKIE = 57,
    SO_PEERGROUPS = 59,
    SO_ZEROCOPY = 60,
    SO_TXTIME = 61,
    SO_BINDTOIFINDEX = 62,
    SO_TIMESTAMP_NEW = 63,
    SO_TIMESTAMPNS_NEW = 64,
    SO_TIMESTAMPING_NEW = 65,
    SO_RCVTIMEO_NEW = 66,
    SO_SNDTIMEO_NEW = 67,
    SO_DETACH_REUSEPORT_BPF = 68,
    SO_PREFER_BUSY_POLL = 69,
    SO_BUSY_POLL_BUDGET = 70,
    SO_NETNS_COOKIE = 71,
    SO_BUF_LOCK = 72,
    SO_RESERVE_MEM = 73,
    SO_TXREHASH = 74,
    SO_RCVMARK = 75,
    SO_PASSPIDFD = 76,
    SO_PEERPIDFD = 77,
}

// Flags of send(2) and recv(2), and of `msg_flags`
consts! { u32;
    MSG_OOB = 0x01,
    MSG_PEEK = 0x02,
    MSG_DONTROUTE = 0x04,
    MSG_CTRUNC = 0x08,
    MSG_PROXY = 0x10,
    MSG_TRUNC = 0x20,
    MSG_DONTWAIT = 0x40,
    MSG_EOR = 0x80,
    MSG_WAITALL = 0x100,
    MSG_FIN = 0x200,
    MSG_SYN = 0x400,
    MSG_CONFIRM = 0x800,
    MSG_RST = 0x1000,
    MSG_ERRQUEUE = 0x2000,
    MSG_NOSIGNAL = 0x4000,
    MSG_MORE = 0x8000,
    MSG_WAITFORONE = 0x1_0000,
    MSG_BATCH = 0x4_0000,
    MSG_ZEROCOPY = 0x400_0000,
    MSG_FASTOPEN = 0x2000_0000,
    MSG_CMSG_CLOEXEC = 0x4000_0000,
    MSG_CMSG_COMPAT = 0x8000_0000,
}

// Control messages of SOL_SOCKET
consts! { u32;
    SCM_RIGHTS = 1,
    SCM_CREDENTIALS = 2,
    SCM_SECURITY = 3,
    SCM_PIDFD = 4,
    SCM_TIMESTAMP = SO_TIMESTAMP,
    SCM_TIMESTAMPNS = SO_TIMESTAMPNS,
}

// packet(7)
consts! { u8;
    PACKET_HOST = 0,
    PACKET_BROADCAST = 1,
    PACKET_MULTICAST = 2,
    PACKET_OTHERHOST = 3,
    PACKET_OUTGOING = 4,
}
consts! { u16;
    ETH_P_IP = 0x0800,
    ETH_P_ARP = 0x0806,
    ETH_P_IPV6 = 0x86dd,
    ETH_P_ALL = 0x0003,
}
