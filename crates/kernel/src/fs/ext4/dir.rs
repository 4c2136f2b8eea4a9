//! Open directories.

use std::sync::Arc;

use abi::Result;
use abi::errno::{EINVAL, EISDIR};
use abi::fcntl::{SEEK_CUR, SEEK_SET};

use super::node::Node;
use super::{ioctl, volume_of};
use crate::vfs::{DirEmit, File, FileOps, IovDest, Readdir};

/// A directory. Positions are the library's cookies.
pub(super) struct DirFile;

impl FileOps for DirFile {
    fn read(&self, _: &File, _: &mut IovDest<'_>, _: &mut u64) -> Result<usize> {
        Err(EISDIR)
    }

    fn iterate(&self, file: &File, pos: &mut u64, emit: Readdir<'_>) -> Result<()> {
        let node = Node::of(file.inode());
        // What is listed goes to the caller in the lock of the directory: the buffer is the kernel's.
        let mut at = *pos;
        let outcome = node.inode.read_dir(*pos, &mut |entry| {
            let taken = emit(DirEmit {
                name: &entry.name,
                ino: u64::from(entry.ino),
                dtype: entry.kind,
                next: entry.next,
            });
            if taken {
                at = entry.next;
            }
            taken
        });
        let moved = at != *pos;
        *pos = at;
        if moved {
            node.accessed(file);
            return Ok(());
        }
        outcome
    }

    fn seek(&self, _: &File, pos: u64, offset: i64, whence: u32) -> Result<u64> {
        let base = match whence {
            SEEK_SET => 0,
            SEEK_CUR => pos as i64,
            _ => return Err(EINVAL),
        };
        u64::try_from(base.checked_add(offset).ok_or(EINVAL)?).map_err(|_| EINVAL)
    }

    fn fsync(&self, file: &File, data_only: bool) -> Result<()> {
        Node::of(file.inode()).inode.fsync(data_only)
    }

    fn ioctl(&self, file: &File, cmd: u32, arg: u64) -> Result<u64> {
        ioctl::ioctl(file, Arc::clone(volume_of(&file.inode().sb)), cmd, arg)
    }
}
