//! [`Vma`]: a stretch of an address space with one set of properties, and [`VmaSet`]: all of one address space.
//!
//! The set is the truth about a guest's memory; the host's maps follow it. It also keeps the sums that limits and
//! /proc/PID/status need. Guarded by the `mmap_lock` of its [`super::Mm`].

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included, Unbounded};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use abi::mm::{PAGE_SIZE, PROT_EXEC, PROT_READ, PROT_WRITE};

use host::object::Object;

use super::paged::Pager;
use super::shm::ShmAttach;
use crate::fastpath::Patched;
use crate::vfs::File;

/// Pages below a downward growing stack that stay free: Linux's `stack_guard_gap`.
pub const STACK_GUARD_GAP: u64 = 256 * PAGE_SIZE;

bitflags::bitflags! {
    /// Properties of a [`Vma`], with Linux's values (`VM_*`).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct VmFlags: u64 {
        /// Can be read.
        const READ = 0x1;
        /// Can be written.
        const WRITE = 0x2;
        /// Can be executed.
        const EXEC = 0x4;
        /// Writes reach the object: a shared mapping of a file that is open for writing, or shared memory.
        const SHARED = 0x8;
        /// mprotect(2) may set READ.
        const MAYREAD = 0x10;
        /// mprotect(2) may set WRITE.
        const MAYWRITE = 0x20;
        /// mprotect(2) may set EXEC.
        const MAYEXEC = 0x40;
        /// MAP_SHARED, whether or not it may be written.
        const MAYSHARE = 0x80;
        /// A stack.
        const GROWSDOWN = 0x100;
        /// mlock(2).
        const LOCKED = 0x2000;
        /// MADV_SEQUENTIAL
        const SEQ_READ = 0x8000;
        /// MADV_RANDOM
        const RAND_READ = 0x1_0000;
        /// MADV_DONTFORK
        const DONTCOPY = 0x2_0000;
        /// mremap(2) may not make it larger.
        const DONTEXPAND = 0x4_0000;
        /// mlock2(2) with MLOCK_ONFAULT.
        const LOCKONFAULT = 0x8_0000;
        /// Counted in the committed memory.
        const ACCOUNT = 0x10_0000;
        /// MAP_NORESERVE
        const NORESERVE = 0x20_0000;
        /// MADV_WIPEONFORK
        const WIPEONFORK = 0x200_0000;
        /// MADV_DONTDUMP
        const DONTDUMP = 0x400_0000;
        /// MADV_HUGEPAGE
        const HUGEPAGE = 0x2000_0000;
        /// MADV_NOHUGEPAGE
        const NOHUGEPAGE = 0x4000_0000;
        /// MADV_MERGEABLE
        const MERGEABLE = 0x8000_0000;
        /// It could be written once: a private mapping may hold other bytes than the file. No flag of Linux.
        const WRITTEN = 1 << 48;
    }
}

impl VmFlags {
    /// Whatever mprotect(2) may ask for.
    pub const MAY: VmFlags = VmFlags::MAYREAD.union(VmFlags::MAYWRITE).union(VmFlags::MAYEXEC);

    /// The READ, WRITE and EXEC bits of `PROT_*`; other bits have no meaning here.
    pub fn from_prot(prot: u32) -> VmFlags {
        VmFlags::from_bits_truncate(u64::from(prot & (PROT_READ | PROT_WRITE | PROT_EXEC)))
    }

    /// As `PROT_*`.
    pub fn prot(self) -> u32 {
        (self.bits() & 7) as u32
    }

    /// What the host is asked for: x86 cannot write what it cannot read, and the kernel copies by the host's rules.
    pub fn host_prot(self) -> u32 {
        let prot = self.prot();
        if prot & PROT_WRITE != 0 { prot | PROT_READ } else { prot }
    }
}

