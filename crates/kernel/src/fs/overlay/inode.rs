//! [`InodeOps`] of overlay: attributes and contents. Names are in `names.rs` and `rename.rs`.

use std::sync::Arc;

use abi::Result;
use abi::errno::{ELOOP, EOPNOTSUPP, EXDEV};
use abi::fcntl::OpenFlags;

use super::copy_up::{Content, copy_up};
use super::dir::OverlayDir;
use super::file::OverlayFile;
use super::node::{OverlayInode, overlay};
use super::{names, rename};
use crate::vfs::{FileOps, FileType, Inode, InodeOps, Kstat, NewInode, SetAttr};

impl OverlayInode {
    /// The node of `other` if it is of the same overlay. EXDEV.
    pub(super) fn same_fs<'a>(&self, other: &'a Inode) -> Result<&'a OverlayInode> {
        let node = overlay(other)?;
        if Arc::ptr_eq(&node.fs, &self.fs) { Ok(node) } else { Err(EXDEV) }
    }

    /// Whether an attribute is overlay's own, which the guest neither sees nor sets.
    fn own(&self, name: &[u8]) -> bool {
        name.starts_with(self.fs.options.prefix().as_bytes())
    }
}

impl InodeOps for OverlayInode {
    fn getattr(&self, inode: &Inode) -> Result<Kstat> {
        let real = self.real()?;
        let mut stat = real.getattr()?;
        stat.dev = inode.sb.dev;
        stat.ino = inode.ino;
        if inode.is_dir() {
            // Nobody has counted the directories of a merged one.
            if self.is_merged() {
                stat.nlink = 1;
            }
        } else if self.upper().is_none() && self.place().is_none() {
            stat.nlink = stat.nlink.saturating_sub(1);
        }
        Ok(stat)
    }

    fn setattr(&self, _: &Inode, attr: &SetAttr) -> Result<()> {
        let content = if attr.size == Some(0) { Content::Empty } else { Content::Whole };
        copy_up(self, content)?;
        let real = self.real()?;
        real.ops.setattr(&real, attr)
    }

    fn lookup(&self, dir: &Arc<Inode>, name: &[u8]) -> Result<Arc<Inode>> {
        let found = self.find(name)?;
        self.fs.inode(&dir.sb, found, Some((dir.clone(), name.into())))
    }

    fn create(&self, dir: &Arc<Inode>, name: &[u8], new: &NewInode) -> Result<Arc<Inode>> {
        names::create(dir, name, new, &[])
    }

    fn mkdir(&self, dir: &Arc<Inode>, name: &[u8], new: &NewInode) -> Result<Arc<Inode>> {
        names::create(dir, name, new, &[])
    }

    fn symlink(&self, dir: &Arc<Inode>, name: &[u8], target: &[u8], new: &NewInode) -> Result<Arc<Inode>> {
        names::create(dir, name, new, target)
    }

    fn link(&self, dir: &Arc<Inode>, name: &[u8], target: &Arc<Inode>) -> Result<()> {
        names::link(dir, name, target)
    }

    fn unlink(&self, dir: &Arc<Inode>, name: &[u8], inode: &Arc<Inode>) -> Result<()> {
        names::remove(dir, name, inode)
    }

    fn rmdir(&self, dir: &Arc<Inode>, name: &[u8], inode: &Arc<Inode>) -> Result<()> {
        names::remove(dir, name, inode)
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
        rename::rename((old_dir, old_name), inode, (new_dir, new_name), target, flags)
    }

    fn tmpfile(&self, dir: &Arc<Inode>, new: &NewInode) -> Result<Arc<Inode>> {
        names::tmpfile(dir, new)
    }

    fn readlink(&self, _: &Inode) -> Result<Vec<u8>> {
        let real = self.real()?;
        real.ops.readlink(&real)
    }

    fn open(&self, inode: &Arc<Inode>, flags: OpenFlags) -> Result<Box<dyn FileOps>> {
        match inode.kind {
            FileType::Dir => Ok(Box::new(OverlayDir::open(inode)?)),
            FileType::Regular => {
                if flags.writable() || flags.contains(OpenFlags::TRUNC) {
                    let cut = flags.contains(OpenFlags::TRUNC);
                    copy_up(self, if cut { Content::Empty } else { Content::Whole })?;
                }
                Ok(Box::new(OverlayFile::open(inode, flags)?))
            }
            FileType::Symlink => Err(ELOOP),
            _ => Err(abi::errno::ENXIO),
        }
    }

    fn getxattr(&self, _: &Inode, name: &[u8]) -> Result<Vec<u8>> {
        if self.own(name) {
            return Err(EOPNOTSUPP);
        }
        let real = self.real()?;
        real.ops.getxattr(&real, name)
    }

    fn setxattr(&self, _: &Inode, name: &[u8], value: &[u8], flags: u32) -> Result<()> {
        if self.own(name) {
            return Err(EOPNOTSUPP);
        }
        copy_up(self, Content::Whole)?;
        let real = self.real()?;
        real.ops.setxattr(&real, name, value, flags)
    }

    fn listxattr(&self, _: &Inode) -> Result<Vec<Vec<u8>>> {
        let real = self.real()?;
        let mut names = real.ops.listxattr(&real)?;
        names.retain(|name| !self.own(name));
        Ok(names)
    }

    fn removexattr(&self, inode: &Inode, name: &[u8]) -> Result<()> {
        // One that isn't there is no reason to copy.
        self.getxattr(inode, name)?;
        copy_up(self, Content::Whole)?;
        let real = self.real()?;
        real.ops.removexattr(&real, name)
    }
}
