//! The guest's scheduler: vCPU threads run tasks, which are fibers.
//!
//! - `vcpu.rs`: the loop of a vCPU thread, idling, kicks.
//! - `runqueue.rs`: who runs next (nice weights, real-time classes).
//! - `timer.rs`: timers, held by the vCPU that armed them.
//! - `calls.rs`, `priority.rs`: the syscalls. `loadavg.rs`: load averages.
//! - `user.rs`: what a vCPU does while a guest program runs on its behalf (slices, timers, handing queued work on).
//!
//! A task that wakes another puts it on its own vCPU's queue: mostly the waker is about to sleep, and waking an idle
//! host core costs more than the wait. A vCPU that stays in a guest program with others queued calls an idle vCPU to
//! steal after [`STEAL_DELAY`], or [`CROWDED_STEAL_DELAY`] where host cores are few.
//!
//! Locks: TASK_SCHED (state of one task), then RUN_QUEUE; TIMER (one vCPU's timers).

pub mod calls;
mod loadavg;
pub mod priority;
mod runqueue;
mod timer;
mod user;
mod vcpu;

pub use loadavg::loads;
pub use runqueue::{Policy, Sched, SchedAttr};
pub use timer::Timer;
pub use user::{cond_resched, run_user};
pub use vcpu::{
    CpuTimes, Vcpu, boost, current_vcpu, guest_so_far, may_linger, spawn_kernel_task, start, stop, vcpus,
};

use crate::sync;
use crate::task::{Task, TaskState, current, with_current};

/// A guest program runs this long before others of its class get their turn. ns.
pub const SLICE: u64 = 4_000_000;
/// How long queued work waits for a busy vCPU before an idle one is called. ns.
pub const STEAL_DELAY: u64 = 50_000;
/// The same where one busy vCPU more costs those that are busy their second host cores, and system calls become slow:
/// most work that is queued, such as the parent of a program that has just begun, can as well wait for the next of them. ns.
pub const CROWDED_STEAL_DELAY: u64 = 300_000;

/// Gives up the vCPU. A task whose state is Running stays runnable (yield); any other sleeps until it is woken.
pub fn schedule() {
    sync::assert_no_spinlock_held();
    // Whoever runs meanwhile may change it.
    with_current(Task::forget_argument);
    host::fiber::suspend();
}

/// sched_yield(2): lets equals run first.
pub fn yield_now() {
    current().set_state(TaskState::Running);
    current().sched.skip_turn();
    schedule();
}
