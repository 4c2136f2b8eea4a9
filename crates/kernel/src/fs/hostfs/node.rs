//! [`Node`]: what hostfs knows of a host file: which one it is, where it was last found, what it looked like.
//!
//! Files are told apart by the host's device, inode number and time of birth, so that hard links share an inode and a
//! number that the host gives out again does not. The place is a chain of names up to the root; a file with several
//! names has the one by which it was found last, and some others for when that one goes. A file whose last name goes
//! while it is in use is kept by a descriptor.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, OnceLock, Weak};

use abi::Result;
use abi::errno::{EIO, ELOOP, EMFILE, ENFILE, ENOENT, ENOTDIR, ESTALE, EXDEV};
use abi::fcntl::{O_NOCTTY, O_NONBLOCK, O_PATH};
use abi::stat::{STATX_BTIME, Statx, StatxTimestamp};
use abi::time::Timespec;

use super::inode::HostInode;
use super::place::{Name, Place};
use super::{Cache, HostFs};
use crate::sync::{SpinLock, rank};
use crate::vfs::{FileType, Inode, Kstat, SuperBlock};

/// Host device and inode number.
pub(super) type Key = (u64, u64);

pub(super) fn device_of(stat: &Statx) -> u64 {
    abi::stat::makedev(stat.stx_dev_major, stat.stx_dev_minor)
}

fn key_of(stat: &Statx) -> Key {
    (device_of(stat), stat.stx_ino)
}

fn birth_of(stat: &Statx) -> Option<(i64, u32)> {
    (stat.stx_mask & STATX_BTIME != 0).then_some((stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec))
}

/// An inode that is in memory, and its node, which may outlive it as some other node's directory.
pub(super) struct Known {
    inode: Weak<Inode>,
    node: Weak<Node>,
}

/// A descriptor of an open file and whether it can write.
#[derive(Clone)]
pub(super) struct Handle {
    pub fd: Weak<OwnedFd>,
    pub writable: bool,
}

/// A host file.
pub(super) struct Node {
    pub fs: Arc<HostFs>,
    key: Key,
    birth: Option<(i64, u32)>,
    pub kind: FileType,
    pub(super) place: SpinLock<Place>,
    /// Other names of a file that is no directory.
    pub(super) aliases: SpinLock<VecDeque<Name>>,
    attr: SpinLock<Statx>,
    handles: SpinLock<Vec<Handle>>,
    /// What made the file, open for reading and writing, until the first open takes it: its mode may not let us open
    /// it a second time.
    pub fresh: SpinLock<Option<OwnedFd>>,
    /// Keeps a file without a name in existence: made so (O_TMPFILE, writable), or removed (O_PATH).
    unnamed: OnceLock<(Arc<OwnedFd>, bool)>,
    /// Target of a symbolic link: for one inode it never changes.
    pub target: OnceLock<Box<[u8]>>,
}

impl HostFs {
    /// The inode of the file that `stat` describes, found at `place`.
    pub(super) fn inode(
        self: &Arc<Self>,
        sb: &Arc<SuperBlock>,
        stat: &Statx,
        place: Place,
    ) -> Result<Arc<Inode>> {
        let key = key_of(stat);
        let kind = FileType::from_mode(u32::from(stat.stx_mode)).ok_or(EIO)?;
        let (inode, node) = self.known(key, stat);
        if let Some(node) = &node {
            node.refresh(stat);
            node.set_place(place.clone());
        }
        if let Some(inode) = inode {
            return Ok(inode);
        }
        let node = node.unwrap_or_else(|| {
            Arc::new(Node {
                fs: self.clone(),
                key,
                birth: birth_of(stat),
                kind,
                place: SpinLock::new(rank::INODE, place),
                aliases: SpinLock::new(rank::INODE, VecDeque::new()),
                attr: SpinLock::new(rank::INODE, *stat),
                handles: SpinLock::new(rank::INODE, Vec::new()),
                fresh: SpinLock::new(rank::INODE, None),
                unnamed: OnceLock::new(),
                target: OnceLock::new(),
            })
        });
        let inode = Inode::new(sb, self.fold(key), kind, Box::new(HostInode(node.clone())));
        // Somebody else may have been faster. What is dropped is dropped after the lock: drops take it.
        let mut nodes = self.nodes.lock();
        let old = nodes.get(&key).map(|known| (known.inode.upgrade(), known.node.upgrade()));
        if let Some((Some(old), Some(old_node))) = &old
            && old_node.is(stat)
        {
            drop(nodes);
            return Ok(old.clone());
        }
        nodes.insert(key, Known { inode: Arc::downgrade(&inode), node: Arc::downgrade(&node) });
        drop(nodes);
        Ok(inode)
    }

