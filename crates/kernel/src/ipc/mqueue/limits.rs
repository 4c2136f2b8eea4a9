//! /proc/sys/fs/mqueue: bounds for those without CAP_SYS_RESOURCE.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Most messages of a queue, whoever makes it.
pub const HARD_MSGMAX: usize = 65_536;
/// Most bytes of a message, whoever makes the queue.
pub const HARD_MSGSIZEMAX: usize = 16 << 20;

/// A bound that root may change.
pub struct Limit {
    /// As in /proc/sys/fs/mqueue.
    pub name: &'static str,
    value: AtomicUsize,
    /// The least and the most that it may be set to.
    pub range: (usize, usize),
}

impl Limit {
    const fn new(name: &'static str, value: usize, range: (usize, usize)) -> Limit {
        Limit { name, value: AtomicUsize::new(value), range }
    }

    /// Its value.
    pub fn get(&self) -> usize {
        self.value.load(Ordering::Relaxed)
    }

    /// Sets it; the caller has checked the range.
    pub fn set(&self, value: usize) {
        self.value.store(value, Ordering::Relaxed);
    }
}

/// Queues in the machine.
pub static QUEUES_MAX: Limit = Limit::new("queues_max", 256, (0, i32::MAX as usize));
/// Messages of a queue.
pub static MSG_MAX: Limit = Limit::new("msg_max", 10, (1, HARD_MSGMAX));
/// Bytes of a message.
pub static MSGSIZE_MAX: Limit = Limit::new("msgsize_max", 8192, (128, HARD_MSGSIZEMAX));
/// Messages of a queue that is made without attributes.
pub static MSG_DEFAULT: Limit = Limit::new("msg_default", 10, (1, HARD_MSGMAX));
/// Bytes of a message of a queue that is made without attributes.
pub static MSGSIZE_DEFAULT: Limit = Limit::new("msgsize_default", 8192, (128, HARD_MSGSIZEMAX));

/// All of them.
pub static ALL: [&Limit; 5] = [&QUEUES_MAX, &MSG_MAX, &MSGSIZE_MAX, &MSG_DEFAULT, &MSGSIZE_DEFAULT];
