//! Inodes of tmpfs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use abi::Result;
use abi::errno::{E2BIG, EEXIST, EINVAL, ENODATA, ENOENT, ENOSPC, ENOTEMPTY, EOPNOTSUPP, EPERM};
use abi::fcntl::{OpenFlags, RENAME_EXCHANGE, RENAME_NOREPLACE, RENAME_WHITEOUT};
use abi::time::Timespec;

use super::data::{Data, PAGE};
use super::dir::Entries;
use super::file::{DirFile, TmpfsFile};
use super::tmpfs_of;
use crate::sync::{SpinLock, SpinLockGuard, rank};
use crate::time::now_realtime;
use crate::vfs::{FileOps, FileType, Inode, InodeOps, Kstat, NewInode, SetAttr, SetTime, SuperBlock};

/// An inode's own part.
pub struct Node {
    sb: Arc<SuperBlock>,
    ino: u64,
    inner: SpinLock<NodeInner>,
    /// F_SEAL_* of a memfd; F_SEAL_SEAL for every other file.
    pub(super) seals: AtomicU32,
}

/// What changes.
pub(super) struct NodeInner {
    mode: u32,
    uid: u32,
    gid: u32,
    rdev: u64,
    nlink: u32,
    atime: Timespec,
    mtime: Timespec,
    ctime: Timespec,
    btime: Timespec,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(super) content: Content,
    /// linkat(2) may give an O_TMPFILE inode its first name.
    linkable: bool,
}

pub(super) enum Content {
    File(Data),
    Dir(Entries),
    Symlink(Vec<u8>),
    Special,
}

impl NodeInner {
    pub(super) fn data(&mut self) -> Result<&mut Data> {
        match &mut self.content {
            Content::File(data) => Ok(data),
            _ => Err(EINVAL),
        }
    }

    fn entries(&mut self) -> Result<&mut Entries> {
        match &mut self.content {
            Content::Dir(entries) => Ok(entries),
            _ => Err(abi::errno::ENOTDIR),
        }
    }

    pub(super) fn modified(&mut self) {
        self.mtime = now_realtime();
        self.ctime = self.mtime;
    }

    fn changed(&mut self) {
        self.ctime = now_realtime();
    }

    pub(super) fn accessed(&mut self) {
        self.atime = now_realtime();
    }
}

impl Node {
    /// A new inode; `symlink` is the target if it is one.
    pub(super) fn make(sb: &Arc<SuperBlock>, new: &NewInode, symlink: Option<&[u8]>) -> Result<Arc<Inode>> {
        let kind = FileType::from_mode(new.mode).ok_or(EINVAL)?;
        let ino = tmpfs_of(sb).charge_inode()?;
        let now = now_realtime();
        let content = match kind {
            FileType::Regular => Content::File(Data::new()),
            FileType::Dir => Content::Dir(Entries::new()),
            FileType::Symlink => Content::Symlink(symlink.unwrap_or_default().to_vec()),
            _ => Content::Special,
        };
        let inner = NodeInner {
            mode: new.mode,
            uid: new.uid,
            gid: new.gid,
            rdev: new.rdev,
            nlink: if kind == FileType::Dir { 2 } else { 1 },
            atime: now,
            mtime: now,
            ctime: now,
            btime: now,
            xattrs: BTreeMap::new(),
            content,
            linkable: false,
        };
        let node = Node {
            sb: sb.clone(),
            ino,
            inner: SpinLock::new(rank::INODE, inner),
            seals: AtomicU32::new(abi::fcntl::F_SEAL_SEAL),
        };
        Ok(Inode::new(sb, ino, kind, Box::new(node)))
    }

    pub(super) fn lock(&self) -> SpinLockGuard<'_, NodeInner> {
        self.inner.lock()
    }

    pub(super) fn sb(&self) -> &Arc<SuperBlock> {
        &self.sb
    }

    /// The node of an inode of this file system.
    ///
    /// # Panics
    /// For an inode of another file system; the VFS never mixes them.
    pub(super) fn of(inode: &Inode) -> &Node {
        inode.ops_as::<Node>().expect("an inode of tmpfs")
    }

    fn add(&self, name: &[u8], inode: Arc<Inode>) -> Result<()> {
        let is_dir = inode.is_dir();
        let mut inner = self.lock();
        let entries = inner.entries()?;
        if entries.get(name).is_some() {
            return Err(EEXIST);
        }
        entries.insert(name, inode);
        inner.nlink += u32::from(is_dir);
        inner.modified();
        Ok(())
    }

    fn remove(&self, name: &[u8]) -> Result<Arc<Inode>> {
        let mut inner = self.lock();
        let inode = inner.entries()?.remove(name).ok_or(ENOENT)?;
        inner.nlink -= u32::from(inode.is_dir());
        inner.modified();
        Ok(inode)
    }

    fn unlinked(inode: &Inode) {
        let node = Node::of(inode);
        let mut inner = node.lock();
        inner.nlink = if inode.is_dir() { 0 } else { inner.nlink.saturating_sub(1) };
        inner.changed();
    }

    fn is_empty_dir(&self) -> bool {
        matches!(&self.lock().content, Content::Dir(entries) if entries.is_empty())
    }

    /// Takes every entry below apart, so that the tree's references to itself end.
    pub(super) fn dismantle(inode: &Arc<Inode>) {
        let mut left = vec![inode.clone()];
        while let Some(inode) = left.pop() {
            let node = Node::of(&inode);
            let old = match &mut node.lock().content {
                Content::Dir(entries) => core::mem::take(entries),
                _ => continue,
            };
            let mut at = 0;
            while let Some((cookie, _, child)) = old.next_from(at) {
                at = cookie + 1;
                if child.is_dir() {
                    left.push(child);
                }
            }
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let fs = tmpfs_of(&self.sb);
        match &mut self.inner.get_mut().content {
            Content::File(data) => data.free(fs),
            Content::Dir(entries) => drop_tree(core::mem::take(entries)),
            Content::Symlink(_) | Content::Special => {}
        }
        fs.uncharge_inode();
    }
}

