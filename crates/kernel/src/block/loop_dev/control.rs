//! The ioctls of loop devices and of /dev/loop-control.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use abi::Result;
use abi::cred::CAP_SYS_ADMIN;
use abi::errno::{EBADF, EBUSY, EEXIST, EINVAL, ENODEV, ENOSPC, ENOTTY, ENXIO, EOVERFLOW, EPERM};
use abi::ioctl::*;

use super::{Backing, LoopDisk, MAX_LOOPS, find, get_or_add, loop_of, of};
use crate::block::{BlockDevice, Gendisk, SECTOR, file, sysfs};
use crate::fs::devtmpfs;
use crate::task::current;
use crate::uaccess::UserPtr;
use crate::vfs::dev::register_chrdev;
use crate::vfs::{Fd, File, FileMode, FileOps, FileType};

const MISC_MAJOR: u32 = 10;
const LOOP_CTRL_MINOR: u32 = 237;
/// Loop devices on loop devices that are followed.
const MAX_NESTING: usize = 32;
/// Flags that LOOP_CONFIGURE takes.
const SETTABLE: u32 = LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR | LO_FLAGS_PARTSCAN | LO_FLAGS_DIRECT_IO;
/// Flags that LOOP_SET_STATUS64 sets, and clears.
const STATUS_SETTABLE: u32 = LO_FLAGS_AUTOCLEAR | LO_FLAGS_PARTSCAN;
const STATUS_CLEARABLE: u32 = LO_FLAGS_AUTOCLEAR;

pub(super) fn init() {
    register_chrdev(MISC_MAJOR, LOOP_CTRL_MINOR, "misc", |_, _| Ok(Box::new(Control)));
    let rdev = abi::stat::makedev(MISC_MAJOR, LOOP_CTRL_MINOR);
    if let Err(errno) = devtmpfs::add("loop-control", FileType::CharDev, rdev, 0o600) {
        crate::pr_err!("devtmpfs: loop-control: {errno}");
    }
}

/// /dev/loop-control
struct Control;

impl FileOps for Control {
    fn ioctl(&self, _: &File, cmd: u32, arg: u64) -> Result<u64> {
        if !matches!(cmd, LOOP_CTL_ADD | LOOP_CTL_REMOVE | LOOP_CTL_GET_FREE) {
            return Err(ENOTTY);
        }
        if !current().cred().capable(CAP_SYS_ADMIN) {
            return Err(EPERM);
        }
        let number = u32::try_from(arg as i32).ok();
        match (cmd, number) {
            (LOOP_CTL_GET_FREE, _) => {
                let free =
                    |n: &u32| find(*n).is_none_or(|b| of(&b.disk).is_some_and(|l| l.backing().is_none()));
                let number = (0..MAX_LOOPS).find(free).ok_or(ENOSPC)?;
                get_or_add(number);
                Ok(number.into())
            }
            (LOOP_CTL_ADD, Some(number)) if find(number).is_some() => Err(EEXIST),
            (LOOP_CTL_ADD, number) => {
                let lowest = || (0..MAX_LOOPS).find(|n| find(*n).is_none());
                let number = number.or_else(lowest).filter(|n| *n < MAX_LOOPS).ok_or(ENOSPC)?;
                get_or_add(number);
                Ok(number.into())
            }
            (_, Some(number)) => {
                let bdev = find(number).ok_or(ENODEV)?;
                if of(&bdev.disk).is_some_and(|l| l.backing().is_some()) {
                    return Err(EBUSY);
                }
                bdev.disk.remove().map(|()| number.into())
            }
            (_, None) => Err(EINVAL),
        }
    }
}

