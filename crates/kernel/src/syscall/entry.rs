//! Dispatch of a guest's syscall.

use std::fmt::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use abi::errno::ENOSYS;
use abi::{Result, nr};

use super::table::{NR_SYSCALLS, lookup};
use crate::sync::{SpinLock, rank};
use crate::task::Task;

/// Calls that were asked for and aren't there, by number; those beyond the table in the last place.
static UNIMPLEMENTED: [AtomicU64; NR_SYSCALLS] = [const { AtomicU64::new(0) }; NR_SYSCALLS];

static TRACING: AtomicBool = AtomicBool::new(false);
/// Names to trace; empty traces all.
static TRACE_ONLY: SpinLock<Vec<String>> = SpinLock::new(rank::LEAF, Vec::new());

/// Switches tracing on, for the named calls or for all of them.
pub fn set_trace(only: Vec<String>) {
    *TRACE_ONLY.lock() = only;
    TRACING.store(true, Ordering::SeqCst);
}

/// Whether syscalls are traced.
pub fn trace_enabled() -> bool {
    TRACING.load(Ordering::Relaxed)
}

/// Runs syscall `number` of the current task and answers what `rax` becomes.
pub fn dispatch(task: &Task, number: u64, args: &[u64; 6]) -> Result<u64> {
    let Some(entry) = lookup(number) else {
        return unknown(task, number);
    };
    if !trace_enabled() {
        return (entry.call)(args);
    }
    traced(task, entry.name, || (entry.call)(args), |out| (entry.show)(args, out))
}

fn unknown(task: &Task, number: u64) -> Result<u64> {
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
        return traced(task, nr::name(number).unwrap_or("unknown"), || Err(ENOSYS), |_| {});
    }
    Err(ENOSYS)
}

fn traced(
    task: &Task,
    name: &str,
    call: impl FnOnce() -> Result<u64>,
    show: impl FnOnce(&mut String),
) -> Result<u64> {
    {
        let only = TRACE_ONLY.lock();
        if !only.is_empty() && !only.iter().any(|n| n == name) {
            drop(only);
            return call();
        }
    }
    let mut line = format!("[{}] {name}(", task.tid());
    show(&mut line);
    let started = host::clock::monotonic();
    let result = call();
    let took = host::clock::monotonic().saturating_sub(started);
    let _ = match &result {
        Ok(value) if *value > 0xffff => write!(line, ") = {value:#x}"),
        Ok(value) => write!(line, ") = {value}"),
        Err(errno) => write!(line, ") = -{errno}"),
    };
    let _ = write!(line, " <{}.{:03} us>", took / 1000, took % 1000);
    crate::printk::trace_line(&line);
    result
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
