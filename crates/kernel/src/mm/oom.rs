//! `mem=` enforced: looks at what the machine uses, and the OOM killer.
//!
//! Nothing here runs while the machine is idle. While a guest program runs, its vCPU calls [`pressure`] now and then
//! ([`next_check`]), because a guest touches the memory that it has been given without asking again: the less there is
//! left, the sooner it is looked at again. What counts is [`account`](super::account)'s sum. It says too much after
//! forks, so it is verified before anybody is killed.
//!
//! Over the limit, caches are dropped first ([`register_shrinker`]); then the process with the largest score dies, by
//! SIGKILL, as Linux's `oom_badness` has it: resident memory and page tables plus oom_score_adj thousandths of all
//! memory. Its stub dies at once, as Linux's reaper does it: the memory is back before the program has had its turn to
//! exit. If that isn't enough, more die in the same step.
//!
//! A host that is itself short of memory gets caches back, whatever `mem=` says: many machines share it.
//!
//! The bound: the host's loss is at most `mem=`, plus what two vCPUs touch between two looks, plus what the machine needs
//! at rest (docs/performance.md has the figures, the hostile tests assert it).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use abi::signal::SIGKILL;
use host::object;

use super::account::{self, mm_of};
use super::overcommit;
use crate::sched;
use crate::sync::{SpinLock, rank};
use crate::task::{Process, exit, pid};
use crate::vfs::dcache;

/// The sum is looked at no more often than this, ns: with plenty of memory left, and when there is none.
const CHECK_INTERVAL: u64 = 400_000_000;
const CHECK_INTERVAL_SHORT: u64 = 5_000_000;
/// With many processes a look itself takes long: the next one comes no sooner than after so many times that.
const COST_SHARE: u64 = 2;
/// Bytes that a vCPU's guest takes in a nanosecond, at most: memory is looked at again before it could be gone.
const BYTES_PER_NS: u64 = 3;
/// How long a victim may take to let go of what its files hold before another is chosen, ns.
const VICTIM_TIME: u64 = 100_000_000;
/// When several have to die one after the other, one part of so many of the memory is made free besides.
const STORM: u64 = 8;
/// Of this many parts of the memory, one is left free by reclaim.
const RESERVE: u64 = 64;
/// Bytes in caches from which on the host's need of them is looked at.
const CACHE_WORTH: u64 = 16 << 20;
/// Of this many parts of the host's memory, caches leave one to others.
const HOST_RESERVE: u64 = 16;
/// oom_score_adj of a process that is never chosen.
const OOM_SCORE_ADJ_MIN: i32 = -1000;

static NEXT_CHECK: AtomicU64 = AtomicU64::new(0);
/// When somebody was killed last, host monotonic ns.
static LAST_KILL: AtomicU64 = AtomicU64::new(0);

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
    MemInfo {
        total,
        free: total.saturating_sub(account::measure().total()),
        cached: cached() + shared,
        shared,
    }
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

/// When [`pressure`] should be called again, host monotonic ns.
pub fn next_check() -> u64 {
    NEXT_CHECK.load(Ordering::Relaxed)
}

/// Looks whether there is memory left, if nobody has for a while, and makes room where there is none. No lock may be
/// held.
pub fn pressure(now: u64) {
    let total = overcommit::total();
    let Some(used) = look(now) else { return };
    if used > total - total / RESERVE {
        let used = verified(now);
        if used > total - total / RESERVE {
            reclaim(used, total);
        }
    } else {
        let lack = host_lack();
        if lack > 0 {
            shrink_caches(lack);
        }
    }
}

/// Bytes that the host lacks and that caches could give back.
fn host_lack() -> u64 {
    let held = cached();
    // Not worth a look at the host's account.
    if held < CACHE_WORTH {
        return 0;
    }
    let Some(host) = host::machine::memory() else { return 0 };
    (host.total / HOST_RESERVE).saturating_sub(host.available).min(held)
}

/// The same in the midst of a system call that goes on for long, where locks may be held that reclaim would need.
pub fn pressure_in_call(now: u64) {
    let total = overcommit::total();
    let most = total - total / RESERVE;
    let Some(used) = look(now) else { return };
    if used <= most {
        let lack = host_lack();
        if lack > 0 {
            shrink_in_call(lack);
        }
        return;
    }
    let used = verified(now);
    if used > most {
        shrink_in_call(used - most);
        let used = verified(now);
        if used > total {
            kill(used, total);
        }
    }
}

/// Asks those caches that may be asked in the midst of a system call.
fn shrink_in_call(wanted: u64) {
    let some: Vec<_> = SHRINKERS.lock().iter().filter(|s| s.in_call).map(|s| s.shrink).collect();
    for shrink in some {
        shrink(wanted);
    }
    host::machine::trim_heap();
}

