//! Journal blocks: making and reading descriptor, revoke and commit blocks, and their checksums.

use super::format::{
    COMMIT, COMMIT_CHECKSUM, COMPAT_CHECKSUM, CRC32_TYPE, DESCRIPTOR, HEADER, INCOMPAT_64BIT,
    INCOMPAT_CSUM_V2, INCOMPAT_CSUM_V3, MAGIC, REVOKE, REVOKE_HEADER, Superblock, TAG_LAST, TAG_SAME_UUID,
    TAIL, UUID,
};
use crate::csum::crc32c;

/// How blocks are laid out and checked, as the superblock's features say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    pub block_size: usize,
    /// Block numbers have 64 bits.
    pub wide: bool,
    pub checksum: Checksum,
    /// crc32c of the journal's UUID.
    pub seed: u32,
    pub uuid: [u8; 16],
}

/// The journal's checksum versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// None at all.
    None,
    /// One crc32 of all logged blocks, in the commit block.
    V1,
    /// crc32c in every block; 16 bits of it for logged data.
    V2,
    /// crc32c in every block.
    V3,
}

/// A descriptor's entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    pub block: u64,
    pub flags: u32,
    pub checksum: u32,
}

impl Format {
    pub fn new(superblock: &Superblock, block_size: usize) -> Format {
        let checksum = if superblock.has_incompat(INCOMPAT_CSUM_V3) {
            Checksum::V3
        } else if superblock.has_incompat(INCOMPAT_CSUM_V2) {
            Checksum::V2
        } else if superblock.feature_compat.get() & COMPAT_CHECKSUM != 0 {
            Checksum::V1
        } else {
            Checksum::None
        };
        Format {
            block_size,
            wide: superblock.has_incompat(INCOMPAT_64BIT),
            checksum,
            seed: crc32c(!0, &superblock.uuid),
            uuid: superblock.uuid,
        }
    }

    /// Whether blocks carry crc32c checksums.
    pub fn has_tails(&self) -> bool {
        matches!(self.checksum, Checksum::V2 | Checksum::V3)
    }

    /// Bytes of a tag without UUID. Version 2 pads its tags by two bytes, whatever the block numbers' width.
    pub fn tag_len(&self) -> usize {
        match (self.checksum, self.wide) {
            (Checksum::V3, _) => 16,
            (Checksum::V2, wide) => {
                if wide {
                    14
                } else {
                    10
                }
            }
            (_, wide) => {
                if wide {
                    12
                } else {
                    8
                }
            }
        }
    }

    fn tail(&self) -> usize {
        if self.has_tails() { TAIL } else { 0 }
    }

    /// Where the tags or block numbers of a descriptor or revoke block end.
    pub fn payload_end(&self) -> usize {
        self.block_size - self.tail()
    }

    /// Tags in a descriptor block, the first of which has a UUID.
    pub fn tags_per_block(&self) -> usize {
        (self.payload_end() - HEADER - UUID) / self.tag_len()
    }

    fn revoke_len(&self) -> usize {
        if self.wide { 8 } else { 4 }
    }

    /// Block numbers in a revoke block.
    pub fn revokes_per_block(&self) -> usize {
        (self.payload_end() - REVOKE_HEADER) / self.revoke_len()
    }

    /// Log blocks of a transaction.
    pub fn transaction_len(&self, blocks: usize, revokes: usize) -> usize {
        1 + blocks + blocks.div_ceil(self.tags_per_block()) + revokes.div_ceil(self.revokes_per_block())
    }

    /// The checksum of a logged block as the log has it.
    pub fn data_checksum(&self, sequence: u32, data: &[u8]) -> u32 {
        crc32c(crc32c(self.seed, &sequence.to_be_bytes()), data)
    }

    /// Whether a tag's checksum fits the logged block.
    pub fn data_matches(&self, tag: &Tag, sequence: u32, data: &[u8]) -> bool {
        match self.checksum {
            Checksum::V3 => tag.checksum == self.data_checksum(sequence, data),
            Checksum::V2 => tag.checksum == self.data_checksum(sequence, data) & 0xFFFF,
            Checksum::None | Checksum::V1 => true,
        }
    }

    /// The tail checksum of a descriptor or revoke block.
    fn tail_checksum(&self, block: &[u8]) -> u32 {
        let end = self.block_size - TAIL;
        crc32c(crc32c(self.seed, &block[..end]), &[0; TAIL])
    }

