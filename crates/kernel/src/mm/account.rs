//! What the machine takes of the host's memory: the sum that `mem=` bounds.
//!
//! It is the anonymous memory of the stubs and their page tables, the memory objects (tmpfs, shared memory, mapped files in the page
//! cache), this program's own memory (the guest kernel's heap, fibers' stacks), and what the host's kernel needs beside pages for each
//! thread, address space, mapping and object: those are counted and multiplied by what was measured ([`HOST_THREAD`] and
//! the others; 6.18, x86-64: growth of KernelStack, Slab, Shmem by 1000 processes, 2000 threads, 60,000 mappings, 3000
//! objects).
//!
//! Pages that a fork still shares count twice in [`measure`]; [`verify`] asks the host for its proportional figures, which
//! are dear.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use abi::Result;
use abi::errno::{ENOMEM, ETIMEDOUT};
use host::object;
use host::stub::{AddressSpace, Footprint};

use super::{Mm, oom, overcommit};
use crate::sync::{Interruptible, Sleep, WaitQueue, wait_event};
use crate::task::{Process, pid};

/// A host thread: kernel stack, task structure, the pages of its window.
pub const HOST_THREAD: u64 = 32 << 10;
/// A host process beside its first thread: memory descriptor, top page tables, signal and file structures, the stub's
/// own mappings.
pub const HOST_SPACE: u64 = 24 << 10;
/// A mapping.
pub const HOST_VMA: u64 = 256;
/// An object: inode, name, open file.
pub const HOST_OBJECT: u64 = 1024;
/// A thread's kernel stack alone.
const HOST_STACK: u64 = 16 << 10;

static USED: AtomicU64 = AtomicU64::new(0);
/// What of it was not in caches.
static UNCACHED: AtomicU64 = AtomicU64::new(0);
/// How often somebody has looked.
static LOOKS: AtomicU64 = AtomicU64::new(0);

/// How the machine's memory is used, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Programs' private memory.
    pub anonymous: u64,
    /// Page tables.
    pub tables: u64,
    /// Memory of objects.
    pub objects: u64,
    /// The guest kernel's own memory.
    pub kernel: u64,
    /// Kernel stacks of the host's threads.
    pub stacks: u64,
    /// What else the host's kernel needs.
    pub host: u64,
}

impl Account {
    /// The sum.
    pub fn total(&self) -> u64 {
        let Account { anonymous, tables, objects, kernel, stacks, host } = *self;
        anonymous + tables + objects + kernel + stacks + host
    }
}

/// Bytes in use when last looked at, and what was made since.
pub fn used() -> u64 {
    USED.load(Ordering::Relaxed)
}

/// Bytes in use by others than caches when last looked at.
pub fn uncached() -> u64 {
    UNCACHED.load(Ordering::Relaxed)
}

/// What is used, or more than that after forks.
pub fn measure() -> Account {
    sum(|_, footprint| footprint.anonymous)
}

/// What is used, exactly.
pub fn verify() -> Account {
    sum(|space, footprint| space.proportional_anonymous_bytes().unwrap_or(footprint.anonymous))
}

fn sum(own: impl Fn(&AddressSpace, &Footprint) -> u64) -> Account {
    let (processes, threads) = {
        let list = pid::tasklist();
        (list.processes().cloned().collect::<Vec<_>>(), list.threads() as u64)
    };
    let kernel = Footprint::own();
    let mut account = Account { kernel: kernel.anonymous, tables: kernel.tables, ..Account::default() };
    let mut seen = HashSet::new();
    for process in &processes {
        if let Some(mm) = mm_of(process)
            && seen.insert(mm.id)
        {
            let footprint = mm.space.footprint();
            account.anonymous += own(&mm.space, &footprint);
            account.tables += footprint.tables;
        }
    }
    account.objects = object::resident() + object::resident_caches();
    account.stacks = threads * HOST_STACK;
    account.host = threads * (HOST_THREAD - HOST_STACK)
        + seen.len() as u64 * HOST_SPACE
        + overcommit::mappings() * HOST_VMA
        + object::count() as u64 * HOST_OBJECT;
    USED.store(account.total(), Ordering::Relaxed);
    UNCACHED.store(account.total().saturating_sub(oom::cached()), Ordering::Relaxed);
    LOOKS.fetch_add(1, Ordering::Relaxed);
    account
}

