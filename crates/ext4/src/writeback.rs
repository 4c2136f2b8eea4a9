//! Writing data to its place. New data gets blocks that only memory knows of, is written there, and then one transaction
//! maps the blocks and sets the size: a crash before it leaves the file as it was, after it the data is there. So data
//! is always before its metadata, without the journal knowing of data (`data=ordered` costs nothing). Data that has its
//! place already is overwritten there, outside any transaction.

use crate::balloc::{self, Need};
use crate::extent::Run;
use crate::inode::{Inode, InodeState};
use crate::layout::inode::InodeFlags;
use crate::map::{self, ExtentState};
use crate::{Handle, Result, inline};
use abi::errno::{EFBIG, EINVAL};

/// A piece of a write: where it goes.
#[derive(Clone, Copy)]
struct Piece {
    lblk: u32,
    len: u32,
    pblk: u64,
    /// `Hole`: a claimed block, to be mapped.
    was: ExtentState,
}

/// Zeros to fill up a last block with.
static ZEROS: [u8; 65536] = [0; 65536];

/// Bytes spread over several slices.
struct Source<'a> {
    bufs: &'a [&'a [u8]],
    /// Bytes of `bufs[0]` that are gone.
    skip: usize,
}

impl<'a> Source<'a> {
    /// The next `count` bytes; zeros after the end.
    fn take(&mut self, mut count: usize, out: &mut Vec<&'a [u8]>) {
        while count > 0 {
            let Some(first) = self.bufs.first() else {
                let part = count.min(ZEROS.len());
                out.push(&ZEROS[..part]);
                count -= part;
                continue;
            };
            let part = count.min(first.len() - self.skip);
            if part > 0 {
                out.push(&first[self.skip..self.skip + part]);
            }
            count -= part;
            self.skip += part;
            if self.skip == first.len() {
                self.bufs = &self.bufs[1..];
                self.skip = 0;
            }
        }
    }
}

impl Inode {
    /// Writes data from `offset` (a whole number of blocks) on: gives it a place if it has none, writes it to the device,
    /// and makes it part of the file. `new_size` is the file's size; what is past it isn't written, and the size on
    /// disk becomes at least the end of this data. The caller keeps others from writing the same range meanwhile.
    /// Complete, but durable only after [`Inode::fsync`].
    ///
    /// # Errors
    /// `ENOSPC` for blocks that weren't reserved; `EROFS`; the device's. The promise of space stays then.
    pub fn write_back(&self, offset: u64, bufs: &[&[u8]], new_size: u64) -> Result<()> {
        let bits = self.fs.geometry.block_bits;
        if offset & ((1 << bits) - 1) != 0 {
            return Err(EINVAL);
        }
        self.fs.check_writable()?;
        let len: u64 = bufs.iter().map(|buf| buf.len() as u64).sum();
        let given = offset.checked_add(len).ok_or(EFBIG)?;
        let end = given.min(new_size);
        if end <= offset {
            self.settle(&self.state.read(), offset >> bits, given.div_ceil(1 << bits));
            return Ok(());
        }
        if self.state.read().flags.contains(InodeFlags::INLINE_DATA) {
            self.convert_inline()?;
        }
        let mut tries = 0;
        loop {
            let result = self.write_once(offset, bufs, end, new_size);
            match result {
                Err(error) if balloc::retry_after_commit(&self.fs, error, &mut tries) => {}
                _ => {
                    result?;
                    if given > end {
                        self.settle(&self.state.read(), end.div_ceil(1 << bits), given.div_ceil(1 << bits));
                    }
                    return Ok(());
                }
            }
        }
    }

    /// Gives up blocks that were claimed for the file's growth: for the last close after writing.
    pub fn release_preallocation(&self) {
        balloc::discard_window(self);
    }

    /// Moves inline contents to a block.
    pub(crate) fn convert_inline(&self) -> Result<()> {
        let _allocating = self.data.allocating.lock();
        let _map = self.data.map.write();
        let mut state = self.state.write();
        let mut handle = self.fs.begin(30)?;
        inline::convert(self, &mut state, &mut handle)?;
        self.data.note(handle.tid(), true);
        Ok(())
    }