    /// Whether a descriptor or revoke block's checksum is right, or there is none.
    pub fn tail_matches(&self, block: &[u8]) -> bool {
        let stored = block.last_chunk().map(|tail| u32::from_be_bytes(*tail));
        !self.has_tails() || stored == Some(self.tail_checksum(block))
    }

    fn set_tail(&self, block: &mut [u8]) {
        if self.has_tails() {
            let sum = self.tail_checksum(block);
            let end = self.block_size - TAIL;
            block[end..].copy_from_slice(&sum.to_be_bytes());
        }
    }

    /// The crc32c of a commit block.
    pub fn commit_checksum(&self, block: &[u8]) -> u32 {
        let (before, after) = (&block[..COMMIT_CHECKSUM], &block[COMMIT_CHECKSUM + 4..]);
        crc32c(crc32c(crc32c(self.seed, before), &[0; 4]), after)
    }

    fn new_block(&self, blocktype: u32, sequence: u32) -> Vec<u8> {
        let mut block = vec![0; self.block_size];
        put(&mut block, 0, MAGIC);
        put(&mut block, 4, blocktype);
        put(&mut block, 8, sequence);
        block
    }

    /// A descriptor block for up to `tags_per_block` tags; their uuid and last flags are set here.
    pub fn descriptor(&self, sequence: u32, tags: &[Tag]) -> Vec<u8> {
        let mut block = self.new_block(DESCRIPTOR, sequence);
        let mut at = HEADER;
        for (n, tag) in tags.iter().enumerate() {
            let mut flags = tag.flags;
            if n > 0 {
                flags |= TAG_SAME_UUID;
            }
            if n + 1 == tags.len() {
                flags |= TAG_LAST;
            }
            put(&mut block, at, tag.block as u32);
            match self.checksum {
                Checksum::V3 => {
                    put(&mut block, at + 4, flags);
                    put(&mut block, at + 8, (tag.block >> 32) as u32);
                    put(&mut block, at + 12, tag.checksum);
                }
                _ => {
                    put(&mut block, at + 4, (tag.checksum & 0xFFFF) << 16 | flags);
                    if self.wide {
                        put(&mut block, at + 8, (tag.block >> 32) as u32);
                    }
                }
            }
            at += self.tag_len();
            if n == 0 {
                block[at..at + UUID].copy_from_slice(&self.uuid);
                at += UUID;
            }
        }
        self.set_tail(&mut block);
        block
    }

    /// The tags of a descriptor block. Ends where the block does, whatever its content.
    pub fn tags(&self, block: &[u8]) -> Vec<Tag> {
        let mut tags = Vec::new();
        let mut at = HEADER;
        while at + self.tag_len() <= self.payload_end() {
            let low = u64::from(get(block, at));
            let word = get(block, at + 4);
            let (flags, checksum, high) = match self.checksum {
                Checksum::V3 => (word, get(block, at + 12), get(block, at + 8)),
                _ => (word & 0xFFFF, word >> 16, if self.wide { get(block, at + 8) } else { 0 }),
            };
            let high = if self.wide { u64::from(high) << 32 } else { 0 };
            tags.push(Tag { block: high | low, flags, checksum });
            at += self.tag_len();
            if flags & TAG_SAME_UUID == 0 {
                at += UUID;
            }
            if flags & TAG_LAST != 0 {
                break;
            }
        }
        tags
    }

    /// A revoke block for up to `revokes_per_block` blocks.
    pub fn revoke(&self, sequence: u32, blocks: &[u64]) -> Vec<u8> {
        let mut block = self.new_block(REVOKE, sequence);
        let mut at = REVOKE_HEADER;
        for number in blocks {
            if self.wide {
                put(&mut block, at, (number >> 32) as u32);
                put(&mut block, at + 4, *number as u32);
            } else {
                put(&mut block, at, *number as u32);
            }
            at += self.revoke_len();
        }
        put(&mut block, HEADER, at as u32);
        self.set_tail(&mut block);
        block
    }

