//! Block groups: their bitmap in memory, as the allocator searches it, and on disk, as transactions change it.
//!
//! In memory a block is taken as soon as somebody claims it and until its freeing is durable; on disk it is taken from
//! the transaction that makes it reachable to the one that frees it. So the disk's bitmap never says more than memory's.
//!
//! Locks: `Group::disk` (sleeping) is held over a change of bitmap and descriptor, and while memory's bitmap is loaded;
//! `Group::memory` (short) inside or alone.

use crate::bitmap::{self, Words};
use crate::layout::group::{GroupDesc, GroupFlags};
use crate::{Filesystem, Geometry, Handle, Result, csum, sync};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

/// A group's blocks in memory.
pub(crate) enum Memory {
    /// Not looked at yet.
    Unloaded,
    /// Free and taken blocks.
    Loaded(Map),
    /// Its bitmap is damaged: nothing is allocated here any more.
    Broken,
}

/// Free and taken blocks.
pub(crate) struct Map {
    /// A set bit is taken.
    pub words: Words,
    /// No free run is longer than this.
    pub longest: u32,
}

/// One block group.
pub(crate) struct Group {
    disk: sync::Mutex<()>,
    memory: Mutex<Memory>,
    /// Free blocks in memory's bitmap; before it is loaded what the descriptor says. A hint outside the lock.
    free: AtomicU32,
}

impl Group {
    pub(crate) fn new() -> Group {
        Group { disk: sync::Mutex::new(()), memory: Mutex::new(Memory::Unloaded), free: AtomicU32::new(0) }
    }

    /// About how many blocks are free.
    pub(crate) fn free_hint(&self) -> u32 {
        self.free.load(Ordering::Relaxed)
    }

    pub(crate) fn set_free_hint(&self, free: u32) {
        self.free.store(free, Ordering::Relaxed);
    }

    /// No free run is longer than this, as far as known.
    pub(crate) fn longest_hint(&self) -> u32 {
        match &*self.memory.lock() {
            Memory::Unloaded => u32::MAX,
            Memory::Loaded(map) => map.longest,
            Memory::Broken => 0,
        }
    }

    /// Shows the bitmap to `f`, after loading it if need be; none if the group is broken.
    pub(crate) fn with_map<R>(
        &self,
        fs: &Filesystem,
        group: u32,
        f: impl FnOnce(&mut Map) -> R,
    ) -> Result<Option<R>> {
        if matches!(*self.memory.lock(), Memory::Unloaded) {
            self.load(fs, group)?;
        }
        Ok(self.with_loaded(f))
    }

    /// Like [`Self::with_map`], if it is loaded.
    pub(crate) fn with_loaded<R>(&self, f: impl FnOnce(&mut Map) -> R) -> Option<R> {
        let mut memory = self.memory.lock();
        let Memory::Loaded(map) = &mut *memory else { return None };
        let result = f(map);
        Some(result)
    }

    /// `count` more blocks are free or taken.
    pub(crate) fn adjust_free(&self, count: u32, freed: bool) {
        if freed {
            self.free.fetch_add(count, Ordering::Relaxed);
        } else {
            self.free.fetch_sub(count, Ordering::Relaxed);
        }
    }

    fn load(&self, fs: &Filesystem, group: u32) -> Result<()> {
        let _disk = self.disk.lock();
        if !matches!(*self.memory.lock(), Memory::Unloaded) {
            return Ok(());
        }
        let geometry = &fs.geometry;
        let desc = fs.group_desc(group)?;
        let blocks = geometry.group_blocks(group) as usize;
        let words = if is_uninit(geometry, &desc) {
            let mut bytes = vec![0; geometry.block_size];
            init_bitmap(geometry, group, &desc, &mut bytes);
            Some(Words::from_disk(&bytes, blocks))
        } else {
            let buffer = fs.cache.read(desc.block_bitmap)?;
            let data = buffer.data();
            if !buffer.verified() && !bitmap_csum_matches(geometry, &desc, &data) {
                fs.bad_checksum("block bitmap", 0, desc.block_bitmap);
                None
            } else if !own_metadata(geometry, group, &desc).all(|(at, len)| covered(&data, at, len)) {
                fs.corrupted(
                    "block bitmap",
                    0,
                    desc.block_bitmap,
                    format_args!("group {group}'s metadata is free"),
                );
                None
            } else {
                buffer.set_verified();
                Some(Words::from_disk(&data, blocks))
            }
        };
        let memory = match words {
            Some(words) if words.free() == desc.free_blocks as usize => {
                Memory::Loaded(Map { words, longest: blocks as u32 })
            }
            Some(words) => {
                fs.corrupted(
                    "block bitmap",
                    0,
                    desc.block_bitmap,
                    format_args!(
                        "group {group}: {} free blocks in the bitmap, {} in the descriptor",
                        words.free(),
                        desc.free_blocks
                    ),
                );
                Memory::Broken
            }
            None => Memory::Broken,
        };
        if matches!(memory, Memory::Broken) {
            fs.balloc.lost(desc.free_blocks);
            self.set_free_hint(0);
        }
        *self.memory.lock() = memory;
        Ok(())
    }

