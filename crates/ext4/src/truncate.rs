//! Taking blocks away: setting the size, and what holes are punched with. Long removals go in as many small transactions
//! as they take, from the end of the range on; the orphan list makes the next mount finish a truncation that a crash
//! cut short.

use crate::extent::Run;
use crate::inode::{Inode, InodeState};
use crate::layout::inode::InodeFlags;
use crate::map::{self, ExtentState};
use crate::{Filesystem, Handle, Result, balloc, inline, orphan};
use abi::errno::{EFBIG, EINVAL};

/// Credits for putting an inode on the orphan list and storing it.
const ORPHAN_CREDITS: usize = 6;

/// Frees every block from `size` on, in as many transactions as it takes; the caller holds no handle, but the state's
/// write lock, and has put the inode on the orphan list or does not care. Sets and stores `size` first.
pub(crate) fn truncate_locked(inode: &Inode, state: &mut InodeState, size: u64) -> Result<()> {
    let fs = &*inode.fs;
    inode.settle(state, fs.blocks_for(size), u64::MAX);
    balloc::discard_window(inode);
    let mut handle = fs.begin(map::remove_credits(fs) + ORPHAN_CREDITS)?;
    state.size = size;
    if state.flags.contains(InodeFlags::INLINE_DATA) {
        return inline::truncate(inode, state, size, &mut handle);
    }
    if !state.has_block_map(fs.geometry.block_size) {
        return inode.store(state, &mut handle);
    }
    remove_blocks(inode, state, &mut handle, fs.blocks_for(size), u64::MAX)
}

/// Frees the blocks of `from..to`, and stores the inode; on a handle with the credits of one step.
fn remove_blocks(
    inode: &Inode,
    state: &mut InodeState,
    handle: &mut Handle,
    from: u64,
    to: u64,
) -> Result<()> {
    loop {
        let result = map::remove_step(inode, state, handle, from, to);
        if !inode.finish(state, handle, result)? {
            return Ok(());
        }
        let need = map::remove_credits(&inode.fs) + ORPHAN_CREDITS;
        let has = handle.credits();
        if has < need && !handle.extend(need - has)? {
            handle.restart(need)?;
        }
    }
}

impl Filesystem {
    /// Blocks that `size` bytes take.
    pub(crate) fn blocks_for(&self, size: u64) -> u64 {
        size.div_ceil(self.geometry.block_size as u64)
    }
}

impl Inode {
    /// Sets the file's size: what is past it is gone for good, what is new reads as zeros. The caller's cache has no
    /// data past `size` any more. Times are the caller's to set.
    ///
    /// # Errors
    /// `EFBIG`, `EROFS`, `ENOSPC` (inline data that has to move), the device's.
    pub fn set_size(&self, size: u64) -> Result<()> {
        let fs = &*self.fs;
        fs.check_writable()?;
        if self.state.read().flags.contains(InodeFlags::INLINE_DATA) && size > self.state.read().size {
            self.convert_inline()?;
        }
        let _allocating = self.data.allocating.lock();
        let _map = self.data.map.write();
        let mut state = self.state.write();
        let state = &mut *state;
        if size > map::end(fs, state).saturating_mul(fs.geometry.block_size as u64) {
            return Err(EFBIG);
        }
        self.settle(state, fs.blocks_for(size), u64::MAX);
        if size > state.size {
            let mut handle = fs.begin(2)?;
            state.size = size;
            return self.finish(state, &mut handle, Ok(()));
        }
        balloc::discard_window(self);
        if state.flags.contains(InodeFlags::INLINE_DATA) {
            let mut handle = fs.begin(ORPHAN_CREDITS)?;
            self.data.note(handle.tid(), true);
            state.size = size;
            return inline::truncate(self, state, size, &mut handle);
        }
        let block_size = fs.geometry.block_size as u64;
        if !size.is_multiple_of(block_size) {
            self.zero_part(state, size, size.next_multiple_of(block_size))?;
        }
        let mut handle = fs.begin(map::remove_credits(fs) + 2 * ORPHAN_CREDITS)?;
        state.size = size;
        let from = fs.blocks_for(size);
        let more = map::remove_step(self, state, &mut handle, from, u64::MAX);
        if !self.finish(state, &mut handle, more)? {
            return Ok(());
        }
        orphan::add(self, state, &mut handle)?;
        self.store(state, &mut handle)?;
        handle.restart(map::remove_credits(fs) + ORPHAN_CREDITS)?;
        remove_blocks(self, state, &mut handle, from, u64::MAX)?;
        handle.restart(2 * ORPHAN_CREDITS)?;
        orphan::remove(self, state, &mut handle)?;
        self.finish(state, &mut handle, Ok(()))
    }