/// Bytes in use, exactly.
fn verified(now: u64) -> u64 {
    let used = account::verify().total();
    schedule_check(now, used);
    used
}

/// Bytes in use; none if it is not time to look again.
fn look(now: u64) -> Option<u64> {
    let due = next_check();
    // Not far off, or a guest that begins to run before the look is over would not be stopped for long.
    let next = now + CHECK_INTERVAL_SHORT;
    if now < due || NEXT_CHECK.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_err() {
        return None;
    }
    let used = account::measure().total();
    schedule_check(now, used);
    Some(used)
}

/// Settles when to look next, after a look that began at `began`.
fn schedule_check(began: u64, used: u64) {
    let now = host::clock::monotonic();
    let cost = now.saturating_sub(began).saturating_mul(COST_SHARE);
    let rate = BYTES_PER_NS * sched::vcpus().len().max(1) as u64;
    NEXT_CHECK
        .store(now + pause(overcommit::total().saturating_sub(used), rate).max(cost), Ordering::Relaxed);
}

/// How long `left` bytes last at so many bytes a nanosecond.
fn pause(left: u64, rate: u64) -> u64 {
    (left / rate).clamp(CHECK_INTERVAL_SHORT, CHECK_INTERVAL)
}

/// Asks every cache for `wanted` bytes, and gives back what the kernel's heap has freed. No lock may be held.
pub fn shrink_caches(wanted: u64) {
    let all: Vec<fn(u64) -> u64> = SHRINKERS.lock().iter().map(|s| s.shrink).collect();
    for shrink in all {
        shrink(wanted);
    }
    dcache::shrink_all();
    // What the heap has freed is not the host's yet.
    host::machine::trim_heap();
}

fn reclaim(used: u64, total: u64) {
    let wanted = used - (total - total / RESERVE);
    shrink_caches(wanted);
    let used = account::verify().total();
    if used > total {
        kill(used, total);
    }
}

/// Kills as many processes as it takes to get from `used` to `total` bytes, the largest first.
fn kill(used: u64, total: u64) {
    let now = host::clock::monotonic();
    let processes: Vec<_> = pid::tasklist().processes().cloned().collect();
    let recent = now < LAST_KILL.load(Ordering::Relaxed) + VICTIM_TIME;
    if recent && objects_of_the_dying(&processes, used, total) {
        return;
    }
    let mut victims: Vec<_> =
        processes.iter().filter(|p| !is_dying(p)).filter_map(|p| Some((score(p, total)?, p))).collect();
    victims.sort_by_key(|(score, _)| core::cmp::Reverse(*score));
    // Where one victim was not enough, many grow at once.
    let mut excess = used.saturating_sub(total) + if recent { total / STORM } else { 0 };
    for (_, victim) in &victims {
        excess = excess.saturating_sub(kill_one(victim));
        LAST_KILL.store(now, Ordering::Relaxed);
        if excess == 0 {
            return;
        }
    }
    if victims.is_empty() && !processes.iter().any(|p| is_dying(p)) {
        crate::pr_emerg!("Out of memory and no killable processes...");
    }
}

/// Whether what the dying have in their files, which comes back when they have had their turn to exit, may be enough.
fn objects_of_the_dying(processes: &[Arc<Process>], used: u64, total: u64) -> bool {
    processes.iter().any(|p| is_dying(p)) && used.saturating_sub(shared()) <= total
}

/// Whether somebody who has been told to die is still there.
pub fn anybody_dying() -> bool {
    pid::tasklist().processes().any(|p| is_dying(p))
}

fn is_dying(process: &Process) -> bool {
    process.group_exit.load(Ordering::SeqCst) && !process.zombie.load(Ordering::SeqCst)
}

/// Bytes that come back.
fn kill_one(victim: &Process) -> u64 {
    let threads = victim.threads();
    let (Some(task), Some(mm)) = (threads.first(), mm_of(victim)) else { return 0 };
    let footprint = mm.space.footprint();
    crate::pr_emerg!(
        "Out of memory: Killed process {} ({}) anon-rss:{}kB",
        victim.tgid,
        task.comm().escape_ascii(),
        footprint.anonymous / 1024
    );
    exit::kill_process(task, SIGKILL);
    if mm.users() <= threads.len() {
        mm.space.kill();
    }
    footprint.anonymous + footprint.tables
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_come_sooner_the_less_is_left() {
        assert_eq!(pause(u64::MAX, 2), CHECK_INTERVAL);
        assert_eq!(pause(0, 2), CHECK_INTERVAL_SHORT);
        assert_eq!(pause(100_000_000, 2), 50_000_000);
    }
}
