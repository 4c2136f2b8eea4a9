//! The list of attributes in a block or an inode: taken apart, put together. Pure.
//!
//! Entries grow from the front, ended by four zero bytes; values lie at the end of the space, aligned to four. In a block
//! they are sorted; value offsets count from the block's start, in an inode from the first entry.

use abi::errno::{ENOSPC, EUCLEAN};

const ENTRY: usize = 16;

/// Where a value is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// In the same space.
    Here(Vec<u8>),
    /// In an inode of its own, of this length.
    Inode {
        /// Its number.
        ino: u32,
        /// Bytes.
        len: u32,
        /// The entry's hash as stored.
        hash: u32,
    },
}

/// One attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attr {
    /// Namespace.
    pub index: u8,
    /// Name without the namespace.
    pub name: Vec<u8>,
    /// Value.
    pub value: Value,
}

impl Attr {
    fn key(&self) -> (u8, usize, &[u8]) {
        (self.index, self.name.len(), &self.name)
    }

    /// Whether it is the one of that name.
    pub fn is(&self, index: u8, name: &[u8]) -> bool {
        self.index == index && self.name == name
    }

    fn hash(&self) -> u32 {
        let mut hash = 0u32;
        for &byte in &self.name {
            hash = (hash << 5) ^ (hash >> 27) ^ u32::from(byte);
        }
        match &self.value {
            Value::Inode { hash, .. } => *hash,
            Value::Here(value) => {
                for word in value.chunks(4) {
                    let mut raw = [0; 4];
                    raw[..word.len()].copy_from_slice(word);
                    hash = (hash << 16) ^ (hash >> 16) ^ u32::from_le_bytes(raw);
                }
                hash
            }
        }
    }
}

fn get16(bytes: &[u8], at: usize) -> usize {
    usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]))
}

fn get32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn padded(len: usize) -> usize {
    len.next_multiple_of(4)
}

/// Takes a list apart that begins at `first`; value offsets count from `base`.
///
/// # Errors
/// `EUCLEAN`.
pub fn parse(space: &[u8], first: usize, base: usize) -> crate::Result<Vec<Attr>> {
    let mut attrs = Vec::new();
    let mut at = first;
    loop {
        let end = at.checked_add(4).filter(|&end| end <= space.len()).ok_or(EUCLEAN)?;
        if space[at..end] == [0; 4] {
            return Ok(attrs);
        }
        if at + ENTRY > space.len() {
            return Err(EUCLEAN);
        }
        let name_len = usize::from(space[at]);
        let name = space.get(at + ENTRY..at + ENTRY + name_len).ok_or(EUCLEAN)?;
        let (offset, ino) = (get16(space, at + 2), get32(space, at + 4));
        let (len, hash) = (get32(space, at + 8), get32(space, at + 12));
        let value = if ino != 0 {
            Value::Inode { ino, len, hash }
        } else {
            let start = base + offset;
            let end = start.checked_add(len as usize).filter(|&end| end <= space.len()).ok_or(EUCLEAN)?;
            if len > 0 && start < at + ENTRY {
                return Err(EUCLEAN);
            }
            Value::Here(space.get(start.min(end)..end).ok_or(EUCLEAN)?.to_vec())
        };
        attrs.push(Attr { index: space[at + 1], name: name.to_vec(), value });
        at += ENTRY + padded(name_len);
    }
}

/// Puts a list into `space`, whose bytes from `first` on are overwritten, and returns the hash over all entries.
///
/// # Errors
/// `ENOSPC`: it doesn't fit, nothing is changed.
pub fn write(space: &mut [u8], first: usize, base: usize, attrs: &[Attr]) -> crate::Result<u32> {
    let need: usize = attrs
        .iter()
        .map(|attr| {
            let value = if let Value::Here(value) = &attr.value { padded(value.len()) } else { 0 };
            ENTRY + padded(attr.name.len()) + value
        })
        .sum();
    if first + need + 4 > space.len() {
        return Err(ENOSPC);
    }
    let mut sorted: Vec<&Attr> = attrs.iter().collect();
    sorted.sort_by(|a, b| a.key().cmp(&b.key()));
    space[first..].fill(0);
    let (mut at, mut values) = (first, space.len());
    let mut total = 0u32;
    let mut hashable = true;
    for attr in sorted {
        let (offset, ino, len) = match &attr.value {
            Value::Here(value) if value.is_empty() => (0, 0, 0),
            Value::Here(value) => {
                values -= padded(value.len());
                space[values..values + value.len()].copy_from_slice(value);
                (values - base, 0, value.len() as u32)
            }
            Value::Inode { ino, len, .. } => (0, *ino, *len),
        };
        let hash = attr.hash();
        space[at] = attr.name.len() as u8;
        space[at + 1] = attr.index;
        space[at + 2..at + 4].copy_from_slice(&(offset as u16).to_le_bytes());
        space[at + 4..at + 8].copy_from_slice(&ino.to_le_bytes());
        space[at + 8..at + 12].copy_from_slice(&len.to_le_bytes());
        space[at + 12..at + 16].copy_from_slice(&hash.to_le_bytes());
        space[at + ENTRY..at + ENTRY + attr.name.len()].copy_from_slice(&attr.name);
        at += ENTRY + padded(attr.name.len());
        hashable &= hash != 0;
        total = (total << 16) ^ (total >> 16) ^ hash;
    }
    Ok(if hashable { total } else { 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attr(index: u8, name: &[u8], value: &[u8]) -> Attr {
        Attr { index, name: name.to_vec(), value: Value::Here(value.to_vec()) }
    }

    #[test]
    fn round_trip() {
        let mut space = vec![0xff; 512];
        let attrs = vec![attr(6, b"selinux", b"context"), attr(1, b"b", b""), attr(1, b"abc", &[7; 33])];
        write(&mut space, 32, 0, &attrs).unwrap();
        let back = parse(&space, 32, 0).unwrap();
        assert_eq!(back, [attr(1, b"b", b""), attr(1, b"abc", &[7; 33]), attr(6, b"selinux", b"context")]);
        let mut small = vec![0; 96];
        assert_eq!(write(&mut small, 4, 4, &attrs), Err(ENOSPC));
        assert_eq!(small, [0; 96]);
    }

    #[test]
    fn hostile_lists() {
        let mut space = vec![0; 256];
        write(&mut space, 32, 0, &[attr(1, b"name", b"value"), attr(6, b"x", b"yz")]).unwrap();
        let mut seed = 9u32;
        for _ in 0..50_000 {
            let mut copy = space.clone();
            for _ in 0..2 {
                seed = seed.wrapping_mul(1664525).wrapping_add(1013904223);
                let at = (seed >> 8) as usize % copy.len();
                copy[at] = (seed >> 20) as u8;
            }
            let _ = parse(&copy, 32, 0);
            let _ = parse(&copy, 4, 4);
        }
    }
}
