//! A set of logical blocks kept as disjoint ranges: the delayed (reserved, not yet allocated) blocks of an inode. Pure.

use std::collections::BTreeMap;

/// Disjoint, never touching ranges: start → end (exclusive).
#[derive(Default, Debug)]
pub struct RangeSet {
    ranges: BTreeMap<u64, u64>,
    total: u64,
}

impl RangeSet {
    /// Blocks in the set.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// How many ranges it takes.
    pub fn pieces(&self) -> usize {
        self.ranges.len()
    }

    /// The end of the last range, 0 when empty.
    pub fn end(&self) -> u64 {
        self.ranges.last_key_value().map_or(0, |(_, &end)| end)
    }

    /// The range that holds `at`, else the next one after it.
    pub fn at_or_after(&self, at: u64) -> Option<(u64, u64)> {
        if let Some((&start, &end)) = self.ranges.range(..=at).next_back()
            && end > at
        {
            return Some((start, end));
        }
        self.ranges.range(at..).next().map(|(&start, &end)| (start, end))
    }

    /// How many blocks of `start..end` are in the set.
    pub fn count(&self, start: u64, end: u64) -> u64 {
        let mut at = start;
        let mut count = 0;
        while let Some((from, to)) = self.at_or_after(at) {
            if from >= end {
                break;
            }
            count += to.min(end) - from.max(at);
            at = to;
        }
        count
    }

    /// Adds `start..end`; returns how many blocks are new.
    pub fn insert(&mut self, start: u64, end: u64) -> u64 {
        if start >= end {
            return 0;
        }
        let (mut low, mut high, mut had) = (start, end, 0);
        // Everything that overlaps or touches becomes one range.
        while let Some((&from, &to)) = self.ranges.range(..=high).next_back() {
            if to < low {
                break;
            }
            self.ranges.remove(&from);
            had += to - from;
            low = low.min(from);
            high = high.max(to);
        }
        self.ranges.insert(low, high);
        let new = high - low - had;
        self.total += new;
        new
    }

    /// Takes `start..end` out; returns how many blocks were in.
    pub fn remove(&mut self, start: u64, end: u64) -> u64 {
        let mut gone = 0;
        if start >= end {
            return 0;
        }
        while let Some((from, to)) = self.at_or_after(start) {
            if from >= end {
                break;
            }
            self.ranges.remove(&from);
            if from < start {
                self.ranges.insert(from, start);
            }
            if to > end {
                self.ranges.insert(end, to);
            }
            gone += to.min(end) - from.max(start);
        }
        self.total -= gone;
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn against_a_plain_set() {
        let mut seed = 1u64;
        let mut random = |n: u64| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 33) % n
        };
        let (mut set, mut model) = (RangeSet::default(), BTreeSet::new());
        for _ in 0..5000 {
            let start = random(200);
            let end = start + random(30);
            let range: Vec<u64> = (start..end).collect();
            let count = range.iter().filter(|b| model.contains(*b)).count() as u64;
            assert_eq!(set.count(start, end), count);
            if random(2) == 0 {
                assert_eq!(set.insert(start, end), end - start - count);
                model.extend(range);
            } else {
                assert_eq!(set.remove(start, end), count);
                for b in range {
                    model.remove(&b);
                }
            }
            assert_eq!(set.total(), model.len() as u64);
            let pieces = model.iter().filter(|&&b| b == 0 || !model.contains(&(b - 1))).count();
            assert_eq!(set.pieces(), pieces);
            assert_eq!(set.end(), model.last().map_or(0, |b| b + 1));
            let at = random(230);
            assert_eq!(set.at_or_after(at).map(|range| range.0.max(at)), model.range(at..).next().copied());
        }
    }
}
