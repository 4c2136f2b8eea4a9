//! Small files of a process: limits, comm, oom_score_adj, and constants of a machine without name spaces.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use abi::Result;
use abi::cred::{CAP_SYS_NICE, CAP_SYS_RESOURCE};
use abi::errno::{EACCES, EINVAL, EPERM};
use abi::resource::{RLIM_INFINITY, RLIM_NLIMITS};

use super::super::super::kernfs;
use super::super::put;
use super::{Who, is_own};
use crate::task::capable;

/// Names and units of the limits, by number.
const LIMITS: [(&str, &str); RLIM_NLIMITS] = [
    ("Max cpu time", "seconds"),
    ("Max file size", "bytes"),
    ("Max data size", "bytes"),
    ("Max stack size", "bytes"),
    ("Max core file size", "bytes"),
    ("Max resident set", "bytes"),
    ("Max processes", "processes"),
    ("Max open files", "files"),
    ("Max locked memory", "bytes"),
    ("Max address space", "bytes"),
    ("Max file locks", "locks"),
    ("Max pending signals", "signals"),
    ("Max msgqueue size", "bytes"),
    ("Max nice priority", ""),
    ("Max realtime priority", ""),
    ("Max realtime timeout", "us"),
];

/// /proc/PID/limits
pub(super) fn limits(who: &Who) -> Result<Vec<u8>> {
    let limits = *who.process()?.rlimits.lock();
    let value = |n: u64| if n == RLIM_INFINITY { "unlimited".to_owned() } else { n.to_string() };
    let mut out = String::new();
    put!(out, "{:25} {:20} {:20} {:10}\n", "Limit", "Soft Limit", "Hard Limit", "Units");
    for ((name, unit), limit) in LIMITS.iter().zip(limits) {
        put!(out, "{name:25} {:20} {:20} ", value(limit.rlim_cur), value(limit.rlim_max));
        if !unit.is_empty() {
            put!(out, "{unit:10}");
        }
        out.push('\n');
    }
    Ok(out.into_bytes())
}

/// /proc/PID/comm
pub(super) fn comm(who: &Who) -> Result<Vec<u8>> {
    let mut name = who.task()?.comm();
    name.push(b'\n');
    Ok(name)
}

/// Names a thread of one's own process; EINVAL for another's.
pub(super) fn set_comm(who: &Who, data: &[u8]) -> Result<()> {
    let task = who.task()?;
    if !is_own(who) {
        return Err(EINVAL);
    }
    task.set_comm(data);
    Ok(())
}

/// /proc/PID/wchan: where it sleeps, which has no name here.
pub(super) fn wchan(who: &Who) -> Result<Vec<u8>> {
    who.task()?;
    Ok(b"0".to_vec())
}

/// /proc/PID/io. No file system here counts what reaches a device.
pub(super) fn io(who: &Who) -> Result<Vec<u8>> {
    let task = who.accessible()?;
    let [rchar, wchar, syscr, syscw] = if who.whole {
        let dead = task.process.totals.lock().io;
        let living = task.process.threads().into_iter().map(|t| t.io.get());
        living.fold(dead, |sum, n| core::array::from_fn(|i| sum[i] + n[i]))
    } else {
        task.io.get()
    };
    let mut out = String::new();
    put!(out, "rchar: {rchar}\nwchar: {wchar}\nsyscr: {syscr}\nsyscw: {syscw}\n");
    out += "read_bytes: 0\nwrite_bytes: 0\ncancelled_write_bytes: 0\n";
    Ok(out.into_bytes())
}

/// /proc/PID/personality
pub(super) fn personality(who: &Who) -> Result<Vec<u8>> {
    let task = who.accessible()?;
    Ok(format!("{:08x}\n", task.personality.load(Ordering::Relaxed)).into_bytes())
}

/// /proc/PID/cgroup: there is one hierarchy.
pub(super) fn cgroup(who: &Who) -> Result<Vec<u8>> {
    let group = crate::cgroup::of(&*who.process()?);
    Ok(format!("0::{}\n", group.path()).into_bytes())
}

