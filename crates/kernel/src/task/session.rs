//! Process groups and sessions: setpgid(2), setsid(2), getpgid(2), getsid(2).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use abi::Result;
use abi::errno::{EACCES, EINVAL, EPERM, ESRCH};

use super::{Process, current, pid};

/// getpgrp(2)
pub fn getpgrp() -> Result<i32> {
    Ok(current().process.pgrp())
}

/// getpgid(2)
pub fn getpgid(pid: i32) -> Result<i32> {
    Ok(process_of(pid)?.pgrp())
}

/// getsid(2)
pub fn getsid(pid: i32) -> Result<i32> {
    Ok(process_of(pid)?.session())
}

fn process_of(number: i32) -> Result<Arc<Process>> {
    if number == 0 {
        return Ok(current().process.clone());
    }
    Ok(pid::find_task(number)?.process.clone())
}

/// setpgid(2)
pub fn setpgid(number: i32, pgid: i32) -> Result<()> {
    let me = current();
    let number = if number == 0 { me.tgid() } else { number };
    let pgid = if pgid == 0 { number } else { pgid };
    if pgid < 0 {
        return Err(EINVAL);
    }
    let mut list = pid::tasklist();
    let target = match list.task(number).ok_or(ESRCH)? {
        task if task.tgid() == number => task.process.clone(),
        // A thread has no group of its own.
        _ => return Err(EINVAL),
    };
    let session = target.session();
    if target.parent().is_some_and(|p| Arc::ptr_eq(&p, &me.process)) {
        if session != me.process.session() {
            return Err(EPERM);
        }
        if target.did_exec.load(Ordering::Relaxed) {
            return Err(EACCES);
        }
    } else if !Arc::ptr_eq(&target, &me.process) {
        return Err(ESRCH);
    }
    if session == target.tgid {
        return Err(EPERM);
    }
    if pgid != number && !list.group(pgid).iter().any(|p| p.session() == me.process.session()) {
        return Err(EPERM);
    }
    if target.pgrp() != pgid {
        list.set_pgrp(&target, pgid);
    }
    Ok(())
}

/// setsid(2)
pub fn setsid() -> Result<i32> {
    let process = current().process.clone();
    let tty = {
        let mut list = pid::tasklist();
        if process.session() == process.tgid || !list.group(process.tgid).is_empty() {
            return Err(EPERM);
        }
        list.set_session(&process);
        process.link.lock().tty.take()
    };
    drop(tty);
    Ok(process.tgid)
}
