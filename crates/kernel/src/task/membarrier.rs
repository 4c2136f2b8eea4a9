//! membarrier(2).
//!
//! A thread that leaves its guest program and comes back has passed a full barrier on both sides. So the call makes
//! every thread that it concerns and that runs at this moment do so, and waits until each has. A thread that is within a
//! restartable sequence can be made to begin it anew (`rseq.rs`).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use abi::Result;
use abi::errno::{EINVAL, EPERM};
use abi::sched::*;

use super::{Task, current, pid};
use crate::sched;

const PRIVATE: [(u32, u32); 3] = [
    (MEMBARRIER_CMD_PRIVATE_EXPEDITED, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED),
    (MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE),
    (MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ),
];

/// membarrier(2)
pub fn membarrier(command: u32, flags: u32, cpu: i32) -> Result<u64> {
    let restart = command == MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ;
    let one_cpu = restart && flags == MEMBARRIER_CMD_FLAG_CPU;
    if flags != 0 && !one_cpu {
        return Err(EINVAL);
    }
    let task = current();
    let registered = &task.process.membarrier;
    let all = PRIVATE.iter().fold(0, |all, (run, register)| all | run | register);
    let all = all
        | MEMBARRIER_CMD_GLOBAL
        | MEMBARRIER_CMD_GLOBAL_EXPEDITED
        | MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED
        | MEMBARRIER_CMD_GET_REGISTRATIONS;
    match command {
        MEMBARRIER_CMD_QUERY => return Ok(u64::from(all)),
        MEMBARRIER_CMD_GET_REGISTRATIONS => return Ok(u64::from(registered.load(Ordering::SeqCst))),
        MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED => {
            registered.fetch_or(command, Ordering::SeqCst);
        }
        MEMBARRIER_CMD_GLOBAL => barrier(&others(|_| true)),
        MEMBARRIER_CMD_GLOBAL_EXPEDITED => barrier(&others(|t| {
            let wants = MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED;
            t.process.membarrier.load(Ordering::SeqCst) & wants != 0
        })),
        _ => {
            if PRIVATE.iter().any(|(_, register)| *register == command) {
                registered.fetch_or(command, Ordering::SeqCst);
                return Ok(0);
            }
            let (_, register) = PRIVATE.iter().find(|(run, _)| *run == command).ok_or(EINVAL)?;
            if registered.load(Ordering::SeqCst) & register == 0 {
                return Err(EPERM);
            }
            let mm = task.mm()?;
            let there =
                |t: &Task| !one_cpu || t.sched.last_cpu.load(Ordering::SeqCst) as i64 == i64::from(cpu);
            let tasks = others(|t| t.runs_in(&mm) && there(t));
            if restart {
                tasks.iter().for_each(|t| t.rseq.restart());
            }
            barrier(&tasks);
        }
    }
    Ok(0)
}

/// Threads that run at this moment, the caller's own apart.
fn others(mut concerned: impl FnMut(&Task) -> bool) -> Vec<Arc<Task>> {
    let processes: Vec<_> = pid::tasklist().processes().cloned().collect();
    let threads = processes.iter().flat_map(|p| p.threads());
    let me = current();
    threads.filter(|t| !Arc::ptr_eq(t, &me) && t.sched.on_cpu() && concerned(t)).collect()
}

fn barrier(tasks: &[Arc<Task>]) {
    let stretches: Vec<_> = tasks.iter().map(|t| t.stretch_ended()).collect();
    for (task, before) in tasks.iter().zip(stretches) {
        // Out of its guest program, or out of the stretch that it was in.
        while task.stretch_ended() == before && task.sched.on_cpu() && task.user.try_lock().is_none() {
            task.notify_work();
            sched::yield_now();
        }
    }
}
