//! [`NetlinkSocket`]: port numbers, groups, options, receiving.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};

use abi::Result;
use abi::cred::CAP_NET_ADMIN;
use abi::errno::*;
use abi::ioctl::{SIOCINQ, SIOCOUTQ};
use abi::net::*;
use abi::netlink::*;
use zerocopy::{FromBytes, IntoBytes};

use super::deliver::{self, Message};
use crate::bpf::{Kind, Program};
use crate::mm::kmem::Kmem;
use crate::net::options::Options;
use crate::net::{RecvMsg, SendMsg, Socket, device};
use crate::sync::{PollTable, SpinLock, WaitQueue, rank};
use crate::task::{capable, current};
use crate::uaccess::UserPtr;
use crate::vfs::PollEvents;
use crate::vfs::fasync::{Band, FasyncList};

/// Protocol number for programs among themselves.
pub(super) const NETLINK_USERSOCK: u32 = 2;
/// Most groups that a protocol has here.
const GROUPS: u32 = 64;
/// Options that are on or off, as bits of `flags`.
const FLAGS: [u32; 7] = [
    NETLINK_PKTINFO,
    NETLINK_BROADCAST_ERROR,
    NETLINK_NO_ENOBUFS,
    NETLINK_LISTEN_ALL_NSID,
    NETLINK_CAP_ACK,
    NETLINK_EXT_ACK,
    NETLINK_GET_STRICT_CHK,
];

/// A netlink socket.
pub struct NetlinkSocket {
    me: Weak<NetlinkSocket>,
    kind: u32,
    pub(super) protocol: u32,
    options: Options,
    flags: AtomicU32,
    pub(super) inner: SpinLock<Inner>,
    queue: WaitQueue,
    fasync: FasyncList,
}

/// What SOCKET guards.
#[derive(Default)]
pub(super) struct Inner {
    /// Its port; 0 before it is bound.
    pub portid: u32,
    pub bound: bool,
    /// Bit n-1 for group n.
    pub groups: u64,
    /// connect(2): port and group mask of messages without an address.
    dest: (u32, u32),
    recv: VecDeque<Message>,
    /// Bytes in `recv` with what they cost.
    used: usize,
    filter: Option<Arc<Program>>,
    /// A message was lost: nothing comes until the reader has heard of it.
    congested: bool,
    drops: u64,
}

/// socket(2). ESOCKTNOSUPPORT, EPROTONOSUPPORT.
pub fn create(kind: u32, protocol: u32) -> Result<Arc<dyn Socket>> {
    if kind != SOCK_RAW && kind != SOCK_DGRAM {
        return Err(ESOCKTNOSUPPORT);
    }
    if !matches!(protocol, NETLINK_ROUTE | NETLINK_USERSOCK | NETLINK_KOBJECT_UEVENT) {
        return Err(EPROTONOSUPPORT);
    }
    let socket = Arc::new_cyclic(|me| NetlinkSocket {
        me: me.clone(),
        kind,
        protocol,
        options: Options::default(),
        flags: AtomicU32::new(0),
        inner: SpinLock::new(rank::SOCKET, Inner::default()),
        queue: WaitQueue::new(),
        fasync: FasyncList::new(),
    });
    deliver::add(&socket);
    Ok(socket)
}

/// /proc/net/netlink.
pub fn proc_table() -> String {
    let mut out =
        "sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode\n"
            .to_owned();
    for socket in deliver::all() {
        let (portid, groups, used, drops) = {
            let inner = socket.inner.lock();
            (inner.portid, inner.groups as u32, inner.used, inner.drops)
        };
        out += &format!(
            "{:016x} {:<3} {portid:<10} {groups:08x} {used:<8} {:<8} {:<5} {:<8} {drops:<8} {:<8}\n",
            0, socket.protocol, 0, 0, 2, 0
        );
    }
    out
}

/// Whether the protocol lets everybody listen, or send to others than the kernel.
fn allowed(protocol: u32, sending: bool) -> bool {
    let open = sending == (protocol == NETLINK_USERSOCK);
    open || capable(CAP_NET_ADMIN)
}

