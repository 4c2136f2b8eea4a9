//! kill(2) and its relatives. Who may signal whom is [`may_signal`]'s to say.

use std::collections::BTreeSet;
use std::sync::Arc;

use abi::Result;
use abi::errno::{EINVAL, EPERM, ESRCH};
use abi::signal::{SI_TKILL, SI_USER, SIGKILL, SigInfo};

use super::{Queued, Signal, queue_to_process, queue_to_task};
use crate::task::{Process, Task, current, may_signal, pid};
use crate::uaccess::UserPtr;

/// Sends to a process what its `leader` thread allows; signal 0 only asks. EPERM; EAGAIN when RLIMIT_SIGPENDING is
/// reached.
pub fn kill_process(leader: &Task, info: SigInfo) -> Result<()> {
    let sig = info.si_signo as u32;
    if info.si_code <= 0 {
        may_signal(leader, sig)?;
    }
    if sig == 0 {
        return Ok(());
    }
    queue_to_process(&leader.process, Queued::new(info)).map(drop)
}

fn kill_thread(task: &Task, info: SigInfo) -> Result<()> {
    let sig = info.si_signo as u32;
    may_signal(task, sig)?;
    if sig == 0 {
        return Ok(());
    }
    queue_to_task(task, Queued::new(info)).map(drop)
}

/// Sends to the processes that `pick` chooses. 0 if one of them got it; else what the last one said; ESRCH for none.
fn kill_many(pick: impl Fn(&Process) -> bool, info: SigInfo) -> Result<()> {
    let mut outcome = Err(ESRCH);
    let mut seen = BTreeSet::new();
    // Somebody outside the chosen may go on making more.
    for _ in 0..100 {
        let mut targets = leaders(&pick);
        targets.retain(|leader| seen.insert(leader.tid()));
        for leader in &targets {
            let result = kill_process(leader, info);
            if outcome.is_err() {
                outcome = result;
            }
        }
        // A child that was being made meanwhile does not get away.
        if targets.is_empty() || info.si_signo as u32 != SIGKILL {
            break;
        }
    }
    outcome
}

/// Sends to those members of a process group that the current task may signal. EPERM if it may none; ESRCH.
pub fn kill_group(pgrp: i32, info: SigInfo) -> Result<()> {
    kill_many(|p| p.pgrp() == pgrp, info)
}

/// What kill(2) says of its sender.
fn sender_info(sig: u32, code: i32) -> SigInfo {
    let sender = current();
    SigInfo::kill(sig, code, sender.tgid(), sender.cred().uid)
}

/// First threads of the processes that `pick` chooses.
fn leaders(pick: impl Fn(&Process) -> bool) -> Vec<Arc<Task>> {
    let list = pid::tasklist();
    list.processes().filter(|p| pick(p)).filter_map(|p| list.task(p.tgid)).collect()
}

/// kill(2)
pub fn kill(pid: i32, sig: Signal) -> Result<()> {
    let info = sender_info(sig.or_zero()?, SI_USER);
    let own = current().process.clone();
    match pid {
        1.. => kill_process(&*pid::find_task(pid)?, info),
        -1 => kill_many(|p| p.tgid > 1 && p.tgid != own.tgid, info),
        0 => kill_group(own.pgrp(), info),
        _ => kill_group(pid.checked_neg().ok_or(ESRCH)?, info),
    }
}

/// tgkill(2)
pub fn tgkill(tgid: i32, tid: i32, sig: Signal) -> Result<()> {
    if tgid <= 0 || tid <= 0 {
        return Err(EINVAL);
    }
    let info = sender_info(sig.or_zero()?, SI_TKILL);
    kill_thread(&*find_thread(tgid, tid)?, info)
}

/// tkill(2)
pub fn tkill(tid: i32, sig: Signal) -> Result<()> {
    if tid <= 0 {
        return Err(EINVAL);
    }
    let info = sender_info(sig.or_zero()?, SI_TKILL);
    kill_thread(&*pid::find_task(tid)?, info)
}

fn find_thread(tgid: i32, tid: i32) -> Result<Arc<Task>> {
    let task = pid::find_task(tid)?;
    if task.tgid() == tgid { Ok(task) } else { Err(ESRCH) }
}

/// Reads a siginfo that a guest wants to send to `pid`: nobody may pose as the kernel or as kill(2) to others.
/// EPERM.
pub fn siginfo_from_user(pid: i32, sig: u32, info: UserPtr<SigInfo>) -> Result<SigInfo> {
    let mut info = info.read()?;
    info.si_signo = sig as i32;
    if (info.si_code >= 0 || info.si_code == SI_TKILL) && pid != current().tid() {
        return Err(EPERM);
    }
    Ok(info)
}

/// rt_sigqueueinfo(2)
pub fn rt_sigqueueinfo(pid: i32, sig: Signal, info: UserPtr<SigInfo>) -> Result<()> {
    let info = siginfo_from_user(pid, sig.or_zero()?, info)?;
    kill_process(&*pid::find_task(pid)?, info)
}

/// rt_tgsigqueueinfo(2)
pub fn rt_tgsigqueueinfo(tgid: i32, tid: i32, sig: Signal, info: UserPtr<SigInfo>) -> Result<()> {
    if tgid <= 0 || tid <= 0 {
        return Err(EINVAL);
    }
    let info = siginfo_from_user(tid, sig.or_zero()?, info)?;
    kill_thread(&*find_thread(tgid, tid)?, info)
}