    /// What is in memory of the file that `stat` describes.
    fn known(&self, key: Key, stat: &Statx) -> (Option<Arc<Inode>>, Option<Arc<Node>>) {
        let known = self.nodes.lock().get(&key).map(|known| (known.inode.upgrade(), known.node.upgrade()));
        match known {
            Some((inode, Some(node))) if node.is(stat) => (inode, Some(node)),
            _ => (None, None),
        }
    }

    /// An inode number that is unique in the mount. Files on the root's own device keep theirs.
    pub(super) fn fold(&self, (dev, ino): Key) -> u64 {
        if dev == self.root_dev {
            return ino;
        }
        let mut devices = self.devices.lock();
        let index = devices.iter().position(|&d| d == dev).unwrap_or_else(|| {
            devices.push(dev);
            devices.len() - 1
        });
        ino ^ (index as u64 + 1) << 48
    }
}

/// A host error as the guest should see it: what only says that the tree changed under a path is ESTALE.
pub(super) fn stale(errno: abi::Errno) -> abi::Errno {
    match errno {
        ELOOP | EXDEV | ENOTDIR => ESTALE,
        EMFILE => ENFILE,
        other => other,
    }
}

impl Node {
    fn is(&self, stat: &Statx) -> bool {
        self.key == key_of(stat)
            && self.birth == birth_of(stat)
            && FileType::from_mode(u32::from(stat.stx_mode)) == Some(self.kind)
    }

    /// The last name of it is about to be removed: whoever has it open or stands in it must still reach it.
    pub(super) fn keep(self: &Arc<Self>) {
        if self.kind != FileType::Dir && self.attr.lock().stx_nlink > 1 {
            return;
        }
        // Should it fail, it is unreachable a little earlier than it would be on other file systems.
        if let Ok((fd, _)) = self.open(O_PATH) {
            let _ = self.unnamed.set((Arc::new(fd), false));
        }
    }

    /// It was made without a name, and is open for reading and writing.
    pub(super) fn made_unnamed(&self, fd: OwnedFd) {
        let _ = self.unnamed.set((Arc::new(fd), true));
    }

    /// The inode number of an entry of this directory, where the host tells no device: its own, nearly always.
    pub(super) fn fold_entry(&self, ino: u64) -> u64 {
        self.fs.fold((self.key.0, ino))
    }

    /// Opens it where it was last found, or under another name that it was found by, or anew what somebody has open.
    /// ENOENT; ESTALE if something else is there now.
    pub(super) fn open(self: &Arc<Self>, flags: u32) -> Result<(OwnedFd, Statx)> {
        // Should a FIFO or a terminal have taken the place, opening must neither hang nor get us a terminal.
        let flags = if flags & O_PATH != 0 { flags } else { flags | O_NONBLOCK | O_NOCTTY };
        let errno = match self.path_to(None).and_then(|path| self.open_at(&path, flags)) {
            Err(errno @ (ENOENT | ESTALE)) => errno,
            outcome => return outcome,
        };
        let aliases = self.aliases.lock().clone();
        for (dir, name) in aliases.iter().rev() {
            let found = dir.path_to(Some(name)).and_then(|path| self.open_at(&path, flags));
            if found.is_ok() {
                self.placed(dir, name);
                return found;
            }
        }
        let fd = self.handle(false).ok_or(errno)?;
        let fd = host::fs::reopen(fd.as_fd(), flags)?;
        let stat = host::fs::statx(fd.as_fd())?;
        Ok((fd, stat))
    }

    fn open_at(self: &Arc<Self>, path: &[u8], flags: u32) -> Result<(OwnedFd, Statx)> {
        let root = self.fs.root.as_fd();
        let fd = if path.is_empty() && self.kind != FileType::Dir {
            host::fs::reopen(root, flags)
        } else {
            host::fs::open_beneath(root, path, flags, 0)
        }
        .map_err(stale)?;
        let stat = host::fs::statx(fd.as_fd())?;
        if !self.is(&stat) {
            return Err(ESTALE);
        }
        self.refresh(&stat);
        Ok((fd, stat))
    }

