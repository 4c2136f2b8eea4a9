//! Keyrings, keyrings(7): keys that the kernel keeps for programs, by name and number.
//!
//! - here: keys, rings of keys, and where a process's rings are. `calls.rs`: add_key(2), request_key(2), keyctl(2).
//!
//! Types: `keyring`, `user`, `logon`. No program is run to make a key that is asked for: request_key(2) finds or fails.
//!
//! Locks: KEYS, over one key's contents, and KEYRINGS, over the tables of all keys and of users' rings, in the order
//! KEYRINGS, KEYS; of two keys one at a time.

mod calls;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Weak};

use abi::Result;
use abi::errno::{EACCES, EDQUOT, EKEYEXPIRED, EKEYREVOKED, ENFILE, ENOKEY};

pub use calls::{add_key, keyctl, request_key};

use crate::mm::kmem::Kmem;
use crate::sync::{SpinLock, rank};
use crate::task::{Cred, Task};

/// Most keys and bytes of a user; root has more. /proc/sys/kernel/keys.
const MAX_KEYS: usize = 200;
const MAX_BYTES: usize = 20_000;
const ROOT_MAX_KEYS: usize = 1_000_000;
const ROOT_MAX_BYTES: usize = 25_000_000;
/// What a key counts besides its description and contents.
const KEY_COST: usize = 64;

/// What somebody may do with a key: the bits of one of the four groups of its permissions.
pub mod need {
    /// See its attributes.
    pub const VIEW: u32 = 0x01;
    /// Read its contents.
    pub const READ: u32 = 0x02;
    /// Change it.
    pub const WRITE: u32 = 0x04;
    /// Find it.
    pub const SEARCH: u32 = 0x08;
    /// Put it into a ring.
    pub const LINK: u32 = 0x10;
    /// Change its owner, permissions, timeout.
    pub const SETATTR: u32 = 0x20;
}

/// Permissions of a key: possessor, user, group, other.
const PERM_POSSESSOR_ALL: u32 = 0x3f00_0000;
const PERM_USER_VIEW: u32 = 0x0001_0000;
const PERM_USER_READ: u32 = 0x0002_0000;
const PERM_USER_ALL: u32 = 0x003f_0000;

/// What a key holds.
enum Body {
    Ring(Vec<Arc<Key>>),
    Data(Vec<u8>),
}

/// A key.
pub struct Key {
    serial: i32,
    /// `keyring`, `user` or `logon`.
    kind: &'static str,
    description: Vec<u8>,
    state: SpinLock<State>,
}

struct State {
    uid: u32,
    gid: u32,
    perm: u32,
    body: Body,
    revoked: bool,
    invalid: bool,
    /// Boot-time clock, ns; 0 for never.
    expires: u64,
    charge: Option<Kmem>,
}

type Rings = BTreeMap<u32, Arc<Key>>;

struct Tables {
    by_serial: BTreeMap<i32, Weak<Key>>,
    user: Rings,
    user_session: Rings,
}

static TABLES: SpinLock<Tables> = SpinLock::new(
    rank::KEYRINGS,
    Tables { by_serial: BTreeMap::new(), user: BTreeMap::new(), user_session: BTreeMap::new() },
);

static NEXT: AtomicI32 = AtomicI32::new(0);

/// The rings of a process.
#[derive(Clone, Default)]
pub struct ProcessRings {
    session: Option<Arc<Key>>,
    process: Option<Arc<Key>>,
}

impl ProcessRings {
    /// What a child has: the same session's.
    pub fn for_child(&self) -> ProcessRings {
        ProcessRings { session: self.session.clone(), process: None }
    }
}

impl Key {
    /// A new key that is in no ring. EDQUOT, ENFILE.
    fn new(
        kind: &'static str,
        description: &[u8],
        cred: &Cred,
        perm: u32,
        data: Option<Vec<u8>>,
    ) -> Result<Arc<Key>> {
        let size = KEY_COST + description.len() + data.as_ref().map_or(0, Vec::len);
        let (max_keys, max_bytes) =
            if cred.fsuid == 0 { (ROOT_MAX_KEYS, ROOT_MAX_BYTES) } else { (MAX_KEYS, MAX_BYTES) };
        let (keys, bytes) = usage(cred.fsuid);
        if keys >= max_keys || bytes + size > max_bytes {
            return Err(EDQUOT);
        }
        let charge = Kmem::charge_lasting(size).map_err(|_| EDQUOT)?;
        let mut tables = TABLES.lock();
        tables.by_serial.retain(|_, key| key.strong_count() > 0);
        let serial = loop {
            let mut random = [0; 4];
            host::random::fill(&mut random);
            // Positive, and not among the special numbers.
            let serial = i32::from_ne_bytes(random) & i32::MAX;
            if serial > 2 && !tables.by_serial.contains_key(&serial) {
                break serial;
            }
            if NEXT.fetch_add(1, Ordering::Relaxed) == i32::MAX {
                return Err(ENFILE);
            }
        };
        let state = State {
            uid: cred.fsuid,
            gid: cred.fsgid,
            perm,
            body: data.map_or_else(|| Body::Ring(Vec::new()), Body::Data),
            revoked: false,
            invalid: false,
            expires: 0,
            charge: Some(charge),
        };
        let state = SpinLock::new(rank::KEYS, state);
        let key = Arc::new(Key { serial, kind, description: description.to_vec(), state });
        tables.by_serial.insert(serial, Arc::downgrade(&key));
        Ok(key)
    }

