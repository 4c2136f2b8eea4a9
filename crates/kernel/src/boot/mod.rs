//! Bringing the machine up and down.

/// The first process has ended, with that wait status: the machine stops.
pub fn init_exited(status: i32) {
    crate::pr_emerg!("init exited with wait status {status:#x}");
    crate::sched::stop();
}