/// Lets go of a tree one directory after the other: by itself each would drop the next from within, and a guest can make
/// it deeper than any stack.
fn drop_tree(entries: Entries) {
    let mut left = entries.into_inodes();
    while let Some(inode) = left.pop() {
        // With another user it stays; whoever is last comes here again.
        if Arc::strong_count(&inode) == 1
            && let Some(node) = inode.ops_as::<Node>()
            && let Some(mut inner) = node.inner.try_lock()
            && let Content::Dir(entries) = &mut inner.content
        {
            left.extend(core::mem::take(entries).into_inodes());
        }
    }
}

impl InodeOps for Node {
    fn getattr(&self, _: &Inode) -> Result<Kstat> {
        let inner = self.lock();
        let (size, blocks) = match &inner.content {
            Content::File(data) => (data.size(), data.pages() * (PAGE as u64 / 512)),
            Content::Symlink(target) => (target.len() as u64, 0),
            Content::Dir(_) | Content::Special => (0, 0),
        };
        Ok(Kstat {
            dev: self.sb.dev,
            ino: self.ino,
            mode: inner.mode,
            nlink: inner.nlink,
            uid: inner.uid,
            gid: inner.gid,
            rdev: inner.rdev,
            size,
            blksize: PAGE as u32,
            blocks,
            atime: inner.atime,
            mtime: inner.mtime,
            ctime: inner.ctime,
            btime: Some(inner.btime),
        })
    }

    fn setattr(&self, _: &Inode, attr: &SetAttr) -> Result<()> {
        let now = now_realtime();
        let time = |t: SetTime| if let SetTime::At(time) = t { time } else { now };
        let mut inner = self.lock();
        if let Some(size) = attr.size {
            let seals = self.seals.load(Ordering::SeqCst);
            let data = inner.data()?;
            if (size > data.size() && seals & abi::fcntl::F_SEAL_GROW != 0)
                || (size < data.size() && seals & abi::fcntl::F_SEAL_SHRINK != 0)
            {
                return Err(EPERM);
            }
            data.truncate(tmpfs_of(&self.sb), size)?;
            (inner.mtime, inner.ctime) = (now, now);
        }
        if let Some(mode) = attr.mode {
            inner.mode = inner.mode & !0o7777 | mode & 0o7777;
        }
        inner.uid = attr.uid.unwrap_or(inner.uid);
        inner.gid = attr.gid.unwrap_or(inner.gid);
        inner.atime = attr.atime.map_or(inner.atime, time);
        inner.mtime = attr.mtime.map_or(inner.mtime, time);
        inner.ctime = attr.ctime.map_or(now, time);
        Ok(())
    }

    fn lookup(&self, _: &Arc<Inode>, name: &[u8]) -> Result<Arc<Inode>> {
        self.lock().entries()?.get(name).ok_or(ENOENT)
    }

    fn create(&self, _: &Arc<Inode>, name: &[u8], new: &NewInode) -> Result<Arc<Inode>> {
        let inode = Node::make(&self.sb, new, None)?;
        self.add(name, inode.clone())?;
        Ok(inode)
    }

    fn mkdir(&self, dir: &Arc<Inode>, name: &[u8], new: &NewInode) -> Result<Arc<Inode>> {
        self.create(dir, name, new)
    }

    fn symlink(&self, _: &Arc<Inode>, name: &[u8], target: &[u8], new: &NewInode) -> Result<Arc<Inode>> {
        let inode = Node::make(&self.sb, new, Some(target))?;
        self.add(name, inode.clone())?;
        Ok(inode)
    }

    fn link(&self, _: &Arc<Inode>, name: &[u8], target: &Arc<Inode>) -> Result<()> {
        {
            let mut inner = Node::of(target).lock();
            if inner.nlink == 0 && !inner.linkable {
                return Err(ENOENT);
            }
            inner.nlink += 1;
            inner.linkable = false;
            inner.changed();
        }
        self.add(name, target.clone()).inspect_err(|_| Node::unlinked(target))
    }