    fn is_ring(&self) -> bool {
        self.kind == "keyring"
    }

    fn size(&self) -> usize {
        let held = match &self.state.lock().body {
            Body::Ring(keys) => keys.len() * 8,
            Body::Data(data) => data.len(),
        };
        KEY_COST + self.description.len() + held
    }

    /// EKEYREVOKED, EKEYEXPIRED, ENOKEY.
    fn check_alive(&self) -> Result<()> {
        let state = self.state.lock();
        match () {
            () if state.invalid => Err(ENOKEY),
            () if state.revoked => Err(EKEYREVOKED),
            () if state.expires != 0 && host::clock::boottime() >= state.expires => Err(EKEYEXPIRED),
            () => Ok(()),
        }
    }

    /// Whether somebody who has it in a ring of theirs (`possessed`) or not may do `need`. EACCES.
    fn check(&self, cred: &Cred, possessed: bool, need: u32) -> Result<()> {
        let state = self.state.lock();
        let shift = match () {
            () if state.uid == cred.fsuid => 16,
            () if state.perm & 0x3f00 != 0 && cred.in_group(state.gid) => 8,
            () => 0,
        };
        let mut granted = state.perm >> shift & 0x3f;
        if possessed {
            granted |= state.perm >> 24 & 0x3f;
        }
        if granted & need == need { Ok(()) } else { Err(EACCES) }
    }

    fn keys(&self) -> Vec<Arc<Key>> {
        match &self.state.lock().body {
            Body::Ring(keys) => keys.clone(),
            Body::Data(_) => Vec::new(),
        }
    }

    /// Whether `wanted` is in this ring, or in one below it.
    fn holds(self: &Arc<Self>, wanted: &Arc<Key>) -> bool {
        let mut todo = vec![self.clone()];
        let mut seen = Vec::new();
        while let Some(ring) = todo.pop() {
            if Arc::ptr_eq(&ring, wanted) {
                return true;
            }
            if ring.is_ring() && !seen.contains(&ring.serial) {
                seen.push(ring.serial);
                todo.extend(ring.keys());
            }
        }
        false
    }
}

/// Keys and bytes of a user.
fn usage(uid: u32) -> (usize, usize) {
    // What dies in between is dropped without the lock.
    let all: Vec<_> = TABLES.lock().by_serial.values().filter_map(Weak::upgrade).collect();
    let own = all.iter().filter(|k| k.state.lock().uid == uid);
    own.fold((0, 0), |(keys, bytes), key| (keys + 1, bytes + key.size()))
}

/// The ring of a user, or of its sessions without one of their own; made when it is first asked for.
fn user_ring(cred: &Cred, session: bool) -> Result<Arc<Key>> {
    let uid = cred.uid;
    let find = |tables: &Tables| {
        let rings = if session { &tables.user_session } else { &tables.user };
        rings.get(&uid).cloned()
    };
    if let Some(found) = find(&TABLES.lock()) {
        return Ok(found);
    }
    let name = if session { format!("_uid_ses.{uid}") } else { format!("_uid.{uid}") };
    let owner = Cred { fsuid: uid, fsgid: u32::MAX, ..cred.clone() };
    let ring = Key::new("keyring", name.as_bytes(), &owner, PERM_POSSESSOR_ALL | PERM_USER_ALL, None)?;
    if session {
        let user = user_ring(cred, false)?;
        if let Body::Ring(keys) = &mut ring.state.lock().body {
            keys.push(user);
        }
    }
    let mut tables = TABLES.lock();
    let rings = if session { &mut tables.user_session } else { &mut tables.user };
    Ok(rings.entry(uid).or_insert(ring).clone())
}

/// The session's ring of a task: its own, or its user's.
fn session_ring(task: &Task) -> Result<Arc<Key>> {
    let own = task.process.keyrings.lock().session.clone();
    own.map_or_else(|| user_ring(&task.cred(), true), Ok)
}

/// All rings through which a task possesses keys.
fn own_rings(task: &Task) -> Vec<Arc<Key>> {
    let rings = task.process.keyrings.lock().clone();
    let session = session_ring(task).ok();
    rings.process.into_iter().chain(session).collect()
}

fn possesses(task: &Task, key: &Arc<Key>) -> bool {
    own_rings(task).iter().any(|ring| ring.holds(key))
}