    /// Sets or clears bits of the bitmap on disk, with the descriptor's count and checksum (two credits).
    pub(crate) fn change(
        &self,
        fs: &Filesystem,
        handle: &mut Handle,
        group: u32,
        first: u32,
        count: u32,
        used: bool,
    ) -> Result<()> {
        let _disk = self.disk.lock();
        let geometry = &fs.geometry;
        let desc = fs.group_desc(group)?;
        let uninit = is_uninit(geometry, &desc);
        let buffer = if uninit {
            let buffer = fs.cache.get_zeroed(desc.block_bitmap)?;
            handle.create(&buffer, |bytes| init_bitmap(geometry, group, &desc, bytes))?;
            buffer.set_verified();
            buffer
        } else {
            fs.cache.read(desc.block_bitmap)?
        };
        let (first, many) = (first as usize, count as usize);
        // Damage must be found before the change, or the transaction carries it on.
        let data = buffer.data();
        let sane = bitmap::count_ones(&data, first, many) == if used { 0 } else { many };
        drop(data);
        if !sane {
            let what = if used { "allocated" } else { "freed" };
            let block = geometry.group_first_block(group) + first as u64;
            return Err(fs.corrupted("block bitmap", 0, block, format_args!("{count} blocks {what} twice")));
        }
        let sum = handle.modify(&buffer, |bytes| {
            bitmap::assign(bytes, first, many, used);
            bitmap_csum(geometry, bytes)
        })?;
        fs.update_group_desc(group, handle, |desc| {
            desc.free_blocks = if used {
                desc.free_blocks.saturating_sub(count)
            } else {
                desc.free_blocks.saturating_add(count)
            };
            desc.flags.remove(GroupFlags::BLOCK_UNINIT);
            if let Some(sum) = sum {
                desc.block_bitmap_csum = sum;
            }
        })
    }
}

fn is_uninit(geometry: &Geometry, desc: &GroupDesc) -> bool {
    geometry.features.group_csum() && desc.flags.contains(GroupFlags::BLOCK_UNINIT)
}

fn bitmap_csum(geometry: &Geometry, bytes: &[u8]) -> Option<u32> {
    let len = (geometry.blocks_per_group as usize / 8).min(bytes.len());
    geometry.features.metadata_csum().then(|| csum::crc32c(geometry.csum_seed, &bytes[..len]))
}

fn bitmap_csum_matches(geometry: &Geometry, desc: &GroupDesc, bytes: &[u8]) -> bool {
    let mask = if geometry.desc_size >= 64 { u32::MAX } else { 0xffff };
    bitmap_csum(geometry, bytes).is_none_or(|sum| sum & mask == desc.block_bitmap_csum & mask)
}

fn covered(bytes: &[u8], at: u32, len: u32) -> bool {
    (at..at + len).all(|bit| bitmap::test(bytes, bit as usize))
}

/// The group's own bitmaps and inode table, as far as they are inside it: (offset, length).
fn own_metadata(geometry: &Geometry, group: u32, desc: &GroupDesc) -> impl Iterator<Item = (u32, u32)> {
    let first = geometry.group_first_block(group);
    let end = first + u64::from(geometry.group_blocks(group));
    let pieces =
        [(desc.block_bitmap, 1), (desc.inode_bitmap, 1), (desc.inode_table, geometry.inode_table_blocks)];
    pieces.into_iter().filter_map(move |(block, len)| {
        let from = block.max(first);
        let to = block.saturating_add(u64::from(len)).min(end);
        (from < to).then(|| ((from - first) as u32, (to - from) as u32))
    })
}

/// Whether `block`..+`count` of `group` touches the group's own bitmaps or inode table.
pub(crate) fn is_group_metadata(
    geometry: &Geometry,
    group: u32,
    desc: &GroupDesc,
    first: u32,
    count: u32,
) -> bool {
    own_metadata(geometry, group, desc).any(|(at, len)| first < at + len && at < first + count)
}

/// Fills in the bitmap that a group with BLOCK_UNINIT stands for.
fn init_bitmap(geometry: &Geometry, group: u32, desc: &GroupDesc, bytes: &mut [u8]) {
    let blocks = geometry.group_blocks(group) as usize;
    let bits = bytes.len() * 8;
    bytes.fill(0);
    bitmap::assign(bytes, blocks, bits - blocks, true);
    bitmap::assign(bytes, 0, (geometry.group_base_metadata(group) as usize).min(blocks), true);
    for (at, len) in own_metadata(geometry, group, desc) {
        bitmap::assign(bytes, at as usize, len as usize, true);
    }
}
