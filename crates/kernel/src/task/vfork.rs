//! [`VforkDone`]: how a vfork(2) parent waits for its child.

use std::sync::atomic::{AtomicBool, Ordering};

use abi::Result;

use crate::sync::{Interruptible, Sleep, WaitQueue, wait_event};

/// What a vfork(2) parent waits for: the child has left its address space.
#[derive(Default)]
pub struct VforkDone {
    done: AtomicBool,
    queue: WaitQueue,
}

impl VforkDone {
    /// The child has called execve or exited.
    pub fn complete(&self) {
        self.done.store(true, Ordering::SeqCst);
        self.queue.wake_all();
    }

    /// Waits for that; a fatal signal ends the wait.
    pub fn wait(&self) -> Result<()> {
        let sleep = Sleep { interruptible: Interruptible::Killable, deadline: None };
        wait_event(&self.queue, sleep, || self.done.load(Ordering::SeqCst).then_some(()))
    }
}
