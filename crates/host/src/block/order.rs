//! The order of a disk's requests: a flush begins when every write submitted before it is done.
//!
//! Writes are counted by group; a flush closes the group and waits for it and for all groups before. Writes that come
//! after it don't wait, and reads are not counted at all.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Op, Request};

/// Writes in flight between two flushes, and the flush that waits for them.
#[derive(Default)]
struct Group {
    writes: usize,
    flush: Option<Request>,
}

struct Groups {
    /// Number of the first group.
    first: u64,
    /// The last one is open: writes join it.
    groups: VecDeque<Group>,
}

/// Puts requests in order for whoever carries them out.
pub(super) struct Order {
    start: Box<dyn Fn(Request) + Send + Sync>,
    groups: Mutex<Groups>,
}

impl Order {
    pub(super) fn new(start: Box<dyn Fn(Request) + Send + Sync>) -> Order {
        let groups = VecDeque::from([Group::default()]);
        Order { start, groups: Mutex::new(Groups { first: 0, groups }) }
    }

    /// Whether a flush would have something to wait for. Writes that come later don't count.
    pub(super) fn has_writes_under_way(&self) -> bool {
        let groups = self.groups.lock();
        groups.groups.len() > 1 || groups.groups.iter().any(|group| group.writes > 0)
    }

    pub(super) fn submit(self: &Arc<Self>, mut request: Request) {
        if request.op == Op::Flush {
            let ready = {
                let mut groups = self.groups.lock();
                if let Some(open) = groups.groups.back_mut() {
                    open.flush = Some(request);
                }
                groups.groups.push_back(Group::default());
                groups.take_ready()
            };
            return ready.into_iter().for_each(&self.start);
        }
        if request.writes() {
            let number = self.groups.lock().join();
            let order = self.clone();
            let done = request.done;
            request.done = Box::new(move |outcome, data| {
                // The writer first: it may want to add to what the flush makes durable.
                done(outcome, data);
                let ready = {
                    let mut groups = order.groups.lock();
                    groups.leave(number);
                    groups.take_ready()
                };
                ready.into_iter().for_each(&order.start);
            });
        }
        (self.start)(request);
    }
}

impl Groups {
    /// A write begins: the number of its group.
    fn join(&mut self) -> u64 {
        if let Some(open) = self.groups.back_mut() {
            open.writes += 1;
        }
        self.first + self.groups.len() as u64 - 1
    }

    fn leave(&mut self, number: u64) {
        let group = usize::try_from(number - self.first).ok().and_then(|at| self.groups.get_mut(at));
        if let Some(group) = group {
            group.writes -= 1;
        }
    }

    /// The flushes that have nothing left to wait for.
    fn take_ready(&mut self) -> Vec<Request> {
        let mut ready = Vec::new();
        while let Some(group) = self.groups.front_mut() {
            if group.writes > 0 || group.flush.is_none() {
                break;
            }
            ready.extend(group.flush.take());
            self.groups.pop_front();
            self.first += 1;
        }
        ready
    }
}
