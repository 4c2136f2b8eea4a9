//! Inode allocation: files near their directory, directories of the top spread over the disk, others near their parent.
//!
//! Within a group the lowest free number is taken, so that the part of the inode table that was never initialised
//! (`itable_unused`) stays one piece at the end; its blocks are zeroed as the first inode in them comes into use.
//! Locks: a group's `disk` (sleeping) over a change of bitmap and descriptor.

use crate::balloc;
use crate::layout::group::{GroupDesc, GroupFlags};
use crate::{Filesystem, Geometry, Handle, Result, bitmap, csum, sync};
use abi::errno::ENOSPC;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

struct Group {
    disk: sync::Mutex<()>,
    /// Free inodes and directories, as the descriptor has it: hints to search by.
    free: AtomicU32,
    dirs: AtomicU32,
    /// No index below is free.
    lowest: AtomicU32,
    broken: AtomicBool,
}

/// Per-mount state.
pub(crate) struct Allocator {
    groups: Box<[Group]>,
    free: AtomicU64,
    dirs: AtomicU64,
}

const RELAXED: Ordering = Ordering::Relaxed;

impl Allocator {
    /// Before the descriptors are known; [`load`] follows.
    pub(crate) fn new(geometry: &Geometry) -> Allocator {
        let group = || Group {
            disk: sync::Mutex::new(()),
            free: AtomicU32::new(0),
            dirs: AtomicU32::new(0),
            lowest: AtomicU32::new(0),
            broken: AtomicBool::new(false),
        };
        Allocator {
            groups: (0..geometry.groups).map(|_| group()).collect(),
            free: AtomicU64::new(0),
            dirs: AtomicU64::new(0),
        }
    }

    /// Free inodes, all of them.
    pub(crate) fn free_inodes(&self) -> u64 {
        self.free.load(RELAXED)
    }
}

/// Adds up the group descriptors, at mount (after replay).
pub(crate) fn load(fs: &Filesystem) -> Result<()> {
    let (mut free, mut dirs) = (0, 0);
    for (index, group) in fs.ialloc.groups.iter().enumerate() {
        let desc = fs.group_desc(index as u32)?;
        let count = desc.free_inodes.min(fs.geometry.inodes_per_group);
        group.free.store(count, RELAXED);
        group.dirs.store(desc.used_dirs, RELAXED);
        free += u64::from(count);
        dirs += u64::from(desc.used_dirs);
    }
    fs.ialloc.free.store(free, RELAXED);
    fs.ialloc.dirs.store(dirs, RELAXED);
    Ok(())
}

/// A free inode number near `parent`, marked used (five credits). `top`: the parent is a place to spread directories
/// from (root or TOPDIR flag).
///
/// # Errors
/// `ENOSPC` if all inodes are in use.
pub(crate) fn allocate(
    fs: &Filesystem,
    handle: &mut Handle,
    parent: u32,
    top: bool,
    mode: u16,
) -> Result<u32> {
    let is_dir = mode & 0o170_000 == 0o040_000;
    let groups = fs.geometry.groups;
    let home = fs.geometry.inode_group(parent).0.min(groups - 1);
    let start = if is_dir { directory_group(fs, home, top) } else { file_group(fs, home) };
    for step in 0..groups {
        let index = (start + step) % groups;
        let group = &fs.ialloc.groups[index as usize];
        if group.free.load(RELAXED) == 0 || group.broken.load(RELAXED) {
            continue;
        }
        if let Some(bit) = take(fs, handle, group, index, is_dir)? {
            return Ok(index * fs.geometry.inodes_per_group + bit + 1);
        }
    }
    Err(ENOSPC)
}

/// The directory's own group while it has inodes and blocks, else one that depends on the directory, so that the files
/// of two directories don't mix.
fn file_group(fs: &Filesystem, home: u32) -> u32 {
    let groups = fs.geometry.groups;
    let good = |index: u32| {
        fs.ialloc.groups[index as usize].free.load(RELAXED) > 0
            && fs.balloc.group(index).is_some_and(|group| group.free_hint() > 0)
    };
    let mut index = home;
    let mut step = 1;
    loop {
        if good(index) {
            return index;
        }
        if step >= groups {
            return home;
        }
        index = (index + step) % groups;
        step *= 2;
    }
}

