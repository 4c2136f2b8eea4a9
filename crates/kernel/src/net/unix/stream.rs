//! Bytes of a stream: messages one after the other whose boundaries don't show, except where another sender's bytes or
//! descriptors begin.

use std::sync::Arc;

use abi::Result;
use abi::errno::{EAGAIN, EINVAL, EISCONN, ENOTCONN, EOPNOTSUPP, EPIPE};
use abi::net::{MSG_PEEK, SO_PASSCRED, Ucred};

use super::UnixSocket;
use super::gc;
use super::queue::{Entry, Packet};
use super::socket::{RCV_SHUTDOWN, SEND_SHUTDOWN, State, own_creds};
use crate::net::{RecvMsg, SendMsg, Socket};
use crate::vfs::PollEvents;

/// Bytes of one message.
const CHUNK: usize = 32 * 1024;

impl UnixSocket {
    /// Sends what fits into the send buffer. EAGAIN, EPIPE, ENOTCONN.
    pub(super) fn send_stream(&self, msg: &mut SendMsg<'_, '_>) -> Result<usize> {
        let peer = {
            let inner = self.inner.lock();
            if msg.addr.is_some() {
                return Err(if inner.state == State::Connected { EISCONN } else { EOPNOTSUPP });
            }
            if inner.shutdown & SEND_SHUTDOWN != 0 {
                return Err(EPIPE);
            }
            inner.peer.clone().ok_or(ENOTCONN)?
        };
        let creds = msg.control.creds.unwrap_or_else(own_creds);
        let from = self.name();
        let mut done = 0;
        while msg.src.remaining() > 0 {
            let sndbuf = self.options().sndbuf();
            let len = msg.src.remaining().min(CHUNK).min((sndbuf / 2).saturating_sub(64).max(1));
            let mut step = || -> Result<usize> {
                let charge = self.wmem.charge(len, sndbuf)?;
                let mut data = vec![0; len];
                let n = msg.src.peek(&mut data)?;
                data.truncate(n);
                let packet = Packet { data, creds, from: from.clone(), _charge: charge };
                peer.take_bytes(Entry::new(packet, msg.control.rights.take()))?;
                msg.src.advance(n);
                Ok(n)
            };
            match step() {
                Ok(n) => done += n,
                Err(errno) if done == 0 => return Err(errno),
                Err(_) => break,
            }
        }
        Ok(done)
    }

    /// Takes a message into the receive queue. EPIPE if nobody will receive it.
    fn take_bytes(&self, entry: Entry) -> Result<()> {
        let refused = {
            let mut inner = self.inner.lock();
            if inner.dead || inner.shutdown & RCV_SHUTDOWN != 0 {
                Some(entry)
            } else {
                inner.recv.push_back(entry);
                None
            }
        };
        if refused.is_some() {
            return Err(EPIPE);
        }
        self.data_ready(PollEvents::READABLE | PollEvents::RDBAND);
        Ok(())
    }

    /// Receives what there is. 0 at the end, EAGAIN before any.
    pub(super) fn recv_stream(&self, msg: &mut RecvMsg<'_, '_>) -> Result<usize> {
        let _reader = self.iolock.lock();
        let passcred = self.options().flag(SO_PASSCRED);
        let peek = msg.wants(MSG_PEEK);
        let mut sender: Option<Ucred> = None;
        let mut done = 0;
        // Messages that were looked at and left in the queue, and bytes that are not even looked at.
        let mut skip = 0;
        let mut pass = self.peek_start(peek);
        let outcome = loop {
            let Some((packet, offset, has_rights)) = self.nth_packet(skip)? else {
                break if done > 0 { Ok(done) } else { self.empty_stream() };
            };
            let left = packet.data.len() - offset;
            if pass > 0 && pass >= left {
                pass -= left;
                skip += 1;
                continue;
            }
            let offset = offset + core::mem::take(&mut pass);
            if sender.is_some_and(|s| passcred && s != packet.creds) {
                msg.boundary = true;
                break Ok(done);
            }
            sender = Some(packet.creds);
            if msg.addr.is_none() {
                msg.addr = packet.from.as_ref().map(|n| n.to_addr());
            }
            let copied = match msg.dest.write(&packet.data[offset..]) {
                Ok(n) => n,
                Err(_) if done > 0 => break Ok(done),
                Err(errno) => break Err(errno),
            };
            done += copied;
            let files = if has_rights { self.take_rights(skip, peek) } else { Vec::new() };
            let whole = offset + copied == packet.data.len();
            if peek {
                skip += 1;
            } else {
                self.consume(copied, whole);
            }
            drop(packet);
            if passcred {
                msg.creds = sender;
            }
            if !files.is_empty() {
                msg.files = files;
                msg.boundary = true;
                break Ok(done);
            }
            if !whole || msg.dest.remaining() == 0 {
                break Ok(done);
            }
        };
        self.move_peek(peek, done);
        outcome
    }

    /// The n-th message in the queue, how much of it was read, and whether descriptors are with it. EINVAL if it was
    /// never connected.
    fn nth_packet(&self, nth: usize) -> Result<Option<(Arc<Packet>, usize, bool)>> {
        let inner = self.inner.lock();
        if inner.state != State::Connected {
            return Err(EINVAL);
        }
        Ok(inner.recv.get(nth).map(|e| (e.packet.clone(), e.offset, e.rights.is_some())))
    }

    fn empty_stream(&self) -> Result<usize> {
        self.options().take_error()?;
        let inner = self.inner.lock();
        match () {
            () if !inner.recv.is_empty() => Err(EAGAIN),
            () if inner.shutdown & RCV_SHUTDOWN != 0 => Ok(0),
            () => Err(EAGAIN),
        }
    }

    /// Descriptors of the n-th message: received, or copied if they are only looked at. The reader's lock keeps the
    /// message in its place.
    pub(super) fn take_rights(&self, nth: usize, peek: bool) -> Vec<Arc<crate::vfs::File>> {
        // Before the queue: garbage collection must find them in one place or the other.
        let mut flights = gc::flights();
        let mut inner = self.inner.lock();
        let Some(entry) = inner.recv.get_mut(nth) else { return Vec::new() };
        if peek {
            return entry.rights.as_ref().map(|r| r.files().to_vec()).unwrap_or_default();
        }
        let rights = entry.rights.take();
        drop(inner);
        rights.map(|r| r.land(&mut flights)).unwrap_or_default()
    }

    /// Moves on in the first message, and takes it out when it was read whole.
    fn consume(&self, n: usize, whole: bool) {
        let finished = {
            let mut inner = self.inner.lock();
            if whole {
                inner.recv.pop_front()
            } else {
                if let Some(entry) = inner.recv.front_mut() {
                    entry.offset += n;
                }
                None
            }
        };
        drop(finished);
    }
}
