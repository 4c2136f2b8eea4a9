//! Telling inotify(7) what happens to files.
//!
//! Lock: INOTIFY, the list of watches of one inode; watchers are called after it is released.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use abi::inotify::{
    IN_ATTRIB, IN_CREATE, IN_DELETE, IN_DELETE_SELF, IN_ISDIR, IN_MOVE_SELF, IN_MOVED_FROM, IN_MOVED_TO,
};

use super::inode::InodeWatch;
use super::{Dentry, File, Inode};

/// Watches in the whole machine: without one nothing here looks further.
static WATCHES: AtomicUsize = AtomicUsize::new(0);
static NEXT_COOKIE: AtomicU32 = AtomicU32::new(1);

/// An event of an entry in a directory.
pub struct Event<'a> {
    mask: u32,
    cookie: u32,
    name: &'a [u8],
}

impl<'a> Event<'a> {
    /// Of a name that isn't in the dentry any more (or not yet).
    pub fn named(mask: u32, cookie: u32, name: &'a [u8]) -> Event<'a> {
        Event { mask, cookie, name }
    }
}

impl Inode {
    /// Adds a watch.
    pub fn add_watch(&self, watch: Arc<dyn InodeWatch>) {
        self.watches.lock().push(watch);
        WATCHES.fetch_add(1, Ordering::SeqCst);
    }

    /// Removes a watch by its id; the last use of it is the caller's to drop.
    pub fn remove_watch(&self, id: u64) -> Option<Arc<dyn InodeWatch>> {
        let mut watches = self.watches.lock();
        let at = watches.iter().position(|w| w.id() == id)?;
        WATCHES.fetch_sub(1, Ordering::SeqCst);
        Some(watches.remove(at))
    }
}

/// Whether anything is watched at all.
pub fn active() -> bool {
    WATCHES.load(Ordering::Relaxed) > 0
}

/// A number that pairs the halves of a rename.
pub fn next_cookie() -> u32 {
    NEXT_COOKIE.fetch_add(1, Ordering::Relaxed)
}

fn tell(inode: &Inode, mask: u32, cookie: u32, name: Option<&[u8]>) {
    let watches = inode.watches.lock().clone();
    for watch in watches {
        watch.event(mask, cookie, name);
    }
}

fn dir_bit(inode: &Inode) -> u32 {
    if inode.is_dir() { IN_ISDIR } else { 0 }
}

/// Inotify doesn't say of a directory's own events that it is one.
const SELF: u32 = IN_MOVE_SELF | IN_DELETE_SELF;

/// `mask` happened to `inode` itself: its own watches are told.
pub fn on_inode(inode: &Inode, mask: u32) {
    if active() {
        let dir = if mask & SELF != 0 { 0 } else { dir_bit(inode) };
        tell(inode, mask | dir, 0, None);
    }
}

/// The last user of a name that is gone has let go of it: with the last link that is the end of the file.
pub(super) fn name_dropped(inode: &Inode) {
    if active() && inode.getattr().is_ok_and(|a| a.nlink == 0) {
        on_inode(inode, IN_DELETE_SELF);
    }
}

/// Something happened to a name in `dir`: the directory's watches are told. `child` says whether it is a directory.
pub fn in_dir(dir: &Inode, child: &Inode, event: Event<'_>) {
    if active() {
        tell(dir, event.mask | dir_bit(child), event.cookie, Some(event.name));
    }
}

/// `mask` happened to an open or named file: its own watches and its directory's are told.
pub fn on_dentry(dentry: &Dentry, mask: u32) {
    if !active() {
        return;
    }
    let Some(inode) = dentry.inode_ref() else { return };
    let mask = mask | dir_bit(inode);
    let (name, parent) = dentry.name_and_parent();
    if !dentry.is_unhashed()
        && let Some(dir) = parent.as_ref().and_then(|p| p.inode_ref())
    {
        tell(dir, mask, 0, Some(&name));
    }
    tell(inode, mask, 0, None);
}

/// The same for an open file; O_PATH files have no events.
pub fn on_file(file: &File, mask: u32) {
    if active() && !file.is_path() {
        on_dentry(&file.path.dentry, mask);
    }
}

/// A new name in `dir`.
pub fn created(dir: &Inode, child: &Dentry, name: &[u8]) {
    if let Some(inode) = child.inode_ref() {
        in_dir(dir, inode, Event::named(IN_CREATE, 0, name));
    }
}

/// A name in `dir` is gone.
pub fn deleted(dir: &Inode, child: &Inode, name: &[u8]) {
    in_dir(dir, child, Event::named(IN_DELETE, 0, name));
}

/// A name went from one directory to another (or to another name in the same one), perhaps in place of `target`.
pub fn moved(from: (&Inode, &[u8]), to: (&Inode, &[u8]), child: &Inode, target: Option<&Inode>) {
    if active() {
        let cookie = next_cookie();
        in_dir(from.0, child, Event::named(IN_MOVED_FROM, cookie, from.1));
        in_dir(to.0, child, Event::named(IN_MOVED_TO, cookie, to.1));
        if let Some(target) = target {
            on_inode(target, IN_ATTRIB);
        }
        on_inode(child, IN_MOVE_SELF);
    }
}
