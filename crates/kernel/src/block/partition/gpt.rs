//! The GUID partition table: a header in sector 1 and its copy in the last sector, with checksums.

use std::fmt::Write;

use abi::Result;

use super::{MAX_PARTITIONS, Partition, ReadSectors, mbr, u32_at, u64_at};
use crate::block::SECTOR;

const SECTOR_LEN: usize = SECTOR as usize;
const ENTRY: usize = 128;
/// Bytes of a table that is believed in: eight thousand entries.
const MAX_TABLE: usize = 1 << 20;

/// The partitions; none if the disk has no such table.
pub(super) fn scan(
    sectors: u64,
    first: &[u8; SECTOR_LEN],
    read: ReadSectors<'_>,
) -> Result<Option<Vec<Partition>>> {
    // The protective table says that there is one.
    let protected = mbr::entries(first).is_some_and(|all| all.iter().any(|&(_, kind)| kind == 0xee));
    if !protected || sectors < 3 {
        return Ok(None);
    }
    if let Some(found) = table(sectors, 1, read)? {
        return Ok(Some(found));
    }
    let found = table(sectors, sectors - 1, read)?;
    if found.is_some() {
        crate::pr_warn!("Primary GPT is invalid, using alternate GPT.");
    }
    Ok(found)
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

fn table(sectors: u64, at: u64, read: ReadSectors<'_>) -> Result<Option<Vec<Partition>>> {
    let mut header = [0; SECTOR_LEN];
    read(at, &mut header)?;
    let len = u32_at(&header, 12) as usize;
    if &header[..8] != b"EFI PART" || !(92..=SECTOR_LEN).contains(&len) {
        return Ok(None);
    }
    let mut zeroed = header;
    zeroed[16..20].fill(0);
    if crc32(&zeroed[..len]) != u32_at(&header, 16) || u64_at(&header, 24) != at {
        return Ok(None);
    }
    let (usable_from, usable_to) = (u64_at(&header, 40), u64_at(&header, 48));
    let (entries_at, count) = (u64_at(&header, 72), u32_at(&header, 80) as usize);
    let entry_len = u32_at(&header, 84) as usize;
    let bytes = count.saturating_mul(entry_len);
    let sane = usable_from <= usable_to && usable_to < sectors && entry_len == ENTRY && bytes <= MAX_TABLE;
    let blocks = bytes.div_ceil(SECTOR_LEN) as u64;
    if !sane || entries_at.checked_add(blocks).is_none_or(|end| end > sectors) {
        return Ok(None);
    }
    let mut entries = vec![0; blocks as usize * SECTOR_LEN];
    read(entries_at, &mut entries)?;
    if crc32(&entries[..bytes]) != u32_at(&header, 88) {
        return Ok(None);
    }
    let all = (1..=MAX_PARTITIONS).zip(entries[..bytes].chunks_exact(ENTRY));
    Ok(Some(all.filter_map(|(number, entry)| partition(sectors, number, entry)).collect()))
}

fn partition(sectors: u64, number: u32, entry: &[u8]) -> Option<Partition> {
    let (start, end) = (u64_at(entry, 32), u64_at(entry, 40));
    if entry[..16].iter().all(|&b| b == 0) || start == 0 || start > end || end >= sectors {
        return None;
    }
    let units = entry[56..128].chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]]));
    let label: String = char::decode_utf16(units.take_while(|&u| u != 0))
        .map(|c| c.ok().filter(|c| !c.is_control()).unwrap_or('!'))
        .collect();
    Some(Partition {
        number,
        start,
        sectors: end - start + 1,
        uuid: Some(guid(&entry[16..32])),
        label: (!label.is_empty()).then_some(label),
    })
}

/// A GUID's first three fields are little-endian.
fn guid(bytes: &[u8]) -> String {
    const ORDER: [usize; 16] = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
    let mut text = String::with_capacity(36);
    for (i, &at) in ORDER.iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        let _ = write!(text, "{:02x}", bytes[at]);
    }
    text
}
