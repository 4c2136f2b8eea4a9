//! Extended attributes, xattr(7).
//!
//! Name spaces are checked here: `user.` goes by the file's permissions and only on regular files and directories,
//! `trusted.` needs CAP_SYS_ADMIN, `security.` needs it for a change; `system.` is the file system's.

use abi::Result;
use abi::cred::{CAP_FOWNER, CAP_SETFCAP, CAP_SYS_ADMIN};
use abi::errno::*;
use abi::fcntl::{AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW};
use abi::inotify::IN_ATTRIB;
use abi::stat::S_ISVTX;
use abi::xattr::*;

use super::namei::{
    LookupFlags, MAY_READ, MAY_WRITE, is_owner, lookup_flags, path_at, permission, want_write,
};
use super::{Access, Fd, FileType, Inode, Path, notify};
use crate::syscall::UserPath;
use crate::task::{Cred, current};
use crate::uaccess::{UserPtr, copy_from_user, copy_to_user, strncpy_from_user};

fn follow(path: UserPath) -> Result<Path> {
    path_at(Fd::CWD, &path.read()?, LookupFlags::FOLLOW)
}

fn nofollow(path: UserPath) -> Result<Path> {
    path_at(Fd::CWD, &path.read()?, LookupFlags::empty())
}

fn of_fd(fd: Fd) -> Result<Path> {
    Ok(fd.io()?.path.clone())
}

fn at(dirfd: Fd, path: UserPath, at_flags: u32) -> Result<Path> {
    if at_flags & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(EINVAL);
    }
    path_at(dirfd, &path.read()?, lookup_flags(at_flags, 0)?)
}

/// setxattr(2)
pub fn setxattr(path: UserPath, name: UserPath, value: u64, size: usize, flags: u32) -> Result<()> {
    set(&follow(path)?, name, value, size, flags)
}

/// lsetxattr(2)
pub fn lsetxattr(path: UserPath, name: UserPath, value: u64, size: usize, flags: u32) -> Result<()> {
    set(&nofollow(path)?, name, value, size, flags)
}

/// fsetxattr(2)
pub fn fsetxattr(fd: Fd, name: UserPath, value: u64, size: usize, flags: u32) -> Result<()> {
    set(&of_fd(fd)?, name, value, size, flags)
}

/// getxattr(2)
pub fn getxattr(path: UserPath, name: UserPath, value: u64, size: usize) -> Result<usize> {
    get(&follow(path)?, name, value, size)
}

/// lgetxattr(2)
pub fn lgetxattr(path: UserPath, name: UserPath, value: u64, size: usize) -> Result<usize> {
    get(&nofollow(path)?, name, value, size)
}

/// fgetxattr(2)
pub fn fgetxattr(fd: Fd, name: UserPath, value: u64, size: usize) -> Result<usize> {
    get(&of_fd(fd)?, name, value, size)
}

/// listxattr(2)
pub fn listxattr(path: UserPath, list: u64, size: usize) -> Result<usize> {
    list_names(&follow(path)?, list, size)
}

/// llistxattr(2)
pub fn llistxattr(path: UserPath, list: u64, size: usize) -> Result<usize> {
    list_names(&nofollow(path)?, list, size)
}

/// flistxattr(2)
pub fn flistxattr(fd: Fd, list: u64, size: usize) -> Result<usize> {
    list_names(&of_fd(fd)?, list, size)
}

/// removexattr(2)
pub fn removexattr(path: UserPath, name: UserPath) -> Result<()> {
    remove(&follow(path)?, name)
}

/// lremovexattr(2)
pub fn lremovexattr(path: UserPath, name: UserPath) -> Result<()> {
    remove(&nofollow(path)?, name)
}

/// fremovexattr(2)
pub fn fremovexattr(fd: Fd, name: UserPath) -> Result<()> {
    remove(&of_fd(fd)?, name)
}

/// setxattrat(2)
pub fn setxattrat(
    dirfd: Fd,
    path: UserPath,
    at_flags: u32,
    name: UserPath,
    args: UserPtr<XattrArgs>,
    size: usize,
) -> Result<()> {
    let args = read_args(args, size)?;
    set(&at(dirfd, path, at_flags)?, name, args.value, args.size as usize, args.flags)
}

/// getxattrat(2)
pub fn getxattrat(
    dirfd: Fd,
    path: UserPath,
    at_flags: u32,
    name: UserPath,
    args: UserPtr<XattrArgs>,
    size: usize,
) -> Result<usize> {
    let args = read_args(args, size)?;
    if args.flags != 0 {
        return Err(EINVAL);
    }
    get(&at(dirfd, path, at_flags)?, name, args.value, args.size as usize)
}

