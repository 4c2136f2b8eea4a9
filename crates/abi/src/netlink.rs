//! netlink(7) and rtnetlink(7), as far as ip(8) and getifaddrs(3) need them; interfaces by ioctl (netdevice(7)).

uapi! {
    /// `struct sockaddr_nl`.
    pub struct SockaddrNl {
        pub nl_family: u16,
        pub _pad: u16,
        pub nl_pid: u32,
        pub nl_groups: u32,
    }

    /// `struct nlmsghdr`. Messages are aligned to 4 bytes.
    pub struct Nlmsghdr {
        pub nlmsg_len: u32,
        pub nlmsg_type: u16,
        pub nlmsg_flags: u16,
        pub nlmsg_seq: u32,
        pub nlmsg_pid: u32,
    }

    /// `struct nlmsgerr`, before what it echoes of the request.
    pub struct Nlmsgerr {
        /// Zero or a negative errno.
        pub error: i32,
        pub msg: Nlmsghdr,
    }

    /// `struct rtattr` (and `nlattr`). Attributes are aligned to 4 bytes.
    pub struct Rtattr {
        pub rta_len: u16,
        pub rta_type: u16,
    }

    /// `struct ifinfomsg`.
    pub struct Ifinfomsg {
        pub ifi_family: u8,
        pub _pad: u8,
        pub ifi_type: u16,
        pub ifi_index: i32,
        pub ifi_flags: u32,
        pub ifi_change: u32,
    }

    /// `struct ifaddrmsg`.
    pub struct Ifaddrmsg {
        pub ifa_family: u8,
        pub ifa_prefixlen: u8,
        pub ifa_flags: u8,
        pub ifa_scope: u8,
        pub ifa_index: u32,
    }

    /// `struct rtmsg`.
    pub struct Rtmsg {
        pub rtm_family: u8,
        pub rtm_dst_len: u8,
        pub rtm_src_len: u8,
        pub rtm_tos: u8,
        pub rtm_table: u8,
        pub rtm_protocol: u8,
        pub rtm_scope: u8,
        pub rtm_type: u8,
        pub rtm_flags: u32,
    }

    /// `struct ifreq`: a name, and a union of 24 bytes.
    pub struct Ifreq {
        pub ifr_name: [u8; IFNAMSIZ],
        pub ifr_ifru: [u8; 24],
    }

    /// `struct ifconf` of `SIOCGIFCONF`.
    pub struct Ifconf {
        pub ifc_len: i32,
        pub _pad: u32,
        pub ifc_buf: u64,
    }
}

pub const IFNAMSIZ: usize = 16;

// Protocols of AF_NETLINK
consts! { u32;
    NETLINK_ROUTE = 0,
    NETLINK_SOCK_DIAG = 4,
    NETLINK_AUDIT = 9,
    NETLINK_NETFILTER = 12,
    NETLINK_KOBJECT_UEVENT = 15,
    NETLINK_GENERIC = 16,
}

// Options of SOL_NETLINK
consts! { u32;
    NETLINK_ADD_MEMBERSHIP = 1,
    NETLINK_DROP_MEMBERSHIP = 2,
    NETLINK_PKTINFO = 3,
    NETLINK_BROADCAST_ERROR = 4,
    NETLINK_NO_ENOBUFS = 5,
    NETLINK_LISTEN_ALL_NSID = 8,
    NETLINK_LIST_MEMBERSHIPS = 9,
    NETLINK_CAP_ACK = 10,
    NETLINK_EXT_ACK = 11,
    NETLINK_GET_STRICT_CHK = 12,
}

// nlmsg_type of every protocol, then nlmsg_flags
consts! { u16;
    NLMSG_NOOP = 1,
    NLMSG_ERROR = 2,
    NLMSG_DONE = 3,
    NLMSG_OVERRUN = 4,
    NLM_F_REQUEST = 0x01,
    NLM_F_MULTI = 0x02,
    NLM_F_ACK = 0x04,
    NLM_F_ECHO = 0x08,
    NLM_F_DUMP_INTR = 0x10,
    NLM_F_ROOT = 0x100,
    NLM_F_MATCH = 0x200,
    NLM_F_ATOMIC = 0x400,
    NLM_F_DUMP = 0x300,
    NLM_F_REPLACE = 0x100,
    NLM_F_EXCL = 0x200,
    NLM_F_CREATE = 0x400,
    NLM_F_APPEND = 0x800,
    NLM_F_CAPPED = 0x100,
    NLM_F_ACK_TLVS = 0x200,
}

