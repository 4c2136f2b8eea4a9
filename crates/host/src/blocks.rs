//! Large blocks of this program's memory, all of one size: what page caches are made of.
//!
//! Fresh memory costs a page fault for each page, which is several times what it takes to fill the page. So a block gets its
//! memory in one call, and blocks that were given back are kept for the next who asks, up to a bound. Beyond it their
//! memory goes back to the host. Blocks are cut from regions, for the host allows only so many mappings.
//!
//! Huge pages are not asked for: to fill one is cheaper where the host has it at hand, but a virtual machine whose free
//! memory goes back to its own host may be given one that costs ten times as much.
//!
//! Lock: `REGIONS`, a leaf.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Deref, DerefMut};
use std::ptr::{self, NonNull};

use parking_lot::Mutex;

/// Bytes of a block.
pub const BLOCK: usize = 256 << 10;
/// Bytes of a region, and where it begins.
const REGION: usize = 2 << 20;
/// So many free blocks keep their memory.
const KEPT: u32 = 16;
/// So many may have theirs while others of their region are in use.
const KEPT_APART: u32 = 32;
/// Every block of a region.
const ALL: u8 = u8::MAX;
const _: () = assert!(REGION / BLOCK == u8::BITS as usize);

/// A block, with any content at first. Nobody else's until it is dropped.
pub struct Block(NonNull<u8>);

// SAFETY: a block is plain memory that only its owner reaches; no thread is special to it.
unsafe impl Send for Block {}
// SAFETY: shared references to a block only read it.
unsafe impl Sync for Block {}

impl Block {
    /// None if the host gives no more memory.
    pub fn take() -> Option<Block> {
        let (block, warm) = REGIONS.lock().take()?;
        if !warm {
            // Hosts before 5.14 don't know this.
            advise(block.as_ptr(), BLOCK, libc::MADV_POPULATE_WRITE);
        }
        Some(Block(block))
    }
}

impl Deref for Block {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        // SAFETY: the block is `BLOCK` mapped bytes, initialised by the host, which live as long as `self`.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr(), BLOCK) }
    }
}

