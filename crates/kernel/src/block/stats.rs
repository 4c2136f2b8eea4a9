//! What a disk has done: /proc/diskstats and /sys/block/*/stat.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::SECTOR;

/// Kinds of requests that are counted apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Reads.
    Read,
    /// Writes, and zeros written by range.
    Write,
    /// Discards.
    Discard,
    /// Flushes.
    Flush,
}

#[derive(Default)]
struct Counter {
    requests: AtomicU64,
    sectors: AtomicU64,
    /// ns
    time: AtomicU64,
}

/// Counters of a disk or a partition.
#[derive(Default)]
pub struct Stats {
    kinds: [Counter; 4],
    in_flight: [AtomicU64; 2],
    /// ns with something in flight, and up to when that is counted.
    busy: AtomicU64,
    stamp: AtomicU64,
}

/// A request that is counted as in flight until it is dropped.
pub struct Flight {
    stats: [Option<Arc<Stats>>; 2],
    kind: Kind,
    bytes: u64,
    started: u64,
}

impl Flight {
    /// A request begins; `stats` are the disk's and, for a partition, its own.
    pub fn start(stats: [Option<Arc<Stats>>; 2], kind: Kind, bytes: u64) -> Flight {
        let started = host::clock::monotonic();
        for stats in stats.iter().flatten() {
            stats.tick(started);
            stats.in_flight[usize::from(kind != Kind::Read)].fetch_add(1, Relaxed);
        }
        Flight { stats, kind, bytes, started }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let now = host::clock::monotonic();
        for stats in self.stats.iter().flatten() {
            stats.tick(now);
            stats.in_flight[usize::from(self.kind != Kind::Read)].fetch_sub(1, Relaxed);
            let counter = &stats.kinds[self.kind as usize];
            counter.requests.fetch_add(1, Relaxed);
            counter.sectors.fetch_add(self.bytes / SECTOR, Relaxed);
            counter.time.fetch_add(now.saturating_sub(self.started), Relaxed);
        }
    }
}

impl Stats {
    fn tick(&self, now: u64) {
        let since = self.stamp.swap(now, Relaxed);
        if self.in_flight().iter().sum::<u64>() > 0 {
            self.busy.fetch_add(now.saturating_sub(since), Relaxed);
        }
    }

    /// Reads and writes in flight.
    pub fn in_flight(&self) -> [u64; 2] {
        [self.in_flight[0].load(Relaxed), self.in_flight[1].load(Relaxed)]
    }

    /// The 17 numbers of /sys/block/*/stat.
    pub fn numbers(&self) -> [u64; 17] {
        let ms = |ns: u64| ns / 1_000_000;
        let of = |kind: Kind| {
            let counter = &self.kinds[kind as usize];
            [counter.requests.load(Relaxed), 0, counter.sectors.load(Relaxed), ms(counter.time.load(Relaxed))]
        };
        let (read, write, discard, flush) =
            (of(Kind::Read), of(Kind::Write), of(Kind::Discard), of(Kind::Flush));
        let weighted = read[3] + write[3] + discard[3] + flush[3];
        let in_flight = self.in_flight().iter().sum();
        let busy = ms(self.busy.load(Relaxed));
        [
            read[0], read[1], read[2], read[3], write[0], write[1], write[2], write[3], in_flight, busy,
            weighted, discard[0], discard[1], discard[2], discard[3], flush[0], flush[3],
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_when_they_end() {
        let stats = Arc::new(Stats::default());
        let flight = Flight::start([Some(stats.clone()), None], Kind::Write, 4096);
        assert_eq!((stats.in_flight(), stats.numbers()[4]), ([0, 1], 0));
        drop(flight);
        let numbers = stats.numbers();
        assert_eq!((numbers[4], numbers[6], numbers[8], numbers[0]), (1, 8, 0, 0));
        drop(Flight::start([Some(stats.clone()), None], Kind::Flush, 0));
        assert_eq!(stats.numbers()[15], 1);
    }
}
