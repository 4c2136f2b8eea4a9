//! Taking pages of a mapped file back. The caller sees to it that no guest can reach them: `mm/reclaim.rs`.

use std::sync::Arc;

use super::chunk::{CHUNK, Chunk, PAGES, bits, runs};
use super::{PAGE, PageCache, reclaim, writeback};

/// The newest chunks stay: what an instruction touches must be there all at once.
const NEWEST: usize = 8;

impl PageCache {
    /// Pages that came first, as ranges of bytes in rising order: about `wanted` bytes.
    pub(super) fn cold(&self, wanted: u64) -> Vec<(u64, u64)> {
        let inner = self.inner.lock();
        let mut by_age: Vec<(u64, u64)> =
            inner.chunks.iter().map(|(&index, chunk)| (chunk.lru, index)).collect();
        by_age.sort_unstable();
        by_age.truncate(by_age.len().saturating_sub(NEWEST));
        by_age.truncate(wanted.div_ceil(CHUNK) as usize);
        let mut oldest: Vec<u64> = by_age.into_iter().map(|(_, index)| index).collect();
        oldest.sort_unstable();
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for index in oldest {
            let base = index * PAGES;
            let Some(chunk) = inner.chunks.get(&index) else { continue };
            for (from, to) in runs(chunk.uptodate) {
                let (from, to) = ((base + from) * PAGE, (base + to) * PAGE);
                match ranges.last_mut() {
                    Some(last) if last.1 == from => last.1 = to,
                    _ => ranges.push((from, to)),
                }
            }
        }
        ranges
    }

    /// Lets go of pages that no guest can reach any more; what guests may have written becomes dirty and stays. Bytes
    /// that are free now.
    pub(super) fn evict_hidden(self: &Arc<Self>, ranges: &[(u64, u64)]) -> u64 {
        let (mut dirtied, mut freed) = (0, 0);
        {
            let mut inner = self.inner.lock();
            let super::Inner { chunks, object, .. } = &mut *inner;
            for &(start, end) in ranges {
                let (first, last) = (start / PAGE, end.div_ceil(PAGE));
                for (&index, chunk) in chunks.range_mut(first / PAGES..) {
                    let base = index * PAGES;
                    if base >= last {
                        break;
                    }
                    let mask = bits(first.saturating_sub(base).min(PAGES), (last - base).min(PAGES));
                    dirtied += chunk.note_written(mask);
                    chunk.mapped &= !mask;
                    let clean = chunk.uptodate & mask & !chunk.busy();
                    for (from, to) in runs(clean) {
                        let gone = object
                            .as_ref()
                            .is_none_or(|o| o.punch_hole((base + from) * PAGE, (to - from) * PAGE).is_ok());
                        if gone {
                            chunk.uptodate &= !bits(from, to);
                            freed += to - from;
                        }
                    }
                }
                let empty = |c: &Chunk| c.uptodate | c.busy() | c.mapped == 0;
                chunks.retain(|_, chunk| !empty(chunk));
            }
        }
        reclaim::uncount(self.kind, freed);
        if dirtied > 0 {
            self.count_dirty(dirtied);
            writeback::note_dirty(self);
        }
        freed * PAGE
    }
}

impl Chunk {
    /// What guests could write of `mask`, and can no longer, counts as dirty: how many pages that are more.
    fn note_written(&mut self, mask: u64) -> u64 {
        let new = self.writable & self.uptodate & mask & !self.dirty;
        self.dirty |= new;
        self.writable &= !mask;
        u64::from(new.count_ones())
    }
}
