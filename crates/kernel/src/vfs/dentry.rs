//! [`Dentry`]: a name in memory, and the cache of names.
//!
//! A dentry holds its parent; a parent finds its children by name. A dentry without inode is negative: the name is
//! known not to exist; it is never handed out. Which inode a dentry has never changes: a name that comes to mean
//! another file gets a new dentry, and users of the old one keep it, unhashed. The cache is bounded: `dcache.rs`.
//!
//! The map of children changes under the directory's `rwsem`, except that the bound may take unused names out.
//!
//! Locks: DENTRY_PARENT guards the children of one directory, DENTRY name and parent of one dentry; in that order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use abi::Result;
use abi::errno::{EAGAIN, ENOENT, ENOTDIR};
use hashbrown::HashMap;

use super::{Inode, Mount, SuperBlock, dcache, notify};
use crate::sync::{SpinLock, rank};

/// A place in the name space: which mount shows it, and the dentry.
#[derive(Clone)]
pub struct Path {
    /// The mount.
    pub mnt: Arc<Mount>,
    /// The name.
    pub dentry: Arc<Dentry>,
}

impl PartialEq for Path {
    fn eq(&self, other: &Path) -> bool {
        Arc::ptr_eq(&self.mnt, &other.mnt) && Arc::ptr_eq(&self.dentry, &other.dentry)
    }
}

impl Path {
    /// The root of a mount.
    pub fn root_of(mnt: &Arc<Mount>) -> Path {
        Path { mnt: mnt.clone(), dentry: mnt.root.clone() }
    }

    /// The inode; ENOENT for a negative dentry.
    pub fn inode(&self) -> Result<Arc<Inode>> {
        self.dentry.inode().ok_or(ENOENT)
    }
}

/// A name in memory.
pub struct Dentry {
    /// Its file system.
    pub sb: Arc<SuperBlock>,
    inode: Option<Arc<Inode>>,
    place: SpinLock<Place>,
    children: SpinLock<HashMap<Arc<[u8]>, Arc<Dentry>>>,
    /// Unlinked or replaced: /proc shows " (deleted)".
    unhashed: AtomicBool,
    /// Found since the bound last looked at it.
    referenced: AtomicBool,
    /// Number of mounts on it in any name space.
    pub mounted: AtomicU32,
}

struct Place {
    name: Arc<[u8]>,
    parent: Option<Arc<Dentry>>,
}

impl Dentry {
    fn make(
        sb: &Arc<SuperBlock>,
        name: &[u8],
        parent: Option<Arc<Dentry>>,
        inode: Option<Arc<Inode>>,
    ) -> Arc<Dentry> {
        Arc::new(Dentry {
            sb: sb.clone(),
            inode,
            place: SpinLock::new(rank::DENTRY, Place { name: Arc::from(name), parent }),
            children: SpinLock::new(rank::DENTRY_PARENT, HashMap::new()),
            unhashed: AtomicBool::new(false),
            referenced: AtomicBool::new(false),
            mounted: AtomicU32::new(0),
        })
    }

    /// The root of a file system.
    pub fn root(inode: Arc<Inode>) -> Arc<Dentry> {
        Dentry::make(&inode.sb.clone(), b"/", None, Some(inode))
    }

    /// A name outside any directory: pipes, sockets, anonymous inodes. /proc shows the name as it is.
    pub fn detached(name: &[u8], inode: Arc<Inode>) -> Arc<Dentry> {
        let dentry = Dentry::make(&inode.sb.clone(), name, None, Some(inode));
        dentry.unhashed.store(true, Ordering::Relaxed);
        dentry
    }

    /// The name of a file that O_TMPFILE made in `parent`: /proc shows it as deleted.
    pub fn tmpfile(parent: &Arc<Dentry>, inode: Arc<Inode>) -> Arc<Dentry> {
        let name = format!("#{}", inode.ino);
        let dentry = Dentry::make(&parent.sb, name.as_bytes(), Some(parent.clone()), Some(inode));
        dentry.unhashed.store(true, Ordering::Relaxed);
        dentry
    }

    /// The inode; none for a negative dentry.
    pub fn inode(&self) -> Option<Arc<Inode>> {
        self.inode.clone()
    }

    /// The inode without counting a use.
    pub fn inode_ref(&self) -> Option<&Arc<Inode>> {
        self.inode.as_ref()
    }

