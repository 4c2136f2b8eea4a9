//! The hash tree over a directory's blocks: block 0 is the root, inner nodes and leaves lie anywhere behind it. Each
//! index entry has the lowest hash of what is below it; an odd one says that names of the same hash go on from the
//! leaf before.

use super::block::{Bad, Format, entry_size};
use super::{Expect, append_block, bad, block_count, format, hasher, place, read_block};
use crate::Result;
use crate::buffer::{BlockData, Buffer};
use crate::csum::crc32c;
use crate::features::Incompat;
use crate::inode::{Inode, InodeState};
use crate::journal::Handle;
use crate::layout::dirent::{
    DX_NODE_ENTRIES, DX_ROOT_ENTRIES, RawDxCountLimit, RawDxEntry, RawDxRootInfo, RawDxTail,
};
use crate::layout::inode::InodeFlags;
use crate::layout::{U16, U32};
use crate::log::Level;
use abi::errno::ENOSPC;
use std::sync::Arc;
use zerocopy::{FromBytes, IntoBytes};

/// Byte offset of `dx_root_info`.
const ROOT_INFO: usize = 24;
/// Levels of index with large_dir, root included.
const MAX_LEVELS: usize = 3;
const ENTRY: usize = size_of::<RawDxEntry>();

/// Offset of a node's index entries.
fn base(root: bool) -> usize {
    if root { DX_ROOT_ENTRIES } else { DX_NODE_ENTRIES }
}

/// Entries that fit a node.
fn limit(format: &Format, root: bool) -> usize {
    let tail = if format.tail { size_of::<RawDxTail>() } else { 0 };
    (format.block_size - base(root) - tail) / ENTRY
}

fn read_entry(data: &[u8], base: usize, index: usize) -> (u32, u32) {
    let at = base + index * ENTRY;
    let raw = RawDxEntry::read_from_bytes(&data[at..at + ENTRY]).expect("eight bytes");
    (if index == 0 { 0 } else { raw.hash.get() }, raw.block.get() & 0x0FFF_FFFF)
}

fn write_entry(data: &mut [u8], base: usize, index: usize, hash: u32, block: u32) {
    let at = base + index * ENTRY;
    if index > 0 {
        data[at..at + 4].copy_from_slice(&hash.to_le_bytes());
    }
    data[at + 4..at + 8].copy_from_slice(&block.to_le_bytes());
}

fn set_count(data: &mut [u8], base: usize, limit: usize, count: usize) {
    let raw = RawDxCountLimit { limit: U16::new(limit as u16), count: U16::new(count as u16) };
    data[base..base + 4].copy_from_slice(raw.as_bytes());
}

/// The number of entries, if it and the limit make sense.
fn count(format: &Format, data: &[u8], root: bool) -> Result<usize, Bad> {
    let base = base(root);
    let raw = RawDxCountLimit::read_from_bytes(&data[base..base + 4]).expect("four bytes");
    let (limit_here, count) = (usize::from(raw.limit.get()), usize::from(raw.count.get()));
    if limit_here != limit(format, root) {
        return Err(Bad("dx entry: limit is wrong"));
    }
    if count == 0 || count > limit_here {
        return Err(Bad("dx entry: count beyond limit"));
    }
    Ok(count)
}

fn node_checksum(format: &Format, data: &[u8], root: bool, count: usize) -> u32 {
    let used = base(root) + count * ENTRY;
    let tail = base(root) + limit(format, root) * ENTRY;
    let crc = crc32c(format.seed, &data[..used]);
    crc32c(crc32c(crc, &data[tail..tail + 4]), &[0; 4])
}

/// Whether a node's checksum is right.
pub(super) fn node_is_sound(format: &Format, data: &[u8], root: bool) -> bool {
    if !format.tail {
        return true;
    }
    let tail = base(root) + limit(format, root) * ENTRY + 4;
    count(format, data, root)
        .is_ok_and(|count| data[tail..tail + 4] == node_checksum(format, data, root, count).to_le_bytes())
}

/// Sets a node's checksum.
pub(super) fn seal_node(format: &Format, data: &mut [u8], root: bool) {
    if format.tail
        && let Ok(count) = count(format, data, root)
    {
        let tail = base(root) + limit(format, root) * ENTRY + 4;
        let sum = node_checksum(format, data, root, count);
        data[tail..tail + 4].copy_from_slice(&sum.to_le_bytes());
    }
}

