//! Inodes: attributes, names, attributes of any name, and who may what.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use abi::Result;
use abi::cred::{CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH};
use abi::errno::*;
use abi::fcntl::OpenFlags;
use abi::stat::{major, makedev, minor};
use abi::time::{NSEC_PER_SEC, Timespec};
use ext4::{InodeFlags, RenameFlags, XattrFlags};

use super::Volume;
use super::acl::{self, Acl};
use super::data::Contents;
use super::dir::DirFile;
use super::file::RegularFile;
use crate::mm::filemap::{Kind, PageCache};
use crate::sync::{SpinLock, rank};
use crate::task::Cred;
use crate::time::now_realtime;
use crate::vfs::namei::{MAY_EXEC, MAY_READ, MAY_WRITE};
use crate::vfs::{
    Access, File, FileOps, FileType, Inode, InodeOps, Kstat, MountFlags, NewInode, SetAttr, SetTime,
    SuperBlock,
};

/// File times are set by a clock that ticks this often, ns: Linux's with HZ=250. Writes of one tick change nothing.
const TICK: i64 = 4_000_000;
/// relatime: an access time older than this is set anew, s.
const DAY: i64 = 24 * 60 * 60;

/// An inode's own part.
pub(super) struct Node {
    pub volume: Arc<Volume>,
    pub inode: Arc<ext4::Inode>,
    /// Of a regular file.
    cache: Option<Arc<PageCache>>,
    /// The lists that decide and that are inherited, once they were looked for.
    acls: SpinLock<[Option<Option<Arc<Acl>>>; 2]>,
    /// The tick of the last change of contents that is noted.
    modified: AtomicI64,
}

/// The VFS inode of a library's inode. `cache` is left over from an earlier one.
pub(super) fn make(
    volume: &Arc<Volume>,
    sb: &Arc<SuperBlock>,
    inode: Arc<ext4::Inode>,
    cache: Option<Arc<PageCache>>,
) -> Result<Arc<Inode>> {
    let stat = inode.stat();
    let kind = FileType::from_mode(u32::from(stat.mode)).ok_or(EUCLEAN)?;
    let cache = (kind == FileType::Regular).then(|| {
        cache.unwrap_or_else(|| {
            let contents = Contents { volume: volume.clone(), inode: inode.clone() };
            PageCache::new(Arc::new(contents), stat.size, volume.dev(), Kind::File)
        })
    });
    let node = Node {
        volume: volume.clone(),
        inode,
        cache,
        acls: SpinLock::new(rank::INODE, [None, None]),
        modified: AtomicI64::new(0),
    };
    Ok(Inode::new(sb, u64::from(stat.ino), kind, Box::new(node)))
}

/// The time of this tick.
pub(super) fn tick() -> Timespec {
    let now = now_realtime();
    Timespec { tv_sec: now.tv_sec, tv_nsec: now.tv_nsec / TICK * TICK }
}

fn number(time: Timespec) -> i64 {
    time.tv_sec.saturating_mul(NSEC_PER_SEC as i64).saturating_add(time.tv_nsec)
}

/// Sets the times of a change of contents.
pub(super) fn touch_modified(volume: &Volume, inode: &ext4::Inode) -> Result<()> {
    let now = tick();
    volume.changed();
    inode.set_attr(&ext4::SetAttr { mtime: Some(now), ctime: Some(now), ..ext4::SetAttr::default() })
}

impl Node {
    /// The node of an inode of this file system.
    ///
    /// # Panics
    /// For an inode of another file system; the VFS never mixes them.
    pub fn of(inode: &Inode) -> &Node {
        inode.ops_as::<Node>().expect("an inode of ext4")
    }

    /// A regular file's pages.
    pub fn cache(&self) -> Option<&Arc<PageCache>> {
        self.cache.as_ref()
    }

    /// The largest length of this file.
    pub fn max_size(&self) -> u64 {
        self.inode.max_size()
    }

    /// Notes a change of contents, once a tick.
    pub fn touch_modified(&self) -> Result<()> {
        let now = number(tick());
        if self.modified.swap(now, Ordering::Relaxed) == now {
            return Ok(());
        }
        touch_modified(&self.volume, &self.inode)
    }