    /// Zeroes bytes of one block on the device, if it has data.
    pub(crate) fn zero_part(&self, state: &mut InodeState, from: u64, to: u64) -> Result<()> {
        let fs = &*self.fs;
        let (bits, block_size) = (fs.geometry.block_bits, fs.geometry.block_size);
        let lblk = u32::try_from(from >> bits).map_err(|_| EFBIG)?;
        let found = map::lookup(self, state, lblk, 1)?;
        if found.state != ExtentState::Written || from >= to {
            return Ok(());
        }
        let start = (from & (block_size as u64 - 1)) as usize;
        let end = start + (to - from) as usize;
        if end > block_size {
            return Err(EINVAL);
        }
        if map::is_journaled(self, state) {
            let buffer = fs.cache.read(found.pblk)?;
            let mut handle = fs.begin(1)?;
            return handle.modify(&buffer, |block| block[start..end].fill(0));
        }
        let mut block = vec![0; block_size];
        fs.device.read(found.pblk << bits, &mut block)?;
        if block[start..end].iter().any(|&byte| byte != 0) {
            block[start..end].fill(0);
            fs.device.write(found.pblk << bits, &[&block])?;
        }
        Ok(())
    }

    /// Zeroes the bytes of `from..to` that don't fill a block; returns the whole blocks between, as a range.
    pub(crate) fn zero_edges(&self, state: &mut InodeState, from: u64, to: u64) -> Result<(u64, u64)> {
        let block_size = self.fs.geometry.block_size as u64;
        let (first, last) = (from.div_ceil(block_size), to / block_size);
        if first > last {
            // Inside one block.
            self.zero_part(state, from, to)?;
            return Ok((first, first));
        }
        if !from.is_multiple_of(block_size) {
            self.zero_part(state, from, first * block_size)?;
        }
        if !to.is_multiple_of(block_size) {
            self.zero_part(state, last * block_size, to)?;
        }
        Ok((first, last))
    }

    /// Frees the blocks of `from..to` without changing the size, and stores the inode.
    pub(crate) fn punch(&self, state: &mut InodeState, from: u64, to: u64) -> Result<()> {
        self.settle(state, from, to);
        if from >= to {
            return Ok(());
        }
        let mut handle = self.fs.begin(map::remove_credits(&self.fs) + ORPHAN_CREDITS)?;
        remove_blocks(self, state, &mut handle, from, to)
    }

    /// Fills the holes of `from..to` with unwritten blocks; with `rewrite` written ones become unwritten.
    pub(crate) fn preallocate(
        &self,
        state: &mut InodeState,
        from: u64,
        to: u64,
        rewrite: bool,
        need: balloc::Need,
    ) -> Result<()> {
        let mut tries = 0;
        let mut at = from;
        while at < to {
            match self.preallocate_some(state, &mut at, to, rewrite, need) {
                Err(error) if balloc::retry_after_commit(&self.fs, error, &mut tries) => {}
                result => result?,
            }
        }
        Ok(())
    }

    fn preallocate_some(
        &self,
        state: &mut InodeState,
        at: &mut u64,
        to: u64,
        rewrite: bool,
        need: balloc::Need,
    ) -> Result<()> {
        let mut handle = self.fs.begin(map::insert_credits(state) + 1)?;
        let result = loop {
            if *at >= to {
                break Ok(());
            }
            self.need_credits(state, &mut handle)?;
            let lblk = *at as u32;
            let found = map::lookup(self, state, lblk, (to - *at) as u32)?;
            let step = match found.state {
                ExtentState::Hole => {
                    let (goal, follow) = map::goal(self, state, lblk)?;
                    balloc::claim(&self.fs, goal, found.len, follow, need).and_then(|(pblk, len)| {
                        let run = Run { lblk, len, pblk, unwritten: true };
                        map::insert(self, state, &mut handle, run, need)?;
                        Ok(len)
                    })
                }
                ExtentState::Written if rewrite => {
                    map::convert(self, state, &mut handle, lblk, found.len, true)
                }
                _ => Ok(found.len.max(1)),
            };
            match step {
                Ok(len) => *at += u64::from(len),
                Err(error) => break Err(error),
            }
        };
        self.finish(state, &mut handle, result)
    }
}
