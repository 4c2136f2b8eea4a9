//! Path names, path_resolution(7).
//!
//! - `namei/walk.rs`: the walk itself ([`Walk`]): symbolic links, mounts, `..`, RESOLVE_*.
//! - `namei/permission.rs`: who may do what ([`permission`], [`may_create`], [`may_delete`]).
//! - `namei/protected.rs`: what is not allowed in /tmp and the like.
//! - `namei/create.rs`: a new name in a directory ([`create_entry`]), mknod(2).
//! - `namei/d_path.rs`: from a place back to a name ([`d_path`]).
//!
//! Here are the entries for callers that have a descriptor and a name.

mod create;
mod d_path;
mod permission;
pub mod protected;
mod walk;

pub use create::{create_entry, inherit, mknod, mknod_at, mknodat};
pub use d_path::{d_path, d_path_reachable};
pub use permission::{
    MAY_EXEC, MAY_READ, MAY_WRITE, is_owner, may_create, may_delete, permission, want_write,
};
pub use walk::{Last, LastKind, LookupFlags, Step, Walk};

use std::sync::Arc;

use abi::Result;
use abi::errno::{EINVAL, ENOENT};

use super::{Fd, Inode, Path};

/// A directory and a name in it that may or may not exist.
pub struct Parent {
    /// The directory.
    pub path: Path,
    /// The name: a single component.
    pub name: Vec<u8>,
    /// What kind of component it is.
    pub kind: LastKind,
    /// Slashes followed it: it must be a directory.
    pub slash: bool,
}

impl Parent {
    /// The directory's inode.
    pub fn dir(&self) -> Result<Arc<Inode>> {
        self.path.inode()
    }
}

/// Where `name` leads, from the directory `dirfd` if it is relative.
pub fn path_at(dirfd: Fd, name: &[u8], flags: LookupFlags) -> Result<Path> {
    Walk::at(dirfd, name, flags)?.lookup(name)
}

/// The directory that `name`'s last component is in.
pub fn lookup_parent(dirfd: Fd, name: &[u8]) -> Result<Parent> {
    if name.is_empty() {
        return Err(ENOENT);
    }
    let mut walk = Walk::at(dirfd, name, LookupFlags::empty())?;
    let last = walk.parent(name.into())?;
    Ok(Parent { name: last.name().to_vec(), kind: last.kind, slash: last.slash, path: walk.into_path() })
}

/// Follow flags of a call that takes AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH and `others`; EINVAL for any other bit.
pub fn lookup_flags(at_flags: u32, others: u32) -> Result<LookupFlags> {
    use abi::fcntl::{AT_EMPTY_PATH, AT_NO_AUTOMOUNT, AT_SYMLINK_NOFOLLOW};
    if at_flags & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH | AT_NO_AUTOMOUNT | others) != 0 {
        return Err(EINVAL);
    }
    let mut flags = LookupFlags::empty();
    flags.set(LookupFlags::FOLLOW, at_flags & AT_SYMLINK_NOFOLLOW == 0);
    flags.set(LookupFlags::EMPTY_PATH, at_flags & AT_EMPTY_PATH != 0);
    Ok(flags)
}
