//! Block allocation. Finding blocks and writing down that they are taken are two steps: [`claim`] takes them in memory,
//! so that file data can be written to them before any transaction knows of them; [`mark_used`] puts them into the
//! bitmap on disk, in the transaction that makes them reachable. Freed blocks ([`free`]) come back to memory's bitmap
//! when the freeing transaction is durable.
//!
//! Beside that: the count of what delayed allocation was promised, and a window of claimed blocks ahead of each file that
//! grows, which gives way when space is tight. Locks: `counters` and a window's lock are short and innermost.

mod search;
mod window;

use crate::groups::Group;
use crate::{Filesystem, Geometry, Handle, Result, sync};
use abi::Errno;
use abi::errno::{EIO, ENOSPC};
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use window::Window;
pub(crate) use window::{WindowCell, claim_ahead, discard_window};

/// Who asks for blocks, and so what must be left to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Anybody: leaves root's reserve.
    User,
    /// Root: may use its reserve.
    Root,
    /// A file system structure: may use what is kept for them.
    Metadata,
    /// Promised before by [`Allocator::reserve`].
    Reserved,
}

#[derive(Default)]
struct Counters {
    /// Blocks that are free in memory's bitmaps; those in windows, and those being trimmed, count as free.
    available: i64,
    /// Promised to delayed allocation.
    reserved: u64,
    /// Freed by transactions that aren't durable yet.
    pending: u64,
}

/// Per-mount state.
#[derive(Clone)]
pub(crate) struct Allocator(Arc<Shared>);

struct Shared {
    groups: Box<[Group]>,
    first_data_block: u64,
    blocks_per_group: u32,
    counters: Mutex<Counters>,
    /// Blocks kept for root, and for structures.
    root_reserve: u64,
    pool: u64,
    counted: AtomicBool,
    windows: Mutex<HashMap<u32, Weak<Mutex<Window>>>>,
    /// Held while a run of free blocks is out of sight for the device to forget it.
    trimming: sync::Mutex<()>,
    /// Freed for good, but the device is to be told before they are used again (`discard`).
    discards: Mutex<Vec<(u64, u32)>>,
}

impl Allocator {
    /// Before the descriptors are known; [`load`] follows.
    pub(crate) fn new(geometry: &Geometry) -> Allocator {
        Allocator(Arc::new(Shared {
            groups: (0..geometry.groups).map(|_| Group::new()).collect(),
            first_data_block: geometry.first_data_block,
            blocks_per_group: geometry.blocks_per_group,
            counters: Mutex::default(),
            root_reserve: geometry.reserved_blocks,
            pool: (geometry.blocks_count / 50).min(4096),
            counted: AtomicBool::new(false),
            windows: Mutex::default(),
            trimming: sync::Mutex::new(()),
            discards: Mutex::default(),
        }))
    }

    /// Free blocks, all of them, as the disk has it.
    pub(crate) fn free_blocks(&self) -> u64 {
        let counters = self.0.counters.lock();
        (counters.available + counters.pending as i64).max(0) as u64
    }

    /// How many of them are promised to data that has no place yet.
    pub(crate) fn reserved_blocks(&self) -> u64 {
        self.0.counters.lock().reserved
    }

    /// Promises `count` blocks. False if that would touch what `need` must leave.
    pub(crate) fn reserve(&self, count: u64, need: Need) -> bool {
        let mut counters = self.0.counters.lock();
        let allowed = self.0.allowed(&counters, need);
        if count > allowed {
            return false;
        }
        counters.reserved += count;
        true
    }

    /// Takes a promise back.
    pub(crate) fn release(&self, count: u64) {
        let mut counters = self.0.counters.lock();
        counters.reserved = counters.reserved.saturating_sub(count);
    }

    /// A group turned out to be broken: its free blocks can't be used.
    pub(crate) fn lost(&self, count: u32) {
        self.0.counters.lock().available -= i64::from(count);
    }

    /// Group `group`'s state, for trimming.
    pub(crate) fn group(&self, group: u32) -> Option<&Group> {
        self.0.groups.get(group as usize)
    }
}

impl Shared {
    /// Blocks that somebody with this need may still take.
    fn allowed(&self, counters: &Counters, need: Need) -> u64 {
        let floor = match need {
            Need::User => self.root_reserve + self.pool + counters.reserved,
            Need::Root => self.pool + counters.reserved,
            Need::Metadata => counters.reserved,
            Need::Reserved => 0,
        };
        (counters.available.max(0) as u64).saturating_sub(floor)
    }

