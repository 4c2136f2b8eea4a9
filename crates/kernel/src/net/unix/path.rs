//! Sockets bound to a path: an inode of type socket, and the socket that hangs on it for as long as it lives.

use std::sync::{Arc, Weak};

use abi::Result;
use abi::errno::{ECONNREFUSED, EOPNOTSUPP};

use super::UnixSocket;
use crate::vfs::Inode;

/// What hangs on the inode. The socket doesn't live longer for it.
struct Bound(Weak<UnixSocket>);

/// Makes the inode. EADDRINUSE, and the errors of mknod(2).
pub fn bind(_socket: &Arc<UnixSocket>, _path: &[u8]) -> Result<()> {
    Err(EOPNOTSUPP)
}

/// The socket that was bound to a path. ECONNREFUSED if none listens there any more; the errors of the path walk.
pub fn find(_path: &[u8]) -> Result<Arc<UnixSocket>> {
    Err(EOPNOTSUPP)
}

#[expect(dead_code, reason = "until the path walk is there")]
fn attach(socket: &Arc<UnixSocket>, inode: &Inode) {
    let bound = Arc::new(Bound(Arc::downgrade(socket)));
    let old = inode.attached.lock().replace(bound);
    drop(old);
}

#[expect(dead_code, reason = "until the path walk is there")]
fn attached(inode: &Inode) -> Result<Arc<UnixSocket>> {
    let attached = inode.attached.lock().clone();
    let bound = attached.as_ref().and_then(|a| a.downcast_ref::<Bound>());
    bound.and_then(|b| b.0.upgrade()).ok_or(ECONNREFUSED)
}
