//! Parents and children at the end of a process: new parents for orphans, orphaned process groups, SIGCHLD, reaping,
//! and the sums that a parent keeps of its dead children.
//!
//! The family changes under the tasklist lock. Whatever must be sent or woken is collected in [`News`] and goes out after
//! the lock is released: a signal may wake an epoll, and a stop or a continuation looks at the family itself. A zombie
//! counts as announced when its parent has the signal; wait4(2) waits out the moment in between.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use abi::signal::{
    CLD_EXITED, CLD_KILLED, SA_NOCLDWAIT, SI_KERNEL, SI_USER, SIG_IGN, SIGCHLD, SIGCONT, SIGHUP, SigInfo,
};
use abi::time::{NSEC_PER_SEC, USER_HZ};
use abi::wait::{wexitstatus, wifexited, wtermsig};

use super::pid::{INIT_PID, Tasklist};
use super::{Process, Task, pid};
use crate::mm::Mm;
use crate::signal;

/// What is sent and woken once the tasklist lock is free.
#[derive(Default)]
pub struct News {
    signals: Vec<(Arc<Process>, SigInfo)>,
    wake: Vec<Arc<Process>>,
    /// Process groups that may have become orphaned.
    groups: Vec<i32>,
}

impl News {
    /// Sends, announces the zombie that it is about, and wakes.
    pub fn deliver(self, zombie: Option<&Process>) {
        for (process, info) in self.signals {
            signal::send_process(&process, info);
        }
        if let Some(zombie) = zombie {
            zombie.announced.store(true, Ordering::SeqCst);
        }
        for process in self.wake {
            process.wait_chldexit.wake_all();
        }
        for pgrp in self.groups {
            hang_up_if_orphaned(pgrp);
        }
    }
}

/// A reaped process with its last thread, to drop after the tasklist lock is released.
pub type Released = (Arc<Process>, Option<Arc<Task>>);

/// Takes a zombie out of the task list and from its parent.
pub fn release(list: &mut Tasklist, process: &Arc<Process>) -> Option<Released> {
    let gone = list.remove_process(process.tgid);
    let leader = list.remove_task(process.tgid);
    if let Some(leader) = &leader {
        leader.uncharge();
    }
    let parent = core::mem::take(&mut process.link.lock().parent);
    if let Some(parent) = parent.upgrade() {
        parent.link.lock().children.retain(|c| !Arc::ptr_eq(c, process));
    }
    Some((gone?, leader))
}

/// Tells the parent of a zombie. Returns whether the parent doesn't want to wait for it, so that it must be released.
pub fn notify_parent(process: &Arc<Process>, news: &mut News) -> bool {
    let Some(parent) = process.parent() else { return false };
    let mut signal = process.exit_signal.load(Ordering::Relaxed);
    let mut reap = false;
    if signal == SIGCHLD as i32 {
        let action = parent.sighand().action(SIGCHLD);
        reap = action.handler == SIG_IGN || action.flags & SA_NOCLDWAIT != 0;
        if action.handler == SIG_IGN {
            signal = 0;
        }
    }
    if reap {
        add_child_totals(&parent, process);
    }
    if signal > 0 {
        let mut info = child_info(process);
        info.si_signo = signal;
        news.signals.push((parent.clone(), info));
    }
    news.wake.push(parent);
    reap
}

/// The tracer of a process has heard of its end by wait4(2) (`waiter`), or never will: now its parent does. A tracer that
/// has become its parent meanwhile has reaped it.
pub fn tracer_has_heard(process: &Arc<Process>, waiter: Option<&Process>) {
    let mut news = News::default();
    let mut released = None;
    {
        let mut list = pid::tasklist();
        // One that isn't a zombie yet tells its parent itself.
        if !process.held.swap(false, Ordering::SeqCst) || !process.zombie.load(Ordering::SeqCst) {
            return;
        }
        let own = waiter.filter(|w| process.parent().is_some_and(|parent| core::ptr::eq(&*parent, *w)));
        if let Some(own) = own {
            add_child_totals(own, process);
        }
        if own.is_some() || notify_parent(process, &mut news) {
            released = release(&mut list, process);
        }
    }
    drop(released);
    news.deliver(Some(process));
}

