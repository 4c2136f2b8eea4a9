//! [`BlockDevice`]: a disk or a partition, found by its device number.
//!
//! Its calls block the calling task; they check ranges and count what is done. Offsets are bytes from its own start and,
//! with lengths, multiples of [`SECTOR`].
//!
//! Lock: LEAF, over the table of devices.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use abi::Result;
use abi::errno::{EINVAL, EIO, ENXIO, EOPNOTSUPP, EROFS};
use abi::stat::makedev;

use super::cache::CacheSlot;
use super::partition::Partition;
use super::stats::{Flight, Kind, Stats};
use super::{Gendisk, Pending, SECTOR};
use crate::fs::devtmpfs;
use crate::sync::{Mutex, SpinLock, rank};
use crate::vfs::FileType;

/// Major number of partitions for which their disk has no number: "blkext".
pub(super) const EXT_MAJOR: u32 = 259;

/// A disk or a partition.
pub struct BlockDevice {
    /// The disk.
    pub disk: Arc<Gendisk>,
    /// Of the partition; 0 for the disk.
    pub number: u32,
    /// Device number.
    pub dev: u64,
    /// As in /dev.
    pub name: String,
    /// PARTUUID
    pub uuid: Option<String>,
    /// PARTLABEL
    pub label: Option<String>,
    start: u64,
    /// Of a partition.
    len: AtomicU64,
    /// BLKROSET
    read_only: AtomicBool,
    removed: AtomicBool,
    opens: AtomicU32,
    pub(super) stats: Arc<Stats>,
    /// The disk's, for a partition.
    disk_stats: Option<Arc<Stats>>,
    /// BLKRASET: sectors that are read ahead.
    pub(super) read_ahead: AtomicU64,
    /// BLKBSZSET
    pub(super) block_size: AtomicU32,
    pub(super) cache: CacheSlot,
    /// Held by whoever writes to its node.
    pub(super) writers: Mutex<()>,
}

/// A device that somebody holds for himself, until this is dropped: a mounted file system, O_EXCL, swap.
pub struct Claim(Arc<BlockDevice>);

static DEVICES: SpinLock<BTreeMap<u64, Arc<BlockDevice>>> = SpinLock::new(rank::LEAF, BTreeMap::new());
static NEXT_EXT_MINOR: AtomicU32 = AtomicU32::new(0);

/// The device of that number.
pub fn find(dev: u64) -> Option<Arc<BlockDevice>> {
    DEVICES.lock().get(&dev).cloned()
}

/// Every device, by number.
pub(super) fn all() -> Vec<Arc<BlockDevice>> {
    DEVICES.lock().values().cloned().collect()
}

pub(super) fn register(bdev: &Arc<BlockDevice>) {
    DEVICES.lock().insert(bdev.dev, bdev.clone());
    if let Err(errno) = devtmpfs::add(&bdev.name, FileType::BlockDev, bdev.dev, 0o600) {
        crate::pr_err!("devtmpfs: {}: {errno}", bdev.name);
    }
}

pub(super) fn unregister(bdev: &Arc<BlockDevice>) {
    bdev.removed.store(true, Ordering::SeqCst);
    let removed = DEVICES.lock().remove(&bdev.dev);
    drop(removed);
    // Somebody may have removed the node.
    let _ = devtmpfs::remove(&bdev.name);
}

impl BlockDevice {
    pub(super) fn whole(disk: &Arc<Gendisk>) -> Arc<BlockDevice> {
        let dev = makedev(disk.major, disk.first_minor);
        BlockDevice::new(disk, disk.name.clone(), dev, Partition::default(), None)
    }

    pub(super) fn partition(
        disk: &Arc<Gendisk>,
        name: String,
        minor: Option<u32>,
        partition: Partition,
    ) -> Arc<BlockDevice> {
        let dev = match minor {
            Some(minor) => makedev(disk.major, minor),
            None => makedev(EXT_MAJOR, NEXT_EXT_MINOR.fetch_add(1, Ordering::Relaxed)),
        };
        let disk_stats = disk.whole().map(|whole| whole.stats.clone());
        BlockDevice::new(disk, name, dev, partition, disk_stats)
    }

