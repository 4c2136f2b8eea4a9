//! The bytes of one directory block: entries, free room, checksum tail. Pure functions; every offset that comes from
//! the disk is checked before it is used.

use crate::csum::crc32c;
use crate::layout::dirent::{DIRENT_HEADER, FT_TAIL, RawDirent, RawDirentTail, TAIL_SIZE};
use crate::layout::{U16, U32};
use zerocopy::{FromBytes, IntoBytes};

/// How directory blocks of one directory look.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Format {
    pub block_size: usize,
    /// Leaves end in a checksum.
    pub tail: bool,
    /// Entries have a type.
    pub filetype: bool,
    /// The highest inode number.
    pub max_ino: u32,
    /// Seed of the checksums.
    pub seed: u32,
}

/// What is wrong with a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bad(pub &'static str);

/// One entry; `ino` 0 for an unused one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<'a> {
    pub offset: usize,
    pub len: usize,
    pub ino: u32,
    /// `file_type`, 0 without the feature.
    pub kind: u8,
    pub name: &'a [u8],
}

/// Bytes that an entry with a name of `len` bytes takes.
pub(crate) fn entry_size(len: usize) -> usize {
    (DIRENT_HEADER + len).next_multiple_of(4)
}

/// `rec_len` of a block that may have 64 KiB, in which the longest length doesn't fit 16 bits.
fn decode_len(stored: u16, block_size: usize) -> usize {
    let stored = usize::from(stored);
    match block_size < 65536 {
        true => stored,
        false if stored == 0 || stored == 65535 => block_size,
        false => (stored & 65532) | (stored & 3) << 16,
    }
}

fn encode_len(len: usize, block_size: usize) -> u16 {
    if len >= 65536 && len == block_size { 65535 } else { len as u16 }
}

/// Entries one after the other, from the block's start to `end`.
pub(crate) struct Entries<'a> {
    format: &'a Format,
    data: &'a [u8],
    offset: usize,
    end: usize,
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>, Bad>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.offset >= self.end {
            return None;
        }
        let entry = self.format.entry(self.data, self.offset).and_then(|entry| {
            if entry.offset + entry.len > self.end { Err(Bad("directory entry overrun")) } else { Ok(entry) }
        });
        self.offset = entry.as_ref().map_or(self.end, |entry| entry.offset + entry.len);
        Some(entry)
    }
}

impl Format {
    /// Where a leaf's entries end.
    pub(crate) fn leaf_end(&self) -> usize {
        self.block_size - if self.tail { TAIL_SIZE } else { 0 }
    }

    /// Entries of a leaf.
    pub(crate) fn entries<'a>(&'a self, data: &'a [u8]) -> Entries<'a> {
        Entries { format: self, data, offset: 0, end: self.leaf_end().min(data.len()) }
    }

    /// Entries of some bytes that aren't a block: inline data.
    pub(crate) fn entries_of<'a>(&'a self, data: &'a [u8]) -> Entries<'a> {
        Entries { format: self, data, offset: 0, end: data.len() }
    }