/// A file that is mapped.
pub struct MappedFile {
    /// The open file: keeps its inode and its name.
    pub file: Arc<File>,
    /// The host object; none where the file maps fresh memory (/dev/zero).
    pub fd: Option<Arc<OwnedFd>>,
    /// Brings in the object's pages, where it doesn't hold all of them from the start.
    pub pager: Option<Arc<dyn Pager>>,
    /// The copy of the text that is mapped instead, and what this would be without.
    pub patched: Option<(Arc<Patched>, Arc<MappedFile>)>,
}

/// Shared anonymous memory.
pub struct SharedAnon {
    /// As st_ino in /proc/PID/maps, and its identity for futexes.
    pub ino: u64,
    /// Holds the memory until the last mapping of it has gone; none in tests.
    pub object: Option<Object>,
}

/// What is behind a [`Vma`].
#[derive(Clone)]
pub enum Backing {
    /// Private zero-filled memory.
    Anonymous,
    /// MAP_SHARED|MAP_ANONYMOUS: inherited over fork.
    SharedAnon(Arc<SharedAnon>),
    /// A file.
    File(Arc<MappedFile>),
    /// A System V segment.
    Shm(ShmAttach),
    /// The kernel's own pages; the name in /proc/PID/maps.
    Special(&'static str),
}

impl Backing {
    /// A file, mapped from the object `fd` if it has one.
    pub fn file(file: Arc<File>, fd: Option<Arc<OwnedFd>>, pager: Option<Arc<dyn Pager>>) -> Backing {
        Backing::File(Arc::new(MappedFile { file, fd, pager, patched: None }))
    }

    fn same(&self, other: &Backing) -> bool {
        match (self, other) {
            (Backing::Anonymous, Backing::Anonymous) => true,
            (Backing::SharedAnon(a), Backing::SharedAnon(b)) => Arc::ptr_eq(a, b),
            (Backing::File(a), Backing::File(b)) => {
                let copy = |mapped: &MappedFile| mapped.patched.as_ref().map(|(copy, _)| Arc::as_ptr(copy));
                Arc::ptr_eq(&a.file, &b.file) && copy(a) == copy(b)
            }
            (Backing::Shm(a), Backing::Shm(b)) => a.same(b),
            _ => false,
        }
    }
}

/// A stretch of an address space.
#[derive(Clone)]
pub struct Vma {
    /// First address.
    pub start: u64,
    /// One past the last.
    pub end: u64,
    /// Properties.
    pub flags: VmFlags,
    /// What is behind it.
    pub backing: Backing,
    /// Offset of `start` in the backing object, bytes; 0 for private anonymous memory.
    pub offset: u64,
}

impl Vma {
    /// Bytes.
    #[expect(clippy::len_without_is_empty, reason = "a VMA is never empty")]
    pub fn len(&self) -> u64 {
        self.end - self.start
    }

    /// Whether the memory is fresh zeros: no file, shared or not.
    pub fn is_anonymous(&self) -> bool {
        matches!(self.backing, Backing::Anonymous | Backing::SharedAnon(_))
    }

    /// The file, if one is mapped.
    pub fn file(&self) -> Option<&Arc<File>> {
        match &self.backing {
            Backing::File(mapped) => Some(&mapped.file),
            _ => None,
        }
    }

    /// The patched copy that is mapped instead of the file.
    pub fn patched(&self) -> Option<&Arc<Patched>> {
        match &self.backing {
            Backing::File(mapped) => mapped.patched.as_ref().map(|(copy, _)| copy),
            _ => None,
        }
    }

    /// The same with the file itself mapped.
    pub fn plain(&self) -> Vma {
        let plain = match &self.backing {
            Backing::File(mapped) => mapped.patched.as_ref().map(|(_, plain)| Backing::File(plain.clone())),
            _ => None,
        };
        Vma { backing: plain.unwrap_or_else(|| self.backing.clone()), ..self.clone() }
    }

