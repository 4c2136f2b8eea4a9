//! Commits: closing the running transaction and making it durable.
//!
//! Order on the device: ordinary data was written by its owner before it joined the transaction; then descriptors,
//! logged blocks and revokes; flush; the commit block; flush. Only after that is the transaction there for replay, and
//! only then may freed blocks be used again.

use super::blocks::{Checksum, Tag, crc32_be};
use super::format::{MAGIC, TAG_ESCAPED};
use super::log::JournalLog;
use super::{Logged, OnCommit, Shared, Tid, Transaction, Unplaced};
use crate::Result;
use crate::buffer::{BlockData, Buffer, write_blocks};
use abi::errno::{EIO, ENOSPC};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A block as it is when its transaction closes.
type Frozen = (u64, Arc<Buffer>, BlockData);

impl Shared {
    /// Commits the running transaction. The caller holds the commit lock.
    pub(super) fn commit_running(&self) -> Result<()> {
        let (mut transaction, blocks) = self.close_running();
        let callbacks = std::mem::take(&mut transaction.callbacks);
        if blocks.is_empty() && transaction.revoked.is_empty() {
            callbacks.into_iter().for_each(|callback| callback());
            return Ok(());
        }
        let Some(log) = &self.log else {
            return self.commit_in_place(transaction.tid, callbacks, &blocks);
        };
        if let Err(errno) = self.commit_to_log(log, &transaction, blocks) {
            self.abort(errno);
            return Err(EIO);
        }
        self.finish(transaction.tid, callbacks);
        Ok(())
    }

    /// Waits for the open handles, freezes the transaction's blocks and opens the next transaction. If there is
    /// nothing to write, that has the same number: numbers in the log have no gaps.
    fn close_running(&self) -> (Transaction, Vec<Frozen>) {
        self.state.lock().closing = true;
        self.changed.wait_for(|| (self.state.lock().running.updates == 0).then_some(()));
        let mut transaction = {
            let mut state = self.state.lock();
            let tid = state.running.tid;
            if self.log.is_some() {
                state.space.committing = Some((tid, state.space.head));
            }
            std::mem::replace(&mut state.running, Transaction::new(tid.wrapping_add(1)))
        };
        // Nobody changes a block now, as no handle is open.
        let mut blocks: Vec<Frozen> = match &self.log {
            Some(_) => transaction.buffers.drain().map(|(block, b)| (block, b.clone(), b.data())).collect(),
            None => self.cache.take_dirty(),
        };
        blocks.sort_unstable_by_key(|(block, ..)| *block);
        let empty = blocks.is_empty() && transaction.revoked.is_empty();
        {
            let mut state = self.state.lock();
            state.closing = false;
            state.wanted = false;
            if empty {
                state.running.tid = transaction.tid;
                state.space.committing = None;
            }
            if self.log.is_some() {
                // From now on forgetting one of these blocks needs a revoke.
                state.space.newest.extend(blocks.iter().map(|(block, ..)| (*block, transaction.tid)));
            }
        }
        self.changed.wake_all();
        (transaction, blocks)
    }

    fn finish(&self, tid: Tid, callbacks: Vec<OnCommit>) {
        self.state.lock().committed = tid;
        self.changed.wake_all();
        callbacks.into_iter().for_each(|callback| callback());
    }

    /// Flushes and counts it, for those who want to know whether a flush began after they came.
    fn flush(&self, barrier: bool) -> Result<()> {
        self.flushes.fetch_add(1, Ordering::SeqCst);
        if barrier { self.cache.device().flush() } else { Ok(()) }
    }

    /// Without a journal: writes the blocks to their places. After an error they stay dirty for the next attempt.
    fn commit_in_place(&self, tid: Tid, callbacks: Vec<OnCommit>, blocks: &[Frozen]) -> Result<()> {
        let plain: Vec<_> = blocks.iter().map(|(block, _, data)| (*block, data.clone())).collect();
        let written = write_blocks(&**self.cache.device(), self.cache.block_size(), &plain);
        if let Err(errno) = written.and_then(|()| self.flush(true)) {
            blocks.iter().for_each(|(_, buffer, _)| self.cache.mark_dirty(buffer));
            self.state.lock().running.callbacks.extend(callbacks);
            return Err(errno);
        }
        self.finish(tid, callbacks);
        Ok(())
    }

