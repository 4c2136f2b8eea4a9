//! Scheduling syscalls, sched(7): sched_setscheduler(2), sched_setattr(2), sched_setaffinity(2), sched_yield(2).

use std::sync::Arc;

use abi::Result;
use abi::cred::CAP_SYS_NICE;
use abi::errno::{E2BIG, EINVAL, EPERM, ESRCH};
use abi::resource::{RLIMIT_NICE, RLIMIT_RTPRIO};
use abi::sched::*;
use abi::time::Timespec;
use zerocopy::{FromBytes, IntoBytes};

use super::{Policy, SLICE, SchedAttr, vcpus, yield_now};
use crate::task::{Task, capable, current, pid};
use crate::uaccess::{UserPtr, copy_from_user, copy_to_user};

/// sched_yield(2)
pub fn sched_yield() -> Result<()> {
    yield_now();
    Ok(())
}

fn find(pid: i32) -> Result<Arc<Task>> {
    match pid {
        0 => Ok(current()),
        1.. => pid::find_task(pid),
        _ => Err(EINVAL),
    }
}

fn policy_of(number: u32) -> Result<Policy> {
    Ok(match number {
        SCHED_NORMAL => Policy::Normal,
        SCHED_FIFO => Policy::Fifo,
        SCHED_RR => Policy::RoundRobin,
        SCHED_BATCH => Policy::Batch,
        SCHED_IDLE => Policy::Idle,
        // SCHED_DEADLINE and SCHED_EXT are not built in.
        _ => return Err(EINVAL),
    })
}

/// Whether the caller may touch `task`'s scheduling at all: the same user, or CAP_SYS_NICE.
fn check_owner(task: &Task) -> Result<()> {
    let (own, other) = (current().cred(), task.cred());
    let same = own.euid == other.euid || own.euid == other.uid;
    if same || own.capable(CAP_SYS_NICE) { Ok(()) } else { Err(EPERM) }
}

/// Sets policy, priority and nice of a task as Linux's `__sched_setscheduler` does.
fn set(task: &Task, policy: u32, priority: u32, nice: Option<i8>, reset_on_fork: bool) -> Result<()> {
    let policy = policy_of(policy)?;
    let valid = if policy.is_realtime() { (1..=99).contains(&priority) } else { priority == 0 };
    if !valid {
        return Err(EINVAL);
    }
    let old = task.sched.attr();
    let new = SchedAttr {
        policy,
        priority: priority as u8,
        nice: nice.filter(|_| !policy.is_realtime()).unwrap_or(old.nice),
        reset_on_fork,
        affinity: old.affinity,
    };
    check_change(task, old, new)?;
    task.sched.set_attr(new);
    Ok(())
}

fn check_change(task: &Task, old: SchedAttr, new: SchedAttr) -> Result<()> {
    check_owner(task)?;
    if capable(CAP_SYS_NICE) {
        return Ok(());
    }
    if new.nice < old.nice && !can_nice(task, new.nice) {
        return Err(EPERM);
    }
    if new.policy.is_realtime() {
        let limit = task.process.rlimit(RLIMIT_RTPRIO);
        let raises = u64::from(new.priority) > limit && new.priority > old.priority;
        if (new.policy != old.policy && limit == 0) || raises {
            return Err(EPERM);
        }
    }
    // Leaving SCHED_IDLE is a gain, which RLIMIT_NICE bounds.
    let leaves_idle = old.policy == Policy::Idle && new.policy != Policy::Idle;
    if (leaves_idle && !can_nice(task, old.nice)) || (old.reset_on_fork && !new.reset_on_fork) {
        return Err(EPERM);
    }
    Ok(())
}

/// RLIMIT_NICE: 20 less nice may be as large as it is.
fn can_nice(task: &Task, nice: i8) -> bool {
    (20 - i64::from(nice)) as u64 <= task.process.rlimit(RLIMIT_NICE)
}

