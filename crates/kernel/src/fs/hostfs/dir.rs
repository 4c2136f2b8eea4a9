//! An open directory of the host. Positions are the host's own, so that a reader can come back to any of them.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use abi::Result;
use abi::fcntl::SEEK_SET;

use super::file::with_buffer;
use super::node::Node;
use crate::sync::Mutex;
use crate::vfs::{DirEmit, File, FileOps, IovDest, Readdir, emit_dots};

/// Bytes of entries that one host call brings: what libc asks for, so that a guest's buffer takes just as many.
const BATCH: usize = 32 << 10;

/// An open directory.
pub(super) struct HostDir {
    node: Arc<Node>,
    fd: Arc<OwnedFd>,
    /// Where the host's descriptor stands.
    at: Mutex<u64>,
}

impl HostDir {
    pub(super) fn new(node: Arc<Node>, fd: Arc<OwnedFd>) -> HostDir {
        HostDir { node, fd, at: Mutex::new(0) }
    }
}

impl FileOps for HostDir {
    fn read(&self, _: &File, _: &mut IovDest<'_>, _: &mut u64) -> Result<usize> {
        Err(abi::errno::EISDIR)
    }

    fn iterate(&self, _: &File, pos: &mut u64, emit: Readdir<'_>) -> Result<()> {
        let mut at = self.at.lock();
        let mut full = false;
        with_buffer(BATCH, |buffer| {
            while !full {
                // At position 0 the host is asked to start again: what was made since must show.
                if *at != *pos || *pos == 0 {
                    host::fs::seek(self.fd.as_fd(), *pos, SEEK_SET)?;
                    *at = *pos;
                }
                let more = host::fs::getdents(self.fd.as_fd(), &mut buffer[..BATCH], |entry| {
                    *at = entry.next;
                    if full {
                        return;
                    }
                    let ino = self.node.fold_entry(entry.ino);
                    full = !emit(DirEmit { name: entry.name, ino, dtype: entry.dtype, next: entry.next });
                    if !full {
                        *pos = entry.next;
                    }
                })?;
                if !more {
                    break;
                }
            }
            Ok(())
        })
    }

    fn fsync(&self, _: &File, data_only: bool) -> Result<()> {
        host::fs::fsync(self.fd.as_fd(), data_only)
    }
}

/// An open directory that shows nothing: the host's /proc.
pub(super) struct EmptyDir;

impl FileOps for EmptyDir {
    fn read(&self, _: &File, _: &mut IovDest<'_>, _: &mut u64) -> Result<usize> {
        Err(abi::errno::EISDIR)
    }

    fn iterate(&self, file: &File, pos: &mut u64, emit: Readdir<'_>) -> Result<()> {
        emit_dots(file, pos, emit);
        Ok(())
    }
}
