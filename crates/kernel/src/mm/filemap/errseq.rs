//! Errors of writeback, told once to each open file (fsync(2), close of O_SYNC writes, msync(2), syncfs(2)).

use std::sync::atomic::{AtomicU64, Ordering};

use abi::{Errno, Result};

const ERRNO_BITS: u32 = 16;
/// Somebody has sampled the current value: the next error must look different.
const SEEN: u64 = 1 << (ERRNO_BITS - 1);
const ERRNO_MASK: u64 = SEEN - 1;

/// The last error and how many there were.
#[derive(Default)]
pub struct ErrSeq(AtomicU64);

/// What an open file has seen of an [`ErrSeq`].
#[derive(Default)]
pub struct Since(AtomicU64);

impl ErrSeq {
    /// Notes an error.
    pub fn set(&self, errno: Errno) {
        let new = |old: u64| {
            let count = if old & SEEN != 0 { (old >> ERRNO_BITS) + 1 } else { old >> ERRNO_BITS };
            Some(count << ERRNO_BITS | u64::from(errno.raw().unsigned_abs()) & ERRNO_MASK)
        };
        let _ = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, new);
    }

    /// Where a file that is opened now begins: an error that nobody was told of yet is still to come for it.
    pub fn sample(&self) -> Since {
        let now = self.0.load(Ordering::SeqCst);
        Since(AtomicU64::new(if now & SEEN != 0 || now == 0 { now } else { 0 }))
    }

    /// The error that came since, once.
    pub fn check(&self, since: &Since) -> Result<()> {
        let now = self.0.load(Ordering::SeqCst);
        if now == since.0.load(Ordering::SeqCst) {
            return Ok(());
        }
        let seen = now | SEEN;
        let _ = self.0.compare_exchange(now, seen, Ordering::SeqCst, Ordering::SeqCst);
        if since.0.swap(seen, Ordering::SeqCst) == seen {
            return Ok(());
        }
        match (now & ERRNO_MASK) as i32 {
            0 => Ok(()),
            raw => Err(Errno::from_raw(raw)),
        }
    }
}

#[cfg(test)]
mod tests {
    use abi::errno::{EIO, ENOSPC};

    use super::*;

    #[test]
    fn every_open_file_learns_an_error_once() {
        let errors = ErrSeq::default();
        let (a, b) = (errors.sample(), errors.sample());
        assert_eq!(errors.check(&a), Ok(()));
        errors.set(EIO);
        assert_eq!(errors.check(&a), Err(EIO));
        assert_eq!(errors.check(&a), Ok(()));
        assert_eq!(errors.check(&b), Err(EIO));
        assert_eq!(errors.check(&b), Ok(()));
        // Who comes after it was told has nothing to do with it; who comes before is told.
        assert_eq!(errors.check(&errors.sample()), Ok(()));
        errors.set(ENOSPC);
        assert_eq!(errors.check(&errors.sample()), Err(ENOSPC));
        assert_eq!(errors.check(&a), Err(ENOSPC));
        // The same error again is another one.
        errors.set(ENOSPC);
        assert_eq!(errors.check(&a), Err(ENOSPC));
    }
}
