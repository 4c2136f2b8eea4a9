//! [`Inode`]: a file in memory, and [`InodeOps`]: what its file system does.
//!
//! Permission, name rules (`.`/`..`, length, trailing slashes), read-only mounts and existence are checked by the path
//! walk and the syscalls before a method is called. Default bodies answer the errno of a file system that lacks the
//! operation.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use abi::Result;
use abi::errno::{EINVAL, ENODEV, ENOTDIR, ENXIO, EOPNOTSUPP, EPERM, ETXTBSY};
use abi::fcntl::OpenFlags;

use super::{FileOps, FileType, Kstat, Path, SetAttr, SuperBlock};
use crate::sync::{Mutex, SpinLock, WaitQueue, rank};
use crate::task::Cred;

/// What an access needs: the bits of access(2).
pub type Access = u32;

/// A file that is in use. File systems keep what they know in `ops`.
pub struct Inode {
    /// Its file system.
    pub sb: Arc<SuperBlock>,
    /// Number within the file system.
    pub ino: u64,
    /// Type; never changes.
    pub kind: FileType,
    /// The file system's part.
    pub ops: Box<dyn InodeOps>,
    /// Serialises changes of a directory, and writers of a file. Parent before child, lower address first otherwise.
    pub rwsem: Mutex<()>,
    /// open(O_TMPFILE|O_EXCL): linkat(2) never gives it a name.
    pub never_linked: AtomicBool,
    /// Writers (positive) or running programs (negative): ETXTBSY.
    write_count: AtomicI32,
    /// What other parts hang on an inode: the pipe of a FIFO, the socket bound to a name.
    pub attached: SpinLock<Option<Arc<dyn Any + Send + Sync>>>,
    /// flock, POSIX and OFD locks.
    pub locks: SpinLock<super::locks::FileLocks>,
    /// Waiters for a lock.
    pub lock_queue: WaitQueue,
    /// inotify watches.
    pub watches: SpinLock<Vec<Arc<dyn InodeWatch>>>,
}

/// Somebody who is told what happens to an inode (inotify).
pub trait InodeWatch: Send + Sync {
    /// `mask` are IN_* bits; `name` is the entry's in a watched directory; `cookie` pairs the halves of a rename.
    fn event(&self, mask: u32, cookie: u32, name: Option<&[u8]>);
    /// Names it for removal.
    fn id(&self) -> u64;
}

impl Inode {
    /// An inode. The file system keeps it in a table of its own if several lookups must find the same one.
    pub fn new(sb: &Arc<SuperBlock>, ino: u64, kind: FileType, ops: Box<dyn InodeOps>) -> Arc<Inode> {
        Arc::new(Inode {
            sb: sb.clone(),
            ino,
            kind,
            ops,
            rwsem: Mutex::new(()),
            never_linked: AtomicBool::new(false),
            write_count: AtomicI32::new(0),
            attached: SpinLock::new(rank::INODE, None),
            locks: SpinLock::new(rank::FILE_LOCKS, super::locks::FileLocks::default()),
            lock_queue: WaitQueue::new(),
            watches: SpinLock::new(rank::INOTIFY, Vec::new()),
        })
    }

    /// The file system's part as the type that it made it of.
    pub fn ops_as<T: InodeOps>(&self) -> Option<&T> {
        (&*self.ops as &dyn Any).downcast_ref()
    }

    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.kind == FileType::Dir
    }

    /// Attributes.
    pub fn getattr(&self) -> Result<Kstat> {
        self.ops.getattr(self)
    }

    /// Counts a writer; ETXTBSY while a program runs from it.
    pub fn get_write_access(&self) -> Result<()> {
        self.write_count
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| (n >= 0).then_some(n + 1))
            .map(drop)
            .map_err(|_| ETXTBSY)
    }

    /// Ends [`Inode::get_write_access`].
    pub fn put_write_access(&self) {
        self.write_count.fetch_sub(1, Ordering::SeqCst);
    }

    /// Counts a running program; ETXTBSY while somebody has it open for writing.
    pub fn deny_write_access(&self) -> Result<()> {
        self.write_count
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| (n <= 0).then_some(n - 1))
            .map(drop)
            .map_err(|_| ETXTBSY)
    }

    /// Ends [`Inode::deny_write_access`].
    pub fn allow_write_access(&self) {
        self.write_count.fetch_add(1, Ordering::SeqCst);
    }
}

/// What a new inode begins with: umask, setgid directories and ownership are already worked in.
#[derive(Clone, Copy, Debug)]
pub struct NewInode {
    /// Type and permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device number for a device node, else 0.
    pub rdev: u64,
}

/// A file system's operations on its inodes. `dir` and `inode` are the objects whose `ops` this is.
///
/// Methods that look up or change a directory's names are called with its `rwsem` held (rename with both directories'),
/// rmdir and rename with that of a directory that goes as well; all others without.
#[expect(unused_variables, reason = "default bodies only answer an errno")]
pub trait InodeOps: Any + Send + Sync {
    /// stat(2).
    fn getattr(&self, inode: &Inode) -> Result<Kstat>;

