//! `mem=`: how much the machine uses, and the OOM killer.
//!
//! Nothing here runs while the machine is idle. While a guest program runs, its vCPU calls [`pressure`] now and then
//! ([`next_check`]), because a guest touches the memory that it has been given without asking again. What counts is the
//! anonymous memory of the stubs and their page tables, the memory objects (tmpfs, shared memory), and the kernel's own
//! heap. Pages that a fork still shares count twice in that sum, so it is verified by the host's proportional figures,
//! which are dear, before anybody is killed.
//!
//! Over the limit, caches are dropped first ([`register_shrinker`]); then the process with the largest score dies, by
//! SIGKILL, as Linux's `oom_badness` has it: resident memory and page tables plus oom_score_adj thousandths of all
//! memory.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use abi::signal::SIGKILL;
use host::object;
use host::stub::{AddressSpace, Footprint};

use super::overcommit;
use crate::sync::{SpinLock, rank};
use crate::task::{Process, exit, pid};
use crate::vfs::dcache;

/// The sum is looked at no more often than this, ns: with plenty of memory left, and when there is none.
const CHECK_INTERVAL: u64 = 400_000_000;
const CHECK_INTERVAL_SHORT: u64 = 20_000_000;
/// No more than one part in so many of the time goes into verifying, unless that would take longer than this, ns.
const VERIFY_SHARE: u64 = 20;
const VERIFY_INTERVAL_MAX: u64 = 1_000_000_000;
/// Bytes that a guest takes in a nanosecond, at most: memory is looked at again before it could be gone.
const BYTES_PER_NS: u64 = 2;
/// Of this many parts of the memory, one is left free by reclaim.
const RESERVE: u64 = 64;
/// oom_score_adj of a process that is never chosen.
const OOM_SCORE_ADJ_MIN: i32 = -1000;

static NEXT_CHECK: AtomicU64 = AtomicU64::new(0);
static USED: AtomicU64 = AtomicU64::new(0);
/// What of it was not in caches.
static UNCACHED: AtomicU64 = AtomicU64::new(0);

/// Somebody who holds memory that could be freed: a page cache.
pub struct Shrinker {
    /// Bytes held.
    pub held: fn() -> u64,
    /// Frees about that many bytes, if it can; what it freed.
    pub shrink: fn(u64) -> u64,
    /// Whether it may be asked in the midst of a system call, with sleeping locks held.
    pub in_call: bool,
}

static SHRINKERS: SpinLock<Vec<Shrinker>> = SpinLock::new(rank::LEAF, Vec::new());

/// Makes a cache known: it counts as used memory, and is asked to give some back when there is none left.
pub fn register_shrinker(shrinker: Shrinker) {
    SHRINKERS.lock().push(shrinker);
}

/// Bytes in use when last looked at.
pub fn used() -> u64 {
    USED.load(Ordering::Relaxed)
}

/// Bytes in use by others than caches when last looked at.
pub fn uncached() -> u64 {
    UNCACHED.load(Ordering::Relaxed)
}

/// Memory of the machine, bytes.
pub struct MemInfo {
    /// `mem=`
    pub total: u64,
    /// Used by nobody.
    pub free: u64,
    /// Held by caches that can give it back, and shared memory, which Linux counts among them.
    pub cached: u64,
    /// Shared memory and files in memory.
    pub shared: u64,
}

/// How the machine's memory is used, for /proc/meminfo and sysinfo(2).
pub fn meminfo() -> MemInfo {
    let total = overcommit::total();
    let shared = shared();
    MemInfo { total, free: total.saturating_sub(measure()), cached: cached() + shared, shared }
}

/// Bytes that caches hold.
pub fn cached() -> u64 {
    let all: Vec<fn() -> u64> = SHRINKERS.lock().iter().map(|s| s.held).collect();
    all.iter().map(|held| held()).sum()
}

/// Asks every cache for all that it can give back: /proc/sys/vm/drop_caches.
pub fn drop_caches() {
    let all: Vec<fn(u64) -> u64> = SHRINKERS.lock().iter().map(|s| s.shrink).collect();
    for shrink in all {
        shrink(u64::MAX);
    }
}

/// Bytes of files in memory (tmpfs, memfd) and of shared memory.
pub fn shared() -> u64 {
    object::resident() + crate::fs::tmpfs::heap_bytes()
}

/// The sum: the processes' own memory by `own`, the objects, and the kernel's heap.
fn sum(own: impl Fn(&AddressSpace) -> u64) -> u64 {
    let processes: Vec<_> = pid::tasklist().processes().cloned().collect();
    let mut seen = HashSet::new();
    let mut sum = Footprint::own().anonymous + object::resident() + object::resident_caches();
    for process in &processes {
        if let Some(mm) = mm_of(process)
            && seen.insert(mm.id)
        {
            sum += own(&mm.space);
        }
    }
    USED.store(sum, Ordering::Relaxed);
    UNCACHED.store(sum.saturating_sub(cached()), Ordering::Relaxed);
    sum
}