    fn locate(&self, block: u64) -> (usize, u32) {
        let rel = block.saturating_sub(self.first_data_block);
        let per = u64::from(self.blocks_per_group);
        ((rel / per) as usize, (rel % per) as u32)
    }

    /// A run of blocks, group by group: (group, offset in it, first block, blocks).
    fn parts(&self, first: u64, count: u32) -> impl Iterator<Item = (usize, u32, u64, u32)> {
        let (mut at, end) = (first, first + u64::from(count));
        std::iter::from_fn(move || {
            let (index, offset) = self.locate(at);
            let part = (end - at).min(u64::from(self.blocks_per_group - offset)) as u32;
            let block = at;
            at += u64::from(part);
            (part > 0).then_some((index, offset, block, part))
        })
    }

    /// Makes blocks of one group free in memory. `counted`: they weren't counted as available.
    fn release_blocks(&self, block: u64, count: u32, counted: bool) {
        let (index, first) = self.locate(block);
        let Some(group) = self.groups.get(index) else { return };
        let changed = group.with_loaded(|map| {
            let (from, many) = (first as usize, count as usize);
            let changed = map.words.assign(from, many, false) as u32;
            // The run that the blocks are part of now.
            let run = map.words.next_used(from) - map.words.run_start(from);
            map.longest = map.longest.max(run as u32);
            changed
        });
        let changed = changed.unwrap_or(0);
        group.adjust_free(changed, true);
        if counted {
            self.counters.lock().available += i64::from(changed);
        }
    }

    /// The freeing of these blocks is durable.
    fn committed(&self, block: u64, count: u32) {
        self.release_blocks(block, count, true);
        let mut counters = self.counters.lock();
        counters.pending = counters.pending.saturating_sub(u64::from(count));
    }
}

/// Adds up the group descriptors, at mount (after replay).
pub(crate) fn load(fs: &Filesystem) -> Result<()> {
    let shared = &fs.balloc.0;
    let mut free = 0i64;
    for (index, group) in shared.groups.iter().enumerate() {
        let count = fs.group_desc(index as u32)?.free_blocks.min(fs.geometry.group_blocks(index as u32));
        group.set_free_hint(count);
        free += i64::from(count);
    }
    if !shared.counted.swap(true, Ordering::AcqRel) {
        shared.counters.lock().available = free;
    }
    Ok(())
}

/// Whether an operation that failed should be tried again after freed blocks have become usable: commits then. The
/// caller holds no handle.
pub(crate) fn retry_after_commit(fs: &Filesystem, error: Errno, tries: &mut u32) -> bool {
    if error != ENOSPC || *tries >= 3 {
        return false;
    }
    *tries += 1;
    let shared = &fs.balloc.0;
    {
        let counters = shared.counters.lock();
        if counters.pending == 0 {
            // Somebody else's commit may have come between.
            return shared.allowed(&counters, Need::User) > 0;
        }
    }
    if fs.transactions.commit_now(true).is_err() {
        return false;
    }
    discard_freed(fs);
    true
}

/// Tells the device about blocks whose freeing is durable (mount option `discard`), and makes them free. For `tick` and
/// `sync`; does nothing if there are none.
pub(crate) fn discard_freed(fs: &Filesystem) {
    let shared = &fs.balloc.0;
    let mut runs = std::mem::take(&mut *shared.discards.lock());
    runs.sort_unstable();
    let bits = fs.geometry.block_bits;
    for &(block, count) in &runs {
        // A device that can't is no harm.
        let _ = fs.device.discard(block << bits, u64::from(count) << bits);
        shared.committed(block, count);
    }
}

/// Takes up to `want` contiguous blocks near `goal`, in memory only. With `follow` (the file's data ends at `goal`)
/// whatever is free right there is best, however short.
///
/// # Errors
/// `ENOSPC`.
pub(crate) fn claim(fs: &Filesystem, goal: u64, want: u32, follow: bool, need: Need) -> Result<(u64, u32)> {
    let shared = &fs.balloc.0;
    let want = {
        let mut counters = shared.counters.lock();
        let want = shared.allowed(&counters, need).min(u64::from(want)) as u32;
        counters.available -= i64::from(want);
        want
    };
    if want == 0 {
        return Err(ENOSPC);
    }
    let mut found = search::search(fs, goal, want, follow);
    if matches!(found, Ok(None)) {
        // There are free blocks: they are in windows, or being trimmed.
        let _none = shared.trimming.lock();
        shared.drop_windows();
        found = search::search(fs, goal, want, follow);
    }
    let got = found.as_ref().ok().and_then(|found| *found).map_or(0, |(_, count)| count);
    if got < want {
        shared.counters.lock().available += i64::from(want - got);
    }
    found?.ok_or(ENOSPC)
}