/// /proc/PID/uid_map and gid_map: there is one user name space, and ids are what they are.
pub(super) fn id_map(who: &Who) -> Result<Vec<u8>> {
    who.task()?;
    Ok(format!("{:>10} {:>10} {:>10}\n", 0, 0, u32::MAX).into_bytes())
}

/// /proc/PID/setgroups
pub(super) fn setgroups(who: &Who) -> Result<Vec<u8>> {
    who.task()?;
    Ok(b"allow\n".to_vec())
}

/// /proc/PID/oom_score
pub(super) fn oom_score(who: &Who) -> Result<Vec<u8>> {
    Ok(format!("{}\n", crate::mm::oom::oom_score(&*who.process()?)).into_bytes())
}

/// /proc/PID/oom_score_adj
pub(super) fn oom_score_adj(who: &Who) -> Result<Vec<u8>> {
    Ok(format!("{}\n", who.process()?.oom_score_adj.load(Ordering::Relaxed)).into_bytes())
}

/// -1000 to 1000. Below what a privileged process has set last needs CAP_SYS_RESOURCE: EACCES.
pub(super) fn set_oom_score_adj(who: &Who, data: &[u8]) -> Result<()> {
    let value = kernfs::number(data)?;
    let value = i32::try_from(value).ok().filter(|v| (-1000..=1000).contains(v)).ok_or(EINVAL)?;
    set_adjust(who, value)
}

fn set_adjust(who: &Who, value: i32) -> Result<()> {
    let task = who.task()?;
    let owner = task.cred().euid;
    let own = crate::task::current().cred();
    if own.fsuid != owner && !own.capable(CAP_SYS_RESOURCE) {
        return Err(EACCES);
    }
    let process = &task.process;
    if capable(CAP_SYS_RESOURCE) {
        process.oom_score_adj_min.store(value, Ordering::Relaxed);
    } else if value < process.oom_score_adj_min.load(Ordering::Relaxed) {
        return Err(EACCES);
    }
    process.oom_score_adj.store(value, Ordering::Relaxed);
    Ok(())
}

/// /proc/PID/oom_adj, the old scale from -17 to 15.
pub(super) fn oom_adj(who: &Who) -> Result<Vec<u8>> {
    let adjust = who.process()?.oom_score_adj.load(Ordering::Relaxed);
    let old = if adjust == 1000 { 15 } else { adjust * 17 / 1000 };
    Ok(format!("{old}\n").into_bytes())
}

/// EINVAL out of range.
pub(super) fn set_oom_adj(who: &Who, data: &[u8]) -> Result<()> {
    let old = kernfs::number(data)?;
    let old = i32::try_from(old).ok().filter(|v| (-17..=15).contains(v)).ok_or(EINVAL)?;
    set_adjust(who, if old == 15 { 1000 } else { old * 1000 / 17 })
}

/// /proc/PID/timerslack_ns. EPERM.
pub(super) fn timerslack(who: &Who) -> Result<Vec<u8>> {
    let task = who.task()?;
    may_change_slack(&task)?;
    Ok(format!("{}\n", task.timer_slack.load(Ordering::Relaxed)).into_bytes())
}

/// 0 is the default, 50 µs.
pub(super) fn set_timerslack(who: &Who, data: &[u8]) -> Result<()> {
    let value = u64::try_from(kernfs::number(data)?).map_err(|_| EINVAL)?;
    let task = who.task()?;
    may_change_slack(&task)?;
    task.timer_slack.store(if value == 0 { 50_000 } else { value }, Ordering::Relaxed);
    Ok(())
}

fn may_change_slack(task: &Arc<crate::task::Task>) -> Result<()> {
    let own = core::ptr::eq(Arc::as_ptr(task), Arc::as_ptr(&crate::task::current()));
    if own || capable(CAP_SYS_NICE) { Ok(()) } else { Err(EPERM) }
}
