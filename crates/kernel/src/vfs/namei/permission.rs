//! Who may do what to a file, path_resolution(7) and capabilities(7).

use abi::Result;
use abi::cred::{CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER};
use abi::errno::{EACCES, EISDIR, ENOENT, ENOTDIR, EPERM, EROFS};
use abi::stat::{S_ISVTX, S_IXUGO};

use crate::task::Cred;
use crate::vfs::{Access, Dentry, FileType, Inode, Kstat, Mount};

/// Reading, or listing a directory.
pub const MAY_READ: Access = 4;
/// Writing, or changing the names in a directory.
pub const MAY_WRITE: Access = 2;
/// Running, or looking names up in a directory.
pub const MAY_EXEC: Access = 1;

/// Whether `cred` may access `inode` in every way that `access` names. EACCES; EROFS.
pub fn permission(inode: &Inode, access: Access, cred: &Cred) -> Result<()> {
    if access & MAY_WRITE != 0
        && matches!(inode.kind, FileType::Regular | FileType::Dir | FileType::Symlink)
        && inode.sb.is_readonly()
    {
        return Err(EROFS);
    }
    if let Some(decision) = inode.ops.permission(inode, access, cred) {
        return decision;
    }
    if access == 0 {
        return Ok(());
    }
    // Root needs no look at the mode, except to run a file.
    let mode_matters = access & MAY_EXEC != 0 && !inode.is_dir();
    if !mode_matters && cred.capable(CAP_DAC_OVERRIDE) {
        return Ok(());
    }
    let attr = inode.getattr()?;
    if granted(&attr, access, cred) || overridden(inode, &attr, access, cred) { Ok(()) } else { Err(EACCES) }
}

fn granted(attr: &Kstat, access: Access, cred: &Cred) -> bool {
    let shift = if attr.uid == cred.fsuid {
        6
    } else if cred.in_group(attr.gid) {
        3
    } else {
        0
    };
    attr.mode >> shift & access == access
}

fn overridden(inode: &Inode, attr: &Kstat, access: Access, cred: &Cred) -> bool {
    let reads_only = if inode.is_dir() { access & MAY_WRITE == 0 } else { access == MAY_READ };
    if reads_only && cred.capable(CAP_DAC_READ_SEARCH) {
        return true;
    }
    let runnable = inode.is_dir() || access & MAY_EXEC == 0 || attr.mode & S_IXUGO != 0;
    runnable && cred.capable(CAP_DAC_OVERRIDE)
}

/// Whether `cred` counts as the owner of a file with `attr`.
pub fn is_owner(attr: &Kstat, cred: &Cred) -> bool {
    attr.uid == cred.fsuid || cred.capable(CAP_FOWNER)
}

/// EROFS unless the mount and its file system may be written.
pub fn want_write(mnt: &Mount) -> Result<()> {
    if mnt.is_readonly() { Err(EROFS) } else { Ok(()) }
}

/// Whether `cred` may make a name in `dir`. ENOENT for a directory that is gone.
pub fn may_create(dir: &Dentry, cred: &Cred) -> Result<()> {
    let inode = dir.inode_ref().ok_or(ENOENT)?;
    if dir.is_unhashed() {
        return Err(ENOENT);
    }
    permission(inode, MAY_WRITE | MAY_EXEC, cred)
}

/// Whether `cred` may take `victim` out of `dir`: as a directory (rmdir, rename over one) or not. EPERM in a sticky
/// directory of somebody else; ENOTDIR, EISDIR.
pub fn may_delete(dir: &Dentry, victim: &Dentry, as_dir: bool, cred: &Cred) -> Result<()> {
    let dir_inode = dir.inode_ref().ok_or(ENOENT)?;
    let inode = victim.inode_ref().ok_or(ENOENT)?;
    permission(dir_inode, MAY_WRITE | MAY_EXEC, cred)?;
    if !cred.capable(CAP_FOWNER) {
        let dir_attr = dir_inode.getattr()?;
        if dir_attr.mode & S_ISVTX != 0 && dir_attr.uid != cred.fsuid && inode.getattr()?.uid != cred.fsuid {
            return Err(EPERM);
        }
    }
    match (as_dir, inode.is_dir()) {
        (true, false) => return Err(ENOTDIR),
        (false, true) => return Err(EISDIR),
        _ => {}
    }
    if dir.is_unhashed() { Err(ENOENT) } else { Ok(()) }
}
