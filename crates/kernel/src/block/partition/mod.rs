//! Partition tables: what a disk says that it is divided into.
//!
//! `gpt.rs` is looked for first, as its disks carry a protective table of the other kind; then `mbr.rs`. A table is
//! whatever somebody wrote to the disk: every number in it is checked against the disk's size.

mod gpt;
mod mbr;

#[cfg(test)]
mod tests;

use abi::Result;

use super::SECTOR;

/// Highest partition number.
pub const MAX_PARTITIONS: u32 = 255;

/// One partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Partition {
    /// From 1.
    pub number: u32,
    /// First sector, of 512 bytes.
    pub start: u64,
    /// Sectors.
    pub sectors: u64,
    /// PARTUUID, in lower case.
    pub uuid: Option<String>,
    /// PARTLABEL.
    pub label: Option<String>,
}

/// Reads from a disk: whole sectors from a sector on.
pub type ReadSectors<'a> = &'a dyn Fn(u64, &mut [u8]) -> Result<()>;

/// The partitions of a disk of so many sectors, by number. None without a table. Errors are the disk's.
pub fn scan(sectors: u64, read: ReadSectors<'_>) -> Result<Vec<Partition>> {
    if sectors == 0 {
        return Ok(Vec::new());
    }
    let mut first = [0; SECTOR as usize];
    read(0, &mut first)?;
    let mut found = match gpt::scan(sectors, &first, read)? {
        Some(found) => found,
        None => mbr::scan(sectors, &first, read)?,
    };
    found.retain(|p| (1..=MAX_PARTITIONS).contains(&p.number));
    Ok(found)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes)
}
