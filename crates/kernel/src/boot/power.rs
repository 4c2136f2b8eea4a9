//! The end of the machine: exit of the first program, reboot(2), panic.
//!
//! Lock: LEAF, over the outcome; the thread in [`wait`] sleeps on a host condition variable.

use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, OnceLock};

/// How a machine ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The command of `ruml run` ended with this exit code (128 + n for signal n).
    Exit(i32),
    /// Powered off or halted.
    PowerOff,
    /// To be booted again.
    Reboot,
    /// The kernel gave up.
    Panic,
}

static OUTCOME: Mutex<Option<Outcome>> = Mutex::new(None);
static ENDED: Condvar = Condvar::new();
static MEM: AtomicU64 = AtomicU64::new(0);
static PANIC_TIMEOUT: AtomicI32 = AtomicI32::new(0);
static CMDLINE: OnceLock<String> = OnceLock::new();

pub(super) fn set_machine(mem: u64, cmdline: &str, panic_timeout: i32) {
    MEM.store(mem, Ordering::Relaxed);
    crate::mm::overcommit::set_total(mem);
    PANIC_TIMEOUT.store(panic_timeout, Ordering::Relaxed);
    let _ = CMDLINE.set(cmdline.to_owned());
}

/// `mem=`, bytes.
pub fn memory_size() -> u64 {
    MEM.load(Ordering::Relaxed)
}

/// The command line that /proc/cmdline shows.
pub fn machine_cmdline() -> &'static str {
    CMDLINE.get().map_or("", String::as_str)
}

/// Ends the machine. The first reason stays. Doesn't stop the caller: its vCPU stops after the current task sleeps.
pub fn power_off(outcome: Outcome) {
    let mut slot = OUTCOME.lock().unwrap_or_else(|e| e.into_inner());
    slot.get_or_insert(outcome);
    ENDED.notify_all();
}

/// Waits for the end.
pub(super) fn wait() -> Outcome {
    let mut slot = OUTCOME.lock().unwrap_or_else(|e| e.into_inner());
    loop {
        if let Some(outcome) = *slot {
            return outcome;
        }
        slot = ENDED.wait(slot).unwrap_or_else(|e| e.into_inner());
    }
}

/// The first process has ended with this wait status: fatal, as in Linux.
pub fn init_exited(status: i32) {
    panic(&format!("Attempted to kill init! exitcode={status:#010x}"));
}

/// The kernel gives up: says why, then ends or reboots the machine as `panic=` says.
pub fn panic(reason: &str) {
    crate::pr_emerg!("Kernel panic - not syncing: {reason}");
    match PANIC_TIMEOUT.load(Ordering::Relaxed) {
        0 => power_off(Outcome::Panic),
        seconds if seconds < 0 => power_off(Outcome::Reboot),
        seconds => {
            crate::pr_emerg!("Rebooting in {seconds} seconds..");
            let at = host::clock::monotonic() + seconds as u64 * 1_000_000_000;
            // The machine has nothing else to do: the timer lives as long as it.
            std::mem::forget(crate::sched::Timer::start(at, || power_off(Outcome::Reboot)));
        }
    }
}
