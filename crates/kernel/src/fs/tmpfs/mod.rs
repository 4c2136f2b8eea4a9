//! tmpfs(5), and ramfs and rootfs, which are tmpfs without limits.
//!
//! - `node.rs`: inodes: attributes, extended attributes, directory operations.
//! - `dir.rs`: entries of a directory.
//! - `data.rs`: contents of a file: pages on the kernel's heap, or a host memory object once a guest maps it.
//! - `file.rs`: open files.
//! - `memfd.rs`: memfd_create(2) and its seals.
//!
//! Locks: INODE, one for each node, over attributes, entries and data. User memory is copied outside it. Two nodes are
//! locked only one after the other, apart from rename, which the VFS serialises by the directories' rwsem.

mod data;
pub mod dir;
mod file;
pub mod memfd;
mod node;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use abi::Result;
use abi::errno::{EINVAL, ENOSPC};
use abi::stat::Statfs;

use crate::vfs::{FileType, FsType, Inode, NewInode, SuperBlock, SuperOps, next_anon_dev};
use data::PAGE;
pub use data::heap_bytes;
use node::Node;

/// tmpfs
pub static TMPFS: FsType = FsType { name: "tmpfs", nodev: true, cache_negative: true, mount: mount_as };
/// ramfs: no limits.
pub static RAMFS: FsType = FsType { name: "ramfs", nodev: true, cache_negative: true, mount: mount_as };

/// A tmpfs: limits and what is used.
pub struct Tmpfs {
    max_pages: AtomicU64,
    max_inodes: AtomicU64,
    pages: AtomicU64,
    inodes: AtomicU64,
    next_ino: AtomicU64,
}

impl Tmpfs {
    /// Counts `n` more pages; ENOSPC.
    fn charge(&self, n: u64) -> Result<()> {
        take(&self.pages, n, self.max_pages.load(Ordering::Relaxed))
    }

    /// Whether `n` more pages could be counted; ENOSPC.
    fn has_room(&self, n: u64) -> Result<()> {
        self.charge(n)?;
        self.uncharge(n);
        Ok(())
    }

    /// Replaces a charge of `old` pages by one of `new`, whatever the limit.
    fn recharge(&self, old: u64, new: u64) {
        self.pages.fetch_add(new, Ordering::Relaxed);
        self.uncharge(old);
    }

    fn uncharge(&self, n: u64) {
        self.pages.fetch_sub(n, Ordering::Relaxed);
    }

    fn charge_inode(&self) -> Result<u64> {
        take(&self.inodes, 1, self.max_inodes.load(Ordering::Relaxed))?;
        Ok(self.next_ino.fetch_add(1, Ordering::Relaxed))
    }

    fn uncharge_inode(&self) {
        self.inodes.fetch_sub(1, Ordering::Relaxed);
    }
}

fn take(used: &AtomicU64, n: u64, max: u64) -> Result<()> {
    let new = |used: u64| used.checked_add(n).filter(|&sum| sum <= max);
    used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, new).map(drop).map_err(|_| ENOSPC)
}

impl SuperOps for Tmpfs {
    fn umount(&self, sb: &SuperBlock) {
        if let Ok(root) = sb.root()
            && let Some(inode) = root.inode()
        {
            Node::dismantle(&inode);
        }
    }

    fn statfs(&self, _: &SuperBlock) -> Result<Statfs> {
        let limit = |max: u64| if max == u64::MAX { 0 } else { max };
        let blocks = limit(self.max_pages.load(Ordering::Relaxed));
        let files = limit(self.max_inodes.load(Ordering::Relaxed));
        let free = blocks.saturating_sub(self.pages.load(Ordering::Relaxed));
        Ok(Statfs {
            f_type: abi::stat::TMPFS_MAGIC,
            f_bsize: PAGE as i64,
            f_frsize: PAGE as i64,
            f_blocks: blocks,
            f_bfree: free,
            f_bavail: free,
            f_files: files,
            f_ffree: files.saturating_sub(self.inodes.load(Ordering::Relaxed)),
            f_namelen: 255,
            ..Default::default()
        })
    }

    fn remount(&self, _: &SuperBlock, _: u32, data: &[u8]) -> Result<()> {
        let options = Options::parse(data)?;
        if let Some(pages) = options.pages {
            if pages < self.pages.load(Ordering::Relaxed) {
                return Err(EINVAL);
            }
            self.max_pages.store(pages, Ordering::Relaxed);
        }
        if let Some(inodes) = options.inodes {
            if inodes < self.inodes.load(Ordering::Relaxed) {
                return Err(EINVAL);
            }
            self.max_inodes.store(inodes, Ordering::Relaxed);
        }
        Ok(())
    }

