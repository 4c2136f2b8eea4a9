//! Signal actions: sigaction(2), and what fork(2) and execve(2) do to them.

use std::sync::Arc;

use abi::Result;
use abi::errno::EINVAL;
use abi::signal::{
    NSIG, SA_EXPOSE_TAGBITS, SA_NOCLDSTOP, SA_NOCLDWAIT, SA_NODEFER, SA_ONSTACK, SA_RESETHAND, SA_RESTART,
    SA_RESTORER, SA_SIGINFO, SIG_DFL, SIG_IGN, SigAction, SigSet,
};

use super::{Signal, recalc};
use crate::sync::{SpinLock, rank};
use crate::task::{Process, Task, current};
use crate::uaccess::UserPtr;

/// Flags that are kept; others read back as zero, which is how programs find out.
const SA_KNOWN: u64 = SA_NOCLDSTOP
    | SA_NOCLDWAIT
    | SA_SIGINFO
    | SA_EXPOSE_TAGBITS
    | SA_RESTORER
    | SA_ONSTACK
    | SA_RESTART
    | SA_NODEFER
    | SA_RESETHAND;

/// Signal actions of a process.
pub struct SigHand {
    /// By signal number less one.
    pub actions: SpinLock<[SigAction; NSIG as usize]>,
}

impl Default for SigHand {
    fn default() -> Self {
        SigHand::new()
    }
}

impl SigHand {
    /// All actions at their default.
    pub fn new() -> SigHand {
        SigHand { actions: SpinLock::new(rank::SIGHAND, [SigAction::default(); NSIG as usize]) }
    }

    /// A copy for fork(2).
    pub fn copy(&self) -> Arc<SigHand> {
        Arc::new(SigHand { actions: SpinLock::new(rank::SIGHAND, *self.actions.lock()) })
    }

    /// A copy in which every handler is back at the default; ignored signals stay ignored (execve(2),
    /// CLONE_CLEAR_SIGHAND).
    pub fn copy_without_handlers(&self) -> Arc<SigHand> {
        let copy = self.copy();
        copy.remove_handlers();
        copy
    }

    /// The action of a valid signal.
    pub fn action(&self, sig: u32) -> SigAction {
        self.actions.lock()[index(sig)]
    }

    fn remove_handlers(&self) {
        for action in self.actions.lock().iter_mut() {
            let handler = if action.handler == SIG_IGN { SIG_IGN } else { SIG_DFL };
            *action = SigAction { handler, ..SigAction::default() };
        }
    }
}

/// Where a signal's action is: in bounds for any number.
pub(super) fn index(sig: u32) -> usize {
    (sig.clamp(1, NSIG) - 1) as usize
}

/// Whether `handler` drops `sig`.
pub(super) fn ignores(handler: u64, sig: u32) -> bool {
    handler == SIG_IGN || (handler == SIG_DFL && SigSet::DEFAULT_IGNORE.contains(sig))
}

/// execve(2): handlers go back to the default, the alternate stack goes. Actions that other processes share
/// (CLONE_SIGHAND) are copied first. The caller is the only thread of its process.
pub fn exec_reset(task: &Task) {
    let process = &task.process;
    let fresh = process.sighand().copy_without_handlers();
    let group = process.stop.lock();
    let old = core::mem::replace(&mut *process.sighand.lock(), fresh);
    {
        let mut signal = task.signal.lock();
        signal.altstack = Default::default();
        signal.state.restart_block = None;
    }
    drop(group);
    drop(old);
}

/// rt_sigaction(2)
pub fn rt_sigaction(
    sig: Signal,
    act: UserPtr<SigAction>,
    oldact: UserPtr<SigAction>,
    sigsetsize: usize,
) -> Result<()> {
    if sigsetsize != size_of::<SigSet>() {
        return Err(EINVAL);
    }
    let new = if act.is_null() { None } else { Some(act.read()?) };
    let sig = sig.or_zero()?;
    if sig == 0 || (new.is_some() && SigSet::UNBLOCKABLE.contains(sig)) {
        return Err(EINVAL);
    }
    let task = current();
    let old = match new {
        None => task.process.sighand().action(sig),
        Some(new) => set_action(&task.process, sig, new),
    };
    oldact.write_if(&old)
}

fn set_action(process: &Process, sig: u32, mut new: SigAction) -> SigAction {
    new.flags &= SA_KNOWN;
    new.mask = new.mask.difference(SigSet::UNBLOCKABLE);
    let threads = process.threads.lock();
    let group = process.stop.lock();
    let old = core::mem::replace(&mut process.sighand().actions.lock()[index(sig)], new);
    if ignores(new.handler, sig) {
        // POSIX: what is pending is discarded, blocked or not.
        let which = SigSet::of(&[sig]);
        process.pending.lock().flush(which);
        for thread in threads.iter() {
            thread.signal.lock().pending.flush(which);
        }
        recalc(&current(), &group);
    }
    old
}
