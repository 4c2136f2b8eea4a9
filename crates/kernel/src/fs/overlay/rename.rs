//! rename(2) in the overlay. The VFS holds the `rwsem` of both directories, and of a directory that is replaced.
//!
//! A directory that is merged, or still below only, cannot take the lower layers' names along. It moves as its upper
//! directory alone, with an attribute that says under which path the layers below have it ("redirect").

use std::sync::Arc;

use abi::Result;
use abi::errno::{EINVAL, EIO, ENOTEMPTY, EOPNOTSUPP, EXDEV};
use abi::fcntl::{PATH_MAX, RENAME_EXCHANGE, RENAME_NOREPLACE, RENAME_WHITEOUT};

use super::copy_up::{Content, copy_up};
use super::dir::is_empty;
use super::lookup::is_whiteout;
use super::node::{OverlayInode, overlay};
use super::upper;
use crate::vfs::{Dentry, Inode};

/// A directory and a name in it.
type Name<'a> = (&'a Arc<Inode>, &'a [u8]);

/// rename(2) and renameat2(2). EXDEV for a directory from below where redirects are off or can't be written.
pub(super) fn rename(
    old: Name<'_>,
    inode: &Arc<Inode>,
    new: Name<'_>,
    target: Option<&Arc<Inode>>,
    flags: u32,
) -> Result<()> {
    // Linux's overlay has no RENAME_WHITEOUT either: it uses it up itself.
    if flags & !(RENAME_NOREPLACE | RENAME_EXCHANGE) != 0 {
        return Err(EINVAL);
    }
    let exchange = flags & RENAME_EXCHANGE != 0;
    let (old_dir, moved) = (overlay(old.0)?, overlay(inode)?);
    let new_dir = old_dir.same_fs(new.0)?;
    let target = target.map(|t| overlay(t).map(|node| (node, t))).transpose()?;
    let upper_old = copy_up(old_dir, Content::Whole)?;
    let upper_new = copy_up(new_dir, Content::Whole)?;
    copy_up(moved, Content::Whole)?;
    let replaced = target.filter(|_| !exchange);
    // A copy-up that is under way must not put the name back.
    let _copying = replaced.map(|(node, _)| node.copying.lock());
    match target {
        Some((node, _)) if exchange => drop(copy_up(node, Content::Whole)?),
        Some((node, t)) if t.is_dir() && !is_empty(node)? => return Err(ENOTEMPTY),
        _ => {}
    }
    prepare(inode, new_dir)?;
    if let Some((_, t)) = target
        && exchange
    {
        prepare(t, old_dir)?;
    }
    let source = upper_old.lookup(old.1, false)?.ok_or(EIO)?;
    if exchange {
        upper::rename(&source, &upper_new, new.1, RENAME_EXCHANGE)?;
    } else {
        let cover = old_dir.has_below(old.1)?;
        move_upper(old_dir, (&upper_old, old.1), &source, (&upper_new, new.1), cover)?;
    }
    moved.set_place(Some((new.0.clone(), new.1.into())));
    match target {
        Some((node, _)) if exchange => node.set_place(Some((old.0.clone(), old.1.into()))),
        Some((node, _)) => node.unplace(new.0, new.1),
        None => {}
    }
    old_dir.changed();
    new_dir.changed();
    Ok(())
}

/// Moves `source` over nothing, a whiteout or something replaceable, and leaves a whiteout behind if `cover`.
fn move_upper(
    node: &OverlayInode,
    old: (&Arc<Dentry>, &[u8]),
    source: &Arc<Dentry>,
    new: (&Arc<Dentry>, &[u8]),
    cover: bool,
) -> Result<()> {
    let upper = node.fs.upper()?;
    let existing = new.0.lookup(new.1, false)?;
    if let Some(whiteout) = &existing
        && whiteout.inode_ref().is_some_and(|i| is_whiteout(i))
    {
        if !cover && !source.is_dir() {
            return upper::rename(source, new.0, new.1, 0);
        }
        upper::rename(source, new.0, new.1, RENAME_EXCHANGE)?;
        return if cover { Ok(()) } else { upper::remove(whiteout) };
    }
    if let Some(dir) = existing.filter(|e| e.is_dir()) {
        // It shows no names, but may hold whiteouts; nothing of what they cover may appear, not even after a crash.
        node.write_opaque(dir.inode_ref().ok_or(EIO)?)?;
        upper.clear(&dir)?;
    }
    if !cover {
        return upper::rename(source, new.0, new.1, 0);
    }
    match upper::rename(source, new.0, new.1, RENAME_WHITEOUT) {
        Err(EINVAL) => {
            upper::rename(source, new.0, new.1, 0)?;
            upper.whiteout(old.0, old.1)
        }
        outcome => outcome,
    }
}

/// Makes a directory that goes to `new_dir` keep what it shows, and show nothing else.
fn prepare(inode: &Arc<Inode>, new_dir: &OverlayInode) -> Result<()> {
    if !inode.is_dir() {
        return Ok(());
    }
    let node = overlay(inode)?;
    let real = node.real()?;
    if node.lowers.is_empty() {
        if new_dir.lowers.is_empty() || node.is_opaque() {
            return Ok(());
        }
        node.write_opaque(&real).map_err(|errno| if errno == EOPNOTSUPP { EXDEV } else { errno })?;
        node.set_opaque();
        return Ok(());
    }
    if node.redirect().is_some_and(|r| r.starts_with(b"/")) {
        return Ok(());
    }
    if !node.fs.options.redirect {
        return Err(EXDEV);
    }
    let path = path_below(node)?;
    real.ops
        .setxattr(&real, &node.fs.xattr_name("redirect"), &path, 0)
        .map_err(|errno| if errno == EOPNOTSUPP { EXDEV } else { errno })?;
    node.set_redirect(&path);
    Ok(())
}

/// The path from the root under which the layers below have a directory.
fn path_below(node: &OverlayInode) -> Result<Vec<u8>> {
    let mut names: Vec<Box<[u8]>> = Vec::new();
    let mut len = 0;
    let mut redirect = node.redirect();
    let mut place = node.place();
    // The root is the one that has no place.
    while let Some((dir, name)) = place {
        let name = redirect.unwrap_or(name);
        len += name.len() + 1;
        if len > PATH_MAX {
            return Err(EXDEV);
        }
        let whole = name.starts_with(b"/");
        names.push(name);
        if whole {
            break;
        }
        let above = overlay(&dir)?;
        redirect = above.redirect();
        place = above.place();
    }
    let mut path = Vec::with_capacity(len);
    for name in names.iter().rev() {
        if !name.starts_with(b"/") {
            path.push(b'/');
        }
        path.extend_from_slice(name);
    }
    Ok(path)
}
