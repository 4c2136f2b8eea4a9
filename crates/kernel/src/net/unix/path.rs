//! Sockets bound to a path: an inode of type socket, and the socket that hangs on it for as long as it lives.

use std::sync::{Arc, Weak};

use abi::Result;
use abi::errno::{EADDRINUSE, ECONNREFUSED, EEXIST};

use super::UnixSocket;
use crate::task::current;
use crate::vfs::namei::{LookupFlags, MAY_WRITE, lookup_parent, mknod_at, path_at, permission};
use crate::vfs::{Fd, FileType};

/// What hangs on the inode. The socket doesn't live longer for it.
struct Bound(Weak<UnixSocket>);

/// Makes the inode. EADDRINUSE, and the errors of mknod(2).
pub fn bind(socket: &Arc<UnixSocket>, path: &[u8]) -> Result<()> {
    let parent = lookup_parent(Fd::CWD, path)?;
    let made = mknod_at(&parent, FileType::Socket.bits() | 0o777, 0);
    let dentry = made.map_err(|errno| if errno == EEXIST { EADDRINUSE } else { errno })?;
    let Some(inode) = dentry.inode() else { return Ok(()) };
    let bound = Arc::new(Bound(Arc::downgrade(socket)));
    let old = inode.attached.lock().replace(bound);
    drop(old);
    Ok(())
}

/// Whether there is something at a path.
pub fn exists(path: &[u8]) -> bool {
    path_at(Fd::CWD, path, LookupFlags::empty()).is_ok()
}

/// The socket that was bound to a path. ECONNREFUSED if it is gone, or no socket ever was; EACCES; the errors of the
/// path walk.
pub fn find(path: &[u8]) -> Result<Arc<UnixSocket>> {
    let inode = path_at(Fd::CWD, path, LookupFlags::FOLLOW)?.inode()?;
    permission(&inode, MAY_WRITE, &current().cred())?;
    let attached = inode.attached.lock().clone();
    let bound = attached.as_ref().and_then(|a| a.downcast_ref::<Bound>());
    bound.and_then(|b| b.0.upgrade()).ok_or(ECONNREFUSED)
}