    /// A descriptor for operations on the file itself: an open file's, or a new O_PATH one.
    pub(super) fn any_fd(self: &Arc<Self>) -> Result<Arc<OwnedFd>> {
        match self.handle(false) {
            Some(fd) => Ok(fd),
            None => Ok(Arc::new(self.open(O_PATH)?.0)),
        }
    }

    /// A descriptor of an open file.
    pub(super) fn handle(&self, writable: bool) -> Option<Arc<OwnedFd>> {
        if let Some((fd, can_write)) = self.unnamed.get()
            && (*can_write || !writable)
        {
            return Some(fd.clone());
        }
        let handles = self.handles.lock();
        handles.iter().filter(|h| h.writable || !writable).find_map(|h| h.fd.upgrade())
    }

    /// A file is open by that descriptor, until it is dropped.
    pub(super) fn add_handle(&self, fd: &Arc<OwnedFd>, writable: bool) {
        let mut handles = self.handles.lock();
        handles.retain(|h| h.fd.strong_count() > 0);
        handles.push(Handle { fd: Arc::downgrade(fd), writable });
    }

    /// Notes what the host shows.
    pub(super) fn refresh(&self, stat: &Statx) {
        *self.attr.lock() = *stat;
    }

    /// Whether it is what `path` leads to; if so its attributes are noted. One host call instead of the three of
    /// opening. Links on the way are followed, but what they could lead to outside is not this file: and only of this
    /// file something becomes known.
    pub(super) fn is_at(&self, path: &[u8]) -> bool {
        let found = host::fs::statx_unconfined(self.fs.root.as_fd(), path);
        let same = found.as_ref().is_ok_and(|stat| self.is(stat));
        if let Ok(stat) = found
            && same
        {
            self.refresh(&stat);
        }
        same
    }

    /// The host's device that it is on.
    pub(super) fn device(&self) -> u64 {
        self.key.0
    }

    /// Asks the host for the attributes, unless the cache will do.
    pub(super) fn stat(self: &Arc<Self>) -> Result<Statx> {
        if self.fs.options.cache == Cache::Always {
            return Ok(*self.attr.lock());
        }
        if let Some(fd) = self.handle(false) {
            let stat = host::fs::statx(fd.as_fd())?;
            self.refresh(&stat);
            return Ok(stat);
        }
        if let Ok(path) = self.path_to(None)
            && self.is_at(&path)
        {
            return Ok(*self.attr.lock());
        }
        match self.open(O_PATH) {
            Ok((_, stat)) => Ok(stat),
            // Somebody has it as working directory or mapped.
            Err(ENOENT | ESTALE) if self.is_gone() => Ok(Statx { stx_nlink: 0, ..*self.attr.lock() }),
            Err(errno) => Err(errno),
        }
    }

    /// The attributes as the guest sees them.
    pub(super) fn kstat(&self, sb: &SuperBlock, stat: &Statx) -> Kstat {
        Kstat {
            dev: sb.dev,
            ino: self.fs.fold(self.key),
            mode: u32::from(stat.stx_mode),
            nlink: stat.stx_nlink,
            uid: stat.stx_uid,
            gid: stat.stx_gid,
            rdev: abi::stat::makedev(stat.stx_rdev_major, stat.stx_rdev_minor),
            size: stat.stx_size,
            blksize: stat.stx_blksize,
            blocks: stat.stx_blocks,
            atime: timespec(&stat.stx_atime),
            mtime: timespec(&stat.stx_mtime),
            ctime: timespec(&stat.stx_ctime),
            btime: (stat.stx_mask & STATX_BTIME != 0).then(|| timespec(&stat.stx_btime)),
        }
    }
}

fn timespec(t: &StatxTimestamp) -> Timespec {
    Timespec { tv_sec: t.tv_sec, tv_nsec: i64::from(t.tv_nsec) }
}

impl Drop for Node {
    fn drop(&mut self) {
        let mut nodes = self.fs.nodes.lock();
        if nodes.get(&self.key).is_some_and(|known| known.node.strong_count() == 0) {
            nodes.remove(&self.key);
        }
        drop(nodes);
        // A deep chain of directories is let go step by step, not by recursion on a fiber's small stack.
        let mut place = core::mem::replace(self.place.get_mut(), Place::Gone);
        while let Place::Name((dir, _)) = place {
            place = match Arc::into_inner(dir) {
                Some(mut dir) => core::mem::replace(dir.place.get_mut(), Place::Gone),
                None => Place::Gone,
            };
        }
    }
}
