//! devtmpfs: the device nodes of this machine, a tmpfs that comes filled. Every mount shows the same one.

use std::sync::Arc;

use abi::Result;
use abi::errno::{EEXIST, ENOENT};
use abi::stat::makedev;

use crate::sync::Mutex;
use crate::vfs::{FileType, FsType, Inode, NewInode, SuperBlock, notify};

use super::tmpfs;

/// devtmpfs
pub static DEVTMPFS: FsType = FsType { name: "devtmpfs", nodev: true, cache_negative: true, mount };

const NODES: [(&str, u32, u32, u32); 9] = [
    ("null", 1, 3, 0o666),
    ("zero", 1, 5, 0o666),
    ("full", 1, 7, 0o666),
    ("random", 1, 8, 0o666),
    ("urandom", 1, 9, 0o666),
    ("kmsg", 1, 11, 0o644),
    ("tty", 5, 0, 0o666),
    ("console", 5, 1, 0o600),
    ("ptmx", 5, 2, 0o666),
];

/// /dev/tty0 and on, whether or not they have a channel.
pub const CONSOLES: u32 = 16;

const LINKS: [(&str, &str); 4] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];

const DIRS: [&str; 2] = ["pts", "shm"];

fn mount(_: &'static FsType, _: &[u8], _: u32, _data: &[u8]) -> Result<Arc<SuperBlock>> {
    the_one()
}

fn the_one() -> Result<Arc<SuperBlock>> {
    static THE_ONE: std::sync::OnceLock<Mutex<Option<Arc<SuperBlock>>>> = std::sync::OnceLock::new();
    let mut slot = THE_ONE.get_or_init(|| Mutex::new(None)).lock();
    if let Some(sb) = &*slot {
        return Ok(sb.clone());
    }
    let sb = tmpfs::mount_as(&DEVTMPFS, b"devtmpfs", 0, b"mode=755")?;
    let root = sb.root()?.inode().ok_or(ENOENT)?;
    for dir in DIRS {
        root.ops.mkdir(&root, dir.as_bytes(), &node(FileType::Dir, 0o755, 0))?;
    }
    for (name, major, minor, mode) in NODES {
        add_node(&root, name, FileType::CharDev, makedev(major, minor), mode)?;
    }
    for minor in 0..CONSOLES {
        add_node(&root, &format!("tty{minor}"), FileType::CharDev, makedev(4, minor), 0o620)?;
    }
    for (name, target) in LINKS {
        root.ops.symlink(&root, name.as_bytes(), target.as_bytes(), &node(FileType::Symlink, 0o777, 0))?;
    }
    *slot = Some(sb.clone());
    Ok(sb)
}

fn node(kind: FileType, mode: u32, rdev: u64) -> NewInode {
    NewInode { mode: kind.bits() | mode, uid: 0, gid: 0, rdev }
}

fn add_node(root: &Arc<Inode>, name: &str, kind: FileType, rdev: u64, mode: u32) -> Result<()> {
    root.ops.create(root, name.as_bytes(), &node(kind, mode, rdev)).map(drop)
}

/// Makes the node of a device that has come. Sleeps. EEXIST.
pub fn add(name: &str, kind: FileType, rdev: u64, mode: u32) -> Result<()> {
    let dentry = the_one()?.root()?;
    let root = dentry.inode().ok_or(ENOENT)?;
    let _guard = root.rwsem.lock();
    if dentry.lookup_locked(name.as_bytes())?.is_some() {
        return Err(EEXIST);
    }
    let inode = root.ops.create(&root, name.as_bytes(), &node(kind, mode, rdev))?;
    let child = dentry.add(name.as_bytes(), Some(inode));
    notify::created(&root, &child, name.as_bytes());
    Ok(())
}

/// Removes the node of a device that has gone. Sleeps. ENOENT.
pub fn remove(name: &str) -> Result<()> {
    let dentry = the_one()?.root()?;
    let root = dentry.inode().ok_or(ENOENT)?;
    let _guard = root.rwsem.lock();
    let child = dentry.lookup_locked(name.as_bytes())?.ok_or(ENOENT)?;
    let inode = child.inode().ok_or(ENOENT)?;
    root.ops.unlink(&root, name.as_bytes(), &inode)?;
    child.unhash();
    notify::deleted(&root, &inode, name.as_bytes());
    Ok(())
}
