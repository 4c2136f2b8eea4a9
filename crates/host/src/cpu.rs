//! Where a vCPU thread sleeps, and which host cores it and its stubs run on.
//!
//! Two modes. While there are two host cores for each busy vCPU, a vCPU and the stub it runs sit on two of them and
//! both spin for their turn: no wake-up, which is what a system call would cost most of its time for. With fewer cores
//! both share the vCPU's core and hand over by sleeping there, for a sleep across cores costs ten times as much. A vCPU
//! that idles gives up its second core. `sleeper` is a leaf lock, taken only to sleep and to wake a sleeper.

use crate::stub::{Mapping, turn_kick, undertaker, used};
use crate::sys::{futex_wait, futex_wake};
use crate::{clock, place};
use parking_lot::Mutex;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::*};

/// How many runs in a row must find cores enough before a vCPU claims a second one again: moving a stub costs more than
/// a few calls, and another vCPU may only have paused.
const CALM: u32 = 32;

/// The same, after other programs were seen to use the cores.
const BUSY_HOST: u32 = 4096;
/// Cores lost twice within this time mean a busy host, ns.
const OFTEN_NS: u64 = 20_000_000;

/// How many vCPU threads are not idle.
static BUSY: AtomicUsize = AtomicUsize::new(0);

/// The host's own account of its processors, in the format of /proc/cpuinfo. Read once.
pub fn cpuinfo() -> &'static str {
    static CPUINFO: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    CPUINFO.get_or_init(|| std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default())
}

/// A cache of a processor: the names and values that the host's sysfs has of it.
pub struct CacheInfo(pub Vec<(&'static str, String)>);

/// The caches of the host's first processor. Read once.
pub fn caches() -> &'static [CacheInfo] {
    const NAMES: [&str; 6] =
        ["level", "type", "size", "coherency_line_size", "ways_of_associativity", "number_of_sets"];
    static CACHES: std::sync::OnceLock<Vec<CacheInfo>> = std::sync::OnceLock::new();
    CACHES.get_or_init(|| {
        let read = |index: usize, name: &'static str| {
            let path = format!("/sys/devices/system/cpu/cpu0/cache/index{index}/{name}");
            let value = std::fs::read_to_string(path).ok()?;
            Some((name, value.trim_end().to_owned()))
        };
        let one = |index| CacheInfo(NAMES.iter().filter_map(|name| read(index, name)).collect());
        (0..8).map(one).take_while(|cache| !cache.0.is_empty()).collect()
    })
}

/// A vCPU thread's sleeping place. One for each vCPU thread.
pub struct Cpu {
    index: usize,
    /// 1 after a kick that the owner has not taken yet; the futex of [`idle`](Cpu::idle).
    kicked: AtomicU32,
    /// The owner sleeps, or is about to.
    asleep: AtomicBool,
    /// The shared futex word that the owner sleeps on while it runs a stub. The word stays mapped while it is here.
    sleeper: Mutex<Option<NonNull<AtomicU32>>>,
    busy: AtomicBool,
    /// The second core this vCPU has claimed, by its place in the list of cores; `usize::MAX` for none.
    partner: AtomicUsize,
    /// How many runs are still to find cores enough before this vCPU claims a second one.
    wary: AtomicU32,
    /// When this thread last lost its core while it spun, ns.
    stolen_at: AtomicU64,
    /// The window of the stub thread that ran last and may still spin.
    last: Mutex<Option<Arc<Mapping>>>,
}

// SAFETY: the pointer is only used under the lock, by which the owner also takes it away before the word is unmapped.
unsafe impl Send for Cpu {}
// SAFETY: as above.
unsafe impl Sync for Cpu {}

impl Cpu {
    /// Makes the calling thread's place; `index` is the guest CPU number. Pins the thread where there are cores to
    /// choose from.
    pub fn new(index: usize) -> Arc<Cpu> {
        place::pin_vcpu(index);
        BUSY.fetch_add(1, Relaxed);
        Arc::new(Cpu {
            index,
            kicked: AtomicU32::new(0),
            asleep: AtomicBool::new(false),
            sleeper: Mutex::new(None),
            busy: AtomicBool::new(false),
            partner: AtomicUsize::new(usize::MAX),
            wary: AtomicU32::new(0),
            stolen_at: AtomicU64::new(0),
            last: Mutex::new(None),
        })
    }

    /// The guest CPU number.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Wakes the owner, or makes its next sleep return at once. Any thread; cheap while the owner runs.
    pub fn kick(&self) {
        if self.kicked.swap(1, SeqCst) == 1 || !self.asleep.load(SeqCst) {
            return;
        }
        match *self.sleeper.lock() {
            // SAFETY: a word in `sleeper` is mapped (see there).
            Some(word) => turn_kick(unsafe { word.as_ref() }),
            None => futex_wake(&self.kicked, false),
        }
    }

