//! anon_inodefs: files without a name, behind eventfd, epoll, timerfd, signalfd, pidfd and inotify.

use std::sync::{Arc, LazyLock};

use abi::Result;
use abi::fcntl::OpenFlags;

use super::{File, FileMode, FileOps, FileType, FsType};
use crate::fs::pseudo::{PseudoFs, no_mount};

static ANON_TYPE: FsType =
    FsType { name: "anon_inodefs", nodev: true, cache_negative: false, mount: no_mount };
static ANON: LazyLock<PseudoFs> = LazyLock::new(|| PseudoFs::new(&ANON_TYPE, abi::stat::ANON_INODE_FS_MAGIC));

/// An open file with these operations; /proc/PID/fd shows `name`.
pub fn anon_file(name: &str, ops: Box<dyn FileOps>, flags: OpenFlags, mode: FileMode) -> Result<Arc<File>> {
    Ok(File::new(ANON.named(name, FileType::Regular, 0o600), ops, flags, mode))
}