    /// The entry at `offset`.
    pub(crate) fn entry<'a>(&self, data: &'a [u8], offset: usize) -> Result<Entry<'a>, Bad> {
        let rest = data.get(offset..).ok_or(Bad("directory entry overrun"))?;
        let (raw, rest) = RawDirent::read_from_prefix(rest).map_err(|_| Bad("directory entry overrun"))?;
        let len = decode_len(raw.rec_len.get(), self.block_size);
        let name_len = usize::from(raw.name_len);
        if len < entry_size(1) || !len.is_multiple_of(4) {
            return Err(Bad("rec_len is smaller than minimal or unaligned"));
        }
        if len > data.len() - offset {
            return Err(Bad("directory entry overrun"));
        }
        if entry_size(name_len) > len {
            return Err(Bad("rec_len is too small for name_len"));
        }
        let ino = raw.inode.get();
        if ino > self.max_ino {
            return Err(Bad("inode out of bounds"));
        }
        let kind = if self.filetype { raw.file_type } else { 0 };
        Ok(Entry { offset, len, ino, kind, name: &rest[..name_len] })
    }

    /// The entry with a name.
    pub(crate) fn find<'a>(&'a self, entries: Entries<'a>, name: &[u8]) -> Result<Option<Entry<'a>>, Bad> {
        for entry in entries {
            let entry = entry?;
            if entry.ino != 0 && entry.name == name {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    /// Where an entry of `size` bytes fits: offset of the entry that has the room.
    pub(crate) fn room(&self, entries: Entries<'_>, size: usize) -> Result<Option<usize>, Bad> {
        for entry in entries {
            let entry = entry?;
            let used = if entry.ino == 0 { 0 } else { entry_size(entry.name.len()) };
            if entry.len - used >= size {
                return Ok(Some(entry.offset));
            }
        }
        Ok(None)
    }

    /// Writes an entry into the room at `offset` that [`Self::room`] found.
    pub(crate) fn place(
        &self,
        data: &mut [u8],
        offset: usize,
        name: &[u8],
        ino: u32,
        kind: u8,
    ) -> Result<(), Bad> {
        let entry = self.entry(data, offset)?;
        let (len, used) = (entry.len, if entry.ino == 0 { 0 } else { entry_size(entry.name.len()) });
        if len < used + entry_size(name.len()) {
            return Err(Bad("no room where there was some"));
        }
        if used > 0 {
            self.set_len(data, offset, used);
        }
        self.write(data, offset + used, len - used, name, ino, kind);
        Ok(())
    }

    /// Writes an entry of `len` bytes.
    pub(crate) fn write(&self, data: &mut [u8], offset: usize, len: usize, name: &[u8], ino: u32, kind: u8) {
        let raw = RawDirent {
            inode: U32::new(ino),
            rec_len: U16::new(encode_len(len, self.block_size)),
            name_len: name.len() as u8,
            file_type: if self.filetype { kind } else { 0 },
        };
        data[offset..offset + DIRENT_HEADER].copy_from_slice(raw.as_bytes());
        data[offset + DIRENT_HEADER..offset + DIRENT_HEADER + name.len()].copy_from_slice(name);
    }

    pub(crate) fn set_len(&self, data: &mut [u8], offset: usize, len: usize) {
        data[offset + 4..offset + 6].copy_from_slice(&encode_len(len, self.block_size).to_le_bytes());
    }

    /// Points the entry at `offset` to another inode.
    pub(crate) fn set_ino(&self, data: &mut [u8], offset: usize, ino: u32, kind: u8) -> Result<(), Bad> {
        self.entry(data, offset)?;
        data[offset..offset + 4].copy_from_slice(&ino.to_le_bytes());
        if self.filetype {
            data[offset + 7] = kind;
        }
        Ok(())
    }

    /// Removes the entry at `offset` among those of `data[..end]`: its room goes to the one before it.
    pub(crate) fn remove(&self, data: &mut [u8], end: usize, offset: usize) -> Result<(), Bad> {
        let mut before = None;
        let entries = Entries { format: self, data, offset: 0, end: end.min(data.len()) };
        let mut found = None;
        for entry in entries {
            let entry = entry?;
            if entry.offset == offset {
                found = Some(entry.len);
                break;
            }
            before = Some((entry.offset, entry.len));
        }
        let len = found.ok_or(Bad("the entry to be deleted is gone"))?;
        match before {
            Some((at, room)) => {
                self.set_len(data, at, room + len);
                data[offset..offset + len].fill(0);
            }
            None => {
                data[offset..offset + 4].fill(0);
                data[offset + 6..offset + len].fill(0);
            }
        }
        Ok(())
    }

    /// Makes an empty leaf.
    pub(crate) fn init_leaf(&self, data: &mut [u8]) {
        data.fill(0);
        self.set_len(data, 0, self.leaf_end());
        self.init_tail(data);
    }

    pub(crate) fn init_tail(&self, data: &mut [u8]) {
        if self.tail {
            let tail = RawDirentTail {
                reserved_zero1: U32::new(0),
                rec_len: U16::new(TAIL_SIZE as u16),
                reserved_zero2: 0,
                reserved_ft: FT_TAIL,
                checksum: U32::new(0),
            };
            let end = self.leaf_end();
            data[end..].copy_from_slice(tail.as_bytes());
        }
    }

    /// Sets a leaf's checksum.
    pub(crate) fn seal_leaf(&self, data: &mut [u8]) {
        if self.tail {
            let end = self.leaf_end();
            let sum = crc32c(self.seed, &data[..end]);
            data[end + 8..].copy_from_slice(&sum.to_le_bytes());
        }
    }

    /// Whether a leaf's checksum is right.
    pub(crate) fn leaf_is_sound(&self, data: &[u8]) -> bool {
        if !self.tail {
            return true;
        }
        let end = self.leaf_end();
        let Ok(tail) = RawDirentTail::read_from_bytes(&data[end..]) else { return false };
        tail.reserved_zero1.get() == 0
            && usize::from(tail.rec_len.get()) == TAIL_SIZE
            && tail.reserved_zero2 == 0
            && tail.reserved_ft == FT_TAIL
            && tail.checksum.get() == crc32c(self.seed, &data[..end])
    }

    /// Fills a leaf with `entries` (inode, type, name), closely packed. They fit.
    pub(crate) fn pack<'n>(&self, data: &mut [u8], entries: impl Iterator<Item = (u32, u8, &'n [u8])>) {
        data.fill(0);
        let end = self.leaf_end();
        let (mut at, mut last) = (0, None);
        for (ino, kind, name) in entries {
            let size = entry_size(name.len());
            if at + size > end {
                break;
            }
            self.write(data, at, size, name, ino, kind);
            last = Some(at);
            at += size;
        }
        let last = last.unwrap_or(0);
        self.set_len(data, last, end - last);
        self.init_tail(data);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMAT: Format = Format { block_size: 1024, tail: true, filetype: true, max_ino: 1000, seed: 7 };

    fn names(data: &[u8]) -> Vec<Vec<u8>> {
        FORMAT.entries(data).map(Result::unwrap).filter(|e| e.ino != 0).map(|e| e.name.to_vec()).collect()
    }

    #[test]
    fn entries_come_and_go() {
        let mut data = vec![0; 1024];
        FORMAT.init_leaf(&mut data);
        let mut count = 0;
        loop {
            let name = format!("file{count}");
            let Some(at) = FORMAT.room(FORMAT.entries(&data), entry_size(name.len())).unwrap() else { break };
            FORMAT.place(&mut data, at, name.as_bytes(), count + 1, 1).unwrap();
            count += 1;
        }
        assert_eq!(names(&data).len(), count as usize);
        FORMAT.seal_leaf(&mut data);
        assert!(FORMAT.leaf_is_sound(&data));
        for i in 0..count {
            let name = format!("file{i}");
            let at = FORMAT.find(FORMAT.entries(&data), name.as_bytes()).unwrap().unwrap().offset;
            FORMAT.remove(&mut data, FORMAT.leaf_end(), at).unwrap();
        }
        assert!(names(&data).is_empty());
        assert!(!FORMAT.leaf_is_sound(&data));
        assert_eq!(FORMAT.room(FORMAT.entries(&data), 1012), Ok(Some(0)));
    }

    #[test]
    fn nonsense_is_told() {
        let mut data = vec![0; 1024];
        for len in [0u16, 8, 13, 1012, 1020, 4096] {
            FORMAT.init_leaf(&mut data);
            data[4..6].copy_from_slice(&len.to_le_bytes());
            let ok = FORMAT.entries(&data).all(|entry| entry.is_ok());
            assert_eq!(ok, len == 1012, "{len}");
        }
        FORMAT.init_leaf(&mut data);
        data[6] = 255;
        data[4..6].copy_from_slice(&12u16.to_le_bytes());
        assert!(FORMAT.entries(&data).any(|entry| entry.is_err()));
    }
}