    fn write_once(&self, offset: u64, bufs: &[&[u8]], end: u64, new_size: u64) -> Result<()> {
        let bits = self.fs.geometry.block_bits;
        let from = offset >> bits;
        let to = end.div_ceil(1 << bits);
        {
            let state = self.state.read();
            if to > map::end(&self.fs, &state) {
                return Err(EFBIG);
            }
            if map::is_journaled(self, &state) {
                drop(state);
                return self.write_journaled(offset, bufs, end);
            }
        }
        {
            let _map = self.data.map.read();
            let pieces = self.pieces(from, to)?;
            if pieces.iter().all(|piece| piece.was == ExtentState::Written) {
                self.write_pieces(&pieces, bufs, offset, end)?;
                let state = self.state.read();
                if end <= state.size {
                    self.settle(&state, from, to);
                    return Ok(());
                }
                drop(state);
                return self.join(&pieces, end);
            }
        }
        let _allocating = self.data.allocating.lock();
        let _map = self.data.map.read();
        let mut pieces = self.pieces(from, to)?;
        self.claim_holes(&mut pieces, to << bits >= new_size)?;
        if let Err(error) = self.write_pieces(&pieces, bufs, offset, end) {
            self.unclaim(&pieces);
            return Err(error);
        }
        self.join(&pieces, end)
    }

    /// What `from..to` (blocks) is.
    fn pieces(&self, from: u64, to: u64) -> Result<Vec<Piece>> {
        let state = self.state.read();
        let mut pieces = Vec::new();
        let mut at = from;
        while at < to {
            let found = map::lookup(self, &state, at as u32, (to - at) as u32)?;
            let len = found.len.max(1);
            pieces.push(Piece { lblk: at as u32, len, pblk: found.pblk, was: found.state });
            at += u64::from(len);
        }
        Ok(pieces)
    }

    /// Claims blocks for the holes among the pieces; none stays claimed if that fails.
    fn claim_holes(&self, pieces: &mut Vec<Piece>, at_end: bool) -> Result<()> {
        let holes = std::mem::take(pieces);
        for hole in holes {
            if hole.was != ExtentState::Hole {
                pieces.push(hole);
                continue;
            }
            let mut rest = hole;
            while rest.len > 0 {
                let claimed = self.claim_one(pieces.last(), rest, at_end);
                let (pblk, len) = match claimed {
                    Ok(claimed) => claimed,
                    Err(error) => {
                        self.unclaim(pieces);
                        return Err(error);
                    }
                };
                // Grows the last piece where it can.
                match pieces.last_mut() {
                    Some(last)
                        if last.was == ExtentState::Hole
                            && last.lblk + last.len == rest.lblk
                            && last.pblk + u64::from(last.len) == pblk =>
                    {
                        last.len += len;
                    }
                    _ => pieces.push(Piece { pblk, len, ..rest }),
                }
                rest.lblk += len;
                rest.len -= len;
            }
        }
        Ok(())
    }

    fn claim_one(&self, before: Option<&Piece>, hole: Piece, at_end: bool) -> Result<(u64, u32)> {
        let (goal, follow) = match before {
            Some(before) if before.lblk + before.len == hole.lblk => {
                (before.pblk + u64::from(before.len), true)
            }
            _ => map::goal(self, &self.state.read(), hole.lblk)?,
        };
        let (from, to) = (u64::from(hole.lblk), u64::from(hole.lblk) + u64::from(hole.len));
        let (promised, following) = {
            let delayed = self.data.delayed.lock();
            (delayed.promised(from, to), delayed.following(to))
        };
        let need = if promised == to - from { Need::Reserved } else { Need::User };
        // Data that is sure to follow, or is likely to: a file that grows goes on growing by as much.
        let ahead = if following > 0 {
            following
        } else if at_end {
            from
        } else {
            0
        };
        let ahead = ahead.min(u64::from(u32::MAX)) as u32;
        balloc::claim_ahead(self, goal, hole.len, ahead, follow, need)
    }

    fn unclaim(&self, pieces: &[Piece]) {
        for piece in pieces.iter().filter(|piece| piece.was == ExtentState::Hole && piece.pblk != 0) {
            balloc::unclaim(&self.fs, piece.pblk, piece.len);
        }
    }

    /// Writes the data, in as few and large device writes as its places allow.
    fn write_pieces(&self, pieces: &[Piece], bufs: &[&[u8]], offset: u64, end: u64) -> Result<()> {
        let bits = self.fs.geometry.block_bits;
        let mut source = Source { bufs, skip: 0 };
        // Data past the end of the file isn't to be written: zeros are.
        let mut left = end - offset;
        let mut index = 0;
        while let Some(first) = pieces.get(index) {
            let (mut blocks, mut next) = (u64::from(first.len), index + 1);
            while let Some(piece) = pieces.get(next)
                && piece.pblk == first.pblk + blocks
            {
                blocks += u64::from(piece.len);
                next += 1;
            }
            let bytes = blocks << bits;
            let data = bytes.min(left);
            let mut slices = Vec::with_capacity(bufs.len().min(blocks as usize + 1) + 1);
            source.take(data as usize, &mut slices);
            Source { bufs: &[], skip: 0 }.take((bytes - data) as usize, &mut slices);
            left -= data;
            self.fs.device.write(first.pblk << bits, &slices)?;
            index = next;
        }
        Ok(())
    }