/// sched_setscheduler(2)
pub fn sched_setscheduler(pid: i32, policy: i32, param: UserPtr<SchedParam>) -> Result<()> {
    let policy = u32::try_from(policy).map_err(|_| EINVAL)?;
    if param.is_null() {
        return Err(EINVAL);
    }
    let param = param.read()?;
    let reset = policy & SCHED_RESET_ON_FORK != 0;
    set(&*find(pid)?, policy & !SCHED_RESET_ON_FORK, param.sched_priority as u32, None, reset)
}

/// sched_setparam(2)
pub fn sched_setparam(pid: i32, param: UserPtr<SchedParam>) -> Result<()> {
    if param.is_null() || pid < 0 {
        return Err(EINVAL);
    }
    let param = param.read()?;
    let task = find(pid)?;
    let attr = task.sched.attr();
    set(&task, attr.policy as u32, param.sched_priority as u32, None, attr.reset_on_fork)
}

/// sched_getscheduler(2)
pub fn sched_getscheduler(pid: i32) -> Result<u32> {
    let attr = find(pid)?.sched.attr();
    Ok(attr.policy as u32 | if attr.reset_on_fork { SCHED_RESET_ON_FORK } else { 0 })
}

/// sched_getparam(2)
pub fn sched_getparam(pid: i32, param: UserPtr<SchedParam>) -> Result<()> {
    if param.is_null() {
        return Err(EINVAL);
    }
    param.write(&SchedParam { sched_priority: i32::from(find(pid)?.sched.attr().priority) })
}

/// sched_setattr(2)
pub fn sched_setattr(pid: i32, uattr: u64, flags: u32) -> Result<()> {
    if uattr == 0 || pid < 0 || flags != 0 {
        return Err(EINVAL);
    }
    let size = UserPtr::<u32>::new(uattr).read()? as usize;
    // Zero is the first version, before the field meant anything.
    let size = if size == 0 { SCHED_ATTR_SIZE_VER0 } else { size };
    let full = size_of::<abi::sched::SchedAttr>();
    if !(SCHED_ATTR_SIZE_VER0..=4096).contains(&size) {
        let _ = UserPtr::<u32>::new(uattr).write(&(full as u32));
        return Err(E2BIG);
    }
    let mut bytes = vec![0; size.max(full)];
    copy_from_user(uattr, &mut bytes[..size])?;
    if bytes[full..].iter().any(|&b| b != 0) {
        let _ = UserPtr::<u32>::new(uattr).write(&(full as u32));
        return Err(E2BIG);
    }
    let attr = abi::sched::SchedAttr::read_from_bytes(&bytes[..full]).map_err(|_| EINVAL)?;
    let known = SCHED_FLAG_RESET_ON_FORK | SCHED_FLAG_KEEP_POLICY | SCHED_FLAG_KEEP_PARAMS;
    // Clamps need a scheduler that steers frequencies, and reclaiming one with deadlines.
    if attr.sched_flags & !known != 0 {
        return Err(EINVAL);
    }
    let task = find(pid)?;
    let now = task.sched.attr();
    let keep_policy = attr.sched_flags & SCHED_FLAG_KEEP_POLICY != 0;
    let policy = if keep_policy { now.policy as u32 } else { attr.sched_policy };
    let reset = attr.sched_flags & SCHED_FLAG_RESET_ON_FORK != 0;
    if attr.sched_flags & SCHED_FLAG_KEEP_PARAMS != 0 {
        return set(&task, policy, u32::from(now.priority), None, reset);
    }
    let nice = attr.sched_nice.clamp(MIN_NICE, MAX_NICE) as i8;
    set(&task, policy, attr.sched_priority, Some(nice), reset)
}

