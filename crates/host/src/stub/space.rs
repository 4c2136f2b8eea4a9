//! One guest address space: a stub process, its control socket and its thread slots.

use super::TASK_SIZE;
use super::abi::{SLOT_COUNT, turn};
use super::process::{Process, copy_from, copy_to};
use super::window::Mapping;
use abi::Result;
use abi::errno::*;
use parking_lot::Mutex;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::*;

/// One guest address space: a stub process. Killed when dropped.
pub struct AddressSpace {
    pub(super) process: Arc<Process>,
    pub(super) socket: OwnedFd,
    slots: Mutex<Slots>,
}

/// Which thread slots are taken. `slots` is a leaf lock.
struct Slots {
    /// The first thread's slot, the one it was forked in.
    first: u32,
    next: u32,
    /// Slots whose threads have exited or are about to: reusable once they have left their stacks.
    free: Vec<(u32, Arc<Mapping>)>,
    /// The window of the first thread after its guest thread has gone: the host thread stays for the process id's sake.
    parked: Option<Arc<Mapping>>,
    threads: usize,
}

impl AddressSpace {
    pub(super) fn new(process: Arc<Process>, socket: OwnedFd, first: u32) -> Arc<AddressSpace> {
        let slots = Slots { first, next: 0, free: Vec::new(), parked: None, threads: 1 };
        Arc::new(AddressSpace { process, socket, slots: Mutex::new(slots) })
    }

    /// A slot for a new thread; its window if an earlier thread has left one.
    pub(super) fn take_slot(&self) -> Result<(u32, Option<Arc<Mapping>>)> {
        let mut slots = self.slots.lock();
        let gone = |mapping: &Arc<Mapping>| mapping.get().turn.load(Acquire) & turn::GONE != 0;
        if let Some(i) = slots.free.iter().position(|(_, mapping)| gone(mapping)) {
            let (slot, mapping) = slots.free.swap_remove(i);
            slots.threads += 1;
            return Ok((slot, Some(mapping)));
        }
        if slots.next == slots.first {
            slots.next += 1;
        }
        if u64::from(slots.next) >= SLOT_COUNT {
            return Err(EAGAIN);
        }
        slots.next += 1;
        slots.threads += 1;
        Ok((slots.next - 1, None))
    }

    /// Undoes [`take_slot`](AddressSpace::take_slot) where no thread came of it; the slot is lost.
    pub(super) fn lose_slot(&self) {
        self.slots.lock().threads -= 1;
    }

    /// A thread ends. True if its host thread is to exit; the last one's end is the process's.
    pub(super) fn end_thread(&self, slot: u32, mapping: &Arc<Mapping>, leader: bool) -> bool {
        let mut slots = self.slots.lock();
        slots.threads -= 1;
        if slots.threads == 0 {
            drop(slots);
            self.kill();
            return false;
        }
        if leader {
            slots.parked = Some(mapping.clone());
            return false;
        }
        slots.free.push((slot, mapping.clone()));
        true
    }

    /// Copies guest memory out; bytes copied, short at the first page the guest could not read.
    pub fn read(&self, addr: u64, buf: &mut [u8]) -> usize {
        let len = clip(addr, buf.len());
        if len == 0 {
            return 0;
        }
        self.process.with_pid(|pid| copy_from(pid, &[(addr, len)], &mut buf[..len]).unwrap_or(0)).unwrap_or(0)
    }

    /// Copies into guest memory; bytes copied, short at the first page the guest could not write.
    pub fn write(&self, addr: u64, buf: &[u8]) -> usize {
        let len = clip(addr, buf.len());
        if len == 0 {
            return 0;
        }
        self.process.with_pid(|pid| copy_to(pid, &[(addr, len)], &buf[..len]).unwrap_or(0)).unwrap_or(0)
    }

    /// Copies several ranges out, one after the other, into `buf`; bytes copied, short at the first inaccessible page.
    pub fn read_vectored(&self, ranges: &[(u64, usize)], buf: &mut [u8]) -> usize {
        let mut done = 0;
        for &(addr, len) in ranges {
            let len = len.min(buf.len() - done);
            let n = self.read(addr, &mut buf[done..done + len]);
            done += n;
            if n < len {
                break;
            }
        }
        done
    }

    /// Copies `buf` into several ranges, one after the other; bytes copied, short at the first inaccessible page.
    pub fn write_vectored(&self, ranges: &[(u64, usize)], buf: &[u8]) -> usize {
        let mut done = 0;
        for &(addr, len) in ranges {
            let len = len.min(buf.len() - done);
            let n = self.write(addr, &buf[done..done + len]);
            done += n;
            if n < len {
                break;
            }
        }
        done
    }

    /// Resident bytes of the process, guest memory and a few pages of the stub's own.
    pub fn resident_bytes(&self) -> u64 {
        let statm = self.process.with_pid(|pid| std::fs::read_to_string(format!("/proc/{pid}/statm")));
        let Some(Ok(statm)) = statm else { return 0 };
        let pages = statm.split(' ').nth(1).and_then(|word| word.parse::<u64>().ok());
        pages.unwrap_or(0).saturating_mul(4096)
    }

    /// Kills the host process. Every thread in it reports `Event::Dead`.
    pub fn kill(&self) {
        self.process.kill();
    }

    /// Whether the host process has died.
    pub fn is_dead(&self) -> bool {
        self.process.is_dead()
    }

    /// The host process id.
    pub fn host_pid(&self) -> i32 {
        self.process.pid
    }
}

/// How much of a range is guest memory.
fn clip(addr: u64, len: usize) -> usize {
    TASK_SIZE.saturating_sub(addr).min(len as u64) as usize
}

impl Drop for AddressSpace {
    fn drop(&mut self) {
        self.kill();
    }
}