    /// The inode of a dentry that an open file holds.
    ///
    /// # Panics
    /// For a negative dentry, which is never handed out.
    pub fn inode_of_open(&self) -> &Arc<Inode> {
        self.inode.as_ref().expect("an open file's dentry has an inode")
    }

    /// Whether it names a directory.
    pub fn is_dir(&self) -> bool {
        self.inode.as_ref().is_some_and(|i| i.is_dir())
    }

    /// Name within the parent.
    pub fn name(&self) -> Arc<[u8]> {
        self.place.lock().name.clone()
    }

    /// The parent; itself for a root.
    pub fn parent(self: &Arc<Self>) -> Arc<Dentry> {
        self.parent_or_none().unwrap_or_else(|| self.clone())
    }

    /// The parent; none for a root or a detached name.
    pub fn parent_or_none(&self) -> Option<Arc<Dentry>> {
        self.place.lock().parent.clone()
    }

    /// Name and parent at one moment.
    pub fn name_and_parent(&self) -> (Arc<[u8]>, Option<Arc<Dentry>>) {
        let place = self.place.lock();
        (place.name.clone(), place.parent.clone())
    }

    /// Whether the name is gone from its directory.
    pub fn is_unhashed(&self) -> bool {
        self.unhashed.load(Ordering::SeqCst)
    }

    /// Whether something is mounted on it in some name space.
    pub fn is_mountpoint(&self) -> bool {
        self.mounted.load(Ordering::SeqCst) > 0
    }

    /// Whether `self` lies below `ancestor` or is it, within one file system.
    pub fn is_below(self: &Arc<Self>, ancestor: &Arc<Dentry>) -> bool {
        let mut at = self.clone();
        loop {
            if Arc::ptr_eq(&at, ancestor) {
                return true;
            }
            match at.parent_or_none() {
                Some(parent) => at = parent,
                None => return false,
            }
        }
    }

    /// The child called `name`; none if there is no such file. Sleeps on a miss: the directory's `rwsem` must be free.
    /// ENOTDIR; errors of the file system. With `cached_only` a miss answers EAGAIN.
    pub fn lookup(self: &Arc<Self>, name: &[u8], cached_only: bool) -> Result<Option<Arc<Dentry>>> {
        if let Some(found) = self.lookup_cached(name)? {
            return Ok(found);
        }
        if cached_only {
            return Err(EAGAIN);
        }
        let dir = self.inode.as_ref().ok_or(ENOENT)?;
        let _guard = dir.rwsem.lock();
        self.lookup_locked(name)
    }

    /// The same for a caller that holds the directory's `rwsem`.
    pub fn lookup_locked(self: &Arc<Self>, name: &[u8]) -> Result<Option<Arc<Dentry>>> {
        if let Some(found) = self.lookup_cached(name)? {
            return Ok(found);
        }
        let dir = self.inode.as_ref().ok_or(ENOENT)?;
        match dir.ops.lookup(dir, name) {
            Ok(inode) => Ok(Some(self.add(name, Some(inode)))),
            Err(ENOENT) => {
                if self.sb.cache_negative && !self.is_unhashed() {
                    self.add(name, None);
                }
                Ok(None)
            }
            Err(errno) => Err(errno),
        }
    }

    /// What the cache says: nothing (None), no such file (Some(None)), or the dentry.
    fn lookup_cached(&self, name: &[u8]) -> Result<Option<Option<Arc<Dentry>>>> {
        let found = self.children.lock().get(name).cloned();
        let Some(found) = found else {
            return if self.is_dir() { Ok(None) } else { Err(ENOTDIR) };
        };
        if !found.referenced.load(Ordering::Relaxed) {
            found.referenced.store(true, Ordering::Relaxed);
        }
        let (Some(dir), Some(inode)) = (&self.inode, &found.inode) else {
            return Ok(Some(None));
        };
        if dir.ops.revalidate(dir, name, inode) || found.is_mountpoint() {
            return Ok(Some(Some(found)));
        }
        self.forget(name, &found);
        Ok(None)
    }

    fn forget(&self, name: &[u8], child: &Arc<Dentry>) {
        let mut children = self.children.lock();
        let removed =
            children.get(name).is_some_and(|c| Arc::ptr_eq(c, child)).then(|| children.remove(name));
        drop(children);
        if removed.is_some() {
            child.unhashed.store(true, Ordering::SeqCst);
        }
    }

