//! Load averages, as in /proc/loadavg and sysinfo(2).
//!
//! Linux takes a sample every five seconds. Here no timer runs in an idle machine: a vCPU that does something takes the
//! samples that are due, and those that fell into idle time count nobody.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::sync::{SpinLock, rank};

/// Between samples, ns.
const PERIOD: u64 = 5_000_000_000;
/// One, in the fixed-point numbers that sysinfo(2) shows.
const ONE: u64 = 1 << abi::resource::SI_LOAD_SHIFT;
/// `ONE / exp(5 s / 1, 5, 15 min)`.
const DECAY: [u64; 3] = [60_296, 64_453, 65_173];

static DUE: AtomicU64 = AtomicU64::new(0);
static LOADS: SpinLock<[u64; 3]> = SpinLock::new(rank::LEAF, [0; 3]);

/// Takes the samples that are due at `now` (host monotonic ns): `active` tasks run or wait for a vCPU.
pub(super) fn tick(now: u64, active: impl FnOnce() -> u64) {
    let due = DUE.load(Ordering::Relaxed);
    if now < due || DUE.compare_exchange(due, now + PERIOD, Ordering::Relaxed, Ordering::Relaxed).is_err() {
        return;
    }
    let missed = if due == 0 { 0 } else { (now - due) / PERIOD };
    let mut loads = LOADS.lock();
    // After an hour nothing is left of any.
    for _ in 0..missed.min(720) {
        *loads = sample(*loads, 0);
    }
    *loads = sample(*loads, active());
}

fn sample(loads: [u64; 3], active: u64) -> [u64; 3] {
    core::array::from_fn(|i| (loads[i] * DECAY[i] + active * ONE * (ONE - DECAY[i])) / ONE)
}

/// Averages over 1, 5 and 15 minutes, times `1 << SI_LOAD_SHIFT`.
pub fn loads() -> [u64; 3] {
    *LOADS.lock()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn averages_approach_the_load_and_decay() {
        let mut loads = [0; 3];
        for _ in 0..12 {
            loads = sample(loads, 2);
        }
        let of_two = |load: u64| load as f64 / ONE as f64 / 2.0;
        assert!((of_two(loads[0]) - 0.632).abs() < 0.01);
        assert!((of_two(loads[2]) - 0.064).abs() < 0.01);
        for _ in 0..720 {
            loads = sample(loads, 0);
        }
        assert_eq!(loads[0], 0);
    }
}
