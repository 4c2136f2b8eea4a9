//! Resource limits: getrlimit(2), setrlimit(2), prlimit(2), and what a first process starts with.

use std::sync::Arc;

use abi::Result;
use abi::cred::CAP_SYS_RESOURCE;
use abi::errno::{EINVAL, EPERM, ESRCH};
use abi::resource::{
    RLIM_INFINITY, RLIM_NLIMITS, RLIMIT_CORE, RLIMIT_CPU, RLIMIT_MEMLOCK, RLIMIT_MSGQUEUE, RLIMIT_NICE,
    RLIMIT_NOFILE, RLIMIT_NPROC, RLIMIT_RTPRIO, RLIMIT_SIGPENDING, RLIMIT_STACK, Rlimit,
};

use super::{Process, Task, current, pid};
use crate::uaccess::UserPtr;
use crate::vfs;

/// Limits of the first process. Linux derives NPROC and SIGPENDING from the size of memory; `threads` is that number.
pub fn initial(threads: u64) -> [Rlimit; RLIM_NLIMITS] {
    let mut limits = [Rlimit { rlim_cur: RLIM_INFINITY, rlim_max: RLIM_INFINITY }; RLIM_NLIMITS];
    let mut set = |which: usize, cur, max| limits[which] = Rlimit { rlim_cur: cur, rlim_max: max };
    set(RLIMIT_STACK, 8 << 20, RLIM_INFINITY);
    set(RLIMIT_CORE, 0, RLIM_INFINITY);
    set(RLIMIT_NPROC, threads, threads);
    set(RLIMIT_NOFILE, 1024, 4096);
    set(RLIMIT_MEMLOCK, 8 << 20, 8 << 20);
    set(RLIMIT_SIGPENDING, threads, threads);
    set(RLIMIT_MSGQUEUE, 819_200, 819_200);
    set(RLIMIT_NICE, 0, 0);
    set(RLIMIT_RTPRIO, 0, 0);
    limits
}

/// getrlimit(2)
pub fn getrlimit(resource: u32, rlim: UserPtr<Rlimit>) -> Result<()> {
    rlim.write(&get(&current().process, resource)?)
}

/// setrlimit(2)
pub fn setrlimit(resource: u32, rlim: UserPtr<Rlimit>) -> Result<()> {
    let new = rlim.read()?;
    set(&current().process, resource, new).map(drop)
}

/// prlimit64(2)
pub fn prlimit64(pid: i32, resource: u32, new: UserPtr<Rlimit>, old: UserPtr<Rlimit>) -> Result<()> {
    let new = new.non_null().map(UserPtr::read).transpose()?;
    let task = if pid == 0 { current() } else { pid::find_task(pid)? };
    check_permission(&task)?;
    let before = match new {
        Some(new) => set(&task.process, resource, new)?,
        None => get(&task.process, resource)?,
    };
    old.write_if(&before)
}

fn get(process: &Process, resource: u32) -> Result<Rlimit> {
    process.rlimits.lock().get(resource as usize).copied().ok_or(EINVAL)
}

/// Sets a limit and answers the old one. Rules are those of the caller, not of the target.
fn set(process: &Arc<Process>, resource: u32, new: Rlimit) -> Result<Rlimit> {
    let resource = resource as usize;
    if resource >= RLIM_NLIMITS || new.rlim_cur > new.rlim_max {
        return Err(EINVAL);
    }
    if resource == RLIMIT_NOFILE && new.rlim_max > vfs::NR_OPEN {
        return Err(EPERM);
    }
    let privileged = current().cred().capable(CAP_SYS_RESOURCE);
    let old = {
        let mut limits = process.rlimits.lock();
        let old = limits[resource];
        if new.rlim_max > old.rlim_max && !privileged {
            return Err(EPERM);
        }
        limits[resource] = new;
        old
    };
    if resource == RLIMIT_CPU {
        crate::time::update_cpu_deadline(process);
    }
    Ok(old)
}

/// Who may read or change another's limits: the same user in all three ids, or CAP_SYS_RESOURCE.
fn check_permission(task: &Task) -> Result<()> {
    let me = current();
    if Arc::ptr_eq(&me.process, &task.process) {
        return Ok(());
    }
    let (own, other) = (me.cred(), task.cred());
    let same = [other.uid, other.euid, other.suid].iter().all(|&u| u == own.uid)
        && [other.gid, other.egid, other.sgid].iter().all(|&g| g == own.gid);
    if same || own.capable(CAP_SYS_RESOURCE) { Ok(()) } else { Err(EPERM) }
}

/// A task by number for calls where 0 is the caller; ESRCH.
pub fn task_or_self(pid: i32) -> Result<Arc<Task>> {
    match pid {
        0 => Ok(current()),
        1.. => pid::find_task(pid),
        _ => Err(ESRCH),
    }
}
