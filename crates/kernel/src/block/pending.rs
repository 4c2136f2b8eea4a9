//! [`Pending`]: a request that has been started, and how a task waits for it.
//!
//! Lock: LEAF, over the outcome.

use std::sync::Arc;
use std::thread::Thread;

use abi::Result;

use super::stats::Flight;
use crate::sync::{Interruptible, Sleep, SpinLock, WaitQueue, rank, wait_event};

/// What came of a request, with its buffer.
pub type Outcome = (Result<()>, Vec<u8>);

/// A request that has been started. Dropping it doesn't end it.
pub struct Pending {
    state: State,
    /// Counts it as in flight.
    flight: Option<Flight>,
}

enum State {
    Ready(Outcome),
    Waiting(Arc<Shared>),
}

struct Shared {
    slot: SpinLock<Slot>,
    queue: WaitQueue,
}

#[derive(Default)]
struct Slot {
    outcome: Option<Outcome>,
    /// A waiter that is no task: boot and tests.
    thread: Option<Thread>,
}

/// Tells a [`Pending`] its outcome, from any thread.
pub struct Complete(Arc<Shared>);

impl Pending {
    /// A request that is over.
    pub fn ready(outcome: Result<()>, data: Vec<u8>) -> Pending {
        Pending { state: State::Ready((outcome, data)), flight: None }
    }

    /// A request that is over when the other half says so.
    pub fn new() -> (Pending, Complete) {
        let slot = SpinLock::new(rank::LEAF, Slot::default());
        let shared = Arc::new(Shared { slot, queue: WaitQueue::new() });
        (Pending { state: State::Waiting(shared.clone()), flight: None }, Complete(shared))
    }

    /// Counted as in flight until somebody has waited for it.
    pub(super) fn counted(mut self, flight: Flight) -> Pending {
        self.flight = (!self.is_ready()).then_some(flight);
        self
    }

    /// Whether there is nothing to wait for.
    pub fn is_ready(&self) -> bool {
        match &self.state {
            State::Ready(_) => true,
            State::Waiting(shared) => shared.slot.lock().outcome.is_some(),
        }
    }

    /// Sleeps until it is over; signals don't interrupt that.
    pub fn wait(self) -> Outcome {
        let _flight = self.flight;
        let shared = match self.state {
            State::Ready(outcome) => return outcome,
            State::Waiting(shared) => shared,
        };
        if !host::fiber::in_fiber() {
            return shared.wait_on_thread();
        }
        let sleep = Sleep { interruptible: Interruptible::No, deadline: None };
        loop {
            if let Ok(outcome) = wait_event(&shared.queue, sleep, || shared.slot.lock().outcome.take()) {
                return outcome;
            }
        }
    }
}

impl Shared {
    fn wait_on_thread(&self) -> Outcome {
        loop {
            {
                let mut slot = self.slot.lock();
                if let Some(outcome) = slot.outcome.take() {
                    return outcome;
                }
                slot.thread = Some(std::thread::current());
            }
            std::thread::park();
        }
    }
}

impl Complete {
    /// The request is over.
    pub fn complete(self, outcome: Result<()>, data: Vec<u8>) {
        let thread = {
            let mut slot = self.0.slot.lock();
            slot.outcome = Some((outcome, data));
            slot.thread.take()
        };
        if let Some(thread) = thread {
            thread.unpark();
        }
        self.0.queue.wake_all();
    }
}
