//! Who hears a netlink message: the kernel, one socket by its port, or every socket of a group.
//!
//! Lock: SOCKET_TABLE, over the list of all sockets.

use std::sync::{Arc, Weak};

use abi::Result;
use abi::errno::{EADDRINUSE, ECONNREFUSED};
use abi::net::Ucred;
use abi::netlink::{NETLINK_KOBJECT_UEVENT, NETLINK_ROUTE};

use super::route;
use super::socket::NetlinkSocket;
use crate::mm::kmem::Kmem;
use crate::sync::{SpinLock, rank};
use crate::task::current;

/// A message on its way. Cheap to copy: its bytes are shared.
#[derive(Clone)]
pub(super) struct Message {
    pub data: Arc<[u8]>,
    /// Port of the sender; 0 for the kernel.
    pub from: u32,
    /// The group that it was sent to; 0 for none.
    pub group: u32,
    pub creds: Ucred,
    /// What it takes while it waits in a queue.
    pub _kmem: Option<Arc<Kmem>>,
}

impl Message {
    /// From the kernel.
    pub fn kernel(data: Vec<u8>, group: u32) -> Message {
        Message { data: data.into(), from: 0, group, creds: Ucred { pid: 0, uid: 0, gid: 0 }, _kmem: None }
    }

    /// Bytes that it takes of a receive buffer.
    pub fn cost(&self) -> usize {
        self.data.len().next_power_of_two().max(512) + 256
    }
}

static SOCKETS: SpinLock<Vec<Weak<NetlinkSocket>>> = SpinLock::new(rank::SOCKET_TABLE, Vec::new());

/// A new socket, which has no port yet.
pub(super) fn add(socket: &Arc<NetlinkSocket>) {
    let mut sockets = SOCKETS.lock();
    sockets.retain(|s| s.strong_count() > 0);
    sockets.push(Arc::downgrade(socket));
}

/// A socket that nobody has open any more.
pub(super) fn remove(socket: &NetlinkSocket) {
    SOCKETS.lock().retain(|s| !core::ptr::eq(s.as_ptr(), socket));
}

/// Every socket.
pub(super) fn all() -> Vec<Arc<NetlinkSocket>> {
    let sockets = SOCKETS.lock();
    let live = sockets.iter().filter_map(Weak::upgrade).collect();
    drop(sockets);
    live
}

/// Gives a socket the port that it asks for, or one that is free. EADDRINUSE.
pub(super) fn claim(socket: &NetlinkSocket, wanted: Option<u32>) -> Result<u32> {
    let own = current().tgid() as u32;
    let sockets = SOCKETS.lock();
    let live: Vec<_> = sockets.iter().filter_map(Weak::upgrade).collect();
    let taken = |port: u32| {
        live.iter().any(|s| {
            s.protocol == socket.protocol && {
                let inner = s.inner.lock();
                inner.bound && inner.portid == port
            }
        })
    };
    let port = match wanted {
        Some(port) if taken(port) => Err(EADDRINUSE),
        Some(port) => Ok(port),
        None if !taken(own) => Ok(own),
        // Others are negative numbers, which no process has.
        None => (4097..).map(|n: u32| n.wrapping_neg()).find(|&p| !taken(p)).ok_or(EADDRINUSE),
    };
    if let Ok(port) = port {
        let mut inner = socket.inner.lock();
        inner.portid = port;
        inner.bound = true;
    }
    drop(sockets);
    // The last reference to a socket may be among these.
    drop(live);
    port
}

/// Sends a program's message: to its group, if it has one, and then to its port, of which 0 is the kernel's. Answers how
/// many bytes of it were taken. ECONNREFUSED for a port that nobody has, EAGAIN while its queue is full.
pub(super) fn send(from: &NetlinkSocket, portid: u32, message: Message) -> Result<usize> {
    if message.group != 0 {
        // Who loses messages is told by its own socket.
        multicast(from.protocol, Some(from), &message);
    }
    if portid == 0 {
        return match from.protocol {
            NETLINK_ROUTE => {
                if let Some(socket) = from.arc() {
                    route::receive(&socket, &message.data);
                }
                Ok(message.data.len())
            }
            // The kernel listens there too, and does nothing of what it is told.
            NETLINK_KOBJECT_UEVENT => Ok(message.data.len()),
            _ => Err(ECONNREFUSED),
        };
    }
    let found = all().into_iter().find(|s| s.protocol == from.protocol && s.portid() == portid);
    found.ok_or(ECONNREFUSED)?.take(&Message { group: 0, ..message }, false)
}

fn multicast(protocol: u32, from: Option<&NetlinkSocket>, message: &Message) {
    let bit = 1u64.checked_shl(message.group.wrapping_sub(1)).unwrap_or(0);
    for socket in all() {
        let itself = from.is_some_and(|f| core::ptr::eq(f, &*socket));
        if socket.protocol != protocol || itself || socket.inner.lock().groups & bit == 0 {
            continue;
        }
        // Who has no room is told by an error of its own.
        let _ = socket.take(message, true);
    }
}

/// Sends a message of the kernel's to a group.
pub fn broadcast(protocol: u32, group: u32, data: Vec<u8>) {
    multicast(protocol, None, &Message::kernel(data, group));
}

/// Sends an answer of the kernel's to one socket.
pub(super) fn answer(socket: &NetlinkSocket, data: Vec<u8>) {
    // A reader who doesn't read loses answers.
    let _ = socket.take(&Message::kernel(data, 0), true);
}
