//! Opening files: open(2), openat2(2).
//!
//! The walk up to the last component is `namei`'s. Here are what O_CREAT does with the last one, the checks of an
//! opened file, and who makes its [`FileOps`]: the file system for files and directories, `dev.rs` for devices, `ipc`
//! for FIFOs.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use abi::Result;
use abi::errno::*;
use abi::fcntl::*;
use abi::inotify::IN_OPEN;
use zerocopy::FromBytes;

use super::attr::set_size;
use super::file::PathFile;
use super::namei::{
    Last, LastKind, LookupFlags, MAY_EXEC, MAY_READ, MAY_WRITE, Step, Walk, inherit, is_owner, may_create,
    permission, protected, want_write,
};
use super::{Access, Dentry, Fd, File, FileMode, FileOps, FileType, Inode, MountFlags, Path, dev, notify};
use crate::syscall::UserPath;
use crate::task::{Cred, current};
use crate::uaccess::{UserPtr, copy_from_user};

/// A request to open, with its flags made consistent.
#[derive(Clone, Copy, Debug)]
struct How {
    flags: OpenFlags,
    mode: u32,
    lookup: LookupFlags,
}

/// Every flag that open(2) knows; it ignores others, openat2(2) refuses them.
const VALID: u32 = OpenFlags::all().bits();

impl How {
    fn new(flags: u32, mode: u32, mut lookup: LookupFlags) -> Result<How> {
        let mut flags = flags & VALID;
        if flags & __O_TMPFILE != 0 {
            let writes = matches!(flags & O_ACCMODE, O_WRONLY | O_RDWR);
            if flags & O_TMPFILE != O_TMPFILE || flags & O_CREAT != 0 || !writes {
                return Err(EINVAL);
            }
        }
        if flags & (O_CREAT | O_DIRECTORY) == O_CREAT | O_DIRECTORY {
            return Err(EINVAL);
        }
        if flags & O_PATH != 0 {
            flags &= O_DIRECTORY | O_NOFOLLOW | O_PATH | O_CLOEXEC;
        } else {
            flags |= O_LARGEFILE;
        }
        if flags & __O_SYNC != 0 {
            flags |= O_DSYNC;
        }
        let exclusive = flags & (O_CREAT | O_EXCL) == O_CREAT | O_EXCL;
        lookup.set(LookupFlags::FOLLOW, flags & O_NOFOLLOW == 0 && !exclusive);
        lookup.set(LookupFlags::DIRECTORY, flags & O_DIRECTORY != 0);
        let cached = lookup.contains(LookupFlags::CACHED);
        if cached && flags & (O_TRUNC | O_CREAT | __O_TMPFILE) != 0 {
            return Err(EAGAIN);
        }
        Ok(How { flags: OpenFlags::from_bits_retain(flags), mode: mode & 0o7777, lookup })
    }

    /// What permission the file must grant.
    fn access(&self) -> Access {
        let mut access = match self.flags.accmode() {
            O_RDONLY => MAY_READ,
            O_WRONLY => MAY_WRITE,
            // Mode 3 may do neither afterwards, but asks for both.
            _ => MAY_READ | MAY_WRITE,
        };
        if self.flags.contains(OpenFlags::TRUNC) {
            access |= MAY_WRITE;
        }
        access
    }
}

/// open(2)
pub fn open(path: UserPath, flags: OpenFlags, mode: u32) -> Result<Fd> {
    openat(Fd::CWD, path, flags, mode)
}

/// creat(2)
pub fn creat(path: UserPath, mode: u32) -> Result<Fd> {
    openat(Fd::CWD, path, OpenFlags::WRONLY | OpenFlags::CREAT | OpenFlags::TRUNC, mode)
}

/// openat(2)
pub fn openat(dirfd: Fd, path: UserPath, flags: OpenFlags, mode: u32) -> Result<Fd> {
    let how = How::new(flags.bits(), mode, LookupFlags::empty())?;
    install(dirfd, &path.read()?, how)
}

/// openat2(2)
pub fn openat2(dirfd: Fd, path: UserPath, how: UserPtr<OpenHow>, size: usize) -> Result<Fd> {
    let how = read_how(how.addr(), size)?;
    let (Ok(flags), Ok(mode)) = (u32::try_from(how.flags), u32::try_from(how.mode)) else {
        return Err(EINVAL);
    };
    let creates = flags & (O_CREAT | __O_TMPFILE) != 0;
    if flags & !VALID != 0 || mode & !0o7777 != 0 || (mode != 0 && !creates) {
        return Err(EINVAL);
    }
    if flags & O_PATH != 0 && flags & !(O_DIRECTORY | O_NOFOLLOW | O_PATH | O_CLOEXEC) != 0 {
        return Err(EINVAL);
    }
    let resolve = [
        (RESOLVE_NO_XDEV, LookupFlags::NO_XDEV),
        (RESOLVE_NO_MAGICLINKS, LookupFlags::NO_MAGICLINKS),
        (RESOLVE_NO_SYMLINKS, LookupFlags::NO_SYMLINKS | LookupFlags::NO_MAGICLINKS),
        (RESOLVE_BENEATH, LookupFlags::BENEATH),
        (RESOLVE_IN_ROOT, LookupFlags::IN_ROOT),
        (RESOLVE_CACHED, LookupFlags::CACHED),
    ];
    let known = resolve.iter().fold(0, |all, (bit, _)| all | bit);
    let scopes = RESOLVE_BENEATH | RESOLVE_IN_ROOT;
    if how.resolve & !known != 0 || how.resolve & scopes == scopes {
        return Err(EINVAL);
    }
    let chosen = resolve.iter().filter(|(bit, _)| how.resolve & bit != 0);
    let lookup = chosen.fold(LookupFlags::empty(), |all, (_, flag)| all | *flag);
    install(dirfd, &path.read()?, How::new(flags, mode, lookup)?)
}

