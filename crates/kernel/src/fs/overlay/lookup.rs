//! What a name of the overlay is made of: the upper file, or the merged directories, or the topmost lower file.

use std::sync::Arc;

use abi::errno::{EACCES, ENODATA, ENOENT, ENOTDIR, EOPNOTSUPP};
use abi::xattr::XATTR_NAME_MAX;
use abi::{Errno, Result};

use super::OverlayFs;
use super::node::{Lower, OverlayInode};
use crate::vfs::{Dentry, FileType, Inode};

/// What was found under a name.
#[derive(Default)]
pub(super) struct Found {
    pub upper: Option<Arc<Dentry>>,
    /// Merged directories, the topmost first; or one file.
    pub lowers: Vec<Lower>,
    /// The upper directory's redirect.
    pub redirect: Option<Box<[u8]>>,
    /// The upper directory hides what is below.
    pub opaque: bool,
}

/// Whether it covers what is below: a character device 0:0.
pub(super) fn is_whiteout(inode: &Inode) -> bool {
    inode.kind == FileType::CharDev && inode.getattr().is_ok_and(|attr| attr.rdev == 0)
}

/// An entry of a real directory.
pub(super) fn lookup_real(dir: &Arc<Inode>, name: &[u8]) -> Result<Option<Arc<Inode>>> {
    let _guard = dir.rwsem.lock();
    match dir.ops.lookup(dir, name) {
        Ok(inode) => Ok(Some(inode)),
        Err(ENOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

impl OverlayFs {
    /// The file that `path` leads to from a lower directory.
    fn walk_below(&self, dir: &Arc<Inode>, path: &[Box<[u8]>]) -> Result<Option<Arc<Inode>>> {
        let mut at = dir.clone();
        for name in path {
            match lookup_real(&at, name) {
                Ok(Some(inode)) => at = inode,
                Ok(None) | Err(ENOTDIR) => return Ok(None),
                Err(errno) if self.is_forbidden(errno) => return Ok(None),
                Err(errno) => return Err(errno),
            }
        }
        Ok(Some(at))
    }

    /// Whether a lower directory that answers with that error counts as empty.
    pub(super) fn is_forbidden(&self, errno: Errno) -> bool {
        errno == EACCES && self.options.forbidden_is_empty
    }

    /// The full name of an attribute of overlay's own.
    pub(super) fn xattr_name(&self, name: &str) -> Vec<u8> {
        [self.options.prefix(), name].concat().into_bytes()
    }

    /// The value of an attribute of overlay's own; none where it isn't set or the layer has no attributes.
    pub(super) fn own_xattr(&self, real: &Inode, name: &str) -> Result<Option<Vec<u8>>> {
        match real.ops.getxattr(real, &self.xattr_name(name)) {
            Ok(value) => Ok(Some(value)),
            Err(ENODATA | EOPNOTSUPP) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// Whether a directory hides what is below it.
    fn opaque(&self, dir: &Inode) -> Result<bool> {
        Ok(self.own_xattr(dir, "opaque")?.as_deref() == Some(b"y"))
    }

    /// Where else the layers below have a directory. Both forms of Linux: a name in the same directory, or a path
    /// from the root. Anything else, `..` above all, is no redirect.
    fn redirect_of(&self, dir: &Inode) -> Result<Option<Vec<u8>>> {
        let Some(value) = self.own_xattr(dir, "redirect")? else { return Ok(None) };
        let sound = match value.strip_prefix(b"/") {
            Some(path) => path.split(|&b| b == b'/').all(sound_name),
            None => sound_name(&value) && !value.contains(&b'/'),
        };
        Ok(sound.then_some(value))
    }

    /// The inode number that a copied-up file had below.
    pub(super) fn origin(&self, upper: &Inode) -> Option<u64> {
        let value = self.own_xattr(upper, super::copy_up::ORIGIN).ok()??;
        Some(u64::from_le_bytes(value.try_into().ok()?))
    }
}

fn sound_name(name: &[u8]) -> bool {
    !name.is_empty() && name.len() <= XATTR_NAME_MAX && name != b"." && name != b".."
}

/// The search through the lower layers: where it goes on.
struct Search<'a> {
    fs: &'a OverlayFs,
    /// Directories still to look in.
    dirs: Vec<Lower>,
    at: usize,
    /// Names from each of them to what is looked for.
    path: Vec<Box<[u8]>>,
}

impl Search<'_> {
    /// A directory of layer `layer` (none: the upper) says that the layers below have it elsewhere.
    fn follow(&mut self, redirect: &[u8], layer: Option<usize>) -> Result<()> {
        match redirect.strip_prefix(b"/") {
            None => self.path = vec![redirect.into()],
            Some(path) => {
                self.path = path.split(|&b| b == b'/').map(Into::into).collect();
                let first = layer.map_or(0, |l| l + 1);
                self.dirs.clear();
                for (layer, root) in self.fs.layers.iter().enumerate().skip(first) {
                    self.dirs.push(Lower { layer, inode: root.inode()? });
                }
                self.at = 0;
            }
        }
        Ok(())
    }

    /// The next layer that has the name.
    fn next(&mut self) -> Result<Option<Lower>> {
        while let Some(dir) = self.dirs.get(self.at) {
            self.at += 1;
            if let Some(inode) = self.fs.walk_below(&dir.inode, &self.path)? {
                return Ok(Some(Lower { layer: dir.layer, inode }));
            }
        }
        Ok(None)
    }
}

impl OverlayInode {
    /// What `name` is in this directory. ENOENT.
    pub(super) fn find(&self, name: &[u8]) -> Result<Found> {
        let mut found = Found::default();
        let mut search = self.search(name);
        if let Some(upper_dir) = self.upper()
            && let Some(upper) = upper_dir.lookup(name, false)?
        {
            let inode = upper.inode_ref().ok_or(ENOENT)?;
            if is_whiteout(inode) {
                return Err(ENOENT);
            }
            found.upper = Some(upper.clone());
            if !inode.is_dir() {
                return Ok(found);
            }
            found.opaque = self.fs.opaque(inode)?;
            if found.opaque {
                return Ok(found);
            }
            if let Some(redirect) = self.fs.redirect_of(inode)? {
                search.follow(&redirect, None)?;
                found.redirect = Some(redirect.into());
            }
        }
        self.find_below(search, &mut found)?;
        if found.upper.is_none() && found.lowers.is_empty() {
            return Err(ENOENT);
        }
        Ok(found)
    }

    fn search(&self, name: &[u8]) -> Search<'_> {
        Search { fs: &self.fs, dirs: self.lowers.to_vec(), at: 0, path: vec![name.into()] }
    }

    fn find_below(&self, mut search: Search<'_>, found: &mut Found) -> Result<()> {
        while let Some(lower) = search.next()? {
            let inode = lower.inode.clone();
            if is_whiteout(&inode) {
                break;
            }
            if !inode.is_dir() {
                // A file below a directory is hidden by it.
                if found.upper.is_none() && found.lowers.is_empty() {
                    found.lowers.push(lower);
                }
                break;
            }
            let layer = lower.layer;
            found.lowers.push(lower);
            if self.fs.opaque(&inode)? {
                break;
            }
            if let Some(redirect) = self.fs.redirect_of(&inode)? {
                search.follow(&redirect, Some(layer))?;
            }
        }
        Ok(())
    }

    /// Whether the layers below have `name`: without a whiteout it would show.
    pub(super) fn has_below(&self, name: &[u8]) -> Result<bool> {
        if self.lowers.is_empty() {
            return Ok(false);
        }
        let first = self.search(name).next()?;
        Ok(first.is_some_and(|lower| !is_whiteout(&lower.inode)))
    }
}
