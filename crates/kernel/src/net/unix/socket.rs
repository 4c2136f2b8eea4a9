//! [`UnixSocket`]: state, options and life of a socket.

use std::any::Any;
use std::collections::VecDeque;
use std::sync::atomic::AtomicI32;
use std::sync::{Arc, Weak};

use abi::Result;
use abi::errno::{EINVAL, ENOTCONN, EOPNOTSUPP, EPROTONOSUPPORT, ESOCKTNOSUPPORT};
use abi::ioctl::{SIOCINQ, SIOCOUTQ};
use abi::net::*;

use super::gc;
use super::name::{self, Name};
use super::queue::{Entry, WriteMemory};
use crate::net::options::Options;
use crate::net::{RecvMsg, SendMsg, Socket};
use crate::sync::{Mutex, PollTable, Sleep, SpinLock, WaitQueue, rank};
use crate::task::{Process, current};
use crate::uaccess::UserPtr;
use crate::vfs::PollEvents;
use crate::vfs::fasync::FasyncList;

/// Receiving is over: nothing more will come.
pub const RCV_SHUTDOWN: u8 = 1;
/// Sending is over.
pub const SEND_SHUTDOWN: u8 = 2;
/// Both.
pub const SHUTDOWN_MASK: u8 = 3;

/// Where a socket is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Neither connected nor listening.
    Unconnected,
    /// In the middle of connect(2).
    Connecting,
    /// listen(2)
    Listening,
    /// Has a peer, or had one.
    Connected,
}

/// An AF_UNIX socket.
pub struct UnixSocket {
    me: Weak<UnixSocket>,
    kind: u32,
    pub(super) options: Options,
    pub(super) inner: SpinLock<Inner>,
    /// SO_PEEK_OFF: how far into the queue the next MSG_PEEK looks; negative for none.
    pub(super) peek_off: AtomicI32,
    /// What its own messages take in others' queues.
    pub(super) wmem: Arc<WriteMemory>,
    /// Held by a reader, so that the bytes of a stream come in order.
    pub(super) iolock: Mutex<()>,
    /// Held by bind(2).
    bindlock: Mutex<()>,
    /// Readers, accepters and pollers.
    pub(super) queue: WaitQueue,
    /// Senders and connecters that wait for room in its queues.
    pub(super) peer_wait: WaitQueue,
}

/// What SOCKET guards.
pub struct Inner {
    pub state: State,
    pub name: Option<Arc<Name>>,
    pub peer: Option<Arc<UnixSocket>>,
    pub recv: VecDeque<Entry>,
    /// Connections to accept.
    pub embryos: VecDeque<Arc<UnixSocket>>,
    /// Length of `embryos`, or for datagrams of `recv`, beyond which others wait.
    pub max_backlog: usize,
    pub shutdown: u8,
    /// SO_PEERCRED
    pub peercred: Option<Ucred>,
    /// The same process for SO_PEERPIDFD.
    pub peer_process: Weak<Process>,
    /// Supplementary groups of the peer, SO_PEERGROUPS.
    pub peergroups: Arc<[u32]>,
    /// Released.
    pub dead: bool,
}

/// net.unix.max_dgram_qlen
pub const MAX_DGRAM_QLEN: usize = 10;

/// Credentials of the current task as messages carry them.
pub fn own_creds() -> Ucred {
    let task = current();
    let cred = task.cred();
    Ucred { pid: task.tgid(), uid: cred.uid, gid: cred.gid }
}

/// Credentials of the current task as SO_PEERCRED tells them.
pub fn peer_creds() -> (Ucred, Arc<[u32]>) {
    let task = current();
    let cred = task.cred();
    (Ucred { pid: task.tgid(), uid: cred.euid, gid: cred.egid }, cred.groups.clone())
}

/// socket(2). ESOCKTNOSUPPORT, EPROTONOSUPPORT.
pub fn create(kind: u32, protocol: u32) -> Result<Arc<dyn Socket>> {
    Ok(new(kind, protocol)?)
}

fn new(kind: u32, protocol: u32) -> Result<Arc<UnixSocket>> {
    if protocol != 0 && protocol != u32::from(AF_UNIX) {
        return Err(EPROTONOSUPPORT);
    }
    match kind {
        SOCK_STREAM | SOCK_DGRAM | SOCK_SEQPACKET => Ok(UnixSocket::new(kind, Options::default())),
        // As BSD: a raw one is one of datagrams.
        SOCK_RAW => Ok(UnixSocket::new(SOCK_DGRAM, Options::default())),
        _ => Err(ESOCKTNOSUPPORT),
    }
}

