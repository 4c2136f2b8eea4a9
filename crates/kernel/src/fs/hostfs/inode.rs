//! [`InodeOps`] of hostfs.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use abi::Result;
use abi::errno::*;
use abi::fcntl::{
    O_CREAT, O_DIRECTORY, O_EXCL, O_PATH, O_RDONLY, O_RDWR, O_WRONLY, OpenFlags, RENAME_EXCHANGE,
    RENAME_NOREPLACE, RENAME_WHITEOUT,
};
use abi::stat::{UTIME_NOW, UTIME_OMIT};
use abi::time::Timespec;

use super::Cache;
use super::dir::{EmptyDir, HostDir};
use super::file::HostFile;
use super::node::{Node, device_of, stale};
use super::place::Place;
use crate::vfs::{FileOps, FileType, Inode, InodeOps, Kstat, NewInode, SetAttr, SetTime, SuperBlock};

/// An inode's part of a [`Node`]; children keep their directory's node, but not its inode.
pub(super) struct HostInode(pub Arc<Node>);

/// The node of a hostfs inode. EXDEV for another file system's.
fn node_of(inode: &Inode) -> Result<&Arc<Node>> {
    inode.ops_as::<HostInode>().map(|h| &h.0).ok_or(EXDEV)
}

impl HostInode {
    fn dir_fd(&self) -> Result<OwnedFd> {
        Ok(self.0.open(O_PATH | O_DIRECTORY)?.0)
    }

    /// With `append` nothing that exists is taken away.
    fn may_remove(&self) -> Result<()> {
        if self.0.fs.options.append { Err(EPERM) } else { Ok(()) }
    }

    /// Gives a new file, open by `fd`, its mode (the host's umask and setgid directories have had their say) and its
    /// owner if the host lets us.
    fn dress(&self, fd: &OwnedFd, new: &NewInode) -> Result<()> {
        if self.0.fs.privileged {
            host::fs::chown(fd.as_fd(), Some(new.uid), Some(new.gid))?;
        }
        let mode = u32::from(host::fs::statx(fd.as_fd())?.stx_mode);
        if mode & 0o7777 != new.mode & 0o7777 && FileType::from_mode(mode) != Some(FileType::Symlink) {
            host::fs::chmod(fd.as_fd(), new.mode)?;
        }
        Ok(())
    }

    /// The inode of a file just made under `name`.
    fn made(&self, sb: &Arc<SuperBlock>, name: &[u8], fd: &OwnedFd, new: &NewInode) -> Result<Arc<Inode>> {
        self.dress(fd, new)?;
        let stat = host::fs::statx(fd.as_fd())?;
        self.0.fs.inode(sb, &stat, Place::Name((self.0.clone(), name.into())))
    }
}

fn set_time(time: Option<SetTime>) -> Timespec {
    match time {
        None => Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        Some(SetTime::Now) => Timespec { tv_sec: 0, tv_nsec: UTIME_NOW },
        Some(SetTime::At(time)) => time,
    }
}

/// Only `user.*` goes through: the other name spaces mean something to the host's kernel.
fn user_xattr(name: &[u8]) -> Result<()> {
    if name.starts_with(b"user.") { Ok(()) } else { Err(EOPNOTSUPP) }
}

impl InodeOps for HostInode {
    fn getattr(&self, inode: &Inode) -> Result<Kstat> {
        let stat = self.0.stat()?;
        Ok(self.0.kstat(&inode.sb, &stat))
    }

    fn setattr(&self, _: &Inode, attr: &SetAttr) -> Result<()> {
        if let Some(size) = attr.size {
            self.may_remove()?;
            let fd = match self.0.handle(true) {
                Some(fd) => fd,
                None => Arc::new(self.0.open(O_WRONLY)?.0),
            };
            host::fs::truncate(fd.as_fd(), size)?;
        }
        let fd = self.0.any_fd()?;
        let stat = host::fs::statx(fd.as_fd())?;
        let uid = attr.uid.filter(|&uid| uid != stat.stx_uid);
        let gid = attr.gid.filter(|&gid| gid != stat.stx_gid);
        if uid.is_some() || gid.is_some() {
            host::fs::chown(fd.as_fd(), uid, gid)?;
        }
        if let Some(mode) = attr.mode {
            host::fs::chmod(fd.as_fd(), mode)?;
        }
        if attr.atime.is_some() || attr.mtime.is_some() {
            host::fs::utimens(fd.as_fd(), [set_time(attr.atime), set_time(attr.mtime)])?;
        }
        self.0.refresh(&host::fs::statx(fd.as_fd())?);
        Ok(())
    }

