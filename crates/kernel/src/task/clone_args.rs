//! [`KernelCloneArgs`]: what a child is to be, and how clone3(2) says it.

use abi::Result;
use abi::cred::{CAP_CHECKPOINT_RESTORE, CAP_SYS_ADMIN};
use abi::errno::{E2BIG, EINVAL, EPERM};
use abi::sched::*;
use abi::signal::NSIG;
use host::stub::TASK_SIZE;
use zerocopy::FromBytes;

use super::current;
use crate::uaccess::{UserPtr, copy_from_user};

/// Flags that ask for a name space of one's own.
pub(super) const NAMESPACES: u64 = CLONE_NEWNS
    | CLONE_NEWCGROUP
    | CLONE_NEWUTS
    | CLONE_NEWIPC
    | CLONE_NEWUSER
    | CLONE_NEWPID
    | CLONE_NEWNET
    | CLONE_NEWTIME;
/// Everything that clone3(2) knows, the low byte apart.
const KNOWN: u64 = NAMESPACES
    | CLONE_VM
    | CLONE_FS
    | CLONE_FILES
    | CLONE_SIGHAND
    | CLONE_PIDFD
    | CLONE_PTRACE
    | CLONE_VFORK
    | CLONE_PARENT
    | CLONE_THREAD
    | CLONE_SYSVSEM
    | CLONE_SETTLS
    | CLONE_PARENT_SETTID
    | CLONE_CHILD_CLEARTID
    | CLONE_UNTRACED
    | CLONE_CHILD_SETTID
    | CLONE_IO
    | CLONE_CLEAR_SIGHAND
    | CLONE_INTO_CGROUP;

/// What a child is to be: the arguments of clone3(2), read and checked for form.
#[derive(Clone, Debug, Default)]
pub struct KernelCloneArgs {
    /// CLONE_*
    pub flags: u64,
    /// Where the pidfd's number goes.
    pub pidfd: u64,
    /// CLONE_CHILD_SETTID, CLONE_CHILD_CLEARTID
    pub child_tid: u64,
    /// CLONE_PARENT_SETTID
    pub parent_tid: u64,
    /// Sent to the parent at the child's end; 0 for none.
    pub exit_signal: u32,
    /// The child's stack pointer; 0 keeps the parent's.
    pub stack: u64,
    /// FS base with CLONE_SETTLS.
    pub tls: u64,
    /// Wanted number; 0 for any.
    pub set_tid: i32,
}

/// Reads the arguments of clone3(2). EINVAL, E2BIG, EFAULT, EPERM.
pub(super) fn read_clone_args(uargs: u64, size: usize) -> Result<KernelCloneArgs> {
    if size > 4096 {
        return Err(E2BIG);
    }
    if size < CLONE_ARGS_SIZE_VER0 {
        return Err(EINVAL);
    }
    let mut bytes = vec![0; size.max(size_of::<CloneArgs>())];
    copy_from_user(uargs, &mut bytes[..size])?;
    let (known, rest) = bytes.split_at(size_of::<CloneArgs>());
    if rest.iter().any(|&b| b != 0) {
        return Err(E2BIG);
    }
    let args = CloneArgs::read_from_bytes(known).map_err(|_| EINVAL)?;
    if args.flags & !KNOWN != 0 || args.exit_signal > u64::from(NSIG) {
        return Err(EINVAL);
    }
    if (args.stack == 0) != (args.stack_size == 0)
        || args.stack.checked_add(args.stack_size).is_none_or(|top| top > TASK_SIZE)
    {
        return Err(EINVAL);
    }
    if args.flags & (CLONE_THREAD | CLONE_PARENT) != 0 && args.exit_signal != 0 {
        return Err(EINVAL);
    }
    if args.flags & CLONE_SIGHAND != 0 && args.flags & CLONE_CLEAR_SIGHAND != 0 {
        return Err(EINVAL);
    }
    if args.flags & CLONE_INTO_CGROUP != 0 {
        // There are no control groups to go into.
        return Err(EINVAL);
    }
    Ok(KernelCloneArgs {
        flags: args.flags,
        pidfd: args.pidfd,
        child_tid: args.child_tid,
        parent_tid: args.parent_tid,
        exit_signal: args.exit_signal as u32,
        stack: args.stack.wrapping_add(args.stack_size),
        tls: args.tls,
        set_tid: read_set_tid(args.set_tid, args.set_tid_size)?,
    })
}

/// One name space of numbers: one number may be chosen.
fn read_set_tid(set_tid: u64, size: u64) -> Result<i32> {
    match (set_tid, size) {
        (0, 0) => Ok(0),
        (0, _) | (_, 0) => Err(EINVAL),
        (at, 1) => {
            let tid = UserPtr::<i32>::new(at).read()?;
            let cred = current().cred();
            if tid < 1 {
                Err(EINVAL)
            } else if cred.capable(CAP_CHECKPOINT_RESTORE) || cred.capable(CAP_SYS_ADMIN) {
                Ok(tid)
            } else {
                Err(EPERM)
            }
        }
        _ => Err(EINVAL),
    }
}
