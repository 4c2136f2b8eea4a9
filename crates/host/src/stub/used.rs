//! Stubs whose programs have ended, kept for the next ones.
//!
//! To empty a stub costs the host much less than to end its process and to fork another. But a hostile program may have
//! kept hold of its stub, and whoever runs there next is at its mercy. So the kernel names a domain with each: a stub is
//! used again only in the domain that it was used in, among programs that may trace each other anyway. `USED` is a leaf
//! lock.

use super::TASK_SIZE;
use super::abi::command;
use super::regs::Regs;
use super::thread::StubThread;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// How many are kept.
const MOST: usize = 2;

/// Where the last 4 GiB of guest memory begin.
const UPPER: u64 = TASK_SIZE - (1 << 32);

struct Used {
    domain: u64,
    /// It is empty, or about to be.
    empty: bool,
    thread: StubThread,
}

static USED: Mutex<Vec<Used>> = Mutex::new(Vec::new());
/// How many of them still hold the memory of their programs.
static FULL: AtomicUsize = AtomicUsize::new(0);

fn keep(domain: u64, empty: bool, thread: StubThread) {
    let mut used = USED.lock();
    if used.len() < MOST {
        used.push(Used { domain, empty, thread });
        FULL.fetch_add(usize::from(!empty), Relaxed);
        return;
    }
    drop(used);
    drop(thread);
}

/// Has those that nobody has asked for give up their memory. For when there is nothing else to do.
pub(crate) fn tidy() {
    if FULL.load(Relaxed) == 0 {
        return;
    }
    let mut used = USED.lock();
    for used in used.iter_mut().filter(|used| !used.empty) {
        used.thread.start_emptying(false);
        used.empty = true;
    }
    FULL.store(0, Relaxed);
}

impl StubThread {
    /// A stub that a program of this domain has left, as good as a fresh one; it may still be emptying itself.
    pub fn reuse(domain: u64) -> Option<StubThread> {
        let mut used = USED.lock();
        let at = used.iter().position(|used| used.domain == domain)?;
        let Used { empty, mut thread, .. } = used.swap_remove(at);
        FULL.fetch_sub(usize::from(!empty), Relaxed);
        drop(used);
        if thread.space.is_dead() {
            return None;
        }
        if !empty {
            thread.start_emptying(true);
        }
        Some(thread)
    }

    /// Gives back what [`reuse`](StubThread::reuse) has given, before anything is mapped in it.
    pub fn give_back(self, domain: u64) {
        keep(domain, true, self);
    }

    /// The program has ended that had the address space to itself. It may be used again in `domain`, if it can.
    pub fn retire(mut self, domain: u64) {
        let window = self.mapping.clone();
        // It stands in the system call that ends a program, and its stub in the handler of a signal.
        let alone = self.usage.is_some()
            && self.leader
            && self.space.one_thread_ever()
            && std::sync::Arc::get_mut(&mut self.space).is_some();
        if !alone || self.space.is_dead() || !window.has_turn() {
            return;
        }
        self.space.set_baseline(self.usage);
        self.deferred.clear();
        self.usage = None;
        self.forget_copies();
        window.give_way(false);
        keep(domain, false, self);
    }

    /// Has the stub unmap all guest memory; [`finish_emptying`](StubThread::finish_emptying) waits for it.
    fn start_emptying(&mut self, spin: bool) {
        let window = self.mapping.get();
        // In two parts, for the filter takes no range that is as long as all.
        let munmap = |addr, len| [libc::SYS_munmap as u64, addr, len, 0, 0, 0, 0];
        for (op, words) in window.ops.iter().zip([munmap(0, UPPER), munmap(UPPER, TASK_SIZE - UPPER)]) {
            for (to, from) in op.iter().zip(words) {
                to.store(from, Relaxed);
            }
        }
        window.op_count.store(2, Relaxed);
        window.fd_count.store(0, Relaxed);
        window.command.store(command::RESET, Relaxed);
        self.regs = Regs::initial();
        self.argument = (0, 0);
        self.light = false;
        self.record = 0;
        window.answers.store(0, Relaxed);
        self.emptying = true;
        self.mapping.release(spin && self.spin);
    }
}