    fn lookup(&self, dir: &Arc<Inode>, name: &[u8]) -> Result<Arc<Inode>> {
        if self.0.fs.hides(self.0.device()) {
            return Err(ENOENT);
        }
        let path = self.0.path_to(Some(name))?;
        let fs = &self.0.fs;
        let fd = host::fs::open_beneath(fs.root.as_fd(), &path, O_PATH, 0).map_err(stale)?;
        let stat = host::fs::statx(fd.as_fd())?;
        if device_of(&stat) != self.0.device() {
            fs.crossed(&fd, device_of(&stat))?;
        }
        fs.inode(&dir.sb, &stat, Place::Name((self.0.clone(), name.into())))
    }

    fn revalidate(&self, _: &Arc<Inode>, name: &[u8], inode: &Arc<Inode>) -> bool {
        if self.0.fs.options.cache == Cache::Always {
            return true;
        }
        let check = || -> Result<bool> {
            let node = node_of(inode)?;
            let same = node.is_at(&self.0.path_to(Some(name))?);
            if same {
                node.placed(&self.0, name);
            }
            Ok(same)
        };
        check().unwrap_or(false)
    }

    fn create(&self, dir: &Arc<Inode>, name: &[u8], new: &NewInode) -> Result<Arc<Inode>> {
        let dir_fd = self.dir_fd()?;
        if FileType::from_mode(new.mode) != Some(FileType::Regular) {
            host::fs::mknod(dir_fd.as_fd(), name, new.mode, new.rdev)?;
            let fd = host::fs::open_child(dir_fd.as_fd(), name, O_PATH, 0)?;
            return self.made(&dir.sb, name, &fd, new);
        }
        let flags = O_CREAT | O_EXCL | O_RDWR;
        let fd = host::fs::open_child(dir_fd.as_fd(), name, flags, new.mode).map_err(stale)?;
        let inode = self.made(&dir.sb, name, &fd, new)?;
        let unused = node_of(&inode)?.fresh.lock().replace(fd);
        drop(unused);
        Ok(inode)
    }

    fn mkdir(&self, dir: &Arc<Inode>, name: &[u8], new: &NewInode) -> Result<Arc<Inode>> {
        let dir_fd = self.dir_fd()?;
        host::fs::mkdir(dir_fd.as_fd(), name, new.mode)?;
        let fd = host::fs::open_child(dir_fd.as_fd(), name, O_PATH | O_DIRECTORY, 0)?;
        self.made(&dir.sb, name, &fd, new)
    }

    fn symlink(&self, dir: &Arc<Inode>, name: &[u8], target: &[u8], new: &NewInode) -> Result<Arc<Inode>> {
        let dir_fd = self.dir_fd()?;
        host::fs::symlink(target, dir_fd.as_fd(), name)?;
        let fd = host::fs::open_child(dir_fd.as_fd(), name, O_PATH, 0)?;
        self.made(&dir.sb, name, &fd, new)
    }

    fn link(&self, _: &Arc<Inode>, name: &[u8], target: &Arc<Inode>) -> Result<()> {
        let dir_fd = self.dir_fd()?;
        let node = node_of(target)?;
        if !Arc::ptr_eq(&node.fs, &self.0.fs) {
            return Err(EXDEV);
        }
        match node.handle(false) {
            Some(fd) if node.is_gone() => host::fs::link_fd(fd.as_fd(), dir_fd.as_fd(), name)?,
            _ => {
                let (parent, old_name) = node.dir_and_name()?;
                let (old_dir, _) = parent.open(O_PATH | O_DIRECTORY)?;
                host::fs::link(old_dir.as_fd(), &old_name, dir_fd.as_fd(), name)?;
            }
        }
        node.placed(&self.0, name);
        Ok(())
    }

    fn unlink(&self, _: &Arc<Inode>, name: &[u8], inode: &Arc<Inode>) -> Result<()> {
        self.may_remove()?;
        let dir_fd = self.dir_fd()?;
        let node = node_of(inode)?;
        node.keep();
        host::fs::unlink(dir_fd.as_fd(), name)?;
        node.removed(&self.0, name);
        Ok(())
    }

