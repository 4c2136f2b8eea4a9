//! connect(2), listen(2), accept(2).

use std::sync::{Arc, Weak};

use abi::Result;
use abi::errno::{EAGAIN, ECONNREFUSED, EINVAL, EISCONN, EPERM, ETIMEDOUT};
use abi::net::{AF_UNSPEC, SO_PASSCRED};

use super::UnixSocket;
use super::name;
use super::socket::{RCV_SHUTDOWN, State, peer_creds};
use crate::net::calls::interrupted;
use crate::net::{Socket, addr};
use crate::sync::{Sleep, wait_event};
use crate::task::current;
use crate::vfs::PollEvents;

impl UnixSocket {
    /// listen(2). EINVAL without a name, or when connected.
    pub(super) fn start_listening(&self, backlog: usize) -> Result<()> {
        let (creds, groups) = peer_creds();
        let grown = {
            let mut inner = self.inner.lock();
            if inner.name.is_none() || !matches!(inner.state, State::Unconnected | State::Listening) {
                return Err(EINVAL);
            }
            let grown = backlog > inner.max_backlog;
            inner.max_backlog = backlog;
            inner.state = State::Listening;
            // What connecters see as SO_PEERCRED.
            inner.peercred = Some(creds);
            inner.peer_process = Arc::downgrade(&current().process);
            inner.peergroups = groups;
            grown
        };
        if grown {
            self.peer_wait.wake_all();
        }
        Ok(())
    }

    /// accept(2). EAGAIN; EINVAL if it doesn't listen.
    pub(super) fn next_embryo(&self) -> Result<Arc<UnixSocket>> {
        let embryo = {
            let mut inner = self.inner.lock();
            if inner.state != State::Listening {
                return Err(EINVAL);
            }
            match inner.embryos.pop_front() {
                Some(embryo) => embryo,
                // It was shut down: nobody will come.
                None if inner.shutdown & RCV_SHUTDOWN != 0 => return Err(EINVAL),
                None => return Err(EAGAIN),
            }
        };
        self.peer_wait.wake(PollEvents::WRITABLE);
        Ok(embryo)
    }

    /// connect(2) of a stream or a sequence of packets. ECONNREFUSED, EISCONN, EAGAIN with a full backlog.
    pub(super) fn connect_stream(&self, addr: &[u8], nonblock: bool) -> Result<()> {
        let name = name::parse(addr)?.ok_or(EINVAL)?;
        if self.options().flag(SO_PASSCRED) {
            self.autobind()?;
        }
        let timeout = self.options().sndtimeo();
        let sleep = Sleep::until(timeout.map(|t| host::clock::monotonic().saturating_add(t)));
        {
            let mut inner = self.inner.lock();
            match inner.state {
                State::Unconnected => inner.state = State::Connecting,
                State::Connected => return Err(EISCONN),
                State::Connecting | State::Listening => return Err(EINVAL),
            }
        }
        let outcome = loop {
            let listener = match name::find(&name, self.kind()) {
                Ok(listener) => listener,
                Err(errno) => break Err(errno),
            };
            match self.join(&listener) {
                Err(EAGAIN) if !nonblock => {}
                other => break other,
            }
            let room = wait_event(&listener.peer_wait, sleep, || (!listener.is_backlog_full()).then_some(()));
            match room {
                Ok(()) => {}
                Err(ETIMEDOUT) => break Err(EAGAIN),
                Err(errno) => break Err(interrupted(errno, timeout)),
            }
        };
        if outcome.is_err() {
            let mut inner = self.inner.lock();
            if inner.state == State::Connecting {
                inner.state = State::Unconnected;
            }
        }
        outcome
    }

    fn is_backlog_full(&self) -> bool {
        let inner = self.inner.lock();
        inner.state == State::Listening
            && !inner.dead
            && inner.shutdown & RCV_SHUTDOWN == 0
            && inner.embryos.len() > inner.max_backlog
    }

    /// Puts the other end of the connection into the listener's backlog. EAGAIN when that is full.
    fn join(&self, listener: &UnixSocket) -> Result<()> {
        if listener.is_backlog_full() {
            return Err(EAGAIN);
        }
        let (creds, groups) = peer_creds();
        let embryo = UnixSocket::new(self.kind(), listener.options().inherit());
        let name = listener.name();
        {
            let mut new = embryo.inner.lock();
            new.peer = Some(self.arc());
            new.state = State::Connected;
            new.peercred = Some(creds);
            new.peer_process = Arc::downgrade(&current().process);
            new.peergroups = groups;
            new.name = name;
        }
        // This end is ready before anybody can accept the other one.
        let (peercred, peer_process, peergroups) = {
            let inner = listener.inner.lock();
            (inner.peercred, inner.peer_process.clone(), inner.peergroups.clone())
        };
        {
            let mut inner = self.inner.lock();
            inner.peer = Some(embryo.clone());
            inner.state = State::Connected;
            inner.peercred = peercred;
            inner.peer_process = peer_process;
            inner.peergroups = peergroups;
        }
        let joined = {
            let mut inner = listener.inner.lock();
            if inner.dead || inner.state != State::Listening || inner.shutdown & RCV_SHUTDOWN != 0 {
                Err(ECONNREFUSED)
            } else if inner.embryos.len() > inner.max_backlog {
                Err(EAGAIN)
            } else {
                inner.embryos.push_back(embryo.clone());
                Ok(())
            }
        };
        match joined {
            Ok(()) => {
                listener.data_ready(PollEvents::READABLE);
                // A poller of this end sees it connected.
                self.queue.wake(PollEvents::WRITABLE);
            }
            Err(_) => {
                let mut inner = self.inner.lock();
                inner.peer = None;
                inner.peercred = None;
                inner.state = State::Connecting;
                drop(inner);
                embryo.inner.lock().peer = None;
            }
        }
        joined
    }

    /// connect(2) of a datagram socket: sets or, with AF_UNSPEC, forgets the destination.
    pub(super) fn connect_dgram(&self, addr: &[u8]) -> Result<()> {
        let other = if addr::family(addr)? == AF_UNSPEC {
            None
        } else {
            let name = name::parse(addr)?.ok_or(EINVAL)?;
            if self.options().flag(SO_PASSCRED) {
                self.autobind()?;
            }
            let other = name::find(&name, self.kind())?;
            if !other.accepts_from(self) {
                return Err(EPERM);
            }
            Some(other)
        };
        let (creds, process, groups) = match &other {
            Some(other) => {
                let inner = other.inner.lock();
                (inner.peercred, inner.peer_process.clone(), inner.peergroups.clone())
            }
            None => (None, Weak::new(), Arc::from([])),
        };
        let old = {
            let mut inner = self.inner.lock();
            inner.state = if other.is_some() { State::Connected } else { State::Unconnected };
            inner.peercred = creds;
            inner.peer_process = process;
            inner.peergroups = groups;
            core::mem::replace(&mut inner.peer, other)
        };
        drop(old);
        self.queue.wake_all();
        Ok(())
    }
}