impl NetlinkSocket {
    /// Whether an option of [`FLAGS`] is on.
    pub(super) fn flag(&self, name: u32) -> bool {
        let bit = FLAGS.iter().position(|&f| f == name).map_or(0, |at| 1 << at);
        self.flags.load(Ordering::Relaxed) & bit != 0
    }

    pub(super) fn arc(&self) -> Option<Arc<NetlinkSocket>> {
        self.me.upgrade()
    }

    /// Its port number.
    pub fn portid(&self) -> u32 {
        self.inner.lock().portid
    }

    /// Gives it a port of its own: the process's number, or any that is free.
    fn autobind(&self) -> Result<()> {
        if self.inner.lock().bound {
            return Ok(());
        }
        deliver::claim(self, None).map(drop)
    }

    /// Puts a message into its queue, or what its filter leaves of it, and answers the length of that. ENOBUFS when there is no room, EAGAIN for one that can
    /// wait for room.
    pub(super) fn take(&self, message: &Message, multicast: bool) -> Result<usize> {
        let filter = self.inner.lock().filter.clone();
        let mut message = message.clone();
        if let Some(filter) = filter {
            match filter.run(&message.data) as usize {
                0 => return Ok(message.data.len()),
                keep if keep < message.data.len() => message.data = message.data[..keep].into(),
                _ => {}
            }
        }
        let (size, len) = (message.cost(), message.data.len());
        let lost = {
            let mut inner = self.inner.lock();
            let room = self.options.rcvbuf();
            if inner.used + size > room && inner.used > 0 || (multicast && inner.congested) {
                if !multicast {
                    return Err(EAGAIN);
                }
                inner.drops += 1;
                !std::mem::replace(&mut inner.congested, true)
            } else {
                message._kmem = Some(Arc::new(Kmem::charge(size).map_err(|_| ENOBUFS)?));
                inner.used += size;
                inner.recv.push_back(message);
                drop(inner);
                self.queue.wake(PollEvents::READABLE | PollEvents::RDBAND);
                self.fasync.kill(Band::In);
                return Ok(len);
            }
        };
        if lost && !self.flag(NETLINK_NO_ENOBUFS) {
            self.options.set_error(ENOBUFS);
            self.queue.wake(PollEvents::ERR);
        }
        Err(ENOBUFS)
    }

    /// NETLINK_ADD_MEMBERSHIP and its opposite. EINVAL, EPERM.
    fn membership(&self, group: u32, member: bool) -> Result<()> {
        if !allowed(self.protocol, false) {
            return Err(EPERM);
        }
        if group == 0 || group > GROUPS {
            return Err(EINVAL);
        }
        self.autobind()?;
        let bit = 1u64 << (group - 1);
        let mut inner = self.inner.lock();
        if member {
            inner.groups |= bit;
        } else {
            inner.groups &= !bit;
        }
        Ok(())
    }
}

fn parse(addr: &[u8]) -> Result<SockaddrNl> {
    let (nl, _) = SockaddrNl::read_from_prefix(addr).map_err(|_| EINVAL)?;
    if nl.nl_family == AF_NETLINK { Ok(nl) } else { Err(EINVAL) }
}

fn address(portid: u32, groups: u32) -> Vec<u8> {
    SockaddrNl { nl_family: AF_NETLINK, _pad: 0, nl_pid: portid, nl_groups: groups }.as_bytes().to_vec()
}

/// The mask that an address has for a group beyond or within its 32 bits.
fn group_mask(group: u32) -> u32 {
    if (1..=32).contains(&group) { 1 << (group - 1) } else { 0 }
}

impl Socket for NetlinkSocket {
    fn domain(&self) -> u16 {
        AF_NETLINK
    }

    fn kind(&self) -> u32 {
        self.kind
    }

    fn protocol(&self) -> u32 {
        self.protocol
    }

    fn options(&self) -> &Options {
        &self.options
    }

