//! Sockets.

use abi::net::{AF_INET, AF_INET6, AF_NETLINK, AF_UNIX, Msghdr, SOCK_TYPE_MASK, SOL_SOCKET, SockaddrStorage};

use super::super::line::Line;
use super::file::segments;
use super::{address, signed};

values! {
    /// socket(2)
    domain(u16) in net {
        AF_UNSPEC AF_UNIX AF_INET AF_AX25 AF_INET6 AF_NETLINK AF_PACKET AF_ALG AF_VSOCK AF_XDP
    }
    kind_name(u32) in net { SOCK_STREAM SOCK_DGRAM SOCK_RAW SOCK_RDM SOCK_SEQPACKET SOCK_DCCP SOCK_PACKET }
    /// shutdown(2)
    shutdown_how(u32) in net { SHUT_RD SHUT_WR SHUT_RDWR }
    /// setsockopt(2)
    socket_level(u32) in net {
        SOL_IP SOL_SOCKET SOL_TCP SOL_UDP SOL_IPV6 SOL_ICMPV6 SOL_RAW SOL_PACKET SOL_NETLINK
    }
    option_name(u32) in net {
        SO_DEBUG SO_REUSEADDR SO_TYPE SO_ERROR SO_DONTROUTE SO_BROADCAST SO_SNDBUF SO_RCVBUF SO_KEEPALIVE SO_OOBINLINE
        SO_NO_CHECK SO_PRIORITY SO_LINGER SO_BSDCOMPAT SO_REUSEPORT SO_PASSCRED SO_PEERCRED SO_RCVLOWAT SO_SNDLOWAT
        SO_RCVTIMEO SO_SNDTIMEO SO_BINDTODEVICE SO_ATTACH_FILTER SO_DETACH_FILTER SO_PEERNAME SO_TIMESTAMP
        SO_ACCEPTCONN SO_PEERSEC SO_SNDBUFFORCE SO_RCVBUFFORCE SO_PASSSEC SO_TIMESTAMPNS SO_MARK SO_TIMESTAMPING
        SO_PROTOCOL SO_DOMAIN SO_RXQ_OVFL SO_PEEK_OFF SO_NOFCS SO_LOCK_FILTER SO_BUSY_POLL SO_MAX_PACING_RATE
        SO_INCOMING_CPU SO_ATTACH_BPF SO_MEMINFO SO_COOKIE SO_PEERGROUPS SO_ZEROCOPY SO_TXTIME SO_BINDTOIFINDEX
        SO_TIMESTAMP_NEW SO_TIMESTAMPNS_NEW SO_TIMESTAMPING_NEW SO_RCVTIMEO_NEW SO_SNDTIMEO_NEW SO_NETNS_COOKIE
        SO_BUF_LOCK SO_RESERVE_MEM SO_TXREHASH SO_RCVMARK SO_PASSPIDFD SO_PEERPIDFD
    }
}

flags! {
    /// send(2), recv(2)
    msg_flags(u32) in net {
        MSG_OOB MSG_PEEK MSG_DONTROUTE MSG_CTRUNC MSG_PROXY MSG_TRUNC MSG_DONTWAIT MSG_EOR MSG_WAITALL MSG_FIN MSG_SYN
        MSG_CONFIRM MSG_RST MSG_ERRQUEUE MSG_NOSIGNAL MSG_MORE MSG_WAITFORONE MSG_BATCH MSG_ZEROCOPY MSG_FASTOPEN
        MSG_CMSG_CLOEXEC
    }
    kind_flags(u32) in net { SOCK_CLOEXEC SOCK_NONBLOCK }
}

/// The type of socket(2) with its flags.
pub fn socket_kind(raw: u64, line: &mut Line<'_>) {
    kind_name(raw & u64::from(SOCK_TYPE_MASK), line);
    let flags = raw as u32 & !SOCK_TYPE_MASK;
    if flags != 0 {
        line.put("|");
        kind_flags(u64::from(flags), line);
    }
}

/// The flags of accept4(2).
pub fn accept_flags(raw: u64, line: &mut Line<'_>) {
    kind_flags(raw, line);
}

/// An option of setsockopt(2); the level is the argument before.
pub fn socket_option(raw: u64, line: &mut Line<'_>) {
    if line.previous_arg() as u32 == SOL_SOCKET { option_name(raw, line) } else { signed(raw, line) }
}

