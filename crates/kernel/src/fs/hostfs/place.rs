//! Where a host file is: the names that lead to it, by which every operation finds it anew.
//!
//! Lock: INODE, over place and other names of one node; one at a time.

use std::collections::VecDeque;
use std::sync::Arc;

use abi::Result;
use abi::errno::{ENOENT, ESTALE, EXDEV};

use super::node::Node;
use crate::vfs::FileType;

/// Deepest nesting of directories that a path is built for. It also ends the walk should renames on the host have made
/// two stale places point at each other.
const MAX_DEPTH: usize = 4096;

/// Most names of a file that are remembered beside the last one.
const MAX_ALIASES: usize = 8;

/// A name and the directory that it is in.
pub(super) type Name = (Arc<Node>, Box<[u8]>);

/// Where a file is.
#[derive(Clone)]
pub(super) enum Place {
    /// The root of the mount.
    Root,
    /// That name in that directory.
    Name(Name),
    /// Nowhere: removed, or made without a name.
    Gone,
}

impl Node {
    /// Notes where it was found. A directory that is found below itself, by a bind mount of the host, stays where it
    /// was, and the root stays the root.
    pub(super) fn set_place(&self, new: Place) {
        if let Place::Name(name) = &new {
            let known = self.place.lock().clone();
            let stays = matches!(known, Place::Root) || same_place(&known, name);
            if stays || (self.kind == FileType::Dir && self.is_above(&name.0)) {
                return;
            }
        }
        let old = core::mem::replace(&mut *self.place.lock(), new);
        if let Place::Name(old) = old {
            self.add_alias(old);
        }
    }

    /// Whether it is on the way from `below` to the root.
    fn is_above(&self, below: &Arc<Node>) -> bool {
        let mut at = below.clone();
        for _ in 0..MAX_DEPTH {
            if core::ptr::eq(&*at, self) {
                return true;
            }
            let place = at.place.lock().clone();
            match place {
                Place::Name((dir, _)) => at = dir,
                Place::Root | Place::Gone => return false,
            }
        }
        true
    }

    fn add_alias(&self, name: Name) {
        if self.kind == FileType::Dir {
            return;
        }
        let mut aliases = self.aliases.lock();
        let unused = if aliases.len() < MAX_ALIASES { None } else { aliases.pop_front() };
        aliases.push_back(name);
        drop(aliases);
        // It may be the last reference to a directory's node.
        drop(unused);
    }

    /// Found, or put, at a name.
    pub(super) fn placed(&self, dir: &Arc<Node>, name: &[u8]) {
        self.set_place(Place::Name((dir.clone(), name.into())));
    }

    /// That name of it was removed. One found under another name stays there.
    pub(super) fn removed(&self, dir: &Arc<Node>, name: &[u8]) {
        let name = (dir.clone(), name.into());
        let mut place = self.place.lock();
        let here = same_place(&place, &name);
        let old = if here { core::mem::replace(&mut *place, Place::Gone) } else { Place::Gone };
        drop(place);
        let mut aliases = self.aliases.lock();
        let (gone, mut kept): (VecDeque<_>, VecDeque<_>) =
            core::mem::take(&mut *aliases).into_iter().partition(|alias| same_name(alias, &name));
        let next = if here { kept.pop_back() } else { None };
        *aliases = kept;
        drop(aliases);
        drop((old, gone));
        if let Some(next) = next {
            self.set_place(Place::Name(next));
        }
    }

    /// It was renamed.
    pub(super) fn moved(&self, from: (&Arc<Node>, &[u8]), to: (&Arc<Node>, &[u8])) {
        let (from, to) = ((from.0.clone(), from.1.into()), (to.0.clone(), to.1.into()));
        let old = core::mem::replace(&mut *self.place.lock(), Place::Name(to));
        let mut aliases = self.aliases.lock();
        let (gone, kept): (VecDeque<_>, VecDeque<_>) =
            core::mem::take(&mut *aliases).into_iter().partition(|alias| same_name(alias, &from));
        *aliases = kept;
        drop(aliases);
        drop(gone);
        match old {
            Place::Name(old) if !same_name(&old, &from) => self.add_alias(old),
            _ => {}
        }
    }

    /// Whether no name leads to it.
    pub(super) fn is_gone(&self) -> bool {
        matches!(*self.place.lock(), Place::Gone)
    }

    /// The directory that it is in and its name there. ENOENT for a file that is gone, EXDEV for the root.
    pub(super) fn dir_and_name(&self) -> Result<Name> {
        match self.place.lock().clone() {
            Place::Root => Err(EXDEV),
            Place::Gone => Err(ENOENT),
            Place::Name(name) => Ok(name),
        }
    }

    /// The names from the root to it, and then `last`; empty for the root itself. ENOENT for a file that is gone.
    pub(super) fn path_to(self: &Arc<Self>, last: Option<&[u8]>) -> Result<Vec<u8>> {
        let mut names: Vec<Box<[u8]>> = Vec::with_capacity(8);
        let mut at = self.clone();
        loop {
            let place = at.place.lock().clone();
            match place {
                Place::Root => break,
                Place::Gone => return Err(ENOENT),
                Place::Name((dir, name)) => {
                    names.push(name);
                    at = dir;
                }
            }
            if names.len() > MAX_DEPTH {
                return Err(ESTALE);
            }
        }
        let mut path = Vec::with_capacity(128);
        for name in names.iter().rev().map(|n| &**n).chain(last) {
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(name);
        }
        Ok(path)
    }
}

fn same_name(a: &Name, b: &Name) -> bool {
    Arc::ptr_eq(&a.0, &b.0) && a.1 == b.1
}

fn same_place(place: &Place, name: &Name) -> bool {
    matches!(place, Place::Name(at) if same_name(at, name))
}