/// An ioctl of a loop device.
pub(super) fn ioctl(own: &LoopDisk, bdev: &Arc<BlockDevice>, file: &File, cmd: u32, arg: u64) -> Result<u64> {
    let known = (LOOP_SET_FD..=LOOP_CONFIGURE).contains(&cmd);
    if !known || bdev.number != 0 {
        return Err(ENOTTY);
    }
    let asks = matches!(cmd, LOOP_GET_STATUS | LOOP_GET_STATUS64);
    let may = file.mode.contains(FileMode::WRITE) || current().cred().capable(CAP_SYS_ADMIN);
    if !asks && !may {
        return Err(EPERM);
    }
    match cmd {
        LOOP_SET_FD => {
            let info = LoopInfo64::default();
            configure(own, bdev, file, Fd(arg as i32), info, 0)
        }
        LOOP_CONFIGURE => {
            let config = UserPtr::<LoopConfig>::new(arg).read()?;
            if config.info.lo_flags & !SETTABLE != 0 {
                return Err(EINVAL);
            }
            configure(own, bdev, file, Fd(config.fd as i32), config.info, config.block_size)
        }
        LOOP_CLR_FD => {
            let _guard = own.change.lock();
            let backing = own.backing().ok_or(ENXIO)?;
            if bdev.disk.opens.load(Ordering::SeqCst) > 1 {
                // Others use it: it goes when they are done.
                let mut later = (*backing).clone();
                later.info.lo_flags |= LO_FLAGS_AUTOCLEAR;
                drop(own.set(Some(later)));
                return Ok(0);
            }
            bdev.drop_cache();
            clear(own, &bdev.disk);
            Ok(0)
        }
        LOOP_GET_STATUS64 => UserPtr::new(arg).write(&status(own)?).map(|()| 0),
        LOOP_GET_STATUS => UserPtr::new(arg).write(&old_status(&status(own)?)?).map(|()| 0),
        LOOP_SET_STATUS64 => set_status(own, &bdev.disk, UserPtr::<LoopInfo64>::new(arg).read()?),
        LOOP_SET_STATUS => {
            let old = UserPtr::<LoopInfo>::new(arg).read()?;
            let offset = u64::try_from(old.lo_offset).map_err(|_| EINVAL)?;
            let mut info =
                LoopInfo64 { lo_offset: offset, lo_flags: old.lo_flags as u32, ..LoopInfo64::default() };
            info.lo_file_name = old.lo_name;
            info.lo_encrypt_type = old.lo_encrypt_type as u32;
            set_status(own, &bdev.disk, info)
        }
        LOOP_CHANGE_FD => change_fd(own, &bdev.disk, Fd(arg as i32)),
        LOOP_SET_CAPACITY => {
            let _guard = own.change.lock();
            bdev.drop_cache();
            let backing = own.backing().ok_or(ENXIO)?;
            let backing = Backing { len: length(&backing.file, &backing.info)?, ..(*backing).clone() };
            drop(own.set(Some(backing)));
            Ok(0)
        }
        LOOP_SET_DIRECT_IO => {
            let _guard = own.change.lock();
            let mut backing = (*own.backing().ok_or(ENXIO)?).clone();
            // The host's page cache is behind every guest file: the flag is kept and changes nothing.
            match arg {
                0 => backing.info.lo_flags &= !LO_FLAGS_DIRECT_IO,
                _ => backing.info.lo_flags |= LO_FLAGS_DIRECT_IO,
            }
            drop(own.set(Some(backing)));
            Ok(0)
        }
        LOOP_SET_BLOCK_SIZE => {
            own.backing().ok_or(ENXIO)?;
            if arg == SECTOR { Ok(0) } else { Err(EINVAL) }
        }
        _ => Err(ENOTTY),
    }
}

fn configure(
    own: &LoopDisk,
    bdev: &Arc<BlockDevice>,
    opened: &File,
    fd: Fd,
    mut info: LoopInfo64,
    block_size: u32,
) -> Result<u64> {
    let file = fd.io()?;
    let _guard = own.change.lock();
    if own.backing().is_some() {
        return Err(EBUSY);
    }
    if !matches!(block_size, 0 | 512) {
        return Err(EINVAL);
    }
    check_file(&file, &bdev.disk)?;
    let writable = file.mode.contains(FileMode::WRITE) && opened.mode.contains(FileMode::WRITE);
    if !writable {
        info.lo_flags |= LO_FLAGS_READ_ONLY;
    }
    let backing = make(own, file, info)?;
    let partscan = info.lo_flags & LO_FLAGS_PARTSCAN != 0;
    bdev.drop_cache();
    drop(own.set(Some(backing)));
    sysfs::show_loop(bdev, true);
    bdev.disk.partscan.store(partscan, Ordering::Relaxed);
    bdev.disk.changed();
    sysfs::tell(bdev, "change");
    Ok(0)
}

fn make(own: &LoopDisk, file: Arc<File>, mut info: LoopInfo64) -> Result<Backing> {
    if info.lo_encrypt_type != 0 {
        return Err(EINVAL);
    }
    let len = length(&file, &info)?;
    info.lo_number = own.number;
    let read_only = info.lo_flags & LO_FLAGS_READ_ONLY != 0;
    Ok(Backing { file, info, len, read_only })
}

