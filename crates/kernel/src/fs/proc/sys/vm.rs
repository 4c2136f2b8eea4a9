//! /proc/sys/vm.

use std::sync::Arc;

use abi::Result;

use super::{cell, fixed, number, within};
use crate::fs::kernfs::{Tree, dir, var};
use crate::mm::{self, overcommit};
use crate::vfs::dcache;

pub(super) fn tree() -> Arc<Tree> {
    let percent = (0, 100);
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
            // There is no swap, and what is dirty is the host's to write: these change nothing.
            cell("swappiness", 60, (0, 200)),
            cell("dirty_ratio", 20, percent),
            cell("dirty_background_ratio", 10, percent),
            cell("dirty_expire_centisecs", 3000, (0, i64::from(i32::MAX))),
            cell("dirty_writeback_centisecs", 500, (0, i64::from(i32::MAX))),
            cell("vfs_cache_pressure", 100, (0, i64::from(i32::MAX))),
            cell("min_free_kbytes", 4096, (0, i64::from(i32::MAX))),
            var("drop_caches", 0o200, String::new, drop_caches),
        ],
    )
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