    /// Makes written pieces part of the file, and the size on disk at least `end`.
    fn join(&self, pieces: &[Piece], end: u64) -> Result<()> {
        let mut state = self.state.write();
        let mut left = pieces;
        let result = self.join_locked(&mut state, &mut left, end);
        if result.is_err() {
            self.unclaim(left);
        }
        result
    }

    fn join_locked(&self, state: &mut InodeState, left: &mut &[Piece], end: u64) -> Result<()> {
        let mut handle = self.fs.begin(map::insert_credits(state) + 1)?;
        let result = self.join_pieces(state, &mut handle, left);
        if result.is_ok() {
            state.size = state.size.max(end);
        }
        self.finish(state, &mut handle, result)
    }

    fn join_pieces(&self, state: &mut InodeState, handle: &mut Handle, left: &mut &[Piece]) -> Result<()> {
        while let Some((piece, rest)) = left.split_first() {
            self.need_credits(state, handle)?;
            match piece.was {
                ExtentState::Written => {}
                ExtentState::Hole => {
                    *left = rest;
                    let run = Run { lblk: piece.lblk, len: piece.len, pblk: piece.pblk, unwritten: false };
                    map::insert(self, state, handle, run, Need::Reserved)?;
                }
                ExtentState::Unwritten => {
                    let mut done = 0;
                    while done < piece.len {
                        self.need_credits(state, handle)?;
                        let (at, rest) = (piece.lblk + done, piece.len - done);
                        done += map::convert(self, state, handle, at, rest, false)?;
                    }
                }
            }
            *left = rest;
            self.settle(state, u64::from(piece.lblk), u64::from(piece.lblk) + u64::from(piece.len));
        }
        Ok(())
    }

    /// Stores the inode at the end of a change, also of one that failed: the map's root must go with its blocks.
    pub(crate) fn finish<T>(
        &self,
        state: &mut InodeState,
        handle: &mut Handle,
        result: Result<T>,
    ) -> Result<T> {
        let stored = self.store(state, handle);
        self.data.note(handle.tid(), true);
        let value = result?;
        stored.map(|()| value)
    }

    /// Makes sure of credits for one more change of the map, in another transaction if this one is full. The inode is
    /// stored before that.
    pub(crate) fn need_credits(&self, state: &mut InodeState, handle: &mut Handle) -> Result<()> {
        let need = map::insert_credits(state) + 1;
        if handle.credits() < need && !handle.extend(need - handle.credits())? {
            self.store(state, handle)?;
            self.data.note(handle.tid(), true);
            handle.restart(need)?;
        }
        Ok(())
    }

    /// `data=journal`: the data goes into the transactions that map it, a few blocks at a time.
    fn write_journaled(&self, offset: u64, bufs: &[&[u8]], end: u64) -> Result<()> {
        let geometry = &self.fs.geometry;
        let (bits, block_size) = (geometry.block_bits, geometry.block_size);
        let to = end.div_ceil(1 << bits);
        let batch = (self.fs.transactions.max_credits() / 4).clamp(1, 64) as u64;
        let mut source = Source { bufs, skip: 0 };
        let mut at = offset >> bits;
        let _allocating = self.data.allocating.lock();
        let _map = self.data.map.read();
        while at < to {
            let mut pieces = self.pieces(at, to.min(at + batch))?;
            self.claim_holes(&mut pieces, false)?;
            let past = pieces.last().map_or(at + 1, |last| u64::from(last.lblk) + u64::from(last.len));
            let mut state = self.state.write();
            let mut left = &pieces[..];
            let result = (|| {
                let mut handle = self.fs.begin(map::insert_credits(&state) + 1 + (past - at) as usize)?;
                for piece in &pieces {
                    for n in 0..piece.len {
                        let begin = (u64::from(piece.lblk) + u64::from(n)) << bits;
                        let data = end.saturating_sub(begin).min(block_size as u64) as usize;
                        let mut slices = Vec::new();
                        source.take(data, &mut slices);
                        let buffer = self.fs.cache.get_zeroed(piece.pblk + u64::from(n))?;
                        handle.create(&buffer, |block| {
                            let mut filled = 0;
                            for slice in slices {
                                block[filled..filled + slice.len()].copy_from_slice(slice);
                                filled += slice.len();
                            }
                            block[filled..].fill(0);
                        })?;
                    }
                }
                drop(handle);
                self.join_locked(&mut state, &mut left, end.min(past << bits))
            })();
            if result.is_err() {
                self.unclaim(left);
            }
            result?;
            at = past;
        }
        Ok(())
    }
}
