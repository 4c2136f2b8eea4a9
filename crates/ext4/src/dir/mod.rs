//! Directories: finding, adding and removing names. `block` is one block's bytes, `htree` the index over them, `hash`
//! its hashes, `readdir` listing; directories inside their inode are `inline`'s.
//!
//! Everything here runs under the directory's state lock, which the caller holds.

pub(crate) mod block;
pub(crate) mod hash;
pub(crate) mod htree;
pub mod readdir;

use crate::buffer::Buffer;
use crate::features::{Compat, Incompat};
use crate::fs::Filesystem;
use crate::inode::{
    Inode, InodeState, S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG, S_IFSOCK,
};
use crate::journal::Handle;
use crate::layout::inode::InodeFlags;
use crate::map::{Create, ExtentState};
use crate::{Result, inline, map};
use abi::Errno;
use abi::errno::{ENOENT, ENOSPC};
use block::{Bad, Entry, Format, entry_size};
use hash::Hasher;
use std::sync::Arc;

/// Blocks that adding a name changes at most: a leaf and its new half, three levels of index and their new halves, a
/// new root's block; for each new block bitmap, group and the directory's own map.
pub(crate) const INSERT_CREDITS: usize = 40;
/// Blocks of a directory that are read together.
const READ_AHEAD: u32 = 32;
/// Blocks that removing a name changes.
pub(crate) const REMOVE_CREDITS: usize = 2;

/// Where a name was found.
#[derive(Debug)]
pub(crate) struct Found {
    pub ino: u32,
    place: Place,
}

#[derive(Debug)]
enum Place {
    /// Block of the directory, byte offset in it.
    Block(u32, usize),
    /// Byte offset in the inline data.
    Inline(usize),
}

/// What a block of a directory is expected to be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expect {
    Leaf,
    /// A node of the hash tree: the root or an inner one.
    Node,
}

/// `file_type` for a mode.
pub(crate) fn file_type(mode: u16) -> u8 {
    match mode & S_IFMT {
        S_IFREG => 1,
        S_IFDIR => 2,
        S_IFCHR => 3,
        S_IFBLK => 4,
        S_IFIFO => 5,
        S_IFSOCK => 6,
        S_IFLNK => 7,
        _ => 0,
    }
}

/// How the directory's blocks look.
pub(crate) fn format(dir: &Inode, state: &InodeState) -> Format {
    let geometry = &dir.fs.geometry;
    Format {
        block_size: geometry.block_size,
        tail: geometry.features.metadata_csum(),
        filetype: geometry.features.incompat.contains(Incompat::FILETYPE),
        max_ino: geometry.inodes_count,
        seed: dir.csum_seed(state),
    }
}

/// How the directory hashes; `version` is from its root.
fn hasher(fs: &Filesystem, version: u8) -> Hasher {
    Hasher { version, unsigned: fs.geometry.unsigned_hash, seed: fs.geometry.hash_seed }
}

fn bad(dir: &Inode, block: u64, Bad(text): Bad) -> Errno {
    dir.fs.corrupted("check_dir_entry", dir.ino, block, format_args!("bad entry in directory: {text}"))
}

/// Blocks that the directory has.
fn block_count(dir: &Inode, state: &InodeState) -> u32 {
    u32::try_from(state.size >> dir.fs.geometry.block_bits).unwrap_or(u32::MAX)
}

/// Reads a block of the directory and checks its checksum once.
fn read_block(
    dir: &Inode,
    state: &InodeState,
    format: &Format,
    lblk: u32,
    expect: Expect,
) -> Result<Arc<Buffer>> {
    let fs = &*dir.fs;
    if lblk >= block_count(dir, state) {
        return Err(fs.corrupted("read_dirblock", dir.ino, 0, format_args!("no directory block {lblk}")));
    }
    let extent = map::lookup(dir, state, lblk, 1)?;
    if extent.state != ExtentState::Written {
        return Err(fs.corrupted(
            "read_dirblock",
            dir.ino,
            0,
            format_args!("directory hole found: block {lblk}"),
        ));
    }
    let buffer = fs.cache.read(extent.pblk)?;
    if !buffer.verified() {
        let data = buffer.data();
        let sound = match expect {
            Expect::Leaf => format.leaf_is_sound(&data),
            Expect::Node => htree::node_is_sound(format, &data, lblk == 0),
        };
        if !sound {
            return Err(fs.bad_checksum("read_dirblock", dir.ino, extent.pblk));
        }
        buffer.set_verified();
    }
    Ok(buffer)
}

