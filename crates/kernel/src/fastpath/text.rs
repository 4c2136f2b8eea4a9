//! Patched copies of files' text.
//!
//! A copy is a memory object that has the patched text at the offset where the file has it, and the slots after it. It is
//! made when the text's calls have trapped so often that it pays, and used by every mapping from then on, as long as the
//! file is what it was. Reads of the file know nothing of it.

use std::collections::{HashMap, HashSet};
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, LazyLock};

use abi::Result;
use abi::errno::{EIO, ENOSYS};
use abi::mm::{PAGE_SIZE, page_down, page_up};
use abi::time::Timespec;
use host::object::Object;

use super::plan::{self, SYSCALL, Text};
use super::{OFF, REFUSED, SHADOW, SITES};
use crate::sync::{SpinLock, rank};
use crate::vfs::{File, Kstat};

/// The largest text that is copied, and all of them together, bytes.
pub const MAX_TEXT: u64 = 32 << 20;
const MAX_TOTAL: u64 = 128 << 20;
/// Most files that are kept in mind.
const MAX_FILES: usize = 1024;
/// How often a text's calls must have trapped: this, and once for so many bytes.
const TRAPS: u64 = 64;
const BYTES_A_TRAP: u64 = 8192;
/// How old the file's last change must be, ns: what has just been written may be written again without a new time.
const SETTLED: i64 = 1_000_000_000;
/// Most sites that are remembered because they have trapped.
const MAX_SEEN: usize = 64;
/// How often a copy is made anew because a site has turned up that it could have.
const MAX_AGAIN: u32 = 4;
/// Added to offsets in the file where addresses are computed, so that nothing is below 0.
const BASE: u64 = 1 << 40;
/// Where the first slot is: before it, the address of the way into the stub.
const FIRST: u64 = 16;

/// What a file was when its text was copied.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    size: u64,
    mtime: Timespec,
    ctime: Timespec,
}

impl Stamp {
    fn of(attr: &Kstat) -> Stamp {
        Stamp { size: attr.size, mtime: attr.mtime, ctime: attr.ctime }
    }
}

/// A patched copy.
pub struct Patched {
    /// For mapping it, read-only.
    pub fd: Arc<OwnedFd>,
    /// The part of the file that it stands for, whole pages.
    pub start: u64,
    /// See `start`.
    pub end: u64,
    /// Where in the object the slots are, and how long they are, whole pages.
    pub slots: (u64, u64),
    /// Offset in the slots of each instruction, and in the file of what it stands for, by offset; whether it begins a slot.
    origins: Vec<(u64, u64, bool)>,
    /// What was patched: offset in the file and the bytes that were there.
    originals: Vec<(u64, Vec<u8>)>,
    /// Sites in it that turned out to be no use.
    hopeless: SpinLock<Vec<u64>>,
    _object: Object,
}

impl Patched {
    /// What the instruction at `offset` of the slots stands for: its offset in the file, and whether it is the first of
    /// its slot. Offsets within an instruction, or beyond, are nobody's.
    pub fn origin(&self, offset: u64) -> Option<(u64, bool)> {
        let i = self.origins.partition_point(|origin| origin.0 <= offset).checked_sub(1)?;
        let (at, file, first) = self.origins[i];
        // Nothing can be met in the middle of an instruction but the two at a slot's end.
        let exact = at == offset || !first;
        exact.then_some((file, first && at == offset))
    }

    /// Puts back into `buf`, which was read from `offset` of the file on, what was patched.
    pub fn restore(&self, offset: u64, buf: &mut [u8]) {
        for (at, bytes) in &self.originals {
            for (i, byte) in bytes.iter().enumerate() {
                if let Some(place) = (at + i as u64).checked_sub(offset)
                    && let Some(place) = buf.get_mut(place as usize)
                {
                    *place = *byte;
                }
            }
        }
    }

    /// The `syscall` instructions that have slots, in the slots' order: offsets in the file.
    fn sites(&self) -> impl Iterator<Item = u64> + '_ {
        let ends = |i: usize| self.origins.get(i + 1).is_none_or(|next| next.2);
        self.origins.iter().enumerate().filter(move |(i, _)| ends(*i)).map(|(_, origin)| origin.1)
    }

    fn bytes(&self) -> u64 {
        self.end - self.start + self.slots.1
    }
}

enum State {
    Counting,
    /// It is being made.
    Busy,
    /// There is nothing to gain, or no memory.
    Never,
    Ready(Arc<Patched>),
}

struct Known {
    stamp: Stamp,
    traps: u64,
    seen: Vec<u64>,
    again: u32,
    state: State,
}

type Files = HashMap<(u64, u64), Known>;

static FILES: LazyLock<SpinLock<Files>> = LazyLock::new(|| SpinLock::new(rank::LEAF, HashMap::new()));

/// How many copies there are, and their bytes.
pub fn known() -> (u64, u64) {
    let files = FILES.lock();
    let copies = files.values().filter_map(|known| match &known.state {
        State::Ready(patched) => Some(patched.bytes()),
        _ => None,
    });
    copies.fold((0, 0), |(count, sum), bytes| (count + 1, sum + bytes))
}

