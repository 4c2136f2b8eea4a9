//! Windows: blocks claimed ahead of files that grow, so that what comes next continues what is there even if others
//! allocate meanwhile. They count as free, and give way when space is tight.

use super::{Need, Shared, claim};
use crate::Result;
use crate::inode::Inode;
use parking_lot::Mutex;
use std::sync::{Arc, Weak};

/// Blocks claimed for a file that will go on growing.
#[derive(Default)]
pub(super) struct Window {
    first: u64,
    count: u32,
}

/// A file's window; gives its blocks back when dropped.
pub(crate) struct WindowCell {
    window: Arc<Mutex<Window>>,
    home: Mutex<Option<(Arc<Shared>, u32)>>,
}

impl Default for WindowCell {
    fn default() -> WindowCell {
        WindowCell { window: Arc::default(), home: Mutex::new(None) }
    }
}

impl Drop for WindowCell {
    fn drop(&mut self) {
        if let Some((shared, ino)) = self.home.lock().take() {
            shared.windows.lock().remove(&ino);
            shared.drop_window(&self.window);
        }
    }
}

/// The largest window, in blocks.
const WINDOW_MAX: u32 = 2048;

impl Shared {
    pub(super) fn drop_window(&self, window: &Mutex<Window>) -> u32 {
        let Window { first, count } = std::mem::take(&mut *window.lock());
        if count > 0 {
            self.release_blocks(first, count, false);
        }
        count
    }

    /// Takes all windows back; whether there was anything.
    pub(super) fn drop_windows(&self) -> bool {
        let all: Vec<_> = self.windows.lock().values().filter_map(Weak::upgrade).collect();
        all.iter().map(|window| self.drop_window(window)).sum::<u32>() > 0
    }
}

/// Takes blocks for `inode` like [`claim`], from and with its window: `ahead` more blocks are claimed for later if that
/// is easy.
pub(crate) fn claim_ahead(
    inode: &Inode,
    goal: u64,
    want: u32,
    ahead: u32,
    follow: bool,
    need: Need,
) -> Result<(u64, u32)> {
    let fs = &*inode.fs;
    let shared = &fs.balloc.0;
    let cell = &inode.data.window;
    let allowed = shared.allowed(&shared.counters.lock(), need).min(u64::from(want)) as u32;
    if allowed > 0 {
        let mut window = cell.window.lock();
        if window.count > 0 && window.first == goal {
            let count = window.count.min(allowed);
            let first = window.first;
            window.first += u64::from(count);
            window.count -= count;
            drop(window);
            shared.counters.lock().available -= i64::from(count);
            return Ok((first, count));
        }
    }
    shared.drop_window(&cell.window);
    let ahead = ahead.min(WINDOW_MAX);
    let roomy =
        shared.allowed(&shared.counters.lock(), Need::User) > 4 * (u64::from(want) + u64::from(ahead));
    if ahead == 0 || !roomy {
        return claim(fs, goal, want, follow, need);
    }
    let (first, count) = claim(fs, goal, want.saturating_add(ahead), follow, Need::Reserved)?;
    if count > want {
        cell.home.lock().get_or_insert_with(|| (shared.clone(), inode.ino));
        *cell.window.lock() = Window { first: first + u64::from(want), count: count - want };
        shared.windows.lock().insert(inode.ino, Arc::downgrade(&cell.window));
        shared.counters.lock().available += i64::from(count - want);
    }
    Ok((first, count.min(want)))
}

/// Gives the inode's window back.
pub(crate) fn discard_window(inode: &Inode) {
    let shared = &inode.fs.balloc.0;
    shared.drop_window(&inode.data.window.window);
}
