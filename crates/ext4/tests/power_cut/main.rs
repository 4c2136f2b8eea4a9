//! Power cuts: random operations on a recording device, cut at random moments with the unflushed writes dropped,
//! reordered and torn. After each cut the image must come up, by this crate's replay and by e2fsck's, be clean, and
//! have everything that was synced. With a journal it must be exactly as after some operation. The disk is the device
//! itself, or a COW file on it: then sectors and bitmap are cut.
//!
//! `EXT4_POWER_CUTS` sets the number of cuts for each kind of file system, `EXT4_POWER_SEED` the random numbers.

#[path = "../common/mod.rs"]
mod common;

mod check;
mod disk;
mod model;

use check::{Cut, tree};
use common::{Image, Printer, Random, tool};
use disk::{Disk, Over};
use ext4::{Filesystem, MemoryDevice, MountOptions};
use model::World;
use std::fs;
use std::sync::Arc;

/// A kind of file system, and its mount options.
struct Kind {
    mke2fs: &'static str,
    /// Size as mke2fs takes it.
    size: &'static str,
    mount: &'static str,
}

impl Kind {
    /// Whether an image after replay is exactly as some operation left it.
    fn has_journal(&self) -> bool {
        !self.mke2fs.contains("ext2") && !self.mke2fs.contains("^has_journal")
    }

    fn options(&self) -> MountOptions {
        let mut options = MountOptions::default();
        options.parse(self.mount).expect("mount options");
        options
    }
}

const EXT2: Kind = Kind { mke2fs: "-t ext2 -b 1024", size: "8M", mount: "" };
const EXT3: Kind = Kind { mke2fs: "-t ext3 -b 1024 -J size=1", size: "12M", mount: "" };
const EXT4: Kind = Kind { mke2fs: "-t ext4 -b 4096 -J size=4", size: "24M", mount: "" };
const SMALL: Kind = Kind { mke2fs: "-t ext4 -b 1024 -J size=1", size: "12M", mount: "" };

fn env(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// An image, the kind it is of, and the words for a failure.
struct Checker<'a> {
    kind: &'a Kind,
    image: Image,
    context: String,
}

impl Checker<'_> {
    fn e2fsck(&self, options: &str, allowed: &[i32]) {
        let output = tool("e2fsck", &[options, self.image.name()]);
        let code = output.status.code().unwrap_or(-1);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(allowed.contains(&code), "{}: e2fsck {options}: {code}\n{text}", self.context);
    }

    /// Lets e2fsck replay and repair an image, and compares it.
    fn check_e2fsck(&self, cut: &Cut<'_>, data: &[u8]) {
        fs::write(&self.image.path, data).unwrap();
        self.e2fsck("-fy", &[0, 1]);
        if !self.kind.has_journal() {
            // Blocks that two files claimed: what the first repair gives away, only a second one counts.
            self.e2fsck("-fy", &[0, 1]);
        }
        self.e2fsck("-fn", &[0]);
        let fs = mount_copy(fs::read(&self.image.path).unwrap(), self.kind);
        let found = tree(&fs, !self.kind.has_journal());
        if self.kind.has_journal() { cut.check_exact(&found) } else { cut.check_synced(&found) }
    }

    /// Mounts an image, compares it, unmounts, and lets e2fsck look at it.
    fn check_replay(&self, cut: &Cut<'_>, data: Vec<u8>) {
        let device = Arc::new(MemoryDevice::new(data));
        let mounted = Filesystem::mount(device.clone(), &self.kind.options(), Arc::new(Printer));
        let mounted = mounted.unwrap_or_else(|errno| panic!("{}: no mount: {errno:?}", self.context));
        cut.check_exact(&tree(&mounted, false));
        mounted.unmount().unwrap();
        fs::write(&self.image.path, device.snapshot()).unwrap();
        self.e2fsck("-fn", &[0]);
    }
}

/// Mounts an image for reading.
fn mount_copy(data: Vec<u8>, kind: &Kind) -> Arc<Filesystem> {
    let options = MountOptions { read_only: true, ..kind.options() };
    Filesystem::mount(Arc::new(MemoryDevice::new(data)), &options, Arc::new(Printer)).unwrap()
}

/// How many cuts a kind gets.
fn usual_cuts() -> u64 {
    env("EXT4_POWER_CUTS").unwrap_or(24)
}