/// An extensible structure: shorter ones are zero-extended, longer ones must be zero beyond. E2BIG.
fn read_how(addr: u64, size: usize) -> Result<OpenHow> {
    if size < OPEN_HOW_SIZE_VER0 {
        return Err(EINVAL);
    }
    if size > 4096 {
        return Err(E2BIG);
    }
    let mut bytes = vec![0; size];
    copy_from_user(addr, &mut bytes)?;
    let (how, rest) = OpenHow::read_from_prefix(&bytes).map_err(|_| EINVAL)?;
    if rest.iter().any(|&b| b != 0) { Err(E2BIG) } else { Ok(how) }
}

fn install(dirfd: Fd, name: &[u8], how: How) -> Result<Fd> {
    let task = current();
    let file = open_at(dirfd, name, how)?;
    task.files()?.install(file, how.flags.contains(OpenFlags::CLOEXEC))
}

/// Opens a file by name for the kernel, as the current task from its working directory.
pub fn filp_open(name: &[u8], flags: OpenFlags, mode: u32) -> Result<Arc<File>> {
    open_at(Fd::CWD, name, How::new(flags.bits(), mode, LookupFlags::empty())?)
}

fn open_at(dirfd: Fd, name: &[u8], how: How) -> Result<Arc<File>> {
    let cred = current().cred();
    if name.is_empty() {
        return Err(ENOENT);
    }
    let walk = Walk::at(dirfd, name, how.lookup)?;
    if how.flags.contains(OpenFlags::PATH) {
        let path = walk.lookup(name)?;
        return Ok(File::new(path, Box::new(PathFile), how.flags, FileMode::PATH));
    }
    if how.flags.bits() & __O_TMPFILE != 0 {
        return open_tmpfile(walk.lookup(name)?, how, cred);
    }
    if !how.flags.contains(OpenFlags::CREAT) {
        let path = walk.lookup(name)?;
        return finish(path, how, cred, false);
    }
    let (path, created) = lookup_or_create(walk, name, how, &cred)?;
    finish(path, how, cred, created)
}

/// The walk of O_CREAT: the last component is made if it isn't there, through dangling links as well.
fn lookup_or_create(mut walk: Walk, name: &[u8], how: How, cred: &Cred) -> Result<(Path, bool)> {
    let exclusive = how.flags.contains(OpenFlags::EXCL);
    let mut last = walk.parent(Cow::Borrowed(name))?;
    loop {
        if last.kind != LastKind::Norm {
            return Err(if exclusive { EEXIST } else { EISDIR });
        }
        if last.slash {
            return Err(EISDIR);
        }
        let (child, created) = child_or_new(&walk, &last, how, cred)?;
        if created {
            walk.step_into(child, false)?;
            return Ok((walk.into_path(), true));
        }
        if exclusive {
            return Err(EEXIST);
        }
        let dir = walk.path().dentry.clone();
        match walk.step_into(child, how.lookup.contains(LookupFlags::FOLLOW))? {
            Step::Done => {
                let path = walk.into_path();
                let inode = path.inode()?;
                if inode.is_dir() {
                    return Err(EISDIR);
                }
                protected::may_reuse(&dir, &inode, cred)?;
                return Ok((path, false));
            }
            Step::Link(target) => last = walk.parent(Cow::Owned(target))?,
        }
    }
}

fn child_or_new(walk: &Walk, last: &Last<'_>, how: How, cred: &Cred) -> Result<(Arc<Dentry>, bool)> {
    let parent = walk.path();
    if let Some(child) = parent.dentry.lookup(last.name(), false)? {
        return Ok((child, false));
    }
    let dir = parent.inode()?;
    let _guard = dir.rwsem.lock();
    if let Some(child) = parent.dentry.lookup_locked(last.name())? {
        return Ok((child, false));
    }
    if dir.ops.refuses_names(&dir) {
        return Err(ENOENT);
    }
    want_write(&parent.mnt)?;
    may_create(&parent.dentry, cred)?;
    let new = inherit(&dir, FileType::Regular.bits() | how.mode, 0, cred)?;
    let inode = dir.ops.create(&dir, last.name(), &new)?;
    let child = parent.dentry.add(last.name(), Some(inode));
    notify::created(&dir, &child, last.name());
    Ok((child, true))
}