/// The siginfo that says how a zombie ended.
pub fn child_info(process: &Process) -> SigInfo {
    let status = process.exit_code.load(Ordering::SeqCst);
    let (code, value) = exit_reason(status);
    let ticks = |ns: &AtomicU64| ns.load(Ordering::Relaxed) / (NSEC_PER_SEC / USER_HZ);
    SigInfo::chld(
        code,
        process.tgid,
        process.exit_uid.load(Ordering::Relaxed),
        value,
        ticks(&process.utime),
        ticks(&process.stime),
    )
}

/// `si_code` and `si_status` of a wait status.
pub fn exit_reason(status: i32) -> (i32, i32) {
    if wifexited(status) { (CLD_EXITED, wexitstatus(status)) } else { (CLD_KILLED, wtermsig(status) as i32) }
}

/// Gives the children of a process without threads to the nearest subreaper above it, or to init.
pub fn forget_children(
    list: &mut Tasklist,
    process: &Arc<Process>,
    news: &mut News,
    released: &mut Vec<Released>,
) {
    let children = core::mem::take(&mut process.link.lock().children);
    if children.is_empty() {
        return;
    }
    let reaper = find_reaper(list, process);
    for child in children {
        send_pdeath(&child, news);
        let Some((reaper, tid)) = &reaper else {
            child.link.lock().parent = std::sync::Weak::new();
            child.publish();
            continue;
        };
        child.link.lock().parent_tid = *tid;
        list.set_parent(&child, reaper);
        // Whatever it was to its old parent, init waits for SIGCHLD.
        child.exit_signal.store(SIGCHLD as i32, Ordering::Relaxed);
        if child.zombie.load(Ordering::SeqCst) {
            if !child.held.load(Ordering::SeqCst) && notify_parent(&child, news) {
                released.extend(release(list, &child));
            }
        } else {
            orphaned_child(&child, process, news);
        }
    }
}

fn find_reaper(list: &Tasklist, process: &Arc<Process>) -> Option<(Arc<Process>, i32)> {
    let live_thread = |p: &Arc<Process>| p.threads.lock().first().map(|t| t.tid());
    let mut above = process.parent();
    while let Some(candidate) = above {
        if candidate.child_subreaper.load(Ordering::Relaxed)
            && let Some(tid) = live_thread(&candidate)
        {
            return Some((candidate, tid));
        }
        above = candidate.parent();
    }
    let init = list.process(INIT_PID)?;
    let tid = live_thread(&init)?;
    Some((init, tid))
}

fn send_pdeath(child: &Arc<Process>, news: &mut News) {
    for thread in child.threads.lock().iter() {
        let signal = thread.pdeath_signal.load(Ordering::Relaxed);
        if signal > 0 {
            news.signals.push((child.clone(), SigInfo::kill(signal as u32, SI_USER, 0, 0)));
        }
    }
}

/// One thread of a process with others has ended: its children turn to `heir`.
pub fn thread_left(process: &Arc<Process>, tid: i32, heir: i32) {
    if process.link.lock().children.is_empty() {
        return;
    }
    let mut news = News::default();
    {
        let _list = pid::tasklist();
        let children = process.link.lock().children.clone();
        for child in children {
            let mine = {
                let mut link = child.link.lock();
                let mine = link.parent_tid == tid;
                if mine {
                    link.parent_tid = heir;
                }
                mine
            };
            if mine {
                send_pdeath(&child, &mut news);
            }
        }
    }
    news.deliver(None);
}

