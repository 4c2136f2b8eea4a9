//! sysfs(5): processors, the memory node, and places where drivers show their devices ([`add`]).
//!
//! A small part of Linux's, and only what is true here: what lscpu(1), nproc(1), language runtimes and installers ask
//! for. Files are 4096 bytes long to stat(2), as on Linux, whatever they hold.
//!
//! Devices with their `uevent` files: `sysfs/device.rs`.

pub mod device;

use std::sync::{Arc, OnceLock};

use abi::Result;
use abi::errno::EINVAL;
use abi::stat::SYSFS_MAGIC;

use super::cpu_set;
use super::kernfs::{self, KernSuper, Tree};
use crate::mm::{oom, overcommit};
use crate::vfs::{FsType, SuperBlock};

/// sysfs
pub static SYSFS: FsType = FsType { name: "sysfs", nodev: true, cache_negative: false, mount };

fn mount(fs_type: &'static FsType, source: &[u8], _: u32, data: &[u8]) -> Result<Arc<SuperBlock>> {
    if !data.is_empty() {
        return Err(EINVAL);
    }
    let ops = Box::new(KernSuper { magic: SYSFS_MAGIC });
    Ok(kernfs::new_super(fs_type, source, ops, root().clone().into_node()))
}

/// Adds an entry to the directory at `path` below /sys, which is made where it is missing. ENOTDIR.
pub fn add(path: &str, entry: Arc<Tree>) -> Result<()> {
    root().dir_at(path, 0o755)?.add(entry)
}

/// Takes the entry `name` out of the directory at `path` below /sys. ENOENT.
pub fn remove(path: &str, name: &str) -> Result<()> {
    root().dir_at(path, 0o755)?.remove(name)
}

/// A directory.
pub fn dir(name: &str, children: impl IntoIterator<Item = Arc<Tree>>) -> Arc<Tree> {
    kernfs::dir_with(name, 0o755, children)
}

/// A file with one line.
pub fn attribute<T: std::fmt::Display>(
    name: &str,
    show: impl Fn() -> T + Send + Sync + 'static,
) -> Arc<Tree> {
    kernfs::sized(kernfs::text(name, move || format!("{}\n", show())), 4096)
}

/// A file with one line that root can write.
pub fn variable<T: std::fmt::Display>(
    name: &str,
    show: impl Fn() -> T + Send + Sync + 'static,
    store: impl Fn(&[u8]) -> Result<()> + Send + Sync + 'static,
) -> Arc<Tree> {
    kernfs::sized(kernfs::var(name, 0o644, move || format!("{}\n", show()), store), 4096)
}

/// A symbolic link.
pub fn link(name: &str, target: String) -> Arc<Tree> {
    kernfs::link(name, move || Ok(target.clone()))
}

fn root() -> &'static Arc<Tree> {
    static ROOT: OnceLock<Arc<Tree>> = OnceLock::new();
    ROOT.get_or_init(|| {
        let empty = ["block", "bus", "class", "dev", "firmware", "module", "power"];
        let devices = dir("devices", [dir("system", [cpus(), node()]), dir("virtual", [])]);
        // Where control groups are mounted.
        let fs = dir("fs", [dir("cgroup", [])]);
        dir("sys", empty.map(|name| dir(name, [])).into_iter().chain([devices, fs, kernel()]))
    })
}

fn cpus() -> Arc<Tree> {
    let all = || cpu_set::list(cpu_set::all());
    let own = [
        attribute("online", all),
        attribute("possible", all),
        attribute("present", all),
        attribute("offline", String::new),
        attribute("isolated", String::new),
        attribute("kernel_max", || 63),
    ];
    dir("cpu", own.into_iter().chain((0..cpu_set::count()).map(cpu)))
}

/// Each vCPU is a core of its own in one package.
fn cpu(n: usize) -> Arc<Tree> {
    let alone = move || cpu_set::mask(1 << n, cpu_set::count());
    let all = || cpu_set::mask(cpu_set::all(), cpu_set::count());
    let all_list = || cpu_set::list(cpu_set::all());
    let topology = dir(
        "topology",
        [
            attribute("physical_package_id", || 0),
            attribute("die_id", || 0),
            attribute("core_id", move || n),
            attribute("thread_siblings", alone),
            attribute("thread_siblings_list", move || n),
            attribute("core_cpus", alone),
            attribute("core_cpus_list", move || n),
            attribute("core_siblings", all),
            attribute("core_siblings_list", all_list),
            attribute("package_cpus", all),
            attribute("package_cpus_list", all_list),
            attribute("die_cpus", all),
            attribute("die_cpus_list", all_list),
        ],
    );
    let mut entries = vec![topology, caches(n), link("node0", "../../node/node0".to_owned())];
    if n > 0 {
        // The first processor cannot be taken away, and has no switch.
        entries.push(attribute("online", || 1));
    }
    dir(&format!("cpu{n}"), entries)
}

/// The host's caches, each as the vCPU's own: whom it shares them with is not fixed.
fn caches(n: usize) -> Arc<Tree> {
    let one = |(i, cache): (usize, &'static host::cpu::CacheInfo)| {
        let values = cache.0.iter().map(|(name, value)| attribute(name, move || value));
        let shared = [
            attribute("shared_cpu_list", move || n),
            attribute("shared_cpu_map", move || cpu_set::mask(1 << n, cpu_set::count())),
        ];
        dir(&format!("index{i}"), values.chain(shared))
    };
    dir("cache", host::cpu::caches().iter().enumerate().map(one))
}

fn node() -> Arc<Tree> {
    let own = [
        attribute("cpulist", || cpu_set::list(cpu_set::all())),
        attribute("cpumap", || cpu_set::mask(cpu_set::all(), cpu_set::count())),
        attribute("distance", || 10),
        kernfs::sized(kernfs::text("meminfo", node_meminfo), 4096),
    ];
    let cpus = (0..cpu_set::count()).map(|n| link(&format!("cpu{n}"), format!("../../cpu/cpu{n}")));
    let lists = ["online", "possible", "has_cpu", "has_memory", "has_normal_memory"];
    let lists = lists.map(|name| attribute(name, || 0));
    dir("node", lists.into_iter().chain([dir("node0", own.into_iter().chain(cpus))]))
}

fn node_meminfo() -> String {
    let total = overcommit::total();
    let free = oom::meminfo().free.min(total);
    let lines =
        [("MemTotal", total), ("MemFree", free), ("MemUsed", total - free), ("FilePages", oom::cached())];
    let line =
        |(name, bytes): &(&str, u64)| format!("Node 0 {:15} {:8} kB\n", format!("{name}:"), bytes >> 10);
    lines.iter().map(line).collect()
}

fn kernel() -> Arc<Tree> {
    // The host's memory manager is the guest's: so is its policy.
    let huge = [
        attribute("enabled", || host::machine::huge_pages().trim_end().to_owned()),
        attribute("hpage_pmd_size", || 2 << 20),
    ];
    let mm = dir("mm", [dir("transparent_hugepage", huge)]);
    dir(
        "kernel",
        [
            mm,
            attribute("address_bits", || 64),
            attribute("cpu_byteorder", || "little"),
            attribute("uevent_seqnum", crate::uevent::seqnum),
            dir("security", []),
        ],
    )
}