/// Starts a listing: reads the first part of the directory in few requests, as it will be wanted in another order.
fn read_ahead(dir: &Inode, state: &InodeState) -> Result<()> {
    let mut at = 0;
    let count = block_count(dir, state).min(8 * READ_AHEAD);
    while at < count {
        let extent = map::lookup(dir, state, at, count - at)?;
        if extent.state == ExtentState::Written && dir.fs.cache.peek(extent.pblk).is_none() {
            dir.fs.cache.read_ahead(extent.pblk, extent.len);
        }
        at = at.saturating_add(extent.len.max(1));
    }
    Ok(())
}

/// Whether a block that was reached without the index is one of its nodes.
fn looks_like_node(state: &InodeState, format: &Format, lblk: u32, data: &[u8]) -> bool {
    state.flags.contains(InodeFlags::INDEX)
        && (lblk == 0
            || format.entry(data, 0).is_ok_and(|entry| {
                entry.ino == 0 && entry.name.is_empty() && entry.len == format.block_size && format.tail
            }))
}

/// Runs `each` on every block as a list of entries: leaves, and nodes as the fake entries that they are.
fn for_each_block(
    dir: &Inode,
    state: &InodeState,
    mut each: impl FnMut(u32, &Buffer, block::Entries<'_>) -> Result<bool>,
) -> Result<()> {
    let fs = &*dir.fs;
    let format = format(dir, state);
    let count = block_count(dir, state);
    for lblk in 0..count {
        let extent = map::lookup(dir, state, lblk, (count - lblk).min(READ_AHEAD))?;
        if extent.state != ExtentState::Written {
            continue;
        }
        if extent.len > 1 && fs.cache.peek(extent.pblk).is_none() {
            fs.cache.read_ahead(extent.pblk, extent.len);
        }
        let buffer = fs.cache.read(extent.pblk)?;
        let data = buffer.data();
        let node = looks_like_node(state, &format, lblk, &data);
        if !buffer.verified() {
            let sound = match node {
                true => htree::node_is_sound(&format, &data, lblk == 0),
                false => format.leaf_is_sound(&data),
            };
            if !sound {
                return Err(fs.bad_checksum("read_dirblock", dir.ino, extent.pblk));
            }
            buffer.set_verified();
        }
        let entries = if node { format.entries_of(&data) } else { format.entries(&data) };
        if !each(lblk, &buffer, entries)? {
            break;
        }
    }
    Ok(())
}

/// Finds a name. ENOENT.
pub(crate) fn find(dir: &Inode, state: &InodeState, name: &[u8]) -> Result<Found> {
    if state.is_inline() {
        let (ino, offset) = inline::find(dir, state, name)?;
        return Ok(Found { ino, place: Place::Inline(offset) });
    }
    let dots = name == b"." || name == b"..";
    if state.flags.contains(InodeFlags::INDEX) && !dots {
        return match htree::find(dir, state, name)? {
            Some((lblk, offset, ino)) => checked(dir, name, ino, Place::Block(lblk, offset)),
            None => Err(ENOENT),
        };
    }
    let format = format(dir, state);
    let mut found = None;
    for_each_block(dir, state, |lblk, buffer, entries| {
        let entry = format.find(entries, name).map_err(|text| bad(dir, buffer.block(), text))?;
        found = entry.map(|entry| (entry.ino, Place::Block(lblk, entry.offset)));
        Ok(found.is_none())
    })?;
    let (ino, place) = found.ok_or(ENOENT)?;
    checked(dir, name, ino, place)
}

/// A name must not lead to a reserved inode, nor to the directory itself.
fn checked(dir: &Inode, name: &[u8], ino: u32, place: Place) -> Result<Found> {
    let reserved = ino < dir.fs.geometry.first_ino && ino != crate::layout::inode::ROOT_INO;
    if reserved || (ino == dir.ino && name != b"." && name != b"..") {
        return Err(dir.fs.corrupted("lookup", dir.ino, 0, format_args!("bad inode number: {ino}")));
    }
    Ok(Found { ino, place })
}

/// Adds a name that isn't there. The directory's size and times are the caller's to store. [`INSERT_CREDITS`].
pub(crate) fn insert(
    dir: &Inode,
    state: &mut InodeState,
    handle: &mut Handle,
    name: &[u8],
    ino: u32,
    kind: u8,
) -> Result<()> {
    if state.is_inline() {
        inline::convert(dir, state, handle)?;
    }
    if state.flags.contains(InodeFlags::INDEX) {
        return htree::insert(dir, state, handle, name, ino, kind);
    }
    let format = format(dir, state);
    let size = entry_size(name.len());
    let mut room = None;
    for_each_block(dir, state, |lblk, buffer, entries| {
        let found = format.room(entries, size).map_err(|text| bad(dir, buffer.block(), text))?;
        room = found.map(|offset| (lblk, offset));
        Ok(room.is_none())
    })?;
    let blocks = block_count(dir, state);
    let (lblk, offset) = match room {
        Some(room) => room,
        None if blocks == 1 && dir.fs.geometry.features.compat.contains(Compat::DIR_INDEX) => {
            htree::make_index(dir, state, handle)?;
            return htree::insert(dir, state, handle, name, ino, kind);
        }
        None => (append_block(dir, state, handle, |data| format.init_leaf(data))?.0, 0),
    };
    let buffer = read_block(dir, state, &format, lblk, Expect::Leaf)?;
    place(dir, &format, handle, &buffer, offset, name, ino, kind)
}

/// Writes an entry into a leaf at `offset`, where there is room.
#[expect(clippy::too_many_arguments, reason = "an entry and where it goes")]
fn place(
    dir: &Inode,
    format: &Format,
    handle: &mut Handle,
    buffer: &Arc<Buffer>,
    offset: usize,
    name: &[u8],
    ino: u32,
    kind: u8,
) -> Result<()> {
    handle
        .modify(buffer, |data| {
            let result = format.place(data, offset, name, ino, kind);
            format.seal_leaf(data);
            result
        })?
        .map_err(|text| bad(dir, buffer.block(), text))
}

/// Gives the directory another block, filled by `fill` and sealed as a leaf if it is one. ENOSPC at the largest size.
fn append_block(
    dir: &Inode,
    state: &mut InodeState,
    handle: &mut Handle,
    fill: impl FnOnce(&mut [u8]),
) -> Result<(u32, Arc<Buffer>)> {
    let fs = &*dir.fs;
    let lblk = block_count(dir, state);
    let large = fs.geometry.features.incompat.contains(Incompat::LARGEDIR);
    let limit = if large { 1 << 28 } else { (1u64 << 31) >> fs.geometry.block_bits };
    let kilobytes = u64::from(fs.options.read().max_dir_size_kb);
    if u64::from(lblk) + 1 >= limit || (kilobytes > 0 && state.size >> 10 >= kilobytes) {
        return Err(ENOSPC);
    }
    let extent = map::allocate(dir, state, handle, lblk, 1, Create::Yes)?;
    state.size += fs.geometry.block_size as u64;
    let format = format(dir, state);
    let buffer = fs.cache.get_zeroed(extent.pblk)?;
    handle.create(&buffer, |data| {
        fill(data);
        if format.leaf_has_tail(data) {
            format.seal_leaf(data);
        }
    })?;
    buffer.set_verified();
    Ok((lblk, buffer))
}

/// Removes what [`find`] found, with the directory locked since. [`REMOVE_CREDITS`].
pub(crate) fn remove(dir: &Inode, state: &mut InodeState, handle: &mut Handle, found: &Found) -> Result<()> {
    match found.place {
        Place::Inline(offset) => inline::remove(dir, state, offset),
        Place::Block(lblk, offset) => change_leaf(dir, state, handle, lblk, |format, data| {
            format.remove(data, format.leaf_end(), offset)
        }),
    }
}

/// Points what [`find`] found to another inode.
pub(crate) fn replace(
    dir: &Inode,
    state: &mut InodeState,
    handle: &mut Handle,
    found: &Found,
    ino: u32,
    kind: u8,
) -> Result<()> {
    match found.place {
        Place::Inline(offset) => inline::replace(dir, state, offset, ino, kind),
        Place::Block(lblk, offset) => {
            change_leaf(dir, state, handle, lblk, |format, data| format.set_ino(data, offset, ino, kind))
        }
    }
}

fn change_leaf(
    dir: &Inode,
    state: &InodeState,
    handle: &mut Handle,
    lblk: u32,
    change: impl FnOnce(&Format, &mut [u8]) -> Result<(), Bad>,
) -> Result<()> {
    let format = format(dir, state);
    let buffer = read_block(dir, state, &format, lblk, Expect::Leaf)?;
    handle
        .modify(&buffer, |data| {
            let result = change(&format, data);
            format.seal_leaf(data);
            result
        })?
        .map_err(|text| bad(dir, buffer.block(), text))
}

/// The first block of a new directory, whose state has no blocks yet.
pub(crate) fn init(dir: &Inode, state: &mut InodeState, handle: &mut Handle, parent: u32) -> Result<()> {
    let format = format(dir, state);
    append_block(dir, state, handle, |data| {
        format.write(data, 0, 12, b".", dir.ino, 2);
        format.write(data, 12, format.leaf_end() - 12, b"..", parent, 2);
        format.init_tail(data);
    })?;
    Ok(())
}

/// Byte offset and contents of the ".." entry in block 0.
fn dotdot<'a>(format: &Format, data: &'a [u8]) -> Result<Entry<'a>, Bad> {
    let dot = format.entry(data, 0)?;
    let entry = format.entry(data, dot.len)?;
    if dot.name == b"." && entry.name == b".." {
        Ok(entry)
    } else {
        Err(Bad("no . and .. where they belong"))
    }
}

