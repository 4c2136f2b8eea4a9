//! Names of the overlay: create, link, remove. The VFS holds the directory's `rwsem`.

use std::sync::Arc;

use abi::Result;
use abi::errno::{EIO, ENOTEMPTY, EOPNOTSUPP};

use super::copy_up::{Content, copy_up};
use super::dir::is_empty;
use super::lookup::Found;
use super::node::{OverlayInode, overlay};
use super::upper;
use crate::vfs::{Dentry, FileType, Inode, NewInode};

impl OverlayInode {
    /// Marks an upper directory as hiding what is below it.
    pub(super) fn write_opaque(&self, dir: &Inode) -> Result<()> {
        dir.ops.setxattr(dir, &self.fs.xattr_name("opaque"), b"y", 0)
    }
}

/// Makes a file of any type in the upper layer; `target` is a symbolic link's.
pub(super) fn create(dir: &Arc<Inode>, name: &[u8], new: &NewInode, target: &[u8]) -> Result<Arc<Inode>> {
    let node = overlay(dir)?;
    let upper_dir = copy_up(node, Content::Whole)?;
    let covered = upper_dir.lookup(name, false)?.is_some();
    let opaque = FileType::from_mode(new.mode) == Some(FileType::Dir) && !node.lowers.is_empty();
    let made = if covered || opaque {
        let upper = node.fs.upper()?;
        let temp = upper.temp(new, target)?;
        let placed =
            hide_below(node, &temp, opaque, covered).and_then(|()| upper.install(&temp, &upper_dir, name));
        if let Err(errno) = placed {
            upper.discard(&temp);
            return Err(errno);
        }
        temp
    } else {
        upper::make(&upper_dir, name, new, target)?
    };
    node.changed();
    let found = Found { upper: Some(made), opaque, ..Found::default() };
    node.fs.inode(&dir.sb, found, Some((dir.clone(), name.into())))
}

/// A new directory must not merge with one that was removed before.
fn hide_below(node: &OverlayInode, temp: &Dentry, opaque: bool, covered: bool) -> Result<()> {
    if !opaque {
        return Ok(());
    }
    match node.write_opaque(temp.inode_ref().ok_or(EIO)?) {
        // Where nothing is below, the mark only saves looking.
        Err(EOPNOTSUPP) if !covered => Ok(()),
        outcome => outcome,
    }
}

/// Another name for a file.
pub(super) fn link(dir: &Arc<Inode>, name: &[u8], target: &Arc<Inode>) -> Result<()> {
    let node = overlay(dir)?;
    let linked = node.same_fs(target)?;
    let upper_dir = copy_up(node, Content::Whole)?;
    let file = copy_up(linked, Content::Whole)?.inode().ok_or(EIO)?;
    if upper_dir.lookup(name, false)?.is_some() {
        let upper = node.fs.upper()?;
        let temp = upper.temp_link(&file)?;
        if let Err(errno) = upper.install(&temp, &upper_dir, name) {
            upper.discard(&temp);
            return Err(errno);
        }
    } else {
        upper::link(&upper_dir, name, &file)?;
    }
    if linked.place().is_none() {
        linked.set_place(Some((dir.clone(), name.into())));
    }
    node.changed();
    Ok(())
}

/// unlink(2) and rmdir(2).
pub(super) fn remove(dir: &Arc<Inode>, name: &[u8], inode: &Arc<Inode>) -> Result<()> {
    let (node, victim) = (overlay(dir)?, overlay(inode)?);
    // A copy-up that is under way must not put the name back.
    let _copying = victim.copying.lock();
    if inode.is_dir() && !is_empty(victim)? {
        return Err(ENOTEMPTY);
    }
    let upper_dir = copy_up(node, Content::Whole)?;
    let upper = node.fs.upper()?;
    if node.has_below(name)? {
        upper.whiteout(&upper_dir, name)?;
    } else {
        upper.remove(&upper_dir.lookup(name, false)?.ok_or(EIO)?)?;
    }
    victim.unplace(dir, name);
    node.changed();
    Ok(())
}

/// A file without a name, in the upper layer.
pub(super) fn tmpfile(dir: &Arc<Inode>, new: &NewInode) -> Result<Arc<Inode>> {
    let node = overlay(dir)?;
    let upper_dir = copy_up(node, Content::Whole)?;
    let real_dir = upper_dir.inode().ok_or(EIO)?;
    let inode = real_dir.ops.tmpfile(&real_dir, new)?;
    let found = Found { upper: Some(Dentry::tmpfile(&upper_dir, inode)), ..Found::default() };
    node.fs.inode(&dir.sb, found, None)
}
