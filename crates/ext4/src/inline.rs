//! inline_data: contents in `i_block` and, what doesn't fit there, in the `system.data` attribute of the inode.
//!
//! A directory has its parent's number in the first four bytes, then entries; the attribute has entries of its own.
//! Contents that must grow move to blocks: nothing here makes new inline contents.

use crate::dir::block::{Bad, Entry, Format};
use crate::inode::{Inode, InodeState};
use crate::journal::Handle;
use crate::layout::inode::{I_BLOCK_SIZE, InodeFlags};
use crate::map::Create;
use crate::{Result, dir, map, xattr};
use abi::Errno;
use abi::errno::ENOENT;

/// EXT4_XATTR_INDEX_SYSTEM.
const SYSTEM: u8 = 7;
/// The parent's number in front of a directory's entries.
const PARENT: usize = 4;

/// All inline contents: `i_block`, then the attribute; at least as long as the size says where the disk is sound.
fn contents(inode: &Inode, state: &InodeState) -> Result<Vec<u8>> {
    let mut bytes = state.block.to_vec();
    if let Some(rest) = xattr::inode_get(inode, state, SYSTEM, b"data")? {
        bytes.extend_from_slice(&rest);
    }
    Ok(bytes)
}

/// Puts changed contents of the same length back.
fn put_back(inode: &Inode, state: &mut InodeState, bytes: &[u8]) -> Result<()> {
    state.block.copy_from_slice(&bytes[..I_BLOCK_SIZE]);
    if bytes.len() > I_BLOCK_SIZE {
        xattr::inode_set(inode, state, SYSTEM, b"data", Some(&bytes[I_BLOCK_SIZE..]))?;
    }
    Ok(())
}

fn bad(inode: &Inode, Bad(text): Bad) -> Errno {
    inode.fs.corrupted("check_dir_entry", inode.ino, 0, format_args!("bad entry in inline directory: {text}"))
}

/// Reads inline contents from `offset`; returns the bytes read (less than asked at the end).
pub(crate) fn read(inode: &Inode, state: &InodeState, offset: u64, buf: &mut [u8]) -> Result<usize> {
    let mut bytes = contents(inode, state)?;
    let Ok(size) = usize::try_from(state.size) else { return Ok(0) };
    // What a sound inode has; a hole at the end of a truncated and extended one reads as zeros.
    bytes.resize(size.min(inode.fs.geometry.inode_size), 0);
    let Some(rest) = usize::try_from(offset).ok().and_then(|offset| bytes.get(offset..)) else {
        return Ok(0);
    };
    let len = rest.len().min(buf.len());
    buf[..len].copy_from_slice(&rest[..len]);
    Ok(len)
}

/// Moves inline contents to a block of their own; afterwards the flag is clear and `map` owns `i_block`. The inode is
/// stored. No effect without inline data.
pub(crate) fn convert(inode: &Inode, state: &mut InodeState, handle: &mut Handle) -> Result<()> {
    if !state.is_inline() {
        return Ok(());
    }
    let fs = &*inode.fs;
    let old = state.clone();
    let bytes = contents(inode, state)?;
    let result = match state.is_dir() {
        true => convert_dir(inode, state, handle, &bytes),
        false => convert_file(inode, state, handle, &bytes),
    };
    match result {
        Ok(()) => inode.store(state, handle),
        Err(errno) => {
            let data = std::mem::take(&mut state.data);
            *state = InodeState { data, ..old };
            fs.log
                .log(crate::Level::Warning, format_args!("inode #{}: inline data stays: {errno}", inode.ino));
            Err(errno)
        }
    }
}

/// Takes the inline contents away and makes an empty map.
fn clear(inode: &Inode, state: &mut InodeState) -> Result<()> {
    xattr::inode_set(inode, state, SYSTEM, b"data", None)?;
    state.flags.remove(InodeFlags::INLINE_DATA);
    state.block = [0; I_BLOCK_SIZE];
    map::init(inode, state);
    Ok(())
}

fn convert_file(inode: &Inode, state: &mut InodeState, handle: &mut Handle, bytes: &[u8]) -> Result<()> {
    let fs = &*inode.fs;
    let size = state.size;
    clear(inode, state)?;
    let len = bytes.len().min(usize::try_from(size).unwrap_or(usize::MAX)).min(fs.geometry.block_size);
    if len == 0 {
        return Ok(());
    }
    let mut block = vec![0; fs.geometry.block_size];
    block[..len].copy_from_slice(&bytes[..len]);
    let extent = map::allocate(inode, state, handle, 0, 1, Create::Yes)?;
    if map::is_journaled(inode, state) {
        let buffer = fs.cache.get_zeroed(extent.pblk)?;
        return handle.create(&buffer, |data| data.copy_from_slice(&block));
    }
    // Straight to its place, before the transaction can commit.
    fs.device.write(extent.pblk << fs.geometry.block_bits, &[&block])
}

fn convert_dir(inode: &Inode, state: &mut InodeState, handle: &mut Handle, bytes: &[u8]) -> Result<()> {
    let parent = u32::from_le_bytes([0, 1, 2, 3].map(|at| bytes[at]));
    let mut entries = Vec::new();
    for_each(inode, state, bytes, &mut |_, entry| {
        if entry.ino != 0 {
            entries.push((entry.ino, entry.kind, entry.name.to_vec()));
        }
        Ok(true)
    })?;
    clear(inode, state)?;
    state.size = 0;
    dir::init(inode, state, handle, parent)?;
    for (ino, kind, name) in entries {
        // At most an inode's worth of names: they fit the block beside "." and "..".
        dir::insert(inode, state, handle, &name, ino, kind)?;
    }
    Ok(())
}