fn directory_group(fs: &Filesystem, home: u32, top: bool) -> u32 {
    let geometry = &fs.geometry;
    let groups = geometry.groups;
    let average_inodes = (fs.ialloc.free.load(RELAXED) / u64::from(groups)) as u32;
    let average_blocks = (fs.balloc.free_blocks() / u64::from(groups)) as u32;
    let average_dirs = (fs.ialloc.dirs.load(RELAXED) / u64::from(groups)) as u32;
    let figures = |index: u32| {
        let group = &fs.ialloc.groups[index as usize];
        let blocks = fs.balloc.group(index).map_or(0, |group| group.free_hint());
        (group.free.load(RELAXED), blocks, group.dirs.load(RELAXED))
    };
    let from_home = (0..groups).map(|step| (home + step) % groups);
    if top {
        // Away from the others: the fewest directories among the groups that are emptier than most.
        let best = from_home
            .filter(|&index| {
                let (inodes, blocks, _) = figures(index);
                inodes > 0 && inodes >= average_inodes && blocks >= average_blocks
            })
            .min_by_key(|&index| figures(index).2);
        return best.unwrap_or(home);
    }
    let least_inodes = average_inodes.saturating_sub(geometry.inodes_per_group / 4).max(1);
    let least_blocks = average_blocks.saturating_sub(geometry.blocks_per_group / 4);
    let most_dirs = average_dirs + geometry.inodes_per_group / 16;
    let mut from_home = from_home;
    from_home
        .find(|&index| {
            let (inodes, blocks, dirs) = figures(index);
            inodes >= least_inodes && blocks >= least_blocks && dirs <= most_dirs
        })
        .unwrap_or(home)
}

fn uninit(geometry: &Geometry, desc: &GroupDesc) -> bool {
    geometry.features.group_csum() && desc.flags.contains(GroupFlags::INODE_UNINIT)
}

fn bitmap_csum(geometry: &Geometry, bytes: &[u8]) -> Option<u32> {
    let len = (geometry.inodes_per_group as usize / 8).min(bytes.len());
    geometry.features.metadata_csum().then(|| csum::crc32c(geometry.csum_seed, &bytes[..len]))
}

/// The bitmap of a group that isn't uninitialised, checked when it comes from the device.
fn read_bitmap(fs: &Filesystem, desc: &GroupDesc) -> Result<std::sync::Arc<crate::Buffer>> {
    let buffer = fs.cache.read(desc.inode_bitmap)?;
    if !buffer.verified() {
        let mask = if fs.geometry.desc_size >= 64 { u32::MAX } else { 0xffff };
        let sum = bitmap_csum(&fs.geometry, &buffer.data());
        if sum.is_some_and(|sum| sum & mask != desc.inode_bitmap_csum & mask) {
            return Err(fs.bad_checksum("inode bitmap", 0, desc.inode_bitmap));
        }
        buffer.set_verified();
    }
    Ok(buffer)
}

