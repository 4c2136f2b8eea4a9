//! [`OverlayInode`]: what one file of the overlay is made of, and the table of those in memory.

use std::any::Any;
use std::sync::{Arc, OnceLock, Weak};

use abi::Result;
use abi::errno::{EIO, EROFS, EXDEV};

use super::OverlayFs;
use super::dir::Listing;
use super::lookup::Found;
use super::upper::Upper;
use crate::sync::{Mutex, SpinLock, rank};
use crate::vfs::{Dentry, Inode, SuperBlock};

/// Bits of an inode number that are the layer's own; above them stands which file system it is from.
const INO_BITS: u32 = 56;

/// A file of a lower layer.
#[derive(Clone)]
pub(super) struct Lower {
    /// Which layer, 0 the topmost.
    pub layer: usize,
    pub inode: Arc<Inode>,
}

/// An inode that is in memory.
pub(super) struct Known(Weak<Inode>);

/// A file of the overlay.
pub(super) struct OverlayInode {
    pub fs: Arc<OverlayFs>,
    pub ino: u64,
    /// The inode that this is the part of.
    me: OnceLock<Weak<Inode>>,
    /// Directories from below that are merged in, or the one file from below. Never changes.
    pub lowers: Box<[Lower]>,
    state: SpinLock<State>,
    /// Held by a copy-up of this file, and by what takes its name away.
    pub copying: Mutex<()>,
    /// Merged entries of a directory; forgotten when they change.
    pub listing: SpinLock<Option<Arc<Listing>>>,
}

/// Directory of the overlay and name in it.
pub(super) type Place = (Arc<Inode>, Box<[u8]>);

struct State {
    upper: Option<Arc<Dentry>>,
    /// Where copy-up puts it; none for the root and for what has been removed.
    place: Option<Place>,
    /// The path from the overlay's root under which the lower layers have it, after a rename.
    redirect: Option<Box<[u8]>>,
    /// Hides what is below: its redirect or opacity has been written.
    opaque: bool,
}

/// The overlay's part of an inode. EXDEV for another file system's.
pub(super) fn overlay(inode: &Inode) -> Result<&OverlayInode> {
    inode.ops_as::<OverlayInode>().ok_or(EXDEV)
}

fn key_of(real: &Arc<Inode>) -> usize {
    Arc::as_ptr(real).addr()
}

impl OverlayFs {
    /// The upper layer. EROFS.
    pub(super) fn upper(&self) -> Result<&Upper> {
        self.upper.as_ref().ok_or(EROFS)
    }

    /// An inode number that no file of another layer's file system has.
    pub(super) fn map_ino(&self, sb: &SuperBlock, ino: u64) -> u64 {
        let index = self.devices.iter().position(|&d| d == sb.dev).unwrap_or(0);
        ino ^ (index as u64) << INO_BITS
    }

    /// The inode number of what was found: that of the file below, and so the same before and after copy-up.
    pub(super) fn ino_of(&self, found: &Found) -> Result<u64> {
        if let Some(lower) = found.lowers.first() {
            return Ok(self.map_ino(&lower.inode.sb, lower.inode.ino));
        }
        let upper = found.upper.as_ref().and_then(|u| u.inode_ref()).ok_or(EIO)?;
        if !upper.is_dir()
            && let Some(ino) = self.origin(upper)
        {
            return Ok(ino);
        }
        Ok(self.map_ino(&upper.sb, upper.ino))
    }

    /// The overlay's inode for what was found at `place`.
    pub(super) fn inode(
        self: &Arc<Self>,
        sb: &Arc<SuperBlock>,
        found: Found,
        place: Option<Place>,
    ) -> Result<Arc<Inode>> {
        let real = match (&found.upper, found.lowers.first()) {
            (Some(upper), _) => upper.inode().ok_or(EIO)?,
            (None, Some(lower)) => lower.inode.clone(),
            (None, None) => return Err(EIO),
        };
        // Copy-up parts the names of a lower file, as in Linux: so these don't share an inode in the first place.
        let shared = found.upper.is_some() || real.is_dir() || real.getattr()?.nlink < 2;
        let key = key_of(&real);
        if shared && let Some(known) = self.known(key) {
            if let Ok(node) = overlay(&known) {
                node.found_again(&found, place);
            }
            return Ok(known);
        }
        let ino = self.ino_of(&found)?;
        let kind = real.kind;
        let node = OverlayInode {
            fs: self.clone(),
            ino,
            me: OnceLock::new(),
            lowers: found.lowers.into(),
            state: SpinLock::new(
                rank::INODE,
                State { upper: found.upper, place, redirect: found.redirect, opaque: found.opaque },
            ),
            copying: Mutex::new(()),
            listing: SpinLock::new(rank::INODE, None),
        };
        let inode = Inode::new(sb, ino, kind, Box::new(node));
        let _ = overlay(&inode)?.me.set(Arc::downgrade(&inode));
        if !shared {
            return Ok(inode);
        }
        // Somebody else may have been faster. What is dropped is dropped after the lock: drops take it.
        let mut inodes = self.inodes.lock();
        let old = inodes.get(&key).and_then(|known| known.0.upgrade());
        if old.is_none() {
            inodes.insert(key, Known(Arc::downgrade(&inode)));
        }
        drop(inodes);
        Ok(old.unwrap_or(inode))
    }