// nlmsg_type of NETLINK_ROUTE
consts! { u16;
    RTM_NEWLINK = 16,
    RTM_DELLINK = 17,
    RTM_GETLINK = 18,
    RTM_SETLINK = 19,
    RTM_NEWADDR = 20,
    RTM_DELADDR = 21,
    RTM_GETADDR = 22,
    RTM_NEWROUTE = 24,
    RTM_DELROUTE = 25,
    RTM_GETROUTE = 26,
    RTM_NEWNEIGH = 28,
    RTM_DELNEIGH = 29,
    RTM_GETNEIGH = 30,
    RTM_NEWRULE = 32,
    RTM_DELRULE = 33,
    RTM_GETRULE = 34,
    RTM_NEWQDISC = 36,
    RTM_GETQDISC = 38,
}

// rta_type of links, addresses and routes
consts! { u16;
    IFLA_ADDRESS = 1,
    IFLA_BROADCAST = 2,
    IFLA_IFNAME = 3,
    IFLA_MTU = 4,
    IFLA_LINK = 5,
    IFLA_QDISC = 6,
    IFLA_STATS = 7,
    IFLA_TXQLEN = 13,
    IFLA_OPERSTATE = 16,
    IFLA_LINKMODE = 17,
    IFLA_LINKINFO = 18,
    IFLA_STATS64 = 23,
    IFLA_GROUP = 27,
    IFLA_EXT_MASK = 29,
    IFLA_CARRIER = 33,
    IFLA_ALT_IFNAME = 53,
    IFA_ADDRESS = 1,
    IFA_LOCAL = 2,
    IFA_LABEL = 3,
    IFA_BROADCAST = 4,
    IFA_CACHEINFO = 6,
    IFA_FLAGS = 8,
    RTA_DST = 1,
    RTA_SRC = 2,
    RTA_IIF = 3,
    RTA_OIF = 4,
    RTA_GATEWAY = 5,
    RTA_PRIORITY = 6,
    RTA_PREFSRC = 7,
    RTA_METRICS = 8,
    RTA_TABLE = 15,
    NLMSGERR_ATTR_MSG = 1,
    NLMSGERR_ATTR_OFFS = 2,
}

// Fields of Rtmsg and Ifaddrmsg
consts! { u8;
    RT_TABLE_UNSPEC = 0,
    RT_TABLE_MAIN = 254,
    RT_TABLE_LOCAL = 255,
    RTPROT_UNSPEC = 0,
    RTPROT_KERNEL = 2,
    RTPROT_BOOT = 3,
    RTPROT_STATIC = 4,
    RT_SCOPE_UNIVERSE = 0,
    RT_SCOPE_LINK = 253,
    RT_SCOPE_HOST = 254,
    RT_SCOPE_NOWHERE = 255,
    RTN_UNSPEC = 0,
    RTN_UNICAST = 1,
    RTN_LOCAL = 2,
    RTN_BROADCAST = 3,
    RTN_MULTICAST = 5,
    RTN_UNREACHABLE = 7,
    IFA_F_PERMANENT = 0x80,
}

// Groups of NETLINK_ROUTE, numbered for NETLINK_ADD_MEMBERSHIP
consts! { u32;
    RTNLGRP_LINK = 1,
    RTNLGRP_NEIGH = 3,
    RTNLGRP_IPV4_IFADDR = 5,
    RTNLGRP_IPV4_ROUTE = 7,
    RTNLGRP_IPV6_IFADDR = 9,
    RTNLGRP_IPV6_ROUTE = 11,
}

// Interface flags, kinds and states
consts! { u32;
    IFF_UP = 0x1,
    IFF_BROADCAST = 0x2,
    IFF_DEBUG = 0x4,
    IFF_LOOPBACK = 0x8,
    IFF_POINTOPOINT = 0x10,
    IFF_RUNNING = 0x40,
    IFF_NOARP = 0x80,
    IFF_PROMISC = 0x100,
    IFF_ALLMULTI = 0x200,
    IFF_MULTICAST = 0x1000,
    IFF_LOWER_UP = 0x1_0000,
}
consts! { u16;
    ARPHRD_ETHER = 1,
    ARPHRD_SLIP = 256,
    ARPHRD_LOOPBACK = 772,
    ARPHRD_NONE = 0xfffe,
}
consts! { u8;
    IF_OPER_UNKNOWN = 0,
    IF_OPER_DOWN = 2,
    IF_OPER_UP = 6,
}