/// Takes the lowest free inode of a group; none if it is full or broken.
fn take(
    fs: &Filesystem,
    handle: &mut Handle,
    group: &Group,
    index: u32,
    is_dir: bool,
) -> Result<Option<u32>> {
    let geometry = &fs.geometry;
    let _disk = group.disk.lock();
    let desc = fs.group_desc(index)?;
    let per_group = geometry.inodes_per_group;
    let first = if index == 0 { geometry.first_ino.saturating_sub(1) } else { 0 };
    let last = per_group.min(geometry.inodes_count.saturating_sub(index.saturating_mul(per_group)));
    let fresh = uninit(geometry, &desc);
    let buffer = if fresh {
        let buffer = fs.cache.get_zeroed(desc.inode_bitmap)?;
        handle.create(&buffer, |bytes| {
            bytes.fill(0);
            let bits = bytes.len() * 8;
            bitmap::assign(bytes, last as usize, bits - last as usize, true);
        })?;
        buffer.set_verified();
        buffer
    } else {
        match read_bitmap(fs, &desc) {
            Ok(buffer) => buffer,
            Err(error) => {
                group.broken.store(true, RELAXED);
                return if error == abi::errno::EBADMSG { Ok(None) } else { Err(error) };
            }
        }
    };
    let from = group.lowest.load(RELAXED).max(first);
    let Some(bit) = bitmap::next_zero(&buffer.data(), from as usize, last as usize) else {
        if desc.free_inodes > 0 {
            group.broken.store(true, RELAXED);
            let text = format_args!("group {index}: {} free inodes, none in the bitmap", desc.free_inodes);
            fs.corrupted("inode bitmap", 0, desc.inode_bitmap, text);
        }
        return Ok(None);
    };
    let bit = bit as u32;
    let sum = handle.modify(&buffer, |bytes| {
        bitmap::assign(bytes, bit as usize, 1, true);
        bitmap_csum(geometry, bytes)
    })?;
    if geometry.features.group_csum() {
        let used = if fresh { 0 } else { per_group.saturating_sub(desc.itable_unused) };
        if !desc.flags.contains(GroupFlags::INODE_ZEROED) {
            zero_table(fs, handle, &desc, used, bit)?;
        }
        if desc.flags.contains(GroupFlags::BLOCK_UNINIT) {
            balloc::init_group(fs, handle, index)?;
        }
    }
    fs.update_group_desc(index, handle, |desc| {
        let used = if fresh { 0 } else { per_group.saturating_sub(desc.itable_unused) };
        desc.free_inodes = desc.free_inodes.saturating_sub(1);
        desc.used_dirs += u32::from(is_dir);
        desc.flags.remove(GroupFlags::INODE_UNINIT);
        if geometry.features.group_csum() {
            desc.itable_unused = per_group - used.max(bit + 1);
        }
        if let Some(sum) = sum {
            desc.inode_bitmap_csum = sum;
        }
    })?;
    group.lowest.store(bit + 1, RELAXED);
    group.free.store(desc.free_inodes.saturating_sub(1), RELAXED);
    fs.ialloc.free.fetch_sub(1, RELAXED);
    if is_dir {
        group.dirs.fetch_add(1, RELAXED);
        fs.ialloc.dirs.fetch_add(1, RELAXED);
    }
    Ok(Some(bit))
}

/// Zeroes the blocks of the inode table that come into use when `bit` does, `used` inodes being in use before.
fn zero_table(fs: &Filesystem, handle: &mut Handle, desc: &GroupDesc, used: u32, bit: u32) -> Result<()> {
    let per_block = (fs.geometry.block_size / fs.geometry.inode_size) as u32;
    for block in used.div_ceil(per_block)..=bit / per_block {
        let buffer = fs.cache.get_zeroed(desc.inode_table + u64::from(block))?;
        handle.create(&buffer, |bytes| bytes.fill(0))?;
    }
    Ok(())
}

/// Marks `ino` free (two credits).
///
/// # Errors
/// `EUCLEAN` if it is free already.
pub(crate) fn free(fs: &Filesystem, handle: &mut Handle, ino: u32, is_dir: bool) -> Result<()> {
    let geometry = &fs.geometry;
    let (index, bit) = geometry.inode_group(ino);
    if ino < geometry.first_ino || ino > geometry.inodes_count {
        return Err(fs.corrupted("free inode", ino, 0, format_args!("not an inode to be freed")));
    }
    let Some(group) = fs.ialloc.groups.get(index as usize) else { return Err(ENOSPC) };
    let _disk = group.disk.lock();
    let desc = fs.group_desc(index)?;
    if uninit(geometry, &desc) {
        return Err(fs.corrupted("free inode", ino, 0, format_args!("the group has no inodes in use")));
    }
    let buffer = read_bitmap(fs, &desc)?;
    if !bitmap::test(&buffer.data(), bit as usize) {
        return Err(fs.corrupted("free inode", ino, desc.inode_bitmap, format_args!("freed twice")));
    }
    let sum = handle.modify(&buffer, |bytes| {
        bitmap::assign(bytes, bit as usize, 1, false);
        bitmap_csum(geometry, bytes)
    })?;
    fs.update_group_desc(index, handle, |desc| {
        desc.free_inodes = (desc.free_inodes + 1).min(geometry.inodes_per_group);
        desc.used_dirs = desc.used_dirs.saturating_sub(u32::from(is_dir));
        if let Some(sum) = sum {
            desc.inode_bitmap_csum = sum;
        }
    })?;
    group.lowest.fetch_min(bit, RELAXED);
    group.free.fetch_add(1, RELAXED);
    fs.ialloc.free.fetch_add(1, RELAXED);
    if is_dir {
        let _ = group.dirs.fetch_update(RELAXED, RELAXED, |dirs| dirs.checked_sub(1));
        let _ = fs.ialloc.dirs.fetch_update(RELAXED, RELAXED, |dirs| dirs.checked_sub(1));
    }
    Ok(())
}
