//! Inodes that a crash must not leak: unlinked but open, or half truncated. Either the classic list, which starts in
//! the superblock and goes on in each inode's `i_dtime`, or a slot in the orphan file, which has no such bottleneck.
//!
//! Locks: the list's (sleeping) is taken inside a handle, with inode locks held; nothing is locked under it but
//! buffers. The file's free slots have a short one.

use crate::csum::{crc32c, inode_seed};
use crate::features::Compat;
use crate::fs::Filesystem;
use crate::inode::disk::set_inode_checksum;
use crate::inode::{Inode, InodeState};
use crate::journal::Handle;
use crate::layout::orphan::{ORPHAN_BLOCK_MAGIC, RawOrphanTail};
use crate::layout::superblock::STATE_ERROR;
use crate::layout::{U32, inode::RawInode};
use crate::log::Level;
use crate::map::ExtentState;
use crate::{Result, map, sync, truncate};
use hashbrown::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};
use zerocopy::{FromBytes, IntoBytes};

/// Where an inode is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Orphan {
    /// Nowhere.
    No,
    /// In the list.
    List,
    /// In the orphan file: block and slot.
    File(u32, u32),
}

/// The list as on disk, with links both ways.
#[derive(Default)]
struct List {
    head: u32,
    /// Number → (the one before or 0, the one after or 0).
    links: HashMap<u32, (u32, u32)>,
}

/// Blocks of the orphan file.
struct OrphanFile {
    seed: u32,
    blocks: Vec<u64>,
    capacity: usize,
    /// Free slots: block and slot. The last is taken first, so that few blocks are in use.
    free: parking_lot::Mutex<Vec<(u32, u32)>>,
}

/// All orphans of a mount.
#[derive(Default)]
pub(crate) struct Orphans {
    list: sync::Mutex<List>,
    file: OnceLock<OrphanFile>,
}

impl Orphans {
    /// Whether there is an orphan file.
    pub(crate) fn has_file(&self) -> bool {
        self.file.get().is_some()
    }

    /// Whether it remembers nobody.
    pub(crate) fn file_is_empty(&self) -> bool {
        self.file.get().is_none_or(|file| file.free.lock().len() == file.capacity)
    }
}

/// Runs `store` with what the inode's `i_dtime` must be: its deletion time, or the next of the list, which can't
/// change meanwhile.
pub(crate) fn with_dtime<R>(
    fs: &Filesystem,
    ino: u32,
    state: &InodeState,
    store: impl FnOnce(u32) -> R,
) -> R {
    if state.orphan != Orphan::List {
        return store(state.dtime);
    }
    let list = fs.orphans.list.lock();
    store(list.links.get(&ino).map_or(0, |&(_, next)| next))
}

/// Remembers `inode` until [`remove`]; no effect if it is remembered. Three credits.
pub(crate) fn add(inode: &Inode, state: &mut InodeState, handle: &mut Handle) -> Result<()> {
    if state.orphan != Orphan::No {
        return Ok(());
    }
    let fs = &*inode.fs;
    if let Some(file) = fs.orphans.file.get() {
        let slot = file.free.lock().pop();
        if let Some((block, slot)) = slot {
            file.set(fs, handle, block, slot, inode.ino)?;
            state.orphan = Orphan::File(block, slot);
            return Ok(());
        }
    }
    let mut list = fs.orphans.list.lock();
    let next = list.head;
    set_dtime(fs, handle, inode.ino, next)?;
    fs.update_super(handle, |raw| raw.last_orphan = U32::new(inode.ino))?;
    if let Some(links) = list.links.get_mut(&next) {
        links.0 = inode.ino;
    }
    list.links.insert(inode.ino, (0, next));
    list.head = inode.ino;
    state.orphan = Orphan::List;
    Ok(())
}

