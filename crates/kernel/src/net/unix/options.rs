//! What setsockopt(2) and getsockopt(2) know of AF_UNIX alone: credentials of the peer, SO_PEEK_OFF.

use std::sync::atomic::Ordering;

use abi::Result;
use abi::errno::{EINVAL, ENOPROTOOPT, EOPNOTSUPP};
use abi::net::*;
use zerocopy::{FromBytes, IntoBytes};

use super::UnixSocket;
use crate::net::Socket;
use crate::task::{current, pidfd};

impl UnixSocket {
    /// Where a receiver begins: at SO_PEEK_OFF if it only looks.
    pub(super) fn peek_start(&self, peek: bool) -> usize {
        if peek { usize::try_from(self.peek_off.load(Ordering::Relaxed)).unwrap_or(0) } else { 0 }
    }

    /// `n` bytes were looked at, or have left the queue: SO_PEEK_OFF moves with them. The reader's lock is held.
    pub(super) fn move_peek(&self, peek: bool, n: usize) {
        let n = i32::try_from(n).unwrap_or(i32::MAX);
        let moved = |off: i32| if peek { off.saturating_add(n) } else { off.saturating_sub(n).max(0) };
        let change = |off: i32| (off >= 0).then(|| moved(off));
        // A setting in between stands.
        let _ = self.peek_off.fetch_update(Ordering::Relaxed, Ordering::Relaxed, change);
    }

    /// setsockopt(2). EINVAL, ENOPROTOOPT.
    pub(super) fn set_option(&self, level: u32, name: u32, value: &[u8]) -> Result<()> {
        if (level, name) == (SOL_SOCKET, SO_PEEK_OFF) {
            let (off, _) = i32::read_from_prefix(value).map_err(|_| EINVAL)?;
            self.peek_off.store(off, Ordering::Relaxed);
            return Ok(());
        }
        Err(if level == SOL_SOCKET { ENOPROTOOPT } else { EOPNOTSUPP })
    }

    /// getsockopt(2). ENODATA and ESRCH without a peer, ERANGE, ENOPROTOOPT.
    pub(super) fn get_option(&self, level: u32, name: u32, len: usize) -> Result<Vec<u8>> {
        if level != SOL_SOCKET {
            return Err(EOPNOTSUPP);
        }
        match name {
            SO_PEERCRED => {
                let none = Ucred { pid: 0, uid: u32::MAX, gid: u32::MAX };
                let creds = self.inner.lock().peercred.unwrap_or(none);
                Ok(creds.as_bytes().to_vec())
            }
            SO_PEEK_OFF => Ok(self.peek_off.load(Ordering::Relaxed).as_bytes().to_vec()),
            SO_PEERPIDFD => {
                let process = {
                    let inner = self.inner.lock();
                    inner.peercred.ok_or(abi::errno::ENODATA)?;
                    inner.peer_process.clone()
                };
                let file = pidfd::file_of_process(process.upgrade().ok_or(abi::errno::ESRCH)?)?;
                let fd = current().files()?.install(file, true)?;
                Ok(fd.0.as_bytes().to_vec())
            }
            SO_PEERGROUPS => {
                let (known, groups) = {
                    let inner = self.inner.lock();
                    (inner.peercred.is_some(), inner.peergroups.clone())
                };
                match () {
                    () if !known => Err(abi::errno::ENODATA),
                    () if groups.len() * 4 > len => Err(abi::errno::ERANGE),
                    () => Ok(groups.as_bytes().to_vec()),
                }
            }
            SO_PEERNAME => self.peername(),
            // As a kernel without security modules.
            _ => Err(ENOPROTOOPT),
        }
    }
}