    fn show_options(&self, sb: &SuperBlock) -> String {
        let mut text = String::new();
        let pages = self.max_pages.load(Ordering::Relaxed);
        if pages != u64::MAX {
            text += &format!(",size={}k", pages * (PAGE as u64 / 1024));
        }
        if let Ok(attr) = sb.root().and_then(|r| r.inode().ok_or(EINVAL)).and_then(|i| i.getattr()) {
            text += &format!(",mode={:o}", attr.mode & 0o7777);
        }
        text
    }
}

#[derive(Default)]
struct Options {
    pages: Option<u64>,
    inodes: Option<u64>,
    mode: Option<u32>,
    uid: Option<u32>,
    gid: Option<u32>,
}

impl Options {
    fn parse(data: &[u8]) -> Result<Options> {
        let mut options = Options::default();
        let text = core::str::from_utf8(data).map_err(|_| EINVAL)?;
        for word in text.split(',').filter(|w| !w.is_empty()) {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            match name {
                "size" => options.pages = Some(bytes(value)?.div_ceil(PAGE as u64)),
                "nr_blocks" => options.pages = Some(unlimited(crate::boot::parse_size(value).ok_or(EINVAL)?)),
                "nr_inodes" => {
                    options.inodes = Some(unlimited(crate::boot::parse_size(value).ok_or(EINVAL)?))
                }
                "mode" => options.mode = Some(u32::from_str_radix(value, 8).map_err(|_| EINVAL)? & 0o7777),
                "uid" => options.uid = Some(value.parse().map_err(|_| EINVAL)?),
                "gid" => options.gid = Some(value.parse().map_err(|_| EINVAL)?),
                // Placement hints without a meaning here.
                "huge" | "mpol" | "inode32" | "inode64" | "noswap" => {}
                _ => return Err(EINVAL),
            }
        }
        Ok(options)
    }
}

/// 0 stands for no limit.
fn unlimited(n: u64) -> u64 {
    if n == 0 { u64::MAX } else { n }
}

/// `size=`: bytes with a unit, or a percentage of memory.
fn bytes(value: &str) -> Result<u64> {
    if let Some(percent) = value.strip_suffix('%') {
        let percent: u64 = percent.parse().map_err(|_| EINVAL)?;
        return Ok((crate::boot::memory_size() / 100).saturating_mul(percent));
    }
    let bytes = crate::boot::parse_size(value).ok_or(EINVAL)?;
    Ok(if bytes == 0 { !(PAGE as u64 - 1) } else { bytes })
}

/// A new tmpfs of that type: devtmpfs is one as well.
pub fn mount_as(
    fs_type: &'static FsType,
    source: &[u8],
    _flags: u32,
    data: &[u8],
) -> Result<Arc<SuperBlock>> {
    let options = if fs_type.name == "ramfs" { Options::default() } else { Options::parse(data)? };
    let half_of_memory = match crate::boot::memory_size() / 2 / PAGE as u64 {
        0 => u64::MAX,
        pages => pages,
    };
    let default_pages = if fs_type.name == "ramfs" { u64::MAX } else { half_of_memory };
    let tmpfs = Tmpfs {
        max_pages: AtomicU64::new(options.pages.unwrap_or(default_pages)),
        max_inodes: AtomicU64::new(options.inodes.unwrap_or(if fs_type.name == "ramfs" {
            u64::MAX
        } else {
            half_of_memory
        })),
        pages: AtomicU64::new(0),
        inodes: AtomicU64::new(0),
        next_ino: AtomicU64::new(1),
    };
    let sb = SuperBlock::new(fs_type, next_anon_dev(), source, Box::new(tmpfs));
    let new = NewInode {
        mode: FileType::Dir.bits() | options.mode.unwrap_or(0o1777),
        uid: options.uid.unwrap_or(0),
        gid: options.gid.unwrap_or(0),
        rdev: 0,
    };
    let root = Node::make(&sb, &new, None)?;
    sb.set_root(root);
    Ok(sb)
}

/// The tmpfs that an inode belongs to.
///
/// # Panics
/// For an inode of another file system.
fn tmpfs_of(sb: &SuperBlock) -> &Tmpfs {
    sb.ops_as::<Tmpfs>().expect("an inode of tmpfs lies in a tmpfs")
}

/// A tmpfs without a mount, for memfd and shared memory.
fn kernel_mount() -> Result<&'static Arc<SuperBlock>> {
    static SB: std::sync::OnceLock<Result<Arc<SuperBlock>>> = std::sync::OnceLock::new();
    SB.get_or_init(|| mount_as(&RAMFS, b"tmpfs", 0, b"")).as_ref().map_err(|e| *e)
}

/// An inode outside any directory.
fn detached_inode(mode: u32) -> Result<Arc<Inode>> {
    let cred = crate::task::current().cred();
    let new = NewInode { mode, uid: cred.fsuid, gid: cred.fsgid, rdev: 0 };
    let root = kernel_mount()?.root()?.inode().ok_or(EINVAL)?;
    root.ops.tmpfile(&root, &new)
}
