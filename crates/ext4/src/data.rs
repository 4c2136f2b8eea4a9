//! Contents of files: what an inode keeps for them in memory, reading, and the promise of space for data that the caller
//! still holds (delayed allocation). Writing is `writeback`.
//!
//! Locks of an inode, outermost first: `allocating` (one at a time gives places to new data) → `map` (shared: blocks
//! stay where they are, so data may be read and written in place; exclusive: blocks may go) → the state → a handle.
//! `delayed` is short and innermost.

use crate::balloc::{self, Allocator, Need, WindowCell};
use crate::inode::{Inode, InodeState};
use crate::layout::inode::InodeFlags;
use crate::map::{self, ExtentState};
use crate::ranges::RangeSet;
use crate::{Result, inline, sync};
use abi::errno::{EFBIG, ENOSPC};
use std::sync::atomic::{AtomicU64, Ordering};

/// Delayed allocation and preallocation of one inode.
#[derive(Clone, Debug, Default)]
pub(crate) struct DataState;

/// What an inode keeps in memory for its contents, outside its state.
#[derive(Default)]
pub(crate) struct FileData {
    /// One at a time allocates for new data.
    pub allocating: sync::Mutex<()>,
    /// Shared while data moves; exclusive while blocks are unmapped.
    pub map: sync::RwLock<()>,
    /// Blocks claimed for more data.
    pub window: WindowCell,
    pub delayed: parking_lot::Mutex<Delayed>,
    /// The last transaction that changed the inode, and the last that fdatasync(2) must wait for: number + 1.
    tid: AtomicU64,
    data_tid: AtomicU64,
}

impl FileData {
    /// The inode was stored in this transaction. `data`: something that contents can't be found without.
    pub(crate) fn note(&self, tid: crate::Tid, data: bool) {
        self.tid.store(u64::from(tid) + 1, Ordering::Release);
        if data {
            self.data_tid.store(u64::from(tid) + 1, Ordering::Release);
        }
    }
}

/// Blocks with data that the caller has in memory and that has no place on the device yet.
#[derive(Default)]
pub(crate) struct Delayed {
    /// Holes: each has a block promised.
    holes: RangeSet,
    /// Unwritten blocks.
    unwritten: RangeSet,
    /// Blocks promised for the map's nodes.
    metadata: u64,
    home: Option<Allocator>,
}

impl Drop for Delayed {
    fn drop(&mut self) {
        if let Some(home) = &self.home {
            home.release(self.holes.total() + self.metadata);
        }
    }
}

impl Delayed {
    /// Blocks of `from..to` that have a promise.
    pub(crate) fn promised(&self, from: u64, to: u64) -> u64 {
        self.holes.count(from, to)
    }

    /// How many promised blocks follow from `at` on without a gap.
    pub(crate) fn following(&self, at: u64) -> u64 {
        self.holes.at_or_after(at).filter(|range| range.0 <= at).map_or(0, |range| range.1 - at)
    }

    /// Whether the block waits for write-back, else the first one after it that does.
    pub(crate) fn at_or_after(&self, at: u64) -> Option<(u64, u64)> {
        match (self.holes.at_or_after(at), self.unwritten.at_or_after(at)) {
            (Some(a), Some(b)) => Some(if b.0 < a.0 { b } else { a }),
            (a, b) => a.or(b),
        }
    }
}

/// Blocks that the map may need for `holes` more blocks in the worst case: each an extent of its own.
fn metadata_for(inode: &Inode, state: &InodeState, holes: &RangeSet) -> u64 {
    let block_size = inode.fs.geometry.block_size as u64;
    let count = holes.total();
    if count == 0 {
        return 0;
    }
    if map::has_extents(state) {
        if count <= map::room_in_inode(state) as u64 {
            return 0;
        }
        let half = (block_size - 12) / 24;
        let mut nodes = count.div_ceil(half);
        let mut level = nodes;
        while level > 4 {
            level = level.div_ceil(half);
            nodes += level;
        }
        nodes + u64::from(crate::extent::tree_depth(&state.block)) + 1
    } else if holes.end() <= 12 {
        0
    } else {
        count / (block_size / 4) + 4 * holes.pieces() as u64
    }
}

