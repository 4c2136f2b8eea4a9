//! Block devices in /sys and /proc: lsblk(8), losetup(8), udev and their like read these.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use abi::Result;
use abi::errno::EINVAL;
use abi::stat::{major, minor};

use super::bdev;
use super::loop_dev::LoopDisk;
use super::ubd::UbdDisk;
use super::{BlockDevice, SECTOR};
use crate::fs::kernfs::Tree;
use crate::fs::proc::devices::Disk;
use crate::fs::sysfs::{self, attribute, dir, link, variable};
use crate::uevent;

/// Shows a device below its driver's directory, with links in /sys/block, /sys/class/block and /sys/dev/block.
pub(super) fn add(bdev: &Arc<BlockDevice>) {
    let (parent, path) = place(bdev);
    let (major, minor) = (major(bdev.dev), minor(bdev.dev));
    let up = "../".repeat(path.split('/').count());
    let entries = common(bdev, &up).into_iter();
    let tree = match bdev.number {
        0 => dir(&bdev.name, entries.chain(of_disk(bdev))),
        _ => dir(&bdev.name, entries.chain(of_partition(bdev))),
    };
    let added = sysfs::add(&parent, tree)
        .and_then(|()| match bdev.number {
            0 => sysfs::add("block", link(&bdev.name, format!("../{path}"))),
            _ => Ok(()),
        })
        .and_then(|()| sysfs::add("class/block", link(&bdev.name, format!("../../{path}"))))
        .and_then(|()| sysfs::add("dev/block", link(&format!("{major}:{minor}"), format!("../../{path}"))));
    if let Err(errno) = added {
        crate::pr_err!("sysfs: {}: {errno}", bdev.name);
    }
    tell(bdev, "add");
}

/// Takes it away again.
pub(super) fn remove(bdev: &Arc<BlockDevice>) {
    tell(bdev, "remove");
    let (parent, _) = place(bdev);
    let number = format!("{}:{}", major(bdev.dev), minor(bdev.dev));
    let names = [(&*parent, &*bdev.name), ("class/block", &bdev.name), ("dev/block", &number)];
    let disk = (bdev.number == 0).then_some(("block", &*bdev.name));
    for (path, name) in names.into_iter().chain(disk) {
        // What could not be added isn't there.
        let _ = sysfs::remove(path, name);
    }
}

/// The directory that it is in, and its own path.
fn place(bdev: &BlockDevice) -> (String, String) {
    let parent = match bdev.number {
        0 => bdev.disk.sys_parent.clone(),
        _ => format!("{}/{}", bdev.disk.sys_parent, bdev.disk.name),
    };
    let path = format!("{parent}/{}", bdev.name);
    (parent, path)
}

type Show<T> = fn(&BlockDevice) -> T;

fn attr<T: std::fmt::Display + 'static>(bdev: &Arc<BlockDevice>, name: &str, show: Show<T>) -> Arc<Tree> {
    // Weak: a device that is gone must not be kept by what shows it.
    let bdev = Arc::downgrade(bdev);
    attribute(name, move || bdev.upgrade().map_or(String::new(), |bdev| show(&bdev).to_string()))
}

fn common(bdev: &Arc<BlockDevice>, up: &str) -> Vec<Arc<Tree>> {
    vec![
        attr(bdev, "dev", |b| format!("{}:{}", major(b.dev), minor(b.dev))),
        attr(bdev, "size", |b| b.len() / SECTOR),
        attr(bdev, "ro", |b| u8::from(b.is_readonly())),
        attr(bdev, "stat", stat),
        attr(bdev, "inflight", |b| {
            let [reads, writes] = b.stats.in_flight();
            format!("{reads:8} {writes:8}")
        }),
        attribute("alignment_offset", || 0),
        attribute("discard_alignment", || 0),
        uevent(bdev),
        dir("holders", []),
        dir("power", [attribute("control", || "auto"), attribute("runtime_status", || "unsupported")]),
        link("subsystem", format!("{up}class/block")),
    ]
}

