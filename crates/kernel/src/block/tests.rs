//! Disks over a driver in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use abi::Result;
use abi::errno::{EBUSY, EINVAL, EIO, ENXIO, EOPNOTSUPP, EROFS};

use super::partition::Partition;
use super::{BlockDevice, DiskOps, DiskParts, Gendisk, Limits, SECTOR, find};
use crate::sync::{SpinLock, rank};

const SECTORS: u64 = 2048;

struct Memory {
    bytes: SpinLock<Vec<u8>>,
    flushes: Arc<AtomicU64>,
}

impl DiskOps for Memory {
    fn len(&self) -> u64 {
        SECTORS * SECTOR
    }
    fn is_read_only(&self) -> bool {
        false
    }
    fn limits(&self) -> Limits {
        Limits { physical_block: 512, discard: false }
    }
    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let at = offset as usize;
        buf.copy_from_slice(&self.bytes.lock()[at..at + buf.len()]);
        Ok(())
    }
    fn write(&self, offset: u64, bufs: &[&[u8]], _: bool) -> Result<()> {
        let mut at = offset as usize;
        for buf in bufs {
            self.bytes.lock()[at..at + buf.len()].copy_from_slice(buf);
            at += buf.len();
        }
        Ok(())
    }
    fn flush(&self) -> Result<()> {
        self.flushes.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

fn disk(minor: u32) -> (Arc<BlockDevice>, Arc<AtomicU64>) {
    let flushes = Arc::new(AtomicU64::new(0));
    let bytes = SpinLock::new(rank::LEAF, vec![0; (SECTORS * SECTOR) as usize]);
    let parts = DiskParts {
        name: format!("mem{}", char::from(b'a' + (minor / 16) as u8)),
        sys_parent: "devices/virtual/block".to_owned(),
        major: 240,
        first_minor: minor,
        minors: 4,
        ops: Box::new(Memory { bytes, flushes: flushes.clone() }),
    };
    (Gendisk::add(parts, true), flushes)
}

fn part(number: u32, start: u64, sectors: u64) -> Partition {
    Partition { number, start, sectors, ..Partition::default() }
}

#[test]
fn partitions_are_places_on_their_disk() {
    let (whole, flushes) = disk(0);
    let disk = &whole.disk;
    disk.add_partition(part(1, 100, 50)).unwrap();
    disk.add_partition(part(7, 200, 10)).unwrap();
    assert_eq!(disk.add_partition(part(1, 500, 5)), Err(EBUSY));
    assert_eq!(disk.add_partition(part(2, 149, 5)), Err(EBUSY));
    assert_eq!(disk.add_partition(part(2, SECTORS - 1, 2)), Err(EINVAL));
    assert_eq!(disk.add_partition(part(2, u64::MAX, 2)), Err(EINVAL));
    let first = find(abi::stat::makedev(240, 1)).unwrap();
    assert_eq!((&*first.name, first.len()), ("mema1", 50 * SECTOR));
    // Beyond the disk's own numbers.
    let other = disk.partitions().into_iter().find(|p| p.number == 7).unwrap();
    assert_eq!(abi::stat::major(other.dev), super::bdev::EXT_MAJOR);
    first.write(0, &[&[1; 512], &[2; 512]]).unwrap();
    let mut sector = [0; 512];
    whole.read(101 * SECTOR, &mut sector).unwrap();
    assert_eq!(sector, [2; 512]);
    assert_eq!(first.read(50 * SECTOR, &mut sector), Err(EIO));
    assert_eq!(first.read(u64::MAX - 511, &mut sector), Err(EIO));
    assert_eq!(first.read(1, &mut sector), Err(EINVAL));
    assert_eq!(first.start_read(50 * SECTOR, vec![0; 512]).wait().0, Err(EIO));
    first.write_zeroes(SECTOR, SECTOR, true).unwrap();
    whole.read(101 * SECTOR, &mut sector).unwrap();
    assert_eq!(sector, [0; 512]);
    assert_eq!(first.discard(0, SECTOR), Err(EOPNOTSUPP));
    first.set_readonly(true);
    assert_eq!(first.write(0, &[&[0; 512]]), Err(EROFS));
    first.flush().unwrap();
    assert_eq!(flushes.load(Ordering::SeqCst), 1);
    disk.resize_partition(1, 100, 100).unwrap();
    assert_eq!((first.len(), disk.resize_partition(1, 100, 101)), (100 * SECTOR, Err(EBUSY)));
    disk.delete_partition(1).unwrap();
    assert_eq!((first.read(0, &mut sector), disk.delete_partition(1)), (Err(ENXIO), Err(ENXIO)));
}

#[test]
fn a_disk_and_its_partitions_have_one_holder_between_them() {
    let (whole, _) = disk(16);
    let disk = &whole.disk;
    disk.add_partition(part(1, 100, 50)).unwrap();
    disk.add_partition(part(2, 200, 50)).unwrap();
    let parts = disk.partitions();
    let first = parts[0].claim().unwrap();
    assert_eq!(parts[0].claim().err(), Some(EBUSY));
    assert_eq!(whole.claim().err(), Some(EBUSY));
    let second = parts[1].claim().unwrap();
    assert_eq!((disk.rescan(), disk.delete_partition(1)), (Err(EBUSY), Err(EBUSY)));
    drop((first, second));
    let held = whole.claim().unwrap();
    assert_eq!(parts[1].claim().err(), Some(EBUSY));
    drop(held);
    // There is no table: what was added by hand goes.
    disk.rescan().unwrap();
    assert!(disk.partitions().is_empty());
    assert_eq!(disk.remove(), Ok(()));
    assert!(find(whole.dev).is_none());
}
