//! The kernel's own copies from and to guest memory.
//!
//! The host copies what the guest itself could use. Where it stops short, memory may still be missing for a reason that
//! a fault of the guest would mend: a stack to grow, an operation that is still deferred. That is tried once.
//!
//! A call of the host costs more than most system calls do otherwise, so what is small goes without. What a system call's
//! arguments point to has come with it (see `host::stub::StubThread::argument`); its results wait here as [`Late`] copies
//! until the guest is resumed, which makes them. Whoever looks at the memory before that has them made first.

use std::sync::atomic::Ordering;

use host::stub::StubThread;

use super::{Backing, Mm, VmFlags, fault};
use crate::task::{Task, with_current};

/// The most bytes, in all and at a time, and the most pieces that wait: what fits a window.
const LATE_BYTES: usize = 8192;
const LATE_PIECE: usize = 4096;
const LATE_PIECES: usize = 8;
/// To copy as much as this takes about as long as the stub looks for its turn.
const LARGE: usize = 128 << 10;

/// What is to be written to guest memory before the guest sees it.
#[derive(Default)]
pub(super) struct Late {
    /// Address and length; the bytes follow each other.
    pieces: Vec<(u64, usize)>,
    bytes: Vec<u8>,
}

impl Late {
    fn push(&mut self, addr: u64, data: &[u8]) -> bool {
        if self.pieces.len() == LATE_PIECES || self.bytes.len() + data.len() > LATE_BYTES {
            return false;
        }
        self.pieces.push((addr, data.len()));
        self.bytes.extend_from_slice(data);
        true
    }

    fn clear(&mut self) {
        self.pieces.clear();
        self.bytes.clear();
    }
}

impl Mm {
    /// Copies from guest memory; the number of bytes before the first that cannot be read.
    pub fn read(&self, addr: u64, buf: &mut [u8]) -> usize {
        if self.read_argument(addr, buf) {
            return buf.len();
        }
        self.land();
        if buf.len() >= LARGE {
            look_longer();
        }
        let mut done = self.space.read(addr, buf);
        // Each round mends one place: two without getting any further are enough (a stack, then a deferred mapping).
        let mut rounds = 0;
        while done < buf.len() && rounds < 2 && self.mend(addr.wrapping_add(done as u64), VmFlags::READ) {
            let more = self.space.read(addr.wrapping_add(done as u64), &mut buf[done..]);
            rounds = if more > 0 { 0 } else { rounds + 1 };
            done += more;
        }
        done
    }

    /// Copies from guest memory at once, if the host can.
    pub fn peek(&self, addr: u64, buf: &mut [u8]) -> usize {
        self.land();
        self.space.read(addr, buf)
    }

    /// Copies to guest memory; the number of bytes before the first that cannot be written.
    pub fn write(&self, addr: u64, data: &[u8]) -> usize {
        if with_current(|task| self.write_late(task, addr, data)) == Some(true) {
            return data.len();
        }
        self.write_now(addr, data)
    }

    /// The same to the memory of `task`, which has not begun to run.
    pub fn write_for(&self, task: &Task, addr: u64, data: &[u8]) -> usize {
        if self.write_late(task, addr, data) { data.len() } else { self.write_now(addr, data) }
    }

    /// Copies several pieces to guest memory with one call of the host; whether all of them could be written.
    pub fn write_pieces(&self, pieces: &[(u64, &[u8])]) -> bool {
        let late = |task: &Task| pieces.iter().all(|(addr, data)| self.write_late(task, *addr, data));
        if with_current(late) == Some(true) {
            return true;
        }
        self.land();
        let ranges: Vec<_> = pieces.iter().map(|(addr, data)| (*addr, data.len())).collect();
        let bytes: Vec<u8> = pieces.iter().flat_map(|(_, data)| data.iter().copied()).collect();
        self.space.write_vectored(&ranges, &bytes) == bytes.len()
            || pieces.iter().all(|(addr, data)| self.write_now(*addr, data) == data.len())
    }

    fn write_now(&self, addr: u64, data: &[u8]) -> usize {
        self.land();
        if data.len() >= LARGE {
            look_longer();
        }
        let mut done = self.space.write(addr, data);
        let mut rounds = 0;
        while done < data.len() && rounds < 2 && self.mend(addr.wrapping_add(done as u64), VmFlags::WRITE) {
            let more = self.space.write(addr.wrapping_add(done as u64), &data[done..]);
            rounds = if more > 0 { 0 } else { rounds + 1 };
            done += more;
        }
        done
    }

