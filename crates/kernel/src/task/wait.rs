//! wait4(2) and waitid(2).
//!
//! A scan of the children runs under the tasklist lock, like the step that makes a process a zombie; sleeping is on the
//! parent's `wait_chldexit`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use abi::Result;
use abi::errno::{EAGAIN, EBADF, ECHILD, EINVAL, ESRCH};
use abi::resource::Rusage;
use abi::signal::{CLD_CONTINUED, CLD_STOPPED, CLD_TRAPPED, SIGCHLD, SIGCONT};
use abi::wait::*;
use zerocopy::IntoBytes;

use super::pid::Tasklist;
use super::{Process, Task, current, family, pid, pidfd, ptrace, rusage};
use crate::sched;
use crate::sync::{Sleep, wait_event};
use crate::uaccess::{UserPtr, copy_to_user};
use crate::vfs::Fd;

/// Which children are waited for.
#[derive(Clone)]
enum Which {
    Any,
    Process(i32),
    Group(i32),
    Pidfd(Arc<Process>),
}

struct Waiting {
    which: Which,
    options: u32,
}

/// What a wait found.
struct Found {
    pid: i32,
    uid: u32,
    /// As wait4 has it.
    status: i32,
    rusage: Rusage,
    /// A tracee has stopped for its tracer.
    trapped: bool,
    /// A tracee that has ended, of which its parent hears now.
    heard: Option<Arc<Process>>,
}

/// wait4(2)
pub fn wait4(pid: i32, status: UserPtr<i32>, options: u32, rusage: UserPtr<Rusage>) -> Result<i32> {
    if options & !(WNOHANG | WUNTRACED | WCONTINUED | __WNOTHREAD | __WCLONE | __WALL) != 0 {
        return Err(EINVAL);
    }
    let which = match pid {
        i32::MIN => return Err(ESRCH),
        -1 => Which::Any,
        0 => Which::Group(current().process.pgrp()),
        1.. => Which::Process(pid),
        _ => Which::Group(-pid),
    };
    let Some(found) = do_wait(&Waiting { which, options: options | WEXITED })? else { return Ok(0) };
    status.write_if(&found.status)?;
    rusage.write_if(&found.rusage)?;
    Ok(found.pid)
}

/// waitid(2). `info` is a `siginfo_t`, of which the fields of SIGCHLD are written.
pub fn waitid(which: u32, id: i32, info: u64, options: u32, rusage: UserPtr<Rusage>) -> Result<()> {
    let known = WNOHANG | WNOWAIT | WEXITED | WSTOPPED | WCONTINUED | __WNOTHREAD | __WCLONE | __WALL;
    if options & !known != 0 || options & (WEXITED | WSTOPPED | WCONTINUED) == 0 {
        return Err(EINVAL);
    }
    let mut options = options;
    let mut nonblock = false;
    let which = match which {
        P_ALL => Which::Any,
        P_PID if id > 0 => Which::Process(id),
        P_PGID if id > 0 => Which::Group(id),
        P_PGID if id == 0 => Which::Group(current().process.pgrp()),
        P_PIDFD if id >= 0 => {
            let file = Fd(id).file()?;
            nonblock = file.nonblock();
            Which::Pidfd(pidfd::process_of(&file).ok_or(EBADF)?)
        }
        _ => return Err(EINVAL),
    };
    let asked = options;
    if nonblock {
        options |= WNOHANG;
    }
    let found = do_wait(&Waiting { which, options })?;
    if found.is_none() && nonblock && asked & WNOHANG == 0 {
        return Err(EAGAIN);
    }
    if let Some(found) = &found {
        rusage.write_if(&found.rusage)?;
    }
    if info != 0 {
        copy_to_user(info, siginfo_words(found.as_ref()).as_bytes())?;
    }
    Ok(())
}

/// The first words of the `siginfo_t`: signo, errno, code, padding, pid, uid, status; zero when nobody changed.
fn siginfo_words(found: Option<&Found>) -> [i32; 7] {
    let Some(found) = found else { return [0; 7] };
    let (code, status) = match found.status {
        stopped if found.trapped => (CLD_TRAPPED, stopped >> 8),
        W_CONTINUED => (CLD_CONTINUED, SIGCONT as i32),
        stopped if wifstopped(stopped) => (CLD_STOPPED, stopped >> 8 & 0xff),
        ended => family::exit_reason(ended),
    };
    [SIGCHLD as i32, 0, code, 0, found.pid, found.uid as i32, status]
}

/// Waits for any child of the current kernel task to end, and reaps it: its number and wait status.
pub fn reap_any() -> Result<(i32, i32)> {
    let waiting = Waiting { which: Which::Any, options: WEXITED | __WALL };
    do_wait(&waiting)?.map(|found| (found.pid, found.status)).ok_or(ECHILD)
}

/// Waits until a child has changed as asked; None with WNOHANG when there is none yet. ECHILD, ERESTARTSYS.
fn do_wait(waiting: &Waiting) -> Result<Option<Found>> {
    let task = current();
    let queue = task.process.wait_chldexit.clone();
    loop {
        let outcome = wait_event(&queue, Sleep::INTERRUPTIBLE, || match scan(&task, waiting) {
            Ok(Scan::Nothing) if waiting.options & WNOHANG == 0 => None,
            outcome => Some(outcome),
        });
        match outcome?? {
            Scan::Nothing => return Ok(None),
            Scan::Found(mut found) => {
                if let Some(process) = found.heard.take() {
                    family::tracer_has_heard(&process, Some(&task.process));
                }
                return Ok(Some(found));
            }
            Scan::Soon => sched::yield_now(),
        }
    }
}

