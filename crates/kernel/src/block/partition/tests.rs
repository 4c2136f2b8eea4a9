use super::*;
use abi::errno::EIO;

/// A disk in memory.
struct Image(Vec<u8>);

impl Image {
    fn new(sectors: usize) -> Image {
        Image(vec![0; sectors * 512])
    }

    fn sector(&mut self, at: u64) -> &mut [u8] {
        let at = at as usize * 512;
        &mut self.0[at..at + 512]
    }

    fn mbr(&mut self, at: u64, entries: &[(u8, u32, u32)]) {
        let sector = self.sector(at);
        sector[510..].copy_from_slice(&[0x55, 0xaa]);
        for (i, &(kind, start, len)) in entries.iter().enumerate() {
            let entry = &mut sector[446 + 16 * i..];
            entry[4] = kind;
            entry[8..12].copy_from_slice(&start.to_le_bytes());
            entry[12..16].copy_from_slice(&len.to_le_bytes());
        }
    }

    fn scan(&self) -> Vec<Partition> {
        let read = |at: u64, buf: &mut [u8]| {
            let at = usize::try_from(at).unwrap().checked_mul(512).ok_or(EIO)?;
            buf.copy_from_slice(self.0.get(at..at + buf.len()).ok_or(EIO)?);
            Ok(())
        };
        scan(self.0.len() as u64 / 512, &read).unwrap()
    }

    /// A table with entries (start, end, name), headers at both ends.
    fn gpt(&mut self, entries: &[(u64, u64, &str)]) {
        self.mbr(0, &[(0xee, 1, u32::MAX)]);
        let last = self.0.len() as u64 / 512 - 1;
        let mut table = vec![0; 128 * 128];
        for (i, (start, end, name)) in entries.iter().enumerate() {
            let entry = &mut table[i * 128..(i + 1) * 128];
            entry[..16].fill(0xaf);
            entry[16..32].copy_from_slice(&core::array::from_fn::<u8, 16, _>(|n| n as u8));
            entry[32..40].copy_from_slice(&start.to_le_bytes());
            entry[40..48].copy_from_slice(&end.to_le_bytes());
            for (j, unit) in name.encode_utf16().enumerate() {
                entry[56 + 2 * j..58 + 2 * j].copy_from_slice(&unit.to_le_bytes());
            }
        }
        let crc = |bytes: &[u8]| {
            let mut crc = flate2::Crc::new();
            crc.update(bytes);
            crc.sum()
        };
        for (at, table_at) in [(1, 2), (last, last - 32)] {
            self.0[table_at as usize * 512..table_at as usize * 512 + table.len()].copy_from_slice(&table);
            let header = self.sector(at);
            header[..8].copy_from_slice(b"EFI PART");
            header[12..16].copy_from_slice(&92u32.to_le_bytes());
            header[24..32].copy_from_slice(&at.to_le_bytes());
            header[40..48].copy_from_slice(&34u64.to_le_bytes());
            header[48..56].copy_from_slice(&(last - 33).to_le_bytes());
            header[72..80].copy_from_slice(&table_at.to_le_bytes());
            header[80..84].copy_from_slice(&128u32.to_le_bytes());
            header[84..88].copy_from_slice(&128u32.to_le_bytes());
            header[88..92].copy_from_slice(&crc(&table).to_le_bytes());
            header[16..20].fill(0);
            let sum = crc(&header[..92]);
            header[16..20].copy_from_slice(&sum.to_le_bytes());
        }
    }
}

fn places(found: &[Partition]) -> Vec<(u32, u64, u64)> {
    found.iter().map(|p| (p.number, p.start, p.sectors)).collect()
}

#[test]
fn primary_and_logical_partitions() {
    let mut image = Image::new(10_000);
    image.sector(0)[440..444].copy_from_slice(&0xdeadbeef_u32.to_le_bytes());
    image.mbr(0, &[(0x83, 63, 1000), (0x05, 2000, 6000), (0, 0, 0), (0x83, 9000, 9999)]);
    image.mbr(2000, &[(0x83, 10, 500), (0x05, 1000, 800)]);
    image.mbr(3000, &[(0x83, 20, 600)]);
    let found = image.scan();
    let expected = [(1, 63, 1000), (2, 2000, 2), (4, 9000, 1000), (5, 2010, 500), (6, 3020, 600)];
    assert_eq!(places(&found), expected);
    assert_eq!(found[0].uuid.as_deref(), Some("deadbeef-01"));
}

#[test]
fn chains_that_never_end_do() {
    let mut image = Image::new(10_000);
    image.mbr(0, &[(0x05, 2000, 6000)]);
    image.mbr(2000, &[(0x83, 10, 500), (0x05, 0, 800)]);
    assert!(image.scan().len() <= 102);
    image.mbr(2000, &[(0x83, 10, 500), (0x0f, u32::MAX, 800)]);
    assert_eq!(places(&image.scan()), [(1, 2000, 2), (5, 2010, 500)]);
}

#[test]
fn a_file_system_is_no_table() {
    let mut image = Image::new(100);
    assert_eq!(image.scan(), []);
    // A boot sector with code where the entries would be.
    image.mbr(0, &[(0x83, 1, 50)]);
    image.sector(0)[446] = 0x12;
    assert_eq!(image.scan(), []);
    image.mbr(0, &[(0x83, 1, 50)]);
    image.sector(0)[446] = 0x80;
    assert_eq!(image.scan().len(), 1);
    let fat = image.sector(0);
    (fat[0], fat[16], fat[21]) = (0xeb, 2, 0xf8);
    assert_eq!(image.scan(), []);
}

#[test]
fn guid_tables_with_names() {
    let mut image = Image::new(4096);
    image.gpt(&[(34, 133, "root"), (200, 199, "backwards"), (2000, 9000, "beyond"), (300, 300, "é")]);
    let found = image.scan();
    assert_eq!(places(&found), [(1, 34, 100), (4, 300, 1)]);
    assert_eq!(found[0].uuid.as_deref(), Some("03020100-0504-0706-0809-0a0b0c0d0e0f"));
    assert_eq!((found[0].label.as_deref(), found[1].label.as_deref()), (Some("root"), Some("é")));
}

#[test]
fn a_broken_guid_table_is_read_from_its_copy_and_both_broken_is_none() {
    let mut image = Image::new(4096);
    image.gpt(&[(34, 133, "root")]);
    image.sector(1)[60] ^= 1;
    assert_eq!(image.scan().len(), 1);
    // Entries that don't fit their sum.
    image.gpt(&[(34, 133, "root")]);
    image.sector(2)[40] ^= 1;
    assert_eq!(places(&image.scan()), [(1, 34, 100)]);
    image.sector(4095)[0] = 0;
    // What is left is the protective table: one partition of the whole disk.
    assert_eq!(places(&image.scan()), [(1, 1, 4095)]);
}

#[test]
fn any_bytes_are_survived() {
    let mut image = Image::new(64);
    let mut state = 1u64;
    for round in 0..2000 {
        for byte in image.0.iter_mut() {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            *byte = (state >> 56) as u8;
        }
        image.sector(0)[510..].copy_from_slice(&[0x55, 0xaa]);
        (0..4).for_each(|i| image.sector(0)[446 + 16 * i] &= 0x80);
        if round % 2 == 0 {
            image.sector(0)[450] = 0xee;
            image.sector(1)[..8].copy_from_slice(b"EFI PART");
        }
        for found in image.scan() {
            assert!(found.start + found.sectors <= 64 && found.sectors > 0);
        }
    }
}
