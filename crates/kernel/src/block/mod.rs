//! Block devices: disks, their partitions, and what user space sees of them.
//!
//! | concept | where |
//! |---|---|
//! | a disk, and what its driver does | `disk.rs` ([`Gendisk`], [`DiskOps`]) |
//! | a disk or partition by device number, its blocking calls for file systems | `bdev.rs` ([`BlockDevice`]) |
//! | partition tables | `partition/` |
//! | a request under way | `pending.rs` ([`Pending`]); counters `stats.rs` |
//! | its page cache | `cache.rs` |
//! | an open device node | `file.rs`; its ioctls `ioctl.rs` |
//! | /sys/block, /proc/partitions | `sysfs.rs` |
//! | User-Mode Linux's disks, `ubdN=` | `ubd.rs` |
//! | loop devices | `loop_dev.rs` |
//! | swapon(2) | `swap.rs` |
//!
//! A file system takes a device by [`by_path`], holds it by [`BlockDevice::claim`], and calls [`BlockDevice::read`],
//! `write`, `flush` and `discard`, which put the calling task to sleep. The host's side is `host::block`.
//!
//! Locks: a disk's `scan` (sleeping) serialises changes of its partitions, and is taken before a device's `openers`
//! (`cache.rs`); every other lock here is a LEAF over a list.

mod bdev;
mod buffers;
mod cache;
mod disk;
mod file;
mod ioctl;
mod loop_dev;
mod partition;
mod pending;
mod root;
mod stats;
pub mod swap;
mod sysfs;
#[cfg(test)]
mod tests;
pub mod ubd;

use std::sync::Arc;

use abi::Result;
use abi::errno::{EACCES, ENOTBLK, ENXIO};
use abi::fcntl::OpenFlags;

pub use bdev::{BlockDevice, Claim, find};
pub use cache::sync_all;
pub use disk::{DiskOps, DiskParts, Gendisk, Limits};
pub use pending::{Complete, Outcome, Pending};
pub use root::{by_name, describe_all};

use crate::vfs::namei::{LookupFlags, path_at};
use crate::vfs::{Fd, FileOps, FileType, MountFlags};

/// What offsets and lengths of requests are multiples of, bytes.
pub const SECTOR: u64 = 512;

/// Block majors and their drivers, for /proc/devices.
pub const MAJORS: [(u32, &str); 3] =
    [(loop_dev::LOOP_MAJOR, "loop"), (ubd::UBD_MAJOR, "ubd"), (bdev::EXT_MAJOR, "blkext")];

/// Makes loop devices and the tables of /proc and /sys known. From a task.
pub fn init() {
    crate::fs::proc::devices::set_disks(sysfs::proc_list);
    loop_dev::init();
}

/// Opens the device of a node. ENXIO if there is none.
pub fn open(rdev: u64, flags: OpenFlags) -> Result<Box<dyn FileOps>> {
    let bdev = find(rdev).or_else(|| loop_dev::probe(rdev)).ok_or(ENXIO)?;
    Ok(Box::new(file::BdevFile::open(bdev, flags)?))
}

/// The device that a path names, for mount(2) and its like. ENOTBLK; EACCES on a mount without devices; ENXIO.
pub fn by_path(path: &[u8]) -> Result<Arc<BlockDevice>> {
    let path = path_at(Fd::CWD, path, LookupFlags::FOLLOW)?;
    let inode = path.inode()?;
    if inode.kind != FileType::BlockDev {
        return Err(ENOTBLK);
    }
    if path.mnt.flags().contains(MountFlags::NODEV) {
        return Err(EACCES);
    }
    let rdev = inode.getattr()?.rdev;
    find(rdev).or_else(|| loop_dev::probe(rdev)).ok_or(ENXIO)
}
