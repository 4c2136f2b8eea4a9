//! fallocate(2). The caller has written dirty data of the range (for the shifting modes: from there to the end) back, and
//! forgets its cached pages of it before it lets others at the file again.

use crate::balloc::Need;
use crate::inode::{Inode, InodeState};
use crate::layout::inode::InodeFlags;
use crate::{Result, balloc, extent, map};
use abi::errno::{EFBIG, EINVAL, EOPNOTSUPP};
use abi::fcntl::{
    FALLOC_FL_COLLAPSE_RANGE, FALLOC_FL_INSERT_RANGE, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE,
    FALLOC_FL_ZERO_RANGE,
};

const MODES: u32 =
    FALLOC_FL_PUNCH_HOLE | FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_ZERO_RANGE | FALLOC_FL_INSERT_RANGE;

impl Inode {
    /// fallocate(2) with `FALLOC_FL_*` in `mode`; `privileged` may use root's reserve. Returns the file's size after it.
    ///
    /// # Errors
    /// As the manual page has them: `EINVAL`, `EFBIG`, `ENOSPC`, `EOPNOTSUPP` (also for files mapped by indirect blocks,
    /// but for holes), `EROFS`, `EIO`.
    pub fn fallocate(&self, mode: u32, offset: u64, len: u64, privileged: bool) -> Result<u64> {
        let fs = &*self.fs;
        fs.check_writable()?;
        if mode & !(MODES | FALLOC_FL_KEEP_SIZE) != 0 || (mode & MODES).count_ones() > 1 {
            return Err(EOPNOTSUPP);
        }
        let keep = mode & FALLOC_FL_KEEP_SIZE != 0;
        match mode & MODES {
            FALLOC_FL_PUNCH_HOLE if !keep => return Err(EOPNOTSUPP),
            FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE if keep => return Err(EOPNOTSUPP),
            _ => {}
        }
        let end = offset.checked_add(len).ok_or(EFBIG)?;
        if len == 0 || end > i64::MAX as u64 {
            return Err(if len == 0 { EINVAL } else { EFBIG });
        }
        if self.state.read().flags.contains(InodeFlags::INLINE_DATA) {
            self.convert_inline()?;
        }
        let _allocating = self.data.allocating.lock();
        let _map = self.data.map.write();
        let mut state = self.state.write();
        let state = &mut *state;
        let bytes = fs.geometry.block_size as u64;
        let limit = map::end(fs, state).saturating_mul(bytes);
        if mode & MODES != FALLOC_FL_PUNCH_HOLE && !map::has_extents(state) {
            return Err(EOPNOTSUPP);
        }
        let need = if privileged { Need::Root } else { Need::User };
        match mode & MODES {
            FALLOC_FL_PUNCH_HOLE => {
                let end = end.min(limit);
                if offset < end {
                    let (from, to) = self.zero_edges(state, offset, end)?;
                    self.punch(state, from, to)?;
                }
            }
            FALLOC_FL_COLLAPSE_RANGE => self.collapse(state, offset, len)?,
            FALLOC_FL_INSERT_RANGE => self.insert_range(state, offset, len, limit)?,
            FALLOC_FL_ZERO_RANGE => {
                if end > limit {
                    return Err(EFBIG);
                }
                let (from, to) = self.zero_edges(state, offset, end)?;
                self.settle(state, from, to);
                self.preallocate(state, from, to, true, need)?;
                // The blocks that the edges are in.
                self.preallocate(state, offset / bytes, from, false, need)?;
                self.preallocate(state, to, end.div_ceil(bytes), false, need)?;
            }
            _ => {
                if end > limit {
                    return Err(EFBIG);
                }
                self.preallocate(state, offset / bytes, end.div_ceil(bytes), false, need)?;
            }
        }
        if !keep && mode & (FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE) == 0 && end > state.size {
            self.store_size(state, end)?;
        }
        Ok(state.size)
    }

    fn store_size(&self, state: &mut InodeState, size: u64) -> Result<()> {
        let mut handle = self.fs.begin(2)?;
        state.size = size;
        self.finish(state, &mut handle, Ok(()))
    }

    /// Takes `len` bytes out; what follows moves down. A crash sees all of that or nothing, unless the file is in more
    /// pieces than one transaction can hold: then, as in Linux, it may see a part.
    fn collapse(&self, state: &mut InodeState, offset: u64, len: u64) -> Result<()> {
        let fs = &*self.fs;
        let bytes = fs.geometry.block_size as u64;
        if !offset.is_multiple_of(bytes) || !len.is_multiple_of(bytes) || offset + len >= state.size {
            return Err(EINVAL);
        }
        let (from, by) = (offset / bytes, (len / bytes) as u32);
        let to = from + u64::from(by);
        balloc::discard_window(self);
        self.settle(state, from, u64::MAX);
        let whole = map::shift_credits(self, state, from as u32, to)?;
        if whole.is_none() {
            self.punch(state, from, to)?;
        }
        let mut handle = fs.begin(whole.unwrap_or(map::insert_credits(state) + 1))?;
        let result = (|| {
            while whole.is_some() && map::remove_step(self, state, &mut handle, from, to)? {}
            let mut next = Some(to as u32);
            while let Some(at) = next {
                if whole.is_none() {
                    self.need_credits(state, &mut handle)?;
                }
                next = map::shift_down(self, state, &mut handle, at, by)?;
            }
            state.size -= len;
            Ok(())
        })();
        self.finish(state, &mut handle, result)
    }

    /// Makes a hole of `len` bytes; what was there moves up. In one transaction, as far as that holds it.
    fn insert_range(&self, state: &mut InodeState, offset: u64, len: u64, limit: u64) -> Result<()> {
        let fs = &*self.fs;
        let bytes = fs.geometry.block_size as u64;
        if !offset.is_multiple_of(bytes) || !len.is_multiple_of(bytes) || offset >= state.size {
            return Err(EINVAL);
        }
        let by = len / bytes;
        if state.size.checked_add(len).is_none_or(|size| size > limit)
            || map::last_end(self, state)? + by > extent::END
        {
            return Err(EFBIG);
        }
        balloc::discard_window(self);
        let from = (offset / bytes) as u32;
        self.settle(state, u64::from(from), u64::MAX);
        let whole = map::shift_credits(self, state, from, u64::from(from))?;
        let mut handle = fs.begin(whole.unwrap_or(map::insert_credits(state) + 1))?;
        let result = (|| {
            map::cut(self, state, &mut handle, from)?;
            // The size first: data past it would be cut off by a check after a crash.
            state.size += len;
            let mut before = Some(extent::END);
            while let Some(limit) = before {
                if whole.is_none() {
                    self.need_credits(state, &mut handle)?;
                }
                before = map::shift_up(self, state, &mut handle, from, limit, by as u32)?;
            }
            Ok(())
        })();
        self.finish(state, &mut handle, result)
    }
}