    /// Sleeps until [`kick`](Cpu::kick) or the monotonic `deadline` in ns. The owner's thread only.
    pub fn idle(&self, deadline: Option<u64>) {
        if self.take_kick() {
            return;
        }
        self.leave();
        let others = BUSY.fetch_sub(1, Relaxed) - 1;
        if others == 0 {
            while undertaker::end_one() {}
            used::tidy();
        }
        self.asleep.store(true, SeqCst);
        while self.kicked.load(SeqCst) == 0 && deadline.is_none_or(|deadline| clock::monotonic() < deadline) {
            futex_wait(&self.kicked, 0, false, deadline);
        }
        self.asleep.store(false, Relaxed);
        self.kicked.store(0, SeqCst);
        BUSY.fetch_add(1, Relaxed);
    }

    /// Whether there was a kick; it is then taken.
    #[inline]
    pub(crate) fn take_kick(&self) -> bool {
        self.kicked.load(Relaxed) != 0 && self.kicked.swap(0, SeqCst) != 0
    }

    /// Sleeps while `word` holds `value`, until it is woken, kicked or late.
    pub(crate) fn sleep_on(&self, word: &AtomicU32, value: u32, deadline: Option<u64>) {
        *self.sleeper.lock() = Some(NonNull::from(word));
        self.asleep.store(true, SeqCst);
        if self.kicked.load(SeqCst) == 0 {
            futex_wait(word, value, true, deadline);
        }
        self.asleep.store(false, SeqCst);
        *self.sleeper.lock() = None;
    }

    /// Where a stub is to run for this vCPU: the core, if it is to be pinned, and whether both sides spin.
    #[inline]
    pub(crate) fn place(&self) -> (Option<usize>, bool) {
        let Some(places) = place::places() else { return (None, false) };
        if !self.busy.load(Relaxed) {
            self.busy.store(true, Relaxed);
            places.enter(self.index);
        }
        let partner = self.partner.load(Relaxed);
        if !places.spinning() {
            self.wary.fetch_max(CALM, Relaxed);
            if partner != usize::MAX {
                places.release(partner);
                self.partner.store(usize::MAX, Relaxed);
            }
            return (Some(places.home(self.index)), false);
        }
        if partner != usize::MAX {
            return (Some(places.core(partner)), true);
        }
        let wary = self.wary.load(Relaxed);
        if wary == 0
            && let Some(partner) = places.claim(self.index)
        {
            self.partner.store(partner, Relaxed);
            return (Some(places.core(partner)), true);
        }
        self.wary.store(wary.saturating_sub(1), Relaxed);
        (Some(places.home(self.index)), false)
    }

    /// The owner has lost its core to another program while it spun. If that happens again and again the host is busy,
    /// and who spins only burns the time that the other side needs: then a second core is not claimed for a while.
    #[cold]
    pub(crate) fn stolen(&self, now: u64) {
        if now - self.stolen_at.swap(now, Relaxed) < OFTEN_NS {
            self.wary.store(BUSY_HOST, Relaxed);
            let partner = self.partner.swap(usize::MAX, Relaxed);
            if let Some(places) = place::places()
                && partner != usize::MAX
            {
                places.release(partner);
            }
        }
    }

    /// A stub thread has been given the turn. The one before it stops spinning now, and not earlier: it has kept the
    /// core from going to sleep until there was something to switch to. It gives way for a moment before it sleeps: two
    /// that take turns then need no waking.
    #[inline]
    pub(crate) fn runs(&self, window: &Arc<Mapping>, spin: bool) {
        let mut last = self.last.lock();
        if last.as_ref().is_some_and(|last| Arc::ptr_eq(last, window)) {
            return;
        }
        let before = if spin { last.replace(window.clone()) } else { last.take() };
        drop(last);
        if let Some(before) = before {
            before.give_way(spin);
        }
    }

    fn leave(&self) {
        if let Some(places) = place::places()
            && self.busy.swap(false, Relaxed)
        {
            let partner = self.partner.swap(usize::MAX, Relaxed);
            if partner != usize::MAX {
                places.release(partner);
            }
            places.leave(self.index);
        }
    }
}

impl Drop for Cpu {
    fn drop(&mut self) {
        BUSY.fetch_sub(1, Relaxed);
        self.leave();
    }
}

/// Host cores that this process may run on.
pub fn usable_cores() -> usize {
    place::usable()
}

/// Whether every busy vCPU has a second core to itself, and one busy vCPU more would end that.
#[inline]
pub fn is_crowded() -> bool {
    place::places().is_some_and(|places| places.spinning() && !places.spinning_with_another())
}

/// Lets the calling thread run on every usable core again: a thread that a vCPU thread starts is pinned as that is.
pub fn unpin() {
    place::unpin();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kicks_are_not_lost() {
        let cpu = Cpu::new(0);
        cpu.kick();
        cpu.idle(None);
        let before = clock::monotonic();
        cpu.idle(Some(before + 2_000_000));
        assert!(clock::monotonic() >= before + 2_000_000);
        let other = cpu.clone();
        let kicker = std::thread::spawn(move || {
            for _ in 0..1000 {
                other.kick();
                while other.kicked.load(SeqCst) != 0 {
                    std::thread::yield_now();
                }
            }
        });
        for _ in 0..1000 {
            cpu.idle(None);
        }
        kicker.join().unwrap();
    }
}