    /// Gives the directory a child; a dentry of that name goes. The caller holds the directory's `rwsem`.
    pub fn add(self: &Arc<Self>, name: &[u8], inode: Option<Arc<Inode>>) -> Arc<Dentry> {
        let child = Dentry::make(&self.sb, name, Some(self.clone()), inode);
        self.rehash(&child);
        dcache::add(&child);
        child
    }

    fn rehash(&self, child: &Arc<Dentry>) {
        let key = child.name();
        let old = self.children.lock().insert(key, child.clone());
        if let Some(old) = old
            && !Arc::ptr_eq(&old, child)
        {
            old.unhashed.store(true, Ordering::SeqCst);
        }
    }

    /// Takes the name out of its directory (unlink, rmdir, replaced by rename); users keep the inode. The caller holds
    /// the directory's `rwsem`.
    pub fn unhash(self: &Arc<Self>) {
        self.detach();
        // What is known not to be in a directory that was removed would hold it, and it that.
        self.prune();
    }

    fn detach(self: &Arc<Self>) {
        let (name, parent) = self.name_and_parent();
        match parent {
            Some(parent) => parent.forget(&name, self),
            None => self.unhashed.store(true, Ordering::SeqCst),
        }
    }

    /// rename(2) has succeeded: the dentry becomes `name` in `parent`, and what had that name goes. The caller holds
    /// the `rwsem` of both directories.
    pub fn move_to(self: &Arc<Self>, parent: &Arc<Dentry>, name: &[u8]) {
        self.detach();
        self.set_place(parent, name);
        parent.rehash(self);
        self.unhashed.store(false, Ordering::SeqCst);
    }

    /// rename(2) with RENAME_EXCHANGE has succeeded.
    pub fn exchange(self: &Arc<Self>, other: &Arc<Dentry>) {
        let (name, parent) = self.name_and_parent();
        let (other_name, other_parent) = other.name_and_parent();
        let (Some(parent), Some(other_parent)) = (parent, other_parent) else { return };
        self.set_place(&other_parent, &other_name);
        other.set_place(&parent, &name);
        // Neither may count as replaced by the other.
        let old = other_parent.children.lock().insert(other_name, self.clone());
        drop(old);
        let old = parent.children.lock().insert(name, other.clone());
        drop(old);
    }

    fn set_place(&self, parent: &Arc<Dentry>, name: &[u8]) {
        let place = Place { name: Arc::from(name), parent: Some(parent.clone()) };
        let old = core::mem::replace(&mut *self.place.lock(), place);
        drop(old);
    }

    /// Whether it was found since the last call.
    pub(super) fn take_referenced(&self) -> bool {
        self.referenced.swap(false, Ordering::Relaxed)
    }

    /// Takes the name out of the cache if nobody uses it. `self` is the only reference besides the parent's.
    pub(super) fn evict(self: Arc<Self>) -> bool {
        let (name, parent) = self.name_and_parent();
        let Some(parent) = parent else { return true };
        let mut children = parent.children.lock();
        // A child would hold it: two references are the map's and ours.
        if self.is_unhashed() || Arc::strong_count(&self) > 2 {
            return self.is_unhashed();
        }
        if !children.get(&name).is_some_and(|c| Arc::ptr_eq(c, &self)) {
            return false;
        }
        let removed = children.remove(&name);
        drop(children);
        drop(removed);
        true
    }

    /// Empties the cache below a root whose file system goes away.
    pub(super) fn prune(self: &Arc<Self>) {
        let mut all = vec![self.clone()];
        let mut at = 0;
        while at < all.len() {
            let children = core::mem::take(&mut *all[at].children.lock());
            all.extend(children.into_values());
            at += 1;
        }
        // Children before parents: no drop runs down a long chain.
        while all.pop().is_some() {}
    }
}

impl Drop for Dentry {
    fn drop(&mut self) {
        if *self.unhashed.get_mut()
            && let Some(inode) = &self.inode
        {
            notify::name_dropped(inode);
        }
        // A chain of removed directories may be as long as the guest likes: not by recursion.
        let mut next = self.place.get_mut().parent.take();
        while let Some(parent) = next {
            next = Arc::into_inner(parent).and_then(|mut p| p.place.get_mut().parent.take());
        }
    }
}