fn stat(bdev: &BlockDevice) -> String {
    let numbers: Vec<_> = bdev.stats.numbers().iter().map(|n| format!("{n:8}")).collect();
    numbers.join(" ")
}

/// The variables of the device's events; udevadm-trigger(8) writes to it.
fn uevent(bdev: &Arc<BlockDevice>) -> Arc<Tree> {
    let weak = Arc::downgrade(bdev);
    let all = move || weak.upgrade().map_or(Vec::new(), |bdev| variables(&bdev));
    sysfs::device::uevent(place(bdev).1, "block", all)
}

/// Tells udev of the device: `add`, `change`, `remove`. Sleeps.
pub(super) fn tell(bdev: &BlockDevice, action: &str) {
    let path = place(bdev).1;
    uevent::emit(action, &uevent::Subject { path: &path, subsystem: "block", variables: &variables(bdev) });
}

fn variables(bdev: &BlockDevice) -> Vec<String> {
    let kind = if bdev.number == 0 { "disk" } else { "partition" };
    let mut all = vec![
        format!("MAJOR={}", major(bdev.dev)),
        format!("MINOR={}", minor(bdev.dev)),
        format!("DEVNAME={}", bdev.name),
        format!("DEVTYPE={kind}"),
        format!("DISKSEQ={}", bdev.disk.seq.load(Relaxed)),
    ];
    if bdev.number > 0 {
        all.push(format!("PARTN={}", bdev.number));
        all.extend(bdev.label.as_ref().map(|label| format!("PARTNAME={label}")));
        all.extend(bdev.uuid.as_ref().map(|uuid| format!("PARTUUID={uuid}")));
    }
    all
}

fn of_partition(bdev: &Arc<BlockDevice>) -> Vec<Arc<Tree>> {
    vec![attr(bdev, "partition", |b| b.number), attr(bdev, "start", |b| b.start() / SECTOR)]
}

fn of_disk(bdev: &Arc<BlockDevice>) -> Vec<Arc<Tree>> {
    let mut all = vec![
        attr(bdev, "diskseq", |b| b.disk.seq.load(Relaxed)),
        attribute("range", || 16),
        attribute("ext_range", || 256),
        attribute("removable", || 0),
        attribute("hidden", || 0),
        attribute("capability", || 0),
        attribute("events", String::new),
        attribute("events_async", String::new),
        attribute("events_poll_msecs", || -1),
        attribute("partscan", || 1),
        dir("slaves", []),
        queue(bdev),
    ];
    if let Some(serial) = ubd(bdev).and_then(UbdDisk::serial) {
        let serial = serial.to_owned();
        all.push(attribute("serial", move || serial.clone()));
    }
    all
}

fn ubd(bdev: &BlockDevice) -> Option<&UbdDisk> {
    (&*bdev.disk.ops as &dyn std::any::Any).downcast_ref()
}

fn loop_disk(bdev: &BlockDevice) -> Option<&LoopDisk> {
    (&*bdev.disk.ops as &dyn std::any::Any).downcast_ref()
}

/// Shows /sys/block/loopN/loop, which is there while the device is set up, or takes it away.
pub(super) fn show_loop(bdev: &Arc<BlockDevice>, set_up: bool) {
    let (_, path) = place(bdev);
    let outcome = match set_up {
        true => sysfs::add(&path, dir("loop", of_loop(bdev))),
        false => sysfs::remove(&path, "loop"),
    };
    if let Err(errno) = outcome {
        crate::pr_err!("sysfs: {}: {errno}", bdev.name);
    }
}

