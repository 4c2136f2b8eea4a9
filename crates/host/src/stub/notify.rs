//! Who may clone: the seccomp listener through which every clone of every stub asks.
//!
//! One thread, the notary, reads it. It knows which threads have been told to clone, and how, and lets each do that once.
//! Whoever else asks has been tricked by its guest and is refused. The notary runs on the core of the stub that asks: the
//! host then only switches to it and back, where an answer from another core would have to wake a sleeping one.

use super::abi::{SLOT_LEN, SLOTS, STACK_OFFSET, THREAD_FLAGS};
use super::process::after_name;
use crate::place;
use crate::sys::check;
use abi::errno::*;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering::Relaxed};

/// The clones that are ordered and not yet asked for: at most one for each thread. A leaf lock.
static ORDERS: Mutex<Vec<Order>> = Mutex::new(Vec::new());
/// The notary's host thread, and the core it is on; -1 and `usize::MAX` for not known.
static NOTARY: AtomicI32 = AtomicI32::new(-1);
static NOTARY_CORE: AtomicUsize = AtomicUsize::new(usize::MAX);

/// How often threads have asked without having been told to clone. A leaf lock.
static REFUSED: Mutex<BTreeMap<i32, u32>> = Mutex::new(BTreeMap::new());
/// Most threads that are kept in mind there.
const MAX_REFUSED: usize = 1024;

/// The listener and the two places in the stub's text that clone.
pub(super) struct Listener {
    pub(super) fd: OwnedFd,
    pub(super) fork_site: u64,
    pub(super) thread_site: u64,
}

pub(super) static LISTENER: OnceLock<Listener> = OnceLock::new();

/// _IOWR('!', 0, struct seccomp_notif), _IOWR('!', 1, struct seccomp_notif_resp), _IOW('!', 4, __u64).
const NOTIF_RECV: libc::c_ulong = 0xc050_2100;
const NOTIF_SEND: libc::c_ulong = 0xc018_2101;
const NOTIF_SET_FLAGS: libc::c_ulong = 0x4008_2104;
/// Who asks and who answers expect each other on the same core.
const SYNC_WAKE_UP: u64 = 1;

/// A clone that a thread is told to make.
#[derive(Clone, Copy, PartialEq, Eq)]
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

/// A clone that may be asked for until this is dropped.
pub(super) struct Ordered(Order);

impl Ordered {
    /// Lets a thread that runs on `core` clone once.
    pub(super) fn new(order: Order, core: Option<usize>) -> Ordered {
        ORDERS.lock().push(order);
        let notary = NOTARY.load(Relaxed);
        if let Some(core) = core
            && notary >= 0
            && NOTARY_CORE.swap(core, Relaxed) != core
        {
            place::pin(notary, core);
        }
        Ordered(order)
    }
}

impl Drop for Ordered {
    fn drop(&mut self) {
        ORDERS.lock().retain(|order| *order != self.0);
    }
}

/// Whether the notary waits for requests, and has none that it only lacks a core to answer.
pub(super) fn is_idle() -> bool {
    let stat = std::fs::read_to_string(format!("/proc/self/task/{}/stat", NOTARY.load(Relaxed)));
    stat.is_ok_and(|stat| after_name(&stat).next() == Some("S"))
}

/// How often this thread has tried to clone of its own accord, as far as it is remembered.
pub(super) fn refusals(tid: i32) -> u32 {
    REFUSED.lock().get(&tid).copied().unwrap_or(0)
}

fn note_refusal(tid: i32) {
    let mut refused = REFUSED.lock();
    if refused.len() >= MAX_REFUSED && !refused.contains_key(&tid) {
        refused.clear();
    }
    let count = refused.entry(tid).or_default();
    *count = count.saturating_add(1);
}

/// Answers whoever asks, for ever. Returns only if the host does not let it.
pub(super) fn answer_forever() {
    let Some(listener) = LISTENER.get() else { return };
    // SAFETY: no arguments.
    NOTARY.store(unsafe { libc::gettid() }, Relaxed);
    // SAFETY: the flags are the argument itself. A host that does not know them only answers more slowly.
    unsafe { libc::ioctl(listener.fd.as_raw_fd(), NOTIF_SET_FLAGS, SYNC_WAKE_UP) };
    while answer(listener) {}
}

/// Waits for a request and answers it; false if there can be none.
fn answer(listener: &Listener) -> bool {
    // The host's structures may be longer than ours one day: it copies no more than the request's size says.
    // SAFETY: seccomp_notif is plain data, for which zero is a value.
    let mut notif: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    // SAFETY: `notif` is writable and zero, as the host wants it.
    let got = check(unsafe { libc::ioctl(listener.fd.as_raw_fd(), NOTIF_RECV, &mut notif) }.into());
    match got {
        Ok(_) => {}
        // Whoever asked is gone, or a signal came.
        Err(ENOENT | EINTR) => return true,
        Err(_) => return false,
    }
    let mut orders = ORDERS.lock();
    let ordered = orders.iter().position(|order| order.matches(listener, &notif));
    if let Some(i) = ordered {
        orders.swap_remove(i);
    }
    drop(orders);
    if ordered.is_none() {
        note_refusal(notif.pid as i32);
    }
    let mut reply = libc::seccomp_notif_resp {
        id: notif.id,
        val: 0,
        error: if ordered.is_some() { 0 } else { -libc::EPERM },
        flags: if ordered.is_some() { libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32 } else { 0 },
    };
    // SAFETY: `reply` is readable. It fails where whoever asked is gone.
    unsafe { libc::ioctl(listener.fd.as_raw_fd(), NOTIF_SEND, &mut reply) };
    true
}