    /// Whether every write is synchronous: chattr +S, mount -o sync.
    pub fn is_synchronous(&self) -> bool {
        self.volume.fs.options().sync || self.inode.flags().contains(InodeFlags::SYNC)
    }

    /// Notes an access, as the mount has it.
    pub fn accessed(&self, file: &File) {
        let flags = file.path.mnt.flags();
        let dir = file.inode().is_dir();
        let off = flags.contains(MountFlags::NOATIME) || dir && flags.contains(MountFlags::NODIRATIME);
        if off
            || file.flags().contains(OpenFlags::NOATIME)
            || file.path.mnt.is_readonly()
            || self.volume.fs.is_read_only()
        {
            return;
        }
        let stat = self.inode.stat();
        if stat.flags.contains(InodeFlags::NOATIME) {
            return;
        }
        let now = tick();
        let atime = number(stat.atime);
        let old = now.tv_sec.saturating_sub(stat.atime.tv_sec) >= DAY;
        let relative = flags.contains(MountFlags::RELATIME);
        let due = if relative {
            atime <= number(stat.mtime) || atime <= number(stat.ctime) || old
        } else {
            atime != number(now)
        };
        if due {
            self.volume.changed();
            // A reader has no use for the error.
            let _ = self.inode.set_attr(&ext4::SetAttr { atime: Some(now), ..ext4::SetAttr::default() });
        }
    }

    fn acl(&self, which: usize) -> Result<Option<Arc<Acl>>> {
        if !self.volume.fs.options().acl {
            return Ok(None);
        }
        if let Some(known) = &self.acls.lock()[which] {
            return Ok(known.clone());
        }
        let found = match self.inode.xattr_get([acl::ACCESS, acl::DEFAULT][which]) {
            Ok(value) => Some(Arc::new(Acl::decode(&value)?)),
            Err(ENODATA | EOPNOTSUPP) => None,
            Err(errno) => return Err(errno),
        };
        self.acls.lock()[which] = Some(found.clone());
        Ok(found)
    }

    pub(super) fn forget_acls(&self) {
        *self.acls.lock() = [None, None];
    }

    fn new_inode(&self, new: &NewInode, mode: u32) -> ext4::NewInode {
        ext4::NewInode {
            mode: mode as u16,
            uid: new.uid,
            gid: new.gid,
            rdev: (major(new.rdev), minor(new.rdev)),
            now: tick(),
        }
    }

    /// Makes an inode by `make`, with what the directory's default list gives it.
    fn make(
        &self,
        dir: &Inode,
        new: &NewInode,
        make: impl FnOnce(&ext4::NewInode) -> Result<Arc<ext4::Inode>>,
    ) -> Result<Arc<Inode>> {
        self.volume.writable()?;
        self.volume.changed();
        let mut new = *new;
        if self.volume.fs.options().grpid {
            new.gid = self.inode.stat().gid;
        }
        let kind = FileType::from_mode(new.mode);
        let default = if kind == Some(FileType::Symlink) { None } else { self.acl(1)? };
        let inherited = default.map(|acl| ((*acl).clone(), (*acl).clone().inherit(new.mode)));
        let mode = inherited.as_ref().map_or(new.mode, |(_, (_, mode))| *mode);
        let inode = make(&self.new_inode(&new, mode))?;
        let made = self.volume.inode(&dir.sb, inode)?;
        if let Some((default, (access, _))) = inherited {
            let node = Node::of(&made);
            if !access.is_trivial() {
                node.inode.xattr_set(acl::ACCESS, &access.encode(), XattrFlags::empty())?;
            }
            if kind == Some(FileType::Dir) {
                node.inode.xattr_set(acl::DEFAULT, &default.encode(), XattrFlags::empty())?;
            }
            node.forget_acls();
        }
        Ok(made)
    }

    /// What chattr +i and +a keep from being removed or renamed. EPERM.
    fn removable(&self) -> Result<()> {
        let fixed = InodeFlags::IMMUTABLE | InodeFlags::APPEND;
        if self.inode.flags().intersects(fixed) { Err(EPERM) } else { Ok(()) }
    }