    /// The block numbers of a revoke block; none if its count is out of bounds.
    pub fn revoked(&self, block: &[u8]) -> Vec<u64> {
        let end = get(block, HEADER) as usize;
        if end > self.payload_end() || end < REVOKE_HEADER {
            return Vec::new();
        }
        let numbers = block[REVOKE_HEADER..end].chunks_exact(self.revoke_len());
        numbers.map(|bytes| bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))).collect()
    }

    /// A commit block. `data_crc` is version 1's checksum of the logged blocks.
    pub fn commit(&self, sequence: u32, time: (u64, u32), data_crc: u32) -> Vec<u8> {
        let mut block = self.new_block(COMMIT, sequence);
        block[0x30..0x38].copy_from_slice(&time.0.to_be_bytes());
        put(&mut block, 0x38, time.1);
        match self.checksum {
            Checksum::None => {}
            Checksum::V1 => {
                block[0x0C] = CRC32_TYPE;
                block[0x0D] = 4;
                put(&mut block, COMMIT_CHECKSUM, data_crc);
            }
            Checksum::V2 | Checksum::V3 => {
                let sum = self.commit_checksum(&block);
                put(&mut block, COMMIT_CHECKSUM, sum);
            }
        }
        block
    }
}

fn put(block: &mut [u8], at: usize, value: u32) {
    block[at..at + 4].copy_from_slice(&value.to_be_bytes());
}

/// The big-endian word at `at`; 0 past the end.
pub fn get(block: &[u8], at: usize) -> u32 {
    block.get(at..at + 4).map_or(0, |bytes| bytes.iter().fold(0, |word, byte| word << 8 | u32::from(*byte)))
}

/// Adds to version 1's crc32: polynomial 0x04C11DB7, high bits first, no inversion. Begins with `!0`.
pub fn crc32_be(mut crc: u32, data: &[u8]) -> u32 {
    for byte in data {
        crc = crc << 8 ^ CRC32_BE[(crc >> 24) as usize ^ usize::from(*byte)];
    }
    crc
}

static CRC32_BE: [u32; 256] = {
    let mut table = [0; 256];
    let mut n = 0;
    while n < 256 {
        let mut crc = (n as u32) << 24;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000_0000 != 0 { crc << 1 ^ 0x04C1_1DB7 } else { crc << 1 };
            bit += 1;
        }
        table[n] = crc;
        n += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::super::format::TAG_ESCAPED;
    use super::*;

    fn formats() -> impl Iterator<Item = Format> {
        [Checksum::None, Checksum::V1, Checksum::V2, Checksum::V3].into_iter().flat_map(|checksum| {
            [false, true].map(|wide| Format {
                block_size: 1024,
                wide,
                checksum,
                seed: 0x1234_5678,
                uuid: [7; 16],
            })
        })
    }

    #[test]
    fn tags_and_revokes_come_back() {
        for format in formats() {
            let high = if format.wide { 5 << 32 } else { 0 };
            let mask = match format.checksum {
                Checksum::V3 => !0,
                _ => 0xFFFF,
            };
            let tags: Vec<Tag> = (0..format.tags_per_block() as u64)
                .map(|n| Tag {
                    block: high | (0x8000_0000 + n),
                    flags: n as u32 & TAG_ESCAPED,
                    checksum: 0x1234_5678 & mask,
                })
                .collect();
            let block = format.descriptor(3, &tags);
            assert!(format.tail_matches(&block), "{format:?}");
            let read = format.tags(&block);
            assert_eq!(read.len(), tags.len());
            for (read, tag) in read.iter().zip(&tags) {
                assert_eq!(
                    (read.block, read.flags & TAG_ESCAPED, read.checksum),
                    (tag.block, tag.flags, tag.checksum)
                );
            }
            let numbers: Vec<u64> = (0..format.revokes_per_block() as u64).map(|n| high | n).collect();
            let block = format.revoke(3, &numbers);
            assert!(format.tail_matches(&block));
            assert_eq!(format.revoked(&block), numbers);
        }
    }

    #[test]
    fn damage_shows() {
        let format = Format { block_size: 1024, wide: true, checksum: Checksum::V3, seed: 1, uuid: [0; 16] };
        let mut block = format.descriptor(1, &[Tag { block: 1, flags: 0, checksum: 0 }]);
        block[20] ^= 1;
        assert!(!format.tail_matches(&block));
        let commit = format.commit(1, (2, 3), 0);
        assert_eq!(get(&commit, COMMIT_CHECKSUM), format.commit_checksum(&commit));
    }

    #[test]
    fn crc32_be_is_mpeg2() {
        // CRC-32/MPEG-2's check value.
        assert_eq!(crc32_be(!0, b"123456789"), 0x0376_E6E7);
    }
}