    /// Reads what has come with the current task's system call; false if it is not there.
    fn read_argument(&self, addr: u64, buf: &mut [u8]) -> bool {
        let read = with_current(|task| {
            let (start, len) =
                (task.argument.0.load(Ordering::Relaxed), task.argument.1.load(Ordering::Relaxed));
            let offset = addr.wrapping_sub(start);
            if offset >= len || buf.len() as u64 > len - offset || !task.runs_in(self) {
                return false;
            }
            let user = task.user.try_lock();
            user.as_ref().and_then(|user| user.as_ref()).is_some_and(|stub| stub.read_argument(addr, buf))
        });
        read == Some(true)
    }

    /// Leaves a write to the resume of `task`, which is the current one or has not begun to run, if nobody can tell the
    /// difference: nobody else runs in this memory, and the write cannot fail.
    fn write_late(&self, task: &Task, addr: u64, data: &[u8]) -> bool {
        task.forget_argument();
        if data.is_empty() || data.len() > LATE_PIECE || self.users() != 1 {
            return false;
        }
        if task.undo.is_pending() || !task.runs_in(self) || !self.surely_writable(addr, data.len()) {
            return false;
        }
        let kept = self.late.lock().push(addr, data);
        if kept {
            self.late_pending.store(true, Ordering::SeqCst);
            task.late.store(true, Ordering::Relaxed);
        }
        kept
    }

    /// Whether it is the guest's private memory, of which the host never refuses a page.
    fn surely_writable(&self, addr: u64, len: usize) -> bool {
        let Some(inner) = self.inner.try_lock() else { return false };
        let Some(vma) = inner.vmas.find(addr) else { return false };
        let shared = VmFlags::SHARED.union(VmFlags::MAYSHARE);
        vma.end - addr >= len as u64
            && vma.flags.contains(VmFlags::WRITE)
            && !vma.flags.intersects(shared)
            && matches!(vma.backing, Backing::Anonymous)
    }

    /// Makes the copies that wait for a resume now.
    pub fn land(&self) {
        if !self.late_pending.load(Ordering::SeqCst) {
            return;
        }
        let mut late = self.late.lock();
        let mut at = 0;
        for &(addr, len) in &late.pieces {
            self.space.write(addr, &late.bytes[at..at + len]);
            at += len;
        }
        late.clear();
        self.late_pending.store(false, Ordering::SeqCst);
    }

    /// Does what a write of the guest at `addr` would need. Whether a second attempt may get further.
    pub fn fault_in(&self, addr: u64) -> bool {
        self.mend(addr, VmFlags::WRITE)
    }

    /// Does what a fault of the guest at `addr` would do. Whether a second attempt may get further.
    fn mend(&self, addr: u64, access: VmFlags) -> bool {
        if !self.is_current() {
            return false;
        }
        let deferred = crate::task::current().undo.is_pending();
        if deferred && self.flush().is_err() {
            return false;
        }
        match fault::resolve(self, addr, access) {
            fault::Outcome::Grown => true,
            fault::Outcome::Absent(page) => page.page_in(self, true).is_ok(),
            fault::Outcome::Allowed => deferred,
            fault::Outcome::Unmapped | fault::Outcome::Forbidden => false,
        }
    }
}

/// The current task's stub will wait for a while.
fn look_longer() {
    with_current(|task| {
        if let Some(user) = task.user.try_lock()
            && let Some(stub) = user.as_ref()
        {
            stub.look_longer();
        }
    });
}

/// Gives the stub what waits for the resume of `task`, which is about to happen.
pub fn send_late(task: &Task, stub: &mut StubThread) {
    if !task.late.swap(false, Ordering::Relaxed) {
        return;
    }
    let Ok(mm) = task.mm() else { return };
    {
        let mut late = mm.late.lock();
        if late.pieces.is_empty() {
            return;
        }
        if stub.copy_later(&late.pieces, &late.bytes) {
            late.clear();
            mm.late_pending.store(false, Ordering::SeqCst);
            return;
        }
    }
    mm.land();
}