    fn new(
        disk: &Arc<Gendisk>,
        name: String,
        dev: u64,
        partition: Partition,
        disk_stats: Option<Arc<Stats>>,
    ) -> Arc<BlockDevice> {
        Arc::new(BlockDevice {
            disk: disk.clone(),
            number: partition.number,
            dev,
            name,
            uuid: partition.uuid,
            label: partition.label,
            start: partition.start * SECTOR,
            len: AtomicU64::new(partition.sectors * SECTOR),
            read_only: AtomicBool::new(false),
            removed: AtomicBool::new(false),
            opens: AtomicU32::new(0),
            stats: Arc::default(),
            disk_stats,
            read_ahead: AtomicU64::new(256),
            block_size: AtomicU32::new(4096),
            cache: CacheSlot::default(),
            writers: Mutex::new(()),
        })
    }

    /// Bytes.
    pub fn len(&self) -> u64 {
        if self.number == 0 { self.disk.ops.len() } else { self.len.load(Ordering::Relaxed) }
    }

    /// Whether it has no bytes: a disk without a medium.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where it starts on its disk, bytes.
    pub fn start(&self) -> u64 {
        self.start
    }

    pub(super) fn set_len(&self, len: u64) {
        self.len.store(len, Ordering::Relaxed);
    }

    /// Whether writes answer EROFS.
    pub fn is_readonly(&self) -> bool {
        self.read_only.load(Ordering::Relaxed) || self.disk.ops.is_read_only()
    }

    /// BLKROSET. What the driver cannot write stays read-only.
    pub fn set_readonly(&self, read_only: bool) {
        self.read_only.store(read_only, Ordering::Relaxed);
    }

    /// Takes it for one holder. EBUSY.
    pub fn claim(self: &Arc<Self>) -> Result<Claim> {
        self.disk.claim(self.number)?;
        self.get();
        Ok(Claim(self.clone()))
    }

    pub(super) fn get(&self) {
        let _guard = self.cache.openers.lock();
        self.opens.fetch_add(1, Ordering::SeqCst);
        self.disk.opens.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn put(&self) {
        {
            let _guard = self.cache.openers.lock();
            if self.opens.load(Ordering::SeqCst) == 1 {
                self.drop_cache_locked();
            }
            self.opens.fetch_sub(1, Ordering::SeqCst);
        }
        if self.disk.opens.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.disk.ops.release(&self.disk);
        }
    }

    /// Whether somebody has it open or holds it.
    pub fn is_open(&self) -> bool {
        self.opens.load(Ordering::SeqCst) > 0
    }

    /// The offset on the disk. EIO beyond the end, EINVAL between sectors, ENXIO once it is removed.
    fn place(&self, offset: u64, len: u64) -> Result<u64> {
        if self.removed.load(Ordering::Relaxed) {
            return Err(ENXIO);
        }
        if !offset.is_multiple_of(SECTOR) || !len.is_multiple_of(SECTOR) {
            return Err(EINVAL);
        }
        if offset.checked_add(len).is_none_or(|end| end > self.len()) {
            return Err(EIO);
        }
        Ok(self.start + offset)
    }

    fn place_to_write(&self, offset: u64, len: u64) -> Result<u64> {
        if self.is_readonly() { Err(EROFS) } else { self.place(offset, len) }
    }

    fn count(&self, kind: Kind, bytes: u64) -> Flight {
        Flight::start([Some(self.stats.clone()), self.disk_stats.clone()], kind, bytes)
    }