fn open_tmpfile(dir: Path, how: How, cred: Arc<Cred>) -> Result<Arc<File>> {
    let dir_inode = dir.inode()?;
    want_write(&dir.mnt)?;
    permission(&dir_inode, MAY_WRITE | MAY_EXEC, &cred)?;
    let new = inherit(&dir_inode, FileType::Regular.bits() | how.mode, 0, &cred)?;
    let inode = dir_inode.ops.tmpfile(&dir_inode, &new)?;
    inode.never_linked.store(how.flags.contains(OpenFlags::EXCL), Ordering::Relaxed);
    let path = Path { dentry: Dentry::tmpfile(&dir.dentry, inode), mnt: dir.mnt };
    finish(path, how, cred, true)
}

/// Opens `path` as `cred` with all checks that open(2) makes of an existing file.
pub fn open_path(path: &Path, flags: OpenFlags, cred: &Arc<Cred>) -> Result<Arc<File>> {
    if flags.contains(OpenFlags::PATH) {
        return Ok(File::with_cred(path.clone(), Box::new(PathFile), flags, FileMode::PATH, cred.clone()));
    }
    let how = How::new(flags.bits() & !(O_CREAT | O_EXCL), 0, LookupFlags::empty())?;
    finish(path.clone(), how, cred.clone(), false)
}

/// Opens `path`, to which the caller has decided that `cred` has access (mq_open).
pub fn dentry_open(path: Path, flags: OpenFlags, cred: Arc<Cred>) -> Result<Arc<File>> {
    let inode = path.inode()?;
    let file = open_checked(path, &inode, flags, cred)?;
    notify::on_file(&file, IN_OPEN);
    Ok(file)
}

fn finish(path: Path, how: How, cred: Arc<Cred>, created: bool) -> Result<Arc<File>> {
    let inode = path.inode()?;
    may_open(&path, &inode, how, &cred, created)?;
    let truncate = how.flags.contains(OpenFlags::TRUNC) && !created && inode.kind == FileType::Regular;
    if truncate {
        // Through a read-only mount nothing may change, whatever the access mode is.
        want_write(&path.mnt)?;
    }
    let file = open_checked(path, &inode, how.flags, cred)?;
    if truncate {
        set_size(&inode, 0, &file.cred)?;
    }
    notify::on_file(&file, IN_OPEN);
    Ok(file)
}

fn may_open(path: &Path, inode: &Arc<Inode>, how: How, cred: &Cred, created: bool) -> Result<()> {
    let writes = how.access() & MAY_WRITE != 0;
    match inode.kind {
        FileType::Symlink => return Err(ELOOP),
        FileType::Dir if writes || how.flags.contains(OpenFlags::CREAT) => return Err(EISDIR),
        FileType::CharDev | FileType::BlockDev if path.mnt.flags().contains(MountFlags::NODEV) => {
            return Err(EACCES);
        }
        _ => {}
    }
    if how.flags.contains(OpenFlags::DIRECTORY) && !inode.is_dir() && how.flags.bits() & __O_TMPFILE == 0 {
        return Err(ENOTDIR);
    }
    if !created {
        permission(inode, how.access(), cred)?;
    }
    if how.flags.contains(OpenFlags::NOATIME) && !is_owner(&inode.getattr()?, cred) {
        return Err(EPERM);
    }
    Ok(())
}

fn open_checked(path: Path, inode: &Arc<Inode>, flags: OpenFlags, cred: Arc<Cred>) -> Result<Arc<File>> {
    let mut mode = FileMode::empty();
    mode.set(FileMode::READ, flags.readable());
    mode.set(FileMode::WRITE, flags.writable());
    if flags.writable() && inode.kind == FileType::Regular {
        want_write(&path.mnt)?;
        inode.get_write_access()?;
        inode.sb.writers.fetch_add(1, Ordering::SeqCst);
        mode |= FileMode::WRITER;
    }
    let ops = match make_ops(inode, flags) {
        Ok(ops) => ops,
        Err(errno) => {
            if mode.contains(FileMode::WRITER) {
                inode.put_write_access();
                inode.sb.writers.fetch_sub(1, Ordering::SeqCst);
            }
            return Err(errno);
        }
    };
    mode |= if ops.is_stream() || inode.kind == FileType::Fifo { FileMode::STREAM } else { FileMode::SEEK };
    Ok(File::with_cred(path, ops, flags, mode, cred))
}

fn make_ops(inode: &Arc<Inode>, flags: OpenFlags) -> Result<Box<dyn FileOps>> {
    match inode.kind {
        _ if inode.ops.opens_special() => inode.ops.open(inode, flags),
        FileType::CharDev => dev::open_chrdev(inode.getattr()?.rdev, inode, flags),
        FileType::Fifo => crate::ipc::pipe::open_fifo(inode, flags),
        FileType::BlockDev => crate::block::open(inode.getattr()?.rdev, flags),
        FileType::Socket => Err(ENXIO),
        FileType::Regular | FileType::Dir | FileType::Symlink => inode.ops.open(inode, flags),
    }
}
