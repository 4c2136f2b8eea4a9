//! seccomp(2), prctl(PR_SET_SECCOMP).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use abi::Result;
use abi::cred::CAP_SYS_ADMIN;
use abi::errno::{EACCES, EBUSY, EINVAL, ENOMEM, EOPNOTSUPP, ESRCH};
use abi::net::SockFprog;
use abi::seccomp::*;

use super::notify::{self, Listener};
use super::{Filter, Filters};
use crate::bpf::{Kind, Program};
use crate::task::{Task, capable, current};
use crate::uaccess::UserPtr;

/// Most instructions of all filters of a thread, with four more for each filter.
const MAX_INSNS: usize = (1 << 18) / 8;
const FILTER_COST: usize = 4;

const KNOWN_FLAGS: u32 = SECCOMP_FILTER_FLAG_TSYNC
    | SECCOMP_FILTER_FLAG_LOG
    | SECCOMP_FILTER_FLAG_SPEC_ALLOW
    | SECCOMP_FILTER_FLAG_NEW_LISTENER
    | SECCOMP_FILTER_FLAG_TSYNC_ESRCH
    | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;

/// seccomp(2)
pub fn seccomp(operation: u32, flags: u32, args: u64) -> Result<u64> {
    match operation {
        SECCOMP_SET_MODE_STRICT if flags == 0 && args == 0 => set_strict(),
        SECCOMP_SET_MODE_FILTER => set_filter(flags, args),
        SECCOMP_GET_ACTION_AVAIL if flags == 0 => {
            let action = UserPtr::<u32>::new(args).read()?;
            let known = [
                SECCOMP_RET_KILL_PROCESS,
                SECCOMP_RET_KILL_THREAD,
                SECCOMP_RET_TRAP,
                SECCOMP_RET_ERRNO,
                SECCOMP_RET_USER_NOTIF,
                SECCOMP_RET_TRACE,
                SECCOMP_RET_LOG,
                SECCOMP_RET_ALLOW,
            ];
            if known.contains(&action) { Ok(0) } else { Err(EOPNOTSUPP) }
        }
        SECCOMP_GET_NOTIF_SIZES if flags == 0 => {
            let sizes = SeccompNotifSizes {
                seccomp_notif: size_of::<SeccompNotif>() as u16,
                seccomp_notif_resp: size_of::<SeccompNotifResp>() as u16,
                seccomp_data: size_of::<SeccompData>() as u16,
            };
            UserPtr::new(args).write(&sizes)?;
            Ok(0)
        }
        _ => Err(EINVAL),
    }
}

/// prctl(PR_SET_SECCOMP): the older way to the same.
pub fn prctl_set(mode: u64, filter: u64) -> Result<u64> {
    match u32::try_from(mode) {
        Ok(SECCOMP_MODE_STRICT) => set_strict(),
        Ok(SECCOMP_MODE_FILTER) => set_filter(0, filter),
        _ => Err(EINVAL),
    }
}

/// A mode is entered once. EINVAL.
fn may_enter(task: &Task, mode: u32) -> Result<()> {
    let now = task.seccomp.mode();
    if now == SECCOMP_MODE_DISABLED || now == mode { Ok(()) } else { Err(EINVAL) }
}

fn set_strict() -> Result<u64> {
    let task = current();
    may_enter(&task, SECCOMP_MODE_STRICT)?;
    task.seccomp.mode.store(SECCOMP_MODE_STRICT, Ordering::SeqCst);
    task.note_syscall_work();
    Ok(0)
}

fn set_filter(flags: u32, args: u64) -> Result<u64> {
    let both = SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_NEW_LISTENER;
    let listens = flags & SECCOMP_FILTER_FLAG_NEW_LISTENER != 0;
    let killable = flags & SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV != 0;
    if flags & !KNOWN_FLAGS != 0
        || (flags & both == both && flags & SECCOMP_FILTER_FLAG_TSYNC_ESRCH == 0)
        || (killable && !listens)
    {
        return Err(EINVAL);
    }
    let task = current();
    let program = Program::from_user(&UserPtr::<SockFprog>::new(args).read()?, Kind::Seccomp)?;
    if !task.no_new_privs.load(Ordering::Relaxed) && !capable(CAP_SYS_ADMIN) {
        return Err(EACCES);
    }
    let listener = listens.then(|| Listener::new(killable));
    let fd = listener.as_ref().map(notify::install).transpose()?;
    let log = flags & SECCOMP_FILTER_FLAG_LOG != 0;
    let outcome = add(&task, Filter { program, log, listener }, flags);
    match (outcome, fd) {
        (Ok(0), Some(fd)) => Ok(fd.0 as u64),
        (outcome, Some(fd)) => {
            let closed = task.files()?.remove(fd);
            drop(closed);
            outcome
        }
        (outcome, None) => outcome,
    }
}

/// Adds a filter to the current thread, with TSYNC to all; or answers a thread that could not be brought along.
fn add(task: &Arc<Task>, filter: Filter, flags: u32) -> Result<u64> {
    let mut replaced = Vec::new();
    let threads = task.process.threads.lock();
    may_enter(task, SECCOMP_MODE_FILTER)?;
    let own = task.seccomp.filters();
    let old: &[Arc<Filter>] = own.as_deref().unwrap_or_default();
    if filter.listener.is_some() && old.iter().any(|f| f.listener.is_some()) {
        return Err(EBUSY);
    }
    let used: usize = old.iter().map(|f| f.program.len() + FILTER_COST).sum();
    if used + filter.program.len() > MAX_INSNS {
        return Err(ENOMEM);
    }
    let sync = flags & SECCOMP_FILTER_FLAG_TSYNC != 0;
    let others: Vec<_> = threads.iter().filter(|t| sync && !Arc::ptr_eq(t, task)).collect();
    if let Some(stranger) = others.iter().find(|t| !follows(t, old)) {
        let error = flags & SECCOMP_FILTER_FLAG_TSYNC_ESRCH != 0;
        return if error { Err(ESRCH) } else { Ok(stranger.tid() as u64) };
    }
    let new: Filters = old.iter().cloned().chain([Arc::new(filter)]).collect();
    let no_new_privs = task.no_new_privs.load(Ordering::Relaxed);
    for thread in others.into_iter().chain([task]) {
        replaced.push(thread.seccomp.filters.lock().replace(new.clone()));
        if no_new_privs {
            thread.no_new_privs.store(true, Ordering::Relaxed);
        }
        thread.seccomp.mode.store(SECCOMP_MODE_FILTER, Ordering::SeqCst);
        thread.note_syscall_work();
    }
    drop(threads);
    drop(replaced);
    Ok(0)
}

/// Whether a thread's filters are the first of these: then it can be brought along.
fn follows(thread: &Task, filters: &[Arc<Filter>]) -> bool {
    match thread.seccomp.mode() {
        SECCOMP_MODE_DISABLED => true,
        SECCOMP_MODE_FILTER => {
            let own = thread.seccomp.filters();
            let own: &[Arc<Filter>] = own.as_deref().unwrap_or_default();
            own.len() <= filters.len() && own.iter().zip(filters).all(|(a, b)| Arc::ptr_eq(a, b))
        }
        _ => false,
    }
}