impl Format {
    /// Whether the block has a leaf's checksum tail, right or not.
    pub(super) fn leaf_has_tail(&self, data: &[u8]) -> bool {
        self.tail
            && data[self.leaf_end() + 7] == crate::layout::dirent::FT_TAIL
            && data[self.leaf_end() + 4] == 12
    }
}

/// One node on the way to a leaf.
struct Frame {
    buffer: Arc<Buffer>,
    data: BlockData,
    root: bool,
    count: usize,
    /// The entry taken.
    at: usize,
}

impl Frame {
    fn entry(&self, index: usize) -> (u32, u32) {
        read_entry(&self.data, base(self.root), index)
    }
}

/// The way from the root to a leaf.
struct Path {
    frames: [Option<Frame>; MAX_LEVELS],
    len: usize,
}

impl Path {
    fn last(&self) -> &Frame {
        self.frames[self.len - 1].as_ref().expect("frames below len are there")
    }

    fn frame(&mut self, level: usize) -> &mut Frame {
        self.frames[level].as_mut().expect("frames below len are there")
    }

    fn leaf(&self) -> u32 {
        let frame = self.last();
        frame.entry(frame.at).1
    }
}

/// The root's facts: hash version, levels below the root.
fn root_info(dir: &Inode, format: &Format, buffer: &Buffer, data: &[u8]) -> Result<(u8, usize)> {
    let raw = RawDxRootInfo::read_from_bytes(&data[ROOT_INFO..ROOT_INFO + 8]).expect("eight bytes");
    let levels = usize::from(raw.indirect_levels);
    let large = dir.fs.geometry.features.incompat.contains(Incompat::LARGEDIR);
    let problem = if raw.hash_version > super::hash::HASH_TEA {
        "unrecognised hash code"
    } else if raw.unused_flags & 1 != 0 {
        "unimplemented hash flags"
    } else if levels >= if large { MAX_LEVELS } else { MAX_LEVELS - 1 } {
        "directory index too deep"
    } else if usize::from(raw.info_length) != size_of::<RawDxRootInfo>() {
        "bad length of the root's info"
    } else {
        super::dotdot(format, data).map_err(|text| bad(dir, buffer.block(), text))?;
        return Ok((raw.hash_version, levels));
    };
    Err(bad(dir, buffer.block(), Bad(problem)))
}

/// Hash and minor hash of a name in this directory.
pub(super) fn name_hash(dir: &Inode, state: &InodeState) -> Result<super::hash::Hasher> {
    let format = format(dir, state);
    let buffer = read_block(dir, state, &format, 0, Expect::Node)?;
    let data = buffer.data();
    let (version, _) = root_info(dir, &format, &buffer, &data)?;
    Ok(hasher(&dir.fs, version))
}

/// What is looked for: a name, whose hash the root says how to make, or a hash.
enum Key<'a> {
    Name(&'a [u8]),
    Hash(u32),
}

/// Goes down to the leaf for a key; also returns the hash.
fn probe(dir: &Inode, state: &InodeState, format: &Format, key: Key<'_>) -> Result<(Path, u32)> {
    let root = read_block(dir, state, format, 0, Expect::Node)?;
    let data = root.data();
    let (version, levels) = root_info(dir, format, &root, &data)?;
    let hash = match key {
        Key::Hash(hash) => hash,
        Key::Name(name) => hasher(&dir.fs, version).hash(name).0,
    };
    let mut path = Path { frames: [const { None }; MAX_LEVELS], len: 0 };
    push(dir, format, &mut path, root, hash)?;
    for _ in 0..levels {
        let block = path.leaf();
        let node = read_block(dir, state, format, block, Expect::Node)?;
        push(dir, format, &mut path, node, hash)?;
    }
    Ok((path, hash))
}

