//! Where a vCPU thread sleeps.

use std::sync::Arc;

/// A vCPU thread's sleeping place. One for each vCPU thread.
pub struct Cpu {
    index: usize,
}

impl Cpu {
    /// Makes the calling thread's place; `index` is the guest CPU number.
    pub fn new(index: usize) -> Arc<Cpu> {
        Arc::new(Cpu { index })
    }

    /// The guest CPU number.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Wakes the owner, or makes its next sleep return at once. Any thread; cheap while the owner runs.
    pub fn kick(&self) {}

    /// Sleeps until [`kick`](Cpu::kick) or the monotonic `deadline` in ns. The owner's thread only.
    pub fn idle(&self, deadline: Option<u64>) {
        let _ = deadline;
    }
}

/// Host cores that this process may run on.
pub fn usable_cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
