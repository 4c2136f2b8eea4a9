//! Copy-up: a file of a lower layer gets its copy in the upper one, before it is changed for the first time.
//!
//! The copy is made in the work directory and moved into place when it is whole. Directories above it are copied up
//! first, without their entries.

use std::sync::Arc;

use abi::Result;
use abi::errno::{EIO, ENXIO, EOPNOTSUPP, EROFS};
use abi::fcntl::{OpenFlags, RENAME_NOREPLACE, SEEK_DATA, SEEK_HOLE};

use super::OverlayFs;
use super::node::{Lower, OverlayInode, overlay};
use super::upper::{Upper, nameless, open_real, rename};
use crate::vfs::{Dentry, FileType, Inode, IovSource, Kstat, NewInode, SetAttr, SetTime};

/// Keeps the inode number that a file had before copy-up: 8 bytes, little-endian. Linux leaves it alone.
pub(super) const ORIGIN: &str = "ruml.ino";

/// Bytes copied at a time.
const CHUNK: u64 = 256 << 10;

/// What of a regular file is needed in the upper layer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// All of it.
    Whole,
    /// Nothing: it is about to be cut to length 0.
    Empty,
}

/// Copies a file up unless it is there already. EROFS without an upper layer.
pub(super) fn copy_up(node: &OverlayInode, content: Content) -> Result<Arc<Dentry>> {
    if let Some(upper) = node.upper() {
        return Ok(upper);
    }
    node.fs.upper()?;
    // The directories above that are still below only, the nearest first.
    let mut above = Vec::new();
    let mut at = node.place().map(|(dir, _)| dir);
    while let Some(dir) = at {
        let dir_node = overlay(&dir)?;
        if dir_node.upper().is_some() {
            break;
        }
        at = dir_node.place().map(|(dir, _)| dir);
        above.push(dir);
    }
    for dir in above.iter().rev() {
        copy_up_one(overlay(dir)?, Content::Whole)?;
    }
    copy_up_one(node, content)
}

/// Copies up a file whose directory is in the upper layer already.
fn copy_up_one(node: &OverlayInode, content: Content) -> Result<Arc<Dentry>> {
    let _copying = node.copying.lock();
    if let Some(upper) = node.upper() {
        return Ok(upper);
    }
    let fs = &node.fs;
    let upper = fs.upper()?;
    let lower = node.lowers.first().ok_or(EIO)?;
    let attr = lower.inode.getattr()?;
    let new = NewInode { mode: attr.mode, uid: attr.uid, gid: attr.gid, rdev: attr.rdev };
    let target = match lower.inode.kind {
        FileType::Symlink => lower.inode.ops.readlink(&lower.inode)?,
        _ => Vec::new(),
    };
    let temp = upper.temp(&new, &target)?;
    let placed =
        fill(fs, upper, lower, &attr, &temp, content, node.ino).and_then(|()| place(node, upper, &temp));
    if let Err(errno) = placed {
        upper.discard(&temp);
        return Err(errno);
    }
    node.set_upper(temp.clone())?;
    node.changed();
    Ok(temp)
}

/// Moves the finished copy to its name. A file that was removed meanwhile stays without one.
fn place(node: &OverlayInode, upper: &Upper, temp: &Arc<Dentry>) -> Result<()> {
    let Some((dir, name)) = node.place() else {
        return upper.remove(temp);
    };
    let dir = overlay(&dir)?.upper().ok_or(EROFS)?;
    let dir_inode = dir.inode().ok_or(EIO)?;
    let before = dir_inode.getattr()?;
    rename(temp, &dir, &name, RENAME_NOREPLACE)?;
    // Nothing has changed in that directory as the guest sees it.
    dir_inode.ops.setattr(&dir_inode, &times(&before))
}

fn times(attr: &Kstat) -> SetAttr {
    SetAttr {
        atime: Some(SetTime::At(attr.atime)),
        mtime: Some(SetTime::At(attr.mtime)),
        ..SetAttr::default()
    }
}

fn fill(
    fs: &OverlayFs,
    upper: &Upper,
    lower: &Lower,
    attr: &Kstat,
    temp: &Arc<Dentry>,
    content: Content,
    ino: u64,
) -> Result<()> {
    let copy = temp.inode().ok_or(EIO)?;
    // An empty one may be a file that the host doesn't let us read.
    if lower.inode.kind == FileType::Regular && content == Content::Whole && attr.size > 0 {
        copy_data(fs, upper, lower, temp, attr.size)?;
    }
    copy_xattrs(fs, &lower.inode, &copy)?;
    if !copy.is_dir() {
        // Without it the number is another one after the next mount, no more.
        let _ = copy.ops.setxattr(&copy, &fs.xattr_name(ORIGIN), &ino.to_le_bytes(), 0);
    }
    // The mode last: setting the owner, and writing, may clear bits of it.
    let owner = SetAttr { uid: Some(attr.uid), gid: Some(attr.gid), ..SetAttr::default() };
    copy.ops.setattr(&copy, &owner)?;
    let mode = (copy.kind != FileType::Symlink).then_some(attr.mode & 0o7777);
    copy.ops.setattr(&copy, &SetAttr { mode, ..times(attr) })
}

fn copy_xattrs(fs: &OverlayFs, from: &Inode, to: &Inode) -> Result<()> {
    let prefix = fs.options.prefix().as_bytes();
    for name in from.ops.listxattr(from)? {
        if name.starts_with(prefix) {
            continue;
        }
        match from.ops.getxattr(from, &name).and_then(|value| to.ops.setxattr(to, &name, &value, 0)) {
            Ok(()) | Err(EOPNOTSUPP) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Copies the data, and leaves holes holes.
fn copy_data(fs: &OverlayFs, upper: &Upper, lower: &Lower, temp: &Arc<Dentry>, size: u64) -> Result<()> {
    let from = open_real(nameless(&fs.layers[lower.layer].mnt, &lower.inode), OpenFlags::RDONLY)?;
    let to = open_real(upper.path(temp), OpenFlags::WRONLY)?;
    let mut buffer = vec![0; CHUNK.min(size) as usize];
    let mut at = 0;
    while at < size {
        let data = match from.ops.seek(&from, at, at as i64, SEEK_DATA) {
            Err(ENXIO) => break,
            found => found?,
        };
        let hole = from.ops.seek(&from, data, data as i64, SEEK_HOLE)?.min(size);
        at = data;
        while at < hole {
            let want = (hole - at).min(CHUNK) as usize;
            let got = from.kernel_read(&mut buffer[..want], at)?;
            if got == 0 {
                return Err(EIO);
            }
            let mut src = IovSource::kernel(&buffer[..got]);
            while src.remaining() > 0 {
                let mut pos = at;
                at += to.ops.write(&to, &mut src, &mut pos)? as u64;
            }
        }
    }
    let copy = to.inode();
    if copy.getattr()?.size < size {
        copy.ops.setattr(copy, &SetAttr { size: Some(size), ..SetAttr::default() })?;
    }
    Ok(())
}
