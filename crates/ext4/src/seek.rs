//! Where a file has data: SEEK_DATA, SEEK_HOLE, FIEMAP.

use crate::Result;
use crate::inode::Inode;
use crate::layout::inode::InodeFlags;
use crate::map::{self, ExtentState};
use abi::errno::ENXIO;

/// One extent of FIEMAP's answer, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FiemapExtent {
    /// Where in the file.
    pub logical: u64,
    /// Where on the device; 0 where there is no place yet.
    pub physical: u64,
    /// How long.
    pub length: u64,
    /// `FIEMAP_EXTENT_*`.
    pub flags: u32,
}

/// `FIEMAP_EXTENT_*` that occur here.
mod flag {
    pub const LAST: u32 = 0x1;
    pub const UNKNOWN: u32 = 0x2;
    pub const DELALLOC: u32 = 0x4;
    pub const NOT_ALIGNED: u32 = 0x100;
    pub const DATA_INLINE: u32 = 0x200;
    pub const UNWRITTEN: u32 = 0x800;
}

impl Inode {
    /// The first byte of data at or after `offset`, for a file of `size` bytes; data that waits for write-back counts.
    ///
    /// # Errors
    /// `ENXIO` if there is none.
    pub fn seek_data(&self, offset: u64, size: u64) -> Result<u64> {
        self.seek(offset, size, true)?.ok_or(ENXIO)
    }

    /// The first byte of a hole at or after `offset`: at the latest the end of the file of `size` bytes.
    ///
    /// # Errors
    /// `ENXIO` if `offset` is not inside the file.
    pub fn seek_hole(&self, offset: u64, size: u64) -> Result<u64> {
        Ok(self.seek(offset, size, false)?.unwrap_or(size))
    }

    fn seek(&self, offset: u64, size: u64, data: bool) -> Result<Option<u64>> {
        if offset >= size {
            return Err(ENXIO);
        }
        let bits = self.fs.geometry.block_bits;
        let state = self.state.read();
        if state.flags.contains(InodeFlags::INLINE_DATA) {
            return Ok(data.then_some(offset));
        }
        let end = size.div_ceil(1 << bits).min(map::end(&self.fs, &state));
        let mut at = offset >> bits;
        while at < end {
            let found = map::lookup(self, &state, at as u32, (end - at) as u32)?;
            let past = at + u64::from(found.len.max(1));
            if found.state == ExtentState::Written {
                if data {
                    return Ok(Some((at << bits).max(offset)));
                }
                at = past;
                continue;
            }
            let waiting = self.data.delayed.lock().at_or_after(at).filter(|range| range.0 < past);
            match waiting {
                Some((from, to)) if from <= at => {
                    if data {
                        return Ok(Some((at << bits).max(offset)));
                    }
                    at = to.min(past);
                }
                _ if !data => return Ok(Some((at << bits).max(offset)).filter(|&hole| hole < size)),
                Some((from, _)) => at = from,
                None => at = past,
            }
        }
        Ok(None)
    }

    /// FIEMAP: the extents of `offset`..+`len` bytes, at most `limit` of them (0: count all, see the length).
    ///
    /// # Errors
    /// `EUCLEAN`, `EBADMSG` for a damaged map, the device's.
    pub fn fiemap(&self, offset: u64, len: u64, limit: usize) -> Result<Vec<FiemapExtent>> {
        let bits = self.fs.geometry.block_bits;
        let state = self.state.read();
        let mut extents: Vec<FiemapExtent> = Vec::new();
        if state.flags.contains(InodeFlags::INLINE_DATA) {
            if offset < state.size {
                let flags = flag::LAST | flag::NOT_ALIGNED | flag::DATA_INLINE;
                extents.push(FiemapExtent { logical: 0, physical: 0, length: state.size, flags });
            }
            return Ok(extents);
        }
        let limit = if limit == 0 { usize::MAX } else { limit };
        let all = map::end(&self.fs, &state);
        let end = offset.saturating_add(len).div_ceil(1 << bits).min(all);
        let mut at = offset >> bits;
        let mut full = false;
        // One more than asked for tells whether the last one is the file's last.
        while at < all {
            let found = map::lookup(self, &state, at as u32, (all - at) as u32)?;
            let past = at + u64::from(found.len.max(1));
            let next = match found.state {
                ExtentState::Hole => {
                    let waiting = self.data.delayed.lock().at_or_after(at).filter(|range| range.0 < past);
                    let Some((from, to)) = waiting else {
                        at = past;
                        continue;
                    };
                    let (from, to) = (from.max(at), to.min(past));
                    let flags = flag::DELALLOC | flag::UNKNOWN;
                    FiemapExtent { logical: from << bits, physical: 0, length: (to - from) << bits, flags }
                }
                kind => FiemapExtent {
                    logical: at << bits,
                    physical: found.pblk << bits,
                    length: u64::from(found.len) << bits,
                    flags: if kind == ExtentState::Unwritten { flag::UNWRITTEN } else { 0 },
                },
            };
            at = (next.logical + next.length) >> bits;
            if full {
                return Ok(extents);
            }
            if next.logical >> bits >= end {
                return Ok(extents);
            }
            let count = extents.len();
            match extents.last_mut() {
                Some(last)
                    if last.logical + last.length == next.logical
                        && last.flags == next.flags
                        && last.physical != 0
                        && last.physical + last.length == next.physical =>
                {
                    last.length += next.length;
                }
                _ if count == limit => return Ok(extents),
                _ => extents.push(next),
            }
            full = at >= end;
        }
        if let Some(last) = extents.last_mut() {
            last.flags |= flag::LAST;
        }
        Ok(extents)
    }
}
