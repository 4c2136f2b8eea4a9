//! [`Walk`]: from a name to a place, component by component.
//!
//! A symbolic link in the middle puts its target before what is left of the name, so nothing here recurses. No lock is
//! held between components.

use std::borrow::Cow;
use std::sync::Arc;

use abi::Result;
use abi::errno::{ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR, EXDEV};
use abi::fcntl::NAME_MAX;

use super::permission::{MAY_EXEC, permission};
use super::protected;
use crate::task::{Cred, current};
use crate::vfs::mount::traverse_mounts;
use crate::vfs::{Dentry, Fd, FileType, Inode, MountFlags, Path};

/// Most symbolic links followed in one walk.
const MAX_LINKS: u32 = 40;

bitflags::bitflags! {
    /// How a name is looked up.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct LookupFlags: u32 {
        /// A symbolic link at the end is followed.
        const FOLLOW = 1;
        /// ENOTDIR unless it is a directory.
        const DIRECTORY = 2;
        /// An empty name is the starting place itself.
        const EMPTY_PATH = 4;
        /// RESOLVE_NO_XDEV: EXDEV at a mount.
        const NO_XDEV = 8;
        /// RESOLVE_NO_MAGICLINKS: ELOOP at a magic link of /proc.
        const NO_MAGICLINKS = 16;
        /// RESOLVE_NO_SYMLINKS: ELOOP at any link.
        const NO_SYMLINKS = 32;
        /// RESOLVE_BENEATH: EXDEV when the walk would leave its start.
        const BENEATH = 64;
        /// RESOLVE_IN_ROOT: the start is the root.
        const IN_ROOT = 128;
        /// RESOLVE_CACHED: EAGAIN when a file system would have to be asked.
        const CACHED = 256;
        /// BENEATH or IN_ROOT.
        const SCOPED = 64 | 128;
    }
}

/// What the last component of a name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastKind {
    /// A name.
    Norm,
    /// The root: the name was nothing but slashes.
    Root,
    /// `.`
    Dot,
    /// `..`
    DotDot,
}

/// The last component of a name.
pub struct Last<'a> {
    text: Cow<'a, [u8]>,
    range: (usize, usize),
    /// What it is.
    pub kind: LastKind,
    /// Slashes follow it.
    pub slash: bool,
}

impl Last<'_> {
    /// The component.
    pub fn name(&self) -> &[u8] {
        &self.text[self.range.0..self.range.1]
    }
}

/// What a step led to.
pub enum Step {
    /// The walk stands at the place.
    Done,
    /// A symbolic link with that target: to be walked from where the walk stands.
    Link(Vec<u8>),
}

/// A walk under way.
pub struct Walk {
    path: Path,
    root: Path,
    cred: Arc<Cred>,
    /// How.
    pub flags: LookupFlags,
    links: u32,
}

impl Walk {
    /// A walk of `name` by the current task: from its root for an absolute name, else from `dirfd`. EBADF; ENOTDIR for
    /// a descriptor of something else than a directory, unless the name may be empty.
    pub fn at(dirfd: Fd, name: &[u8], flags: LookupFlags) -> Result<Walk> {
        let task = current();
        let fs = task.fs();
        let scoped = flags.intersects(LookupFlags::SCOPED);
        let path = if name.first() == Some(&b'/') && !scoped {
            fs.root()
        } else if dirfd == Fd::CWD {
            fs.cwd()
        } else {
            let file = dirfd.file()?;
            if !name.is_empty() && !file.inode().is_dir() {
                return Err(ENOTDIR);
            }
            file.path.clone()
        };
        let root = if scoped { path.clone() } else { fs.root() };
        Ok(Walk { path, root, cred: task.cred(), flags, links: 0 })
    }

    /// A walk from `path` within `root` as `cred` (boot, file systems that walk for the kernel).
    pub fn from(path: Path, root: Path, cred: Arc<Cred>, flags: LookupFlags) -> Walk {
        Walk { path, root, cred, flags, links: 0 }
    }

    /// The same walk by somebody else.
    pub fn with_cred(self, cred: Arc<Cred>) -> Walk {
        Walk { cred, ..self }
    }

    /// Where the walk stands.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The same, ending the walk.
    pub fn into_path(self) -> Path {
        self.path
    }

    /// Walks all of `name`.
    pub fn lookup(mut self, name: &[u8]) -> Result<Path> {
        if name.is_empty() {
            return if self.flags.contains(LookupFlags::EMPTY_PATH) { Ok(self.path) } else { Err(ENOENT) };
        }
        let mut must_be_dir = self.flags.contains(LookupFlags::DIRECTORY);
        let mut last = self.parent(Cow::Borrowed(name))?;
        loop {
            must_be_dir |= last.slash;
            let follow = self.flags.contains(LookupFlags::FOLLOW) || last.slash;
            match self.last(&last, follow)? {
                Step::Done if must_be_dir && !self.path.dentry.is_dir() => return Err(ENOTDIR),
                Step::Done => return Ok(self.path),
                Step::Link(target) => last = self.parent(Cow::Owned(target))?,
            }
        }
    }

