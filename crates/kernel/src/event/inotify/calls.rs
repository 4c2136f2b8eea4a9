//! inotify_init(2), inotify_add_watch(2), inotify_rm_watch(2).

use abi::Result;
use abi::errno::{EINVAL, EMFILE, ENOTDIR};
use abi::fcntl::OpenFlags;
use abi::inotify::{
    IN_ALL_EVENTS, IN_CLOEXEC, IN_DONT_FOLLOW, IN_EXCL_UNLINK, IN_IGNORED, IN_ISDIR, IN_MASK_ADD,
    IN_MASK_CREATE, IN_NONBLOCK, IN_ONESHOT, IN_ONLYDIR, IN_Q_OVERFLOW, IN_UNMOUNT,
};

use super::{Group, INSTANCES, InotifyFile};
use crate::syscall::UserPath;
use crate::task::current;
use crate::vfs::anon::anon_file;
use crate::vfs::namei::{LookupFlags, MAY_READ, path_at, permission};
use crate::vfs::{Fd, FileMode};

/// inotify_init(2)
pub fn inotify_init() -> Result<Fd> {
    inotify_init1(0)
}

/// inotify_init1(2)
pub fn inotify_init1(flags: u32) -> Result<Fd> {
    if flags & !(IN_CLOEXEC | IN_NONBLOCK) != 0 {
        return Err(EINVAL);
    }
    let group = Group::new(INSTANCES.charge().ok_or(EMFILE)?);
    let open = OpenFlags::RDONLY | OpenFlags::from_bits_retain(flags & IN_NONBLOCK);
    let mode = FileMode::STREAM | FileMode::NOOP_SEEK | FileMode::READ;
    let file = anon_file("anon_inode:inotify", Box::new(InotifyFile(group)), open, mode)?;
    current().files()?.install(file, flags & IN_CLOEXEC != 0)
}

/// Every bit that a mask may have.
const ALL_BITS: u32 = IN_ALL_EVENTS
    | IN_UNMOUNT
    | IN_Q_OVERFLOW
    | IN_IGNORED
    | IN_ONLYDIR
    | IN_DONT_FOLLOW
    | IN_EXCL_UNLINK
    | IN_MASK_ADD
    | IN_MASK_CREATE
    | IN_ISDIR
    | IN_ONESHOT;

/// inotify_add_watch(2)
pub fn inotify_add_watch(fd: Fd, pathname: UserPath, mask: u32) -> Result<i32> {
    if mask & !ALL_BITS != 0 || mask & ALL_BITS == 0 {
        return Err(EINVAL);
    }
    let file = fd.io()?;
    if mask & IN_MASK_ADD != 0 && mask & IN_MASK_CREATE != 0 {
        return Err(EINVAL);
    }
    let group = &file.ops_as::<InotifyFile>().ok_or(EINVAL)?.0;
    let mut flags = LookupFlags::empty();
    flags.set(LookupFlags::FOLLOW, mask & IN_DONT_FOLLOW == 0);
    let inode = path_at(Fd::CWD, &pathname.read()?, flags)?.inode()?;
    if mask & IN_ONLYDIR != 0 && !inode.is_dir() {
        return Err(ENOTDIR);
    }
    permission(&inode, MAY_READ, &current().cred())?;
    group.watch(&inode, mask)
}

/// inotify_rm_watch(2)
pub fn inotify_rm_watch(fd: Fd, wd: i32) -> Result<()> {
    let file = fd.io()?;
    file.ops_as::<InotifyFile>().ok_or(EINVAL)?.0.unwatch(wd)
}
