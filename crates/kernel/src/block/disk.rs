//! [`Gendisk`]: a disk with its partitions, and [`DiskOps`]: what its driver does.
//!
//! Lock: LEAF, over the list of partitions and over that of claims. `scan` (sleeping) is held while partitions change.

use std::any::Any;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use abi::Result;
use abi::errno::{EBUSY, EINVAL, ENOTTY, ENXIO, EOPNOTSUPP};

use super::bdev::{self, BlockDevice};
use super::partition::{self, Partition};
use super::{Pending, SECTOR, sysfs};
use crate::sync::{Mutex, SpinLock, rank};
use crate::vfs::File;

pub use host::block::Limits;

/// A driver's part of a disk. Offsets and lengths are multiples of [`SECTOR`] within the disk. Methods may sleep.
#[expect(clippy::len_without_is_empty, reason = "a disk of no bytes is a disk")]
#[expect(unused_variables, reason = "default bodies only answer an errno")]
pub trait DiskOps: Any + Send + Sync {
    /// Bytes; 0 without a medium.
    fn len(&self) -> u64;

    /// Whether it cannot be written.
    fn is_read_only(&self) -> bool;

    /// What it can do.
    fn limits(&self) -> Limits;

    /// Fills `buf`.
    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()>;

    /// Writes `bufs` one after another; with `fua` they are durable on return.
    fn write(&self, offset: u64, bufs: &[&[u8]], fua: bool) -> Result<()>;

    /// Everything written before is durable on return.
    fn flush(&self) -> Result<()>;

    /// The range's contents are no longer needed.
    fn discard(&self, offset: u64, len: u64) -> Result<()> {
        Err(EOPNOTSUPP)
    }

    /// The range reads as zeros afterwards; with `unmap` its space may be given back. EOPNOTSUPP.
    fn write_zeroes(&self, offset: u64, len: u64, unmap: bool) -> Result<()> {
        Err(EOPNOTSUPP)
    }

    /// Starts a read into `buf`.
    fn start_read(&self, offset: u64, mut buf: Vec<u8>) -> Pending {
        let outcome = self.read(offset, &mut buf);
        Pending::ready(outcome, buf)
    }

    /// Starts a write.
    fn start_write(&self, offset: u64, data: Vec<u8>) -> Pending {
        let outcome = self.write(offset, &[&data], false);
        Pending::ready(outcome, data)
    }

    /// (heads, sectors per track), where the driver makes up a geometry.
    fn geometry(&self) -> Option<(u8, u8)> {
        None
    }

    /// An ioctl of the driver's own. ENOTTY.
    fn ioctl(&self, bdev: &Arc<BlockDevice>, file: &File, cmd: u32, arg: u64) -> Result<u64> {
        Err(ENOTTY)
    }

    /// The last open file of the disk and its partitions is gone.
    fn release(&self, disk: &Arc<Gendisk>) {}
}

/// What a disk is made of.
pub struct DiskParts {
    /// As in /dev.
    pub name: String,
    /// Directory below /sys that its own is in.
    pub sys_parent: String,
    /// Number of the disk.
    pub major: u32,
    /// Number of the disk; its partitions follow.
    pub first_minor: u32,
    /// Numbers that are the disk's; partitions beyond are given others.
    pub minors: u32,
    /// The driver.
    pub ops: Box<dyn DiskOps>,
}

/// A disk.
pub struct Gendisk {
    /// As in /dev.
    pub name: String,
    /// Directory below /sys that its own is in.
    pub sys_parent: String,
    /// Number of the disk.
    pub major: u32,
    /// Number of the disk; its partitions follow.
    pub first_minor: u32,
    minors: u32,
    /// The driver.
    pub ops: Box<dyn DiskOps>,
    /// BLKGETDISKSEQ: changes with the medium.
    pub seq: AtomicU64,
    /// Open files of the disk and its partitions.
    pub opens: AtomicU64,
    /// Partitions of it are looked for.
    pub partscan: AtomicBool,
    whole: SpinLock<Weak<BlockDevice>>,
    parts: SpinLock<Vec<Arc<BlockDevice>>>,
    claims: SpinLock<Vec<u32>>,
    /// Serialises changes of partitions.
    scan: Mutex<()>,
}

static NEXT_SEQ: AtomicU64 = AtomicU64::new(1);

impl Gendisk {
    /// Makes a disk known, and its partitions if it has a medium and `partscan`. From a task.
    pub fn add(parts: DiskParts, partscan: bool) -> Arc<BlockDevice> {
        let disk = Arc::new(Gendisk {
            name: parts.name,
            sys_parent: parts.sys_parent,
            major: parts.major,
            first_minor: parts.first_minor,
            minors: parts.minors,
            ops: parts.ops,
            seq: AtomicU64::new(NEXT_SEQ.fetch_add(1, Ordering::Relaxed)),
            opens: AtomicU64::new(0),
            partscan: AtomicBool::new(partscan),
            whole: SpinLock::new(rank::LEAF, Weak::new()),
            parts: SpinLock::new(rank::LEAF, Vec::new()),
            claims: SpinLock::new(rank::LEAF, Vec::new()),
            scan: Mutex::new(()),
        });
        let whole = BlockDevice::whole(&disk);
        *disk.whole.lock() = Arc::downgrade(&whole);
        bdev::register(&whole);
        sysfs::add(&whole);
        if partscan && let Err(errno) = disk.rescan() {
            crate::pr_err!("{}: unable to read partition table: {errno}", disk.name);
        }
        whole
    }

