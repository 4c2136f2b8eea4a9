//! Epolls that watch epolls: no loops, no more than five levels, and not too many ways from a file up.
//!
//! Lock: one sleeping lock over every such addition, so that two of them can't close a loop together.

use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use abi::Result;
use abi::errno::{EINVAL, ELOOP};

use super::{EpollFile, Eventpoll};
use crate::sync::{Mutex, MutexGuard};
use crate::vfs::File;

/// Levels below the first.
const MAX_NESTS: usize = 4;

/// How many ways of each length, in epolls beyond the first, a wake-up of one file may take. A way of length 0 goes to
/// one who waits for that file, of which there may be any number.
const PATH_LIMITS: [usize; MAX_NESTS + 1] = [usize::MAX, 500, 100, 50, 10];

static NESTING: LazyLock<Mutex<()>> = LazyLock::new(|| Mutex::new(()));

/// Held from the checks on until the addition is made.
pub fn lock() -> MutexGuard<'static, ()> {
    NESTING.lock()
}

/// Whether `ep` may watch `target`. ELOOP.
pub fn check_depth(ep: &Eventpoll, target: &Arc<Eventpoll>) -> Result<()> {
    let below = depth_below(target, ep, &mut HashMap::new()).ok_or(ELOOP)?;
    let above = depth_above(ep, &mut HashMap::new());
    if below + 1 + above > MAX_NESTS { Err(ELOOP) } else { Ok(()) }
}

/// Whether the ways up from `file`, or from the files below it, are few enough. EINVAL.
pub fn check_paths(file: &Arc<File>) -> Result<()> {
    let mut leaves = Vec::new();
    match EpollFile::of(file) {
        Some(ep) => collect_leaves(ep, &mut HashMap::new(), &mut leaves),
        None => leaves.push(file.clone()),
    }
    leaves.iter().try_for_each(check_leaf)
}

fn collect_leaves(ep: &Arc<Eventpoll>, seen: &mut HashMap<usize, ()>, leaves: &mut Vec<Arc<File>>) {
    if seen.insert(Arc::as_ptr(ep).addr(), ()).is_some() {
        return;
    }
    let items: Vec<_> = ep.items.lock().values().cloned().collect();
    for file in items.iter().filter_map(|item| item.file.upgrade()) {
        match EpollFile::of(&file) {
            Some(child) => collect_leaves(child, seen, leaves),
            None if seen.insert(Arc::as_ptr(&file).addr(), ()).is_none() => leaves.push(file),
            None => {}
        }
    }
}

fn check_leaf(file: &Arc<File>) -> Result<()> {
    let watching: Vec<_> = file.epolls.lock().iter().filter_map(|e| e.upgrade()).collect();
    let address = Arc::as_ptr(file).addr();
    let mut counts = [0; MAX_NESTS + 1];
    for watch in watching {
        let watch: Arc<dyn Any + Send + Sync> = watch;
        let Ok(ep) = watch.downcast::<Eventpoll>() else { continue };
        if ep.parents.lock().is_empty() {
            continue;
        }
        let items = ep.items.lock().keys().filter(|k| k.0 == address).count();
        for _ in 0..items {
            count_paths(&ep, 0, &mut counts)?;
        }
    }
    Ok(())
}

/// Counts the ways up from `ep`, which is itself that far up. The limits end it early where there are many.
fn count_paths(ep: &Eventpoll, length: usize, counts: &mut [usize; MAX_NESTS + 1]) -> Result<()> {
    let parents: Vec<_> = ep.parents.lock().iter().filter_map(|p| p.upgrade()).collect();
    let (Some(count), Some(limit)) = (counts.get_mut(length), PATH_LIMITS.get(length)) else {
        return Err(EINVAL);
    };
    if parents.is_empty() {
        *count += 1;
        return if *count > *limit { Err(EINVAL) } else { Ok(()) };
    }
    parents.iter().try_for_each(|parent| count_paths(parent, length + 1, counts))
}

/// Levels of epolls below `ep`; none if `forbidden` is among them or `ep` itself. The depth of what is there is bounded
/// by earlier checks; `known` keeps a net of many paths from being walked path by path.
fn depth_below(
    ep: &Arc<Eventpoll>,
    forbidden: &Eventpoll,
    known: &mut HashMap<usize, usize>,
) -> Option<usize> {
    if core::ptr::eq(&**ep, forbidden) {
        return None;
    }
    let address = Arc::as_ptr(ep).addr();
    if let Some(&depth) = known.get(&address) {
        return Some(depth);
    }
    let items: Vec<_> = ep.items.lock().values().cloned().collect();
    let mut depth = 0;
    for item in items {
        let file = item.file.upgrade();
        if let Some(child) = file.as_ref().and_then(|f| EpollFile::of(f)) {
            depth = depth.max(1 + depth_below(child, forbidden, known)?);
        }
    }
    known.insert(address, depth);
    Some(depth)
}

fn depth_above(ep: &Eventpoll, known: &mut HashMap<usize, usize>) -> usize {
    let address = core::ptr::from_ref(ep).addr();
    if let Some(&depth) = known.get(&address) {
        return depth;
    }
    let parents: Vec<_> = ep.parents.lock().iter().filter_map(|p| p.upgrade()).collect();
    let depth = parents.iter().map(|p| 1 + depth_above(p, known)).max().unwrap_or(0);
    known.insert(address, depth);
    depth
}
