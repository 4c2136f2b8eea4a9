//! Dispatch of a guest's syscall.

use std::sync::atomic::{AtomicU64, Ordering};

use abi::errno::ENOSYS;
use abi::{Result, nr};

use super::table::{NR_SYSCALLS, lookup};
use super::trace::{trace_enabled, traced};
use crate::task::Task;

/// Calls that were asked for and aren't there, by number; those beyond the table in the last place.
static UNIMPLEMENTED: [AtomicU64; NR_SYSCALLS] = [const { AtomicU64::new(0) }; NR_SYSCALLS];

/// Runs syscall `number` of the current task and answers what `rax` becomes.
pub fn dispatch(task: &Task, number: u64, args: &[u64; 6]) -> Result<u64> {
    let Some(entry) = lookup(number) else {
        return unknown(task, number, args);
    };
    if !trace_enabled() {
        return (entry.call)(args);
    }
    traced(task, number, args, Some(entry), || (entry.call)(args))
}

fn unknown(task: &Task, number: u64, args: &[u64; 6]) -> Result<u64> {
    let slot = usize::try_from(number).unwrap_or(usize::MAX).min(NR_SYSCALLS - 1);
    if UNIMPLEMENTED[slot].fetch_add(1, Ordering::Relaxed) == 0 {
        let name = nr::name(number).unwrap_or("unknown");
        crate::pr_info!(
            "{}[{}]: syscall {number} ({name}) is not implemented",
            task.comm().escape_ascii(),
            task.tid()
        );
    }
    if trace_enabled() {
        return traced(task, number, args, None, || Err(ENOSYS));
    }
    Err(ENOSYS)
}

/// Names and counts of calls that were asked for and aren't there, for /proc/ruml/unimplemented.
pub fn unimplemented_counts() -> Vec<(String, u64)> {
    let counts = UNIMPLEMENTED.iter().enumerate().filter_map(|(n, count)| {
        let count = count.load(Ordering::Relaxed);
        let name = nr::name(n as u64).map_or_else(|| format!("syscall_{n}"), str::to_owned);
        (count > 0).then_some((name, count))
    });
    counts.collect()
}