    /// Takes the disk away. EBUSY while it is open.
    pub fn remove(&self) -> Result<()> {
        if self.opens.load(Ordering::SeqCst) > 0 {
            return Err(EBUSY);
        }
        let _guard = self.scan.lock();
        self.drop_partitions();
        if let Some(whole) = self.whole() {
            sysfs::remove(&whole);
            bdev::unregister(&whole);
        }
        Ok(())
    }

    /// The device that is the whole disk.
    pub fn whole(&self) -> Option<Arc<BlockDevice>> {
        self.whole.lock().upgrade()
    }

    /// Its partitions, by number.
    pub fn partitions(&self) -> Vec<Arc<BlockDevice>> {
        self.parts.lock().clone()
    }

    /// Has another medium: partitions are forgotten, and looked for again if they are at all.
    pub fn changed(self: &Arc<Self>) {
        self.seq.store(NEXT_SEQ.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        if self.partscan.load(Ordering::Relaxed) {
            // What cannot be read has no partitions.
            let _ = self.rescan();
        } else {
            let _guard = self.scan.lock();
            self.drop_partitions();
        }
    }

    /// Reads the partition table anew, BLKRRPART. EBUSY while a partition is in use.
    pub fn rescan(self: &Arc<Self>) -> Result<()> {
        let _guard = self.scan.lock();
        if self.parts.lock().iter().any(|p| p.is_open()) {
            return Err(EBUSY);
        }
        self.drop_partitions();
        let read = |sector: u64, buf: &mut [u8]| {
            let offset = sector.checked_mul(SECTOR).ok_or(EINVAL)?;
            if offset.checked_add(buf.len() as u64).is_none_or(|end| end > self.ops.len()) {
                return Err(EINVAL);
            }
            self.ops.read(offset, buf)
        };
        let found = partition::scan(self.ops.len() / SECTOR, &read)?;
        if !found.is_empty() {
            let names: Vec<_> = found.iter().map(|p| self.partition_name(p.number)).collect();
            crate::pr_info!(" {}: {}", self.name, names.join(" "));
        }
        found.into_iter().for_each(|partition| self.insert(partition));
        Ok(())
    }

    /// BLKPG_ADD_PARTITION. EBUSY for a number that is taken or a place that overlaps; EINVAL beyond the end.
    pub fn add_partition(self: &Arc<Self>, partition: Partition) -> Result<()> {
        let _guard = self.scan.lock();
        let end = partition.start.checked_add(partition.sectors).ok_or(EINVAL)?;
        if partition.sectors == 0 || end > self.ops.len() / SECTOR || partition.number == 0 {
            return Err(EINVAL);
        }
        if self.overlaps(partition.start, end, 0) || self.partition(partition.number).is_some() {
            return Err(EBUSY);
        }
        self.insert(partition);
        Ok(())
    }

    /// BLKPG_DEL_PARTITION. ENXIO; EBUSY while it is in use.
    pub fn delete_partition(&self, number: u32) -> Result<()> {
        let _guard = self.scan.lock();
        let part = self.partition(number).ok_or(ENXIO)?;
        if part.is_open() {
            return Err(EBUSY);
        }
        self.parts.lock().retain(|p| p.number != number);
        forget(&part);
        Ok(())
    }

    /// BLKPG_RESIZE_PARTITION: to so many sectors. ENXIO; EINVAL if it starts elsewhere; EBUSY where another is.
    pub fn resize_partition(&self, number: u32, start: u64, sectors: u64) -> Result<()> {
        let _guard = self.scan.lock();
        let part = self.partition(number).ok_or(ENXIO)?;
        let end = start.checked_add(sectors).ok_or(EINVAL)?;
        if part.start() != start * SECTOR || end > self.ops.len() / SECTOR {
            return Err(EINVAL);
        }
        if self.overlaps(start, end, number) {
            return Err(EBUSY);
        }
        part.drop_cache();
        part.set_len(sectors * SECTOR);
        Ok(())
    }

    fn partition(&self, number: u32) -> Option<Arc<BlockDevice>> {
        self.parts.lock().iter().find(|p| p.number == number).cloned()
    }

    fn overlaps(&self, from: u64, to: u64, but: u32) -> bool {
        let crosses = |p: &Arc<BlockDevice>| {
            from * SECTOR < p.start() + p.len() && p.start() < to * SECTOR && p.number != but
        };
        self.parts.lock().iter().any(crosses)
    }

    fn insert(self: &Arc<Self>, partition: Partition) {
        let minor = (partition.number < self.minors).then(|| self.first_minor + partition.number);
        let part = BlockDevice::partition(self, self.partition_name(partition.number), minor, partition);
        {
            let mut parts = self.parts.lock();
            parts.push(part.clone());
            parts.sort_by_key(|p| p.number);
        }
        bdev::register(&part);
        sysfs::add(&part);
    }

    fn drop_partitions(&self) {
        let parts = core::mem::take(&mut *self.parts.lock());
        parts.iter().for_each(forget);
    }

    /// A `p` keeps the number apart from a name that ends with one.
    fn partition_name(&self, number: u32) -> String {
        let between = if self.name.ends_with(|c: char| c.is_ascii_digit()) { "p" } else { "" };
        format!("{}{between}{number}", self.name)
    }

    /// Takes the disk (0) or a partition for one holder. EBUSY if it, or the disk it is on, has one.
    pub(super) fn claim(&self, number: u32) -> Result<()> {
        let mut claims = self.claims.lock();
        let busy = |&held: &u32| held == number || held == 0 || number == 0;
        if claims.iter().any(busy) {
            return Err(EBUSY);
        }
        claims.push(number);
        Ok(())
    }

    pub(super) fn unclaim(&self, number: u32) {
        self.claims.lock().retain(|&held| held != number);
    }
}

fn forget(part: &Arc<BlockDevice>) {
    sysfs::remove(part);
    bdev::unregister(part);
}
