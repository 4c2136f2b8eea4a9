//! Taking pages of mapped files back from the program that maps them, when there is no other memory left.
//!
//! The program is the current task's, about to bring in one more page: a program that walks over a file larger than the
//! memory lives on what it let go of itself. Only files that no other address space maps are taken from, for others
//! cannot be told; what they map stays until they end. In one step under `mmap_lock` the pages are made inaccessible and
//! dropped, or made dirty if they may have been written; those are written and go with the next step.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::filemap::reclaim::has_room;
use super::paged::Pager;
use super::vma::{Backing, MappedFile, VmFlags, Vma};
use super::{Mm, MmInner};
use host::stub::MemOp;

/// With less room than this for file pages, bytes, pages are taken.
const LOW: u64 = 2 << 20;
/// Bytes taken in one step.
const STEP: u64 = 8 << 20;
/// Steps of one fault: the second takes what the first has written.
const STEPS: usize = 2;
/// Where there was nothing to take, the next look comes after so many ns.
const PAUSE: u64 = 20_000_000;

static NEXT_LOOK: AtomicU64 = AtomicU64::new(0);

/// What is taken: from a file, these ranges of bytes.
type Taken = (Arc<dyn Pager>, Vec<(u64, u64)>);

/// A file of which this address space has all mappings.
struct Own {
    pager: Arc<dyn Pager>,
    /// Mappings, and those that there are in all.
    seen: u64,
    all: u64,
    may_take: bool,
}

/// Lets go of pages of mapped files, if room is wanted. `faulting` is held by the caller once. No lock may be held.
pub(super) fn relieve(mm: &Mm, faulting: &Arc<MappedFile>) {
    if has_room(LOW) || host::clock::monotonic() < NEXT_LOOK.load(Ordering::Relaxed) || !mm.is_current() {
        return;
    }
    // What the stub is to write for the kernel must not meet a page that is gone.
    mm.land();
    for _ in 0..STEPS {
        let mut freed = 0;
        let taken = mm.change_then(
            |inner, changes| {
                let Some((pager, ranges)) = choose(inner, faulting) else { return Ok(None) };
                let id = pager.shared_by().0;
                for vma in inner.vmas.iter().filter(|v| v.pager().is_some_and(|p| p.shared_by().0 == id)) {
                    for (addr, len) in ranges.iter().filter_map(|&range| vma.part_of(range)) {
                        changes.op(MemOp::Protect { addr, len, prot: 0 });
                    }
                }
                changes.now();
                Ok(Some((pager, ranges)))
            },
            |taken| freed = taken.as_ref().map_or(0, |(pager, ranges)| pager.evict(ranges)),
        );
        let Ok(Some((pager, ranges))) = taken else {
            NEXT_LOOK.store(host::clock::monotonic() + PAUSE, Ordering::Relaxed);
            return;
        };
        if freed >= STEP / 2 {
            return;
        }
        pager.write_back(&ranges);
    }
}

/// A file to take from and what to take; the one that is being read before others.
fn choose(inner: &MmInner, faulting: &Arc<MappedFile>) -> Option<Taken> {
    let mut files = owned(inner.vmas.iter(), faulting);
    let first = faulting.pager.as_ref().and_then(|pager| files.remove(&pager.shared_by().0));
    first.into_iter().chain(files.into_values()).filter(|own| own.may_take && own.seen == own.all).find_map(
        |own| {
            let ranges = own.pager.cold(STEP);
            (!ranges.is_empty()).then_some((own.pager, ranges))
        },
    )
}

/// The mapped files by their name.
fn owned<'a>(vmas: impl Iterator<Item = &'a Vma>, faulting: &Arc<MappedFile>) -> BTreeMap<u64, Own> {
    // Each mapping may be in several VMAs: how often each is referred to.
    let mut mappings: BTreeMap<usize, (&Arc<MappedFile>, usize, bool)> = BTreeMap::new();
    for vma in vmas {
        let Backing::File(mapped) = &vma.backing else { continue };
        if mapped.pager.is_none() {
            continue;
        }
        let entry = mappings.entry(Arc::as_ptr(mapped).addr()).or_insert((mapped, 0, true));
        entry.1 += 1;
        entry.2 &= !vma.flags.contains(VmFlags::LOCKED);
    }
    let mut files: BTreeMap<u64, Own> = BTreeMap::new();
    for (mapped, references, unlocked) in mappings.into_values() {
        let Some(pager) = &mapped.pager else { continue };
        let (id, all) = pager.shared_by();
        let held = usize::from(Arc::ptr_eq(mapped, faulting));
        let own =
            files.entry(id).or_insert_with(|| Own { pager: pager.clone(), seen: 0, all, may_take: true });
        own.seen += 1;
        // Others have it as well: a child, or a change that is under way.
        own.may_take &= unlocked && Arc::strong_count(mapped) == references + held;
    }
    files
}