    /// chmod, chown, truncate, utimensat. Called without `rwsem`: what must not overlap with a write takes it.
    fn setattr(&self, inode: &Inode, attr: &SetAttr) -> Result<()> {
        Err(EPERM)
    }

    /// The inode of an entry; ENOENT.
    fn lookup(&self, dir: &Arc<Inode>, name: &[u8]) -> Result<Arc<Inode>> {
        Err(ENOTDIR)
    }

    /// Whether a name that isn't there answers ENOENT even to those who would make it (proc).
    fn refuses_names(&self, dir: &Inode) -> bool {
        false
    }

    /// Whether a default access control list stands in the umask's place for new names in `dir`.
    fn ignores_umask(&self, dir: &Inode) -> bool {
        false
    }

    /// Makes any inode but a directory or a symlink (open O_CREAT, mknod, bind of a socket). EEXIST.
    fn create(&self, dir: &Arc<Inode>, name: &[u8], new: &NewInode) -> Result<Arc<Inode>> {
        Err(EPERM)
    }

    /// mkdir(2).
    fn mkdir(&self, dir: &Arc<Inode>, name: &[u8], new: &NewInode) -> Result<Arc<Inode>> {
        Err(EPERM)
    }

    /// symlink(2).
    fn symlink(&self, dir: &Arc<Inode>, name: &[u8], target: &[u8], new: &NewInode) -> Result<Arc<Inode>> {
        Err(EPERM)
    }

    /// link(2).
    fn link(&self, dir: &Arc<Inode>, name: &[u8], target: &Arc<Inode>) -> Result<()> {
        Err(EPERM)
    }

    /// unlink(2) of `inode`, which `name` was found to be.
    fn unlink(&self, dir: &Arc<Inode>, name: &[u8], inode: &Arc<Inode>) -> Result<()> {
        Err(EPERM)
    }

    /// rmdir(2): ENOTEMPTY.
    fn rmdir(&self, dir: &Arc<Inode>, name: &[u8], inode: &Arc<Inode>) -> Result<()> {
        Err(EPERM)
    }

    /// rename(2) and renameat2(2): `flags` are RENAME_*; EINVAL for one that isn't supported. `target` is what
    /// `new_name` was found to be.
    #[expect(clippy::too_many_arguments, reason = "renameat2 has that many")]
    fn rename(
        &self,
        old_dir: &Arc<Inode>,
        old_name: &[u8],
        inode: &Arc<Inode>,
        new_dir: &Arc<Inode>,
        new_name: &[u8],
        target: Option<&Arc<Inode>>,
        flags: u32,
    ) -> Result<()> {
        Err(EPERM)
    }

    /// open(O_TMPFILE): an inode without a name, linked later by linkat(2) if `linkable`.
    fn tmpfile(&self, dir: &Arc<Inode>, new: &NewInode) -> Result<Arc<Inode>> {
        Err(EOPNOTSUPP)
    }

    /// Target of a symbolic link.
    fn readlink(&self, inode: &Inode) -> Result<Vec<u8>> {
        Err(EINVAL)
    }

    /// Where a magic link of /proc leads, whatever its text says; none for an ordinary link.
    fn get_link(&self, inode: &Inode) -> Option<Result<Path>> {
        None
    }

    /// Operations of an open file. Devices, FIFOs and sockets never come here: the VFS opens them.
    fn open(&self, inode: &Arc<Inode>, flags: OpenFlags) -> Result<Box<dyn FileOps>> {
        Err(if inode.kind == FileType::Socket { ENXIO } else { ENODEV })
    }

    /// Whether `open` is asked for devices, FIFOs and sockets too: what is behind them is not this kernel's.
    fn opens_special(&self) -> bool {
        false
    }

    /// Decides on an access by itself instead of by mode, owner and capabilities (FUSE-like and host file systems).
    fn permission(&self, inode: &Inode, access: Access, cred: &Cred) -> Option<Result<()>> {
        None
    }

    /// Whether a dentry found earlier still names this inode (proc, host folders that change behind our back).
    fn revalidate(&self, dir: &Arc<Inode>, name: &[u8], inode: &Arc<Inode>) -> bool {
        true
    }

    /// getxattr(2): ENODATA.
    fn getxattr(&self, inode: &Inode, name: &[u8]) -> Result<Vec<u8>> {
        Err(EOPNOTSUPP)
    }

    /// setxattr(2): `flags` are XATTR_CREATE, XATTR_REPLACE.
    fn setxattr(&self, inode: &Inode, name: &[u8], value: &[u8], flags: u32) -> Result<()> {
        Err(EOPNOTSUPP)
    }

    /// listxattr(2).
    fn listxattr(&self, inode: &Inode) -> Result<Vec<Vec<u8>>> {
        Ok(Vec::new())
    }

    /// removexattr(2): ENODATA.
    fn removexattr(&self, inode: &Inode, name: &[u8]) -> Result<()> {
        Err(EOPNOTSUPP)
    }
}