/// The exit of `process` may orphan its own group.
pub fn orphaned_by(process: &Arc<Process>, news: &mut News) {
    let Some(parent) = process.parent() else { return };
    let pgrp = process.pgrp();
    if parent.pgrp() != pgrp && parent.session() == process.session() {
        news.groups.push(pgrp);
    }
}

/// The exit of its parent may orphan the group of `child`.
fn orphaned_child(child: &Arc<Process>, parent: &Arc<Process>, news: &mut News) {
    let pgrp = child.pgrp();
    if pgrp != parent.pgrp() && child.session() == parent.session() && !news.groups.contains(&pgrp) {
        news.groups.push(pgrp);
    }
}

/// Whether nobody is left who could continue the group: no member but `leaving` has a parent in the same session and
/// another group.
pub fn is_orphaned(list: &Tasklist, pgrp: i32, leaving: Option<&Arc<Process>>) -> bool {
    list.group(pgrp).iter().all(|member| {
        let gone = member.zombie.load(Ordering::SeqCst) || leaving.is_some_and(|p| Arc::ptr_eq(p, member));
        gone || member.parent().is_none_or(|parent| {
            parent.tgid == INIT_PID || parent.pgrp() == pgrp || parent.session() != member.session()
        })
    })
}

/// A group that has become orphaned with a stopped member gets SIGHUP and SIGCONT: nobody else would continue it.
fn hang_up_if_orphaned(pgrp: i32) {
    let members = {
        let list = pid::tasklist();
        if !is_orphaned(&list, pgrp, None) {
            return;
        }
        list.group(pgrp)
    };
    if members.iter().any(|p| p.stop.lock().signal != 0) {
        for sig in [SIGHUP, SIGCONT] {
            for member in &members {
                signal::send_process(member, SigInfo::new(sig, SI_KERNEL));
            }
        }
    }
}

/// A thread that ends leaves its counters to its process.
pub fn add_thread_totals(task: &Task) {
    task.process.exit_uid.store(task.cred().uid, Ordering::Relaxed);
    let mut totals = task.process.totals.lock();
    let own = task.counters();
    for (sum, n) in totals.own.iter_mut().zip(own) {
        *sum += n;
    }
    for (sum, n) in totals.io.iter_mut().zip(task.io.get()) {
        *sum += n;
    }
}

/// The parent of a reaped process takes its times and counters, and those of its children.
pub fn add_child_totals(parent: &Process, child: &Process) {
    let sum = |to: &AtomicU64, a: &AtomicU64, b: &AtomicU64| {
        to.fetch_add(a.load(Ordering::Relaxed) + b.load(Ordering::Relaxed), Ordering::Relaxed);
    };
    sum(&parent.cutime, &child.utime, &child.cutime);
    sum(&parent.cstime, &child.stime, &child.cstime);
    let from = *child.totals.lock();
    let mut to = parent.totals.lock();
    for i in 0..4 {
        to.children[i] += from.own[i] + from.children[i];
        to.io[i] += from.io[i];
    }
    to.maxrss[1] = to.maxrss[1].max(from.maxrss[0]).max(from.maxrss[1]);
}

/// Looks at what the host counts for an address space: keeps the largest resident set seen.
pub fn note_memory(process: &Process, mm: &Mm) {
    let usage = mm.space.usage();
    let mut totals = process.totals.lock();
    totals.maxrss[0] = totals.maxrss[0].max(usage.resident);
}

/// The thread leaves an address space that nobody else uses: its faults stay with the process.
pub fn add_memory_totals(task: &Task, mm: &Mm) {
    let told = task.user.lock().as_ref().and_then(|stub| stub.usage());
    let usage = told.unwrap_or_else(|| mm.space.usage());
    let mut totals = task.process.totals.lock();
    totals.maxrss[0] = totals.maxrss[0].max(usage.resident);
    totals.own[0] += usage.minor_faults;
    totals.own[1] += usage.major_faults;
}
