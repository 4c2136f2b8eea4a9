//! Devices, file systems, file locks and interrupts: what there is of each.
//!
//! Block devices are told of by a function that their driver registers with [`set_disks`].

use std::sync::{Arc, OnceLock};

use super::put;
use crate::fs::kernfs::{Tree, dir, text};
use crate::sched::vcpus;
use crate::vfs::dev::chrdevs;
use crate::vfs::filesystems;

pub(super) fn files() -> Vec<Arc<Tree>> {
    vec![
        text("consoles", || "console              -W- (EC  p  )    5:1\n"),
        text("devices", devices),
        text("diskstats", diskstats),
        text("partitions", partitions),
        text("filesystems", file_systems),
        // Devices of this machine interrupt nobody: there are vCPUs, and no lines.
        text("interrupts", || cpu_header(11)),
        text("softirqs", || cpu_header(20)),
        text("locks", crate::vfs::locks::proc_lines),
        text("modules", String::new),
        dir("tty", [text("drivers", tty_drivers), text("ldiscs", || "n_tty       0\n")]),
    ]
}

/// A block device or a partition of one.
pub struct Disk {
    /// Device number.
    pub dev: (u32, u32),
    /// As in /dev.
    pub name: String,
    /// 512-byte sectors.
    pub sectors: u64,
    /// The numbers of /proc/diskstats after the name: reads, reads merged, sectors read, ms reading, the same of
    /// writes, requests in flight, ms busy, weighted ms, the same four of discards, flushes, ms flushing.
    pub stats: [u64; 17],
}

static DISKS: OnceLock<fn() -> Vec<Disk>> = OnceLock::new();

/// Says who knows the block devices. The first to do so stays.
pub fn set_disks(list: fn() -> Vec<Disk>) {
    let _ = DISKS.set(list);
}

fn disks() -> Vec<Disk> {
    DISKS.get().map_or(Vec::new(), |list| list())
}

fn devices() -> String {
    let mut out = "Character devices:\n".to_owned();
    for (major, name) in chrdevs() {
        put!(out, "{major:3} {name}\n");
    }
    out += "\nBlock devices:\n";
    for (major, name) in crate::block::MAJORS {
        put!(out, "{major:3} {name}\n");
    }
    out
}

fn diskstats() -> String {
    let mut out = String::new();
    for disk in disks() {
        put!(out, "{:4} {:7} {}", disk.dev.0, disk.dev.1, disk.name);
        disk.stats.iter().for_each(|n| put!(out, " {n}"));
        out.push('\n');
    }
    out
}

/// Empty without devices, as on Linux, not even a heading.
fn partitions() -> String {
    let mut out = String::new();
    // A disk without a medium has no line.
    for disk in disks().into_iter().filter(|d| d.sectors > 0) {
        if out.is_empty() {
            out += "major minor  #blocks  name\n\n";
        }
        put!(out, "{:4}  {:7} {:10} {}\n", disk.dev.0, disk.dev.1, disk.sectors / 2, disk.name);
    }
    out
}

fn file_systems() -> String {
    let mut out = String::new();
    for fs in filesystems() {
        put!(out, "{}\t{}\n", if fs.nodev { "nodev" } else { "" }, fs.name);
    }
    out
}

fn cpu_header(indent: usize) -> String {
    let mut out = " ".repeat(indent);
    for cpu in 0..vcpus().len() {
        put!(out, "{:11}", format!("CPU{cpu}"));
    }
    out.push('\n');
    out
}

/// ps(1) finds the names of terminals here.
fn tty_drivers() -> String {
    let drivers = [
        ("/dev/tty", "tty", 5, "0", "system:/dev/tty"),
        ("/dev/console", "console", 5, "1", "system:console"),
        ("/dev/ptmx", "ptmx", 5, "2", "system"),
        ("pty_slave", "pts", 136, "0-1048575", "pty:slave"),
        ("console", "tty", 4, "1-63", "console"),
    ];
    let mut out = String::new();
    for (driver, node, major, minors, kind) in drivers {
        put!(out, "{driver:20} /dev/{node:8} {major:3} {minors:>7} {kind}\n");
    }
    out
}
