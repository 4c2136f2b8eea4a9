//! [`SuperBlock`]: a mounted file system, and the registry of file system types (/proc/filesystems).

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use abi::Result;
use abi::errno::EINVAL;
use abi::mount::MS_RDONLY;
use abi::stat::Statfs;

use super::{Dentry, Inode};
use crate::sync::{Mutex, SpinLock, rank};

/// One instance of a file system; several mounts may show it.
pub struct SuperBlock {
    /// Its type.
    pub fs_type: &'static FsType,
    /// st_dev of its files: major 0 for one without a device.
    pub dev: u64,
    /// The file system's part.
    pub ops: Box<dyn SuperOps>,
    /// Root, set once when it is filled, taken when the last mount is gone: it holds the super block.
    root: SpinLock<Option<Arc<Dentry>>>,
    /// Number of mounts that show it, attached or not.
    active: AtomicU32,
    /// Files open for writing.
    pub writers: AtomicU32,
    /// SB_RDONLY and others, MS_* bits.
    pub flags: AtomicU32,
    /// What /proc/mounts shows as the device.
    pub source: SpinLock<Vec<u8>>,
    /// Whether a name that was not found may be remembered as such.
    pub cache_negative: bool,
    /// Held by a rename between directories: the shape of the tree stays.
    pub rename_mutex: Mutex<()>,
}

impl SuperBlock {
    /// A file system without a root yet: `set_root` follows.
    pub fn new(fs_type: &'static FsType, dev: u64, source: &[u8], ops: Box<dyn SuperOps>) -> Arc<SuperBlock> {
        Arc::new(SuperBlock {
            fs_type,
            dev,
            ops,
            root: SpinLock::new(rank::SUPER, None),
            active: AtomicU32::new(0),
            writers: AtomicU32::new(0),
            flags: AtomicU32::new(0),
            source: SpinLock::new(rank::SUPER, source.to_vec()),
            cache_negative: fs_type.cache_negative,
            rename_mutex: Mutex::new(()),
        })
    }

    /// Sets the root directory (or file, for a bind-like file system). Once.
    pub fn set_root(self: &Arc<Self>, inode: Arc<Inode>) -> Arc<Dentry> {
        let root = Dentry::root(inode);
        self.root.lock().get_or_insert(root).clone()
    }

    /// The root dentry; EINVAL before it is filled.
    pub fn root(&self) -> Result<Arc<Dentry>> {
        self.root.lock().clone().ok_or(EINVAL)
    }

    /// Whether nothing may be written: mounted or remounted with MS_RDONLY.
    pub fn is_readonly(&self) -> bool {
        self.flags.load(Ordering::Relaxed) & MS_RDONLY as u32 != 0
    }

    /// A mount shows it from now on.
    pub(super) fn get_active(&self) {
        self.active.fetch_add(1, Ordering::SeqCst);
    }

    /// A mount that showed it is gone. With the last one the file system goes: names are forgotten, what is dirty is
    /// written, and its own part is told. Sleeps.
    pub(super) fn put_active(&self) {
        if self.active.fetch_sub(1, Ordering::SeqCst) > 1 {
            return;
        }
        let root = self.root.lock().take();
        if let Some(root) = root {
            root.prune();
        }
        if let Err(errno) = self.ops.sync(self) {
            crate::pr_err!("{}: writing back at unmount failed: {errno}", self.fs_type.name);
        }
        self.ops.umount(self);
    }

    /// The file system's part as the type that it made it of.
    pub fn ops_as<T: SuperOps>(&self) -> Option<&T> {
        (&*self.ops as &dyn Any).downcast_ref()
    }
}

/// A file system's operations on itself.
pub trait SuperOps: Any + Send + Sync {
    /// statfs(2).
    fn statfs(&self, sb: &SuperBlock) -> Result<Statfs>;
    /// sync(2), syncfs(2): on return everything is durable.
    fn sync(&self, _sb: &SuperBlock) -> Result<()> {
        Ok(())
    }
    /// mount -o remount,OPTIONS: `data` as given.
    fn remount(&self, _sb: &SuperBlock, _flags: u32, _data: &[u8]) -> Result<()> {
        Ok(())
    }
    /// Options as /proc/mounts shows them, starting with a comma if any.
    fn show_options(&self, _sb: &SuperBlock) -> String {
        String::new()
    }
    /// The last mount is gone.
    fn umount(&self, _sb: &SuperBlock) {}
}

/// A type of file system.
pub struct FsType {
    /// As in /proc/filesystems.
    pub name: &'static str,
    /// `nodev` in /proc/filesystems: needs no block device.
    pub nodev: bool,
    /// See [`SuperBlock::cache_negative`].
    pub cache_negative: bool,
    /// mount(2): source, MS_* flags of the super block, and the option string.
    pub mount: MountFn,
}

/// Makes a super block: of the type, with source, MS_* flags and option string.
pub type MountFn = fn(&'static FsType, &[u8], u32, &[u8]) -> Result<Arc<SuperBlock>>;

static FILESYSTEMS: SpinLock<Vec<&'static FsType>> = SpinLock::new(rank::LEAF, Vec::new());
static NEXT_ANON_DEV: AtomicU32 = AtomicU32::new(1);

/// Makes a type known to mount(2).
pub fn register_filesystem(fs_type: &'static FsType) {
    let mut all = FILESYSTEMS.lock();
    if !all.iter().any(|t| t.name == fs_type.name) {
        all.push(fs_type);
    }
}

/// The types that are known, in order of registration.
pub fn filesystems() -> Vec<&'static FsType> {
    FILESYSTEMS.lock().clone()
}

/// A type by name.
pub fn find_fs(name: &[u8]) -> Option<&'static FsType> {
    FILESYSTEMS.lock().iter().find(|t| t.name.as_bytes() == name).copied()
}

/// A device number for a file system without a device: 0:N.
pub fn next_anon_dev() -> u64 {
    abi::stat::makedev(0, NEXT_ANON_DEV.fetch_add(1, Ordering::Relaxed))
}
