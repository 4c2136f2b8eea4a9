//! Dead address spaces whose host processes have still to end.
//!
//! To end a process costs its core tens of microseconds, and the guest that waits for its death wants that core. So with
//! two cores it waits here, asleep, until the kernel's own core has nothing better to do: while a stub forks, before a
//! vCPU thread sleeps, or when too many wait. `WAITING` is a leaf lock.

use super::space::AddressSpace;
use super::window::Mapping;
use crate::place;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// How many wait at most.
const MOST: usize = 8;

/// A process without guest threads, and the window that its thread sleeps on.
type Corpse = (Arc<AddressSpace>, Arc<Mapping>);

static WAITING: Mutex<VecDeque<Corpse>> = Mutex::new(VecDeque::new());
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// Ends a process some time soon. `window` is that of its last thread.
pub(super) fn later(space: Arc<AddressSpace>, window: Arc<Mapping>) {
    window.give_way(false);
    let mut waiting = WAITING.lock();
    waiting.push_back((space, window));
    let first = if waiting.len() > MOST { waiting.pop_front() } else { None };
    COUNT.store(waiting.len(), Relaxed);
    drop(waiting);
    if let Some(corpse) = first {
        end(corpse);
    }
}

/// Ends one that waits, on the calling thread's core; false if there is none.
pub(crate) fn end_one() -> bool {
    if COUNT.load(Relaxed) == 0 {
        return false;
    }
    let mut waiting = WAITING.lock();
    let first = waiting.pop_front();
    COUNT.store(waiting.len(), Relaxed);
    drop(waiting);
    first.map(end).is_some()
}

fn end((space, window): Corpse) {
    space.process.with_pid(place::pin_here);
    space.kill();
    drop((space, window));
}
