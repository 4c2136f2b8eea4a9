//! Memory of the kernel that guests fill with data on its way: pipes, socket buffers, messages, queued events.
//!
//! Each kind has Linux's own limits, by user, queue or buffer; there this is the memory cgroup's work: whatever the
//! number of objects, together they take no more than a quarter of the machine's memory.

use std::sync::atomic::{AtomicU64, Ordering};

use abi::Result;
use abi::errno::ENOMEM;

use super::overcommit;

static USED: AtomicU64 = AtomicU64::new(0);

/// Bytes in use.
pub fn used() -> u64 {
    USED.load(Ordering::Relaxed)
}

/// Whether nothing more should be taken in.
pub fn is_exhausted() -> bool {
    is_beyond(used(), overcommit::total())
}

fn is_beyond(used: u64, total: u64) -> bool {
    used >= total / 4
}

/// Bytes that count until it is dropped.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Kmem(u64);

impl Kmem {
    /// Counts `bytes` more. ENOMEM at the limit.
    pub fn charge(bytes: usize) -> Result<Kmem> {
        if is_exhausted() {
            return Err(ENOMEM);
        }
        let bytes = bytes as u64;
        USED.fetch_add(bytes, Ordering::Relaxed);
        Ok(Kmem(bytes))
    }

    /// The same for what outlives the process that made it, messages in queues: at half of the limit there is no more,
    /// so that what a dead program has left behind does not keep others from their pipes.
    pub fn charge_lasting(bytes: usize) -> Result<Kmem> {
        if used() >= overcommit::total() / 8 {
            return Err(ENOMEM);
        }
        Kmem::charge(bytes)
    }

    /// Counts `bytes` instead, whatever the limit.
    pub fn set(&mut self, bytes: usize) {
        let bytes = bytes as u64;
        if bytes > self.0 {
            USED.fetch_add(bytes - self.0, Ordering::Relaxed);
        } else if bytes < self.0 {
            USED.fetch_sub(self.0 - bytes, Ordering::Relaxed);
        }
        self.0 = bytes;
    }
}

impl Drop for Kmem {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_of_the_memory() {
        assert!(!is_beyond(255, 1024));
        assert!(is_beyond(256, 1024));
    }

    #[test]
    fn counts_until_dropped() {
        // More than all other tests together take.
        const MANY: u64 = 100 << 20;
        let mut memory = Kmem::charge(1).unwrap();
        memory.set(MANY as usize);
        assert!(used() >= MANY);
        memory.set(1);
        assert!(used() < MANY);
        drop(memory);
        assert!(used() < MANY);
    }
}