impl DerefMut for Block {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`; `self` is borrowed mutably, and nothing else points there.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_ptr(), BLOCK) }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        REGIONS.lock().give(self.0);
    }
}

/// Gives the memory of all blocks that are kept back to the host.
pub fn trim() {
    let mut regions = REGIONS.lock();
    regions.shrink(0);
}

static REGIONS: Mutex<Regions> = Mutex::new(Regions { all: BTreeMap::new(), open: BTreeSet::new(), kept: 0 });

struct Regions {
    /// By address.
    all: BTreeMap<usize, Region>,
    /// Those with a free block.
    open: BTreeSet<usize>,
    /// Free blocks that hold memory.
    kept: u32,
}

struct Region {
    memory: NonNull<u8>,
    /// A bit for each block.
    free: u8,
    /// Free blocks that hold memory.
    warm: u8,
}

// SAFETY: a region is plain memory, reached under the lock of `REGIONS` or by the owners of its blocks.
unsafe impl Send for Region {}

impl Regions {
    /// A block, and whether it holds memory.
    fn take(&mut self) -> Option<(NonNull<u8>, bool)> {
        let base = match self.open.first() {
            Some(&base) => base,
            None => self.map()?,
        };
        let region = self.all.get_mut(&base)?;
        let from = if region.warm != 0 { region.warm } else { region.free };
        let index = from.trailing_zeros();
        let bit = 1 << index;
        let warm = region.warm & bit != 0;
        self.kept -= u32::from(warm);
        region.warm &= !bit;
        region.free &= !bit;
        if region.free == 0 {
            self.open.remove(&base);
        }
        // SAFETY: the region has eight blocks, and the index is below eight.
        Some((unsafe { region.memory.add(index as usize * BLOCK) }, warm))
    }

    fn give(&mut self, block: NonNull<u8>) {
        let base = block.as_ptr() as usize / REGION * REGION;
        let Some(region) = self.all.get_mut(&base) else { return };
        let bit = 1 << ((block.as_ptr() as usize - base) / BLOCK);
        region.free |= bit;
        region.warm |= bit;
        self.kept += 1;
        self.open.insert(base);
        if region.free == ALL && self.kept > KEPT {
            self.cool(base);
        } else if self.kept > KEPT_APART {
            self.shrink(KEPT);
        }
    }

    /// Gives kept memory back until no more than `most` blocks are left: whole regions first.
    fn shrink(&mut self, most: u32) {
        let is_free = |base: &usize| self.all.get(base).is_some_and(|region| region.free == ALL);
        let (free, partly): (Vec<usize>, Vec<usize>) = self.open.iter().partition(|base| is_free(base));
        for base in free.into_iter().chain(partly) {
            if self.kept <= most {
                return;
            }
            self.cool(base);
        }
    }

    /// Gives the memory of a region's free blocks back, and the region once all are free.
    fn cool(&mut self, base: usize) {
        let Some(region) = self.all.get_mut(&base) else { return };
        self.kept -= region.warm.count_ones();
        if region.free == ALL {
            self.open.remove(&base);
            if let Some(region) = self.all.remove(&base) {
                unmap(region.memory.as_ptr(), REGION);
            }
            return;
        }
        for index in 0..u8::BITS as usize {
            if region.warm & (1 << index) != 0 {
                // SAFETY: as in `take`.
                let block = unsafe { region.memory.add(index * BLOCK) };
                advise(block.as_ptr(), BLOCK, libc::MADV_DONTNEED);
            }
        }
        region.warm = 0;
    }

    /// A new region: its address.
    fn map(&mut self) -> Option<usize> {
        let memory = map_aligned()?;
        let base = memory.as_ptr() as usize;
        self.all.insert(base, Region { memory, free: ALL, warm: 0 });
        self.open.insert(base);
        Some(base)
    }
}

fn advise(at: *mut u8, len: usize, advice: i32) {
    // SAFETY: the range is of a region of this module. MADV_DONTNEED, which drops what it holds, is asked for free blocks
    // only. What the host refuses costs time or memory, nothing else.
    unsafe { libc::madvise(at.cast(), len, advice) };
}

fn unmap(at: *mut u8, len: usize) {
    if len > 0 {
        // SAFETY: the range was mapped by this module, and nothing points into it any more. It cannot fail for want of
        // anything but mappings; then the memory stays, unused.
        unsafe { libc::munmap(at.cast(), len) };
    }
}

fn map_fresh(len: usize) -> Option<NonNull<u8>> {
    let (protection, flags) =
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE);
    // SAFETY: a new mapping, at a place that the host chooses.
    let at = unsafe { libc::mmap(ptr::null_mut(), len, protection, flags, -1, 0) };
    if at == libc::MAP_FAILED { None } else { NonNull::new(at.cast()) }
}

fn map_aligned() -> Option<NonNull<u8>> {
    let first = map_fresh(REGION)?;
    if (first.as_ptr() as usize).is_multiple_of(REGION) {
        return Some(first);
    }
    unmap(first.as_ptr(), REGION);
    let wide = map_fresh(2 * REGION)?.as_ptr();
    let skip = (wide as usize).next_multiple_of(REGION) - wide as usize;
    unmap(wide, skip);
    // SAFETY: both are within the mapping or at its end: the region begins less than a region's length behind its start.
    let (start, end) = unsafe { (wide.add(skip), wide.add(skip + REGION)) };
    unmap(end, REGION - skip);
    NonNull::new(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn regions() -> Regions {
        Regions { all: BTreeMap::new(), open: BTreeSet::new(), kept: 0 }
    }

    fn fill(block: NonNull<u8>, byte: u8) {
        // SAFETY: the test owns the block.
        unsafe { ptr::write_bytes(block.as_ptr(), byte, BLOCK) };
    }

    fn is_filled(block: NonNull<u8>, byte: u8) -> bool {
        // SAFETY: the test owns the block.
        unsafe { std::slice::from_raw_parts(block.as_ptr(), BLOCK) }.iter().all(|&b| b == byte)
    }

    #[test]
    fn blocks_are_apart_and_all_memory_goes_back() {
        let mut regions = regions();
        let blocks: Vec<_> = (0..100u8)
            .map(|n| {
                let block = regions.take().expect("the host has memory").0;
                fill(block, n);
                block
            })
            .collect();
        assert_eq!(regions.all.len(), 13);
        assert!((0..100u8).all(|n| is_filled(blocks[n as usize], n)));
        // Every second one goes: no region is free, and no more than the bound is kept.
        blocks.iter().step_by(2).for_each(|&block| regions.give(block));
        assert!(regions.kept <= KEPT_APART, "{}", regions.kept);
        assert!((1..100u8).step_by(2).all(|n| is_filled(blocks[n as usize], n)));
        // They are taken again before there are new regions.
        let again: Vec<_> = (0..50).map(|_| regions.take().expect("the host has memory").0).collect();
        assert_eq!(regions.all.len(), 13);
        again.iter().for_each(|&block| fill(block, 200));
        assert!((1..100u8).step_by(2).all(|n| is_filled(blocks[n as usize], n)));
        again.iter().for_each(|&block| regions.give(block));
        blocks.iter().skip(1).step_by(2).for_each(|&block| regions.give(block));
        assert!(regions.all.len() <= 1 + KEPT as usize / 8, "{}", regions.all.len());
        regions.shrink(0);
        assert_eq!((regions.all.len(), regions.open.len(), regions.kept), (0, 0, 0));
    }

    #[test]
    fn a_block_goes_back_alone() {
        let mut regions = regions();
        let blocks: Vec<_> = (0..16).map(|_| regions.take().expect("the host has memory").0).collect();
        blocks.iter().for_each(|&block| fill(block, 7));
        let resident = |block: NonNull<u8>| {
            let mut pages = [0u8; BLOCK / 4096];
            // SAFETY: the vector has a byte for each page of the block.
            assert_eq!(unsafe { libc::mincore(block.as_ptr().cast(), BLOCK, pages.as_mut_ptr()) }, 0);
            pages.iter().any(|page| page & 1 != 0)
        };
        regions.give(blocks[9]);
        assert!(resident(blocks[9]), "it is kept");
        regions.shrink(0);
        assert!(!resident(blocks[9]));
        assert!(is_filled(blocks[8], 7) && is_filled(blocks[10], 7));
        blocks.iter().enumerate().filter(|(n, _)| *n != 9).for_each(|(_, &block)| regions.give(block));
        regions.shrink(0);
        assert!(regions.all.is_empty());
    }
}
