//! Advisory locks: POSIX record locks and open file description locks (fcntl_locking(2)), and flock(2).
//!
//! A POSIX lock belongs to a descriptor table and goes when any descriptor of the file is closed there; OFD and flock
//! locks belong to an open file and go with it.
//!
//! Locks: FILE_LOCKS, the list of one inode; then LOCKED, the inodes that have some, for /proc/locks; or BLOCKED, who
//! waits for whom, for EDEADLK.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use abi::Result;
use abi::errno::*;
use abi::fcntl::*;

use super::{File, FileMode, FilesStruct, Inode};
use crate::sync::{Sleep, SpinLock, rank, wait_event};
use crate::task::current;
use crate::uaccess::UserPtr;

/// Most record locks of one inode and of the machine: ENOLCK beyond.
const MAX_LOCKS: usize = 16_384;
const MAX_LOCKS_OF_ALL: usize = 262_144;
/// The end of a lock without one.
const TO_THE_END: u64 = i64::MAX as u64;

/// Whose a record lock is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    /// A descriptor table, by address: POSIX.
    Files(usize),
    /// An open file, by address: OFD.
    File(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct RecordLock {
    owner: Owner,
    /// Of the process, for F_GETLK; -1 for an OFD lock.
    pid: i32,
    exclusive: bool,
    start: u64,
    /// Last byte.
    end: u64,
}

impl RecordLock {
    fn overlaps(&self, start: u64, end: u64) -> bool {
        self.start <= end && start <= self.end
    }
}

/// Locks of one inode.
#[derive(Default)]
pub struct FileLocks {
    records: Vec<RecordLock>,
    flocks: Vec<FlockLock>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FlockLock {
    /// The open file by address.
    file: usize,
    /// Of the process that took it.
    pid: i32,
    exclusive: bool,
}

/// Locks of all inodes, and the inodes by address.
static TOTAL: AtomicUsize = AtomicUsize::new(0);
static LOCKED: SpinLock<BTreeMap<usize, Weak<Inode>>> = SpinLock::new(rank::LEAF, BTreeMap::new());

/// Changes the locks of an inode, and keeps account of it.
fn change<R>(inode: &Arc<Inode>, change: impl FnOnce(&mut FileLocks) -> R) -> R {
    let mut locks = inode.locks.lock();
    let before = locks.len();
    let result = change(&mut locks);
    let after = locks.len();
    if before != after {
        TOTAL.fetch_add(after, Ordering::Relaxed);
        TOTAL.fetch_sub(before, Ordering::Relaxed);
        let address = Arc::as_ptr(inode).addr();
        match (before, after) {
            (0, _) => _ = LOCKED.lock().insert(address, Arc::downgrade(inode)),
            (_, 0) => _ = LOCKED.lock().remove(&address),
            _ => {}
        }
    }
    result
}

/// /proc/locks: those that are held.
pub fn proc_lines() -> String {
    let inodes: Vec<_> = LOCKED.lock().values().filter_map(Weak::upgrade).collect();
    let mut out = String::new();
    let mut id = 0;
    for inode in inodes {
        let (records, flocks) = {
            let locks = inode.locks.lock();
            (locks.records.clone(), locks.flocks.clone())
        };
        let (major, minor) = (abi::stat::major(inode.sb.dev), abi::stat::minor(inode.sb.dev));
        let file = format!("{major:02x}:{minor:02x}:{}", inode.ino);
        let mode = |exclusive| if exclusive { "WRITE" } else { "READ" };
        for l in flocks {
            id += 1;
            let _ = writeln!(out, "{id}: FLOCK  ADVISORY  {} {} {file} 0 EOF", mode(l.exclusive), l.pid);
        }
        for l in records {
            id += 1;
            let kind = if matches!(l.owner, Owner::File(_)) { "OFDLCK" } else { "POSIX " };
            let end = if l.end == TO_THE_END { "EOF".to_owned() } else { l.end.to_string() };
            let (mode, pid, start) = (mode(l.exclusive), l.pid, l.start);
            let _ = writeln!(out, "{id}: {kind} ADVISORY  {mode} {pid} {file} {start} {end}");
        }
    }
    out
}

impl FileLocks {
    fn len(&self) -> usize {
        self.records.len() + self.flocks.len()
    }

    fn conflict(&self, wanted: &RecordLock) -> Option<RecordLock> {
        let blocks = |l: &&RecordLock| {
            l.owner != wanted.owner
                && (l.exclusive || wanted.exclusive)
                && l.overlaps(wanted.start, wanted.end)
        };
        self.records.iter().filter(blocks).min_by_key(|l| l.start).copied()
    }

    /// Takes a range away from an owner; what a lock has on either side of it stays.
    fn clear(&mut self, owner: Owner, start: u64, end: u64) {
        let mut kept = Vec::new();
        self.records.retain(|l| {
            if l.owner != owner || !l.overlaps(start, end) {
                return true;
            }
            if l.start < start {
                kept.push(RecordLock { end: start - 1, ..*l });
            }
            if l.end > end {
                kept.push(RecordLock { start: end + 1, ..*l });
            }
            false
        });
        self.records.append(&mut kept);
    }

    /// Gives a range to an owner, joining it with what touches it.
    fn set(&mut self, mut new: RecordLock) {
        self.clear(new.owner, new.start, new.end);
        let same = |l: &RecordLock| l.owner == new.owner && l.exclusive == new.exclusive;
        let before = self.records.iter().position(|l| same(l) && l.end.checked_add(1) == Some(new.start));
        if let Some(at) = before {
            new.start = self.records.swap_remove(at).start;
        }
        let after = self.records.iter().position(|l| same(l) && new.end.checked_add(1) == Some(l.start));
        if let Some(at) = after {
            new.end = self.records.swap_remove(at).end;
        }
        self.records.push(new);
    }
}

/// Waiting owners and whom they wait for.
static BLOCKED: SpinLock<Vec<(Owner, Owner)>> = SpinLock::new(rank::LEAF, Vec::new());

/// Notes that `waiter` waits for `holder` until dropped. EDEADLK if `holder` waits, over others, for `waiter`.
struct Waiting(Owner, Owner);

impl Waiting {
    fn begin(waiter: Owner, holder: Owner) -> Result<Option<Waiting>> {
        if !matches!((waiter, holder), (Owner::Files(_), Owner::Files(_))) {
            return Ok(None);
        }
        let mut blocked = BLOCKED.lock();
        let mut chain = vec![holder];
        let mut at = 0;
        while let Some(&next) = chain.get(at) {
            if next == waiter {
                return Err(EDEADLK);
            }
            for (_, holder) in blocked.iter().filter(|(waiter, _)| *waiter == next) {
                if !chain.contains(holder) {
                    chain.push(*holder);
                }
            }
            at += 1;
        }
        blocked.push((waiter, holder));
        Ok(Some(Waiting(waiter, holder)))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut blocked = BLOCKED.lock();
        if let Some(at) = blocked.iter().position(|&(w, h)| (w, h) == (self.0, self.1)) {
            blocked.swap_remove(at);
        }
    }
}

/// The lock commands of fcntl(2).
pub fn fcntl_lock(file: &Arc<File>, files: &Arc<FilesStruct>, cmd: u32, arg: UserPtr<Flock>) -> Result<()> {
    let wanted = arg.read()?;
    let ofd = matches!(cmd, F_OFD_GETLK | F_OFD_SETLK | F_OFD_SETLKW);
    if ofd && wanted.l_pid != 0 {
        return Err(EINVAL);
    }
    let (start, end) = range(file, &wanted)?;
    let (owner, pid) = if ofd {
        (Owner::File(Arc::as_ptr(file) as usize), -1)
    } else {
        (Owner::Files(Arc::as_ptr(files) as usize), current().tgid())
    };
    let exclusive = match wanted.l_type {
        F_RDLCK => false,
        F_WRLCK => true,
        F_UNLCK if !matches!(cmd, F_GETLK | F_OFD_GETLK) => {
            unlock(file.inode(), owner, start, end);
            return Ok(());
        }
        _ => return Err(EINVAL),
    };
    let lock = RecordLock { owner, pid, exclusive, start, end };
    if matches!(cmd, F_GETLK | F_OFD_GETLK) {
        let found = file.inode().locks.lock().conflict(&lock);
        return arg.write(&describe(found, wanted));
    }
    let needed = if exclusive { FileMode::WRITE } else { FileMode::READ };
    if !file.mode.contains(needed) {
        return Err(EBADF);
    }
    acquire(file.inode(), lock, matches!(cmd, F_SETLKW | F_OFD_SETLKW))
}

fn describe(found: Option<RecordLock>, wanted: Flock) -> Flock {
    let Some(lock) = found else { return Flock { l_type: F_UNLCK, ..wanted } };
    Flock {
        l_type: if lock.exclusive { F_WRLCK } else { F_RDLCK },
        l_whence: SEEK_SET as i16,
        l_start: lock.start as i64,
        l_len: if lock.end == TO_THE_END { 0 } else { (lock.end - lock.start + 1) as i64 },
        l_pid: lock.pid,
        ..wanted
    }
}

/// First and last byte. EINVAL before the file's beginning; EOVERFLOW.
fn range(file: &File, lock: &Flock) -> Result<(u64, u64)> {
    let base = match u32::from(lock.l_whence as u16) {
        SEEK_SET => 0,
        SEEK_CUR => *file.lock_pos() as i64,
        SEEK_END => file.inode().getattr()?.size as i64,
        _ => return Err(EINVAL),
    };
    let at = base.checked_add(lock.l_start).ok_or(EOVERFLOW)?;
    let (start, end) = match lock.l_len {
        0 => (at, i64::MAX),
        len if len > 0 => (at, at.checked_add(len - 1).ok_or(EOVERFLOW)?),
        len => (at.checked_add(len).ok_or(EINVAL)?, at - 1),
    };
    match (u64::try_from(start), u64::try_from(end)) {
        (Ok(start), Ok(end)) => Ok((start, end)),
        _ => Err(EINVAL),
    }
}

fn acquire(inode: &Arc<Inode>, lock: RecordLock, wait: bool) -> Result<()> {
    let try_once = || {
        change(inode, |locks| {
            if let Some(conflict) = locks.conflict(&lock) {
                return Err(conflict.owner);
            }
            if locks.records.len() >= MAX_LOCKS || TOTAL.load(Ordering::Relaxed) >= MAX_LOCKS_OF_ALL {
                return Ok(Err(ENOLCK));
            }
            locks.set(lock);
            Ok(Ok(()))
        })
    };
    if !wait {
        return try_once().unwrap_or(Err(EAGAIN));
    }
    let mut waiting = None;
    let outcome = wait_event(&inode.lock_queue, Sleep::INTERRUPTIBLE, || match try_once() {
        Ok(outcome) => Some(outcome),
        Err(holder) => {
            waiting = None;
            match Waiting::begin(lock.owner, holder) {
                Ok(noted) => {
                    waiting = noted;
                    None
                }
                Err(errno) => Some(Err(errno)),
            }
        }
    });
    // A read lock over an own write lock lets others in.
    inode.lock_queue.wake_all();
    outcome?
}

fn unlock(inode: &Arc<Inode>, owner: Owner, start: u64, end: u64) {
    change(inode, |locks| locks.clear(owner, start, end));
    inode.lock_queue.wake_all();
}

/// A descriptor of the file was closed in `files`: its POSIX locks go.
pub fn release_posix(inode: &Arc<Inode>, files: &FilesStruct) {
    let owner = Owner::Files(files as *const FilesStruct as usize);
    release(inode, |locks| {
        let before = locks.records.len();
        locks.records.retain(|l| l.owner != owner);
        locks.records.len() != before
    });
}

/// The open file is gone: its OFD and flock locks go.
pub fn release_file(file: &File) {
    let id = file as *const File as usize;
    release(file.inode(), |locks| {
        let before = (locks.records.len(), locks.flocks.len());
        locks.records.retain(|l| l.owner != Owner::File(id));
        locks.flocks.retain(|l| l.file != id);
        (locks.records.len(), locks.flocks.len()) != before
    });
}

fn release(inode: &Arc<Inode>, take: impl FnOnce(&mut FileLocks) -> bool) {
    if change(inode, take) {
        inode.lock_queue.wake_all();
    }
}

/// flock(2)
pub fn flock(file: &Arc<File>, operation: u32) -> Result<()> {
    if operation & LOCK_MAND != 0 {
        // Mandatory locks by flock are gone from Linux, which ignores the call.
        return Ok(());
    }
    let id = Arc::as_ptr(file) as usize;
    let inode = file.inode();
    let exclusive = match operation & !LOCK_NB {
        LOCK_UN => {
            release(inode, |locks| {
                locks.flocks.retain(|l| l.file != id);
                true
            });
            return Ok(());
        }
        LOCK_SH => false,
        LOCK_EX => true,
        _ => return Err(EINVAL),
    };
    let wanted = FlockLock { file: id, pid: current().tgid(), exclusive };
    let try_once = || {
        let (free, converting) = change(inode, |locks| {
            if locks.flocks.iter().any(|l| l.file == id && l.exclusive == exclusive) {
                return (true, false);
            }
            // A conversion gives the old lock up first, and it stays lost if the new one isn't to be had.
            let before = locks.flocks.len();
            locks.flocks.retain(|l| l.file != id);
            let converting = locks.flocks.len() != before;
            let free = !locks.flocks.iter().any(|l| l.exclusive || exclusive);
            if free {
                locks.flocks.push(wanted);
            }
            (free, converting)
        });
        if converting {
            inode.lock_queue.wake_all();
        }
        free.then_some(())
    };
    match try_once() {
        Some(()) => Ok(()),
        None if operation & LOCK_NB != 0 => Err(EAGAIN),
        None => wait_event(&inode.lock_queue, Sleep::INTERRUPTIBLE, try_once),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(owner: usize, exclusive: bool, start: u64, end: u64) -> RecordLock {
        RecordLock { owner: Owner::Files(owner), pid: 0, exclusive, start, end }
    }

    #[test]
    fn unlocking_the_middle_splits() {
        let mut locks = FileLocks::default();
        locks.set(lock(1, true, 0, 99));
        locks.clear(Owner::Files(1), 40, 59);
        assert!(locks.conflict(&lock(2, false, 40, 59)).is_none());
        assert_eq!(locks.conflict(&lock(2, false, 30, 70)).map(|l| (l.start, l.end)), Some((0, 39)));
        assert_eq!(locks.conflict(&lock(2, false, 60, 70)).map(|l| (l.start, l.end)), Some((60, 99)));
    }

    #[test]
    fn neighbours_join_and_own_locks_never_conflict() {
        let mut locks = FileLocks::default();
        locks.set(lock(1, false, 0, 9));
        locks.set(lock(1, false, 20, TO_THE_END));
        locks.set(lock(1, false, 10, 19));
        assert_eq!(locks.records, [lock(1, false, 0, TO_THE_END)]);
        assert!(locks.conflict(&lock(1, true, 5, 5)).is_none());
        assert!(locks.conflict(&lock(2, false, 5, 5)).is_none());
        assert!(locks.conflict(&lock(2, true, 5, 5)).is_some());
    }

    #[test]
    fn a_circle_of_waiters_is_a_deadlock() {
        let (a, b, c) = (Owner::Files(101), Owner::Files(102), Owner::Files(103));
        let first = Waiting::begin(a, b).unwrap();
        let second = Waiting::begin(b, c).unwrap();
        assert_eq!(Waiting::begin(c, a).err(), Some(EDEADLK));
        drop(second);
        assert!(Waiting::begin(c, a).is_ok());
        drop(first);
    }
}