    fn rmdir(&self, _: &Arc<Inode>, name: &[u8], inode: &Arc<Inode>) -> Result<()> {
        self.may_remove()?;
        let dir_fd = self.dir_fd()?;
        let node = node_of(inode)?;
        node.keep();
        host::fs::rmdir(dir_fd.as_fd(), name)?;
        node.removed(&self.0, name);
        Ok(())
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
        if flags & !(RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT) != 0 {
            return Err(EINVAL);
        }
        self.may_remove()?;
        let (node, new_parent) = (node_of(inode)?, node_of(new_dir)?);
        if !Arc::ptr_eq(&new_parent.fs, &self.0.fs) {
            return Err(EXDEV);
        }
        let old_fd = self.dir_fd()?;
        let (new_fd, _) = new_parent.open(O_PATH | O_DIRECTORY)?;
        if let Some(target) = target.filter(|_| flags & RENAME_EXCHANGE == 0) {
            node_of(target)?.keep();
        }
        host::fs::rename(old_fd.as_fd(), old_name, new_fd.as_fd(), new_name, flags)?;
        if let Some(target) = target {
            let target = node_of(target)?;
            if flags & RENAME_EXCHANGE != 0 {
                target.moved((new_parent, new_name), (&self.0, old_name));
            } else {
                target.removed(new_parent, new_name);
            }
        }
        node.moved((&self.0, old_name), (new_parent, new_name));
        Ok(())
    }

    fn tmpfile(&self, dir: &Arc<Inode>, new: &NewInode) -> Result<Arc<Inode>> {
        let (dir_fd, _) = self.0.open(O_RDONLY | O_DIRECTORY)?;
        let fd = host::fs::tmpfile(dir_fd.as_fd(), true, new.mode)?;
        self.dress(&fd, new)?;
        let stat = host::fs::statx(fd.as_fd())?;
        let inode = self.0.fs.inode(&dir.sb, &stat, Place::Gone)?;
        node_of(&inode)?.made_unnamed(fd);
        Ok(inode)
    }

    fn readlink(&self, _: &Inode) -> Result<Vec<u8>> {
        if let Some(target) = self.0.target.get() {
            return Ok(target.to_vec());
        }
        let (fd, _) = self.0.open(O_PATH)?;
        let target = host::fs::readlink(fd.as_fd())?;
        Ok(self.0.target.get_or_init(|| target.into()).to_vec())
    }

    fn open(&self, inode: &Arc<Inode>, flags: OpenFlags) -> Result<Box<dyn FileOps>> {
        match inode.kind {
            FileType::Dir if self.0.fs.hides(self.0.device()) => Ok(Box::new(EmptyDir)),
            FileType::Dir => {
                let (fd, _) = self.0.open(O_RDONLY | O_DIRECTORY)?;
                let fd = Arc::new(fd);
                self.0.add_handle(&fd, false);
                Ok(Box::new(HostDir::new(self.0.clone(), fd)))
            }
            FileType::Regular if self.0.fs.hides(self.0.device()) => Err(EACCES),
            FileType::Regular => Ok(Box::new(HostFile::open(&self.0, flags)?)),
            FileType::Symlink => Err(ELOOP),
            _ => Err(ENXIO),
        }
    }

    fn getxattr(&self, _: &Inode, name: &[u8]) -> Result<Vec<u8>> {
        user_xattr(name)?;
        host::fs::getxattr(self.0.any_fd()?.as_fd(), name)
    }

    fn setxattr(&self, _: &Inode, name: &[u8], value: &[u8], flags: u32) -> Result<()> {
        user_xattr(name)?;
        host::fs::setxattr(self.0.any_fd()?.as_fd(), name, value, flags)
    }

    fn listxattr(&self, _: &Inode) -> Result<Vec<Vec<u8>>> {
        match host::fs::listxattr(self.0.any_fd()?.as_fd()) {
            Ok(mut names) => {
                names.retain(|name| user_xattr(name).is_ok());
                Ok(names)
            }
            Err(EOPNOTSUPP) => Ok(Vec::new()),
            Err(errno) => Err(errno),
        }
    }

    fn removexattr(&self, _: &Inode, name: &[u8]) -> Result<()> {
        user_xattr(name)?;
        host::fs::removexattr(self.0.any_fd()?.as_fd(), name)
    }
}
