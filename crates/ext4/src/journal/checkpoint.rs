//! Checkpoints: writing committed blocks to their places, after which their transactions leave the log.
//!
//! What is written is the content as it was committed, so that a checkpoint never waits for a transaction. Order on
//! the device: the blocks; flush; the superblock with the new tail; flush; only then is the space used again.

use super::{Shared, State, Tid, tid_reached};
use crate::Result;
use crate::buffer::{BlockData, write_blocks};
use abi::errno::EIO;

/// Nanoseconds that a committed block may stay out of its place: as Linux's dirty_expire_centisecs.
const PLACE_AFTER: u64 = 30_000_000_000;

/// Bytes of committed blocks out of their places that `tick` takes for much.
const MAX_UNPLACED: usize = 16 << 20;

impl Shared {
    /// Whether the running transaction, grown by `credits` blocks, would fit into the free log space.
    pub(super) fn has_room(&self, state: &State, credits: usize) -> bool {
        let Some(log) = &self.log else {
            return true;
        };
        let running = &state.running;
        // Revokes come without credits: room for one more block of them, and for as many as a full one brings.
        let revokes = running.revoked.len() + log.format().revokes_per_block();
        let size = running.size() + credits;
        size <= log.max_transaction()
            && log.format().transaction_len(size, revokes) <= state.space.free as usize
    }

    /// Frees log space for an operation that can't begin: places the older half of what the log holds; if it holds
    /// nothing, the space is the running or committing transaction's, which is committed.
    pub(super) fn make_space(&self) -> Result<()> {
        let target = {
            let state = self.state.lock();
            let logged = &state.space.logged;
            if logged.is_empty() { Err(state.running.tid) } else { Ok(logged[logged.len() / 2].tid) }
        };
        match target {
            Ok(tid) => self.place_until(tid),
            Err(tid) => self.commit_tid(tid).map(drop),
        }
    }

    /// Places everything committed.
    pub(super) fn place_all(&self) -> Result<()> {
        let last = self.state.lock().space.logged.back().map(|logged| logged.tid);
        last.map_or(Ok(()), |tid| self.place_until(tid))
    }

    /// Marks the log empty on the device if it is.
    pub(super) fn mark_empty(&self) -> Result<()> {
        let Some(log) = &self.log else {
            return Ok(());
        };
        let _commit = self.commit.lock();
        let _checkpoint = self.checkpoint.lock();
        self.check().map_err(|_| EIO)?;
        let running = {
            let state = self.state.lock();
            state.space.logged.is_empty().then_some(state.running.tid)
        };
        match running {
            Some(tid) if !log.is_marked_empty() => {
                log.set_tail(0, tid, false)?;
                log.device().flush()
            }
            _ => Ok(()),
        }
    }

    /// Places what was committed long ago, and half of the rest if that is much: it can't leave memory before.
    pub(super) fn place_old(&self, now: u64) -> Result<()> {
        let old = {
            let state = self.state.lock();
            let logged = &state.space.logged;
            let mut count = logged.iter().take_while(|l| l.time.saturating_add(PLACE_AFTER) <= now).count();
            if state.space.dirty.len() * self.cache.block_size() > MAX_UNPLACED {
                count = count.max(logged.len() / 2);
            }
            count.checked_sub(1).map(|last| logged[last].tid)
        };
        old.map_or(Ok(()), |tid| self.place_until(tid))
    }

    /// Places the blocks of the transactions up to `tid` and frees their log space.
    fn place_until(&self, tid: Tid) -> Result<()> {
        let Some(log) = &self.log else {
            return Ok(());
        };
        let _checkpoint = self.checkpoint.lock();
        self.check().map_err(|_| EIO)?;
        if self.state.lock().space.logged.front().is_none_or(|oldest| !tid_reached(tid, oldest.tid)) {
            return Ok(());
        }
        let blocks = self.begin_placing(tid);
        let device = log.device();
        let result = write_blocks(device, log.format().block_size, &blocks).and_then(|()| {
            // Also without barriers: a log that forgets blocks on their way would lose them in a crash of the host.
            if blocks.is_empty() { Ok(()) } else { device.flush() }
        });
        if let Err(errno) = result {
            self.state.lock().space.placing = false;
            self.abort(errno);
            return Err(EIO);
        }
        let (start, first) = self.end_placing(tid, &blocks);
        if let Err(errno) = log.set_tail(start, first, false).and_then(|()| device.flush()) {
            self.abort(errno);
            return Err(EIO);
        }
        self.free_log(tid);
        Ok(())
    }

    /// The blocks of the transactions up to `tid` that no later one has logged again, in the device's order.
    fn begin_placing(&self, tid: Tid) -> Vec<(u64, BlockData)> {
        let mut state = self.state.lock();
        let space = &mut state.space;
        space.placing = true;
        let mut blocks: Vec<_> = space
            .dirty
            .iter()
            .filter(|(_, unplaced)| tid_reached(tid, unplaced.tid))
            .map(|(block, unplaced)| (*block, unplaced.data.clone()))
            .collect();
        blocks.sort_unstable_by_key(|(block, _)| *block);
        blocks
    }

    /// The blocks are durable in their places. Returns the log's new tail and the transaction there.
    fn end_placing(&self, tid: Tid, blocks: &[(u64, BlockData)]) -> (u32, Tid) {
        let mut state = self.state.lock();
        let running = state.running.tid;
        let space = &mut state.space;
        space.placing = false;
        for (block, _) in blocks {
            // A transaction that committed meanwhile has brought newer content, or has revoked the block.
            if space.dirty.get(block).is_some_and(|unplaced| tid_reached(tid, unplaced.tid)) {
                space.dirty.remove(block);
            }
        }
        let next = space.logged.iter().find(|logged| !tid_reached(tid, logged.tid));
        match (next, space.committing) {
            (Some(logged), _) => (logged.start, logged.tid),
            (None, Some((tid, start))) => (start, tid),
            (None, None) => (space.head, running),
        }
    }

    /// The device's superblock doesn't need the transactions up to `tid` any more.
    fn free_log(&self, tid: Tid) {
        {
            let mut state = self.state.lock();
            let space = &mut state.space;
            while let Some(logged) = space.logged.pop_front_if(|logged| tid_reached(tid, logged.tid)) {
                space.free += logged.len;
                for block in &logged.blocks {
                    if space.newest.get(block) == Some(&logged.tid) {
                        space.newest.remove(block);
                    }
                }
            }
        }
        self.changed.wake_all();
    }
}