/// What is used, or more than that after forks.
fn measure() -> u64 {
    sum(|space| {
        let footprint = space.footprint();
        footprint.anonymous + footprint.tables
    })
}

/// What is used, exactly.
fn verify() -> u64 {
    sum(|space| {
        let footprint = space.footprint();
        space.proportional_anonymous_bytes().unwrap_or(footprint.anonymous) + footprint.tables
    })
}

fn mm_of(process: &Process) -> Option<Arc<super::Mm>> {
    process.threads().iter().find_map(|t| t.mm().ok())
}

/// When [`pressure`] should be called again, host monotonic ns.
pub fn next_check() -> u64 {
    NEXT_CHECK.load(Ordering::Relaxed)
}

/// Looks whether there is memory left, if nobody has for a while, and makes room where there is none. No lock may be
/// held.
pub fn pressure(now: u64) {
    let total = overcommit::total();
    if look(now).is_some_and(|used| used > total - total / RESERVE) {
        let used = verified(now);
        if used > total - total / RESERVE {
            reclaim(used, total);
        }
    }
}

/// The same in the midst of a system call that goes on for long, where locks may be held that reclaim would need.
pub fn pressure_in_call(now: u64) {
    let total = overcommit::total();
    let most = total - total / RESERVE;
    if !look(now).is_some_and(|used| used > most) {
        return;
    }
    let used = verified(now);
    if used > most {
        let some: Vec<_> = SHRINKERS.lock().iter().filter(|s| s.in_call).map(|s| s.shrink).collect();
        for shrink in some {
            shrink(used - most);
        }
        host::machine::trim_heap();
        if used > total && verify() > total {
            kill_largest(total);
        }
    }
}

/// What is used, exactly; the next look waits in proportion to what it cost.
fn verified(now: u64) -> u64 {
    let used = verify();
    let after = host::clock::monotonic();
    let pause = after.saturating_sub(now).saturating_mul(VERIFY_SHARE);
    NEXT_CHECK.store(after + pause.clamp(CHECK_INTERVAL_SHORT, VERIFY_INTERVAL_MAX), Ordering::Relaxed);
    used
}

/// Bytes in use; none if it is not time to look again.
fn look(now: u64) -> Option<u64> {
    let due = next_check();
    let claim = |next| NEXT_CHECK.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_ok();
    if now < due || !claim(now + CHECK_INTERVAL) {
        return None;
    }
    let used = measure();
    let soon =
        (overcommit::total().saturating_sub(used) / BYTES_PER_NS).clamp(CHECK_INTERVAL_SHORT, CHECK_INTERVAL);
    // With thousands of processes the look itself takes long.
    let cost = host::clock::monotonic().saturating_sub(now);
    NEXT_CHECK.store(now + soon.max(cost.saturating_mul(8)), Ordering::Relaxed);
    Some(used)
}

fn reclaim(used: u64, total: u64) {
    let wanted = used - (total - total / RESERVE);
    let all: Vec<fn(u64) -> u64> = SHRINKERS.lock().iter().map(|s| s.shrink).collect();
    for shrink in all {
        shrink(wanted);
    }
    dcache::shrink_all();
    // What the heap has freed is not the host's yet.
    host::machine::trim_heap();
    if verify() > total {
        kill_largest(total);
    }
}

fn kill_largest(total: u64) {
    let processes: Vec<_> = pid::tasklist().processes().cloned().collect();
    if processes.iter().any(|p| p.group_exit.load(Ordering::SeqCst) && !p.zombie.load(Ordering::SeqCst)) {
        // Somebody is dying already; its memory and what its files hold come back first.
        return;
    }
    let victims = processes.iter().filter_map(|p| Some((score(p, total)?, p)));
    let Some((_, victim)) = victims.max_by_key(|(score, _)| *score) else {
        crate::pr_emerg!("Out of memory and no killable processes...");
        return;
    };
    let Some(task) = victim.threads().first().cloned() else { return };
    let rss = mm_of(victim).map_or(0, |mm| mm.rss());
    crate::pr_emerg!(
        "Out of memory: Killed process {} ({}) anon-rss:{}kB",
        victim.tgid,
        task.comm().escape_ascii(),
        rss / 1024
    );
    exit::kill_process(&task, SIGKILL);
}

/// Badness in bytes; none for a process that may not be killed.
fn score(process: &Process, total: u64) -> Option<i64> {
    let adjust = process.oom_score_adj.load(Ordering::Relaxed);
    if process.tgid == 1 || adjust == OOM_SCORE_ADJ_MIN {
        return None;
    }
    let footprint = mm_of(process)?.space.footprint();
    let taken = footprint.resident.saturating_add(footprint.tables) as i64;
    Some(taken.saturating_add(i64::from(adjust).saturating_mul((total / 1000) as i64)))
}

/// /proc/PID/oom_score: 0 to 2000.
pub fn oom_score(process: &Process) -> i64 {
    let total = overcommit::total();
    let points = score(process, total).unwrap_or(0).max(0) / (total / 1000).max(1) as i64;
    points.min(2000)
}
