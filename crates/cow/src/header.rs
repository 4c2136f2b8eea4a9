//! The header of a COW file, in its four layouts.
//!
//! Magic and version are the first two words of each. Version 1 is in the byte order of the machine that wrote it, the
//! others are big-endian. `V3Broken` is what 64-bit machines wrote for version 3 before December 2005: a 64-bit mtime
//! moved everything after it by four bytes, so that the four bytes where version 3 has the start of an absolute name
//! are zero.

use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::{Error, Result, SECTOR};

/// "OOOM"
const MAGIC: u32 = 0x4f4f_4f4d;
/// Bytes that hold any header.
pub(crate) const MAX_HEADER: usize = 4136;
/// What version 3 aligns its bitmap and sectors to.
const ALIGNMENT: u64 = 4096;
/// The largest backing file that is believed, bytes: its bitmap takes 128 MiB.
const MAX_SIZE: u64 = 1 << 39;

/// A layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// The first, in host byte order (here: little-endian).
    V1,
    /// The second.
    V2,
    /// The third, the only one that is written.
    V3,
    /// The third with a 64-bit mtime.
    V3Broken,
}

/// Where a layout has its fields.
struct Layout {
    len: usize,
    mtime: usize,
    size: usize,
    sector_size: usize,
    alignment: Option<usize>,
    format: Option<usize>,
    name: usize,
    name_len: usize,
}

impl Version {
    fn layout(self) -> Layout {
        let (alignment, format) = (None, None);
        match self {
            Version::V1 => Layout {
                len: 280,
                mtime: 264,
                size: 268,
                sector_size: 276,
                alignment,
                format,
                name: 8,
                name_len: 256,
            },
            Version::V2 => Layout {
                len: 4120,
                mtime: 4104,
                size: 4108,
                sector_size: 4116,
                alignment,
                format,
                name: 8,
                name_len: 4096,
            },
            Version::V3 => Layout {
                len: 4128,
                mtime: 8,
                size: 12,
                sector_size: 20,
                alignment: Some(24),
                format: Some(28),
                name: 32,
                name_len: 4096,
            },
            // The low half of the mtime.
            Version::V3Broken => Layout {
                len: 4136,
                mtime: 12,
                size: 16,
                sector_size: 24,
                alignment: Some(28),
                format: Some(32),
                name: 36,
                name_len: 4096,
            },
        }
    }
}

/// What a COW file says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Its layout.
    pub version: Version,
    /// When the backing file was last changed, seconds since 1970, as 32 bits hold it.
    pub mtime: u32,
    /// Length of the backing file and so of the disk, bytes.
    pub size: u64,
    /// What bitmap and sectors begin at multiples of.
    alignment: u64,
    /// The backing file.
    pub backing: PathBuf,
}

impl Header {
    /// A header, if the name fits into it.
    pub fn new(version: Version, backing: &Path, mtime: u32, size: u64) -> Result<Header> {
        let alignment = if matches!(version, Version::V1 | Version::V2) { SECTOR } else { ALIGNMENT };
        let header = Header { version, mtime, size, alignment, backing: backing.to_owned() };
        header.encode().map(|_| header)
    }

