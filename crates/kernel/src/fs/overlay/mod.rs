//! overlay: directories of several file systems as one, Linux's overlayfs.
//!
//! Lower layers are only read. The first change of a file copies it into the upper layer ("copy-up"); a name that is
//! removed is covered there by a whiteout (character device 0:0), and a directory that hides what lies below it is
//! marked opaque. The upper layer is what Linux's own overlayfs writes and reads, so either can go on with the other's.
//! Layers are used with the kernel's rights; the guest's are checked against what the overlay shows.
//!
//! | concept | where |
//! |---|---|
//! | mount, options, statfs | here, `options.rs` |
//! | what one name is made of; the table of inodes | `node.rs`, `lookup.rs` |
//! | [`InodeOps`](crate::vfs::InodeOps) | `inode.rs` |
//! | create, link, unlink, rename | `names.rs`, `rename.rs` |
//! | changes of the upper layer, whiteouts | `upper.rs` |
//! | copy-up | `copy_up.rs` |
//! | open file and directory | `file.rs`, `dir.rs` |
//!
//! Locks: an overlay inode's `rwsem` (taken by the VFS), then its `copying` (sleeping, one copy-up of a file; name
//! changes hold that of the file that goes), then `rwsem` of upper inodes. INODE_TABLE over the table of inodes; INODE
//! over the state of one overlay inode.

mod copy_up;
mod dir;
mod file;
mod inode;
mod lookup;
mod names;
mod node;
mod options;
mod rename;
mod upper;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use abi::Result;
use abi::errno::{EINVAL, ENOTDIR, EROFS};
use abi::mount::MS_RDONLY;
use abi::stat::{OVERLAYFS_SUPER_MAGIC, S_IFDIR, Statfs};
use hashbrown::HashMap;

use crate::sync::{SpinLock, rank};
use crate::vfs::namei::{LookupFlags, path_at};
use crate::vfs::{Fd, FsType, NewInode, Path, SuperBlock, SuperOps, next_anon_dev, register_filesystem};
use lookup::Found;
use node::{Known, Lower};
use options::Options;
use upper::Upper;

/// The file system type.
pub static OVERLAY: FsType = FsType { name: "overlay", nodev: true, cache_negative: true, mount: mount_fs };

/// Most lower layers, as in Linux.
const MAX_LAYERS: usize = 500;

/// Makes the type known to mount(2).
pub fn init() {
    register_filesystem(&OVERLAY);
}

/// One mounted overlay.
pub(super) struct OverlayFs {
    /// Lower layers, the topmost first.
    layers: Vec<Path>,
    upper: Option<Upper>,
    options: Options,
    /// Devices of the layers' file systems, each once: the index goes into inode numbers.
    devices: Vec<u64>,
    /// By the address of the real inode, which each overlay inode keeps in memory.
    inodes: SpinLock<HashMap<usize, Known>>,
}

fn mount_fs(_: &'static FsType, source: &[u8], flags: u32, data: &[u8]) -> Result<Arc<SuperBlock>> {
    let options = Options::parse(data)?;
    let find = |name: &[u8]| path_at(Fd::CWD, name, LookupFlags::FOLLOW | LookupFlags::DIRECTORY);
    let lowers = options.lower.iter().map(|name| find(name)).collect::<Result<Vec<_>>>()?;
    let upper = match (&options.upper, &options.work) {
        (Some(upper), Some(work)) => Some((find(upper)?, find(work)?)),
        (None, None) => None,
        _ => return Err(EINVAL),
    };
    build(source, flags, options, lowers, upper)
}