    fn known(&self, key: usize) -> Option<Arc<Inode>> {
        self.inodes.lock().get(&key)?.0.upgrade()
    }

    /// Forgets an entry of the table if its inode is `gone` or no more.
    fn forget(&self, key: usize) {
        let mut inodes = self.inodes.lock();
        if inodes.get(&key).is_some_and(|known| known.0.strong_count() == 0) {
            inodes.remove(&key);
        }
    }
}

impl OverlayInode {
    /// Its file in the upper layer, if it has one.
    pub(super) fn upper(&self) -> Option<Arc<Dentry>> {
        self.state.lock().upper.clone()
    }

    /// The inode that has its data and attributes now.
    pub(super) fn real(&self) -> Result<Arc<Inode>> {
        match self.upper() {
            Some(upper) => upper.inode().ok_or(EIO),
            None => Ok(self.lowers.first().ok_or(EIO)?.inode.clone()),
        }
    }

    /// Whether it is a directory whose entries come from more than one place.
    pub(super) fn is_merged(&self) -> bool {
        self.lowers.len() + usize::from(self.state.lock().upper.is_some()) > 1
    }

    /// Where it is.
    pub(super) fn place(&self) -> Option<Place> {
        self.state.lock().place.clone()
    }

    /// Its name changed, or went.
    pub(super) fn set_place(&self, place: Option<Place>) {
        let old = core::mem::replace(&mut self.state.lock().place, place);
        drop(old);
    }

    /// That name of it is gone. One that was found under another name keeps it.
    pub(super) fn unplace(&self, dir: &Arc<Inode>, name: &[u8]) {
        let here = matches!(&self.state.lock().place, Some((d, n)) if Arc::ptr_eq(d, dir) && **n == *name);
        if here {
            self.set_place(None);
        }
    }

    /// The path below under which the lower layers have it, once it was renamed.
    pub(super) fn redirect(&self) -> Option<Box<[u8]>> {
        self.state.lock().redirect.clone()
    }

    pub(super) fn set_redirect(&self, path: &[u8]) {
        self.state.lock().redirect = Some(path.into());
    }

    /// Whether nothing below is looked at for it.
    pub(super) fn is_opaque(&self) -> bool {
        self.state.lock().opaque
    }

    pub(super) fn set_opaque(&self) {
        self.state.lock().opaque = true;
    }

    fn found_again(&self, found: &Found, place: Option<Place>) {
        let mut state = self.state.lock();
        let old_upper = match &found.upper {
            Some(upper) => state.upper.replace(upper.clone()),
            None => None,
        };
        let old_place = match place {
            Some(place) => state.place.replace(place),
            None => None,
        };
        drop(state);
        drop((old_upper, old_place));
    }

    /// It has been copied up.
    pub(super) fn set_upper(&self, upper: Arc<Dentry>) -> Result<()> {
        let me = self.me.get().ok_or(EIO)?;
        let key = key_of(upper.inode_ref().ok_or(EIO)?);
        let old = self.state.lock().upper.replace(upper);
        drop(old);
        let mut inodes = self.fs.inodes.lock();
        inodes.insert(key, Known(me.clone()));
        if let Some(lower) = self.lowers.first()
            && let Some(known) = inodes.get(&key_of(&lower.inode))
            && known.0.ptr_eq(me)
        {
            inodes.remove(&key_of(&lower.inode));
        }
        Ok(())
    }

    /// Entries of this directory have changed.
    pub(super) fn changed(&self) {
        let old = self.listing.lock().take();
        drop(old);
    }
}

impl Drop for OverlayInode {
    fn drop(&mut self) {
        let state = self.state.get_mut();
        let upper = state.upper.as_ref().and_then(|u| u.inode_ref()).map(key_of);
        for key in upper.into_iter().chain(self.lowers.first().map(|l| key_of(&l.inode))) {
            self.fs.forget(key);
        }
        // A deep chain of directories is let go step by step, not by recursion on a fiber's small stack.
        let mut next = state.place.take().map(|(dir, _)| dir);
        while let Some(mut dir) = next.and_then(Arc::into_inner) {
            let node = (&mut *dir.ops as &mut dyn Any).downcast_mut::<OverlayInode>();
            next = node.and_then(|n| n.state.get_mut().place.take()).map(|(dir, _)| dir);
        }
    }
}
