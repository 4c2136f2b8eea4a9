//! ioctl(2) on block devices: BLK*, HDIO_GETGEO; others are the driver's.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use abi::Result;
use abi::cred::CAP_SYS_ADMIN;
use abi::errno::{EACCES, EBADF, EINVAL, ENOTTY, EOPNOTSUPP, EROFS};
use abi::ioctl::*;
use zerocopy::{Immutable, IntoBytes};

use super::partition::{MAX_PARTITIONS, Partition};
use super::{BlockDevice, SECTOR};
use crate::task::current;
use crate::uaccess::UserPtr;
use crate::vfs::{File, FileMode};

/// What a device node's ioctl(2) does. ENOTTY for an unknown request.
pub(super) fn ioctl(bdev: &Arc<BlockDevice>, file: &File, cmd: u32, arg: u64) -> Result<u64> {
    let limits = || bdev.disk.ops.limits();
    match cmd {
        BLKGETSIZE => put(arg, bdev.len() / SECTOR),
        BLKGETSIZE64 => put(arg, bdev.len()),
        BLKSSZGET => put(arg, SECTOR as i32),
        BLKPBSZGET | BLKIOMIN => put(arg, limits().physical_block),
        BLKIOOPT | BLKDISCARDZEROES => put(arg, 0u32),
        BLKALIGNOFF => put(arg, 0i32),
        BLKROTATIONAL => put(arg, 0u16),
        BLKSECTGET => put(arg, 2560u16),
        BLKRAGET | BLKFRAGET => put(arg, bdev.read_ahead.load(Relaxed)),
        BLKRASET | BLKFRASET => {
            admin(EACCES)?;
            bdev.read_ahead.store(arg, Relaxed);
            Ok(0)
        }
        BLKBSZGET => put(arg, bdev.block_size.load(Relaxed) as i32),
        BLKBSZSET => {
            admin(EACCES)?;
            let size = u32::try_from(UserPtr::<i32>::new(arg).read()?).map_err(|_| EINVAL)?;
            if !size.is_power_of_two() || !(512..=4096).contains(&size) {
                return Err(EINVAL);
            }
            bdev.block_size.store(size, Relaxed);
            Ok(0)
        }
        BLKGETDISKSEQ => put(arg, bdev.disk.seq.load(Relaxed)),
        BLKROGET => put(arg, i32::from(bdev.is_readonly())),
        BLKROSET => {
            admin(EACCES)?;
            bdev.set_readonly(UserPtr::<i32>::new(arg).read()? != 0);
            Ok(0)
        }
        BLKFLSBUF => {
            admin(EACCES)?;
            bdev.sync()?;
            bdev.outdate(0, bdev.len());
            Ok(0)
        }
        BLKRRPART => {
            admin(EACCES)?;
            if bdev.number != 0 || !bdev.disk.partscan.load(Relaxed) {
                return Err(EINVAL);
            }
            bdev.disk.rescan().map(|()| 0)
        }
        BLKPG => {
            admin(EACCES)?;
            change_partition(bdev, arg)
        }
        BLKDISCARD => {
            let (start, len) = range(bdev, file, arg)?;
            bdev.discard(start, len).map(|()| 0)
        }
        BLKZEROOUT => {
            let (start, len) = range(bdev, file, arg)?;
            bdev.write_zeroes(start, len, false).map(|()| 0)
        }
        BLKSECDISCARD => Err(EOPNOTSUPP),
        HDIO_GETGEO => geometry(bdev, arg),
        _ => bdev.disk.ops.ioctl(bdev, file, cmd, arg),
    }
}

fn put<T: IntoBytes + Immutable>(arg: u64, value: T) -> Result<u64> {
    UserPtr::new(arg).write(&value).map(|()| 0)
}

fn admin(refused: abi::Errno) -> Result<()> {
    if current().cred().capable(CAP_SYS_ADMIN) { Ok(()) } else { Err(refused) }
}

/// Start and length, bytes. EBADF; EINVAL.
fn range(bdev: &BlockDevice, file: &File, arg: u64) -> Result<(u64, u64)> {
    if !file.mode.contains(FileMode::WRITE) {
        return Err(EBADF);
    }
    if bdev.is_readonly() {
        return Err(EROFS);
    }
    let range = UserPtr::<u64>::new(arg).read_array(2)?;
    let (start, len) = (range[0], range[1]);
    let whole = start.is_multiple_of(SECTOR) && len.is_multiple_of(SECTOR) && len > 0;
    if !whole || start.checked_add(len).is_none_or(|end| end > bdev.len()) {
        return Err(EINVAL);
    }
    Ok((start, len))
}

fn geometry(bdev: &BlockDevice, arg: u64) -> Result<u64> {
    let (heads, sectors) = bdev.disk.ops.geometry().ok_or(ENOTTY)?;
    let cylinder = u64::from(heads) * u64::from(sectors) * SECTOR;
    let geometry = HdGeometry {
        heads,
        sectors,
        // The field is what it is: large disks wrap, as on Linux.
        cylinders: (bdev.disk.ops.len() / cylinder) as u16,
        _pad: 0,
        start: bdev.start() / SECTOR,
    };
    put(arg, geometry)
}

/// BLKPG: add, delete or resize a partition.
fn change_partition(bdev: &Arc<BlockDevice>, arg: u64) -> Result<u64> {
    if bdev.number != 0 {
        return Err(EINVAL);
    }
    let call = UserPtr::<BlkpgIoctlArg>::new(arg).read()?;
    let part = UserPtr::<BlkpgPartition>::new(call.data).read()?;
    let number = u32::try_from(part.pno).map_err(|_| EINVAL)?;
    if number == 0 || number > MAX_PARTITIONS {
        return Err(EINVAL);
    }
    let disk = &bdev.disk;
    if call.op == BLKPG_DEL_PARTITION {
        return disk.delete_partition(number).map(|()| 0);
    }
    let sectors = |bytes: i64| u64::try_from(bytes).map(|b| b / SECTOR).map_err(|_| EINVAL);
    let (start, len) = (sectors(part.start)?, sectors(part.length)?);
    match call.op {
        BLKPG_ADD_PARTITION => {
            disk.add_partition(Partition { number, start, sectors: len, ..Partition::default() }).map(|()| 0)
        }
        BLKPG_RESIZE_PARTITION => disk.resize_partition(number, start, len).map(|()| 0),
        _ => Err(EINVAL),
    }
}