    fn bind(&self, addr: &[u8]) -> Result<()> {
        let nl = parse(addr)?;
        if nl.nl_groups != 0 && !allowed(self.protocol, false) {
            return Err(EPERM);
        }
        let (bound, portid) = {
            let inner = self.inner.lock();
            (inner.bound, inner.portid)
        };
        if bound {
            if nl.nl_pid != portid {
                return Err(EINVAL);
            }
        } else {
            deliver::claim(self, Some(nl.nl_pid).filter(|&p| p != 0))?;
        }
        let mut inner = self.inner.lock();
        inner.groups = inner.groups & !u64::from(u32::MAX) | u64::from(nl.nl_groups);
        Ok(())
    }

    fn connect(&self, addr: &[u8], _: bool) -> Result<()> {
        if crate::net::addr::family(addr)? == AF_UNSPEC {
            self.inner.lock().dest = (0, 0);
            return Ok(());
        }
        let nl = parse(addr)?;
        if (nl.nl_groups != 0 || nl.nl_pid != 0) && !allowed(self.protocol, true) {
            return Err(EPERM);
        }
        self.autobind()?;
        self.inner.lock().dest = (nl.nl_pid, nl.nl_groups);
        Ok(())
    }

    fn sockname(&self) -> Result<Vec<u8>> {
        let inner = self.inner.lock();
        Ok(address(inner.portid, inner.groups as u32))
    }

    fn peername(&self) -> Result<Vec<u8>> {
        let (portid, groups) = self.inner.lock().dest;
        Ok(address(portid, groups))
    }

    fn send(&self, msg: &mut SendMsg<'_, '_>) -> Result<usize> {
        if msg.flags & MSG_OOB != 0 {
            return Err(EOPNOTSUPP);
        }
        let (portid, groups) = match &msg.addr {
            Some(addr) => {
                let nl = parse(addr)?;
                if (nl.nl_groups != 0 || nl.nl_pid != 0) && !allowed(self.protocol, true) {
                    return Err(EPERM);
                }
                (nl.nl_pid, nl.nl_groups)
            }
            None => self.inner.lock().dest,
        };
        self.autobind()?;
        let len = msg.src.remaining();
        if len > self.options.sndbuf().saturating_sub(32) {
            return Err(EMSGSIZE);
        }
        let mut data = vec![0; len];
        if msg.src.peek(&mut data)? < len {
            return Err(EFAULT);
        }
        let task = current();
        let cred = task.cred();
        let own = Ucred { pid: task.tgid(), uid: cred.uid, gid: cred.gid };
        let message = Message {
            data: data.into(),
            from: self.portid(),
            group: if groups == 0 { 0 } else { groups.trailing_zeros() + 1 },
            creds: msg.control.creds.unwrap_or(own),
            _kmem: None,
        };
        let taken = deliver::send(self, portid, message)?;
        msg.src.advance(len);
        Ok(taken)
    }

    fn recv(&self, msg: &mut RecvMsg<'_, '_>) -> Result<usize> {
        if msg.wants(MSG_OOB) {
            return Err(EOPNOTSUPP);
        }
        self.options.take_error()?;
        let peek = msg.wants(MSG_PEEK);
        // Two readers at once: each takes a message of its own, and one that cannot copy has lost it, as on Linux.
        let message = {
            let mut inner = self.inner.lock();
            let message = if peek { inner.recv.front().cloned() } else { inner.recv.pop_front() };
            let message = message.ok_or(EAGAIN)?;
            if !peek {
                inner.used = inner.used.saturating_sub(message.cost());
                if inner.recv.is_empty() {
                    inner.congested = false;
                }
            }
            message
        };
        let len = message.data.len();
        let copied = msg.dest.write(&message.data)?;
        if copied < len {
            msg.out_flags |= MSG_TRUNC;
        }
        msg.addr = Some(address(message.from, group_mask(message.group)));
        if self.options.flag(SO_PASSCRED) {
            msg.creds = Some(message.creds);
        }
        if self.flag(NETLINK_PKTINFO) {
            msg.others.push((SOL_NETLINK, NETLINK_PKTINFO, message.group.to_ne_bytes().to_vec()));
        }
        if !peek {
            self.queue.wake(PollEvents::WRITABLE);
        }
        Ok(if msg.wants(MSG_TRUNC) { len } else { copied })
    }

