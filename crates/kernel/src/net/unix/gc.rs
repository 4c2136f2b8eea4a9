//! Sockets that only messages hold: when a socket lies in the queue of a socket that lies in its own queue, nobody can
//! reach either any more, and reference counts alone would keep them for ever.
//!
//! A socket whose every reference is a message's is suspect. Messages in the queues of suspects are subtracted; a
//! suspect that is left with a reference is reachable, and so is all that its queue leads to. The rest is garbage, and
//! emptying its queues breaks the circle.
//!
//! Lock: FLIGHTS (sleeping): descriptors take off and land under it, so that none moves while it counts.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, LazyLock, Weak};

use super::UnixSocket;
use super::queue::Entry;
use crate::net::SocketFile;
use crate::sync::{Mutex, MutexGuard};
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

/// Frees the sockets that nobody can reach. May sleep.
pub fn collect() {
    let flights = flights();
    if flights.sockets.is_empty() {
        return;
    }
    let lost = flights.garbage();
    drop(flights);
    drop(lost);
}

/// The address by which a file in flight is known, if it is a unix socket.
pub fn socket_address(file: &Arc<File>) -> Option<usize> {
    unix_socket(file).map(|_| address(file))
}
