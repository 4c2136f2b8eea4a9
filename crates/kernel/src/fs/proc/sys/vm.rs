//! /proc/sys/vm.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use abi::Result;

use super::{cell, fixed, number, within};
use crate::fs::kernfs::{Tree, dir, var};
use crate::mm::filemap::writeback::{self, TUNABLES};
use crate::mm::{self, overcommit};
use crate::vfs::dcache;

pub(super) fn tree() -> Arc<Tree> {
    let percent = (0, 100);
    let bytes = (0, i64::MAX >> 1);
    dir(
        "vm",
        [
            number(
                "overcommit_memory",
                || i64::from(overcommit::mode()),
                (0, 2),
                |n| overcommit::set_mode(n as u32),
            ),
            number(
                "overcommit_ratio",
                || i64::from(overcommit::ratio()),
                (0, i64::from(i32::MAX)),
                |n| overcommit::set_ratio(n as u32),
            ),
            fixed("max_map_count", mm::MAX_MAP_COUNT as i64),
            fixed("mmap_min_addr", mm::MMAP_MIN_ADDR as i64),
            fixed("mmap_rnd_bits", 28),
            fixed("nr_hugepages", 0),
            fixed("panic_on_oom", 0),
            fixed("oom_kill_allocating_task", 0),
            // There is no swap: this changes nothing.
            cell("swappiness", 60, (0, 200)),
            dirty("dirty_ratio", &TUNABLES.ratio, percent, Some(&TUNABLES.bytes)),
            dirty("dirty_bytes", &TUNABLES.bytes, bytes, None),
            dirty(
                "dirty_background_ratio",
                &TUNABLES.background_ratio,
                percent,
                Some(&TUNABLES.background_bytes),
            ),
            dirty("dirty_background_bytes", &TUNABLES.background_bytes, bytes, None),
            dirty("dirty_expire_centisecs", &TUNABLES.expire, (0, i64::from(i32::MAX)), None),
            dirty("dirty_writeback_centisecs", &TUNABLES.interval, (0, i64::from(i32::MAX)), None),
            cell("vfs_cache_pressure", 100, (0, i64::from(i32::MAX))),
            cell("min_free_kbytes", 4096, (0, i64::from(i32::MAX))),
            var("drop_caches", 0o200, String::new, drop_caches),
        ],
    )
}

/// A number that writeback reads; setting it switches off what stands in `instead`.
fn dirty(
    name: &str,
    value: &'static AtomicU64,
    (min, max): (i64, i64),
    instead: Option<&'static AtomicU64>,
) -> Arc<Tree> {
    let get = || value.load(Ordering::Relaxed) as i64;
    number(name, get, (min, max), move |n| {
        if let Some(other) = instead {
            other.store(0, Ordering::Relaxed);
        }
        value.store(n as u64, Ordering::Relaxed);
        writeback::tuned();
    })
}

/// 1 drops clean pages of files, 2 names, 3 both.
fn drop_caches(data: &[u8]) -> Result<()> {
    let what = within(data, 1, 4)?;
    if what & 2 != 0 {
        dcache::shrink_all();
    }
    if what & 1 != 0 {
        mm::oom::drop_caches();
    }
    Ok(())
}