/// What a look at the children gives.
enum Scan {
    Nothing,
    Found(Found),
    /// A zombie whose signal is on its way: asked again at once, so that the signal is never later than the answer.
    Soon,
}

/// Looks at each child once. ECHILD when there is none to wait for.
fn scan(task: &Task, waiting: &Waiting) -> Result<Scan> {
    let mut released = None;
    let outcome = {
        let mut list = pid::tasklist();
        let mut outcome = Err(ECHILD);
        for child in children(&list, task, &waiting.which) {
            if !eligible(task, &child, waiting) {
                continue;
            }
            let Some(status) = consume_change(&child, waiting.options) else {
                outcome = Ok(Scan::Nothing);
                continue;
            };
            let is_zombie = child.zombie.load(Ordering::SeqCst);
            if is_zombie && !child.announced.load(Ordering::SeqCst) {
                outcome = Ok(Scan::Soon);
                break;
            }
            outcome = Ok(Scan::Found(describe(&child, status, is_zombie)));
            if is_zombie && waiting.options & WNOWAIT == 0 {
                family::add_child_totals(&task.process, &child);
                released = family::release(&mut list, &child);
            }
            break;
        }
        outcome
    };
    drop(released);
    if let Ok(Scan::Found(_) | Scan::Soon) = outcome {
        return outcome;
    }
    match tracees(task, waiting) {
        (Some(found), _) => Ok(Scan::Found(found)),
        (None, true) => Ok(Scan::Nothing),
        (None, false) => outcome,
    }
}

/// What there is to tell of tracees, and whether some are waited for.
fn tracees(task: &Task, waiting: &Waiting) -> (Option<Found>, bool) {
    let wanted = |tid: i32, pgrp: i32| match &waiting.which {
        Which::Any => true,
        Which::Process(pid) => tid == *pid,
        Which::Group(group) => pgrp == *group,
        Which::Pidfd(process) => tid == process.tgid,
    };
    let exits = waiting.options & WEXITED != 0;
    let keep = waiting.options & WNOWAIT != 0;
    let (news, any) = ptrace::take_wait(&task.process, wanted, exits, keep);
    let found = news.map(|news| {
        let process = news.task.as_ref().map(|t| &t.process).or(news.ended.as_ref().map(|(p, _)| p));
        Found {
            pid: news.tid,
            uid: news.uid,
            status: news.status,
            trapped: news.task.is_some(),
            rusage: process.map_or_else(Rusage::default, |p| rusage::with_children(p)),
            heard: news.ended.and_then(|(process, now)| now.then_some(process)),
        }
    });
    (found, any)
}

fn children(list: &Tasklist, task: &Task, which: &Which) -> Vec<Arc<Process>> {
    let own = |p: &Arc<Process>| p.parent().is_some_and(|parent| Arc::ptr_eq(&parent, &task.process));
    match which {
        Which::Process(pid) => list.process(*pid).filter(own).into_iter().collect(),
        Which::Pidfd(process) => Some(process.clone()).filter(own).into_iter().collect(),
        Which::Any | Which::Group(_) => task.process.link.lock().children.clone(),
    }
}

fn eligible(task: &Task, child: &Process, waiting: &Waiting) -> bool {
    if let Which::Group(pgrp) = waiting.which
        && child.pgrp() != pgrp
    {
        return false;
    }
    if waiting.options & __WNOTHREAD != 0 && child.parent_tid() != task.tid() {
        return false;
    }
    let clone_child = child.exit_signal.load(Ordering::Relaxed) != SIGCHLD as i32;
    waiting.options & __WALL != 0 || clone_child == (waiting.options & __WCLONE != 0)
}

/// The wait status of a change that was asked for; a stop or a continuation is told once.
fn consume_change(child: &Process, options: u32) -> Option<i32> {
    if child.zombie.load(Ordering::SeqCst) {
        if child.held.load(Ordering::SeqCst) {
            return None;
        }
        return (options & WEXITED != 0).then(|| child.exit_code.load(Ordering::SeqCst));
    }
    // Who traces a child hears of its stops in another way.
    if child.threads.lock().iter().any(|t| t.ptrace.is_traced_by(&current().process)) {
        return None;
    }
    let mut stop = child.stop.lock();
    let status = stop.notify? as i32;
    let wanted = if status == W_CONTINUED { WCONTINUED } else { WSTOPPED };
    if options & wanted == 0 {
        return None;
    }
    if options & WNOWAIT == 0 {
        stop.notify = None;
    }
    Some(status)
}

fn describe(child: &Process, status: i32, is_zombie: bool) -> Found {
    let uid = if is_zombie {
        child.exit_uid.load(Ordering::Relaxed)
    } else {
        child.threads.lock().first().map_or(0, |t| t.cred().uid)
    };
    Found { pid: child.tgid, uid, status, rusage: rusage::with_children(child), trapped: false, heard: None }
}
