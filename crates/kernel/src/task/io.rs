//! How much a task reads and writes: /proc/PID/io.

use std::sync::atomic::{AtomicU64, Ordering};

/// A direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Io {
    /// read(2) and its relatives.
    Read,
    /// write(2) and its relatives.
    Write,
}

/// Bytes moved and calls made, reads and writes.
#[derive(Default)]
pub struct IoCount {
    bytes: [AtomicU64; 2],
    calls: [AtomicU64; 2],
}

impl IoCount {
    /// One call that moved `bytes`.
    pub fn add(&self, io: Io, bytes: usize) {
        self.bytes[io as usize].fetch_add(bytes as u64, Ordering::Relaxed);
        self.calls[io as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// rchar, wchar, syscr, syscw.
    pub fn get(&self) -> [u64; 4] {
        let [r, w] = &self.bytes;
        let [rc, wc] = &self.calls;
        [r, w, rc, wc].map(|n| n.load(Ordering::Relaxed))
    }
}