    /// The same for names of a directory.
    fn names_removable(&self) -> Result<()> {
        self.volume.writable()?;
        self.volume.changed();
        if self.inode.flags().contains(InodeFlags::APPEND) { Err(EPERM) } else { Ok(()) }
    }

    fn set_size(&self, inode: &Inode, size: u64) -> Result<()> {
        let cache = self.cache.as_ref().ok_or(EINVAL)?;
        let _writers = inode.rwsem.lock();
        if size > self.max_size() {
            return Err(EFBIG);
        }
        if size == cache.size() && size == self.inode.stat().size {
            return Ok(());
        }
        cache.truncate(size, || self.inode.set_size(size))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(cache) = self.cache.take()
            && self.inode.stat().links == 0
        {
            cache.forget();
        }
    }
}

impl InodeOps for Node {
    fn getattr(&self, _: &Inode) -> Result<Kstat> {
        let stat = self.inode.stat();
        Ok(Kstat {
            dev: self.volume.dev(),
            ino: u64::from(stat.ino),
            mode: u32::from(stat.mode),
            nlink: stat.links,
            uid: stat.uid,
            gid: stat.gid,
            rdev: makedev(stat.rdev.0, stat.rdev.1),
            size: self.cache.as_ref().map_or(stat.size, |cache| cache.size()),
            blksize: self.volume.fs.geometry().block_size as u32,
            blocks: stat.blocks + self.inode.delayed_sectors(),
            atime: stat.atime,
            mtime: stat.mtime,
            ctime: stat.ctime,
            btime: stat.crtime,
        })
    }

    fn setattr(&self, inode: &Inode, attr: &SetAttr) -> Result<()> {
        self.volume.writable()?;
        if self.inode.flags().contains(InodeFlags::IMMUTABLE)
            || attr.size.is_some() && self.inode.flags().contains(InodeFlags::APPEND)
        {
            return Err(EPERM);
        }
        self.volume.changed();
        let now = tick();
        let time = |t: Option<SetTime>| {
            t.map(|t| match t {
                SetTime::At(time) => time,
                SetTime::Now => now,
            })
        };
        if let Some(size) = attr.size {
            self.set_size(inode, size)?;
        }
        self.inode.set_attr(&ext4::SetAttr {
            mode: attr.mode.map(|mode| (mode & 0o7777) as u16),
            uid: attr.uid,
            gid: attr.gid,
            atime: time(attr.atime),
            mtime: time(attr.mtime),
            ctime: Some(time(attr.ctime).unwrap_or(now)),
            ..ext4::SetAttr::default()
        })?;
        if attr.mtime.is_some() {
            // The next write is another change, even in the same tick.
            self.modified.store(0, Ordering::Relaxed);
        }
        if let Some(mode) = attr.mode
            && let Some(acl) = self.acl(0)?
        {
            let mut acl = (*acl).clone();
            acl.chmod(mode);
            self.inode.xattr_set(acl::ACCESS, &acl.encode(), XattrFlags::empty())?;
            self.forget_acls();
        }
        if self.volume.fs.options().sync {
            self.inode.fsync(false)?;
        }
        Ok(())
    }

    fn lookup(&self, dir: &Arc<Inode>, name: &[u8]) -> Result<Arc<Inode>> {
        let found = self.inode.lookup(name)?;
        self.volume.inode(&dir.sb, found)
    }

    fn ignores_umask(&self, _: &Inode) -> bool {
        matches!(self.acl(1), Ok(Some(_)))
    }

    fn create(&self, dir: &Arc<Inode>, name: &[u8], new: &NewInode) -> Result<Arc<Inode>> {
        self.make(dir, new, |new| self.inode.create(name, new))
    }

    fn mkdir(&self, dir: &Arc<Inode>, name: &[u8], new: &NewInode) -> Result<Arc<Inode>> {
        self.make(dir, new, |new| self.inode.mkdir(name, new))
    }

    fn symlink(&self, dir: &Arc<Inode>, name: &[u8], target: &[u8], new: &NewInode) -> Result<Arc<Inode>> {
        self.make(dir, new, |new| self.inode.symlink(name, target, new))
    }