/// listxattrat(2)
pub fn listxattrat(dirfd: Fd, path: UserPath, at_flags: u32, list: u64, size: usize) -> Result<usize> {
    list_names(&at(dirfd, path, at_flags)?, list, size)
}

/// removexattrat(2)
pub fn removexattrat(dirfd: Fd, path: UserPath, at_flags: u32, name: UserPath) -> Result<()> {
    remove(&at(dirfd, path, at_flags)?, name)
}

/// The structure of the newer calls has one size so far.
fn read_args(args: UserPtr<XattrArgs>, size: usize) -> Result<XattrArgs> {
    match size {
        n if n < size_of::<XattrArgs>() => Err(EINVAL),
        n if n > size_of::<XattrArgs>() => Err(E2BIG),
        _ => args.read(),
    }
}

/// ERANGE for an empty name or one that is too long.
fn read_name(name: UserPath) -> Result<Vec<u8>> {
    match strncpy_from_user(name.0, XATTR_NAME_MAX + 1) {
        Ok(name) if name.is_empty() => Err(ERANGE),
        Err(ENAMETOOLONG) => Err(ERANGE),
        other => other,
    }
}

fn check(inode: &Inode, name: &[u8], access: Access, cred: &Cred) -> Result<()> {
    let write = access & MAY_WRITE != 0;
    if matches!(name, b"user." | b"trusted." | b"security." | b"system.") {
        return Err(EINVAL);
    }
    let denied = |absent| Err(if write { EPERM } else { absent });
    if name.starts_with(b"user.") {
        if !matches!(inode.kind, FileType::Regular | FileType::Dir) {
            return denied(ENODATA);
        }
        if write && inode.is_dir() && !cred.capable(CAP_FOWNER) {
            let attr = inode.getattr()?;
            if attr.mode & S_ISVTX != 0 && !is_owner(&attr, cred) {
                return Err(EPERM);
            }
        }
        return permission(inode, access, cred);
    }
    if name.starts_with(b"trusted.") {
        return if cred.capable(CAP_SYS_ADMIN) { Ok(()) } else { denied(ENODATA) };
    }
    if name.starts_with(b"security.") {
        let needed = if name == b"security.capability" { CAP_SETFCAP } else { CAP_SYS_ADMIN };
        return if !write || cred.capable(needed) { Ok(()) } else { Err(EPERM) };
    }
    if name.starts_with(b"system.") { Ok(()) } else { Err(EOPNOTSUPP) }
}

fn set(path: &Path, name: UserPath, value: u64, size: usize, flags: u32) -> Result<()> {
    if flags & !(XATTR_CREATE | XATTR_REPLACE) != 0 {
        return Err(EINVAL);
    }
    let name = read_name(name)?;
    if size > XATTR_SIZE_MAX {
        return Err(E2BIG);
    }
    let mut bytes = vec![0; size];
    copy_from_user(value, &mut bytes)?;
    let inode = path.inode()?;
    want_write(&path.mnt)?;
    check(&inode, &name, MAY_WRITE, &current().cred())?;
    inode.ops.setxattr(&inode, &name, &bytes, flags)?;
    notify::on_dentry(&path.dentry, IN_ATTRIB);
    Ok(())
}

fn get(path: &Path, name: UserPath, value: u64, size: usize) -> Result<usize> {
    let name = read_name(name)?;
    let inode = path.inode()?;
    check(&inode, &name, MAY_READ, &current().cred())?;
    let bytes = inode.ops.getxattr(&inode, &name)?;
    give(&bytes, value, size)
}

/// Answers the length alone when the caller only asks; ERANGE for too small a buffer.
fn give(bytes: &[u8], to: u64, size: usize) -> Result<usize> {
    if size != 0 {
        if bytes.len() > size {
            return Err(ERANGE);
        }
        copy_to_user(to, bytes)?;
    }
    Ok(bytes.len())
}

fn list_names(path: &Path, list: u64, size: usize) -> Result<usize> {
    let inode = path.inode()?;
    let admin = current().cred().capable(CAP_SYS_ADMIN);
    let mut bytes = Vec::new();
    for name in inode.ops.listxattr(&inode)? {
        if admin || !name.starts_with(b"trusted.") {
            bytes.extend_from_slice(&name);
            bytes.push(0);
        }
    }
    if bytes.len() > XATTR_LIST_MAX {
        return Err(E2BIG);
    }
    give(&bytes, list, size)
}

fn remove(path: &Path, name: UserPath) -> Result<()> {
    let name = read_name(name)?;
    let inode = path.inode()?;
    want_write(&path.mnt)?;
    check(&inode, &name, MAY_WRITE, &current().cred())?;
    inode.ops.removexattr(&inode, &name)?;
    notify::on_dentry(&path.dentry, IN_ATTRIB);
    Ok(())
}
