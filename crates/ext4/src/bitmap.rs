//! Bit operations on block and inode bitmaps: the on-disk form (bytes, bit `n` is bit `n % 8` of byte `n / 8`) and
//! the allocator's in-memory form (`u64` words, same order). Pure; the users are `balloc` and `ialloc`.

/// Whether bit `n` of an on-disk bitmap is set.
pub fn test(map: &[u8], n: usize) -> bool {
    map[n / 8] & (1 << (n % 8)) != 0
}

/// Sets or clears `count` bits from `first`. Returns how many of them had that value already (0 is the sane case).
pub fn assign(map: &mut [u8], first: usize, count: usize, value: bool) -> usize {
    let mut already = 0;
    let end = first + count;
    let mut at = first;
    while at < end {
        let (byte, low) = (at / 8, at % 8);
        let width = (8 - low).min(end - at);
        let mask = (0xffu32 >> (8 - width) << low) as u8;
        let old = map[byte];
        already += (if value { old & mask } else { !old & mask }).count_ones() as usize;
        map[byte] = if value { old | mask } else { old & !mask };
        at += width;
    }
    already
}

/// Set bits among `count` from `first`.
pub fn count_ones(map: &[u8], first: usize, count: usize) -> usize {
    let (mut ones, mut at) = (0, first);
    let end = first + count;
    while at < end {
        let (byte, low) = (at / 8, at % 8);
        let width = (8 - low).min(end - at);
        ones += (map[byte] >> low & (0xffu16 >> (8 - width)) as u8).count_ones() as usize;
        at += width;
    }
    ones
}

/// The first zero bit in `from..limit` of an on-disk bitmap.
pub fn next_zero(map: &[u8], from: usize, limit: usize) -> Option<usize> {
    let mut at = from;
    while at < limit {
        let byte = map[at / 8] | ((1u16 << (at % 8)) - 1) as u8;
        if byte != 0xff {
            let found = at / 8 * 8 + byte.trailing_ones() as usize;
            return (found < limit).then_some(found);
        }
        at = (at / 8 + 1) * 8;
    }
    None
}

/// One block group's blocks as the allocator sees them: a set bit is a block that must not be handed out.
pub struct Words {
    words: Box<[u64]>,
    bits: usize,
}

impl Words {
    /// From an on-disk bitmap of at least `bits` bits.
    pub fn from_disk(map: &[u8], bits: usize) -> Words {
        let mut words = vec![u64::MAX; bits.div_ceil(64)].into_boxed_slice();
        for (word, bytes) in words.iter_mut().zip(map.chunks(8)) {
            let mut raw = [0xff; 8];
            raw[..bytes.len()].copy_from_slice(bytes);
            *word = u64::from_le_bytes(raw);
        }
        if !bits.is_multiple_of(64)
            && let Some(last) = words.last_mut()
        {
            *last |= u64::MAX << (bits % 64);
        }
        Words { words, bits }
    }

    /// How many bits there are.
    pub fn len(&self) -> usize {
        self.bits
    }

    /// Zero bits.
    pub fn free(&self) -> usize {
        self.words.iter().map(|w| w.count_zeros() as usize).sum()
    }

    /// Sets or clears `count` bits from `first`; bits outside are ignored. Returns how many changed.
    pub fn assign(&mut self, first: usize, count: usize, value: bool) -> usize {
        let mut changed = 0;
        let end = (first + count).min(self.bits);
        let mut at = first;
        while at < end {
            let (word, low) = (at / 64, at % 64);
            let width = (64 - low).min(end - at);
            let mask = (u64::MAX >> (64 - width)) << low;
            let old = self.words[word];
            let new = if value { old | mask } else { old & !mask };
            changed += (old ^ new).count_ones() as usize;
            self.words[word] = new;
            at += width;
        }
        changed
    }

    /// The first zero bit at or after `from`.
    pub fn next_free(&self, from: usize) -> Option<usize> {
        self.next(from, u64::MAX)
    }

    /// The first set bit at or after `from`, or the length.
    pub fn next_used(&self, from: usize) -> usize {
        self.next(from, 0).unwrap_or(self.bits)
    }

    /// Where the run of free bits that ends before `end` begins.
    pub fn run_start(&self, end: usize) -> usize {
        let mut at = end.min(self.bits);
        while at > 0 {
            let (word, bit) = ((at - 1) / 64, (at - 1) % 64);
            // The set bits at or below `bit`, moved to the top.
            let below = self.words[word] << (63 - bit);
            if below != 0 {
                return at - below.leading_zeros() as usize;
            }
            at = word * 64;
        }
        0
    }

    /// The first bit at or after `from` whose word, xored with `flip`, has it set.
    fn next(&self, from: usize, flip: u64) -> Option<usize> {
        if from >= self.bits {
            return None;
        }
        let mut index = from / 64;
        let mut word = (self.words[index] ^ flip) & (u64::MAX << (from % 64));
        loop {
            if word != 0 {
                let at = index * 64 + word.trailing_zeros() as usize;
                return (at < self.bits).then_some(at);
            }
            index += 1;
            word = *self.words.get(index)? ^ flip;
        }
    }

    /// The first run of at least `want` free bits in `from..to`, else the longest one there: (first, length up to
    /// `want`). A run counts from where it starts inside the range, and may go on past `to`.
    pub fn find_run(&self, from: usize, to: usize, want: usize) -> Option<(usize, usize)> {
        let mut best: Option<(usize, usize)> = None;
        let mut at = from;
        while let Some(first) = self.next_free(at) {
            if first >= to {
                break;
            }
            let end = self.next_used(first);
            let len = end - first;
            if len >= want {
                return Some((first, want));
            }
            if best.is_none_or(|(_, most)| len > most) {
                best = Some((first, len));
            }
            at = end;
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_ranges() {
        let mut map = [0u8; 32];
        assert_eq!(assign(&mut map, 3, 100, true), 0);
        for n in 0..256 {
            assert_eq!(test(&map, n), (3..103).contains(&n), "{n}");
        }
        assert_eq!(next_zero(&map, 3, 256), Some(103));
        assert_eq!(next_zero(&map, 3, 103), None);
        assert_eq!(count_ones(&map, 0, 250), 100);
        assert_eq!(count_ones(&map, 100, 11), 3);
        assert_eq!(count_ones(&map, 1, 4), 2);
        assert_eq!(assign(&mut map, 2, 2, true), 1);
        assert_eq!(assign(&mut map, 0, 256, false), 155);
        assert!(map.iter().all(|&b| b == 0));
    }

    #[test]
    fn word_runs() {
        let mut map = [0u8; 64];
        assign(&mut map, 0, 10, true);
        assign(&mut map, 20, 100, true);
        let mut words = Words::from_disk(&map, 500);
        assert_eq!(words.free(), 10 + 380);
        assert_eq!(words.find_run(0, 500, 5), Some((10, 5)));
        assert_eq!(words.find_run(0, 500, 11), Some((120, 11)));
        assert_eq!(words.find_run(0, 500, 1000), Some((120, 380)));
        assert_eq!(words.find_run(0, 100, 1000), Some((10, 10)));
        for end in 0..=500 {
            let slow = (0..end).rev().find(|&n| n < 10 || (20..120).contains(&n)).map_or(0, |n| n + 1);
            assert_eq!(words.run_start(end), slow, "{end}");
        }
        assert_eq!(words.assign(15, 10, true), 5);
        assert_eq!(words.find_run(0, 100, 1000), Some((10, 5)));
        assert_eq!(words.assign(490, 100, true), 10);
        assert_eq!(words.next_free(490), None);
        assert_eq!(words.next_used(130), 490);
    }
}
