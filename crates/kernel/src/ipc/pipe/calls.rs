//! pipe(2), the size of a pipe, and what pipes of one user may take together.

use std::collections::HashMap;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use abi::Result;
use abi::cred::{CAP_SYS_ADMIN, CAP_SYS_RESOURCE};
use abi::errno::{EINVAL, ENOPKG, EPERM};
use abi::fcntl::{F_GETPIPE_SZ, F_SETPIPE_SZ, O_NOTIFICATION_PIPE, OpenFlags};

use super::ring::SLOT;
use super::{Pipe, create_pipe};
use crate::sync::{SpinLock, rank};
use crate::task::current;
use crate::uaccess::UserPtr;

/// Slots of a new pipe: 64 KiB.
const DEFAULT_SLOTS: usize = 16;
/// Slots of a new pipe of a user beyond the soft limit.
const MIN_SLOTS: usize = 2;
/// /proc/sys/fs/pipe-max-size, bytes.
pub const PIPE_MAX_SIZE: usize = 1 << 20;
/// /proc/sys/fs/pipe-user-pages-soft: slots of all pipes of an unprivileged user.
const USER_SLOTS_SOFT: usize = 16384;

/// pipe(2)
pub fn pipe(fds: UserPtr<[i32; 2]>) -> Result<()> {
    pipe2(fds, OpenFlags::empty())
}

/// pipe2(2): O_CLOEXEC, O_NONBLOCK, O_DIRECT.
pub fn pipe2(fds: UserPtr<[i32; 2]>, flags: OpenFlags) -> Result<()> {
    let known = OpenFlags::CLOEXEC | OpenFlags::NONBLOCK | OpenFlags::DIRECT;
    if flags.bits() & !(known.bits() | O_NOTIFICATION_PIPE) != 0 {
        return Err(EINVAL);
    }
    if flags.bits() & O_NOTIFICATION_PIPE != 0 {
        return Err(ENOPKG);
    }
    let cloexec = flags.contains(OpenFlags::CLOEXEC);
    let files = current().files()?;
    let [reader, writer] = create_pipe(flags.difference(OpenFlags::CLOEXEC));
    let reader = files.install(reader, cloexec)?;
    let writer = match files.install(writer, cloexec) {
        Ok(fd) => fd,
        Err(errno) => {
            let _ = files.remove(reader);
            return Err(errno);
        }
    };
    let copied = fds.write(&[reader.0, writer.0]);
    if copied.is_err() {
        let _ = (files.remove(reader), files.remove(writer));
    }
    copied
}

/// fcntl(2) F_GETPIPE_SZ and F_SETPIPE_SZ.
pub fn fcntl(pipe: &Pipe, cmd: u32, arg: u64) -> Result<u64> {
    match cmd {
        F_GETPIPE_SZ => Ok((pipe.lock().capacity() * SLOT) as u64),
        F_SETPIPE_SZ => set_size(pipe, arg),
        _ => Err(EINVAL),
    }
}

fn set_size(pipe: &Pipe, arg: u64) -> Result<u64> {
    // An unsigned int, rounded up to a power of two of whole pages.
    let size = arg as u32 as usize;
    if size > 1 << 31 {
        return Err(EINVAL);
    }
    let slots = size.next_power_of_two().max(SLOT) / SLOT;
    let mut ring = pipe.lock();
    let cred = current().cred();
    if slots > ring.capacity() && slots * SLOT > PIPE_MAX_SIZE && !cred.capable(CAP_SYS_RESOURCE) {
        return Err(EPERM);
    }
    let before = ring.capacity();
    pipe.charge.change(slots)?;
    if let Err(errno) = ring.set_capacity(slots) {
        let _ = pipe.charge.change(before);
        return Err(errno);
    }
    let grown = slots > before;
    pipe.resized(ring);
    if grown {
        pipe.write_queue().wake(crate::vfs::PollEvents::WRITABLE);
    }
    Ok((slots * SLOT) as u64)
}

/// Slots in use by user.
static USERS: LazyLock<SpinLock<HashMap<u32, usize>>> =
    LazyLock::new(|| SpinLock::new(rank::LEAF, HashMap::new()));

/// A pipe's slots in its user's account.
pub struct Charge {
    uid: u32,
    slots: AtomicUsize,
}

impl Charge {
    /// Charges a new pipe to the current user.
    pub fn new() -> Charge {
        let cred = current().cred();
        let mut users = USERS.lock();
        let total = users.entry(cred.uid).or_default();
        let privileged = cred.capable(CAP_SYS_RESOURCE) || cred.capable(CAP_SYS_ADMIN);
        let fits = *total + DEFAULT_SLOTS <= USER_SLOTS_SOFT;
        let slots = if fits || privileged { DEFAULT_SLOTS } else { MIN_SLOTS };
        *total += slots;
        Charge { uid: cred.uid, slots: AtomicUsize::new(slots) }
    }

    /// The slots that it may have.
    pub fn slots(&self) -> usize {
        self.slots.load(Ordering::Relaxed)
    }

    /// Changes their number, under the ring's lock. EPERM beyond the user's limit.
    fn change(&self, slots: usize) -> Result<()> {
        let cred = current().cred();
        let privileged = cred.capable(CAP_SYS_RESOURCE) || cred.capable(CAP_SYS_ADMIN);
        let old = self.slots();
        let mut users = USERS.lock();
        let total = users.entry(self.uid).or_default();
        let new = *total - old + slots;
        if slots > old && new > USER_SLOTS_SOFT && !privileged {
            return Err(EPERM);
        }
        *total = new;
        self.slots.store(slots, Ordering::Relaxed);
        Ok(())
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        let mut users = USERS.lock();
        if let Some(total) = users.get_mut(&self.uid) {
            *total -= self.slots.load(Ordering::Relaxed);
            if *total == 0 {
                users.remove(&self.uid);
            }
        }
    }
}
