//! Listing a directory, with cookies that stay valid while entries come and go.
//!
//! With dir_index a cookie is a place in hash order: a name keeps it for life, however blocks are split. Directories
//! of several blocks without an index have byte offsets instead.

use super::block::Entry;
use super::hash::Hasher;
use super::{Bad, bad, for_each_block, format, htree};
use crate::Result;
use crate::features::Compat;
use crate::inline;
use crate::inode::{Inode, InodeState};
use crate::layout::inode::InodeFlags;

/// One entry of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// Inode number.
    pub ino: u32,
    /// DT_* of getdents(2), 0 where the file system does not say.
    pub kind: u8,
    /// Where to go on after this entry.
    pub next: u64,
    /// Name.
    pub name: Vec<u8>,
}

/// Cookies of ".", ".." and the first of the others.
const DOT: u64 = 0;
const DOTDOT: u64 = 1;
const FIRST: u64 = 2;

/// DT_* for a `file_type`.
fn dt(kind: u8) -> u8 {
    match kind {
        1 => 8,
        2 => 4,
        3 => 2,
        4 => 6,
        5 => 1,
        6 => 12,
        7 => 10,
        _ => 0,
    }
}

/// The cookie of a name.
fn cookie((major, minor): (u32, u32)) -> u64 {
    (u64::from(major >> 1) << 32 | u64::from(minor)) + FIRST
}

/// Entries of a few blocks, being brought into order.
struct Sorter {
    hasher: Hasher,
    entries: Vec<(u64, DirEntry)>,
}

impl Sorter {
    fn add(&mut self, entry: &Entry<'_>) {
        if entry.ino == 0 || entry.name == b"." || entry.name == b".." {
            return;
        }
        let place = cookie(self.hasher.hash(entry.name));
        let entry = DirEntry { ino: entry.ino, kind: dt(entry.kind), next: 0, name: entry.name.to_vec() };
        self.entries.push((place, entry));
    }

    /// Gives the entries from `position` on to `emit`, in order; false if it had enough.
    fn emit(&mut self, position: &mut u64, emit: &mut dyn FnMut(&DirEntry) -> bool) -> bool {
        self.entries.sort_by_key(|(place, _)| *place);
        let mut last = 0;
        for (mut place, mut entry) in self.entries.drain(..) {
            // Names of one hash (easily made with the legacy one, which has no minor part) follow each other.
            if place <= last {
                place = last + 1;
            }
            last = place;
            if place < *position {
                continue;
            }
            entry.next = place + 1;
            if !emit(&entry) {
                return false;
            }
            *position = entry.next;
        }
        true
    }
}

impl Inode {
    /// Lists the directory from cookie `position` (0: the start). `emit` returns false when it has no room for an
    /// entry, which is then the first of the next call; it must not use this directory. ENOTDIR.
    pub fn read_dir(&self, position: u64, emit: &mut dyn FnMut(&DirEntry) -> bool) -> Result<()> {
        let state = self.state.read();
        if !state.is_dir() {
            return Err(abi::errno::ENOTDIR);
        }
        if state.links == 0 {
            return Ok(());
        }
        let indexed = state.flags.contains(InodeFlags::INDEX);
        let one_block = state.is_inline() || state.size >> self.fs.geometry.block_bits == 1;
        if indexed || (one_block && self.fs.geometry.features.compat.contains(Compat::DIR_INDEX)) {
            self.list_hashed(&state, position, emit)
        } else {
            self.list_linear(&state, position, emit)
        }
    }

    fn list_hashed(
        &self,
        state: &InodeState,
        mut position: u64,
        emit: &mut dyn FnMut(&DirEntry) -> bool,
    ) -> Result<()> {
        for (place, name) in [(DOT, &b"."[..]), (DOTDOT, b"..")] {
            if position == place {
                let ino = if place == DOT { self.ino } else { super::parent(self, state)? };
                if !emit(&DirEntry { ino, kind: dt(2), next: place + 1, name: name.to_vec() }) {
                    return Ok(());
                }
                position += 1;
            }
        }
        if !state.flags.contains(InodeFlags::INDEX) {
            let version = self.fs.geometry.def_hash_version;
            let mut sorter = Sorter { hasher: super::hasher(&self.fs, version), entries: Vec::new() };
            self.for_each_entry(state, |_, entry| {
                sorter.add(entry);
                Ok(true)
            })?;
            sorter.emit(&mut position, emit);
            return Ok(());
        }
        let mut sorter = Sorter { hasher: htree::name_hash(self, state)?, entries: Vec::new() };
        let format = format(self, state);
        let hash = u32::try_from((position - FIRST) >> 32).map_or(u32::MAX, |half| half << 1);
        htree::walk(self, state, hash, |group| {
            for (_, buffer) in &group.leaves {
                for entry in format.entries(&buffer.data()) {
                    sorter.add(&entry.map_err(|text| bad(self, buffer.block(), text))?);
                }
            }
            Ok(sorter.emit(&mut position, emit))
        })
    }

    fn list_linear(
        &self,
        state: &InodeState,
        position: u64,
        emit: &mut dyn FnMut(&DirEntry) -> bool,
    ) -> Result<()> {
        self.for_each_entry(state, |place, entry| {
            if entry.ino == 0 || place < position {
                return Ok(true);
            }
            let next = place + entry.len as u64;
            Ok(emit(&DirEntry { ino: entry.ino, kind: dt(entry.kind), next, name: entry.name.to_vec() }))
        })
    }

    /// Every entry with its byte offset, used or not, in the order of the blocks.
    fn for_each_entry(
        &self,
        state: &InodeState,
        mut each: impl FnMut(u64, &Entry<'_>) -> Result<bool>,
    ) -> Result<()> {
        if state.is_inline() {
            return inline::for_each_entry(self, state, &mut each);
        }
        let bits = self.fs.geometry.block_bits;
        for_each_block(self, state, |lblk, buffer, entries| {
            for entry in entries {
                let entry = entry.map_err(|text: Bad| bad(self, buffer.block(), text))?;
                if !each((u64::from(lblk) << bits) + entry.offset as u64, &entry)? {
                    return Ok(false);
                }
            }
            Ok(true)
        })
    }
}