impl Inode {
    /// Promises space for data that the caller will hand to [`Inode::write_back`] later: `offset`..+`len` in bytes.
    /// Blocks that have a place or a promise cost nothing. Anybody's share: leaves root's reserve alone.
    ///
    /// # Errors
    /// `ENOSPC`: nothing is promised then; if other data waits for write-back, writing that may help, as its promises
    /// are for the worst case. `EFBIG`.
    pub fn reserve(&self, offset: u64, len: u64) -> Result<()> {
        self.reserve_as(offset, len, false)
    }

    /// 512-byte sectors that data without a place on the device will take: stat(2) counts them.
    pub fn delayed_sectors(&self) -> u64 {
        self.data.delayed.lock().holes.total() << (self.fs.geometry.block_bits - 9)
    }

    /// [`Inode::reserve`], with root's reserve if `privileged`.
    ///
    /// # Errors
    /// As there.
    pub fn reserve_as(&self, offset: u64, len: u64, privileged: bool) -> Result<()> {
        let bits = self.fs.geometry.block_bits;
        self.fs.check_writable()?;
        let last = offset.checked_add(len).ok_or(EFBIG)?;
        let (from, to) = (offset >> bits, last.div_ceil(1 << bits));
        if from >= to {
            return Ok(());
        }
        {
            let delayed = self.data.delayed.lock();
            if delayed.holes.count(from, to) + delayed.unwritten.count(from, to) >= to - from {
                return Ok(());
            }
        }
        let mut tries = 0;
        while !self.try_reserve(from, to, if privileged { Need::Root } else { Need::User })? {
            if !balloc::retry_after_commit(&self.fs, ENOSPC, &mut tries) {
                return Err(ENOSPC);
            }
        }
        Ok(())
    }

    fn try_reserve(&self, from: u64, to: u64, need: Need) -> Result<bool> {
        let state = self.state.read();
        let inline = state.flags.contains(InodeFlags::INLINE_DATA);
        if to > map::end(&self.fs, &state) && !inline {
            return Err(EFBIG);
        }
        let (mut holes, mut unwritten) = (Vec::new(), Vec::new());
        let mut at = from;
        while at < to {
            let found = map::lookup(self, &state, at as u32, (to - at) as u32)?;
            let end = at + u64::from(found.len.max(1));
            match found.state {
                ExtentState::Hole => holes.push((at, end)),
                ExtentState::Unwritten => unwritten.push((at, end)),
                ExtentState::Written => {}
            }
            at = end;
        }
        let mut delayed = self.data.delayed.lock();
        for &(from, to) in &unwritten {
            delayed.unwritten.insert(from, to);
        }
        let had: Vec<u64> = holes.iter().map(|&(from, to)| delayed.holes.count(from, to)).collect();
        if holes.iter().zip(&had).all(|(&(from, to), &had)| had == to - from) {
            return Ok(true);
        }
        // What is new, so that it can be undone.
        let mut new = Vec::new();
        for &(from, to) in &holes {
            let mut at = from;
            while at < to {
                match delayed.holes.at_or_after(at).filter(|range| range.0 < to) {
                    Some((start, end)) => {
                        if start > at {
                            new.push((at, start));
                        }
                        at = end;
                    }
                    None => {
                        new.push((at, to));
                        at = to;
                    }
                }
            }
        }
        let mut blocks = 0;
        for &(from, to) in &new {
            blocks += delayed.holes.insert(from, to);
        }
        let metadata = metadata_for(self, &state, &delayed.holes);
        let more = blocks + metadata.saturating_sub(delayed.metadata);
        if !self.fs.balloc.reserve(more, need) {
            for &(from, to) in &new {
                delayed.holes.remove(from, to);
            }
            return Ok(false);
        }
        delayed.metadata = delayed.metadata.max(metadata);
        delayed.home.get_or_insert_with(|| self.fs.balloc.clone());
        Ok(true)
    }

    /// The data of `from..to` (blocks) has its place now, or is gone: takes its promises back.
    pub(crate) fn settle(&self, state: &InodeState, from: u64, to: u64) {
        let mut delayed = self.data.delayed.lock();
        delayed.unwritten.remove(from, to);
        let blocks = delayed.holes.remove(from, to);
        let metadata = metadata_for(self, state, &delayed.holes).min(delayed.metadata);
        let back = blocks + (delayed.metadata - metadata);
        delayed.metadata = metadata;
        drop(delayed);
        if back > 0 {
            self.fs.balloc.release(back);
        }
    }