/// Forgets `inode`; no effect if it is not remembered. Three credits.
pub(crate) fn remove(inode: &Inode, state: &mut InodeState, handle: &mut Handle) -> Result<()> {
    let fs = &*inode.fs;
    match state.orphan {
        Orphan::No => return Ok(()),
        Orphan::File(block, slot) => {
            if let Some(file) = fs.orphans.file.get() {
                file.set(fs, handle, block, slot, 0)?;
                file.free.lock().push((block, slot));
            }
        }
        Orphan::List => {
            let mut list = fs.orphans.list.lock();
            let (before, next) = list.links.get(&inode.ino).copied().unwrap_or((0, 0));
            if before == 0 {
                fs.update_super(handle, |raw| raw.last_orphan = U32::new(next))?;
                list.head = next;
            } else {
                set_dtime(fs, handle, before, next)?;
            }
            set_dtime(fs, handle, inode.ino, 0)?;
            list.links.remove(&inode.ino);
            if let Some(links) = list.links.get_mut(&before) {
                links.1 = next;
            }
            if let Some(links) = list.links.get_mut(&next) {
                links.0 = before;
            }
        }
    }
    state.orphan = Orphan::No;
    state.dtime = 0;
    Ok(())
}

/// Writes the one field into the inode table: the inode itself may be locked by somebody else.
fn set_dtime(fs: &Filesystem, handle: &mut Handle, ino: u32, dtime: u32) -> Result<()> {
    let (buffer, offset) = fs.inode_place(ino)?;
    let size = fs.geometry.inode_size;
    handle.modify(&buffer, |block| {
        let bytes = &mut block[offset..offset + size];
        if let Ok((raw, _)) = RawInode::mut_from_prefix(bytes) {
            raw.dtime = U32::new(dtime);
        }
        set_inode_checksum(fs, ino, bytes);
    })
}

impl OrphanFile {
    fn checksum(&self, block: u64, entries: &[u8]) -> u32 {
        crc32c(crc32c(self.seed, &block.to_le_bytes()), entries)
    }

    fn set(&self, fs: &Filesystem, handle: &mut Handle, block: u32, slot: u32, ino: u32) -> Result<()> {
        let number = self.blocks[block as usize];
        let buffer = fs.cache.read(number)?;
        handle.modify(&buffer, |bytes| {
            let at = slot as usize * 4;
            bytes[at..at + 4].copy_from_slice(&ino.to_le_bytes());
            let end = bytes.len() - size_of::<RawOrphanTail>();
            let checksum = match fs.geometry.features.metadata_csum() {
                true => self.checksum(number, &bytes[..end]),
                false => 0,
            };
            let tail = RawOrphanTail { magic: U32::new(ORPHAN_BLOCK_MAGIC), checksum: U32::new(checksum) };
            bytes[end..].copy_from_slice(tail.as_bytes());
        })
    }

    /// The file's blocks, and who is in them.
    fn load(fs: &Arc<Filesystem>, ino: u32) -> Result<(OrphanFile, Vec<(u32, Orphan)>)> {
        let inode = fs.load_inode(ino, true)?;
        let state = inode.state.read();
        let geometry = &fs.geometry;
        let count = state.size >> geometry.block_bits;
        let bad = |block, text: &str| fs.corrupted("init_orphan_info", ino, block, format_args!("{text}"));
        // mke2fs makes 512 blocks at most; Linux reads no more than that.
        if count == 0 || count > 512 || !state.is_file() {
            return Err(bad(0, "bad orphan file size"));
        }
        let slots = (geometry.block_size - size_of::<RawOrphanTail>()) / 4;
        let mut file = OrphanFile {
            seed: inode_seed(geometry.csum_seed, ino, state.generation),
            blocks: Vec::with_capacity(count as usize),
            capacity: slots * count as usize,
            free: parking_lot::Mutex::new(Vec::new()),
        };
        let mut found = Vec::new();
        let mut free = Vec::new();
        for index in 0..count as u32 {
            let extent = map::lookup(&inode, &state, index, 1)?;
            if extent.state != ExtentState::Written {
                return Err(bad(0, "hole in the orphan file"));
            }
            let buffer = fs.cache.read(extent.pblk)?;
            let data = buffer.data();
            let (entries, tail) = data.split_at(slots * 4);
            let tail = RawOrphanTail::read_from_bytes(tail).expect("eight bytes are left");
            if tail.magic.get() != ORPHAN_BLOCK_MAGIC {
                return Err(bad(extent.pblk, "orphan file block: bad magic"));
            }
            if geometry.features.metadata_csum() && file.checksum(extent.pblk, entries) != tail.checksum.get()
            {
                return Err(fs.bad_checksum("init_orphan_info", ino, extent.pblk));
            }
            file.blocks.push(extent.pblk);
            for (slot, bytes) in entries.chunks_exact(4).enumerate() {
                let place = (index, slot as u32);
                match u32::from_le_bytes(bytes.try_into().expect("chunks of four")) {
                    0 => free.push(place),
                    ino => found.push((ino, Orphan::File(place.0, place.1))),
                }
            }
        }
        free.reverse();
        file.free = parking_lot::Mutex::new(free);
        drop(state);
        Ok((file, found))
    }
}