    fn poll(&self, table: &mut PollTable) -> PollEvents {
        table.register(&self.queue);
        let mut events = PollEvents::WRITABLE | PollEvents::WRBAND;
        if self.options.has_error() {
            events |= PollEvents::ERR;
        }
        if !self.inner.lock().recv.is_empty() {
            events |= PollEvents::READABLE;
        }
        events
    }

    fn ioctl(&self, cmd: u32, arg: u64) -> Result<u64> {
        let value = match cmd {
            SIOCINQ => self.inner.lock().recv.front().map_or(0, |m| m.data.len()),
            SIOCOUTQ => 0,
            _ => return device::ioctl(AF_NETLINK, cmd, arg),
        };
        UserPtr::<i32>::new(arg).write(&i32::try_from(value).unwrap_or(i32::MAX))?;
        Ok(0)
    }

    fn setsockopt(&self, level: u32, name: u32, value: &[u8]) -> Result<()> {
        if level == SOL_SOCKET {
            return self.set_filter(name, value);
        }
        if level != SOL_NETLINK {
            return Err(ENOPROTOOPT);
        }
        let (number, _) = u32::read_from_prefix(value).map_err(|_| EINVAL)?;
        match name {
            NETLINK_ADD_MEMBERSHIP | NETLINK_DROP_MEMBERSHIP => {
                self.membership(number, name == NETLINK_ADD_MEMBERSHIP)
            }
            _ => {
                let at = FLAGS.iter().position(|&f| f == name).ok_or(ENOPROTOOPT)?;
                if name == NETLINK_LISTEN_ALL_NSID && !capable(CAP_NET_ADMIN) {
                    return Err(EPERM);
                }
                match number {
                    0 => self.flags.fetch_and(!(1 << at), Ordering::Relaxed),
                    _ => self.flags.fetch_or(1 << at, Ordering::Relaxed),
                };
                if name == NETLINK_NO_ENOBUFS && number != 0 {
                    self.inner.lock().congested = false;
                    self.queue.wake(PollEvents::WRITABLE);
                }
                Ok(())
            }
        }
    }

    fn getsockopt(&self, level: u32, name: u32, len: usize) -> Result<Vec<u8>> {
        if level != SOL_NETLINK {
            return Err(ENOPROTOOPT);
        }
        if name == NETLINK_LIST_MEMBERSHIPS {
            let groups = self.inner.lock().groups;
            return Ok(groups.to_ne_bytes().to_vec());
        }
        FLAGS.iter().position(|&f| f == name).ok_or(ENOPROTOOPT)?;
        if len < 4 {
            return Err(EINVAL);
        }
        Ok(u32::from(self.flag(name)).to_ne_bytes().to_vec())
    }

    fn fasync(&self) -> Option<&FasyncList> {
        Some(&self.fasync)
    }

    fn release(&self) {
        deliver::remove(self);
        let waiting = std::mem::take(&mut self.inner.lock().recv);
        drop(waiting);
    }
}

impl NetlinkSocket {
    /// SO_ATTACH_FILTER and its like. EINVAL, EPERM once it is locked; ENOENT.
    fn set_filter(&self, name: u32, value: &[u8]) -> Result<()> {
        let locked = self.options.flag(SO_LOCK_FILTER);
        let new = match name {
            SO_ATTACH_FILTER => {
                let prog = SockFprog::read_from_bytes(value).map_err(|_| EINVAL)?;
                Some(Arc::new(Program::from_user(&prog, Kind::Socket)?))
            }
            SO_DETACH_FILTER => None,
            _ => return Err(ENOPROTOOPT),
        };
        if locked {
            return Err(EPERM);
        }
        let detach = new.is_none();
        let old = std::mem::replace(&mut self.inner.lock().filter, new);
        if detach && old.is_none() { Err(ENOENT) } else { Ok(()) }
    }
}
