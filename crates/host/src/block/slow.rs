//! Calls on the caller's own thread that are left to others for a while, once one has kept the caller waiting.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::clock;

/// Until when they are. Host monotonic ns.
#[derive(Default)]
pub(super) struct Slow(AtomicU64);

impl Slow {
    /// Makes the call, unless such calls are left to others now. From what it gives and how long it took, ns, `pause` says
    /// for how long the next ones are: 0 if it was quick.
    pub(super) fn unless<R>(
        &self,
        call: impl FnOnce() -> R,
        pause: impl FnOnce(&R, u64) -> u64,
    ) -> Option<R> {
        let started = clock::monotonic();
        if started < self.0.load(Relaxed) {
            return None;
        }
        let outcome = call();
        let ended = clock::monotonic();
        let pause = pause(&outcome, ended.saturating_sub(started));
        if pause > 0 {
            self.0.store(ended.saturating_add(pause), Relaxed);
        }
        Some(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_slow_is_left_alone() {
        let slow = Slow::default();
        let quick = |_: &i32, _: u64| 0;
        assert_eq!(slow.unless(|| 1, quick), Some(1));
        assert_eq!(slow.unless(|| 2, |outcome, _| *outcome as u64 * 1_000_000_000_000), Some(2));
        assert_eq!(slow.unless(|| 3, quick), None);
    }
}
