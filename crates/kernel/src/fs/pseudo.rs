//! File systems that nobody mounts: pipefs, sockfs. Their inodes have no directory, only a name that
//! /proc/PID/fd shows.
//!
//! Lock: INODE, over the attributes of one inode.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use abi::Result;
use abi::errno::EINVAL;
use abi::fcntl::OpenFlags;
use abi::stat::Statfs;
use abi::time::Timespec;

use crate::sync::{SpinLock, rank};
use crate::task::current;
use crate::vfs::{
    Dentry, File, FileMode, FileOps, FileType, FsType, Inode, InodeOps, Kstat, Mount, MountFlags, Path,
    SetAttr, SetTime, SuperBlock, SuperOps, next_anon_dev,
};

/// Opens a file of such a file system by its inode number.
pub type OpenFixed = fn(u64) -> Box<dyn FileOps>;

/// One such file system.
pub struct PseudoFs {
    mnt: Arc<Mount>,
    next_ino: AtomicU64,
}

/// The `mount` of a type that cannot be mounted.
pub fn no_mount(_: &'static FsType, _: &[u8], _: u32, _: &[u8]) -> Result<Arc<SuperBlock>> {
    Err(EINVAL)
}

impl PseudoFs {
    /// The instance of `fs_type`; `magic` is statfs(2)'s.
    pub fn new(fs_type: &'static FsType, magic: i64) -> PseudoFs {
        let ops = Box::new(PseudoSuper { magic });
        let sb = SuperBlock::new(fs_type, next_anon_dev(), fs_type.name.as_bytes(), ops);
        let attr = SpinLock::new(rank::INODE, Attr::new(0o555, 0, 0));
        let root = Inode::new(&sb, 1, FileType::Dir, Box::new(PseudoInode { attr }));
        let root = sb.set_root(root);
        PseudoFs { mnt: Mount::new(&sb, &root, MountFlags::empty()), next_ino: AtomicU64::new(2) }
    }

    /// A fresh inode, owned by the current task, under the name `PREFIX:[INO]`.
    pub fn path(&self, prefix: &str, kind: FileType, mode: u32) -> Path {
        let ino = self.next_ino.fetch_add(1, Ordering::Relaxed);
        self.make(&format!("{prefix}:[{ino}]"), ino, kind, mode)
    }

    /// A fresh inode under `name`.
    pub fn named(&self, name: &str, kind: FileType, mode: u32) -> Path {
        self.make(name, self.next_ino.fetch_add(1, Ordering::Relaxed), kind, mode)
    }

    /// The inode of that number under `name`, a file that `open` opens.
    pub fn fixed(&self, name: &str, ino: u64, open: OpenFixed) -> Path {
        let attr = SpinLock::new(rank::INODE, Attr::new(0o444, 0, 0));
        let ops = Box::new(FixedInode { inode: PseudoInode { attr }, open });
        let dentry = Dentry::detached(name.as_bytes(), Inode::new(&self.mnt.sb, ino, FileType::Regular, ops));
        Path { mnt: self.mnt.clone(), dentry }
    }

    fn make(&self, name: &str, ino: u64, kind: FileType, mode: u32) -> Path {
        let cred = current().cred();
        let attr = SpinLock::new(rank::INODE, Attr::new(mode, cred.fsuid, cred.fsgid));
        self.with_ops(name, ino, kind, Box::new(PseudoInode { attr }))
    }

    /// An inode with operations of its own under `name`.
    pub fn with_ops(&self, name: &str, ino: u64, kind: FileType, ops: Box<dyn InodeOps>) -> Path {
        let inode = Inode::new(&self.mnt.sb, ino, kind, ops);
        let dentry = Dentry::detached(name.as_bytes(), inode);
        Path { mnt: self.mnt.clone(), dentry }
    }
}

/// An open stream file on `path`, with the access of `flags`.
pub fn stream_file(path: Path, ops: Box<dyn FileOps>, flags: OpenFlags) -> Arc<File> {
    let mut mode = FileMode::STREAM;
    mode.set(FileMode::READ, flags.readable());
    mode.set(FileMode::WRITE, flags.writable());
    File::new(path, ops, flags, mode)
}

struct PseudoSuper {
    magic: i64,
}

impl SuperOps for PseudoSuper {
    fn statfs(&self, _: &SuperBlock) -> Result<Statfs> {
        Ok(Statfs { f_type: self.magic, f_bsize: 4096, f_namelen: 255, f_frsize: 4096, ..Statfs::default() })
    }
}

/// Attributes of an inode that lives in memory alone.
#[derive(Clone, Copy)]
pub struct Attr {
    mode: u32,
    uid: u32,
    gid: u32,
    /// Last read.
    pub atime: Timespec,
    /// Last write.
    pub mtime: Timespec,
    /// Last change of the attributes.
    pub ctime: Timespec,
}

impl Attr {
    /// Permission bits and owner; all times are now.
    pub fn new(mode: u32, uid: u32, gid: u32) -> Attr {
        let now = now();
        Attr { mode: mode & 0o7777, uid, gid, atime: now, mtime: now, ctime: now }
    }

    /// stat(2) of `inode`, which has one name.
    pub fn stat(&self, inode: &Inode, size: u64) -> Kstat {
        Kstat {
            dev: inode.sb.dev,
            ino: inode.ino,
            mode: inode.kind.bits() | self.mode,
            nlink: 1,
            uid: self.uid,
            gid: self.gid,
            rdev: 0,
            size,
            blksize: 4096,
            blocks: 0,
            atime: self.atime,
            mtime: self.mtime,
            ctime: self.ctime,
            btime: None,
        }
    }

    /// Changes all but the size.
    pub fn set(&mut self, set: &SetAttr) {
        let now = now();
        let time = |set: SetTime| match set {
            SetTime::Now => now,
            SetTime::At(at) => at,
        };
        self.mode = set.mode.map_or(self.mode, |m| m & 0o7777);
        self.uid = set.uid.unwrap_or(self.uid);
        self.gid = set.gid.unwrap_or(self.gid);
        self.atime = set.atime.map_or(self.atime, time);
        self.mtime = set.mtime.map_or(self.mtime, time);
        self.ctime = set.ctime.map_or(self.ctime, time);
    }
}

fn now() -> Timespec {
    crate::time::now_realtime()
}

struct PseudoInode {
    attr: SpinLock<Attr>,
}

impl InodeOps for PseudoInode {
    fn getattr(&self, inode: &Inode) -> Result<Kstat> {
        Ok(self.attr.lock().stat(inode, 0))
    }

    fn setattr(&self, _: &Inode, set: &SetAttr) -> Result<()> {
        if set.size.is_some() {
            return Err(EINVAL);
        }
        self.attr.lock().set(set);
        Ok(())
    }
}

/// A file that can be opened by a name in another file system.
struct FixedInode {
    inode: PseudoInode,
    open: OpenFixed,
}

impl InodeOps for FixedInode {
    fn getattr(&self, inode: &Inode) -> Result<Kstat> {
        self.inode.getattr(inode)
    }

    fn setattr(&self, inode: &Inode, set: &SetAttr) -> Result<()> {
        self.inode.setattr(inode, set)
    }

    fn open(&self, inode: &Arc<Inode>, _: OpenFlags) -> Result<Box<dyn FileOps>> {
        Ok((self.open)(inode.ino))
    }
}