/// Adds a node to the path, at the last entry whose hash is not above `hash`.
fn push(dir: &Inode, format: &Format, path: &mut Path, buffer: Arc<Buffer>, hash: u32) -> Result<()> {
    let data = buffer.data();
    let root = path.len == 0;
    let count = count(format, &data, root).map_err(|text| bad(dir, buffer.block(), text))?;
    let (mut low, mut high) = (1, count);
    while low < high {
        let middle = (low + high) / 2;
        if read_entry(&data, base(root), middle).0 > hash {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    path.frames[path.len] = Some(Frame { buffer, data, root, count, at: low - 1 });
    path.len += 1;
    Ok(())
}

/// Goes on to the next leaf: any, or only one on which names of `same` hash go on. Returns the hash at which it
/// starts, none if there is no such leaf.
fn advance(
    dir: &Inode,
    state: &InodeState,
    format: &Format,
    path: &mut Path,
    same: Option<u32>,
) -> Result<Option<u32>> {
    let mut level = path.len;
    loop {
        let Some(above) = level.checked_sub(1) else { return Ok(None) };
        level = above;
        let frame = path.frame(level);
        if frame.at + 1 < frame.count {
            break;
        }
    }
    let frame = path.frame(level);
    let (start, _) = frame.entry(frame.at + 1);
    if same.is_some_and(|hash| start & !1 != hash || start & 1 == 0) {
        return Ok(None);
    }
    frame.at += 1;
    let depth = path.len;
    path.len = level + 1;
    while path.len < depth {
        let node = read_block(dir, state, format, path.leaf(), Expect::Node)?;
        push(dir, format, path, node, 0)?;
        let len = path.len;
        path.frame(len - 1).at = 0;
    }
    Ok(Some(start))
}

/// Finds a name: block, offset, inode.
pub(super) fn find(dir: &Inode, state: &InodeState, name: &[u8]) -> Result<Option<(u32, usize, u32)>> {
    let format = format(dir, state);
    let (mut path, hash) = probe(dir, state, &format, Key::Name(name))?;
    // A sound tree has each leaf once: more steps than blocks are a loop.
    for _ in 0..block_count(dir, state) {
        let lblk = path.leaf();
        let buffer = read_block(dir, state, &format, lblk, Expect::Leaf)?;
        let data = buffer.data();
        let found =
            format.find(format.entries(&data), name).map_err(|text| bad(dir, buffer.block(), text))?;
        if let Some(entry) = found {
            return Ok(Some((lblk, entry.offset, entry.ino)));
        }
        if advance(dir, state, &format, &mut path, Some(hash))?.is_none() {
            return Ok(None);
        }
    }
    Err(bad(dir, 0, Bad("hash tree has a loop")))
}

/// Adds a name.
pub(super) fn insert(
    dir: &Inode,
    state: &mut InodeState,
    handle: &mut Handle,
    name: &[u8],
    ino: u32,
    kind: u8,
) -> Result<()> {
    let format = format(dir, state);
    let size = entry_size(name.len());
    // Each round splits something on the way; a way has at most three nodes and a leaf.
    for _ in 0..2 * MAX_LEVELS + 2 {
        let (mut path, _) = probe(dir, state, &format, Key::Name(name))?;
        let leaf = read_block(dir, state, &format, path.leaf(), Expect::Leaf)?;
        let data = leaf.data();
        let room = format.room(format.entries(&data), size).map_err(|text| bad(dir, leaf.block(), text))?;
        if let Some(offset) = room {
            drop((data, path));
            return place(dir, &format, handle, &leaf, offset, name, ino, kind);
        }
        let has_room = |frame: &Frame| frame.count < limit(&format, frame.root);
        let level = (0..path.len).rev().find(|&level| has_room(path.frame(level)));
        match level {
            Some(level) if level + 1 == path.len => {
                split_leaf(dir, state, handle, &format, path, &leaf, data)?
            }
            Some(level) => split_node(dir, state, handle, &format, path, level + 1)?,
            None => grow(dir, state, handle, &format, path)?,
        }
    }
    Err(bad(dir, 0, Bad("hash tree does not take another name")))
}

/// Puts (hash, block) behind the entry that the path took at `level`.
fn add_entry(
    dir: &Inode,
    format: &Format,
    handle: &mut Handle,
    frame: &Frame,
    hash: u32,
    block: u32,
) -> Result<()> {
    let (base, limit) = (base(frame.root), limit(format, frame.root));
    let done = handle.modify(&frame.buffer, |data| {
        let count = count(format, data, frame.root)?;
        if count >= limit || frame.at >= count {
            return Err(Bad("hash tree node changed"));
        }
        let from = base + (frame.at + 1) * ENTRY;
        data.copy_within(from..base + count * ENTRY, from + ENTRY);
        write_entry(data, base, frame.at + 1, hash, block);
        set_count(data, base, limit, count + 1);
        seal_node(format, data, frame.root);
        Ok(())
    })?;
    done.map_err(|text| bad(dir, frame.buffer.block(), text))
}

/// Moves the upper half of a full leaf, by hash, to a new block.
fn split_leaf(
    dir: &Inode,
    state: &mut InodeState,
    handle: &mut Handle,
    format: &Format,
    path: Path,
    leaf: &Arc<Buffer>,
    data: BlockData,
) -> Result<()> {
    let hasher = name_hash(dir, state)?;
    let mut entries = Vec::new();
    for entry in format.entries(&data) {
        let entry = entry.map_err(|text| bad(dir, leaf.block(), text))?;
        if entry.ino != 0 && !entry.name.is_empty() {
            entries.push((hasher.hash(entry.name).0, entry));
        }
    }
    // Stable: names of one hash stay in their order.
    entries.sort_by_key(|(hash, _)| *hash);
    if entries.len() < 2 {
        return Err(bad(dir, leaf.block(), Bad("full leaf with fewer than two names")));
    }
    let mut split = entries.len();
    let mut moved = 0;
    while split > 1 {
        let size = entry_size(entries[split - 1].1.name.len());
        if moved + size / 2 > format.block_size / 2 {
            break;
        }
        moved += size;
        split -= 1;
    }
    let split = if split == entries.len() { entries.len() - 1 } else { split };
    let first = entries[split].0;
    let goes_on = u32::from(first == entries[split - 1].0);
    let raw = |list: &[(u32, super::Entry<'_>)], data: &mut [u8]| {
        format.pack(data, list.iter().map(|(_, entry)| (entry.ino, entry.kind, entry.name)));
    };
    let (lblk, _) = append_block(dir, state, handle, |block| raw(&entries[split..], block))?;
    let mut lower = vec![0; format.block_size];
    raw(&entries[..split], &mut lower);
    format.seal_leaf(&mut lower);
    handle.modify(leaf, |block| block.copy_from_slice(&lower))?;
    add_entry(dir, format, handle, path.last(), first | goes_on, lblk)
}

/// A new inner node with the entries `from` of another.
fn fill_node(format: &Format, data: &mut [u8], source: &Frame, from: usize) {
    data.fill(0);
    format.set_len(data, 0, format.block_size);
    let count = source.count - from;
    for index in 0..count {
        let (hash, block) = source.entry(from + index);
        write_entry(data, DX_NODE_ENTRIES, index, hash, block);
    }
    set_count(data, DX_NODE_ENTRIES, limit(format, false), count);
    seal_node(format, data, false);
}

/// Splits the full inner node at `level`; the one above has room.
fn split_node(
    dir: &Inode,
    state: &mut InodeState,
    handle: &mut Handle,
    format: &Format,
    mut path: Path,
    level: usize,
) -> Result<()> {
    let node = path.frame(level);
    let half = node.count / 2;
    let (first, _) = node.entry(half);
    let node = path.frames[level].take().expect("the level is on the path");
    let (lblk, _) = append_block(dir, state, handle, |block| fill_node(format, block, &node, half))?;
    let Frame { buffer, data, .. } = node;
    drop(data);
    handle.modify(&buffer, |data| {
        set_count(data, DX_NODE_ENTRIES, limit(format, false), half);
        seal_node(format, data, false);
    })?;
    add_entry(dir, format, handle, path.frame(level - 1), first, lblk)
}

/// Puts a level between the full root and what is below it. ENOSPC at the deepest tree.
fn grow(
    dir: &Inode,
    state: &mut InodeState,
    handle: &mut Handle,
    format: &Format,
    mut path: Path,
) -> Result<()> {
    let large = dir.fs.geometry.features.incompat.contains(Incompat::LARGEDIR);
    if path.len >= if large { MAX_LEVELS } else { MAX_LEVELS - 1 } {
        dir.fs.log.log(Level::Warning, format_args!("inode #{}: directory index full!", dir.ino));
        return Err(ENOSPC);
    }
    let root = path.frames[0].take().expect("a path has a root");
    let (lblk, _) = append_block(dir, state, handle, |block| fill_node(format, block, &root, 0))?;
    let Frame { buffer, data, .. } = root;
    drop(data);
    handle.modify(&buffer, |data| {
        data[ROOT_INFO + 6] += 1;
        write_entry(data, DX_ROOT_ENTRIES, 0, 0, lblk);
        set_count(data, DX_ROOT_ENTRIES, limit(format, true), 1);
        seal_node(format, data, true);
    })
}

/// Makes the one block of a linear directory the root of a hash tree, and moves its names to a leaf.
pub(super) fn make_index(dir: &Inode, state: &mut InodeState, handle: &mut Handle) -> Result<()> {
    let format = format(dir, state);
    let buffer = read_block(dir, state, &format, 0, Expect::Leaf)?;
    let data = buffer.data();
    let parent = super::dotdot(&format, &data).map_err(|text| bad(dir, buffer.block(), text))?.ino;
    let mut entries = Vec::new();
    for entry in format.entries(&data).skip(2) {
        let entry = entry.map_err(|text| bad(dir, buffer.block(), text))?;
        if entry.ino != 0 {
            entries.push((entry.ino, entry.kind, entry.name));
        }
    }
    let version = dir.fs.geometry.def_hash_version;
    let version = if version <= super::hash::HASH_TEA { version } else { super::hash::HASH_HALF_MD4 };
    let (lblk, _) = append_block(dir, state, handle, |block| format.pack(block, entries.into_iter()))?;
    drop(data);
    handle.modify(&buffer, |data| {
        data.fill(0);
        format.write(data, 0, 12, b".", dir.ino, 2);
        format.write(data, 12, format.block_size - 12, b"..", parent, 2);
        let info = RawDxRootInfo {
            reserved_zero: U32::new(0),
            hash_version: version,
            info_length: size_of::<RawDxRootInfo>() as u8,
            indirect_levels: 0,
            unused_flags: 0,
        };
        data[ROOT_INFO..ROOT_INFO + 8].copy_from_slice(info.as_bytes());
        write_entry(data, DX_ROOT_ENTRIES, 0, 0, lblk);
        set_count(data, DX_ROOT_ENTRIES, limit(&format, true), 1);
        seal_node(&format, data, true);
    })?;
    state.flags.insert(InodeFlags::INDEX);
    Ok(())
}

/// A leaf and everything that goes on from it: what listing takes at once.
pub(super) struct Group {
    /// Blocks of names, in order.
    pub leaves: Vec<(u32, Arc<Buffer>)>,
    /// Where the next group starts; none at the end.
    pub next: Option<u32>,
}

/// The most leaves of one group: names of one hash beyond that are listed in the blocks' order.
const GROUP_MAX: usize = 256;

/// Walks leaves from the one that holds `hash`; `each` returns whether to go on.
pub(super) fn walk(
    dir: &Inode,
    state: &InodeState,
    hash: u32,
    mut each: impl FnMut(Group) -> Result<bool>,
) -> Result<()> {
    let format = format(dir, state);
    if hash == 0 {
        super::read_ahead(dir, state)?;
    }
    let (mut path, _) = probe(dir, state, &format, Key::Hash(hash))?;
    let mut steps = block_count(dir, state);
    loop {
        let mut group = Group { leaves: Vec::new(), next: None };
        loop {
            steps = steps.checked_sub(1).ok_or_else(|| bad(dir, 0, Bad("hash tree has a loop")))?;
            let lblk = path.leaf();
            group.leaves.push((lblk, read_block(dir, state, &format, lblk, Expect::Leaf)?));
            group.next = advance(dir, state, &format, &mut path, None)?;
            if group.next.is_none_or(|start| start & 1 == 0) || group.leaves.len() >= GROUP_MAX {
                break;
            }
        }
        let more = group.next.is_some();
        if !each(group)? || !more {
            return Ok(());
        }
    }
}
