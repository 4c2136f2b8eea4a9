//! How memory is used: meminfo, vmstat, swaps.

use std::sync::Arc;

use super::put;
use crate::fs::kernfs::{Tree, text};
use crate::mm::{account, filemap, oom, overcommit};
use crate::task::pid;

pub(super) fn files() -> Vec<Arc<Tree>> {
    vec![text("meminfo", meminfo), text("vmstat", vmstat), text("swaps", crate::block::swap::proc_lines)]
}

/// Resident memory of all processes, bytes: anonymous, and of files and shared memory.
fn resident() -> (u64, u64) {
    let mut seen = Vec::new();
    let (mut anon, mut shared) = (0, 0);
    for process in pid::tasklist().processes().cloned().collect::<Vec<_>>() {
        let Some(mm) = process.threads().first().and_then(|t| t.mm().ok()) else { continue };
        if seen.contains(&mm.id) {
            continue;
        }
        seen.push(mm.id);
        let of_files = mm.space.shared_bytes();
        shared += of_files;
        anon += mm.rss().saturating_sub(of_files);
    }
    (anon, shared)
}

pub(super) fn meminfo() -> String {
    let total = overcommit::total();
    let used = account::measure();
    let free = total.saturating_sub(used.total());
    let (cached, buffers) = (oom::cached(), filemap::reclaim::buffers());
    let on_heap = cached.saturating_sub(host::object::resident_caches());
    let slab = used.kernel.saturating_sub(on_heap) + used.host;
    let (anon, mapped) = resident();
    let mut out = String::new();
    let mut line = |name: &str, bytes: u64| put!(out, "{:15} {:8} kB\n", format!("{name}:"), bytes >> 10);
    line("MemTotal", total);
    line("MemFree", free);
    line("MemAvailable", free.saturating_add(cached).min(total));
    line("Buffers", buffers);
    line("Cached", (cached + oom::shared()).saturating_sub(buffers));
    line("SwapCached", 0);
    line("Active", anon);
    line("Inactive", cached);
    line("Active(anon)", anon);
    line("Inactive(anon)", 0);
    line("Active(file)", 0);
    line("Inactive(file)", cached);
    line("Unevictable", 0);
    line("Mlocked", 0);
    let swap = crate::block::swap::total();
    line("SwapTotal", swap);
    line("SwapFree", swap);
    line("Dirty", filemap::writeback::dirty_bytes());
    line("Writeback", filemap::writeback::writeback_bytes());
    line("AnonPages", anon);
    line("Mapped", mapped);
    line("Shmem", oom::shared());
    line("Slab", slab);
    line("SReclaimable", 0);
    line("SUnreclaim", slab);
    line("KernelStack", used.stacks);
    line("PageTables", used.tables);
    line("CommitLimit", overcommit::commit_limit());
    line("Committed_AS", overcommit::committed());
    line("VmallocTotal", 34_359_738_367 << 10);
    line("VmallocUsed", 0);
    line("VmallocChunk", 0);
    out += "HugePages_Total:       0\nHugePages_Free:        0\nHugePages_Rsvd:        0\nHugePages_Surp:        0\n";
    out += "Hugepagesize:       2048 kB\nHugetlb:               0 kB\n";
    out
}

/// What is counted of Linux's long list.
fn vmstat() -> String {
    let page = abi::mm::PAGE_SIZE;
    let (anon, mapped) = resident();
    let all = pid::tasklist().all_tasks();
    let faults = all.iter().map(|t| t.counters()).fold((0, 0), |sum, n| (sum.0 + n[0] + n[1], sum.1 + n[1]));
    let mut out = String::new();
    put!(out, "nr_free_pages {}\nnr_anon_pages {}\n", crate::mm::meminfo().free / page, anon / page);
    put!(out, "nr_mapped {}\nnr_file_pages {}\n", mapped / page, oom::cached() / page);
    let pages = |bytes: u64| bytes / page;
    let (dirty, written) = (filemap::writeback::dirty_bytes(), filemap::writeback::writeback_bytes());
    put!(out, "nr_dirty {}\nnr_writeback {}\n", pages(dirty), pages(written));
    put!(out, "pgfault {}\npgmajfault {}\n", faults.0, faults.1);
    out
}
