//! FITRIM: tells the device about blocks that are free. Each run is taken out of the allocator's sight while the device
//! forgets it.

use crate::{Filesystem, Result, balloc};
use abi::errno::EINVAL;

impl Filesystem {
    /// FITRIM for the free blocks of `start`..+`len` (bytes), in runs of at least `minimum` bytes. Returns the bytes
    /// trimmed. Blocks whose freeing isn't durable yet are left alone.
    ///
    /// # Errors
    /// `EINVAL` for a range outside the file system, `EOPNOTSUPP` and others of the device's.
    pub fn trim(&self, start: u64, len: u64, minimum: u64) -> Result<u64> {
        self.check_writable()?;
        let geometry = &self.geometry;
        let bits = geometry.block_bits;
        let minimum = minimum.div_ceil(1 << bits).max(1);
        let from = (start >> bits).max(geometry.first_data_block);
        let to = (start.saturating_add(len) >> bits).min(geometry.blocks_count);
        if from >= geometry.blocks_count || len >> bits == 0 || minimum > u64::from(geometry.blocks_per_group)
        {
            return Err(EINVAL);
        }
        let mut trimmed = 0;
        let mut at = from;
        while at < to {
            let (group, offset) = geometry.block_group(at);
            let first = geometry.group_first_block(group);
            let end = (first + u64::from(geometry.group_blocks(group))).min(to);
            let past = (end - first) as u32;
            let Some((run, count)) = balloc::trim_run(self, group, offset, past, minimum as u32)? else {
                at = end;
                continue;
            };
            trimmed += u64::from(count) << bits;
            at = run + u64::from(count);
        }
        Ok(trimmed)
    }
}