/// socketpair(2)
pub fn pair(kind: u32, protocol: u32) -> Result<[Arc<dyn Socket>; 2]> {
    let (one, two) = (new(kind, protocol)?, new(kind, protocol)?);
    let (creds, groups) = peer_creds();
    for (socket, peer) in [(&one, &two), (&two, &one)] {
        let mut inner = socket.inner.lock();
        inner.peer = Some(peer.clone());
        inner.state = State::Connected;
        inner.peercred = Some(creds);
        inner.peer_process = Arc::downgrade(&current().process);
        inner.peergroups = groups.clone();
    }
    Ok([one, two])
}

impl UnixSocket {
    pub(super) fn new(kind: u32, options: Options) -> Arc<UnixSocket> {
        let queue = WaitQueue::new();
        Arc::new_cyclic(|me| UnixSocket {
            me: me.clone(),
            kind,
            options,
            inner: SpinLock::new(
                rank::SOCKET,
                Inner {
                    state: State::Unconnected,
                    name: None,
                    peer: None,
                    recv: VecDeque::new(),
                    embryos: VecDeque::new(),
                    max_backlog: MAX_DGRAM_QLEN,
                    shutdown: 0,
                    peercred: None,
                    peer_process: Weak::new(),
                    peergroups: Arc::new([]),
                    dead: false,
                },
            ),
            peek_off: AtomicI32::new(-1),
            wmem: WriteMemory::new(queue.clone()),
            iolock: Mutex::new(()),
            bindlock: Mutex::new(()),
            queue,
            peer_wait: WaitQueue::new(),
        })
    }

    /// The unix socket that `socket` is.
    pub fn downcast(socket: Arc<dyn Socket>) -> Option<Arc<UnixSocket>> {
        let any: Arc<dyn Any + Send + Sync> = socket;
        any.downcast().ok()
    }

    /// SOCK_STREAM, SOCK_DGRAM or SOCK_SEQPACKET.
    pub(super) fn kind(&self) -> u32 {
        self.kind
    }

    pub(super) fn arc(&self) -> Arc<UnixSocket> {
        self.me.upgrade().expect("a socket whose method runs is alive")
    }

    /// Whether a connection is needed before anything can be sent.
    pub(super) fn connects(&self) -> bool {
        self.kind != SOCK_DGRAM
    }

    pub(super) fn peer(&self) -> Option<Arc<UnixSocket>> {
        self.inner.lock().peer.clone()
    }

    pub(super) fn name(&self) -> Option<Arc<Name>> {
        self.inner.lock().name.clone()
    }

    /// Gives it a name if it has none and its messages are to carry one (SO_PASSCRED).
    pub(super) fn autobind(&self) -> Result<()> {
        let _serial = self.bindlock.lock();
        if self.name().is_none() {
            let name = name::bind(&self.arc(), None)?;
            self.inner.lock().name = Some(Arc::new(name));
        }
        Ok(())
    }

    /// Sockets whose open files lie in its queues, by address. For [`gc`].
    pub(super) fn sockets_in_queue(&self) -> Vec<usize> {
        let mut files = Vec::new();
        let embryos: Vec<_> = {
            let inner = self.inner.lock();
            files
                .extend(inner.recv.iter().filter_map(|e| e.rights.as_ref()).flat_map(|r| r.files()).cloned());
            inner.embryos.iter().cloned().collect()
        };
        let mut found: Vec<usize> = files.iter().filter_map(gc::socket_address).collect();
        for embryo in embryos {
            found.extend(embryo.sockets_in_queue());
        }
        found
    }

    /// Empties its queues, embryos' included. For [`gc`].
    pub(super) fn take_queue(&self) -> Vec<Entry> {
        let (mut entries, embryos): (Vec<_>, Vec<_>) = {
            let mut inner = self.inner.lock();
            (inner.recv.drain(..).collect(), inner.embryos.iter().cloned().collect())
        };
        for embryo in embryos {
            entries.extend(embryo.take_queue());
        }
        entries
    }

    fn input_bytes(&self) -> Result<usize> {
        let inner = self.inner.lock();
        if inner.state == State::Listening {
            return Err(EINVAL);
        }
        Ok(match self.kind {
            SOCK_DGRAM => inner.recv.front().map_or(0, Entry::len),
            _ => inner.recv.iter().map(Entry::len).sum(),
        })
    }
}

impl Socket for UnixSocket {
    fn domain(&self) -> u16 {
        AF_UNIX
    }

    fn kind(&self) -> u32 {
        self.kind
    }

    fn options(&self) -> &Options {
        &self.options
    }