/// The address space of a process.
pub fn mm_of(process: &Process) -> Option<Arc<Mm>> {
    process.threads().iter().find_map(|t| t.mm().ok())
}

/// What a fork touches at once, page tables and memory, which the next look will find.
const FORK_TOUCHES: u64 = 96 << 10;
/// Of this many parts of the memory, one is not for new threads: the OOM killer is not to be woken by them.
const ADMIT_RESERVE: u64 = 32;
/// How many looks [`admit`] waits for before it gives up, unless processes are dying.
const ADMIT_LOOKS: u64 = 3;
/// How often it waits at most.
const ADMIT_TRIES: u32 = 100;
/// How long at a time, ns.
const ADMIT_PAUSE: u64 = 10_000_000;

/// Counts `bytes` that are to be taken at once, by host calls that nobody looks after: more than there is would be gone
/// before the OOM killer looks. ENOMEM. No lock may be held.
pub fn room_for(bytes: u64) -> Result<()> {
    let fits = || used().saturating_add(bytes) <= overcommit::total();
    measure();
    if !fits() {
        oom::shrink_caches(bytes);
        measure();
        if !fits() {
            return Err(ENOMEM);
        }
    }
    // Until somebody looks again.
    USED.fetch_add(bytes, Ordering::Relaxed);
    Ok(())
}

/// Counts a thread to be made, with an address space of its own if `space`. When there is no memory for what the host
/// needs for it, waits a little, and longer for that of processes that are dying; then ENOMEM. EINTR by a fatal signal.
/// No lock may be held.
pub fn admit(space: bool) -> Result<()> {
    let cost = HOST_THREAD + if space { HOST_SPACE + FORK_TOUCHES } else { 0 };
    let limit = overcommit::total() - overcommit::total() / ADMIT_RESERVE;
    let fits = || used().saturating_add(cost) <= limit;
    let looks = LOOKS.load(Ordering::Relaxed);
    for tries in 0..ADMIT_TRIES {
        if fits() {
            // Until somebody looks again.
            USED.fetch_add(cost, Ordering::Relaxed);
            return Ok(());
        }
        oom::pressure(host::clock::monotonic());
        look_for_room(tries % 4 == 3, limit.saturating_sub(cost));
        if fits() {
            continue;
        }
        let looked = LOOKS.load(Ordering::Relaxed).wrapping_sub(looks);
        if looked >= ADMIT_LOOKS && tries > 3 && !oom::anybody_dying() {
            break;
        }
        let deadline = host::clock::monotonic() + ADMIT_PAUSE;
        let sleep = Sleep { interruptible: Interruptible::Killable, deadline: Some(deadline) };
        match wait_event(&WaitQueue::new(), sleep, || None::<()>) {
            Err(ETIMEDOUT) | Ok(()) => {}
            Err(errno) => return Err(errno),
        }
    }
    Err(ENOMEM)
}

/// Looks anew for those who would fork, however busy the OOM killer was lately, and has caches and the heap give back what
/// is more than `limit`: that may be too little to trouble the OOM killer. With many processes that takes long, and there
/// are many then who ask: it takes an eighth of the time at most.
fn look_for_room(exactly: bool, limit: u64) {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let began = host::clock::monotonic();
    let due = NEXT.load(Ordering::Relaxed);
    if began < due || NEXT.compare_exchange(due, u64::MAX, Ordering::Relaxed, Ordering::Relaxed).is_err() {
        return;
    }
    let look = || if exactly { verify() } else { measure() };
    let used = look().total();
    if used > limit {
        oom::shrink_caches(used - limit);
        look();
    }
    let now = host::clock::monotonic();
    NEXT.store(now + now.saturating_sub(began) * 8, Ordering::Relaxed);
}
