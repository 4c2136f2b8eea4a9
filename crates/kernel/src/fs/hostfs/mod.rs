//! hostfs: a directory of the host as a file system.
//!
//! It never shows anything outside its root, whatever the host side renames or links while the guest looks: every
//! operation resolves the whole path from the root's descriptor anew and follows no link of the host (`host::fs`).
//! So an inode holds no descriptor, only its place in the tree (`place.rs`); open files do (`file.rs`, `dir.rs`).
//! Owners and modes are what the host shows; the guest's permission check comes on top of what the host lets us do, and
//! the host's EACCES and EPERM pass through. Devices, FIFOs and sockets of the host are shown but are the guest's own
//! when opened. The host's /proc is shown empty: what is in it is neither files nor the guest's business.
//!
//! | concept | where |
//! |---|---|
//! | mount, options, statfs | here, `options.rs` |
//! | identity, attributes, descriptors of a file | `node.rs` |
//! | the names that lead to it | `place.rs` |
//! | [`InodeOps`](crate::vfs::InodeOps) | `inode.rs` |
//! | open regular file, mmap | `file.rs` |
//! | open directory | `dir.rs` |
//!
//! Locks: INODE_TABLE (the table of inodes), INODE (place, attributes, open descriptors of one node; one node at a
//! time). None is held over a host call.

mod dir;
mod file;
mod inode;
mod node;
mod options;
mod place;

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use abi::Result;
use abi::errno::{EINVAL, EPERM};
use abi::fcntl::O_RDONLY;
use abi::mount::MS_RDONLY;
use abi::stat::{HOSTFS_SUPER_MAGIC, PROC_SUPER_MAGIC, Statfs};
use hashbrown::HashMap;

use crate::sync::{SpinLock, rank};
use crate::vfs::{FsType, SuperBlock, SuperOps, next_anon_dev, register_filesystem};
use node::{Key, Known};
pub use options::{Cache, Options};

/// The file system type. Names that were not found are asked for again: the host may have made them since.
pub static HOSTFS: FsType = FsType { name: "hostfs", nodev: true, cache_negative: false, mount: mount_fs };
/// The same for trees that don't change (`cache=always`).
static HOSTFS_CACHED: FsType = FsType { name: "hostfs", nodev: true, cache_negative: true, mount: mount_fs };

/// What `hostfs=` on the command line allows: the only directory below which guests can mount.
struct Jail {
    root: OwnedFd,
    append: bool,
}

static JAIL: OnceLock<Option<Jail>> = OnceLock::new();

/// Makes the type known to mount(2).
pub fn init() {
    register_filesystem(&HOSTFS);
}

/// `hostfs=DIR[,append]`: from now on mounts by the guest stay below `dir`, and with `append` its files can only grow.
/// Once, before the guest runs.
pub fn confine(dir: &[u8], append: bool) -> Result<()> {
    let jail = Jail { root: host::fs::open_root(dir)?, append };
    JAIL.set(Some(jail)).map_err(|_| EINVAL)
}

/// From now on the guest can mount no host directory at all. Once, before the guest runs.
pub fn forbid() -> Result<()> {
    JAIL.set(None).map_err(|_| EINVAL)
}

/// One mounted host directory.
pub(super) struct HostFs {
    /// Its root, O_PATH.
    root: OwnedFd,
    root_dev: u64,
    options: Options,
    /// Whether owners can be set: the host lets root alone.
    privileged: bool,
    nodes: SpinLock<HashMap<Key, Known>>,
    /// Host devices that are its /proc: never entered.
    procs: SpinLock<Vec<u64>>,
    /// Host devices below the root beside the root's own, for distinct inode numbers.
    devices: SpinLock<Vec<u64>>,
}

