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

fn limit() -> u64 {
    overcommit::total() / 4
}

/// Whether nothing more should be taken in.
pub fn is_exhausted() -> bool {
    used() >= limit()
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
    fn counts_until_dropped_and_refuses_beyond_the_limit() {
        // Other tests' data is small beside it.
        let most = limit() as usize;
        let mut all = Kmem::charge(most).unwrap();
        assert!(is_exhausted());
        assert_eq!(Kmem::charge(1), Err(ENOMEM));
        all.set(most / 2);
        assert!(Kmem::charge(1).is_ok());
        drop(all);
        assert!(used() < limit() / 2);
    }
}
