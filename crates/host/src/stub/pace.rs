//! How often a guest thread calls: whether it is worth a core of its own to wait for it (`cpu.rs`).

/// A thread that computes longer than this need not be waited for on another core, ns; and one that calls more often than
/// that should be.
const SLOW_NS: u64 = 100_000;
const FAST_NS: u64 = 30_000;
/// A single stretch counts no more than this, ns: two in a row make a thread slow, one does not.
const STRETCH_NS: u64 = 600_000;

/// How long a guest thread computes between its calls, as a mean that follows it.
#[derive(Clone, Copy, Default)]
pub(super) struct Pace {
    ns: u64,
    slow: bool,
}

impl Pace {
    /// It has computed for so long, ns.
    pub(super) fn note(&mut self, ns: u64) {
        self.ns = self.ns - self.ns / 8 + ns.min(STRETCH_NS) / 8;
        self.slow = self.ns > if self.slow { FAST_NS } else { SLOW_NS };
    }

    /// Whether it computes for long.
    pub(super) fn slow(self) -> bool {
        self.slow
    }
}
