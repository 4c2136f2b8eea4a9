//! Entries of a directory: by name, and in the order of their making for getdents64(2).

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashMap;

use crate::vfs::Inode;

/// Positions below this are `.` and `..`.
const FIRST_COOKIE: u64 = 2;

/// A directory's entries. Each has a position that never changes, so reading goes on right while others come and go.
pub struct Entries {
    by_name: HashMap<Arc<[u8]>, (u64, Arc<Inode>)>,
    by_cookie: BTreeMap<u64, Arc<[u8]>>,
    next: u64,
}

impl Default for Entries {
    fn default() -> Entries {
        Entries::new()
    }
}

impl Entries {
    /// None yet.
    pub fn new() -> Entries {
        Entries { by_name: HashMap::new(), by_cookie: BTreeMap::new(), next: FIRST_COOKIE }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// The inode of a name.
    pub fn get(&self, name: &[u8]) -> Option<Arc<Inode>> {
        self.by_name.get(name).map(|(_, inode)| inode.clone())
    }

    /// Adds or replaces an entry; the old inode.
    pub fn insert(&mut self, name: &[u8], inode: Arc<Inode>) -> Option<Arc<Inode>> {
        if let Some((_, old)) = self.by_name.get_mut(name) {
            return Some(core::mem::replace(old, inode));
        }
        let name: Arc<[u8]> = Arc::from(name);
        self.by_cookie.insert(self.next, name.clone());
        self.by_name.insert(name, (self.next, inode));
        self.next += 1;
        None
    }

    /// Removes an entry.
    pub fn remove(&mut self, name: &[u8]) -> Option<Arc<Inode>> {
        let (cookie, inode) = self.by_name.remove(name)?;
        self.by_cookie.remove(&cookie);
        Some(inode)
    }

    /// The inodes of all entries.
    pub fn into_inodes(self) -> Vec<Arc<Inode>> {
        self.by_name.into_values().map(|(_, inode)| inode).collect()
    }

    /// The first entry at position `from` or later: its position, name and inode.
    pub fn next_from(&self, from: u64) -> Option<(u64, Arc<[u8]>, Arc<Inode>)> {
        let (cookie, name) = self.by_cookie.range(from.max(FIRST_COOKIE)..).next()?;
        let (_, inode) = self.by_name.get(name)?;
        Some((*cookie, name.clone(), inode.clone()))
    }
}