/// sched_getattr(2)
pub fn sched_getattr(pid: i32, uattr: u64, size: u32, flags: u32) -> Result<()> {
    let size = size as usize;
    if uattr == 0 || pid < 0 || !(SCHED_ATTR_SIZE_VER0..=4096).contains(&size) || flags != 0 {
        return Err(EINVAL);
    }
    let attr = find(pid)?.sched.attr();
    let full = size_of::<abi::sched::SchedAttr>();
    let value = abi::sched::SchedAttr {
        size: full.min(size) as u32,
        sched_policy: attr.policy as u32,
        sched_flags: if attr.reset_on_fork { SCHED_FLAG_RESET_ON_FORK } else { 0 },
        sched_nice: if attr.policy.is_realtime() { 0 } else { i32::from(attr.nice) },
        sched_priority: u32::from(attr.priority),
        ..Default::default()
    };
    copy_to_user(uattr, &value.as_bytes()[..full.min(size)])
}

/// Bits of the vCPUs that there are.
fn present() -> u64 {
    match vcpus().len() {
        64.. => u64::MAX,
        n => (1 << n) - 1,
    }
}

/// sched_setaffinity(2)
pub fn sched_setaffinity(pid: i32, len: u32, mask: u64) -> Result<()> {
    let mut bytes = [0; 8];
    let len = (len as usize).min(8);
    copy_from_user(mask, &mut bytes[..len])?;
    let task = if pid < 0 { Err(ESRCH) } else { find(pid) }?;
    check_owner(&task)?;
    let affinity = u64::from_ne_bytes(bytes) & present();
    if affinity == 0 {
        return Err(EINVAL);
    }
    task.sched.set_attr(SchedAttr { affinity, ..task.sched.attr() });
    // The caller moves at once, another task at its next turn.
    let here = super::current_vcpu().map_or(0, |v| v.id);
    if !Arc::ptr_eq(&task, &current()) {
        super::vcpu::call_all();
    } else if affinity & (1 << here.min(63)) == 0 {
        yield_now();
    }
    Ok(())
}

/// sched_getaffinity(2): bytes written.
pub fn sched_getaffinity(pid: i32, len: u32, mask: u64) -> Result<usize> {
    if (len as usize) * 8 < vcpus().len() || !len.is_multiple_of(8) {
        return Err(EINVAL);
    }
    let task = if pid < 0 { Err(ESRCH) } else { find(pid) }?;
    let bits = task.sched.attr().affinity & present();
    copy_to_user(mask, &bits.to_ne_bytes())?;
    Ok(8)
}

/// sched_get_priority_max(2)
pub fn sched_get_priority_max(policy: u32) -> Result<i32> {
    priority_range(policy).map(|r| r.1)
}

/// sched_get_priority_min(2)
pub fn sched_get_priority_min(policy: u32) -> Result<i32> {
    priority_range(policy).map(|r| r.0)
}

fn priority_range(policy: u32) -> Result<(i32, i32)> {
    match policy {
        SCHED_FIFO | SCHED_RR => Ok((1, 99)),
        SCHED_NORMAL | SCHED_BATCH | SCHED_IDLE | SCHED_DEADLINE | SCHED_EXT => Ok((0, 0)),
        _ => Err(EINVAL),
    }
}

/// sched_rr_get_interval(2)
pub fn sched_rr_get_interval(pid: i32, interval: UserPtr<Timespec>) -> Result<()> {
    let slice = match find(pid)?.sched.attr().policy {
        Policy::Fifo => 0,
        _ => SLICE,
    };
    interval.write(&Timespec { tv_sec: 0, tv_nsec: slice as i64 })
}

/// Sets the nice value of one task. EPERM, EACCES.
pub fn set_nice(task: &Task, nice: i32) -> Result<()> {
    let nice = nice.clamp(MIN_NICE, MAX_NICE) as i8;
    check_owner(task)?;
    let attr = task.sched.attr();
    if nice < attr.nice && !capable(CAP_SYS_NICE) && !can_nice(task, nice) {
        return Err(abi::errno::EACCES);
    }
    task.sched.set_attr(SchedAttr { nice, ..attr });
    Ok(())
}