    /// Reads the start of a file; none if it isn't a COW file's.
    pub fn parse(bytes: &[u8]) -> Option<Result<Header>> {
        let word = |at: usize| bytes.get(at..at + 4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]));
        let (magic, version) = (word(0)?, word(4)?);
        let version = match (magic, version) {
            _ if magic.swap_bytes() == MAGIC && version.swap_bytes() == 1 => Version::V1,
            (MAGIC, 1) => return Some(Err("version 1, written on a big-endian machine".into())),
            (MAGIC, 2) => Version::V2,
            (MAGIC, 3) if word(32) == Some(0) => Version::V3Broken,
            (MAGIC, 3) => Version::V3,
            (MAGIC, n) => return Some(Err(format!("version {n}, which is not known"))),
            _ => return None,
        };
        Some(Header::decode(version, bytes))
    }

    fn decode(version: Version, bytes: &[u8]) -> Result<Header> {
        let layout = version.layout();
        let bytes = bytes.get(..layout.len).ok_or("its header is cut short")?;
        let field = |at: usize, len: usize| {
            bytes[at..at + len].iter().fold((0u64, 0u64, 0), |(be, le, shift), byte| {
                (be << 8 | u64::from(*byte), le | u64::from(*byte) << shift, shift + 8)
            })
        };
        let number = |at, len| {
            let (be, le, _) = field(at, len);
            if version == Version::V1 { le } else { be }
        };
        let size = number(layout.size, 8);
        if size > MAX_SIZE {
            return Err(format!("its backing file is said to have {size} bytes"));
        }
        match number(layout.sector_size, 4) {
            SECTOR => {}
            other => return Err(format!("its sectors have {other} bytes; only {SECTOR} are supported")),
        }
        if let Some(at) = layout.format
            && number(at, 4) != 0
        {
            return Err(format!("its format is {}; only 0, a bitmap, is known", number(at, 4)));
        }
        let alignment = layout.alignment.map_or(SECTOR, |at| number(at, 4));
        if !alignment.is_power_of_two() || !(SECTOR..=1 << 24).contains(&alignment) {
            return Err(format!("its alignment is {alignment}"));
        }
        let name = &bytes[layout.name..layout.name + layout.name_len];
        let name = &name[..name.iter().position(|b| *b == 0).unwrap_or(name.len())];
        Ok(Header {
            version,
            mtime: number(layout.mtime, 4) as u32,
            size,
            alignment,
            backing: PathBuf::from(std::ffi::OsString::from_vec(name.to_vec())),
        })
    }

    /// The header as it is in the file, in its own layout.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let layout = self.version.layout();
        let mut bytes = vec![0; layout.len];
        let mut put = |at: usize, value: &[u8]| {
            let field = &mut bytes[at..at + value.len()];
            field.copy_from_slice(value);
            if self.version == Version::V1 {
                field.reverse();
            }
        };
        let version: u32 = match self.version {
            Version::V1 => 1,
            Version::V2 => 2,
            Version::V3 | Version::V3Broken => 3,
        };
        put(0, &MAGIC.to_be_bytes());
        put(4, &version.to_be_bytes());
        put(layout.mtime, &self.mtime.to_be_bytes());
        put(layout.size, &self.size.to_be_bytes());
        put(layout.sector_size, &(SECTOR as u32).to_be_bytes());
        if let Some(at) = layout.alignment {
            put(at, &(self.alignment as u32).to_be_bytes());
        }
        let name = self.backing.as_os_str().as_bytes();
        if name.len() >= layout.name_len {
            return Err::<_, Error>(format!("the name of its backing file would have {} bytes", name.len()));
        }
        bytes[layout.name..layout.name + name.len()].copy_from_slice(name);
        Ok(bytes)
    }

    /// Sectors of the disk.
    pub fn sectors(&self) -> u64 {
        self.size.div_ceil(SECTOR)
    }

    /// Where the bitmap is in the file.
    pub fn bitmap_offset(&self) -> u64 {
        let len = self.version.layout().len as u64;
        match self.version {
            Version::V1 | Version::V2 => len,
            Version::V3 | Version::V3Broken => len.next_multiple_of(self.alignment),
        }
    }

    /// Bytes of the bitmap. The first versions count one byte too few where the number of sectors is no multiple of
    /// eight, and so their last bits lie where the sectors begin, or in what is skipped before.
    pub fn bitmap_len(&self) -> u64 {
        match self.version {
            Version::V1 | Version::V2 => (self.size + SECTOR - 1) / (8 * SECTOR),
            Version::V3 | Version::V3Broken => self.sectors().div_ceil(8),
        }
    }

    /// Where sector 0 is in the file.
    pub fn data_offset(&self) -> u64 {
        (self.bitmap_offset() + self.bitmap_len()).next_multiple_of(self.alignment)
    }

    /// Sectors that have a bit of their own in the file; the rest of a disk in the first versions can't be written.
    pub fn writable_sectors(&self) -> u64 {
        // Between the bitmap and the sectors there may be room for the last byte.
        self.sectors().min((self.data_offset() - self.bitmap_offset()) * 8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(version: Version) -> Header {
        Header::new(version, Path::new("/images/debian.ext3"), 0x4001_0203, (1 << 20) + 512)
            .expect("the name fits")
    }

    #[test]
    fn every_version_comes_back() {
        for version in [Version::V1, Version::V2, Version::V3, Version::V3Broken] {
            let header = header(version);
            let mut bytes = header.encode().expect("the name fits");
            bytes.resize(MAX_HEADER, 0);
            assert_eq!(Header::parse(&bytes), Some(Ok(header)));
        }
    }

    #[test]
    fn offsets_are_uml_s() {
        let v3 = Header { size: 1 << 20, ..header(Version::V3) };
        assert_eq!((v3.bitmap_offset(), v3.bitmap_len(), v3.data_offset()), (8192, 256, 12288));
        let v1 = Header { size: 1 << 20, ..header(Version::V1) };
        assert_eq!((v1.bitmap_offset(), v1.bitmap_len(), v1.data_offset()), (280, 256, 1024));
        let v2 = Header { size: 1 << 20, ..header(Version::V2) };
        assert_eq!((v2.bitmap_offset(), v2.bitmap_len(), v2.data_offset()), (4120, 256, 4608));
    }

    #[test]
    fn hostile_headers_are_refused() {
        let good = header(Version::V3).encode().expect("the name fits");
        assert_eq!(Header::parse(b"OOO"), None);
        assert_eq!(Header::parse(&[0; 4136]), None);
        assert!(matches!(Header::parse(&good[..100]), Some(Err(_))));
        for (at, value) in
            [(4, 9u32), (12, 0x7fff_ffff), (20, 0), (20, 4096), (24, 0), (24, 3), (24, 1 << 31), (28, 1)]
        {
            let mut bytes = good.clone();
            bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
            assert!(matches!(Header::parse(&bytes), Some(Err(_))), "{value:#x} at {at}");
        }
        let long = Header { backing: "x".repeat(300).into(), ..header(Version::V1) };
        assert!(long.encode().is_err());
    }
}
