//! Character devices by number: who opens a device node.
//!
//! Lock: LEAF, over the table.

use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

use abi::Result;
use abi::errno::ENXIO;
use abi::fcntl::OpenFlags;
use abi::stat::{major, minor};

use super::{FileOps, Inode};
use crate::sync::{SpinLock, rank};

/// Opens a device: the node's inode, and the flags of open(2).
pub type OpenChrdev = fn(&Arc<Inode>, OpenFlags) -> Result<Box<dyn FileOps>>;

/// The minor numbers of a device.
pub struct Minors(RangeInclusive<u32>);

impl From<u32> for Minors {
    fn from(minor: u32) -> Minors {
        Minors(minor..=minor)
    }
}

impl From<Range<u32>> for Minors {
    fn from(range: Range<u32>) -> Minors {
        Minors(range.start..=range.end.saturating_sub(1))
    }
}

impl From<RangeInclusive<u32>> for Minors {
    fn from(range: RangeInclusive<u32>) -> Minors {
        Minors(range)
    }
}

struct Chrdev {
    major: u32,
    minors: Minors,
    name: &'static str,
    open: OpenChrdev,
}

static CHRDEVS: SpinLock<Vec<Chrdev>> = SpinLock::new(rank::LEAF, Vec::new());

/// Gives device `major` with those minors to a driver. `name` is what /proc/devices shows.
pub fn register_chrdev(major: u32, minors: impl Into<Minors>, name: &'static str, open: OpenChrdev) {
    let new = Chrdev { major, minors: minors.into(), name, open };
    let mut all = CHRDEVS.lock();
    all.retain(|d| d.major != new.major || d.minors.0 != new.minors.0);
    all.push(new);
}

/// Opens the device of a node. ENXIO if there is no driver.
pub fn open_chrdev(rdev: u64, inode: &Arc<Inode>, flags: OpenFlags) -> Result<Box<dyn FileOps>> {
    let (major, minor) = (major(rdev), minor(rdev));
    let open = {
        let all = CHRDEVS.lock();
        all.iter().find(|d| d.major == major && d.minors.0.contains(&minor)).map(|d| d.open)
    };
    open.ok_or(ENXIO)?(inode, flags)
}

/// Majors and names for /proc/devices, by number.
pub fn chrdevs() -> Vec<(u32, &'static str)> {
    let mut all: Vec<_> = CHRDEVS.lock().iter().map(|d| (d.major, d.name)).collect();
    all.sort_unstable();
    all.dedup();
    all
}
