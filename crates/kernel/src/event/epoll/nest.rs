//! Epolls that watch epolls: no loops, and no more than five levels.
//!
//! Lock: one sleeping lock over every such addition, so that two of them can't close a loop together.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use abi::Result;
use abi::errno::ELOOP;

use super::{EpollFile, Eventpoll};
use crate::sync::{Mutex, MutexGuard};

/// Levels below the first.
const MAX_NESTS: usize = 4;

static NESTING: LazyLock<Mutex<()>> = LazyLock::new(|| Mutex::new(()));

/// Whether `ep` may watch `target`. The caller holds the answer until it does. ELOOP.
pub fn check(ep: &Eventpoll, target: &Arc<Eventpoll>) -> Result<MutexGuard<'static, ()>> {
    let guard = NESTING.lock();
    let below = depth_below(target, ep, &mut HashMap::new()).ok_or(ELOOP)?;
    let above = depth_above(ep, &mut HashMap::new());
    if below + 1 + above > MAX_NESTS { Err(ELOOP) } else { Ok(guard) }
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
