//! Mapped files of which not every page is in memory.
//!
//! The host's mapping covers the whole VMA, but only pages that the file's [`Pager`] has in memory are accessible there;
//! of a shared mapping only those may be written that count as dirty. The first touch of any other page is a fault that
//! arrives in [`super::fault`], which has it brought in. What is accessible is always in memory, never the other way
//! round: it is enough to ask the pager anew whenever protection changes.

use std::sync::Arc;

use abi::Result;
use abi::mm::{PAGE_SIZE, PROT_WRITE};
use host::stub::{MapSource, MemOp};

use super::vma::{Backing, MappedFile, VmFlags, Vma};
use super::{Changes, Mm};

/// Pieces that are made accessible at once; what is beyond them is left to faults.
const MAX_PIECES: usize = 32;

/// Brings in pages of one mapping of a file. Offsets and ranges are bytes of the file, at pages. As long as it lives,
/// pages stay in memory once they were there, unless [`Pager::evict`] takes them.
pub trait Pager: Send + Sync {
    /// Ranges within `start..end` that are in memory; if `write`, that may also be written without being noticed.
    fn present(&self, start: u64, end: u64, write: bool) -> Vec<(u64, u64)>;

    /// Brings in the page at `offset` and some around it; if `write`, the page is to be written. The range where
    /// something may have changed. EFAULT past the end of the file, EIO, ENOSPC. Sleeps.
    fn page_in(&self, offset: u64, write: bool) -> Result<(u64, u64)>;

    /// Brings in a range: MAP_POPULATE, mlock(2).
    fn populate(&self, start: u64, end: u64) -> Result<()>;

    /// Reads ahead, as far as there is memory: MADV_WILLNEED.
    fn will_need(&self, start: u64, end: u64);

    /// Names the file, and says how many mappings like this one it has.
    fn shared_by(&self) -> (u64, u64);

    /// Ranges in memory that were not brought in lately, about `wanted` bytes of them.
    fn cold(&self, wanted: u64) -> Vec<(u64, u64)>;

    /// Lets go of ranges that no guest can reach, by any mapping. What was written to is kept, for
    /// [`Pager::write_back`]. Bytes that are free now.
    fn evict(&self, ranges: &[(u64, u64)]) -> u64;

    /// Writes what is dirty in the ranges. Sleeps.
    fn write_back(&self, ranges: &[(u64, u64)]);
}

impl Vma {
    /// What brings in its pages, where not all are there.
    pub fn pager(&self) -> Option<&Arc<dyn Pager>> {
        match &self.backing {
            Backing::File(mapped) => mapped.pager.as_ref(),
            _ => None,
        }
    }

    /// Where a range of its file is in it, as address and length.
    pub(super) fn part_of(&self, (start, end): (u64, u64)) -> Option<(u64, u64)> {
        let from = start.max(self.offset);
        let to = end.min(self.offset.saturating_add(self.len()));
        (from < to).then(|| (self.start + (from - self.offset), to - from))
    }

    fn file_offset(&self, addr: u64) -> u64 {
        self.offset + (addr - self.start)
    }

    /// What makes the pages of `from..to` accessible that are in memory, where nothing is accessible yet.
    pub(super) fn accessible(&self, from: u64, to: u64) -> Vec<MemOp> {
        let Some(pager) = self.pager() else { return Vec::new() };
        let prot = self.flags.host_prot();
        if prot == 0 {
            return Vec::new();
        }
        let (start, end) = (self.file_offset(from), self.file_offset(to));
        let op = |prot: u32| {
            move |(a, b): (u64, u64)| {
                let (a, b) = (a.max(start), b.min(end));
                MemOp::Protect { addr: from + (a - start), len: b - a, prot }
            }
        };
        let notices = self.notices_writes();
        let at_first = if notices { prot & !PROT_WRITE } else { prot };
        let mut ops: Vec<MemOp> =
            pager.present(start, end, false).into_iter().take(MAX_PIECES).map(op(at_first)).collect();
        if notices {
            ops.extend(pager.present(start, end, true).into_iter().take(MAX_PIECES).map(op(prot)));
        }
        ops
    }

    /// Whether the first write to a page must be noticed.
    fn notices_writes(&self) -> bool {
        self.flags.contains(VmFlags::SHARED | VmFlags::WRITE)
    }

    /// What maps it: `source` is the object.
    pub fn map_ops(&self, source: MapSource, populate: bool) -> Vec<MemOp> {
        let map = |prot: u32, populate: bool, source: MapSource| MemOp::Map {
            addr: self.start,
            len: self.len(),
            prot,
            shared: self.flags.contains(VmFlags::MAYSHARE),
            noreserve: true,
            populate,
            source,
        };
        let prot = self.flags.host_prot();
        let Some(pager) = self.pager() else { return vec![map(prot, populate, source)] };
        let (start, end) = (self.offset, self.offset + self.len());
        if populate {
            // Who touches a page that could not be read, or not be kept, learns it.
            pager.will_need(start, end);
        }
        let whole = !self.notices_writes() && pager.present(start, end, false) == [(start, end)];
        if whole {
            return vec![map(prot, populate, source)];
        }
        let mut ops = vec![map(0, false, source)];
        ops.extend(self.accessible(self.start, self.end));
        ops
    }

    /// What gives the part `from..to` of a VMA its protection anew, after its flags have changed.
    pub(super) fn protect_ops(&self, from: u64, to: u64) -> Vec<MemOp> {
        let prot = if self.pager().is_some() { 0 } else { self.flags.host_prot() };
        let mut ops = vec![MemOp::Protect { addr: from, len: to - from, prot }];
        ops.extend(self.accessible(from, to));
        ops
    }
}

/// A page that must be brought in before an access can go on.
pub(super) struct Absent {
    mapped: Arc<MappedFile>,
    addr: u64,
    offset: u64,
    write: bool,
}

impl Absent {
    /// The page of `vma` at `addr`, if a pager has it.
    pub fn at(vma: &Vma, addr: u64, access: VmFlags) -> Option<Absent> {
        let Backing::File(mapped) = &vma.backing else { return None };
        mapped.pager.as_ref()?;
        let addr = addr / PAGE_SIZE * PAGE_SIZE;
        let write = access == VmFlags::WRITE && vma.notices_writes();
        Some(Absent { mapped: mapped.clone(), addr, offset: vma.file_offset(addr), write })
    }

    /// Brings it in and makes it accessible, before this returns if `now`. Errors are SIGBUS to the program.
    pub fn page_in(&self, mm: &Mm, now: bool) -> Result<()> {
        let Some(pager) = &self.mapped.pager else { return Ok(()) };
        super::reclaim::relieve(mm, &self.mapped);
        let (start, end) = pager.page_in(self.offset, self.write)?;
        mm.change(|inner, changes| {
            // Unless the mapping was changed meanwhile: then the access runs into the new one.
            if let Some(vma) = inner.vmas.find(self.addr)
                && matches!(&vma.backing, Backing::File(m) if Arc::ptr_eq(m, &self.mapped))
                && vma.file_offset(self.addr) == self.offset
            {
                let from = vma.start.max(self.addr.saturating_sub(self.offset - start));
                let to = vma.end.min(self.addr.saturating_add(end - self.offset));
                self.make_accessible(vma.clone().accessible(from, to), changes);
            }
            if now {
                changes.now();
            }
            Ok(())
        })
    }

    fn make_accessible(&self, ops: Vec<MemOp>, changes: &mut Changes) {
        for op in ops {
            changes.op(op);
        }
    }
}