    /// The same with a copy of the file's text mapped.
    pub fn with_copy(&self, copy: Arc<Patched>) -> Vma {
        let plain = self.plain();
        let Backing::File(mapped) = &plain.backing else { return plain };
        let (file, fd) = (mapped.file.clone(), Some(copy.fd.clone()));
        let backing = MappedFile { file, fd, pager: None, patched: Some((copy, mapped.clone())) };
        Vma { backing: Backing::File(Arc::new(backing)), ..plain }
    }

    /// The part from `start` to `end`, which lie in it.
    fn cut(&self, start: u64, end: u64) -> Vma {
        let offset = match self.backing {
            Backing::Anonymous => 0,
            _ => self.offset + (start - self.start),
        };
        Vma { start, end, offset, ..self.clone() }
    }

    fn continues(&self, next: &Vma) -> bool {
        self.end == next.start
            && self.flags == next.flags
            && self.backing.same(&next.backing)
            && (matches!(self.backing, Backing::Anonymous) || self.offset + self.len() == next.offset)
    }

    /// Counts for RLIMIT_DATA and VmData.
    pub fn is_data(flags: VmFlags) -> bool {
        flags & (VmFlags::WRITE | VmFlags::SHARED | VmFlags::GROWSDOWN) == VmFlags::WRITE
    }
}

/// Sums over a [`VmaSet`], in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// All (VmSize).
    pub total: u64,
    /// Locked (VmLck).
    pub locked: u64,
    /// Private and writable (VmData).
    pub data: u64,
    /// Executable and not writable (VmExe, VmLib).
    pub exec: u64,
    /// Stacks (VmStk).
    pub stack: u64,
    /// Counted in the committed memory.
    pub account: u64,
}

impl Totals {
    fn count(&mut self, vma: &Vma, add: bool) {
        let len = vma.len();
        let put = |sum: &mut u64, counts: bool| {
            if counts {
                *sum = if add { *sum + len } else { *sum - len };
            }
        };
        let f = vma.flags;
        put(&mut self.total, true);
        put(&mut self.locked, f.contains(VmFlags::LOCKED));
        put(&mut self.data, Vma::is_data(f));
        put(&mut self.exec, f & (VmFlags::EXEC | VmFlags::WRITE | VmFlags::GROWSDOWN) == VmFlags::EXEC);
        put(&mut self.stack, f.contains(VmFlags::GROWSDOWN));
        put(&mut self.account, f.contains(VmFlags::ACCOUNT));
    }
}

/// All VMAs of an address space, disjoint, by first address.
#[derive(Clone, Default)]
pub struct VmaSet {
    map: BTreeMap<u64, Vma>,
    totals: Totals,
}

impl VmaSet {
    /// Number of VMAs.
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// The sums.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// In order of address.
    pub fn iter(&self) -> impl Iterator<Item = &Vma> {
        self.map.values()
    }

    /// The one that holds `addr`.
    pub fn find(&self, addr: u64) -> Option<&Vma> {
        self.map.range(..=addr).next_back().map(|(_, v)| v).filter(|v| addr < v.end)
    }

    /// The first that ends above `addr`: holds it or is the next.
    pub fn find_or_next(&self, addr: u64) -> Option<&Vma> {
        self.find(addr).or_else(|| self.map.range((Excluded(addr), Unbounded)).next().map(|(_, v)| v))
    }

    /// The last that ends at or below `addr`.
    pub fn before(&self, addr: u64) -> Option<&Vma> {
        self.map.range(..addr).next_back().map(|(_, v)| v).filter(|v| v.end <= addr)
    }

    /// Those that overlap `start..end`, in order.
    pub fn overlapping(&self, start: u64, end: u64) -> impl Iterator<Item = &Vma> {
        let first = self.find(start).map_or(start, |v| v.start);
        let end = end.max(first);
        self.map.range((Included(first), Excluded(end))).map(|(_, v)| v)
    }