    /// Walks to the directory that the last component of `name` is in. `name` is not empty.
    pub fn parent<'a>(&mut self, name: Cow<'a, [u8]>) -> Result<Last<'a>> {
        let mut rest = name;
        let mut at = 0;
        if rest.first() == Some(&b'/') {
            self.jump_to_root()?;
        }
        loop {
            at += count_slashes(&rest[at..]);
            if at == rest.len() {
                return Ok(Last { text: rest, range: (at, at), kind: LastKind::Root, slash: false });
            }
            self.may_search()?;
            let end = rest[at..].iter().position(|&b| b == b'/').map_or(rest.len(), |n| at + n);
            if end - at > NAME_MAX {
                return Err(ENAMETOOLONG);
            }
            let next = end + count_slashes(&rest[end..]);
            if next == rest.len() {
                let kind = match &rest[at..end] {
                    b"." => LastKind::Dot,
                    b".." => LastKind::DotDot,
                    _ => LastKind::Norm,
                };
                return Ok(Last { text: rest, range: (at, end), kind, slash: next > end });
            }
            let step = match &rest[at..end] {
                b"." => Step::Done,
                b".." => self.dotdot().map(|()| Step::Done)?,
                component => self.step(component, true, false)?,
            };
            match step {
                Step::Done => at = next,
                Step::Link(mut target) => {
                    target.extend_from_slice(&rest[end..]);
                    if target.first() == Some(&b'/') {
                        self.jump_to_root()?;
                    }
                    (rest, at) = (Cow::Owned(target), 0);
                }
            }
        }
    }

    /// Takes the last step. ENOENT if there is no such file.
    pub fn last(&mut self, last: &Last<'_>, follow: bool) -> Result<Step> {
        match last.kind {
            LastKind::Root | LastKind::Dot => Ok(Step::Done),
            LastKind::DotDot => self.dotdot().map(|()| Step::Done),
            LastKind::Norm => self.step(last.name(), follow, true),
        }
    }

    fn step(&mut self, name: &[u8], follow: bool, last: bool) -> Result<Step> {
        let cached = self.flags.contains(LookupFlags::CACHED);
        let child = self.path.dentry.lookup(name, cached)?.ok_or(ENOENT)?;
        self.go(child, follow, last)
    }

    /// Goes to `child`, the last of the name, of the directory where the walk stands, over mounts, or answers the link
    /// that it is.
    pub fn step_into(&mut self, child: Arc<Dentry>, follow: bool) -> Result<Step> {
        self.go(child, follow, true)
    }

    fn go(&mut self, child: Arc<Dentry>, follow: bool, last: bool) -> Result<Step> {
        if follow
            && let Some(inode) = child.inode_ref()
            && inode.kind == FileType::Symlink
        {
            let inode = inode.clone();
            if last {
                protected::may_follow(&self.path.dentry, &inode, &self.cred)?;
            }
            return self.follow_link(&inode);
        }
        self.path.dentry = child;
        self.cross_mounts()?;
        Ok(Step::Done)
    }

    fn cross_mounts(&mut self) -> Result<()> {
        if self.path.dentry.is_mountpoint()
            && traverse_mounts(&mut self.path)
            && self.flags.contains(LookupFlags::NO_XDEV)
        {
            return Err(EXDEV);
        }
        Ok(())
    }

    fn follow_link(&mut self, inode: &Arc<Inode>) -> Result<Step> {
        self.links += 1;
        let nosymfollow = self.path.mnt.flags().contains(MountFlags::NOSYMFOLLOW);
        if self.links > MAX_LINKS || self.flags.contains(LookupFlags::NO_SYMLINKS) || nosymfollow {
            return Err(ELOOP);
        }
        if let Some(path) = inode.ops.get_link(inode) {
            if self.flags.contains(LookupFlags::NO_MAGICLINKS) {
                return Err(ELOOP);
            }
            let path = path?;
            let leaves = !Arc::ptr_eq(&path.mnt, &self.path.mnt);
            if self.flags.intersects(LookupFlags::SCOPED)
                || (leaves && self.flags.contains(LookupFlags::NO_XDEV))
            {
                return Err(EXDEV);
            }
            self.path = path;
            return Ok(Step::Done);
        }
        let target = inode.ops.readlink(inode)?;
        if target.is_empty() { Err(ENOENT) } else { Ok(Step::Link(target)) }
    }

    fn jump_to_root(&mut self) -> Result<()> {
        if self.flags.contains(LookupFlags::BENEATH) {
            return Err(EXDEV);
        }
        if self.flags.contains(LookupFlags::NO_XDEV) && !Arc::ptr_eq(&self.path.mnt, &self.root.mnt) {
            return Err(EXDEV);
        }
        if self.path != self.root {
            self.path = self.root.clone();
        }
        Ok(())
    }

    fn dotdot(&mut self) -> Result<()> {
        loop {
            if self.path == self.root {
                let beneath = self.flags.contains(LookupFlags::BENEATH);
                return if beneath { Err(EXDEV) } else { Ok(()) };
            }
            if !Arc::ptr_eq(&self.path.dentry, &self.path.mnt.root) {
                self.path.dentry = self.path.dentry.parent();
                break;
            }
            let Some(below) = self.path.mnt.parent() else { return Ok(()) };
            if self.flags.contains(LookupFlags::NO_XDEV) {
                return Err(EXDEV);
            }
            self.path = below;
        }
        self.cross_mounts()
    }

    /// Whether names may be looked up where the walk stands.
    fn may_search(&self) -> Result<()> {
        let inode = self.path.dentry.inode_ref().ok_or(ENOENT)?;
        if !inode.is_dir() {
            return Err(ENOTDIR);
        }
        permission(inode, MAY_EXEC, &self.cred)
    }
}

fn count_slashes(text: &[u8]) -> usize {
    text.iter().take_while(|&&b| b == b'/').count()
}