/// The value that setsockopt(2) sets; its length is the next argument.
pub fn option_value(raw: u64, line: &mut Line<'_>) {
    let len = line.next_arg() as u32;
    if len == 4 { super::int_at(raw, line) } else { line.bytes(raw, u64::from(len)) }
}

/// The value that getsockopt(2) got; the next argument points to its length.
pub fn option_got(raw: u64, line: &mut Line<'_>) {
    match line.read::<u32>(line.next_arg()) {
        Some(4) => super::int_at(raw, line),
        Some(len) => line.bytes(raw, u64::from(len)),
        None => address(raw, line),
    }
}

/// An address of `len` bytes.
fn show_sockaddr(raw: u64, len: u64, line: &mut Line<'_>) {
    let mut addr = SockaddrStorage::default();
    let len = usize::try_from(len).unwrap_or(usize::MAX).min(size_of::<SockaddrStorage>());
    if raw == 0 || len < 2 || line.failed() || !line.read_part(raw, &mut addr, len) {
        return address(raw, line);
    }
    let data = &addr.data[..len - 2];
    line.put("{sa_family=");
    domain(u64::from(addr.ss_family), line);
    match addr.ss_family {
        AF_UNIX => match data {
            [] => {}
            [0, name @ ..] => {
                line.put(", sun_path=@");
                line.quote(name);
            }
            _ => {
                line.put(", sun_path=");
                line.quote(data.split(|b| *b == 0).next().unwrap_or_default());
            }
        },
        AF_INET if data.len() >= 6 => {
            let port = u16::from_be_bytes([data[0], data[1]]);
            write!(
                line,
                ", sin_port=htons({port}), sin_addr=inet_addr(\"{}.{}.{}.{}\")",
                data[2], data[3], data[4], data[5]
            );
        }
        AF_INET6 if data.len() >= 22 => {
            let port = u16::from_be_bytes([data[0], data[1]]);
            let mut octets = [0; 16];
            octets.copy_from_slice(&data[6..22]);
            write!(line, ", sin6_port=htons({port}), sin6_addr=\"{}\"", std::net::Ipv6Addr::from(octets));
        }
        AF_NETLINK if data.len() >= 10 => {
            let word = |at: usize| u32::from_ne_bytes([data[at], data[at + 1], data[at + 2], data[at + 3]]);
            write!(line, ", nl_pid={}, nl_groups={:08x}", word(2), word(6));
        }
        _ => {
            line.put(", sa_data=");
            line.quote(&data[..data.len().min(14)]);
        }
    }
    line.put("}");
}

/// An address that the call reads; its length is the next argument.
pub fn sockaddr(raw: u64, line: &mut Line<'_>) {
    let len = u64::from(line.next_arg() as u32);
    show_sockaddr(raw, len, line);
}

/// An address that the call has written; the next argument points to its length.
pub fn sockaddr_got(raw: u64, line: &mut Line<'_>) {
    match line.read::<u32>(line.next_arg()) {
        Some(len) => show_sockaddr(raw, u64::from(len), line),
        None => address(raw, line),
    }
}

fn show_msghdr(msg: &Msghdr, moved: u64, line: &mut Line<'_>) {
    line.put("{msg_name=");
    show_sockaddr(msg.msg_name, msg.msg_namelen.max(0) as u64, line);
    write!(line, ", msg_namelen={}, msg_iov=", msg.msg_namelen);
    segments(msg.msg_iov, msg.msg_iovlen, moved, line);
    write!(line, ", msg_iovlen={}, msg_controllen={}, msg_flags=", msg.msg_iovlen, msg.msg_controllen);
    msg_flags(u64::from(msg.msg_flags), line);
    line.put("}");
}

/// `struct msghdr` of sendmsg(2).
pub fn msghdr(raw: u64, line: &mut Line<'_>) {
    line.object(raw, |msg: &Msghdr, line| show_msghdr(msg, u64::MAX, line));
}

/// `struct msghdr` of recvmsg(2), after the call.
pub fn msghdr_got(raw: u64, line: &mut Line<'_>) {
    let moved = line.result().unwrap_or(0);
    line.object(raw, |msg: &Msghdr, line| show_msghdr(msg, moved, line));
}
