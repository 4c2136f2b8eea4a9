//! Read-ahead: what a sequential reader of an image will ask for next is on its way while it takes in what it has.
//!
//! The host reads ahead by itself, but often no more than what is asked for at a time here. So once a large read has met
//! what isn't in the host's page cache, and the next one follows it, the host is told of a window beyond, and of
//! another when half of that is used up, as long as reads follow each other. It costs the host's memory only.
//!
//! Lock: a leaf.

use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};

use parking_lot::Mutex;

/// Bytes of a window.
const WINDOW: u64 = 2 << 20;
/// Smaller reads don't take part.
const LEAST: u64 = 64 << 10;

/// How an image was read lately.
#[derive(Default)]
pub(super) struct Ahead(Mutex<State>);

#[derive(Default)]
struct State {
    /// Where the last read ended.
    next: u64,
    /// Up to where the host was told; 0 if it wasn't.
    told: u64,
    /// The last reads, one after another, were of data that isn't in the host's page cache.
    missed: bool,
}

impl State {
    /// What the host is to be told after a read of `len` bytes, of which some were `missed`.
    fn step(&mut self, offset: u64, len: u64, missed: bool) -> Option<Range<u64>> {
        let (end, follows) = (offset.saturating_add(len), offset == self.next);
        let began = follows && self.missed && missed;
        let goes_on = follows && self.told > 0;
        self.next = end;
        self.missed = missed;
        if !began && !goes_on {
            self.told = 0;
            return None;
        }
        let start = self.told.max(end);
        if start - end > WINDOW / 2 {
            return None;
        }
        self.told = start.saturating_add(WINDOW);
        Some(start..self.told)
    }
}

impl Ahead {
    /// After a read on the caller's thread.
    pub(super) fn read(&self, file: BorrowedFd<'_>, offset: u64, len: u64, missed: bool) {
        if len < LEAST {
            return;
        }
        let Some(window) = self.0.lock().step(offset, len, missed) else { return };
        let (Ok(start), Ok(len)) = (i64::try_from(window.start), i64::try_from(window.end - window.start))
        else {
            return;
        };
        // SAFETY: the call takes no memory, and what it starts is the host's own affair.
        unsafe { libc::posix_fadvise(file.as_raw_fd(), start, len, libc::POSIX_FADV_WILLNEED) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIECE: u64 = 256 << 10;

    #[test]
    fn a_sequential_reader_has_a_window_ahead() {
        let mut state = State::default();
        let mut at = 10 * PIECE;
        assert_eq!(state.step(at, PIECE, true), None, "nothing is known yet");
        at += PIECE;
        let mut told = at + PIECE..at + PIECE + WINDOW;
        assert_eq!(state.step(at, PIECE, true), Some(told.clone()));
        // What was told of is there then.
        for _ in 0..40 {
            at += PIECE;
            if let Some(window) = state.step(at, PIECE, false) {
                assert_eq!(window.start, told.end);
                told = window;
            }
            let ahead = told.end - (at + PIECE);
            assert!((WINDOW / 2..=WINDOW * 2).contains(&ahead), "{ahead}");
        }
    }

    #[test]
    fn others_have_none() {
        let mut state = State::default();
        // In memory.
        assert!((0..20).all(|n| state.step(n * PIECE, PIECE, false).is_none()));
        // Here and there.
        assert!((0..20).all(|n| state.step(n * 7 % 20 * 3 * PIECE, PIECE, true).is_none()));
        // One that goes elsewhere begins anew.
        let mut state = State::default();
        state.step(0, PIECE, true);
        assert!(state.step(PIECE, PIECE, true).is_some());
        assert_eq!(state.step(100 * PIECE, PIECE, false), None);
        assert_eq!(state.step(101 * PIECE, PIECE, false), None);
    }
}
