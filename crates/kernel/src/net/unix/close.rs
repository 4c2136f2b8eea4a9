//! How a socket ends, in one direction or altogether, and who is told.

use abi::net::{SHUT_RD, SHUT_WR};

use super::UnixSocket;
use super::name;
use super::socket::{RCV_SHUTDOWN, SEND_SHUTDOWN, SHUTDOWN_MASK};
use crate::vfs::PollEvents;
use crate::vfs::fasync::Band;

impl UnixSocket {
    /// shutdown(2)
    pub(super) fn shut(&self, how: u32) {
        let mine = match how {
            SHUT_RD => RCV_SHUTDOWN,
            SHUT_WR => SEND_SHUTDOWN,
            _ => SHUTDOWN_MASK,
        };
        let peer = {
            let mut inner = self.inner.lock();
            inner.shutdown |= mine;
            inner.peer.clone()
        };
        if let Some(peer) = peer.filter(|_| self.connects()) {
            // What one side no longer receives, the other can't send.
            let theirs = (mine & RCV_SHUTDOWN) << 1 | (mine & SEND_SHUTDOWN) >> 1;
            peer.inner.lock().shutdown |= theirs;
            peer.wake_all();
            if theirs == SHUTDOWN_MASK {
                peer.wmem.fasync.kill(Band::Hup);
            } else if theirs & RCV_SHUTDOWN != 0 {
                peer.wmem.fasync.kill(Band::In);
            }
        }
        self.wake_all();
    }

    /// Something came into the receive queue.
    pub(super) fn data_ready(&self, events: PollEvents) {
        self.queue.wake(events);
        self.wmem.fasync.kill(Band::In);
    }

    pub(super) fn wake_all(&self) {
        self.queue.wake_all();
        self.peer_wait.wake_all();
    }

    /// The end: the peer is told, and what nobody received is dropped.
    pub(super) fn close(&self) {
        let (name, peer, unread, embryos) = {
            let mut inner = self.inner.lock();
            inner.dead = true;
            inner.shutdown = SHUTDOWN_MASK;
            let unread = core::mem::take(&mut inner.recv);
            let embryos = core::mem::take(&mut inner.embryos);
            (inner.name.clone(), inner.peer.take(), unread, embryos)
        };
        if let Some(name) = name {
            name::unclaim(self, &name);
        }
        if let Some(peer) = peer {
            if self.connects() {
                peer.inner.lock().shutdown = SHUTDOWN_MASK;
                if !unread.is_empty() {
                    peer.options.set_error(abi::errno::ECONNRESET);
                }
            }
            peer.wake_all();
            if self.connects() {
                peer.wmem.fasync.kill(Band::Hup);
            }
        }
        for embryo in embryos {
            // Nobody accepted it: its peer gets a reset.
            if let Some(peer) = embryo.peer() {
                peer.options.set_error(abi::errno::ECONNRESET);
            }
            embryo.close();
        }
        drop(unread);
        self.wake_all();
    }
}
