//! Loop devices, loop(4): a file of the guest as a disk. `control.rs` has the ioctls and /dev/loop-control.
//!
//! Locks: `change` (sleeping) serialises what the device is set up with; LEAF, over the backing that is set.

mod control;

use std::sync::Arc;

use abi::Result;
use abi::errno::{EIO, ENXIO};
use abi::fcntl::{FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, FALLOC_FL_ZERO_RANGE};
use abi::ioctl::{LO_FLAGS_AUTOCLEAR, LoopInfo64};
use abi::stat::{major, makedev, minor};

use super::{BlockDevice, DiskOps, DiskParts, Gendisk, Limits, SECTOR, bdev, file};
use crate::sync::{Mutex, SpinLock, rank};
use crate::vfs::namei::d_path;
use crate::vfs::{File, FileType, IovDest, IovSource};

/// Major number.
pub(super) const LOOP_MAJOR: u32 = 7;
/// Devices that there may be.
const MAX_LOOPS: u32 = 1024;

/// A loop device.
pub struct LoopDisk {
    number: u32,
    backing: SpinLock<Option<Arc<Backing>>>,
    change: Mutex<()>,
}

/// What a loop device is set up with; replaced as a whole.
#[derive(Clone)]
struct Backing {
    file: Arc<File>,
    /// As LOOP_GET_STATUS64 gives it, without what is asked of the file.
    info: LoopInfo64,
    /// Bytes of the device.
    len: u64,
    read_only: bool,
}

pub(super) fn init() {
    control::init();
}

/// The loop device of that number, which is made when it is first opened by it.
pub(super) fn probe(rdev: u64) -> Option<Arc<BlockDevice>> {
    (major(rdev) == LOOP_MAJOR && minor(rdev) < MAX_LOOPS).then(|| get_or_add(minor(rdev)))
}

fn find(number: u32) -> Option<Arc<BlockDevice>> {
    bdev::find(makedev(LOOP_MAJOR, number))
}

fn get_or_add(number: u32) -> Arc<BlockDevice> {
    static ADDING: std::sync::OnceLock<Mutex<()>> = std::sync::OnceLock::new();
    let _guard = ADDING.get_or_init(|| Mutex::new(())).lock();
    if let Some(found) = find(number) {
        return found;
    }
    let disk = LoopDisk { number, backing: SpinLock::new(rank::LEAF, None), change: Mutex::new(()) };
    let parts = DiskParts {
        name: format!("loop{number}"),
        sys_parent: "devices/virtual/block".to_owned(),
        major: LOOP_MAJOR,
        first_minor: number,
        minors: 1,
        ops: Box::new(disk),
    };
    Gendisk::add(parts, false)
}

/// The loop device that a disk is.
fn of(disk: &Gendisk) -> Option<&LoopDisk> {
    (&*disk.ops as &dyn std::any::Any).downcast_ref()
}

impl LoopDisk {
    fn backing(&self) -> Option<Arc<Backing>> {
        self.backing.lock().clone()
    }

    /// Sets what it stands on and answers what it stood on: to be dropped without a lock.
    fn set(&self, backing: Option<Backing>) -> Option<Arc<Backing>> {
        core::mem::replace(&mut *self.backing.lock(), backing.map(Arc::new))
    }

    /// Name of the file behind it.
    pub(super) fn backing_file(&self) -> Option<String> {
        let backing = self.backing()?;
        let root = crate::task::try_current()?.fs().root();
        Some(String::from_utf8_lossy(&d_path(&backing.file.path, &root)).into_owned())
    }

    /// What LOOP_GET_STATUS64 tells; zeros while it isn't set up.
    pub(super) fn status(&self) -> LoopInfo64 {
        self.backing().map_or_else(LoopInfo64::default, |b| b.info)
    }
}

impl Backing {
    fn kind(&self) -> FileType {
        self.file.inode().kind
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let mut pos = self.place(offset, buf.len())?;
        let mut done = 0;
        while done < buf.len() {
            let mut dest = IovDest::kernel(&mut buf[done..]);
            match self.file.ops.read(&self.file, &mut dest, &mut pos)? {
                // The file has been cut since.
                0 => {
                    buf[done..].fill(0);
                    break;
                }
                n => done += n,
            }
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
        let mut pos = self.place(offset, data.len())?;
        let mut src = IovSource::kernel(data);
        src.set_append(false);
        while src.remaining() > 0 {
            if self.file.ops.write(&self.file, &mut src, &mut pos)? == 0 {
                return Err(EIO);
            }
        }
        Ok(())
    }

    /// The offset in the file. EIO beyond the device's end, which may have moved.
    fn place(&self, offset: u64, len: usize) -> Result<u64> {
        if offset.checked_add(len as u64).is_none_or(|end| end > self.len) {
            return Err(EIO);
        }
        Ok(self.info.lo_offset + offset)
    }

    fn fallocate(&self, mode: u32, offset: u64, len: u64) -> Result<()> {
        let at = self.place(offset, usize::try_from(len).map_err(|_| EIO)?)?;
        self.file.ops.fallocate(&self.file, mode | FALLOC_FL_KEEP_SIZE, at, len)
    }
}

impl DiskOps for LoopDisk {
    fn len(&self) -> u64 {
        self.backing().map_or(0, |b| b.len)
    }

    fn is_read_only(&self) -> bool {
        self.backing().is_some_and(|b| b.read_only)
    }

    fn limits(&self) -> Limits {
        Limits { physical_block: SECTOR as u32, discard: self.backing().is_some_and(|b| !b.read_only) }
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.backing().ok_or(ENXIO)?.read(offset, buf)
    }

    fn write(&self, offset: u64, bufs: &[&[u8]], fua: bool) -> Result<()> {
        let backing = self.backing().ok_or(ENXIO)?;
        let mut at = offset;
        for buf in bufs {
            backing.write(at, buf)?;
            at += buf.len() as u64;
        }
        if fua { backing.file.ops.fsync(&backing.file, true) } else { Ok(()) }
    }

    fn flush(&self) -> Result<()> {
        let Some(backing) = self.backing() else { return Ok(()) };
        backing.file.ops.fsync(&backing.file, true)
    }

    fn discard(&self, offset: u64, len: u64) -> Result<()> {
        self.backing().ok_or(ENXIO)?.fallocate(FALLOC_FL_PUNCH_HOLE, offset, len)
    }

    fn write_zeroes(&self, offset: u64, len: u64, unmap: bool) -> Result<()> {
        let mode = if unmap { FALLOC_FL_PUNCH_HOLE } else { FALLOC_FL_ZERO_RANGE };
        self.backing().ok_or(ENXIO)?.fallocate(mode, offset, len)
    }

    fn ioctl(&self, bdev: &Arc<BlockDevice>, file: &File, cmd: u32, arg: u64) -> Result<u64> {
        control::ioctl(self, bdev, file, cmd, arg)
    }

    fn release(&self, disk: &Arc<Gendisk>) {
        if self.status().lo_flags & LO_FLAGS_AUTOCLEAR != 0 {
            let _guard = self.change.lock();
            control::clear(self, disk);
        }
    }
}

/// The loop device that an open file is, if it is one.
fn loop_of(file: &File) -> Option<Arc<Gendisk>> {
    let bdev = file::bdev_of(file)?;
    of(&bdev.disk).is_some().then(|| bdev.disk.clone())
}
