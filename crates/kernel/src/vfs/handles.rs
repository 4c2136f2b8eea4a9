//! File handles: name_to_handle_at(2), open_by_handle_at(2). No file system here exports any.

use abi::Result;
use abi::cred::CAP_DAC_READ_SEARCH;
use abi::errno::*;
use abi::fcntl::*;

use super::Fd;
use super::namei::{LookupFlags, path_at};
use crate::syscall::UserPath;
use crate::task::current;

/// name_to_handle_at(2): EOPNOTSUPP, after the errors of the name.
pub fn name_to_handle_at(dirfd: Fd, path: UserPath, _handle: u64, _mount_id: u64, flags: u32) -> Result<()> {
    if flags & !(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH | AT_HANDLE_FID) != 0 {
        return Err(EINVAL);
    }
    let mut lookup = LookupFlags::empty();
    lookup.set(LookupFlags::FOLLOW, flags & AT_SYMLINK_FOLLOW != 0);
    lookup.set(LookupFlags::EMPTY_PATH, flags & AT_EMPTY_PATH != 0);
    path_at(dirfd, &path.read()?, lookup)?;
    Err(EOPNOTSUPP)
}

/// open_by_handle_at(2): a handle that names no file is stale.
pub fn open_by_handle_at(mount_fd: Fd, _handle: u64, _flags: u32) -> Result<Fd> {
    if !current().cred().capable(CAP_DAC_READ_SEARCH) {
        return Err(EPERM);
    }
    if mount_fd != Fd::CWD {
        mount_fd.file()?;
    }
    Err(ESTALE)
}
