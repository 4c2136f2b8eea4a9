//! What stubs answer without asking the kernel: a page of clocks and queues, and a record for each guest thread.
//!
//! All of it is one memory object that every stub has mapped and none can write; so a guest that looks can see the ids of
//! every thread of the machine. The kernel keeps it current. `FREE` is a leaf lock; all else is atomic.

use crate::object::Object;
use crate::stub::abi::{
    ANSWER_COUNT, ANSWER_CPUS, ANSWERS_LEN, ANSWERS_SILENT, ANSWERS_VALID, AnswerHead, Answers,
};
use abi::Result;
use abi::errno::*;
use parking_lot::Mutex;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

/// The object, and where this program has it.
struct Shared {
    object: Object,
    head: NonNull<AnswerHead>,
    records: NonNull<Answers>,
}

// SAFETY: everything behind the pointers is atomic and stays mapped.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

static ON: AtomicBool = AtomicBool::new(true);
static SHARED: OnceLock<Shared> = OnceLock::new();

/// Numbers that were used and are free, and the next that was not.
static FREE: Mutex<(Vec<u32>, u32)> = Mutex::new((Vec::new(), 1));

/// Makes the object, once; a descriptor to map it by.
pub(crate) fn init() -> Result<Arc<OwnedFd>> {
    if let Some(shared) = SHARED.get() {
        return shared.object.readonly_fd();
    }
    let object = Object::create("ruml-answers")?;
    object.set_len(ANSWERS_LEN)?;
    let prot = libc::PROT_READ | libc::PROT_WRITE;
    let fd = object.fd();
    // SAFETY: the host chooses a free place for the mapping, which is never undone.
    let at = unsafe {
        libc::mmap(ptr::null_mut(), ANSWERS_LEN as usize, prot, libc::MAP_SHARED, fd.as_raw_fd(), 0)
    };
    if at == libc::MAP_FAILED {
        return Err(crate::sys::errno());
    }
    let head = NonNull::new(at.cast::<AnswerHead>()).ok_or(ENOMEM)?;
    // SAFETY: the records follow the head's page.
    let records = unsafe { head.cast::<u8>().add(0x1000).cast::<Answers>() };
    let readonly = object.readonly_fd()?;
    SHARED.set(Shared { object, head, records }).map_err(|_| EBUSY)?;
    enable(ON.load(Relaxed));
    Ok(readonly)
}

fn head() -> Option<&'static AnswerHead> {
    // SAFETY: mapped for good, and atomic.
    SHARED.get().map(|shared| unsafe { shared.head.as_ref() })
}

/// Whether anything is answered: not while every call is to be seen by the kernel.
pub fn enable(on: bool) {
    ON.store(on, Relaxed);
    if let Some(head) = head() {
        head.on.store(u32::from(on), Relaxed);
    }
}

/// How many tasks wait for a vCPU.
#[inline]
pub fn set_queued(vcpu: usize, count: usize) {
    if let Some(head) = head()
        && let Some(word) = head.queued.get(vcpu % ANSWER_CPUS)
    {
        word.store(u32::try_from(count).unwrap_or(u32::MAX), Relaxed);
    }
}

/// The clocks, see `vdso`.
pub(crate) fn set_clock_gettime(function: u64) {
    if let Some(head) = head() {
        head.clock_gettime.store(function, Relaxed);
    }
}

pub(crate) fn set_offsets(monotonic: i64, boottime: i64, realtime: i64) {
    if let Some(head) = head() {
        head.monotonic.store(monotonic, Relaxed);
        head.boottime.store(boottime, Relaxed);
        head.realtime.store(realtime, Relaxed);
    }
}

pub(crate) fn set_timezone(minutes_west: i32, dst: i32) {
    if let Some(head) = head() {
        head.minutes_west.store(minutes_west as u32, Relaxed);
        head.dst.store(dst as u32, Relaxed);
    }
}

/// What a thread's stub answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the calls'")]
pub struct Ids {
    pub pid: i32,
    pub tid: i32,
    pub ppid: i32,
    pub pgrp: i32,
    pub uid: u32,
    pub euid: u32,
    pub gid: u32,
    pub egid: u32,
}

/// A guest thread's record; free again when it is dropped.
#[derive(Debug)]
pub struct Record {
    /// Its number; 0 for none, where nothing is answered.
    index: u32,
}

impl Default for Record {
    fn default() -> Record {
        Record::new()
    }
}

impl Record {
    /// One that says nothing yet. Where there are no more, or no stubs, it never will.
    pub fn new() -> Record {
        if SHARED.get().is_none() {
            return Record { index: 0 };
        }
        let mut free = FREE.lock();
        if let Some(index) = free.0.pop() {
            return Record { index };
        }
        let index = free.1;
        if index as usize >= ANSWER_COUNT {
            return Record { index: 0 };
        }
        free.1 += 1;
        Record { index }
    }

    pub(crate) fn index(&self) -> u32 {
        self.index
    }

    fn get(&self) -> Option<&'static Answers> {
        let shared = SHARED.get()?;
        if self.index == 0 || self.index as usize >= ANSWER_COUNT {
            return None;
        }
        // SAFETY: within the mapping, which is for good; every field is atomic.
        Some(unsafe { shared.records.add(self.index as usize).as_ref() })
    }

    /// Whether it says anything, or never will.
    #[inline]
    pub(crate) fn is_set(&self) -> bool {
        self.get().is_none_or(|answers| answers.on.load(Relaxed) & ANSWERS_VALID != 0)
    }

    /// Replaces what is answered, each word by itself.
    pub fn set(&self, ids: &Ids) {
        let Some(answers) = self.get() else { return };
        let words = [
            (&answers.pid, ids.pid as u32),
            (&answers.tid, ids.tid as u32),
            (&answers.ppid, ids.ppid as u32),
            (&answers.pgrp, ids.pgrp as u32),
            (&answers.uid, ids.uid),
            (&answers.euid, ids.euid),
            (&answers.gid, ids.gid),
            (&answers.egid, ids.egid),
        ];
        for (word, value) in words {
            word.store(value, Relaxed);
        }
        answers.on.fetch_or(ANSWERS_VALID, Relaxed);
    }

    /// Whether all calls of this thread are for the kernel to see.
    pub fn silence(&self, silent: bool) {
        if let Some(answers) = self.get() {
            if silent {
                answers.on.fetch_or(ANSWERS_SILENT, Relaxed);
            } else {
                answers.on.fetch_and(!ANSWERS_SILENT, Relaxed);
            }
        }
    }

    /// The vCPU that the thread runs on.
    #[inline]
    pub fn set_cpu(&self, vcpu: u32) {
        if let Some(answers) = self.get() {
            answers.cpu.store(vcpu, Relaxed);
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if let Some(answers) = self.get() {
            answers.on.store(0, Relaxed);
            FREE.lock().0.push(self.index);
        }
    }
}