    /// Reads `buf.len()` bytes from `offset`: zeros for holes, unwritten blocks and past the size on disk. Data that
    /// waits for write-back is the caller's to know.
    ///
    /// # Errors
    /// The device's; `EUCLEAN`, `EBADMSG` for a damaged map.
    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let fs = &*self.fs;
        let bits = fs.geometry.block_bits;
        let _map = self.data.map.read();
        let (size, journaled) = {
            let state = self.state.read();
            if state.flags.contains(InodeFlags::INLINE_DATA) {
                let count = inline::read(self, &state, offset, buf)?;
                buf[count..].fill(0);
                return Ok(());
            }
            (state.size, map::is_journaled(self, &state))
        };
        let inside = size.saturating_sub(offset).min(buf.len() as u64) as usize;
        let (buf, past) = buf.split_at_mut(inside);
        past.fill(0);
        let mut done = 0;
        while done < buf.len() {
            let at = offset + done as u64;
            let lblk = u32::try_from(at >> bits).map_err(|_| EFBIG)?;
            let skip = at & ((1 << bits) - 1);
            let rest = &mut buf[done..];
            let blocks = (skip + rest.len() as u64).div_ceil(1 << bits).min(u64::from(u32::MAX)) as u32;
            let found = map::lookup(self, &self.state.read(), lblk, blocks)?;
            let bytes = ((u64::from(found.len.max(1)) << bits) - skip).min(rest.len() as u64) as usize;
            let part = &mut rest[..bytes];
            if found.state != ExtentState::Written {
                part.fill(0);
            } else if journaled {
                self.read_journaled(found.pblk, skip as usize, part)?;
            } else {
                self.read_blocks((found.pblk << bits) + skip, part)?;
            }
            done += bytes;
        }
        Ok(())
    }

    /// Reads from the device in whole blocks: what is left over at the ends goes through a block of its own.
    fn read_blocks(&self, offset: u64, mut buf: &mut [u8]) -> Result<()> {
        let (device, block) = (&self.fs.device, self.fs.geometry.block_size);
        let mut at = offset;
        let skip = (offset % block as u64) as usize;
        if skip > 0 || buf.len() < block {
            let mut bounce = vec![0; block];
            device.read(offset - skip as u64, &mut bounce)?;
            let head = buf.len().min(block - skip);
            buf[..head].copy_from_slice(&bounce[skip..skip + head]);
            at += head as u64;
            buf = &mut buf[head..];
        }
        let (whole, tail) = buf.split_at_mut(buf.len() / block * block);
        if !whole.is_empty() {
            device.read(at, whole)?;
        }
        if !tail.is_empty() {
            let mut bounce = vec![0; block];
            device.read(at + whole.len() as u64, &mut bounce)?;
            tail.copy_from_slice(&bounce[..tail.len()]);
        }
        Ok(())
    }

    /// Reads blocks whose newest version may be in the journal: through the buffer cache.
    fn read_journaled(&self, first: u64, mut skip: usize, mut buf: &mut [u8]) -> Result<()> {
        let mut block = first;
        while !buf.is_empty() {
            let buffer = self.fs.cache.read(block)?;
            let data = buffer.data();
            let count = buf.len().min(data.len() - skip);
            buf[..count].copy_from_slice(&data[skip..skip + count]);
            buf = &mut buf[count..];
            block += 1;
            skip = 0;
        }
        Ok(())
    }

    /// fsync(2), with `datasync` fdatasync(2): returns when all that was written back and stored is durable. The caller
    /// has written its dirty data back before. The data of a directory are its names: programs rely on fdatasync(2) for
    /// those.
    ///
    /// # Errors
    /// `EIO` if the journal is or was aborted, the device's.
    pub fn fsync(&self, datasync: bool) -> Result<()> {
        let last = if datasync && !self.is_dir() { &self.data.data_tid } else { &self.data.tid };
        match last.load(Ordering::Acquire).checked_sub(1) {
            Some(tid) => self.fs.transactions.sync_tid(tid as u32),
            None => self.fs.device.flush(),
        }
    }
}