    /// Fills `buf`.
    pub fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.settle(offset, offset.saturating_add(buf.len() as u64))?;
        self.read_past_cache(offset, buf)
    }

    pub(super) fn read_past_cache(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let at = self.place(offset, buf.len() as u64)?;
        let _flight = self.count(Kind::Read, buf.len() as u64);
        self.disk.ops.read(at, buf)
    }

    /// Writes `bufs` one after another.
    pub fn write(&self, offset: u64, bufs: &[&[u8]]) -> Result<()> {
        self.write_with(offset, bufs, false)
    }

    /// The same, durable on return.
    pub fn write_fua(&self, offset: u64, bufs: &[&[u8]]) -> Result<()> {
        self.write_with(offset, bufs, true)
    }

    fn write_with(&self, offset: u64, bufs: &[&[u8]], fua: bool) -> Result<()> {
        let len = bufs.iter().map(|b| b.len() as u64).sum();
        let outcome = self.do_write(offset, len, bufs, fua);
        self.outdate(offset, offset.saturating_add(len));
        outcome
    }

    pub(super) fn write_past_cache(&self, offset: u64, bufs: &[&[u8]]) -> Result<()> {
        self.do_write(offset, bufs.iter().map(|b| b.len() as u64).sum(), bufs, false)
    }

    fn do_write(&self, offset: u64, len: u64, bufs: &[&[u8]], fua: bool) -> Result<()> {
        let at = self.place_to_write(offset, len)?;
        let _flight = self.count(Kind::Write, len);
        self.disk.ops.write(at, bufs, fua)
    }

    /// Changes what is stored of a range otherwise than by writing.
    fn change(&self, offset: u64, len: u64, change: impl FnOnce() -> Result<()>) -> Result<()> {
        match self.cached() {
            Some(cache) => cache.change_range(offset, offset + len, None, change),
            None => change(),
        }
    }

    /// Everything written before is durable on return.
    pub fn flush(&self) -> Result<()> {
        if self.disk.ops.is_read_only() {
            return Ok(());
        }
        let _flight = self.count(Kind::Flush, 0);
        self.disk.ops.flush()
    }

    /// The range's contents are no longer needed. EOPNOTSUPP.
    pub fn discard(&self, offset: u64, len: u64) -> Result<()> {
        let at = self.place_to_write(offset, len)?;
        if !self.disk.ops.limits().discard {
            return Err(EOPNOTSUPP);
        }
        let _flight = self.count(Kind::Discard, len);
        self.change(offset, len, || self.disk.ops.discard(at, len))
    }

    /// The range reads as zeros afterwards; with `unmap` its space may be given back.
    pub fn write_zeroes(&self, offset: u64, len: u64, unmap: bool) -> Result<()> {
        let at = self.place_to_write(offset, len)?;
        let _flight = self.count(Kind::Write, len);
        self.change(offset, len, || self.zero_range(at, len, unmap))
    }

    fn zero_range(&self, at: u64, len: u64, unmap: bool) -> Result<()> {
        static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
        match self.disk.ops.write_zeroes(at, len, unmap) {
            Err(EOPNOTSUPP) => {}
            outcome => return outcome,
        }
        let mut done = 0;
        while done < len {
            let n = (len - done).min(ZEROS.len() as u64);
            self.disk.ops.write(at + done, &[&ZEROS[..n as usize]], false)?;
            done += n;
        }
        Ok(())
    }

    /// Starts a read into `buf`, past the cache; many may be under way.
    pub fn start_read(&self, offset: u64, buf: Vec<u8>) -> Pending {
        match self.place(offset, buf.len() as u64) {
            Ok(at) => {
                let flight = self.count(Kind::Read, buf.len() as u64);
                self.disk.ops.start_read(at, buf).counted(flight)
            }
            Err(errno) => Pending::ready(Err(errno), buf),
        }
    }

    /// Starts a write, past the cache; many may be under way, in no order among them.
    pub fn start_write(&self, offset: u64, data: Vec<u8>) -> Pending {
        match self.place_to_write(offset, data.len() as u64) {
            Ok(at) => {
                let flight = self.count(Kind::Write, data.len() as u64);
                self.disk.ops.start_write(at, data).counted(flight)
            }
            Err(errno) => Pending::ready(Err(errno), data),
        }
    }
}

impl Claim {
    /// The device.
    pub fn bdev(&self) -> &Arc<BlockDevice> {
        &self.0
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.0.disk.unclaim(self.0.number);
        self.0.put();
    }
}