    fn commit_to_log(&self, log: &JournalLog, transaction: &Transaction, blocks: Vec<Frozen>) -> Result<()> {
        let mut revoked: Vec<u64> = transaction.revoked.iter().copied().collect();
        revoked.sort_unstable();
        let len = log.format().transaction_len(blocks.len(), revoked.len());
        let len = u32::try_from(len).map_err(|_| ENOSPC)?;
        let start = self.claim(log, len)?;
        let tid = transaction.tid;

        // If the log was empty on the device, replay has to find this transaction. Durable with the first flush.
        log.set_tail(start, tid, true)?;
        let written = write_log(log, start, tid, &revoked, &blocks)?;
        self.flush(log.barrier())?;
        let commit = log.format().commit(tid, self.commit_time(), written.crc);
        log.write(written.next, &[&commit])?;
        self.flush(log.barrier())?;

        self.note_logged(
            Logged {
                tid,
                start,
                len,
                blocks: blocks.iter().map(|(block, ..)| *block).collect(),
                time: Shared::now(),
            },
            blocks,
            &revoked,
        );
        Ok(())
    }

    /// Takes `len` blocks of log space, making room if there isn't enough. Returns where they begin.
    fn claim(&self, log: &JournalLog, len: u32) -> Result<u32> {
        // Credits and what `begin` keeps free make this rare: revokes come without credits.
        if self.state.lock().space.free < len {
            self.place_all()?;
        }
        let mut state = self.state.lock();
        let space = &mut state.space;
        space.free = space.free.checked_sub(len).ok_or(ENOSPC)?;
        let start = space.head;
        space.head = log.advance(start, len);
        Ok(start)
    }

    /// Seconds and nanoseconds since 1970, never less than the last commit's: replay takes a step back for the end of
    /// the log.
    fn commit_time(&self) -> (u64, u32) {
        let now = self.messages.now();
        let now = (now.tv_sec.max(0) as u64, now.tv_nsec.clamp(0, 999_999_999) as u32);
        let mut state = self.state.lock();
        state.space.last_commit_time = state.space.last_commit_time.max(now);
        state.space.last_commit_time
    }

    /// The transaction is durable: its blocks are to be placed, revoked ones no more.
    fn note_logged(&self, logged: Logged, blocks: Vec<Frozen>, revoked: &[u64]) {
        let placing = {
            let mut state = self.state.lock();
            let space = &mut state.space;
            space.committing = None;
            for block in revoked {
                space.dirty.remove(block);
            }
            for (block, buffer, data) in blocks {
                space.dirty.insert(block, Unplaced { tid: logged.tid, _buffer: buffer, data });
            }
            space.logged.push_back(logged);
            !revoked.is_empty() && space.placing
        };
        if placing {
            // A revoked block's old content may be on its way to the device, and must be there before the block is
            // used for something else.
            drop(self.checkpoint.lock());
        }
    }
}

/// What `write_log` did.
struct Written {
    /// The block for the commit block.
    next: u32,
    /// Version 1's checksum.
    crc: u32,
}

/// Blocks in one request to the device at most.
const BATCH: usize = 512;

/// Writes revokes, descriptors and logged blocks.
fn write_log(log: &JournalLog, start: u32, tid: Tid, revoked: &[u64], blocks: &[Frozen]) -> Result<Written> {
    let format = log.format();
    let sums = format.has_tails();
    let mut next = start;
    let mut crc = !0;
    let revokes: Vec<Vec<u8>> =
        revoked.chunks(format.revokes_per_block()).map(|chunk| format.revoke(tid, chunk)).collect();
    next = log.write(next, &revokes.iter().map(Vec::as_slice).collect::<Vec<_>>())?;
    for group in blocks.chunks(format.tags_per_block().min(BATCH)) {
        let escaped: Vec<Option<Vec<u8>>> = group.iter().map(|(.., data)| escape(data)).collect();
        let logged: Vec<&[u8]> = group
            .iter()
            .zip(&escaped)
            .map(|((.., data), escaped)| escaped.as_deref().unwrap_or(data))
            .collect();
        let tags: Vec<Tag> = group
            .iter()
            .zip(&escaped)
            .zip(&logged)
            .map(|(((block, ..), escaped), data)| Tag {
                block: *block,
                flags: if escaped.is_some() { TAG_ESCAPED } else { 0 },
                checksum: if sums { format.data_checksum(tid, data) } else { 0 },
            })
            .collect();
        let descriptor = format.descriptor(tid, &tags);
        let mut pieces: Vec<&[u8]> = vec![&descriptor];
        pieces.extend(logged);
        if format.checksum == Checksum::V1 {
            crc = pieces.iter().fold(crc, |crc, piece| crc32_be(crc, piece));
        }
        next = log.write(next, &pieces)?;
    }
    Ok(Written { next, crc })
}

/// A copy without the magic number, if the block begins with it: replay must not take it for a journal block.
fn escape(data: &[u8]) -> Option<Vec<u8>> {
    data.starts_with(&MAGIC.to_be_bytes()).then(|| {
        let mut copy = data.to_vec();
        copy[..4].fill(0);
        copy
    })
}