/// An overlay of `lower` (topmost first) whose changes go to directories that it makes in `scratch`, an empty file
/// system. For the boot code. Directories of a host that keeps us out are empty in it, and can be filled.
pub fn mount(lower: Vec<Path>, scratch: Path) -> Result<Arc<SuperBlock>> {
    let new = NewInode { mode: S_IFDIR | 0o755, uid: 0, gid: 0, rdev: 0 };
    let directory = |name: &[u8]| -> Result<Path> {
        let dentry = match scratch.dentry.lookup(name, false)? {
            Some(found) => found,
            None => upper::make(&scratch.dentry, name, &new, &[])?,
        };
        Ok(Path { mnt: scratch.mnt.clone(), dentry })
    };
    let upper = (directory(b"upper")?, directory(b"work")?);
    let options = Options { forbidden_is_empty: true, ..Options::default() };
    build(b"overlay", 0, options, lower, Some(upper))
}

fn build(
    source: &[u8],
    flags: u32,
    options: Options,
    layers: Vec<Path>,
    upper: Option<(Path, Path)>,
) -> Result<Arc<SuperBlock>> {
    if layers.is_empty() || layers.len() > MAX_LAYERS || (upper.is_none() && layers.len() < 2) {
        return Err(EINVAL);
    }
    // In an overlay a whiteout would cover instead of being seen. Linux refuses that too.
    if upper.as_ref().is_some_and(|(dir, _)| core::ptr::eq(dir.dentry.sb.fs_type, &OVERLAY)) {
        return Err(EINVAL);
    }
    let upper = upper.map(|(dir, work)| Upper::new(dir, &work)).transpose()?;
    let mut devices: Vec<u64> = Vec::new();
    for path in upper.iter().map(|u| &u.root).chain(&layers) {
        if !path.dentry.is_dir() {
            return Err(ENOTDIR);
        }
        if !devices.contains(&path.dentry.sb.dev) {
            devices.push(path.dentry.sb.dev);
        }
    }
    let found = Found {
        upper: upper.as_ref().map(|u| u.root.dentry.clone()),
        lowers: (layers.iter().enumerate())
            .map(|(layer, path)| Ok(Lower { layer, inode: path.inode()? }))
            .collect::<Result<_>>()?,
        redirect: None,
        opaque: false,
    };
    let readonly = upper.is_none();
    let fs = Arc::new(OverlayFs {
        layers,
        upper,
        options,
        devices,
        inodes: SpinLock::new(rank::INODE_TABLE, HashMap::new()),
    });
    let sb = SuperBlock::new(&OVERLAY, next_anon_dev(), source, Box::new(OverlaySuper(fs.clone())));
    let readonly = if readonly { MS_RDONLY as u32 } else { 0 };
    sb.flags.store(flags & MS_RDONLY as u32 | readonly, Ordering::Relaxed);
    sb.set_root(fs.inode(&sb, found, None)?);
    Ok(sb)
}

struct OverlaySuper(Arc<OverlayFs>);

impl SuperOps for OverlaySuper {
    fn statfs(&self, _: &SuperBlock) -> Result<Statfs> {
        let top = self.0.upper.as_ref().map_or(&self.0.layers[0], |u| &u.root);
        let real = &top.dentry.sb;
        Ok(Statfs { f_type: OVERLAYFS_SUPER_MAGIC, f_flags: 0, ..real.ops.statfs(real)? })
    }

    fn sync(&self, _: &SuperBlock) -> Result<()> {
        match &self.0.upper {
            Some(upper) if !self.0.options.volatile => upper.root.dentry.sb.ops.sync(&upper.root.dentry.sb),
            _ => Ok(()),
        }
    }

    fn remount(&self, _: &SuperBlock, flags: u32, _: &[u8]) -> Result<()> {
        // As in Linux, options that come again are ignored; without an upper layer nothing becomes writable.
        if self.0.upper.is_none() && flags & MS_RDONLY as u32 == 0 { Err(EROFS) } else { Ok(()) }
    }

    fn show_options(&self, _: &SuperBlock) -> String {
        self.0.options.show()
    }
}

#[cfg(test)]
pub(in crate::fs) use upper::rename as rename_dentry;
#[cfg(test)]
mod tests;