    fn link(&self, _: &Arc<Inode>, name: &[u8], target: &Arc<Inode>) -> Result<()> {
        self.volume.writable()?;
        self.volume.changed();
        let target = Node::of(target);
        target.removable()?;
        self.inode.link(&target.inode, name, tick())
    }

    fn unlink(&self, _: &Arc<Inode>, name: &[u8], inode: &Arc<Inode>) -> Result<()> {
        self.names_removable()?;
        Node::of(inode).removable()?;
        self.inode.unlink(name, tick())
    }

    fn rmdir(&self, _: &Arc<Inode>, name: &[u8], inode: &Arc<Inode>) -> Result<()> {
        self.names_removable()?;
        Node::of(inode).removable()?;
        self.inode.rmdir(name, tick())
    }

    fn rename(
        &self,
        _: &Arc<Inode>,
        old_name: &[u8],
        inode: &Arc<Inode>,
        new_dir: &Arc<Inode>,
        new_name: &[u8],
        target: Option<&Arc<Inode>>,
        flags: u32,
    ) -> Result<()> {
        let flags = RenameFlags::from_bits(flags).ok_or(EINVAL)?;
        self.names_removable()?;
        Node::of(inode).removable()?;
        if let Some(target) = target {
            Node::of(new_dir).names_removable()?;
            Node::of(target).removable()?;
        }
        self.inode.rename(old_name, &Node::of(new_dir).inode, new_name, flags, tick())
    }

    fn tmpfile(&self, dir: &Arc<Inode>, new: &NewInode) -> Result<Arc<Inode>> {
        self.make(dir, new, |new| self.inode.tmpfile(new))
    }

    fn readlink(&self, _: &Inode) -> Result<Vec<u8>> {
        self.inode.read_link()
    }

    fn open(&self, inode: &Arc<Inode>, flags: OpenFlags) -> Result<Box<dyn FileOps>> {
        match (inode.kind, &self.cache) {
            (FileType::Dir, _) => Ok(Box::new(DirFile)),
            (FileType::Regular, Some(cache)) => {
                let append_only = self.inode.flags().contains(InodeFlags::APPEND);
                let writes = flags.writable();
                if append_only
                    && (writes && !flags.contains(OpenFlags::APPEND) || flags.contains(OpenFlags::TRUNC))
                {
                    return Err(EPERM);
                }
                Ok(Box::new(RegularFile::new(cache)))
            }
            _ => Err(ENXIO),
        }
    }

    fn permission(&self, inode: &Inode, access: Access, cred: &Cred) -> Option<Result<()>> {
        if access & MAY_WRITE != 0 && self.inode.flags().contains(InodeFlags::IMMUTABLE) {
            return Some(Err(EPERM));
        }
        // Without a list the mode decides, which is the VFS's to look at.
        let list = match self.acl(0) {
            Ok(Some(list)) => list,
            Ok(None) => return None,
            Err(errno) => return Some(Err(errno)),
        };
        if access == 0 {
            return Some(Ok(()));
        }
        let stat = self.inode.stat();
        if list.check(stat.uid, stat.gid, access, cred).is_ok() {
            return Some(Ok(()));
        }
        let reads_only = if inode.is_dir() { access & MAY_WRITE == 0 } else { access == MAY_READ };
        let runnable = inode.is_dir() || access & MAY_EXEC == 0 || stat.mode & 0o111 != 0;
        let overridden =
            reads_only && cred.capable(CAP_DAC_READ_SEARCH) || runnable && cred.capable(CAP_DAC_OVERRIDE);
        Some(if overridden { Ok(()) } else { Err(EACCES) })
    }

    fn getxattr(&self, _: &Inode, name: &[u8]) -> Result<Vec<u8>> {
        self.get_attribute(name)
    }

    fn setxattr(&self, inode: &Inode, name: &[u8], value: &[u8], flags: u32) -> Result<()> {
        self.set_attribute(inode, name, value, flags)
    }

    fn listxattr(&self, _: &Inode) -> Result<Vec<Vec<u8>>> {
        self.inode.xattr_list()
    }

    fn removexattr(&self, inode: &Inode, name: &[u8]) -> Result<()> {
        self.remove_attribute(inode, name)
    }
}