    /// Whether every page of `start..end` is mapped.
    pub fn covers(&self, start: u64, end: u64) -> bool {
        let mut at = start;
        for vma in self.overlapping(start, end) {
            if vma.start > at {
                return false;
            }
            at = vma.end;
        }
        at >= end
    }

    /// Whether nothing is mapped in `start..end`, guard gap of a stack above included.
    pub fn is_free(&self, start: u64, end: u64) -> bool {
        let next = self.find_or_next(start);
        next.is_none_or(|v| gap_end(v) >= end)
    }

    fn add(&mut self, vma: Vma) {
        self.totals.count(&vma, true);
        self.map.insert(vma.start, vma);
    }

    fn take(&mut self, start: u64) -> Option<Vma> {
        let vma = self.map.remove(&start)?;
        self.totals.count(&vma, false);
        Some(vma)
    }

    fn split_at(&mut self, addr: u64) {
        if let Some(vma) = self.find(addr)
            && vma.start < addr
        {
            let (low, high) = (vma.cut(vma.start, addr), vma.cut(addr, vma.end));
            self.take(low.start);
            self.add(low);
            self.add(high);
        }
    }

    /// Takes out what overlaps `start..end`, splitting at its ends. Every change is a removal and insertions, and
    /// inserting the removed ones again undoes it.
    pub fn remove(&mut self, start: u64, end: u64) -> Vec<Vma> {
        self.split_at(start);
        self.split_at(end);
        let starts: Vec<u64> = self.map.range(start..end).map(|(&s, _)| s).collect();
        starts.into_iter().filter_map(|s| self.take(s)).collect()
    }

    /// Adds a VMA to free space and joins it with its neighbours where they are alike.
    pub fn insert(&mut self, mut vma: Vma) {
        debug_assert!(vma.start < vma.end && self.overlapping(vma.start, vma.end).next().is_none());
        if let Some(prev) = self.map.range(..vma.start).next_back().map(|(_, v)| v)
            && prev.continues(&vma)
        {
            let (start, offset) = (prev.start, prev.offset);
            self.take(start);
            vma.start = start;
            vma.offset = offset;
        }
        if let Some(next) = self.map.get(&vma.end)
            && vma.continues(next)
        {
            let (start, end) = (next.start, next.end);
            self.take(start);
            vma.end = end;
        }
        self.add(vma);
    }

    /// The highest free stretch of `len` bytes that ends at or below `high` and starts at or above `low`, aligned to
    /// `align` (a power of two of whole pages).
    pub fn gap_below(&self, low: u64, high: u64, len: u64, align: u64) -> Option<u64> {
        let fits = |floor: u64, ceiling: u64| {
            let at = ceiling.checked_sub(len)? & !(align - 1);
            (at >= floor && at >= low).then_some(at)
        };
        // A mapping that begins above `high` still has a guard gap that may reach below it.
        let above = self.find_or_next(high).map_or(high, |v| gap_end(v).min(high));
        let mut ceiling = above;
        for (_, vma) in self.map.range(..high).rev() {
            if let Some(at) = fits(vma.end, ceiling) {
                return Some(at);
            }
            ceiling = gap_end(vma).min(ceiling);
            if ceiling < low {
                return None;
            }
        }
        fits(low, ceiling)
    }

    /// The lowest free stretch of `len` bytes between `low` and `high`.
    pub fn gap_above(&self, low: u64, high: u64, len: u64, align: u64) -> Option<u64> {
        let round = |addr: u64| addr.checked_add(align - 1).map(|a| a & !(align - 1));
        let mut at = round(low)?;
        while let Some(vma) = self.find_or_next(at) {
            if at.checked_add(len)? <= gap_end(vma).min(high) {
                return Some(at);
            }
            at = round(vma.end)?;
            if at >= high {
                return None;
            }
        }
        (at.checked_add(len)? <= high).then_some(at)
    }
}

