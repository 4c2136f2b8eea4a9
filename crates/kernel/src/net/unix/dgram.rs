//! Datagrams and sequences of packets: a message is received whole or cut, never joined with another.

use std::sync::Arc;

use abi::Result;
use abi::errno::{EAGAIN, ECONNREFUSED, EINVAL, EMSGSIZE, ENOTCONN, EPERM, EPIPE};
use abi::net::{MSG_DONTWAIT, MSG_PEEK, MSG_TRUNC, SO_PASSCRED, SOCK_SEQPACKET};

use super::UnixSocket;
use super::name;
use super::queue::{Entry, Packet};
use super::socket::{RCV_SHUTDOWN, SEND_SHUTDOWN, State, own_creds};
use crate::net::{RecvMsg, SendMsg, Socket};
use crate::sync::{Sleep, wait_until};
use crate::vfs::PollEvents;

/// Bytes of a message that its management takes from the send buffer.
const OVERHEAD: usize = 32;

impl UnixSocket {
    /// Where a message goes. ENOTCONN, ECONNREFUSED.
    fn destination(&self, msg: &SendMsg<'_, '_>) -> Result<Arc<UnixSocket>> {
        match &msg.addr {
            Some(addr) if !self.connects() => name::find(&name::parse(addr)?.ok_or(EINVAL)?, self.kind()),
            _ => self.peer().ok_or(ENOTCONN),
        }
    }

    /// Whether it takes messages from `sender`: one that is connected takes them only from its peer.
    pub(super) fn accepts_from(&self, sender: &UnixSocket) -> bool {
        let inner = self.inner.lock();
        inner.peer.as_ref().is_none_or(|peer| core::ptr::eq(&**peer, sender))
    }

    /// Whether its queue is too long for a message of `sender`. A pair of sockets is bound only by its send buffers.
    pub(super) fn is_full_for(&self, sender: &UnixSocket) -> bool {
        let inner = self.inner.lock();
        let paired = inner.peer.as_ref().is_some_and(|peer| core::ptr::eq(&**peer, sender));
        !paired && !core::ptr::eq(self, sender) && !inner.dead && inner.recv.len() > inner.max_backlog
    }

    /// Sends one message. EAGAIN, EMSGSIZE, EPIPE, EPERM, ECONNREFUSED, ENOTCONN.
    pub(super) fn send_packet(&self, msg: &mut SendMsg<'_, '_>) -> Result<usize> {
        if self.kind() == SOCK_SEQPACKET {
            self.options().take_error()?;
            if self.inner.lock().state != State::Connected {
                return Err(ENOTCONN);
            }
        }
        let other = self.destination(msg)?;
        let len = msg.src.remaining();
        let sndbuf = self.options().sndbuf();
        if len > sndbuf.saturating_sub(OVERHEAD) {
            return Err(EMSGSIZE);
        }
        if self.inner.lock().shutdown & SEND_SHUTDOWN != 0 {
            return Err(EPIPE);
        }
        let charge = self.wmem.charge(len, sndbuf)?;
        if !self.connects() && !other.accepts_from(self) {
            return Err(EPERM);
        }
        if other.is_full_for(self) {
            return Err(EAGAIN);
        }
        let mut data = vec![0; len];
        if msg.src.peek(&mut data)? < len {
            return Err(abi::errno::EFAULT);
        }
        let creds = msg.control.creds.unwrap_or_else(own_creds);
        let packet = Packet { data, creds, from: self.name(), _charge: charge };
        let mut entry = Some(Entry::new(packet, msg.control.rights.take()));
        let outcome = {
            let mut inner = other.inner.lock();
            match () {
                () if inner.dead => Err(ECONNREFUSED),
                () if inner.shutdown & RCV_SHUTDOWN != 0 => Err(EPIPE),
                () => {
                    inner.recv.extend(entry.take());
                    Ok(len)
                }
            }
        };
        drop(entry);
        if outcome == Err(ECONNREFUSED) {
            self.forget_peer(&other);
            if self.connects() {
                return Err(EPIPE);
            }
        }
        let sent = outcome?;
        msg.src.advance(len);
        other.data_ready(PollEvents::READABLE | PollEvents::RDBAND);
        Ok(sent)
    }

    /// A datagram socket's peer has gone: it is unconnected again.
    fn forget_peer(&self, gone: &Arc<UnixSocket>) {
        let old = {
            let mut inner = self.inner.lock();
            if self.connects() || !inner.peer.as_ref().is_some_and(|p| Arc::ptr_eq(p, gone)) {
                return;
            }
            inner.state = State::Unconnected;
            inner.peer.take()
        };
        drop(old);
    }

    /// Waits until sending `msg` may succeed.
    pub(super) fn wait_for_room(&self, msg: &SendMsg<'_, '_>, sleep: Sleep) -> Result<()> {
        let other = if self.is_stream() { None } else { self.destination(msg).ok() };
        let ready = PollEvents::OUT | PollEvents::ALWAYS;
        wait_until(sleep, |table| {
            let mut events = self.poll(table);
            if let Some(other) = &other {
                table.register(&other.peer_wait);
                if other.is_full_for(self) {
                    events = PollEvents::empty();
                }
            }
            events.intersects(ready).then_some(())
        })
    }

    /// Receives one message. The answer is its length if MSG_TRUNC is asked for, else the bytes copied.
    pub(super) fn recv_packet(&self, msg: &mut RecvMsg<'_, '_>) -> Result<usize> {
        let seqpacket = self.kind() == SOCK_SEQPACKET;
        let _reader = self.iolock.lock();
        let peek = msg.wants(MSG_PEEK);
        let mut skip = self.peek_start(peek);
        let found = {
            let inner = self.inner.lock();
            if seqpacket && inner.state != State::Connected {
                return Err(ENOTCONN);
            }
            let begins_in = |entry: &Entry| {
                let passes = skip >= entry.len() && (skip > 0 || entry.len() > 0);
                if passes {
                    skip -= entry.len();
                }
                !passes
            };
            let nth = inner.recv.iter().position(begins_in);
            nth.and_then(|n| Some((n, inner.recv.get(n)?)))
                .map(|(n, e)| (n, e.packet.clone(), e.rights.is_some()))
        };
        self.options().take_error()?;
        let Some((nth, packet, has_rights)) = found else {
            let over = self.inner.lock().shutdown & RCV_SHUTDOWN != 0;
            // A datagram socket may still hear of others: only a reader that would wait is told the end.
            let tell = over && (seqpacket || !msg.wants(MSG_DONTWAIT));
            return if tell { Ok(0) } else { Err(EAGAIN) };
        };
        let data = &packet.data[skip..];
        let len = data.len();
        let copied = msg.dest.write(data)?;
        if copied < len {
            msg.out_flags |= MSG_TRUNC;
        }
        msg.addr = packet.from.as_ref().map(|n| n.to_addr());
        if self.options().flag(SO_PASSCRED) {
            msg.creds = Some(packet.creds);
        }
        if has_rights {
            msg.files = self.take_rights(nth, peek);
        }
        self.move_peek(peek, if peek { copied } else { len });
        drop(packet);
        if !peek {
            let entry = self.inner.lock().recv.pop_front();
            drop(entry);
            self.peer_wait.wake(PollEvents::WRITABLE | PollEvents::WRBAND);
        }
        Ok(if msg.wants(MSG_TRUNC) { len } else { copied })
    }
}
