//! Internet sockets: ip(7), ipv6(7), tcp(7), udp(7).

uapi! {
    /// `struct in_addr`: big-endian.
    pub struct InAddr {
        pub s_addr: [u8; 4],
    }

    /// `struct sockaddr_in`. Port and address are big-endian.
    pub struct SockaddrIn {
        pub sin_family: u16,
        pub sin_port: [u8; 2],
        pub sin_addr: InAddr,
        pub _zero: [u8; 8],
    }

    /// `struct sockaddr_in6`. Port, flow information and address are big-endian.
    pub struct SockaddrIn6 {
        pub sin6_family: u16,
        pub sin6_port: [u8; 2],
        pub sin6_flowinfo: [u8; 4],
        pub sin6_addr: [u8; 16],
        pub sin6_scope_id: u32,
    }

    /// `struct ip_mreq`.
    pub struct IpMreq {
        pub imr_multiaddr: InAddr,
        pub imr_interface: InAddr,
    }

    /// `struct ip_mreqn`.
    pub struct IpMreqn {
        pub imr_multiaddr: InAddr,
        pub imr_address: InAddr,
        pub imr_ifindex: i32,
    }

    /// `struct in_pktinfo`.
    pub struct InPktinfo {
        pub ipi_ifindex: i32,
        pub ipi_spec_dst: InAddr,
        pub ipi_addr: InAddr,
    }

    /// `struct ipv6_mreq`.
    pub struct Ipv6Mreq {
        pub ipv6mr_multiaddr: [u8; 16],
        pub ipv6mr_ifindex: i32,
    }

    /// `struct in6_pktinfo`.
    pub struct In6Pktinfo {
        pub ipi6_addr: [u8; 16],
        pub ipi6_ifindex: u32,
    }

    /// `struct sock_extended_err` of `IP_RECVERR`.
    pub struct SockExtendedErr {
        pub ee_errno: u32,
        pub ee_origin: u8,
        pub ee_type: u8,
        pub ee_code: u8,
        pub ee_pad: u8,
        pub ee_info: u32,
        pub ee_data: u32,
    }

    /// `struct tcp_info` up to the fields of Linux 3.14: getsockopt(2) returns the size, so that later ones read as absent.
    pub struct TcpInfo {
        pub tcpi_state: u8,
        pub tcpi_ca_state: u8,
        pub tcpi_retransmits: u8,
        pub tcpi_probes: u8,
        pub tcpi_backoff: u8,
        pub tcpi_options: u8,
        /// Send window scale in the low four bits, the receive one in the high.
        pub tcpi_wscale: u8,
        pub tcpi_flags: u8,
        pub tcpi_rto: u32,
        pub tcpi_ato: u32,
        pub tcpi_snd_mss: u32,
        pub tcpi_rcv_mss: u32,
        pub tcpi_unacked: u32,
        pub tcpi_sacked: u32,
        pub tcpi_lost: u32,
        pub tcpi_retrans: u32,
        pub tcpi_fackets: u32,
        pub tcpi_last_data_sent: u32,
        pub tcpi_last_ack_sent: u32,
        pub tcpi_last_data_recv: u32,
        pub tcpi_last_ack_recv: u32,
        pub tcpi_pmtu: u32,
        pub tcpi_rcv_ssthresh: u32,
        pub tcpi_rtt: u32,
        pub tcpi_rttvar: u32,
        pub tcpi_snd_ssthresh: u32,
        pub tcpi_snd_cwnd: u32,
        pub tcpi_advmss: u32,
        pub tcpi_reordering: u32,
        pub tcpi_rcv_rtt: u32,
        pub tcpi_rcv_space: u32,
        pub tcpi_total_retrans: u32,
    }
}

/// The bytes of [`SockaddrIn6`] without its scope: what RFC 2133 programs pass.
pub const SIN6_LEN_RFC2133: usize = 24;

// Protocols
consts! { u32;
    IPPROTO_IP = 0,
    IPPROTO_ICMP = 1,
    IPPROTO_IGMP = 2,
    IPPROTO_TCP = 6,
    IPPROTO_UDP = 17,
    IPPROTO_IPV6 = 41,
    IPPROTO_ICMPV6 = 58,
    IPPROTO_SCTP = 132,
    IPPROTO_UDPLITE = 136,
    IPPROTO_RAW = 255,
    IPPROTO_MPTCP = 262,
}

// Addresses, as host-order numbers
consts! { u32;
    INADDR_ANY = 0,
    INADDR_LOOPBACK = 0x7f00_0001,
    INADDR_BROADCAST = 0xffff_ffff,
}

