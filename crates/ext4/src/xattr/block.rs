//! The attribute block of an inode. Inodes with the same attributes share one, counted in its header; which blocks there
//! are to share is remembered by the hash of their contents.
//!
//! Locks: `Blocks::change` (sleeping) is held over every change of such a block, inside the inode's state.

use super::entries::{self, Attr};
use crate::buffer::Buffer;
use crate::inode::{Inode, InodeState};
use crate::layout::xattr::XATTR_MAGIC;
use crate::{Filesystem, Handle, Result, balloc, csum, sync};
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Bytes of the header.
pub const HEADER: usize = 32;
/// How many inodes share a block at most.
const MOST_SHARED: u32 = 1024;
/// How many blocks are remembered.
const REMEMBERED: usize = 4096;

/// Per-mount state.
#[derive(Default)]
pub(crate) struct Blocks {
    change: sync::Mutex<()>,
    by_hash: Mutex<HashMap<u32, u64>>,
    /// The superblock says that there are attributes, since this mount.
    pub noted: AtomicBool,
}

fn get(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn put(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

fn refcount(bytes: &[u8]) -> u32 {
    get(bytes, 4)
}

/// The checksum that the block should have; none without metadata_csum.
fn checksum(fs: &Filesystem, block: u64, bytes: &[u8]) -> Option<u32> {
    let geometry = &fs.geometry;
    geometry.features.metadata_csum().then(|| {
        let seed = csum::crc32c(geometry.csum_seed, &block.to_le_bytes());
        let seed = csum::crc32c(seed, &bytes[..16]);
        csum::crc32c(csum::crc32c(seed, &[0; 4]), &bytes[20..])
    })
}

fn seal(fs: &Filesystem, block: u64, bytes: &mut [u8]) {
    let sum = checksum(fs, block, bytes).unwrap_or(0);
    put(bytes, 16, sum);
}

fn buffer(inode: &Inode, block: u64) -> Result<Arc<Buffer>> {
    let fs = &*inode.fs;
    let corrupted = |what| Err(fs.corrupted("xattr block", inode.ino, block, format_args!("{what}")));
    if !fs.valid_blocks(block, 1) {
        return corrupted("outside the file system");
    }
    let buffer = fs.cache.read(block)?;
    let data = buffer.data();
    if get(&data, 0) != XATTR_MAGIC || get(&data, 8) != 1 || refcount(&data) == 0 {
        return corrupted("bad header");
    }
    if !buffer.verified() {
        if checksum(fs, block, &data).is_some_and(|sum| sum != get(&data, 16)) {
            return Err(fs.bad_checksum("xattr block", inode.ino, block));
        }
        buffer.set_verified();
    }
    Ok(buffer)
}

/// The attributes in the inode's block.
pub(crate) fn read(inode: &Inode, state: &InodeState) -> Result<Vec<Attr>> {
    if state.file_acl == 0 {
        return Ok(Vec::new());
    }
    let data = buffer(inode, state.file_acl)?.data();
    entries::parse(&data, HEADER, 0)
        .map_err(|_| inode.fs.corrupted("xattr block", inode.ino, state.file_acl, format_args!("bad entry")))
}

/// Gives the inode a block with these attributes, or none if there are none (seven credits). The caller stores the
/// inode.
///
/// # Errors
/// `ENOSPC`: they don't fit, or the disk is full; nothing is changed.
pub(crate) fn write(
    inode: &Inode,
    state: &mut InodeState,
    handle: &mut Handle,
    attrs: &[Attr],
) -> Result<()> {
    let fs = &*inode.fs;
    let sectors = 1 << (fs.geometry.block_bits - 9);
    if attrs.is_empty() {
        return release(inode, state, handle);
    }
    let mut bytes = vec![0; fs.geometry.block_size];
    let hash = entries::write(&mut bytes, HEADER, 0, attrs)?;
    put(&mut bytes, 0, XATTR_MAGIC);
    put(&mut bytes, 4, 1);
    put(&mut bytes, 8, 1);
    put(&mut bytes, 12, hash);
    let _change = fs.xattr_blocks.change.lock();
    let shared = find(fs, hash, &bytes);
    if let Some(shared) = &shared {
        if shared.block() == state.file_acl {
            return Ok(());
        }
        handle.modify(shared, |data| {
            put(data, 4, refcount(data) + 1);
            seal(fs, shared.block(), data);
        })?;
        release_locked(inode, state, handle)?;
        state.file_acl = shared.block();
        state.blocks += sectors;
        return Ok(());
    }
    if state.file_acl != 0 {
        let own = buffer(inode, state.file_acl)?;
        if refcount(&own.data()) == 1 {
            remember(fs, &own.data(), None);
            seal(fs, own.block(), &mut bytes);
            handle.modify(&own, |data| data.copy_from_slice(&bytes))?;
            remember(fs, &bytes, Some(own.block()));
            return Ok(());
        }
    }
    let goal = fs.geometry.group_first_block(fs.geometry.inode_group(inode.ino).0);
    let block = balloc::allocate_metadata(fs, handle, goal, balloc::Need::Metadata)?;
    let fresh = fs.cache.get_zeroed(block)?;
    seal(fs, block, &mut bytes);
    handle.create(&fresh, |data| data.copy_from_slice(&bytes))?;
    fresh.set_verified();
    release_locked(inode, state, handle)?;
    state.file_acl = block;
    state.blocks += sectors;
    remember(fs, &bytes, Some(block));
    Ok(())
}

/// A block with the same attributes that has room for one more user.
fn find(fs: &Filesystem, hash: u32, bytes: &[u8]) -> Option<Arc<Buffer>> {
    let block = (hash != 0).then(|| fs.xattr_blocks.by_hash.lock().get(&hash).copied())??;
    let buffer = fs.cache.peek(block)?;
    let data = buffer.data();
    let fits = data[..4] == bytes[..4]
        && data[8..16] == bytes[8..16]
        && data[HEADER..] == bytes[HEADER..]
        && refcount(&data) < MOST_SHARED;
    drop(data);
    fits.then_some(buffer)
}

/// Remembers where a block with these contents is, or forgets it.
fn remember(fs: &Filesystem, bytes: &[u8], block: Option<u64>) {
    let hash = get(bytes, 12);
    let mut by_hash = fs.xattr_blocks.by_hash.lock();
    match block {
        Some(block) if hash != 0 => {
            if by_hash.len() >= REMEMBERED {
                by_hash.clear();
            }
            by_hash.insert(hash, block);
        }
        _ => drop(by_hash.remove(&hash)),
    }
}

/// Drops the inode's block (three credits). The caller stores the inode.
pub(crate) fn release(inode: &Inode, state: &mut InodeState, handle: &mut Handle) -> Result<()> {
    let _change = inode.fs.xattr_blocks.change.lock();
    release_locked(inode, state, handle)
}

fn release_locked(inode: &Inode, state: &mut InodeState, handle: &mut Handle) -> Result<()> {
    let fs = &*inode.fs;
    if state.file_acl == 0 {
        return Ok(());
    }
    let old = buffer(inode, state.file_acl)?;
    if refcount(&old.data()) > 1 {
        handle.modify(&old, |data| {
            put(data, 4, refcount(data) - 1);
            seal(fs, old.block(), data);
        })?;
    } else {
        remember(fs, &old.data(), None);
        balloc::free(fs, handle, old.block(), 1, true)?;
    }
    state.file_acl = 0;
    state.blocks = state.blocks.saturating_sub(1 << (fs.geometry.block_bits - 9));
    Ok(())
}