/// Enough for a fault in the order of writes to show.
const MANY_CUTS: u64 = 600;

/// Cuts the power of a file system of that kind.
fn cut_power(kind: &Kind, over: Over, cuts: u64) {
    let seed = env("EXT4_POWER_SEED").unwrap_or(1);
    let args: Vec<&str> = kind.mke2fs.split_whitespace().collect();
    let mut checker = Checker { kind, image: Image::make(kind.size, &args), context: String::new() };
    let disk = Disk::new(&checker.image.path, over);
    let mounted = Filesystem::mount(disk.device.clone(), &kind.options(), Arc::new(Printer)).unwrap();
    let mut world = World::new(disk.record.clone(), mounted, Random(seed));
    world.run(if cuts > 100 { 1500 } else { 500 });

    let mut random = Random(seed + 1);
    let mut positions: Vec<usize> = (0..cuts).map(|_| random.pick(disk.record.position() + 1)).collect();
    positions.sort_unstable();
    let mut record = disk.record.cuts();
    for position in positions {
        let cut = Cut::new(&world, kind, position);
        let image = disk.image(record.image(position, |below| random.pick(below)));
        checker.context = format!("{} {}, {over:?}, seed {seed}, cut at {position}", kind.mke2fs, kind.mount);
        checker.check_e2fsck(&cut, &image);
        if kind.has_journal() {
            checker.check_replay(&cut, image);
        }
    }

    world.close();
    checker.context = format!("{}, unmounted", kind.mke2fs);
    let image = disk.image(disk.record.snapshot());
    fs::write(&checker.image.path, &image).unwrap();
    checker.e2fsck("-fn", &[0]);
    Cut::new(&world, kind, usize::MAX).check_exact(&tree(&mount_copy(image, kind), false));
    eprintln!("{} {}, {over:?}, seed {seed}: {cuts} cuts", kind.mke2fs, kind.mount);
}

/// The tests of a kind, on both sorts of disks.
macro_rules! kinds {
    ($($raw:ident, $cow:ident: $kind:expr;)*) => {
        $(
            #[test]
            fn $raw() {
                cut_power(&$kind, Over::Raw, usual_cuts());
            }

            #[test]
            fn $cow() {
                cut_power(&$kind, Over::Cow, usual_cuts());
            }
        )*
    };
}

kinds! {
    ext2, ext2_over_cow: EXT2;
    ext3, ext3_over_cow: EXT3;
    ext3_journaling_data, ext3_journaling_data_over_cow: Kind { mount: "data=journal", ..EXT3 };
    ext3_writeback, ext3_writeback_over_cow: Kind { mount: "data=writeback", ..EXT3 };
    ext4, ext4_over_cow: EXT4;
    ext4_journaling_data, ext4_journaling_data_over_cow: Kind { mount: "data=journal", ..EXT4 };
    ext4_writeback, ext4_writeback_over_cow: Kind { mount: "data=writeback", ..EXT4 };
    ext4_with_small_blocks, ext4_with_small_blocks_over_cow: SMALL;
    ext4_without_checksums, ext4_without_checksums_over_cow: Kind { mke2fs: "-t ext4 -b 1024 -O ^metadata_csum,^64bit -J size=1", ..SMALL };
    ext4_with_journal_checksums_alone, ext4_with_journal_checksums_alone_over_cow: Kind {
        mke2fs: "-t ext4 -b 1024 -O ^metadata_csum -J size=1",
        mount: "journal_checksum",
        ..SMALL
    };
    ext4_with_orphan_file_and_inline_data, ext4_with_orphan_file_and_inline_data_over_cow: Kind {
        mke2fs: "-t ext4 -b 1024 -O orphan_file,inline_data -J size=1",
        ..SMALL
    };
}

/// Without flushes cuts lose what was synced: the test has to see that.
#[test]
#[should_panic(expected = "cut at")]
fn missing_flushes_are_noticed() {
    cut_power(&Kind { mount: "nobarrier", ..SMALL }, Over::Raw, MANY_CUTS);
}

/// Bits of a COW file that are there before their sectors show garbage: the test has to see that.
#[test]
#[should_panic(expected = "cut at")]
fn missing_order_is_noticed() {
    cut_power(&SMALL, Over::CowWithoutOrder, MANY_CUTS);
}