/// Gives claimed blocks back that were not marked.
pub(crate) fn unclaim(fs: &Filesystem, first: u64, count: u32) {
    let shared = &fs.balloc.0;
    for (_, _, block, part) in shared.parts(first, count) {
        shared.release_blocks(block, part, true);
    }
}

/// Has the device forget the next run of at least `least` free blocks in `from..to` of a group; which it was.
pub(crate) fn trim_run(
    fs: &Filesystem,
    group: u32,
    from: u32,
    to: u32,
    least: u32,
) -> Result<Option<(u64, u32)>> {
    let shared = &fs.balloc.0;
    let _alone = shared.trimming.lock();
    let Some((first, count)) = search::take_free_run(fs, group, from, to, least)? else { return Ok(None) };
    let bits = fs.geometry.block_bits;
    let result = fs.device.discard(first << bits, u64::from(count) << bits);
    shared.release_blocks(first, count, false);
    result.map(|()| Some((first, count)))
}

/// Writes down that claimed blocks are in use (two credits for each group they touch).
pub(crate) fn mark_used(fs: &Filesystem, handle: &mut Handle, first: u64, count: u32) -> Result<()> {
    let shared = &fs.balloc.0;
    for (index, offset, _, part) in shared.parts(first, count) {
        let group = shared.groups.get(index).ok_or(EIO)?;
        group.change(fs, handle, index as u32, offset, part, true)?;
    }
    Ok(())
}

/// One block for a structure near `goal`, marked used (two credits).
pub(crate) fn allocate_metadata(fs: &Filesystem, handle: &mut Handle, goal: u64, need: Need) -> Result<u64> {
    let (block, count) = claim(fs, goal, 1, false, need)?;
    if let Err(error) = mark_used(fs, handle, block, count) {
        unclaim(fs, block, count);
        return Err(error);
    }
    Ok(block)
}

/// Frees blocks (two credits for each group they touch); `metadata` ones are revoked. They are reused only after the
/// commit.
///
/// # Errors
/// `EUCLEAN` if they can't be anybody's, or are free.
pub(crate) fn free(
    fs: &Filesystem,
    handle: &mut Handle,
    block: u64,
    count: u32,
    metadata: bool,
) -> Result<()> {
    let shared = &fs.balloc.0;
    if count == 0 {
        return Ok(());
    }
    if !fs.valid_blocks(block, count) {
        return Err(fs.corrupted(
            "free blocks",
            0,
            block,
            format_args!("{count} blocks outside the file system"),
        ));
    }
    for (index, first, at, part) in shared.parts(block, count) {
        let group = shared.groups.get(index).ok_or(EIO)?;
        let desc = fs.group_desc(index as u32)?;
        if crate::groups::is_group_metadata(&fs.geometry, index as u32, &desc, first, part) {
            return Err(fs.corrupted(
                "free blocks",
                0,
                at,
                format_args!("{part} blocks of the group's metadata"),
            ));
        }
        // A long run may touch more groups than anybody counted.
        if handle.credits() < 2 {
            handle.extend(2)?;
        }
        // Memory's bitmap must have been loaded while the disk's still had the blocks.
        group.with_map(fs, index as u32, |_| ())?;
        group.change(fs, handle, index as u32, first, part, false)?;
        if metadata {
            for block in at..at + u64::from(part) {
                handle.forget(block)?;
            }
        }
        give_back(fs, handle, at, part);
    }
    Ok(())
}

/// Makes freed blocks of one group free in memory: at the commit, or at once without a journal.
fn give_back(fs: &Filesystem, handle: &mut Handle, block: u64, count: u32) {
    let shared = fs.balloc.0.clone();
    if !fs.transactions.has_journal() {
        shared.release_blocks(block, count, true);
        return;
    }
    shared.counters.lock().pending += u64::from(count);
    let discard = fs.options.read().discard;
    handle.on_commit(Box::new(move || {
        if discard {
            shared.discards.lock().push((block, count));
        } else {
            shared.committed(block, count);
        }
    }));
}

/// Writes down the bitmap of a group that has none on disk yet (two credits).
pub(crate) fn init_group(fs: &Filesystem, handle: &mut Handle, group: u32) -> Result<()> {
    let state = fs.balloc.0.groups.get(group as usize).ok_or(EIO)?;
    state.change(fs, handle, group, 0, 0, true)
}