impl Filesystem {
    /// At mount, when writing is allowed: deletes or truncates what a crash left, and gets the orphan file ready.
    pub(crate) fn recover_orphans(self: &Arc<Self>) -> Result<()> {
        let raw = crate::superblock::read_super(&*self.device)?;
        let mut found = Vec::new();
        if self.geometry.features.compat.contains(Compat::ORPHAN_FILE) && !self.orphans.has_file() {
            let (file, orphans) = OrphanFile::load(self, raw.orphan_file_inum.get())?;
            found = orphans;
            // Whoever loses here found the same.
            let _ = self.orphans.file.set(file);
        }
        self.load_list(raw.last_orphan.get(), &mut found)?;
        if found.is_empty() {
            return Ok(());
        }
        if raw.state.get() & STATE_ERROR != 0 {
            self.log.log(Level::Info, format_args!("Errors on filesystem, clearing orphan list."));
            return self.clear_list();
        }
        let (mut deleted, mut truncated) = (0, 0);
        for (ino, place) in found {
            match self.recover_orphan(ino, place) {
                Ok(true) => deleted += 1,
                Ok(false) => truncated += 1,
                Err(errno) => self.log.log(Level::Warning, format_args!("orphan inode {ino}: {errno}")),
            }
        }
        if deleted > 0 {
            self.log.log(Level::Info, format_args!("{deleted} orphan inodes deleted"));
        }
        if truncated > 0 {
            self.log.log(Level::Info, format_args!("{truncated} truncates cleaned up"));
        }
        Ok(())
    }

    /// Follows the list, as far as it makes sense.
    fn load_list(&self, head: u32, found: &mut Vec<(u32, Orphan)>) -> Result<()> {
        let mut list = self.orphans.list.lock();
        if !list.links.is_empty() {
            return Ok(());
        }
        let mut seen = HashSet::new();
        let (mut ino, mut before) = (head, 0);
        list.head = head;
        while ino != 0 {
            let bad_number = ino > self.geometry.inodes_count || ino < self.geometry.first_ino;
            let state = match bad_number || !seen.insert(ino) {
                true => Err(self.corrupted("orphan_cleanup", ino, 0, format_args!("bad orphan inode"))),
                false => self.read_inode(ino, true),
            };
            let Ok(state) = state else {
                // What follows is lost to us; e2fsck finds it.
                match list.links.get_mut(&before) {
                    Some(links) => links.1 = 0,
                    None => list.head = 0,
                }
                break;
            };
            list.links.insert(ino, (before, state.dtime));
            found.push((ino, Orphan::List));
            before = ino;
            ino = state.dtime;
        }
        let head_lost = head != 0 && list.head == 0;
        drop(list);
        if head_lost { self.clear_list() } else { Ok(()) }
    }

    fn clear_list(&self) -> Result<()> {
        let mut handle = self.begin(1)?;
        self.update_super(&mut handle, |raw| raw.last_orphan = U32::new(0))?;
        let mut list = self.orphans.list.lock();
        list.head = 0;
        list.links.clear();
        Ok(())
    }

    /// True if it was deleted, false if truncated.
    fn recover_orphan(self: &Arc<Self>, ino: u32, place: Orphan) -> Result<bool> {
        let inode = self.load_inode(ino, true)?;
        let mut state = inode.state.write();
        state.orphan = place;
        if place == Orphan::List {
            state.dtime = 0;
        }
        if state.links == 0 {
            drop(state);
            drop(inode);
            return Ok(true);
        }
        if state.has_block_map(self.geometry.block_size) {
            let size = state.size;
            truncate::truncate_locked(&inode, &mut state, size)?;
        }
        let mut handle = self.begin(4)?;
        remove(&inode, &mut state, &mut handle)?;
        inode.store(&state, &mut handle)?;
        Ok(false)
    }
}
