//! Devices, file systems, file locks and interrupts: what there is of each.

use std::sync::Arc;

use super::put;
use crate::fs::kernfs::{Tree, dir, text};
use crate::sched::vcpus;
use crate::vfs::dev::chrdevs;
use crate::vfs::filesystems;

pub(super) fn files() -> Vec<Arc<Tree>> {
    vec![
        text("consoles", || "console              -W- (EC  p  )    5:1\n"),
        text("devices", devices),
        text("filesystems", file_systems),
        // Devices of this machine interrupt nobody: there are vCPUs, and no lines.
        text("interrupts", || cpu_header(11)),
        text("softirqs", || cpu_header(20)),
        text("locks", crate::vfs::locks::proc_lines),
        text("modules", String::new),
        dir("tty", [text("drivers", tty_drivers), text("ldiscs", || "n_tty       0\n")]),
    ]
}

fn devices() -> String {
    let mut out = "Character devices:\n".to_owned();
    for (major, name) in chrdevs() {
        put!(out, "{major:3} {name}\n");
    }
    out += "\nBlock devices:\n";
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
