//! Signals, signal(7).
//!
//! | concept | where |
//! |---|---|
//! | what waits to be delivered, RLIMIT_SIGPENDING | `pending.rs` ([`SigPending`], [`Queued`]) |
//! | sigaction(2), fork and execve | `action.rs` ([`SigHand`]) |
//! | sending: who is woken, what is dropped, who dies | `send.rs` |
//! | kill(2) and its relatives | `kill.rs` |
//! | masks and waiting: sigprocmask, sigsuspend, sigtimedwait | `mask.rs` |
//! | on the way to the guest: default actions, handlers | `deliver.rs` |
//! | the frame of a handler, rt_sigreturn(2), sigaltstack(2) | `frame.rs`, `fpu.rs`, `altstack.rs` |
//! | restart of interrupted syscalls | `restart.rs` |
//! | stop and continue | `jobctl.rs` ([`GroupStop`]) |
//! | signalfd(2) | `signalfd.rs` |
//!
//! Locks: a process's signal lock is `Process::stop` (rank SIGLOCK). Under it, one at a time: the actions (SIGHAND), the
//! pending set of the process and `Task::signal` of a thread (SIGNAL). `Process::threads` is taken before it. Wait
//! queues are woken after it, so a sender holds no lock that an epoll's wake-up may not take.

mod action;
mod altstack;
mod deliver;
mod fpu;
mod frame;
pub mod jobctl;
pub mod kill;
pub mod mask;
mod pending;
pub mod restart;
mod send;
pub mod signalfd;

use abi::Errno;
use abi::signal::SigSet;

use crate::syscall::Arg;
use crate::syscall::trace::Line;
use crate::task::Task;

pub use action::{SigHand, exec_reset, rt_sigaction};
pub use altstack::{SigAltStackState, sigaltstack};
pub use deliver::before_user;
pub use frame::rt_sigreturn;
pub use jobctl::GroupStop;
pub use kill::kill_group;
pub use mask::with_temp_mask;
pub(crate) use pending::Charge;
pub use pending::{Queued, SigPending, pending_of_user};
pub use restart::{restart_with, syscall_exit};
pub(crate) use send::recalc;
pub use send::{exit_signals, force, force_fault, send_group, send_process, send_task, zap_process};
pub(crate) use send::{queue_to_process, queue_to_task};

/// A signal number as a guest gives it: any word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signal(pub i32);

impl Signal {
    /// The signal, 0 included; EINVAL.
    pub fn or_zero(self) -> abi::Result<u32> {
        let sig = u32::try_from(self.0).map_err(|_| abi::errno::EINVAL)?;
        if sig <= abi::signal::NSIG { Ok(sig) } else { Err(abi::errno::EINVAL) }
    }
}

impl Arg for Signal {
    fn from_raw(raw: u64) -> Self {
        Signal(raw as i32)
    }
    fn show(raw: u64, line: &mut Line<'_>) {
        crate::syscall::trace::signal_name(raw, line);
    }
}

/// The last fault of a thread, for its signal frame.
#[derive(Clone, Copy, Debug, Default)]
pub struct LastFault {
    /// Exception number.
    pub trapno: u64,
    /// Its error code.
    pub error_code: u64,
    /// Address of the last page fault.
    pub cr2: u64,
}

/// A thread's signal state that only this module uses.
#[derive(Default)]
pub struct ThreadState {
    /// The mask that sigtimedwait(2) has narrowed for its wait: its signals aren't dropped as ignored.
    pub real_blocked: SigSet,
    /// The thread has to take part in the group stop that is under way.
    pub stop_pending: bool,
    /// A stop signal was taken and is not yet acted on; SIGCONT clears it.
    pub stop_dequeued: bool,
    /// exit(2) has begun: the thread takes no more signals of the process.
    pub exiting: bool,
    /// The restart errno of the syscall that is being left.
    pub restart: Option<Errno>,
    /// What restart_syscall(2) runs.
    pub restart_block: Option<restart::RestartBlock>,
    /// The last fault.
    pub fault: LastFault,
}

impl Task {
    /// Whether a signal that isn't blocked is pending: ends interruptible waits.
    pub fn signal_pending(&self) -> bool {
        self.sigpending.load(std::sync::atomic::Ordering::SeqCst) || self.fatal_signal_pending()
    }

    /// Whether the thread must die: the process does, or another thread calls execve.
    pub fn fatal_signal_pending(&self) -> bool {
        self.killed.load(std::sync::atomic::Ordering::SeqCst)
    }
}
