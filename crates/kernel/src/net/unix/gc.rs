//! Sockets that only messages hold: when a socket lies in the queue of a socket that lies in its own queue, nobody can
//! reach either any more, and reference counts alone would keep them for ever.
//!
//! A socket whose every reference is a message's is suspect. Messages in the queues of suspects are subtracted; a
//! suspect that is left with a reference is reachable, and so is all that its queue leads to. The rest is garbage, and
//! emptying its queues breaks the circle.
//!
//! Looking costs what there is in flight. So looks that come while one is under way, or while a chain of sockets is
//! being closed, become one at its end ([`tidy`]); and after a look in vain over many sockets the next ones are skipped.
//! One task at a time tidies, for all: nothing here recurses, however sockets lie in each other.
//!
//! Lock: FLIGHTS (sleeping): descriptors take off and land under it, so that none moves while it counts. CLOSING is a
//! leaf.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Weak};

use super::UnixSocket;
use super::queue::Entry;
use crate::net::SocketFile;
use crate::sched;
use crate::sync::{Mutex, MutexGuard, SpinLock, rank};
use crate::vfs::File;

struct Flight {
    file: Weak<File>,
    socket: Arc<UnixSocket>,
    /// Messages that hold it.
    count: usize,
}

/// What is in flight.
#[derive(Default)]
pub struct Flights {
    /// Unix sockets, by the address of their open file.
    sockets: HashMap<usize, Flight>,
    /// Number of descriptors of any kind, by sender.
    users: HashMap<u32, u64>,
}

static FLIGHTS: LazyLock<Mutex<Flights>> = LazyLock::new(|| Mutex::new(Flights::default()));

/// Sockets in flight beyond which a sender collects garbage first.
const MANY: usize = 16_000;
/// A look in vain over so many sockets makes up for one that is skipped.
const SKIP_SHARE: usize = 64;

/// Files to close one after the other, not one within the other.
static CLOSING: SpinLock<Vec<Arc<File>>> = SpinLock::new(rank::LEAF, Vec::new());
/// Whether somebody is to look for garbage.
static WANTED: AtomicBool = AtomicBool::new(false);
/// Whether somebody is at work in [`tidy`].
static AT_WORK: AtomicBool = AtomicBool::new(false);
/// Calls of [`collect`] that are not worth a look.
static SKIP: AtomicUsize = AtomicUsize::new(0);

/// The flight lock.
pub fn flights() -> MutexGuard<'static, Flights> {
    FLIGHTS.lock()
}

fn address(file: &Arc<File>) -> usize {
    Arc::as_ptr(file).addr()
}

fn unix_socket(file: &File) -> Option<Arc<UnixSocket>> {
    let socket = SocketFile::of(file).ok()?.clone();
    UnixSocket::downcast(socket)
}

/// Counts `files` as in flight for `uid`; fails when more than `limit` are.
pub fn take_off(files: &[Arc<File>], uid: u32, limit: u64) -> Result<(), ()> {
    let mut flights = flights();
    if flights.sockets.len() > MANY {
        drop(flights);
        SKIP.store(0, Ordering::SeqCst);
        collect();
        flights = self::flights();
    }
    let user = flights.users.entry(uid).or_default();
    if *user > limit {
        return Err(());
    }
    *user += files.len() as u64;
    for file in files {
        let Some(socket) = unix_socket(file) else { continue };
        let flight = flights.sockets.entry(address(file)).or_insert_with(|| Flight {
            file: Arc::downgrade(file),
            socket,
            count: 0,
        });
        flight.count += 1;
    }
    Ok(())
}

impl Flights {
    /// Counts `files` as received or lost.
    pub fn land(&mut self, files: &[Arc<File>], uid: u32) {
        if let Some(user) = self.users.get_mut(&uid) {
            *user = user.saturating_sub(files.len() as u64);
            if *user == 0 {
                self.users.remove(&uid);
            }
        }
        for file in files {
            if let Some(flight) = self.sockets.get_mut(&address(file)) {
                flight.count -= 1;
                if flight.count == 0 {
                    self.sockets.remove(&address(file));
                }
            }
        }
    }

    /// Queues of the sockets that nobody can reach.
    fn garbage(&self) -> Vec<Entry> {
        let mut refs: HashMap<usize, usize> = HashMap::new();
        for (&address, flight) in &self.sockets {
            if flight.file.strong_count() == flight.count {
                refs.insert(address, flight.count);
            }
        }
        let children: HashMap<usize, Vec<usize>> =
            refs.keys().map(|&a| (a, self.sockets[&a].socket.sockets_in_queue())).collect();
        for child in children.values().flatten() {
            if let Some(count) = refs.get_mut(child) {
                *count = count.saturating_sub(1);
            }
        }
        let mut reached: Vec<usize> = refs.iter().filter(|(_, n)| **n > 0).map(|(a, _)| *a).collect();
        let mut alive: HashSet<usize> = reached.iter().copied().collect();
        while let Some(at) = reached.pop() {
            for &child in children.get(&at).into_iter().flatten() {
                if refs.contains_key(&child) && alive.insert(child) {
                    reached.push(child);
                }
            }
        }
        let dead = refs.keys().filter(|a| !alive.contains(a));
        dead.flat_map(|a| self.sockets[a].socket.take_queue()).collect()
    }
}

/// Frees the sockets that nobody can reach, now or soon. May sleep.
pub fn collect() {
    if SKIP.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_err() {
        WANTED.store(true, Ordering::SeqCst);
        tidy();
    }
}

/// Closes files that were lost in flight. May sleep.
pub fn close_later(files: Vec<Arc<File>>) {
    CLOSING.lock().extend(files);
    tidy();
}

/// Closes what is to be closed, then looks for garbage if that is wanted, until there is neither. Closing may call this
/// again: it leaves the work to the call that is under way.
fn tidy() {
    let is_wanted = || WANTED.load(Ordering::SeqCst) || !CLOSING.lock().is_empty();
    // Somebody may have left work after the last look of another, trusting it.
    while is_wanted() && !AT_WORK.swap(true, Ordering::SeqCst) {
        loop {
            let next = CLOSING.lock().pop();
            match next {
                Some(file) => drop(file),
                None if WANTED.swap(false, Ordering::SeqCst) => drop(take_garbage()),
                None => break,
            }
            // A task that dies has to go on all the same.
            let _ = sched::cond_resched();
        }
        AT_WORK.store(false, Ordering::SeqCst);
    }
}

fn take_garbage() -> Vec<Entry> {
    let flights = flights();
    let lost = flights.garbage();
    let skip = if lost.is_empty() { flights.sockets.len() / SKIP_SHARE } else { 0 };
    SKIP.store(skip, Ordering::SeqCst);
    lost
}

/// The address by which a file in flight is known, if it is a unix socket.
pub fn socket_address(file: &Arc<File>) -> Option<usize> {
    unix_socket(file).map(|_| address(file))
}
