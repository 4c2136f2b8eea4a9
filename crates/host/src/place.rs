//! Which host cores vCPU threads and stubs run on.
//!
//! Every vCPU has a home core; a stub runs there too, or on a second core that the vCPU has claimed (see `cpu`). The
//! first home is the core the process happens to run on when it starts, so that several machines on one host do not
//! all begin at core 0. All state is atomic.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering::*};

/// The most cores looked at, the size of the host's default CPU set.
const MAX_CORES: usize = 1024;

pub(crate) struct Places {
    cores: Vec<usize>,
    /// Where in `cores` vCPU 0 is at home.
    base: usize,
    /// For each core: how many busy vCPUs are at home there, plus [`CLAIMED`] if it is some vCPU's second core.
    users: Vec<AtomicUsize>,
    /// Busy vCPUs.
    busy: AtomicUsize,
}

const CLAIMED: usize = 1 << 32;

static PLACES: OnceLock<Option<Places>> = OnceLock::new();

/// The cores to choose from; none if there is only one, where nothing is pinned.
#[inline]
pub(crate) fn places() -> Option<&'static Places> {
    PLACES.get_or_init(Places::new).as_ref()
}

fn affinity() -> Vec<usize> {
    // SAFETY: cpu_set_t is plain data, for which zero is a value.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is writable for its size.
    if unsafe { libc::sched_getaffinity(0, size_of_val(&set), &mut set) } != 0 {
        return Vec::new();
    }
    // SAFETY: the indices are within the set.
    (0..MAX_CORES).filter(|core| unsafe { libc::CPU_ISSET(*core, &set) }).collect()
}

pub(crate) fn usable() -> usize {
    places().map_or(1, |places| places.cores.len())
}

/// Lets a host thread (0: the caller) run on the given cores only. A refusal only costs speed.
fn allow(tid: i32, cores: &[usize]) {
    // SAFETY: cpu_set_t is plain data, for which zero is a value.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    for core in cores.iter().filter(|core| **core < MAX_CORES) {
        // SAFETY: the core is within the set.
        unsafe { libc::CPU_SET(*core, &mut set) };
    }
    // SAFETY: the set is readable for its size.
    unsafe { libc::sched_setaffinity(tid, size_of_val(&set), &set) };
}

pub(crate) fn pin(tid: i32, core: usize) {
    allow(tid, &[core]);
}

/// Lets a host thread run on the caller's core only.
pub(crate) fn pin_here(tid: i32) {
    // SAFETY: no arguments.
    let here = unsafe { libc::sched_getcpu() };
    if let Ok(core) = usize::try_from(here) {
        pin(tid, core);
    }
}

/// Keeps the calling thread from taking the core of whoever runs when it wakes: it can wait.
pub(crate) fn unhurried() {
    let param = libc::sched_param { sched_priority: 0 };
    // SAFETY: `param` is readable. A refusal only costs speed.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &param) };
}

pub(crate) fn unpin() {
    if let Some(places) = places() {
        allow(0, &places.cores);
    }
}

pub(crate) fn pin_vcpu(index: usize) {
    if let Some(places) = places() {
        pin(0, places.home(index));
    }
}

impl Places {
    fn new() -> Option<Places> {
        let cores = affinity();
        if cores.len() < 2 {
            return None;
        }
        // SAFETY: no arguments.
        let here = unsafe { libc::sched_getcpu() };
        let base = cores.iter().position(|core| *core as i32 == here).unwrap_or(0);
        let users = cores.iter().map(|_| AtomicUsize::new(0)).collect();
        Some(Places { cores, base, users, busy: AtomicUsize::new(0) })
    }

    fn at(&self, index: usize) -> usize {
        (self.base + index) % self.cores.len()
    }

    pub(crate) fn core(&self, at: usize) -> usize {
        self.cores[at]
    }

    pub(crate) fn home(&self, index: usize) -> usize {
        self.cores[self.at(index)]
    }

    pub(crate) fn enter(&self, index: usize) {
        self.busy.fetch_add(1, Relaxed);
        self.users[self.at(index)].fetch_add(1, Relaxed);
    }

    pub(crate) fn leave(&self, index: usize) {
        self.busy.fetch_sub(1, Relaxed);
        self.users[self.at(index)].fetch_sub(1, Relaxed);
    }

    /// Whether every busy vCPU can have a second core.
    #[inline]
    pub(crate) fn spinning(&self) -> bool {
        self.busy.load(Relaxed) * 2 <= self.cores.len()
    }

    /// The same with one busy vCPU more.
    pub(crate) fn spinning_with_another(&self) -> bool {
        (self.busy.load(Relaxed) + 1) * 2 <= self.cores.len()
    }

    /// A core that no busy vCPU uses, as a second one for vCPU `index`; its place in the list.
    pub(crate) fn claim(&self, index: usize) -> Option<usize> {
        let n = self.cores.len();
        let first = self.at(index);
        // From the far end of the list: homes are given out from its beginning.
        (1..n)
            .map(|step| (first + n - step) % n)
            .find(|at| self.users[*at].compare_exchange(0, CLAIMED, Relaxed, Relaxed).is_ok())
    }

    pub(crate) fn release(&self, at: usize) {
        self.users[at].fetch_sub(CLAIMED, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(n: usize) -> Places {
        let users = (0..n).map(|_| AtomicUsize::new(0)).collect();
        Places { cores: (0..n).map(|i| i * 2).collect(), base: 1, users, busy: AtomicUsize::new(0) }
    }

    #[test]
    fn second_cores_are_free_ones() {
        let places = places(4);
        places.enter(0);
        assert_eq!(places.home(0), 2);
        let first = places.claim(0).unwrap();
        assert_eq!(first, 0);
        places.enter(1);
        assert!(places.spinning());
        assert_eq!(places.claim(1), Some(3));
        places.enter(2);
        assert!(!places.spinning());
        places.release(first);
        places.leave(2);
        places.leave(1);
        assert!(places.spinning());
        assert_eq!(places.claim(0), Some(0));
    }
}
