//! Options of level SOL_SOCKET that mean the same for every protocol, socket(7).

use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};

use abi::cred::CAP_NET_ADMIN;
use abi::errno::{EDOM, EINVAL, ENOPROTOOPT, EPERM};
use abi::net::*;
use abi::time::{Timeval, USEC_PER_SEC};
use abi::{Errno, Result};
use zerocopy::{FromBytes, IntoBytes};

use super::Socket;
use crate::task::current;

/// net.core.rmem_default and wmem_default, bytes.
pub const BUF_DEFAULT: u32 = 212_992;
/// net.core.rmem_max and wmem_max, bytes.
pub const BUF_MAX: u32 = 212_992;
/// The least SO_SNDBUF and SO_RCVBUF, bytes.
const SNDBUF_MIN: u32 = 4608;
const RCVBUF_MIN: u32 = 2304;

/// Options that are on or off: bit n of `flags`.
const FLAGS: [u32; 18] = [
    SO_DEBUG,
    SO_REUSEADDR,
    SO_DONTROUTE,
    SO_BROADCAST,
    SO_KEEPALIVE,
    SO_OOBINLINE,
    SO_NO_CHECK,
    SO_REUSEPORT,
    SO_PASSCRED,
    SO_TIMESTAMP,
    SO_TIMESTAMPNS,
    SO_RXQ_OVFL,
    SO_NOFCS,
    SO_LOCK_FILTER,
    SO_SELECT_ERR_QUEUE,
    SO_PASSSEC,
    SO_RCVMARK,
    SO_ZEROCOPY,
];

/// What setsockopt(2) keeps for SOL_SOCKET.
pub struct Options {
    flags: AtomicU32,
    sndbuf: AtomicU32,
    rcvbuf: AtomicU32,
    /// ns; 0 for none.
    rcvtimeo: AtomicU64,
    sndtimeo: AtomicU64,
    /// Seconds; negative when off.
    linger: AtomicI32,
    priority: AtomicU32,
    mark: AtomicU32,
    rcvlowat: AtomicU32,
    busy_poll: AtomicU32,
    /// Pending error, 0 for none.
    error: AtomicI32,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            flags: AtomicU32::new(0),
            sndbuf: AtomicU32::new(BUF_DEFAULT),
            rcvbuf: AtomicU32::new(BUF_DEFAULT),
            rcvtimeo: AtomicU64::new(0),
            sndtimeo: AtomicU64::new(0),
            linger: AtomicI32::new(-1),
            priority: AtomicU32::new(0),
            mark: AtomicU32::new(0),
            rcvlowat: AtomicU32::new(1),
            busy_poll: AtomicU32::new(0),
            error: AtomicI32::new(0),
        }
    }
}