/// Where free space below `vma` ends.
fn gap_end(vma: &Vma) -> u64 {
    if vma.flags.contains(VmFlags::GROWSDOWN) { vma.start.saturating_sub(STACK_GUARD_GAP) } else { vma.start }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vma(start: u64, end: u64, flags: VmFlags) -> Vma {
        Vma { start, end, flags, backing: Backing::Anonymous, offset: 0 }
    }

    const RW: VmFlags = VmFlags::READ.union(VmFlags::WRITE);

    fn ranges(set: &VmaSet) -> Vec<(u64, u64)> {
        set.iter().map(|v| (v.start, v.end)).collect()
    }

    #[test]
    fn alike_neighbours_join_and_split_again() {
        let mut set = VmaSet::default();
        set.insert(vma(0x1000, 0x2000, RW));
        set.insert(vma(0x3000, 0x4000, RW));
        set.insert(vma(0x2000, 0x3000, RW));
        assert_eq!(ranges(&set), [(0x1000, 0x4000)]);
        let removed = set.remove(0x2000, 0x3000);
        assert_eq!(ranges(&set), [(0x1000, 0x2000), (0x3000, 0x4000)]);
        assert_eq!(set.totals().data, 0x2000);
        for vma in removed {
            set.insert(vma);
        }
        assert_eq!(ranges(&set), [(0x1000, 0x4000)]);
        assert_eq!(set.totals().total, 0x3000);
    }

    #[test]
    fn different_neighbours_stay_apart() {
        let mut set = VmaSet::default();
        set.insert(vma(0x1000, 0x2000, RW));
        set.insert(vma(0x2000, 0x3000, VmFlags::READ));
        assert_eq!(set.len(), 2);
        assert!(set.covers(0x1000, 0x3000));
        assert!(!set.covers(0x1000, 0x4000));
        assert_eq!(set.totals().data, 0x1000);
    }

    #[test]
    fn shared_parts_keep_their_offsets() {
        let mut set = VmaSet::default();
        let backing = Backing::SharedAnon(Arc::new(SharedAnon { ino: 1, object: None }));
        set.insert(Vma { start: 0x1000, end: 0x4000, flags: RW, backing, offset: 0 });
        set.remove(0x2000, 0x3000);
        assert_eq!(set.find(0x3000).map(|v| v.offset), Some(0x2000));
    }

    #[test]
    fn gaps_are_found_from_the_top() {
        let mut set = VmaSet::default();
        set.insert(vma(0x8000, 0x9000, RW));
        assert_eq!(set.gap_below(0x1000, 0xa000, 0x1000, 0x1000), Some(0x9000));
        assert_eq!(set.gap_below(0x1000, 0xa000, 0x2000, 0x1000), Some(0x6000));
        assert_eq!(set.gap_below(0x1000, 0xa000, 0x7000, 0x1000), Some(0x1000));
        assert_eq!(set.gap_below(0x1000, 0xa000, 0x8000, 0x1000), None);
        assert_eq!(set.gap_below(0x1000, 0x8800, 0x1000, 0x1000), Some(0x7000));
        assert_eq!(set.gap_above(0x1000, 0xa000, 0x7000, 0x1000), Some(0x1000));
        assert_eq!(set.gap_above(0x2000, 0xa000, 0x7000, 0x1000), None);
        assert_eq!(set.gap_above(0x8000, 0xa000, 0x1000, 0x1000), Some(0x9000));
    }

    #[test]
    fn a_stack_keeps_its_guard_gap() {
        let mut set = VmaSet::default();
        let stack = STACK_GUARD_GAP * 4;
        set.insert(vma(stack, stack + 0x1000, RW | VmFlags::GROWSDOWN));
        let top = stack - STACK_GUARD_GAP;
        assert_eq!(set.gap_below(0x1000, stack + 0x1000, 0x1000, 0x1000), Some(top - 0x1000));
        assert!(set.is_free(top - 0x1000, top));
        assert!(!set.is_free(top, top + 0x1000));
    }
}
