//! System V message queues and semaphores, sysvipc(7). Shared memory is in `mm`.
//!
//! Here is what the kinds share: identifiers ([`Ids`]) and permissions ([`Perm`]).
//!
//! Locks: IPC_TABLE (identifiers of one kind), then IPC (one object). Credentials are asked for before.

pub mod msg;
pub mod sem;

use std::collections::BTreeMap;
use std::sync::Arc;

use abi::Result;
use abi::cred::{CAP_IPC_OWNER, CAP_SYS_ADMIN};
use abi::errno::{EACCES, EEXIST, EIDRM, EINVAL, ENOENT, ENOSPC, EPERM};
use abi::ipc::{IPC_CREAT, IPC_EXCL, IPC_PRIVATE, Ipc64Perm};

use crate::task::Cred;

/// An identifier is its slot plus a multiple of this, so that an old one isn't taken for a new one.
const IPCMNI: i32 = 32768;

/// Who made an object and who may use it.
#[derive(Clone, Debug)]
pub struct Perm {
    id: i32,
    key: i32,
    uid: u32,
    gid: u32,
    cuid: u32,
    cgid: u32,
    mode: u32,
}

impl Perm {
    /// Of an object that `cred` makes.
    fn new(id: i32, key: i32, flags: u32, cred: &Cred) -> Perm {
        let (uid, gid) = (cred.euid, cred.egid);
        Perm { id, key, uid, gid, cuid: uid, cgid: gid, mode: flags & 0o777 }
    }

    /// Whether `cred` may do what any class's bits in `wanted` say. EACCES.
    fn check(&self, cred: &Cred, wanted: u32) -> Result<()> {
        let wanted = wanted >> 6 | wanted >> 3 | wanted;
        let granted = if cred.euid == self.uid || cred.euid == self.cuid {
            self.mode >> 6
        } else if cred.in_group(self.gid) || cred.in_group(self.cgid) {
            self.mode >> 3
        } else {
            self.mode
        };
        if wanted & !granted & 7 == 0 || cred.capable(CAP_IPC_OWNER) { Ok(()) } else { Err(EACCES) }
    }

    /// Whether `cred` may change or remove it. EPERM.
    fn owned_by(&self, cred: &Cred) -> Result<()> {
        let owner = cred.euid == self.uid || cred.euid == self.cuid;
        if owner || cred.capable(CAP_SYS_ADMIN) { Ok(()) } else { Err(EPERM) }
    }

    /// IPC_SET.
    fn set(&mut self, new: &Ipc64Perm) -> Result<()> {
        if new.uid == u32::MAX || new.gid == u32::MAX {
            return Err(EINVAL);
        }
        (self.uid, self.gid) = (new.uid, new.gid);
        self.mode = self.mode & !0o777 | new.mode & 0o777;
        Ok(())
    }

    fn to_abi(&self) -> Ipc64Perm {
        Ipc64Perm {
            key: self.key,
            uid: self.uid,
            gid: self.gid,
            cuid: self.cuid,
            cgid: self.cgid,
            mode: self.mode,
            seq: (self.id / IPCMNI) as u16,
            ..Ipc64Perm::default()
        }
    }
}

/// Something with an identifier.
pub trait Object {
    /// Its permissions now.
    fn perm(&self) -> Perm;
    /// *get of one that exists: EINVAL if it is too small.
    fn fits(&self, size: usize) -> Result<()>;
}

/// Objects of one kind.
pub struct Ids<T> {
    /// By slot.
    objects: BTreeMap<i32, Arc<T>>,
    next_sequence: i32,
    max: i32,
}

impl<T: Object> Ids<T> {
    /// None yet, and never more than `max`.
    pub const fn new(max: i32) -> Ids<T> {
        Ids { objects: BTreeMap::new(), next_sequence: 0, max }
    }

    /// By identifier. EINVAL, EIDRM.
    fn get(&self, id: i32) -> Result<Arc<T>> {
        let object = self.objects.get(&id.checked_rem(IPCMNI).ok_or(EINVAL)?).ok_or(EINVAL)?;
        if object.perm().id == id { Ok(object.clone()) } else { Err(EIDRM) }
    }

    /// By slot, for the *_STAT commands. EINVAL.
    fn at(&self, slot: i32) -> Result<Arc<T>> {
        self.objects.get(&slot).cloned().ok_or(EINVAL)
    }

    /// The *get calls: finds the object of `key` or makes it. `size` is what the caller wants of it.
    fn find_or_make(
        &mut self,
        key: i32,
        flags: u32,
        size: usize,
        cred: &Cred,
        make: impl FnOnce(Perm) -> Result<T>,
    ) -> Result<i32> {
        let found = self.objects.values().find(|o| key != IPC_PRIVATE && o.perm().key == key);
        if let Some(object) = found {
            if flags & IPC_CREAT != 0 && flags & IPC_EXCL != 0 {
                return Err(EEXIST);
            }
            object.fits(size)?;
            object.perm().check(cred, flags & 0o777)?;
            return Ok(object.perm().id);
        }
        if key != IPC_PRIVATE && flags & IPC_CREAT == 0 {
            return Err(ENOENT);
        }
        let slot = (0..self.max).find(|slot| !self.objects.contains_key(slot)).ok_or(ENOSPC)?;
        let id = self.next_sequence * IPCMNI + slot;
        let object = make(Perm::new(id, key, flags, cred))?;
        self.next_sequence = (self.next_sequence + 1) % (i32::MAX / IPCMNI);
        self.objects.insert(slot, Arc::new(object));
        Ok(id)
    }

    /// Takes an object out; it is the caller's to end.
    fn remove(&mut self, id: i32) {
        self.objects.remove(&(id % IPCMNI));
    }

    /// All objects, by slot.
    fn list(&self) -> Vec<Arc<T>> {
        self.objects.values().cloned().collect()
    }

    /// The highest slot in use.
    fn highest(&self) -> i32 {
        self.objects.last_key_value().map_or(0, |(slot, _)| *slot)
    }
}

fn now() -> i64 {
    crate::time::now_realtime().tv_sec
}