fn mount_fs(_: &'static FsType, source: &[u8], flags: u32, data: &[u8]) -> Result<Arc<SuperBlock>> {
    let (mut options, path) = Options::parse(data)?;
    let path = path.or_else(|| source.starts_with(b"/").then(|| source.to_vec()));
    // The name that root= puts there stands for no directory.
    let path = path.filter(|p| p != b"/dev/root").unwrap_or_else(|| b"/".to_vec());
    let root = match JAIL.get() {
        None => host::fs::open_root(&path)?,
        Some(None) => return Err(EPERM),
        Some(Some(jail)) => {
            options.append |= jail.append;
            host::fs::open_in_root(jail.root.as_fd(), &path)?
        }
    };
    mount_fd(root, &path, flags, options)
}

/// Mounts host path `path`, for the boot code: no confinement. `flags` are MS_*.
pub fn mount(path: &[u8], flags: u32, options: Options) -> Result<Arc<SuperBlock>> {
    mount_fd(host::fs::open_root(path)?, path, flags, options)
}

fn mount_fd(root: OwnedFd, source: &[u8], flags: u32, options: Options) -> Result<Arc<SuperBlock>> {
    let stat = host::fs::statx(root.as_fd())?;
    if is_proc(&root)? {
        return Err(EPERM);
    }
    let fs = Arc::new(HostFs {
        root_dev: node::device_of(&stat),
        root,
        privileged: host::fs::is_privileged(),
        nodes: SpinLock::new(rank::INODE_TABLE, HashMap::new()),
        procs: SpinLock::new(rank::INODE, Vec::new()),
        devices: SpinLock::new(rank::INODE, Vec::new()),
        options,
    });
    let fs_type = if options.cache == Cache::Always { &HOSTFS_CACHED } else { &HOSTFS };
    let sb = SuperBlock::new(fs_type, next_anon_dev(), source, Box::new(HostSuper(fs.clone())));
    sb.flags.store(flags & MS_RDONLY as u32, Ordering::Relaxed);
    sb.set_root(fs.inode(&sb, &stat, place::Place::Root)?);
    Ok(sb)
}

/// Whether a descriptor is of the host's /proc, where this very process has its memory and descriptors as files.
fn is_proc(fd: &OwnedFd) -> Result<bool> {
    Ok(host::fs::statfs(fd.as_fd())?.f_type == PROC_SUPER_MAGIC)
}

impl HostFs {
    /// Whether a directory on device `dev` shows nothing of what the host has there.
    fn hides(&self, dev: u64) -> bool {
        dev != self.root_dev && self.procs.lock().contains(&dev)
    }

    /// A file on another device than its directory was found: looks what file system that is.
    fn crossed(&self, fd: &OwnedFd, dev: u64) -> Result<()> {
        if dev != self.root_dev && is_proc(fd)? {
            let mut procs = self.procs.lock();
            if !procs.contains(&dev) {
                procs.push(dev);
            }
        }
        Ok(())
    }
}

struct HostSuper(Arc<HostFs>);

impl SuperOps for HostSuper {
    fn statfs(&self, _: &SuperBlock) -> Result<Statfs> {
        let host = host::fs::statfs(self.0.root.as_fd())?;
        Ok(Statfs { f_type: HOSTFS_SUPER_MAGIC, f_fsid: [0; 2], f_flags: 0, ..host })
    }

    fn sync(&self, sb: &SuperBlock) -> Result<()> {
        if sb.flags.load(Ordering::Relaxed) & MS_RDONLY as u32 != 0 {
            return Ok(());
        }
        let root = host::fs::reopen(self.0.root.as_fd(), O_RDONLY)?;
        host::fs::sync_fs(root.as_fd())
    }

    fn remount(&self, _: &SuperBlock, _: u32, data: &[u8]) -> Result<()> {
        let (new, path) = Options::parse(data)?;
        // What there is cannot be changed, but may be said again, as mount(8) does.
        if path.is_some() || (new != Options::default() && new != self.0.options) {
            return Err(EINVAL);
        }
        Ok(())
    }

    fn show_options(&self, _: &SuperBlock) -> String {
        self.0.options.show()
    }
}

#[cfg(test)]
mod tests;
