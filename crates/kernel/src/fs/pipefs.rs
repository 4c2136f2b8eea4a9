//! pipefs: the inodes of pipe(2).

use std::sync::LazyLock;

use super::pseudo::{PseudoFs, no_mount};
use crate::vfs::{FileType, FsType, Path};

static PIPEFS_TYPE: FsType = FsType { name: "pipefs", nodev: true, cache_negative: false, mount: no_mount };
static PIPEFS: LazyLock<PseudoFs> = LazyLock::new(|| PseudoFs::new(&PIPEFS_TYPE, abi::stat::PIPEFS_MAGIC));

/// A fresh inode, `pipe:[INO]`.
pub fn new_inode() -> Path {
    PIPEFS.path("pipe", FileType::Fifo, 0o600)
}

/// Shows it in /proc/filesystems.
pub fn register() {
    crate::vfs::register_filesystem(&PIPEFS_TYPE);
}
