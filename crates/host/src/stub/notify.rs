//! Who may clone: the seccomp listener through which every clone of every stub asks.
//!
//! Only the holder of `ORDER` reads the listener, and it knows which thread it has told to clone, and how. Whoever else
//! asks has been tricked by its guest and is refused; while nobody reads, it waits.

use super::abi::{SLOT_LEN, SLOTS, STACK_OFFSET, THREAD_FLAGS};
use super::window::Mapping;
use crate::clock;
use crate::sys::check;
use abi::Result;
use abi::errno::*;
use parking_lot::Mutex;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::OnceLock;

static ORDER: Mutex<()> = Mutex::new(());

/// The listener and the two places in the stub's text that clone.
pub(super) struct Listener {
    pub(super) fd: OwnedFd,
    pub(super) fork_site: u64,
    pub(super) thread_site: u64,
}

pub(super) static LISTENER: OnceLock<Listener> = OnceLock::new();

const POLL_SPIN_NS: u64 = 100_000;
/// _IOWR('!', 0, struct seccomp_notif) and _IOWR('!', 1, struct seccomp_notif_resp).
const NOTIF_RECV: libc::c_ulong = 0xc050_2100;
const NOTIF_SEND: libc::c_ulong = 0xc018_2101;

/// A clone that a thread has been told to make.
pub(super) struct Order {
    pub(super) tid: i32,
    pub(super) flags: u64,
    /// The new thread's slot.
    pub(super) slot: Option<u32>,
}

impl Order {
    fn matches(&self, listener: &Listener, notif: &libc::seccomp_notif) -> bool {
        let [flags, stack, ptid, ctid, tls, _] = notif.data.args;
        let site = if self.flags == THREAD_FLAGS { listener.thread_site } else { listener.fork_site };
        let stack_fits = match self.slot {
            None => stack == 0,
            Some(slot) => {
                let base = SLOTS + u64::from(slot) * SLOT_LEN;
                (base + STACK_OFFSET..base + SLOT_LEN).contains(&stack)
            }
        };
        notif.pid == self.tid as u32
            && notif.data.nr == libc::SYS_clone as i32
            && notif.data.instruction_pointer == site
            && flags == self.flags
            && stack_fits
            && (ptid, ctid, tls) == (0, 0, 0)
    }
}

/// Gives the turn to a stub thread that has been told to clone, and lets it. Returns once the clone is allowed, or the
/// thread has handed back without one. ESRCH if it is `lost`, which is asked when it has not asked to clone for a while.
pub(super) fn ordered(
    order: &Order,
    window: &Mapping,
    spin: bool,
    lost: &mut dyn FnMut() -> bool,
) -> Result<()> {
    let listener = LISTENER.get().ok_or(ENOSYS)?;
    let _guard = ORDER.lock();
    window.release(false);
    let spin_end = if spin { clock::monotonic() + POLL_SPIN_NS } else { 0 };
    loop {
        let now = clock::monotonic();
        let timeout = if now < spin_end { 0 } else { 10 };
        let mut poll = libc::pollfd { fd: listener.fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one pollfd is passed.
        let ready = unsafe { libc::poll(&mut poll, 1, timeout) };
        if ready == 1 && poll.revents & libc::POLLIN != 0 {
            if answer(order, listener) {
                return Ok(());
            }
        } else if window.has_turn() {
            return Ok(());
        } else if ready <= 0 && now >= spin_end && lost() {
            return Err(ESRCH);
        }
    }
}

/// Answers one request; true if it was the ordered one.
fn answer(order: &Order, listener: &Listener) -> bool {
    // The host's structures may be longer than ours one day: it copies no more than the request's size says.
    // SAFETY: seccomp_notif is plain data, for which zero is a value.
    let mut notif: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    // SAFETY: `notif` is writable and zero, as the host wants it.
    let got = check(unsafe { libc::ioctl(listener.fd.as_raw_fd(), NOTIF_RECV, &mut notif) }.into());
    if got.is_err() {
        return false;
    }
    let matches = order.matches(listener, &notif);
    let mut reply = libc::seccomp_notif_resp {
        id: notif.id,
        val: 0,
        error: if matches { 0 } else { -libc::EPERM },
        flags: if matches { libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32 } else { 0 },
    };
    // SAFETY: `reply` is readable.
    let sent = check(unsafe { libc::ioctl(listener.fd.as_raw_fd(), NOTIF_SEND, &mut reply) }.into());
    matches && sent.is_ok()
}
