//! What tasks share: unshare(2), setns(2), kcmp(2).

use std::sync::Arc;

use abi::Result;
use abi::errno::{EINVAL, EOPNOTSUPP};
use abi::sched::*;

use super::clone_args::NAMESPACES;
use super::{current, fork, pid, ptrace_access};
use crate::vfs::Fd;

/// unshare(2)
pub fn unshare(flags: u64) -> Result<()> {
    const KNOWN: u64 =
        NAMESPACES | CLONE_FS | CLONE_FILES | CLONE_SYSVSEM | CLONE_SIGHAND | CLONE_VM | CLONE_THREAD;
    if flags & !KNOWN != 0 {
        return Err(EINVAL);
    }
    let task = current();
    fork::check_namespaces(&task, flags)?;
    // What threads share is inseparable; alone, there is nothing to separate.
    if flags & (CLONE_THREAD | CLONE_SIGHAND | CLONE_VM) != 0 && task.process.threads.lock().len() > 1 {
        return Err(EINVAL);
    }
    if flags & CLONE_FILES != 0 {
        let files = task.files()?.copy();
        let old = task.set_files(Some(files));
        drop(old);
    }
    if flags & CLONE_FS != 0 {
        task.set_fs(task.fs().copy());
    }
    Ok(())
}

/// setns(2): there is one name space of each kind, and no file of one.
pub fn setns(fd: Fd, _nstype: u32) -> Result<()> {
    fd.file()?;
    Err(EINVAL)
}

/// kcmp(2): 0 for the same, 1 and 2 for an order among those that differ.
pub fn kcmp(pid1: i32, pid2: i32, kind: u32, index1: u64, index2: u64) -> Result<u64> {
    let (a, b) = (pid::find_task(pid1)?, pid::find_task(pid2)?);
    ptrace_access(&a)?;
    ptrace_access(&b)?;
    let fd = |word: u64| Fd(i32::try_from(word).unwrap_or(-1));
    let (x, y) = match kind {
        KCMP_FILE => {
            let (f, g) = (a.files()?.get(fd(index1))?, b.files()?.get(fd(index2))?);
            (Arc::as_ptr(&f).addr(), Arc::as_ptr(&g).addr())
        }
        KCMP_VM => (Arc::as_ptr(&a.mm()?).addr(), Arc::as_ptr(&b.mm()?).addr()),
        KCMP_FILES => (Arc::as_ptr(&a.files()?).addr(), Arc::as_ptr(&b.files()?).addr()),
        KCMP_FS => (Arc::as_ptr(&a.fs()).addr(), Arc::as_ptr(&b.fs()).addr()),
        KCMP_SIGHAND => {
            let (s, t) = (a.process.sighand(), b.process.sighand());
            (Arc::as_ptr(&s).addr(), Arc::as_ptr(&t).addr())
        }
        KCMP_IO | KCMP_SYSVSEM | KCMP_EPOLL_TFD => return Err(EOPNOTSUPP),
        _ => return Err(EINVAL),
    };
    // Mixed, so that an order says nothing about where things are.
    let mix = |address: usize| (address as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    Ok(match mix(x).cmp(&mix(y)) {
        core::cmp::Ordering::Equal => 0,
        core::cmp::Ordering::Less => 1,
        core::cmp::Ordering::Greater => 2,
    })
}