    fn bind(&self, addr: &[u8]) -> Result<()> {
        let name = name::parse(addr)?;
        let _serial = self.bindlock.lock();
        if self.name().is_some() {
            return Err(name.map_or(EINVAL, |name| name::bind_again(&name)));
        }
        let name = name::bind(&self.arc(), name)?;
        self.inner.lock().name = Some(Arc::new(name));
        Ok(())
    }

    fn connect(&self, addr: &[u8], nonblock: bool) -> Result<()> {
        if self.connects() { self.connect_stream(addr, nonblock) } else { self.connect_dgram(addr) }
    }

    fn listen(&self, backlog: u32) -> Result<()> {
        if !self.connects() {
            return Err(EOPNOTSUPP);
        }
        self.start_listening(backlog as usize)
    }

    fn accept(&self) -> Result<Arc<dyn Socket>> {
        if !self.connects() {
            return Err(EOPNOTSUPP);
        }
        Ok(self.next_embryo()?)
    }

    fn sockname(&self) -> Result<Vec<u8>> {
        Ok(self.name().map_or_else(name::unnamed, |n| n.to_addr()))
    }

    fn peername(&self) -> Result<Vec<u8>> {
        let peer = self.peer().ok_or(ENOTCONN)?;
        peer.sockname()
    }

    fn shutdown(&self, how: u32) -> Result<()> {
        self.shut(how);
        Ok(())
    }

    fn send(&self, msg: &mut SendMsg<'_, '_>) -> Result<usize> {
        if msg.flags & MSG_OOB != 0 {
            return Err(EOPNOTSUPP);
        }
        if self.options.flag(SO_PASSCRED) && self.name().is_none() && self.kind == SOCK_DGRAM {
            self.autobind()?;
        }
        if self.kind == SOCK_STREAM { self.send_stream(msg) } else { self.send_packet(msg) }
    }

    fn recv(&self, msg: &mut RecvMsg<'_, '_>) -> Result<usize> {
        if msg.wants(MSG_OOB) {
            return Err(if self.kind == SOCK_STREAM { EINVAL } else { EOPNOTSUPP });
        }
        if self.kind == SOCK_STREAM { self.recv_stream(msg) } else { self.recv_packet(msg) }
    }

    fn wait_to_send(&self, msg: &SendMsg<'_, '_>, sleep: Sleep) -> Result<()> {
        self.wait_for_room(msg, sleep)
    }

    fn poll(&self, table: &mut PollTable) -> PollEvents {
        table.register(&self.queue);
        let mut events = PollEvents::empty();
        if self.options.has_error() {
            events |= PollEvents::ERR;
        }
        let (state, shutdown, readable, peer) = {
            let inner = self.inner.lock();
            let readable = !inner.recv.is_empty() || !inner.embryos.is_empty();
            (inner.state, inner.shutdown, readable, inner.peer.clone())
        };
        if shutdown == SHUTDOWN_MASK {
            events |= PollEvents::HUP;
        }
        if shutdown & RCV_SHUTDOWN != 0 {
            events |= PollEvents::RDHUP | PollEvents::READABLE;
        }
        if readable {
            events |= PollEvents::READABLE;
        }
        if self.connects() && matches!(state, State::Unconnected | State::Connecting) {
            events |= PollEvents::HUP;
        }
        let mut writable = state != State::Listening && self.wmem.is_writable(self.options.sndbuf());
        if self.kind != SOCK_STREAM
            && let Some(peer) = peer
        {
            table.register(&peer.peer_wait);
            writable &= !peer.is_full_for(self);
        }
        if writable {
            events |= PollEvents::WRITABLE | PollEvents::WRBAND;
        }
        events
    }

    fn ioctl(&self, cmd: u32, arg: u64) -> Result<u64> {
        let value = match cmd {
            SIOCINQ => self.input_bytes()?,
            SIOCOUTQ => self.wmem.used(),
            _ => return crate::net::device::ioctl(AF_UNIX, cmd, arg),
        };
        UserPtr::<i32>::new(arg).write(&i32::try_from(value).unwrap_or(i32::MAX))?;
        Ok(0)
    }

    fn setsockopt(&self, level: u32, name: u32, value: &[u8]) -> Result<()> {
        self.set_option(level, name, value)
    }

    fn getsockopt(&self, level: u32, name: u32, len: usize) -> Result<Vec<u8>> {
        self.get_option(level, name, len)
    }

    fn is_listening(&self) -> bool {
        self.inner.lock().state == State::Listening
    }

    fn fasync(&self) -> Option<&FasyncList> {
        Some(&self.wmem.fasync)
    }

    fn release(&self) {
        self.close();
        gc::collect();
    }
}