/// The copy for a private mapping of `len` bytes from `offset`, if there is one.
pub fn of_file(file: &File, offset: u64, len: u64) -> Option<Arc<Patched>> {
    if OFF.load(Relaxed) || FILES.lock().is_empty() {
        return None;
    }
    let attr = file.inode().getattr().ok()?;
    let mut files = FILES.lock();
    let known = files.get_mut(&(attr.dev, attr.ino))?;
    if known.stamp != Stamp::of(&attr) {
        let gone = files.remove(&(attr.dev, attr.ino));
        drop(files);
        drop(gone);
        return None;
    }
    match &known.state {
        State::Ready(patched) if covers(patched, offset, len) => Some(patched.clone()),
        _ => None,
    }
}

pub fn covers(patched: &Patched, offset: u64, len: u64) -> bool {
    patched.start <= offset && offset.checked_add(len).is_some_and(|end| end <= patched.end)
}

/// A call has trapped at `site` of the file, as `weight` calls have there or elsewhere in the text that is mapped from
/// `offset` for `len` bytes. The copy that is to be mapped instead, if there is one by now.
pub fn count(file: &File, (offset, len): (u64, u64), site: u64, weight: u64) -> Option<Arc<Patched>> {
    let attr = file.inode().getattr().ok()?;
    let key = (attr.dev, attr.ino);
    let stamp = Stamp::of(&attr);
    let seen = {
        let mut files = FILES.lock();
        if files.len() >= MAX_FILES && !files.contains_key(&key) {
            return None;
        }
        let fresh = || Known { stamp, traps: 0, seen: Vec::new(), again: 0, state: State::Counting };
        let known = files.entry(key).or_insert_with(fresh);
        if known.stamp != stamp {
            *known = fresh();
        }
        known.traps += weight;
        if known.seen.len() < MAX_SEEN && !known.seen.contains(&site) {
            known.seen.push(site);
        }
        match &known.state {
            State::Ready(patched) => return covers(patched, offset, len).then(|| patched.clone()),
            State::Counting if known.traps >= TRAPS + len / BYTES_A_TRAP && is_settled(&stamp) => {
                known.state = State::Busy;
                known.seen.clone()
            }
            _ => return None,
        }
    };
    make(file, key, stamp, (offset, len), &seen, None)
}

fn make(
    file: &File,
    key: (u64, u64),
    stamp: Stamp,
    (offset, len): (u64, u64),
    seen: &[u64],
    before: Option<&Patched>,
) -> Option<Arc<Patched>> {
    let made = if room_for(len) { copy(file, (offset, len), seen, before).ok().flatten() } else { None };
    let patched = made.map(Arc::new);
    let mut files = FILES.lock();
    if let Some(known) = files.get_mut(&key)
        && known.stamp == stamp
    {
        known.state = patched.clone().map_or(State::Never, State::Ready);
    }
    patched
}

/// A call has trapped at `site` of text that is mapped from `patched`. The new copy to map instead, if it was worth making
/// one. Calls that always trap, such as fork(2), do so from a slot as well.
pub fn missed(file: &File, patched: &Arc<Patched>, site: u64, weight: u64) -> Option<Arc<Patched>> {
    if patched.sites().any(|patched| patched == site) || patched.hopeless.lock().contains(&site) {
        return None;
    }
    let attr = file.inode().getattr().ok()?;
    let key = (attr.dev, attr.ino);
    let stamp = Stamp::of(&attr);
    let seen = {
        let mut files = FILES.lock();
        let known = files.get_mut(&key).filter(|known| known.stamp == stamp)?;
        if let State::Ready(newer) = &known.state
            && !Arc::ptr_eq(newer, patched)
        {
            let newer = newer.clone();
            return covers(&newer, patched.start, patched.end - patched.start).then_some(newer);
        }
        known.traps += weight;
        if !known.seen.contains(&site) && known.seen.len() < MAX_SEEN {
            known.seen.push(site);
            known.traps = weight;
        }
        let enough = known.traps >= TRAPS + (patched.end - patched.start) / BYTES_A_TRAP;
        if !enough || known.again >= MAX_AGAIN || !matches!(known.state, State::Ready(_)) {
            return None;
        }
        known.traps = 0;
        known.seen.clone()
    };
    let range = (patched.start, patched.end - patched.start);
    if !can_patch(file, range, site).unwrap_or(false) {
        let mut hopeless = patched.hopeless.lock();
        if hopeless.len() < MAX_FILES && !hopeless.contains(&site) {
            hopeless.push(site);
            REFUSED.fetch_add(1, Relaxed);
        }
        return None;
    }
    if let Some(known) = FILES.lock().get_mut(&key) {
        known.again += 1;
    }
    make(file, key, stamp, range, &seen, Some(patched))
}