// Options of SOL_IP
consts! { u32;
    IP_TOS = 1,
    IP_TTL = 2,
    IP_HDRINCL = 3,
    IP_OPTIONS = 4,
    IP_RECVOPTS = 6,
    IP_RETOPTS = 7,
    IP_PKTINFO = 8,
    IP_PKTOPTIONS = 9,
    IP_MTU_DISCOVER = 10,
    IP_RECVERR = 11,
    IP_RECVTTL = 12,
    IP_RECVTOS = 13,
    IP_MTU = 14,
    IP_FREEBIND = 15,
    IP_TRANSPARENT = 19,
    IP_MINTTL = 21,
    IP_BIND_ADDRESS_NO_PORT = 24,
    IP_MULTICAST_IF = 32,
    IP_MULTICAST_TTL = 33,
    IP_MULTICAST_LOOP = 34,
    IP_ADD_MEMBERSHIP = 35,
    IP_DROP_MEMBERSHIP = 36,
    IP_MULTICAST_ALL = 49,
    IP_LOCAL_PORT_RANGE = 51,
    IP_PMTUDISC_DONT = 0,
    IP_PMTUDISC_WANT = 1,
    IP_PMTUDISC_DO = 2,
    IP_PMTUDISC_PROBE = 3,
}

// Options of SOL_IPV6
consts! { u32;
    IPV6_CHECKSUM = 7,
    IPV6_UNICAST_HOPS = 16,
    IPV6_MULTICAST_IF = 17,
    IPV6_MULTICAST_HOPS = 18,
    IPV6_MULTICAST_LOOP = 19,
    IPV6_ADD_MEMBERSHIP = 20,
    IPV6_DROP_MEMBERSHIP = 21,
    IPV6_MTU_DISCOVER = 23,
    IPV6_MTU = 24,
    IPV6_RECVERR = 25,
    IPV6_V6ONLY = 26,
    IPV6_RECVPKTINFO = 49,
    IPV6_PKTINFO = 50,
    IPV6_RECVHOPLIMIT = 51,
    IPV6_HOPLIMIT = 52,
    IPV6_RECVTCLASS = 66,
    IPV6_TCLASS = 67,
    IPV6_ADDR_PREFERENCES = 72,
    IPV6_FREEBIND = 78,
}

// Options of SOL_TCP
consts! { u32;
    TCP_NODELAY = 1,
    TCP_MAXSEG = 2,
    TCP_CORK = 3,
    TCP_KEEPIDLE = 4,
    TCP_KEEPINTVL = 5,
    TCP_KEEPCNT = 6,
    TCP_SYNCNT = 7,
    TCP_LINGER2 = 8,
    TCP_DEFER_ACCEPT = 9,
    TCP_WINDOW_CLAMP = 10,
    TCP_INFO = 11,
    TCP_QUICKACK = 12,
    TCP_CONGESTION = 13,
    TCP_MD5SIG = 14,
    TCP_THIN_LINEAR_TIMEOUTS = 16,
    TCP_USER_TIMEOUT = 18,
    TCP_REPAIR = 19,
    TCP_FASTOPEN = 23,
    TCP_TIMESTAMP = 24,
    TCP_NOTSENT_LOWAT = 25,
    TCP_CC_INFO = 26,
    TCP_SAVE_SYN = 27,
    TCP_FASTOPEN_CONNECT = 30,
    TCP_ULP = 31,
    TCP_INQ = 36,
}

// tcpi_state
consts! { u8;
    TCP_ESTABLISHED = 1,
    TCP_SYN_SENT = 2,
    TCP_SYN_RECV = 3,
    TCP_FIN_WAIT1 = 4,
    TCP_FIN_WAIT2 = 5,
    TCP_TIME_WAIT = 6,
    TCP_CLOSE = 7,
    TCP_CLOSE_WAIT = 8,
    TCP_LAST_ACK = 9,
    TCP_LISTEN = 10,
    TCP_CLOSING = 11,
}

// Options of SOL_UDP
consts! { u32;
    UDP_CORK = 1,
    UDP_ENCAP = 100,
    UDP_SEGMENT = 103,
    UDP_GRO = 104,
}

// SockExtendedErr::ee_origin
consts! { u8;
    SO_EE_ORIGIN_NONE = 0,
    SO_EE_ORIGIN_LOCAL = 1,
    SO_EE_ORIGIN_ICMP = 2,
    SO_EE_ORIGIN_ICMP6 = 3,
}