/// EINVAL for what is neither a file nor a block device; EBADF for the device itself, by whatever way.
fn check_file(file: &Arc<File>, disk: &Arc<Gendisk>) -> Result<()> {
    if !file.mode.contains(FileMode::READ) || !file.mode.contains(FileMode::SEEK) {
        return Err(EBADF);
    }
    let mut at = file.clone();
    for _ in 0..MAX_NESTING {
        match at.inode().kind {
            FileType::Regular => return Ok(()),
            FileType::BlockDev => {}
            _ => return Err(EINVAL),
        }
        let Some(other) = loop_of(&at) else { return Ok(()) };
        if Arc::ptr_eq(&other, disk) {
            return Err(EBADF);
        }
        let below = of(&other).and_then(LoopDisk::backing).ok_or(EINVAL)?;
        at = below.file.clone();
    }
    Err(EINVAL)
}

/// Bytes of a device on that file: whole sectors.
fn length(file: &File, info: &LoopInfo64) -> Result<u64> {
    if info.lo_offset > i64::MAX as u64 || info.lo_sizelimit > i64::MAX as u64 {
        return Err(EOVERFLOW);
    }
    let size = match file::bdev_of(file) {
        Some(bdev) => bdev.len(),
        None => file.inode().getattr()?.size,
    };
    let rest = size.saturating_sub(info.lo_offset);
    let len = if info.lo_sizelimit > 0 { rest.min(info.lo_sizelimit) } else { rest };
    Ok(len / SECTOR * SECTOR)
}

fn set_status(own: &LoopDisk, disk: &Arc<Gendisk>, new: LoopInfo64) -> Result<u64> {
    let _guard = own.change.lock();
    let backing = own.backing().ok_or(ENXIO)?;
    let old = backing.info.lo_flags;
    let kept = old & !STATUS_CLEARABLE;
    let mut info = new;
    info.lo_flags = kept | new.lo_flags & STATUS_SETTABLE;
    let backing = make(own, backing.file.clone(), info)?;
    let partscan = info.lo_flags & LO_FLAGS_PARTSCAN != 0;
    if let Some(whole) = disk.whole() {
        whole.drop_cache();
    }
    drop(own.set(Some(backing)));
    if partscan && old & LO_FLAGS_PARTSCAN == 0 {
        disk.partscan.store(true, Ordering::Relaxed);
        disk.changed();
    }
    Ok(0)
}

fn change_fd(own: &LoopDisk, disk: &Arc<Gendisk>, fd: Fd) -> Result<u64> {
    let file = fd.io()?;
    let _guard = own.change.lock();
    let backing = own.backing().ok_or(ENXIO)?;
    check_file(&file, disk)?;
    if !backing.read_only || length(&file, &backing.info)? != backing.len {
        return Err(EINVAL);
    }
    if let Some(whole) = disk.whole() {
        whole.drop_cache();
    }
    drop(own.set(Some(Backing { file, ..(*backing).clone() })));
    disk.changed();
    if let Some(whole) = disk.whole() {
        sysfs::tell(&whole, "change");
    }
    Ok(0)
}

/// Takes the file away. The caller holds `change`.
pub(super) fn clear(own: &LoopDisk, disk: &Arc<Gendisk>) {
    let backing = own.set(None);
    if let Some(backing) = backing
        && !backing.read_only
        && let Err(errno) = backing.file.ops.fsync(&backing.file, false)
    {
        crate::pr_err!("{}: writing back failed: {errno}", disk.name);
    }
    if let Some(whole) = disk.whole() {
        sysfs::show_loop(&whole, false);
    }
    disk.partscan.store(false, Ordering::Relaxed);
    disk.changed();
    if let Some(whole) = disk.whole() {
        sysfs::tell(&whole, "change");
    }
}

fn status(own: &LoopDisk) -> Result<LoopInfo64> {
    let backing = own.backing().ok_or(ENXIO)?;
    let attr = backing.file.inode().getattr()?;
    let rdev = if backing.kind() == FileType::BlockDev { attr.rdev } else { 0 };
    Ok(LoopInfo64 { lo_device: attr.dev, lo_inode: attr.ino, lo_rdevice: rdev, ..backing.info })
}

/// EOVERFLOW for an offset that the old structure has no room for.
fn old_status(info: &LoopInfo64) -> Result<LoopInfo> {
    let offset = i32::try_from(info.lo_offset).map_err(|_| EOVERFLOW)?;
    if info.lo_sizelimit != 0 {
        return Err(EOVERFLOW);
    }
    Ok(LoopInfo {
        lo_number: info.lo_number as i32,
        lo_device: info.lo_device,
        lo_inode: info.lo_inode,
        lo_rdevice: info.lo_rdevice,
        lo_offset: offset,
        lo_flags: info.lo_flags as i32,
        lo_name: info.lo_file_name,
        ..LoopInfo::default()
    })
}