fn of_loop(bdev: &Arc<BlockDevice>) -> Vec<Arc<Tree>> {
    vec![
        attr(bdev, "backing_file", |b| loop_disk(b).and_then(LoopDisk::backing_file).unwrap_or_default()),
        attr(bdev, "offset", |b| loop_disk(b).map_or(0, |l| l.status().lo_offset)),
        attr(bdev, "sizelimit", |b| loop_disk(b).map_or(0, |l| l.status().lo_sizelimit)),
        attr(bdev, "autoclear", |b| flag(b, abi::ioctl::LO_FLAGS_AUTOCLEAR)),
        attr(bdev, "partscan", |b| flag(b, abi::ioctl::LO_FLAGS_PARTSCAN)),
        attr(bdev, "dio", |b| flag(b, abi::ioctl::LO_FLAGS_DIRECT_IO)),
    ]
}

fn flag(bdev: &BlockDevice, flag: u32) -> u8 {
    loop_disk(bdev).map_or(0, |l| u8::from(l.status().lo_flags & flag != 0))
}

fn queue(bdev: &Arc<BlockDevice>) -> Arc<Tree> {
    let read_ahead = {
        let (show, store) = (Arc::downgrade(bdev), Arc::downgrade(bdev));
        let kib = move || show.upgrade().map_or(0, |b| b.read_ahead.load(Relaxed) / 2);
        variable("read_ahead_kb", kib, move |text| {
            let kib: u64 = number(text)?;
            if let Some(bdev) = store.upgrade() {
                bdev.read_ahead.store(kib.saturating_mul(2), Relaxed);
            }
            Ok(())
        })
    };
    let max = |b: &BlockDevice| if b.disk.ops.limits().discard { u64::from(u32::MAX) & !511 } else { 0 };
    let fixed: [(&str, u64); 22] = [
        ("logical_block_size", SECTOR),
        ("hw_sector_size", SECTOR),
        ("optimal_io_size", 0),
        ("max_sectors_kb", 1280),
        ("max_hw_sectors_kb", 65536),
        ("max_segments", 128),
        ("max_segment_size", 65536),
        ("max_integrity_segments", 0),
        ("max_discard_segments", 1),
        ("discard_zeroes_data", 0),
        ("write_same_max_bytes", 0),
        ("zone_append_max_bytes", 0),
        ("nr_zones", 0),
        ("chunk_sectors", 0),
        ("nr_requests", 256),
        ("nomerges", 0),
        ("rq_affinity", 1),
        ("iostats", 1),
        ("io_poll", 0),
        ("add_random", 0),
        ("dax", 0),
        ("virt_boundary_mask", 0),
    ];
    let fixed = fixed.into_iter().map(|(name, value)| attribute(name, move || value));
    let own = [
        read_ahead,
        attribute("rotational", || 0),
        attribute("zoned", || "none"),
        attribute("scheduler", || "[none]"),
        attribute("write_cache", || "write back"),
        attribute("fua", || 1),
        attribute("stable_writes", || 0),
        attr(bdev, "physical_block_size", |b| b.disk.ops.limits().physical_block),
        attr(bdev, "minimum_io_size", |b| b.disk.ops.limits().physical_block),
        attr(bdev, "discard_granularity", |b| if b.disk.ops.limits().discard { SECTOR } else { 0 }),
        attr(bdev, "discard_max_bytes", max),
        attr(bdev, "discard_max_hw_bytes", max),
        attr(bdev, "write_zeroes_max_bytes", |_| u64::from(u32::MAX) & !511),
    ];
    dir("queue", fixed.chain(own))
}

fn number<T: std::str::FromStr>(text: &[u8]) -> Result<T> {
    let text = core::str::from_utf8(text).map_err(|_| EINVAL)?;
    text.trim().parse().map_err(|_| EINVAL)
}

/// For /proc/partitions and /proc/diskstats.
pub(super) fn proc_list() -> Vec<Disk> {
    let one = |bdev: Arc<BlockDevice>| Disk {
        dev: (major(bdev.dev), minor(bdev.dev)),
        name: bdev.name.clone(),
        sectors: bdev.len() / SECTOR,
        stats: bdev.stats.numbers(),
    };
    bdev::all().into_iter().map(one).collect()
}