fn is_settled(stamp: &Stamp) -> bool {
    let ns = |t: &Timespec| t.tv_sec.saturating_mul(1_000_000_000).saturating_add(t.tv_nsec);
    let now = ns(&crate::time::now_realtime());
    [&stamp.mtime, &stamp.ctime].iter().all(|t| now.saturating_sub(ns(t)) >= SETTLED)
}

/// Whether there is room for another copy; unused ones go.
fn room_for(len: u64) -> bool {
    if len > MAX_TEXT {
        return false;
    }
    if known().1 + len <= MAX_TOTAL {
        return true;
    }
    let mut gone = Vec::new();
    {
        let mut files = FILES.lock();
        for known in files.values_mut() {
            if matches!(&known.state, State::Ready(patched) if Arc::strong_count(patched) == 1) {
                gone.push(core::mem::replace(&mut known.state, State::Counting));
                known.traps = 0;
            }
        }
    }
    drop(gone);
    known().1 + len <= MAX_TOTAL
}

fn read(file: &File, offset: u64, len: u64) -> Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(len).map_err(|_| EIO)?];
    let got = file.kernel_read(&mut bytes, offset)?;
    bytes.truncate(got);
    Ok(bytes)
}

fn can_patch(file: &File, (offset, len): (u64, u64), site: u64) -> Result<bool> {
    let from = page_down(site.saturating_sub(PAGE_SIZE)).max(offset);
    let bytes = read(file, from, (site + 64).min(offset + len) - from)?;
    let text = Text { bytes: &bytes, base: BASE + from };
    let slot = BASE + offset + SHADOW + FIRST;
    Ok(text.site(BASE + site, true, slot, slot).is_some())
}

/// Makes the copy; none if no site can be patched. The slots of the copy that it replaces stay where they are, for a thread
/// may be in one.
fn copy(
    file: &File,
    (offset, len): (u64, u64),
    seen: &[u64],
    before: Option<&Patched>,
) -> Result<Option<Patched>> {
    let entry = host::stub::fast_entry().ok_or(ENOSYS)?;
    let mut bytes = read(file, offset, len)?;
    let slots_base = BASE + offset + SHADOW;
    let mut slots = entry.to_le_bytes().to_vec();
    slots.resize(FIRST as usize, 0);
    let (mut origins, mut originals, mut refused) = (Vec::new(), Vec::new(), 0);
    let text = Text { bytes: &bytes, base: BASE + offset };
    let mut jumps = Vec::new();
    let old: Vec<u64> = before.map_or(Vec::new(), |before| before.sites().collect());
    let is_old: HashSet<u64> = old.iter().copied().collect();
    let new = syscalls(&bytes).map(|at| offset + at as u64).filter(|site| !is_old.contains(site));
    for site in old.into_iter().chain(new) {
        let known = seen.contains(&site);
        let slot = slots_base + slots.len() as u64;
        let plan = text.site(BASE + site, known, slot, slots_base).filter(|plan| {
            // As long as the text at most, so that different texts' slots do not overlap.
            slots.len() + plan.slot.len() <= len as usize
        });
        let Some((plan, jump)) = plan.and_then(|plan| plan::jump(plan.at, slot).map(|jump| (plan, jump)))
        else {
            refused += u64::from(known);
            continue;
        };
        let place = slots.len() as u64;
        origins.extend(
            plan.origins
                .iter()
                .enumerate()
                .map(|(i, (at, from))| (place + u64::from(*at), from - BASE, i == 0)),
        );
        jumps.push((plan.at - BASE, plan.len, jump));
        slots.extend(plan.slot);
        slots.resize(slots.len().next_multiple_of(16), 0xcc);
    }
    REFUSED.fetch_add(refused, Relaxed);
    if jumps.is_empty() {
        return Ok(None);
    }
    for (at, whole, jump) in jumps {
        let from = (at - offset) as usize;
        originals.push((at, bytes[from..from + whole].to_vec()));
        bytes[from..from + whole].fill(0x90);
        bytes[from..from + jump.len()].copy_from_slice(&jump);
        SITES.fetch_add(1, Relaxed);
    }
    let object = Object::create("text")?;
    let slots_at = page_up(offset + len).ok_or(EIO)?;
    let slots_len = (slots.len() as u64).next_multiple_of(PAGE_SIZE);
    object.set_len(slots_at + slots_len)?;
    let whole =
        object.pwrite(offset, &bytes)? == bytes.len() && object.pwrite(slots_at, &slots)? == slots.len();
    if !whole {
        return Err(EIO);
    }
    let fd = object.readonly_fd()?;
    Ok(Some(Patched {
        fd,
        start: offset,
        end: offset + len,
        slots: (slots_at, slots_len),
        origins,
        originals,
        hopeless: SpinLock::new(rank::LEAF, Vec::new()),
        _object: object,
    }))
}

/// Where the bytes of a `syscall` are.
fn syscalls(bytes: &[u8]) -> impl Iterator<Item = usize> + '_ {
    bytes.windows(SYSCALL).enumerate().filter(|(_, pair)| **pair == [0x0f, 0x05]).map(|(at, _)| at)
}