impl Options {
    /// A copy for an accepted connection.
    pub fn inherit(&self) -> Options {
        let new = Options::default();
        for (to, from) in [
            (&new.flags, &self.flags),
            (&new.sndbuf, &self.sndbuf),
            (&new.rcvbuf, &self.rcvbuf),
            (&new.priority, &self.priority),
            (&new.mark, &self.mark),
            (&new.rcvlowat, &self.rcvlowat),
        ] {
            to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        new.rcvtimeo.store(self.rcvtimeo.load(Ordering::Relaxed), Ordering::Relaxed);
        new.sndtimeo.store(self.sndtimeo.load(Ordering::Relaxed), Ordering::Relaxed);
        new.linger.store(self.linger.load(Ordering::Relaxed), Ordering::Relaxed);
        new
    }

    /// Whether an option of [`FLAGS`] is on.
    pub fn flag(&self, name: u32) -> bool {
        bit(name).is_some_and(|bit| self.flags.load(Ordering::Relaxed) & bit != 0)
    }

    /// SO_SNDBUF, bytes as Linux counts (twice what was asked for).
    pub fn sndbuf(&self) -> usize {
        self.sndbuf.load(Ordering::Relaxed) as usize
    }

    /// SO_RCVBUF, likewise.
    pub fn rcvbuf(&self) -> usize {
        self.rcvbuf.load(Ordering::Relaxed) as usize
    }

    /// SO_RCVTIMEO, ns.
    pub fn rcvtimeo(&self) -> Option<u64> {
        Some(self.rcvtimeo.load(Ordering::Relaxed)).filter(|&t| t != 0)
    }

    /// SO_SNDTIMEO, ns.
    pub fn sndtimeo(&self) -> Option<u64> {
        Some(self.sndtimeo.load(Ordering::Relaxed)).filter(|&t| t != 0)
    }

    /// SO_LINGER, seconds.
    pub fn linger(&self) -> Option<u32> {
        u32::try_from(self.linger.load(Ordering::Relaxed)).ok()
    }

    /// Sets the pending error.
    pub fn set_error(&self, errno: Errno) {
        self.error.store(errno.raw(), Ordering::SeqCst);
    }

    /// Whether an error is pending.
    pub fn has_error(&self) -> bool {
        self.error.load(Ordering::SeqCst) != 0
    }

    /// Takes the pending error: Err with it if there is one.
    pub fn take_error(&self) -> Result<()> {
        match self.error.swap(0, Ordering::SeqCst) {
            0 => Ok(()),
            raw => Err(Errno::from_raw(raw)),
        }
    }
}

fn bit(name: u32) -> Option<u32> {
    FLAGS.iter().position(|&f| f == name).map(|at| 1 << at)
}

fn int(value: &[u8]) -> Result<i32> {
    i32::read_from_prefix(value).map(|(n, _)| n).map_err(|_| EINVAL)
}

/// setsockopt(2) at SOL_SOCKET.
pub fn set(socket: &dyn Socket, name: u32, value: &[u8]) -> Result<()> {
    let options = socket.options();
    match name {
        SO_RCVTIMEO | SO_RCVTIMEO_NEW => options.rcvtimeo.store(timeout(value)?, Ordering::Relaxed),
        SO_SNDTIMEO | SO_SNDTIMEO_NEW => options.sndtimeo.store(timeout(value)?, Ordering::Relaxed),
        SO_LINGER => {
            let (linger, _) = Linger::read_from_prefix(value).map_err(|_| EINVAL)?;
            let seconds = if linger.l_onoff == 0 { -1 } else { linger.l_linger.max(0) };
            options.linger.store(seconds, Ordering::Relaxed);
        }
        SO_SNDBUF | SO_RCVBUF | SO_SNDBUFFORCE | SO_RCVBUFFORCE => set_buffer(options, name, int(value)?)?,
        SO_PRIORITY => {
            let priority = int(value)?;
            if !(0..=6).contains(&priority) && !current().cred().capable(CAP_NET_ADMIN) {
                return Err(EPERM);
            }
            options.priority.store(priority as u32, Ordering::Relaxed);
        }
        SO_MARK => {
            let mark = int(value)?;
            if !current().cred().capable(CAP_NET_ADMIN) {
                return Err(EPERM);
            }
            options.mark.store(mark as u32, Ordering::Relaxed);
        }
        SO_RCVLOWAT => {
            let lowat = match int(value)? {
                0 => 1,
                n => u32::try_from(n).unwrap_or(i32::MAX as u32),
            };
            options.rcvlowat.store(lowat, Ordering::Relaxed);
        }
        SO_BUSY_POLL | SO_PREFER_BUSY_POLL | SO_BUSY_POLL_BUDGET => {
            options.busy_poll.store(int(value)? as u32, Ordering::Relaxed);
        }
        SO_TYPE | SO_PROTOCOL | SO_DOMAIN | SO_ERROR | SO_ACCEPTCONN | SO_SNDLOWAT | SO_PEERCRED => {
            return Err(ENOPROTOOPT);
        }
        _ => match bit(name) {
            Some(bit) if int(value)? != 0 => _ = options.flags.fetch_or(bit, Ordering::Relaxed),
            Some(bit) => _ = options.flags.fetch_and(!bit, Ordering::Relaxed),
            None => return socket.setsockopt(SOL_SOCKET, name, value),
        },
    }
    socket.option_changed(name);
    Ok(())
}

fn set_buffer(options: &Options, name: u32, value: i32) -> Result<()> {
    let force = matches!(name, SO_SNDBUFFORCE | SO_RCVBUFFORCE);
    if force && !current().cred().capable(CAP_NET_ADMIN) {
        return Err(EPERM);
    }
    // As Linux: a negative size is a large one, unless it is forced.
    let wanted = match (force, u32::try_from(value)) {
        (true, wanted) => wanted.unwrap_or(0).min(i32::MAX as u32 / 2),
        (false, wanted) => wanted.unwrap_or(u32::MAX).min(BUF_MAX),
    };
    match name {
        SO_SNDBUF | SO_SNDBUFFORCE => options.sndbuf.store((wanted * 2).max(SNDBUF_MIN), Ordering::Relaxed),
        _ => options.rcvbuf.store((wanted * 2).max(RCVBUF_MIN), Ordering::Relaxed),
    }
    Ok(())
}

/// A timeout in ns; 0 for none.
fn timeout(value: &[u8]) -> Result<u64> {
    let (tv, _) = Timeval::read_from_prefix(value).map_err(|_| EINVAL)?;
    let usec = u64::try_from(tv.tv_usec).ok().filter(|&u| u < USEC_PER_SEC).ok_or(EDOM)?;
    // A negative time waits not at all; the least there is comes close.
    let Ok(sec) = u64::try_from(tv.tv_sec) else { return Ok(1) };
    Ok(sec.saturating_mul(1_000_000_000).saturating_add(usec * 1000))
}

/// getsockopt(2) at SOL_SOCKET.
pub fn get(socket: &dyn Socket, name: u32, len: usize) -> Result<Vec<u8>> {
    let options = socket.options();
    let int = |n: i32| Ok(n.to_ne_bytes().to_vec());
    match name {
        SO_TYPE => int(socket.kind() as i32),
        SO_DOMAIN => int(i32::from(socket.domain())),
        SO_PROTOCOL => int(socket.protocol() as i32),
        SO_ACCEPTCONN => int(i32::from(socket.is_listening())),
        SO_ERROR => int(options.take_error().err().map_or(0, Errno::raw)),
        SO_SNDBUF => int(options.sndbuf() as i32),
        SO_RCVBUF => int(options.rcvbuf() as i32),
        SO_RCVLOWAT => int(options.rcvlowat.load(Ordering::Relaxed) as i32),
        SO_SNDLOWAT => int(1),
        SO_PRIORITY => int(options.priority.load(Ordering::Relaxed) as i32),
        SO_MARK => int(options.mark.load(Ordering::Relaxed) as i32),
        SO_INCOMING_CPU => int(0),
        SO_BPF_EXTENSIONS => int(64),
        SO_BUSY_POLL | SO_PREFER_BUSY_POLL | SO_BUSY_POLL_BUDGET => {
            int(options.busy_poll.load(Ordering::Relaxed) as i32)
        }
        SO_RCVTIMEO | SO_RCVTIMEO_NEW => Ok(timeval(options.rcvtimeo())),
        SO_SNDTIMEO | SO_SNDTIMEO_NEW => Ok(timeval(options.sndtimeo())),
        SO_LINGER => {
            let (on, seconds) = options.linger().map_or((0, 0), |s| (1, s as i32));
            Ok(Linger { l_onoff: on, l_linger: seconds }.as_bytes().to_vec())
        }
        SO_COOKIE => {
            let address = core::ptr::from_ref(options).addr() as u64;
            Ok(address.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_ne_bytes().to_vec())
        }
        _ => match bit(name) {
            Some(_) => int(i32::from(options.flag(name))),
            None => socket.getsockopt(SOL_SOCKET, name, len),
        },
    }
}

fn timeval(ns: Option<u64>) -> Vec<u8> {
    let usec = ns.unwrap_or(0) / 1000;
    let tv = Timeval { tv_sec: (usec / USEC_PER_SEC) as i64, tv_usec: (usec % USEC_PER_SEC) as i64 };
    tv.as_bytes().to_vec()
}
