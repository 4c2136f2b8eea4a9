//! Times and counters: getrusage(2), times(2).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use abi::Result;
use abi::errno::EINVAL;
use abi::resource::{RUSAGE_CHILDREN, RUSAGE_SELF, RUSAGE_THREAD, Rusage};
use abi::time::{NSEC_PER_SEC, Timeval, Tms, USER_HZ};

use super::{Process, Task, current, family};
use crate::time;
use crate::uaccess::UserPtr;

/// getrusage(2)
pub fn getrusage(who: i32, usage: UserPtr<Rusage>) -> Result<()> {
    let task = current();
    task.account_kernel();
    let process = &task.process;
    let value = match who {
        RUSAGE_SELF => {
            if let Ok(mm) = task.mm() {
                family::note_memory(process, &mm);
            }
            own(process)
        }
        RUSAGE_CHILDREN => children(process),
        RUSAGE_THREAD => thread(&task),
        _ => return Err(EINVAL),
    };
    usage.write(&value)
}

/// times(2): ticks since some point in the past.
pub fn times(buf: UserPtr<Tms>) -> Result<i64> {
    let task = current();
    task.account_kernel();
    let process = &task.process;
    if let Some(buf) = buf.non_null() {
        buf.write(&Tms {
            tms_utime: ticks(process.utime.load(Ordering::Relaxed)),
            tms_stime: ticks(process.stime.load(Ordering::Relaxed)),
            tms_cutime: ticks(process.cutime.load(Ordering::Relaxed)),
            tms_cstime: ticks(process.cstime.load(Ordering::Relaxed)),
        })?;
    }
    Ok(ticks(time::since_boot()))
}

fn ticks(ns: u64) -> i64 {
    (ns / (NSEC_PER_SEC / USER_HZ)) as i64
}

fn fill(utime: u64, stime: u64, counters: [u64; 4], maxrss: u64) -> Rusage {
    Rusage {
        ru_utime: Timeval::from_ns(utime),
        ru_stime: Timeval::from_ns(stime),
        ru_maxrss: (maxrss >> 10) as i64,
        ru_minflt: counters[0] as i64,
        ru_majflt: counters[1] as i64,
        ru_nvcsw: counters[2] as i64,
        ru_nivcsw: counters[3] as i64,
        ..Rusage::default()
    }
}

fn add(a: [u64; 4], b: [u64; 4]) -> [u64; 4] {
    core::array::from_fn(|i| a[i] + b[i])
}

fn own(process: &Process) -> Rusage {
    let (utime, stime) = (process.utime.load(Ordering::Relaxed), process.stime.load(Ordering::Relaxed));
    let totals = *process.totals.lock();
    fill(utime, stime, add(totals.own, living(process)), totals.maxrss[0])
}

fn children(process: &Process) -> Rusage {
    let (utime, stime) = (process.cutime.load(Ordering::Relaxed), process.cstime.load(Ordering::Relaxed));
    let totals = *process.totals.lock();
    fill(utime, stime, totals.children, totals.maxrss[1])
}

fn thread(task: &Task) -> Rusage {
    let maxrss = task.process.totals.lock().maxrss[0];
    let (utime, stime) = (&task.sched.utime, &task.sched.stime);
    fill(utime.load(Ordering::Relaxed), stime.load(Ordering::Relaxed), task.counters(), maxrss)
}

/// Of a process and its reaped children: what wait4(2) reports.
pub fn with_children(process: &Process) -> Rusage {
    let sum = |a: &std::sync::atomic::AtomicU64, b: &std::sync::atomic::AtomicU64| {
        a.load(Ordering::Relaxed) + b.load(Ordering::Relaxed)
    };
    let totals = *process.totals.lock();
    fill(
        sum(&process.utime, &process.cutime),
        sum(&process.stime, &process.cstime),
        add(add(totals.own, totals.children), living(process)),
        totals.maxrss[0].max(totals.maxrss[1]),
    )
}

/// Counters of the threads that live, and the faults in their memory that the host has served.
pub fn living(process: &Process) -> [u64; 4] {
    let threads: Vec<Arc<Task>> = process.threads();
    let mm = threads.iter().find_map(|t| t.mm().ok());
    let usage = mm.map(|mm| mm.space.usage()).unwrap_or_default();
    let start = [usage.minor_faults, usage.major_faults, 0, 0];
    threads.iter().fold(start, |sum, t| add(sum, t.counters()))
}
