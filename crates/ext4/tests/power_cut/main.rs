//! Power cuts: random operations on a recording device, cut at random moments with the unflushed writes dropped,
//! reordered and torn. After each cut the image must come up, by this crate's replay and by e2fsck's, be clean, and
//! have everything that was synced. With a journal it must be exactly as after some operation.
//!
//! `EXT4_POWER_CUTS` sets the number of cuts for each kind of file system, `EXT4_POWER_SEED` the random numbers.

#[path = "../common/mod.rs"]
mod common;

mod check;
mod model;

use check::{Cut, tree};
use common::{Image, Printer, Random, tool};
use ext4::recording::RecordingDevice;
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
        self.e2fsck("-fn", &[0]);
        let fs = mount_copy(fs::read(&self.image.path).unwrap(), self.kind);
        let found = tree(&fs, !self.kind.has_journal());
        if self.kind.has_journal() { cut.check_exact(&found) } else { cut.check_synced(&found) }
    }

    /// Mounts an image, compares it, unmounts, and lets e2fsck look at it.
    fn check_replay(&self, cut: &Cut<'_>, data: Vec<u8>) {
        let device = Arc::new(MemoryDevice::new(data));
        let mounted = Filesystem::mount(device.clone(), &self.kind.options(), Arc::new(Printer)).unwrap();
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

/// Cuts the power of a file system of that kind.
fn cut_power(kind: &Kind) {
    let cuts = env("EXT4_POWER_CUTS").unwrap_or(24);
    let seed = env("EXT4_POWER_SEED").unwrap_or(1);
    let args: Vec<&str> = kind.mke2fs.split_whitespace().collect();
    let mut checker = Checker { kind, image: Image::make(kind.size, &args), context: String::new() };
    let device = Arc::new(RecordingDevice::new(fs::read(&checker.image.path).unwrap()));
    let mounted = Filesystem::mount(device.clone(), &kind.options(), Arc::new(Printer)).unwrap();
    let mut world = World::new(device.clone(), mounted, Random(seed));
    world.run(if cuts > 100 { 1500 } else { 500 });

    let mut random = Random(seed + 1);
    let mut positions: Vec<usize> = (0..cuts).map(|_| random.pick(device.position() + 1)).collect();
    positions.sort_unstable();
    let mut record = device.cuts();
    for position in positions {
        let cut = Cut::new(&world, kind, position);
        let image = record.image(position, |below| random.pick(below));
        checker.context = format!("{} {}, seed {seed}, cut at {position}", kind.mke2fs, kind.mount);
        checker.check_e2fsck(&cut, &image);
        if kind.has_journal() {
            checker.check_replay(&cut, image);
        }
    }

    world.close();
    checker.context = format!("{}, unmounted", kind.mke2fs);
    fs::write(&checker.image.path, device.snapshot()).unwrap();
    checker.e2fsck("-fn", &[0]);
    Cut::new(&world, kind, usize::MAX).check_exact(&tree(&mount_copy(device.snapshot(), kind), false));
}

#[test]
fn ext2() {
    cut_power(&EXT2);
}

#[test]
fn ext3() {
    cut_power(&EXT3);
}

#[test]
fn ext3_journaling_data() {
    cut_power(&Kind { mount: "data=journal", ..EXT3 });
}

#[test]
fn ext3_writeback() {
    cut_power(&Kind { mount: "data=writeback", ..EXT3 });
}

#[test]
fn ext4() {
    cut_power(&EXT4);
}

#[test]
fn ext4_journaling_data() {
    cut_power(&Kind { mount: "data=journal", ..EXT4 });
}

#[test]
fn ext4_writeback() {
    cut_power(&Kind { mount: "data=writeback", ..EXT4 });
}

#[test]
fn ext4_with_small_blocks() {
    cut_power(&SMALL);
}

#[test]
fn ext4_without_checksums() {
    cut_power(&Kind { mke2fs: "-t ext4 -b 1024 -O ^metadata_csum,^64bit -J size=1", ..SMALL });
}

#[test]
fn ext4_with_journal_checksums_alone() {
    let mke2fs = "-t ext4 -b 1024 -O ^metadata_csum -J size=1";
    cut_power(&Kind { mke2fs, mount: "journal_checksum", ..SMALL });
}

#[test]
fn ext4_with_orphan_file_and_inline_data() {
    cut_power(&Kind { mke2fs: "-t ext4 -b 1024 -O orphan_file,inline_data -J size=1", ..SMALL });
}

/// Without flushes cuts lose what was synced: the test has to see that.
#[test]
#[should_panic(expected = "cut at")]
fn missing_flushes_are_noticed() {
    cut_power(&Kind { mount: "nobarrier", ..SMALL });
}
