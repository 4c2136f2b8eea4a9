//! What tasks share: unshare(2), setns(2), kcmp(2).

use std::sync::Arc;

use abi::Result;
use abi::cred::{CAP_SYS_ADMIN, CAP_SYS_CHROOT};
use abi::errno::{EINVAL, EOPNOTSUPP, EPERM, ESRCH};
use abi::sched::*;

use super::clone_args::NAMESPACES;
use super::{capable, current, fork, pid, pidfd, ptrace_access};
use crate::fs::proc::mount_namespace;
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
    if flags & CLONE_NEWNS != 0 {
        task.set_fs(task.fs().copy_namespace());
    } else if flags & CLONE_FS != 0 {
        task.set_fs(task.fs().copy());
    }
    Ok(())
}

/// setns(2): into another mount name space, by its file or by a pidfd of a process in it. There is one of each other
/// kind, which everybody is in already. EINVAL, EPERM.
pub fn setns(fd: Fd, nstype: u32) -> Result<()> {
    let file = fd.file()?;
    let kinds = u64::from(nstype);
    let ns = match pidfd::process_of(&file) {
        Some(process) if kinds != 0 && kinds & !NAMESPACES == 0 => {
            let task = process.threads().first().cloned().ok_or(ESRCH)?;
            if kinds & CLONE_NEWNS == 0 {
                return if capable(CAP_SYS_ADMIN) { Ok(()) } else { Err(EPERM) };
            }
            task.fs().ns.clone()
        }
        Some(_) => return Err(EINVAL),
        None => {
            let ns = mount_namespace(&file)?;
            if kinds != 0 && kinds != CLONE_NEWNS {
                return Err(EINVAL);
            }
            ns
        }
    };
    if !capable(CAP_SYS_ADMIN) || !capable(CAP_SYS_CHROOT) {
        return Err(EPERM);
    }
    let task = current();
    // Not under the feet of others who share the directories.
    if Arc::strong_count(&task.fs()) > 2 {
        return Err(EINVAL);
    }
    task.set_fs(task.fs().in_namespace(&ns)?);
    Ok(())
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
