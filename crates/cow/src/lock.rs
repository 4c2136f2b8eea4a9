//! The locks that User-Mode Linux takes on its disks: fcntl(2) over the whole file, shared to read and exclusive to
//! write. They go with the process, whichever way it ends.

use std::fs::File;
use std::path::Path;

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use crate::Result;

/// Locks a file, or says who has it.
pub fn lock(file: &File, path: &Path, exclusive: bool) -> Result<()> {
    let operation = if exclusive {
        FlockOperation::NonBlockingLockExclusive
    } else {
        FlockOperation::NonBlockingLockShared
    };
    match rustix::fs::fcntl_lock(file, operation) {
        Ok(()) => Ok(()),
        // A file system without locks has nobody who could hold one.
        Err(Errno::NOLCK | Errno::OPNOTSUPP) => Ok(()),
        Err(Errno::AGAIN | Errno::ACCESS) => {
            let holder =
                lock_holder(file, exclusive).map_or(String::new(), |pid| format!(" by process {pid}"));
            Err(format!("{} is in use{holder}", path.display()))
        }
        Err(e) => Err(format!("{}: it cannot be locked: {e}", path.display())),
    }
}

/// The process whose lock is in the way.
pub fn lock_holder(file: &File, exclusive: bool) -> Option<i32> {
    let kind =
        if exclusive { rustix::process::FlockType::WriteLock } else { rustix::process::FlockType::ReadLock };
    let holder = rustix::process::fcntl_getlk(file, &kind.into()).ok()??;
    holder.pid.map(|pid| pid.as_raw_nonzero().get())
}