fn first_block(dir: &Inode, state: &InodeState, format: &Format) -> Result<Arc<Buffer>> {
    let indexed = state.flags.contains(InodeFlags::INDEX);
    read_block(dir, state, format, 0, if indexed { Expect::Node } else { Expect::Leaf })
}

/// The parent directory's number.
pub(crate) fn parent(dir: &Inode, state: &InodeState) -> Result<u32> {
    if state.is_inline() {
        return inline::parent(dir, state);
    }
    let format = format(dir, state);
    let buffer = first_block(dir, state, &format)?;
    let data = buffer.data();
    dotdot(&format, &data).map(|entry| entry.ino).map_err(|text| bad(dir, buffer.block(), text))
}

/// Sets the parent directory's number. One credit.
pub(crate) fn set_parent(dir: &Inode, state: &mut InodeState, handle: &mut Handle, ino: u32) -> Result<()> {
    if state.is_inline() {
        return inline::set_parent(dir, state, ino);
    }
    let format = format(dir, state);
    let indexed = state.flags.contains(InodeFlags::INDEX);
    let buffer = first_block(dir, state, &format)?;
    handle
        .modify(&buffer, |data| {
            let offset = dotdot(&format, data)?.offset;
            format.set_ino(data, offset, ino, 2)?;
            if indexed {
                htree::seal_node(&format, data, true)
            } else {
                format.seal_leaf(data)
            }
            Ok(())
        })?
        .map_err(|text| bad(dir, buffer.block(), text))
}

/// Whether there is nothing but "." and "..".
pub(crate) fn is_empty(dir: &Inode, state: &InodeState) -> Result<bool> {
    if state.is_inline() {
        return inline::is_empty(dir, state);
    }
    let mut empty = true;
    for_each_block(dir, state, |_, buffer, entries| {
        for entry in entries {
            let entry = entry.map_err(|text| bad(dir, buffer.block(), text))?;
            empty &= entry.ino == 0 || entry.name == b"." || entry.name == b"..";
        }
        Ok(empty)
    })?;
    Ok(empty)
}