/// Cuts inline contents to `size` bytes, or lengthens them by zeros as far as there is room. The inode is stored.
pub(crate) fn truncate(inode: &Inode, state: &mut InodeState, size: u64, handle: &mut Handle) -> Result<()> {
    let mut bytes = contents(inode, state)?;
    if size > bytes.len() as u64 {
        convert(inode, state, handle)?;
    } else {
        bytes[size as usize..].fill(0);
        if size as usize > I_BLOCK_SIZE || bytes.len() == I_BLOCK_SIZE {
            put_back(inode, state, &bytes)?;
        } else {
            state.block.copy_from_slice(&bytes[..I_BLOCK_SIZE]);
            xattr::inode_set(inode, state, SYSTEM, b"data", Some(&[]))?;
        }
    }
    state.size = size;
    inode.store(state, handle)
}

/// The two areas of a directory's entries.
fn areas(state: &InodeState, bytes: &[u8]) -> [core::ops::Range<usize>; 2] {
    let end = usize::try_from(state.size).unwrap_or(usize::MAX).min(bytes.len());
    [PARENT..I_BLOCK_SIZE, I_BLOCK_SIZE..end.max(I_BLOCK_SIZE)]
}

/// The entry format of an area: there are no tails, and lengths never need more than 16 bits.
fn area_format(inode: &Inode, state: &InodeState) -> Format {
    Format { tail: false, ..dir::format(inode, state) }
}

fn for_each(
    inode: &Inode,
    state: &InodeState,
    bytes: &[u8],
    each: &mut dyn FnMut(u64, &Entry<'_>) -> Result<bool>,
) -> Result<()> {
    let format = area_format(inode, state);
    for area in areas(state, bytes) {
        for entry in format.entries_of(&bytes[area.clone()]) {
            let entry = entry.map_err(|text| bad(inode, text))?;
            if !each((area.start + entry.offset) as u64, &entry)? {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Every entry of an inline directory, "." and ".." (which it doesn't have) included.
pub(crate) fn for_each_entry(
    inode: &Inode,
    state: &InodeState,
    each: &mut dyn FnMut(u64, &Entry<'_>) -> Result<bool>,
) -> Result<()> {
    let parent = parent(inode, state)?;
    for (offset, ino, name) in [(0, inode.ino, &b"."[..]), (1, parent, b"..")] {
        if !each(offset as u64, &Entry { offset, len: 1, ino, kind: 2, name })? {
            return Ok(());
        }
    }
    for_each(inode, state, &contents(inode, state)?, each)
}

/// Finds a name: inode, byte offset in the contents. ENOENT.
pub(crate) fn find(inode: &Inode, state: &InodeState, name: &[u8]) -> Result<(u32, usize)> {
    match name {
        b"." => return Ok((inode.ino, 0)),
        b".." => return Ok((parent(inode, state)?, 0)),
        _ => {}
    }
    let mut found = None;
    for_each(inode, state, &contents(inode, state)?, &mut |offset, entry| {
        if entry.ino != 0 && entry.name == name {
            found = Some((entry.ino, offset as usize));
        }
        Ok(found.is_none())
    })?;
    found.ok_or(ENOENT)
}

/// The area that an offset from [`find`] lies in.
fn area_of(state: &InodeState, bytes: &[u8], offset: usize) -> core::ops::Range<usize> {
    let [first, second] = areas(state, bytes);
    if first.contains(&offset) { first } else { second }
}

/// Removes the entry at `offset`. The caller stores the inode.
pub(crate) fn remove(inode: &Inode, state: &mut InodeState, offset: usize) -> Result<()> {
    let mut bytes = contents(inode, state)?;
    let area = area_of(state, &bytes, offset);
    let format = area_format(inode, state);
    let (len, at) = (area.len(), offset - area.start);
    format.remove(&mut bytes[area], len, at).map_err(|text| bad(inode, text))?;
    put_back(inode, state, &bytes)
}

/// Points the entry at `offset` to another inode. The caller stores the inode.
pub(crate) fn replace(
    inode: &Inode,
    state: &mut InodeState,
    offset: usize,
    ino: u32,
    kind: u8,
) -> Result<()> {
    let mut bytes = contents(inode, state)?;
    let area = area_of(state, &bytes, offset);
    let at = offset - area.start;
    let format = area_format(inode, state);
    format.set_ino(&mut bytes[area], at, ino, kind).map_err(|text| bad(inode, text))?;
    put_back(inode, state, &bytes)
}

/// The parent's number.
pub(crate) fn parent(inode: &Inode, state: &InodeState) -> Result<u32> {
    let ino = u32::from_le_bytes([0, 1, 2, 3].map(|at| state.block[at]));
    match ino {
        0 => Err(bad(inode, Bad("no parent"))),
        _ => Ok(ino),
    }
}

/// Sets the parent's number. The caller stores the inode.
pub(crate) fn set_parent(_inode: &Inode, state: &mut InodeState, ino: u32) -> Result<()> {
    state.block[..PARENT].copy_from_slice(&ino.to_le_bytes());
    Ok(())
}

/// Whether there are no entries.
pub(crate) fn is_empty(inode: &Inode, state: &InodeState) -> Result<bool> {
    let mut empty = true;
    for_each(inode, state, &contents(inode, state)?, &mut |_, entry| {
        empty &= entry.ino == 0;
        Ok(empty)
    })?;
    Ok(empty)
}
