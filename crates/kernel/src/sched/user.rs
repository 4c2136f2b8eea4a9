//! Running guest code: the vCPU waits for the stub, and meanwhile minds slices, timers and queued work.

use std::sync::atomic::Ordering;

use abi::Result;
use abi::errno::EINTR;
use host::stub::{Event, Wait};

use super::{CROWDED_STEAL_DELAY, SLICE, STEAL_DELAY, schedule, vcpu};
use crate::mm::{self, oom};
use crate::task::{Task, TaskState, current, with_current};

/// Resumes the guest program of `task`, the current one, until it needs the kernel. Errors of the guest arrive as
/// events; [`Event::Interrupted`] means that the task has something to look at (signal, exit) or was preempted.
pub fn run_user(task: &Task) -> Event {
    let vcpu = vcpu::current_or_first();
    let started = host::clock::monotonic();
    oom::pressure(started);
    let slice_end = task.sched.run_start.load(Ordering::Relaxed) + SLICE;
    let steal_at = started + if host::cpu::is_crowded() { CROWDED_STEAL_DELAY } else { STEAL_DELAY };
    // Fixed at the start: what this stretch uses is charged only at its end.
    let cpu_limit = task.cpu_time_limit(started);
    // The guest is stopped for either, and memory is looked at before it goes on.
    let stop_at = cpu_limit.min(oom::next_check());
    let mut preempted = false;
    let ended;
    let event = {
        let mut user = task.user.lock();
        let Some(stub) = user.as_mut() else { return Event::Dead };
        // Asked for by a barrier since the task looked: from here on that finds the guest running.
        if task.rseq.is_due() {
            return Event::Interrupted;
        }
        let queued = || vcpu.queued.load(Ordering::SeqCst) > 0;
        let plan = |now: u64| -> Wait {
            let mut until = u64::MAX;
            if queued() {
                until = if now < steal_at { steal_at } else { slice_end };
            }
            until = until.min(vcpu.timers.earliest().unwrap_or(u64::MAX)).min(stop_at);
            if until == u64::MAX { Wait::Forever } else { Wait::Until(until) }
        };
        let mut tick = || -> Wait {
            let now = host::clock::monotonic();
            vcpu.timers.run_expired(now);
            if task.has_work() || vcpu::is_stopping() {
                if queued() && now >= steal_at {
                    vcpu::call_idle();
                }
                return Wait::Interrupt;
            }
            if queued() {
                if now >= slice_end || cpu_limit <= now {
                    if vcpu.should_preempt(task) {
                        preempted = true;
                        return Wait::Interrupt;
                    }
                } else if now >= steal_at {
                    vcpu::call_idle();
                }
            }
            if stop_at <= now {
                return Wait::Interrupt;
            }
            match plan(now) {
                // Still queued after the slice: look again a slice later.
                Wait::Until(at) if at <= now => Wait::Until(now + SLICE),
                wait => wait,
            }
        };
        mm::send_late(task, stub);
        if stub.answer_from(&task.answers) {
            task.publish();
        }
        task.answers.set_cpu(vcpu.id as u32);
        vcpu.enter_user(started);
        let event = stub.run(&vcpu.cpu, plan(started), &mut tick);
        if let Event::Syscall { .. } = event {
            let (addr, len) = stub.argument();
            task.argument.0.store(addr, Ordering::Relaxed);
            task.argument.1.store(len as u64, Ordering::Relaxed);
        }
        ended = host::clock::monotonic();
        stub.has_run(ended.saturating_sub(started));
        event
    };
    vcpu.leave_user(started, ended);
    task.account_user(started, ended);
    if preempted || vcpu::is_stopping() || (ended >= slice_end && vcpu.should_preempt(task)) {
        task.set_state(TaskState::Running);
        schedule();
    }
    event
}

/// For kernel code that may go on for long without sleeping, between two of its steps: lets timers expire and others run
/// when the slice is over, and the OOM killer look. EINTR when the task is to die. No lock but a mutex may be held.
pub fn cond_resched() -> Result<()> {
    let now = host::clock::monotonic();
    let (mut killed, mut over) = (false, false);
    with_current(|task| {
        killed = task.fatal_signal_pending();
        over = now >= task.sched.run_start.load(Ordering::Relaxed) + SLICE;
    });
    if over && let Some(vcpu) = vcpu::current_vcpu() {
        oom::pressure_in_call(now);
        vcpu.timers.run_expired(now);
        let task = current();
        if vcpu.should_preempt(&task) {
            task.set_state(TaskState::Running);
            schedule();
        }
    }
    if killed { Err(EINTR) } else { Ok(()) }
}