    fn unlink(&self, _: &Arc<Inode>, name: &[u8], _: &Arc<Inode>) -> Result<()> {
        Node::unlinked(&*self.remove(name)?);
        Ok(())
    }

    fn rmdir(&self, _: &Arc<Inode>, name: &[u8], inode: &Arc<Inode>) -> Result<()> {
        if !Node::of(inode).is_empty_dir() {
            return Err(ENOTEMPTY);
        }
        Node::unlinked(&*self.remove(name)?);
        Ok(())
    }

    fn rename(
        &self,
        old_dir: &Arc<Inode>,
        old_name: &[u8],
        inode: &Arc<Inode>,
        new_dir: &Arc<Inode>,
        new_name: &[u8],
        target: Option<&Arc<Inode>>,
        flags: u32,
    ) -> Result<()> {
        if flags & !(RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT) != 0 {
            return Err(EINVAL);
        }
        let (from, to) = (Node::of(old_dir), Node::of(new_dir));
        if flags & RENAME_EXCHANGE != 0 {
            let target = target.ok_or(ENOENT)?;
            from.remove(old_name)?;
            to.remove(new_name)?;
            from.add(old_name, target.clone())?;
            to.add(new_name, inode.clone())?;
        } else {
            if let Some(target) = target {
                if target.is_dir() && !Node::of(target).is_empty_dir() {
                    return Err(ENOTEMPTY);
                }
                if flags & RENAME_NOREPLACE != 0 {
                    return Err(EEXIST);
                }
            }
            let whiteout = NewInode { mode: FileType::CharDev.bits(), uid: 0, gid: 0, rdev: 0 };
            let whiteout = if flags & RENAME_WHITEOUT != 0 {
                Some(Node::make(&self.sb, &whiteout, None)?)
            } else {
                None
            };
            if target.is_some() {
                Node::unlinked(&*to.remove(new_name)?);
            }
            from.remove(old_name)?;
            to.add(new_name, inode.clone())?;
            if let Some(whiteout) = whiteout {
                from.add(old_name, whiteout)?;
            }
        }
        Node::of(inode).lock().changed();
        Ok(())
    }

    fn tmpfile(&self, _: &Arc<Inode>, new: &NewInode) -> Result<Arc<Inode>> {
        let inode = Node::make(&self.sb, new, None)?;
        let mut inner = Node::of(&inode).lock();
        inner.nlink = 0;
        inner.linkable = true;
        drop(inner);
        Ok(inode)
    }

    fn readlink(&self, _: &Inode) -> Result<Vec<u8>> {
        match &self.lock().content {
            Content::Symlink(target) => Ok(target.clone()),
            _ => Err(EINVAL),
        }
    }

    fn open(&self, inode: &Arc<Inode>, _: OpenFlags) -> Result<Box<dyn FileOps>> {
        match inode.kind {
            FileType::Dir => Ok(Box::new(DirFile)),
            FileType::Regular => Ok(Box::new(TmpfsFile)),
            _ => Err(abi::errno::ENXIO),
        }
    }

    fn getxattr(&self, _: &Inode, name: &[u8]) -> Result<Vec<u8>> {
        namespace(name)?;
        self.lock().xattrs.get(name).cloned().ok_or(ENODATA)
    }

    fn setxattr(&self, _: &Inode, name: &[u8], value: &[u8], flags: u32) -> Result<()> {
        namespace(name)?;
        let mut inner = self.lock();
        let exists = inner.xattrs.contains_key(name);
        if flags & abi::xattr::XATTR_CREATE != 0 && exists {
            return Err(EEXIST);
        }
        if flags & abi::xattr::XATTR_REPLACE != 0 && !exists {
            return Err(ENODATA);
        }
        if value.len() > abi::xattr::XATTR_SIZE_MAX {
            return Err(E2BIG);
        }
        // Bounded, because they live on the kernel's heap.
        let total: usize = inner.xattrs.iter().map(|(k, v)| k.len() + v.len()).sum();
        if total + name.len() + value.len() > 2 * abi::xattr::XATTR_SIZE_MAX {
            return Err(ENOSPC);
        }
        inner.xattrs.insert(name.to_vec(), value.to_vec());
        inner.changed();
        Ok(())
    }

    fn listxattr(&self, _: &Inode) -> Result<Vec<Vec<u8>>> {
        Ok(self.lock().xattrs.keys().cloned().collect())
    }

    fn removexattr(&self, _: &Inode, name: &[u8]) -> Result<()> {
        namespace(name)?;
        let mut inner = self.lock();
        inner.xattrs.remove(name).ok_or(ENODATA)?;
        inner.changed();
        Ok(())
    }
}

/// Name spaces that are kept; ACLs aren't, because nothing would check them.
fn namespace(name: &[u8]) -> Result<()> {
    let known: [&[u8]; 3] = [b"user.", b"trusted.", b"security."];
    if known.iter().any(|prefix| name.starts_with(prefix)) { Ok(()) } else { Err(EOPNOTSUPP) }
}
