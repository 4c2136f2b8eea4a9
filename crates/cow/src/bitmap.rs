//! [`Bitmap`]: which sectors are in the COW file.
//!
//! The file may say that a sector is there only when the sector's contents are durable, or a crash of the host would
//! leave garbage where the backing file has data. So a bit is set in memory when its sector is written, and goes to
//! the file with the next flush.

use std::collections::BTreeSet;
use std::ops::Range;

/// Bytes of the bitmap that are written together.
const CHUNK: usize = 512;

/// A bit a sector.
pub struct Bitmap {
    bits: Vec<u8>,
    /// Chunks with bits that the file does not know.
    dirty: BTreeSet<usize>,
}

impl Bitmap {
    /// The bits as they are in the file, of which `sectors` count.
    pub fn new(mut bits: Vec<u8>, sectors: u64) -> Bitmap {
        bits.resize(sectors.div_ceil(8) as usize, 0);
        Bitmap { bits, dirty: BTreeSet::new() }
    }

    fn get(&self, sector: u64) -> bool {
        self.bits.get((sector / 8) as usize).is_some_and(|byte| byte >> (sector % 8) & 1 != 0)
    }

    /// Whether the sectors from the first of `range` on are in the COW file, and how many of them are the same in that.
    pub fn run(&self, range: Range<u64>) -> (bool, u64) {
        let here = self.get(range.start);
        let whole = if here { 0xff } else { 0 };
        let mut at = range.start;
        while at < range.end {
            if at.is_multiple_of(8) && range.end - at >= 8 && self.bits.get((at / 8) as usize) == Some(&whole)
            {
                at += 8;
            } else if self.get(at) == here {
                at += 1;
            } else {
                break;
            }
        }
        (here, at.max(range.start + 1) - range.start)
    }

    /// The sectors are in the COW file now.
    pub fn set(&mut self, range: Range<u64>) {
        for sector in range {
            let index = (sector / 8) as usize;
            if let Some(byte) = self.bits.get_mut(index)
                && *byte >> (sector % 8) & 1 == 0
            {
                *byte |= 1 << (sector % 8);
                self.dirty.insert(index / CHUNK);
            }
        }
    }

    /// Parts that the file does not know, each with its offset in the bitmap; they count as known from now on.
    pub fn take_dirty(&mut self) -> Vec<(u64, Vec<u8>)> {
        let parts = std::mem::take(&mut self.dirty);
        parts
            .into_iter()
            .map(|chunk| {
                let end = self.bits.len().min((chunk + 1) * CHUNK);
                ((chunk * CHUNK) as u64, self.bits[chunk * CHUNK..end].to_vec())
            })
            .collect()
    }

    /// Parts that [`Bitmap::take_dirty`] gave could not be written.
    pub fn put_back(&mut self, parts: &[(u64, Vec<u8>)]) {
        self.dirty.extend(parts.iter().map(|(offset, _)| *offset as usize / CHUNK));
    }

    /// Whether the file does not know everything.
    pub fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Sectors in the COW file.
    pub fn count(&self) -> u64 {
        self.bits.iter().map(|b| u64::from(b.count_ones())).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_whole() {
        let mut bitmap = Bitmap::new(Vec::new(), 100_000);
        assert_eq!(bitmap.run(5..90_000), (false, 89_995));
        bitmap.set(64..72);
        bitmap.set(73..5000);
        assert_eq!(bitmap.run(0..100), (false, 64));
        assert_eq!(bitmap.run(64..100), (true, 8));
        assert_eq!(bitmap.run(72..100), (false, 1));
        assert_eq!(bitmap.run(73..100_000), (true, 4927));
        assert_eq!(bitmap.count(), 8 + 4927);
    }

    #[test]
    fn only_what_changed_is_written() {
        let mut bitmap = Bitmap::new(Vec::new(), 100_000);
        bitmap.set(64..72);
        let parts = bitmap.take_dirty();
        assert_eq!(parts.len(), 1);
        assert_eq!((parts[0].0, parts[0].1[8], parts[0].1.len()), (0, 0xff, CHUNK));
        bitmap.set(64..72);
        assert!(!bitmap.is_dirty());
        bitmap.put_back(&parts);
        assert_eq!(bitmap.take_dirty(), parts);
        bitmap.set(99_999..100_000);
        let parts = bitmap.take_dirty();
        assert_eq!(parts[0].0 + parts[0].1.len() as u64, 12_500);
    }
}
