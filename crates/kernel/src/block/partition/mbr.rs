//! The table of the PC: four entries in the first sector, and a chain of logical partitions inside an extended one.

use abi::Result;

use super::{Partition, ReadSectors, u32_at};
use crate::block::SECTOR;

const SECTOR_LEN: usize = SECTOR as usize;
const EXTENDED: [u8; 3] = [0x05, 0x0f, 0x85];
/// Links of a chain that are followed.
const MAX_LINKS: usize = 100;
const FIRST_LOGICAL: u32 = 5;

#[derive(Clone, Copy)]
struct Entry {
    boot: u8,
    kind: u8,
    start: u64,
    sectors: u64,
}

pub(super) fn entries(sector: &[u8]) -> Option<[(u8, u8); 4]> {
    Some(table(sector)?.map(|e| (e.boot, e.kind)))
}

fn table(sector: &[u8]) -> Option<[Entry; 4]> {
    if sector.get(510..512)? != [0x55, 0xaa] {
        return None;
    }
    Some(core::array::from_fn(|i| {
        let entry = &sector[446 + 16 * i..462 + 16 * i];
        Entry {
            boot: entry[0],
            kind: entry[4],
            start: u32_at(entry, 8).into(),
            sectors: u32_at(entry, 12).into(),
        }
    }))
}

/// A boot sector of a FAT file system ends with the same mark as a table.
fn is_fat(sector: &[u8]) -> bool {
    let fats = sector[16];
    matches!(sector[0], 0xeb | 0xe9) && (1..=2).contains(&fats) && (sector[21] == 0xf0 || sector[21] >= 0xf8)
}

pub(super) fn scan(sectors: u64, first: &[u8; SECTOR_LEN], read: ReadSectors<'_>) -> Result<Vec<Partition>> {
    let Some(primary) = table(first) else { return Ok(Vec::new()) };
    if primary.iter().any(|e| e.boot & 0x7f != 0) || is_fat(first) {
        return Ok(Vec::new());
    }
    let signature = u32_at(first, 440);
    let part = |number: u32, start: u64, len: u64| {
        let fits = start > 0 && len > 0 && start < sectors;
        fits.then(|| Partition {
            number,
            start,
            // Beyond the end of the disk: cut, as Linux does.
            sectors: len.min(sectors - start),
            uuid: (signature != 0).then(|| format!("{signature:08x}-{number:02x}")),
            label: None,
        })
    };
    let mut found = Vec::new();
    let mut logical = Vec::new();
    for (number, entry) in (1..).zip(primary) {
        if entry.kind == 0 && entry.sectors == 0 {
            continue;
        }
        if EXTENDED.contains(&entry.kind) {
            // As Linux: enough for a boot loader, and no way to write over what is inside.
            found.extend(part(number, entry.start, entry.sectors.min(2)));
            follow(sectors, entry, read, &mut logical)?;
        } else {
            found.extend(part(number, entry.start, entry.sectors));
        }
    }
    found
        .extend((FIRST_LOGICAL..).zip(logical).filter_map(|(number, (start, len))| part(number, start, len)));
    Ok(found)
}

/// The logical partitions of an extended one: start and length.
fn follow(sectors: u64, extended: Entry, read: ReadSectors<'_>, logical: &mut Vec<(u64, u64)>) -> Result<()> {
    let mut at = extended.start;
    let mut size = extended.sectors;
    for _ in 0..MAX_LINKS {
        if at == 0 || at >= sectors {
            return Ok(());
        }
        let mut sector = [0; SECTOR_LEN];
        read(at, &mut sector)?;
        let Some(table) = table(&sector) else { return Ok(()) };
        for (i, entry) in table.iter().enumerate() {
            if entry.sectors == 0 || EXTENDED.contains(&entry.kind) {
                continue;
            }
            // Entries three and four are often rubbish.
            let inside = entry.start + entry.sectors <= size;
            if i < 2 || inside {
                logical.push((at + entry.start, entry.sectors));
            }
        }
        let Some(next) = table.iter().find(|e| e.sectors > 0 && EXTENDED.contains(&e.kind)) else {
            return Ok(());
        };
        at = extended.start + next.start;
        size = next.sectors;
    }
    Ok(())
}
