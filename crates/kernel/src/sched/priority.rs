//! Priorities of processes, groups and users: getpriority(2), ioprio_get(2).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use abi::Result;
use abi::cred::{CAP_SYS_ADMIN, CAP_SYS_NICE};
use abi::errno::{EINVAL, EPERM, ESRCH};
use abi::sched::*;

use super::calls::set_nice;
use crate::task::{Task, capable, current, pid};

enum Who {
    Process,
    Group,
    User,
}

/// The tasks that `which` and `who` name; 0 is the caller's own. ESRCH.
fn tasks(which: Who, who: u32) -> Result<Vec<Arc<Task>>> {
    let me = current();
    let found: Vec<Arc<Task>> = match which {
        Who::Process if who == 0 => vec![me],
        Who::Process => vec![pid::find_task(i32::try_from(who).map_err(|_| ESRCH)?)?],
        Who::Group => {
            let pgrp = if who == 0 { me.process.pgrp() } else { who as i32 };
            let members = pid::tasklist().group(pgrp);
            members.iter().flat_map(|p| p.threads()).collect()
        }
        Who::User => {
            let uid = if who == 0 { me.cred().uid } else { who };
            let all: Vec<_> = pid::tasklist().processes().cloned().collect();
            all.iter().flat_map(|p| p.threads()).filter(|t| t.cred().uid == uid).collect()
        }
    };
    if found.is_empty() { Err(ESRCH) } else { Ok(found) }
}

fn prio_who(which: u32) -> Result<Who> {
    match which {
        PRIO_PROCESS => Ok(Who::Process),
        PRIO_PGRP => Ok(Who::Group),
        PRIO_USER => Ok(Who::User),
        _ => Err(EINVAL),
    }
}

/// getpriority(2): 20 less the lowest nice value.
pub fn getpriority(which: u32, who: u32) -> Result<i32> {
    let found = tasks(prio_who(which)?, who)?;
    let lowest = found.iter().map(|t| t.sched.attr().nice).min().ok_or(ESRCH)?;
    Ok(20 - i32::from(lowest))
}

/// setpriority(2)
pub fn setpriority(which: u32, who: u32, nice: i32) -> Result<()> {
    let found = tasks(prio_who(which)?, who)?;
    // What failed for one doesn't keep the others from their new value.
    let mut outcome = Ok(());
    for task in &found {
        if let Err(errno) = set_nice(task, nice) {
            outcome = Err(errno);
        }
    }
    outcome
}

fn ioprio_who(which: u32) -> Result<Who> {
    match which {
        IOPRIO_WHO_PROCESS => Ok(Who::Process),
        IOPRIO_WHO_PGRP => Ok(Who::Group),
        IOPRIO_WHO_USER => Ok(Who::User),
        _ => Err(EINVAL),
    }
}

/// ioprio_set(2). The host orders the disk's requests; the value is kept for whoever asks.
pub fn ioprio_set(which: u32, who: u32, ioprio: u32) -> Result<()> {
    let (class, level) = (ioprio >> IOPRIO_CLASS_SHIFT, ioprio & ((1 << IOPRIO_CLASS_SHIFT) - 1));
    let valid = match class {
        IOPRIO_CLASS_NONE => level == 0,
        IOPRIO_CLASS_RT | IOPRIO_CLASS_BE => level & 7 == level,
        IOPRIO_CLASS_IDLE => true,
        _ => false,
    };
    if !valid {
        return Err(EINVAL);
    }
    if class == IOPRIO_CLASS_RT && !capable(CAP_SYS_ADMIN) && !capable(CAP_SYS_NICE) {
        return Err(EPERM);
    }
    let cred = current().cred();
    for task in tasks(ioprio_who(which)?, who)? {
        let other = task.cred();
        if other.uid != cred.euid && other.uid != cred.uid && !cred.capable(CAP_SYS_NICE) {
            return Err(EPERM);
        }
        task.ioprio.store(ioprio, Ordering::Relaxed);
    }
    Ok(())
}

/// ioprio_get(2): the best of all.
pub fn ioprio_get(which: u32, who: u32) -> Result<u32> {
    let found = tasks(ioprio_who(which)?, who)?;
    let best = found.iter().map(|t| effective_ioprio(t)).min();
    best.ok_or(ESRCH)
}

/// A task that has set none has the best-effort level that goes with its nice value.
fn effective_ioprio(task: &Task) -> u32 {
    match task.ioprio.load(Ordering::Relaxed) {
        0 => {
            let level = (i32::from(task.sched.attr().nice) + 20) as u32 / 5;
            (IOPRIO_CLASS_BE << IOPRIO_CLASS_SHIFT) | level
        }
        set => set,
    }
}
