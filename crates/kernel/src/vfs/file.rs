//! [`File`]: an open file description, and [`FileOps`]: what is behind it.
//!
//! Methods of [`FileOps`] try and answer EAGAIN; [`File::read`] and [`File::write`] turn that into waiting, unless the
//! file is O_NONBLOCK, with the same `poll` that poll(2) and epoll ask.
//!
//! Locks: `pos` (sleeping) around reads and writes that use the file's position.

use std::any::Any;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use abi::Result;
use abi::errno::{EAGAIN, EBADF, EINVAL, EISDIR, ENODEV, ENOTDIR, ENOTTY, EOPNOTSUPP, ESPIPE};
use abi::fcntl::OpenFlags;

use super::fasync::{self, FasyncList, FileOwner, Owner};
use super::{FileType, Inode, IovDest, IovSource, Path, PollEvents, locks};
use crate::mm::paged::Pager;
use crate::sync::{Mutex, MutexGuard, PollTable, Sleep, SpinLock, rank, wait_until};
use crate::task::{Cred, current};

bitflags::bitflags! {
    /// What an open file may be used for.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct FileMode: u32 {
        /// Opened for reading.
        const READ = 1;
        /// Opened for writing.
        const WRITE = 2;
        /// Has a position: lseek, pread, pwrite.
        const SEEK = 4;
        /// Reads and writes don't use the position and are not serialised by it (pipes, sockets, ttys).
        const STREAM = 8;
        /// lseek(2) succeeds and does nothing (eventfd and its like).
        const NOOP_SEEK = 64;
        /// O_PATH: only names the file.
        const PATH = 16;
        /// Counted in the inode's writers.
        const WRITER = 32;
    }
}

/// The position that a stream file's operations are given. A file that is seekable all the same, because its position
/// is kept elsewhere, tells read(2) from pread(2) by it.
pub const STREAM_POS: u64 = u64::MAX;

/// An open file description: what dup(2) and fork(2) share.
pub struct File {
    /// Name and inode.
    pub path: Path,
    /// What is behind it.
    pub ops: Box<dyn FileOps>,
    /// Uses.
    pub mode: FileMode,
    /// O_APPEND, O_NONBLOCK, O_DIRECT, O_NOATIME, O_ASYNC and the access mode: what F_GETFL shows.
    flags: AtomicU32,
    /// Position. Held across a read or write that uses it.
    pos: Mutex<u64>,
    /// Who opened it.
    pub cred: Arc<Cred>,
    /// F_SETOWN, F_SETSIG: made when it is first set.
    owner: OnceLock<Owner>,
    /// epoll instances that watch it, by weak reference: told at the last close.
    pub epolls: SpinLock<Vec<std::sync::Weak<dyn EpollWatch>>>,
}

/// An epoll that must forget a file when its last descriptor goes.
pub trait EpollWatch: Any + Send + Sync {
    /// The file is being closed for good.
    fn file_closed(&self, file: &File);
}

/// A directory entry that getdents64(2) shows.
#[derive(Clone, Copy, Debug)]
pub struct DirEmit<'a> {
    /// Name.
    pub name: &'a [u8],
    /// Inode number.
    pub ino: u64,
    /// DT_*
    pub dtype: u8,
    /// Position after the entry: reading on from there shows the next one.
    pub next: u64,
}

/// Takes entries of a directory; false means that its buffer is full and the entry was not taken.
pub type Readdir<'a> = &'a mut dyn FnMut(DirEmit<'_>) -> bool;

/// What mmap(2) wants of a file.
#[derive(Clone, Copy, Debug)]
pub struct MmapRequest {
    /// MAP_SHARED; else private.
    pub shared: bool,
    /// Whether it is to be written at once: PROT_WRITE.
    pub write: bool,
    /// Whether the guest may ever write to the shared mapping: the file is open for writing.
    pub may_write: bool,
    /// Offset in the file, bytes, and length.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
}

/// What a guest mapping shows.
#[derive(Clone)]
pub enum Mapping {
    /// A host object that is as long as the file; file offset = object offset. The descriptor has no more rights than
    /// the request needs.
    Object(Arc<OwnedFd>),
    /// The same for a shared mapping that may never be written, although the file is open for writing: sealed memory.
    ReadOnly(Arc<OwnedFd>),
    /// An object that holds only some of the file: what is missing is asked of the pager at the first touch.
    Paged(Arc<OwnedFd>, Arc<dyn Pager>),
    /// Fresh anonymous memory (/dev/zero).
    Anonymous,
}

/// Operations of an open file.
#[expect(unused_variables, reason = "default bodies only answer an errno")]
pub trait FileOps: Any + Send + Sync {
    /// Reads from `pos`, advancing it; stream files ignore it. 0 is the end. EAGAIN if there is nothing yet.
    fn read(&self, file: &File, dest: &mut IovDest<'_>, pos: &mut u64) -> Result<usize> {
        Err(EINVAL)
    }

    /// Writes at `pos`, advancing it. EAGAIN if there is no room yet. O_APPEND is the file system's to follow, under
    /// the inode's lock.
    fn write(&self, file: &File, src: &mut IovSource<'_>, pos: &mut u64) -> Result<usize> {
        Err(EINVAL)
    }

    /// What it is ready for. Registers with `table` every queue whose wake-up can change the answer. Regular files and
    /// directories are always ready.
    fn poll(&self, file: &File, table: &mut PollTable) -> PollEvents {
        PollEvents::READABLE | PollEvents::WRITABLE
    }

    /// How long a blocking read or write may wait, ns (SO_RCVTIMEO, SO_SNDTIMEO).
    fn io_timeout(&self, writing: bool) -> Option<u64> {
        None
    }

    /// Whether epoll(7) may watch it: not so regular files and directories, which are always ready.
    fn can_poll(&self, file: &File) -> bool {
        let inode = file.inode();
        !matches!(inode.kind, FileType::Regular | FileType::Dir) || inode.sb.fs_type.name == "anon_inodefs"
    }

    /// ioctl(2). ENOTTY for a command that it doesn't know.
    fn ioctl(&self, file: &File, cmd: u32, arg: u64) -> Result<u64> {
        Err(ENOTTY)
    }

    /// lseek(2) with any whence; the answer becomes the position. The default serves SEEK_SET, SEEK_CUR, SEEK_END,
    /// SEEK_DATA and SEEK_HOLE for a file without holes, by the inode's size.
    fn seek(&self, file: &File, pos: u64, offset: i64, whence: u32) -> Result<u64> {
        let size = || file.inode().getattr().map(|a| a.size as i64);
        let base = match whence {
            abi::fcntl::SEEK_SET => 0,
            abi::fcntl::SEEK_CUR => pos as i64,
            abi::fcntl::SEEK_END => size()?,
            abi::fcntl::SEEK_DATA | abi::fcntl::SEEK_HOLE => {
                let size = size()?;
                if offset < 0 || offset >= size {
                    return Err(abi::errno::ENXIO);
                }
                return Ok(if whence == abi::fcntl::SEEK_DATA { offset } else { size } as u64);
            }
            _ => return Err(EINVAL),
        };
        let at = base.checked_add(offset).ok_or(abi::errno::EOVERFLOW)?;
        u64::try_from(at).map_err(|_| EINVAL)
    }

    /// getdents64(2): gives entries from `pos` on, advancing it, until `emit` is full.
    fn iterate(&self, file: &File, pos: &mut u64, emit: Readdir<'_>) -> Result<()> {
        Err(ENOTDIR)
    }

    /// mmap(2). ENODEV.
    fn mmap(&self, file: &File, request: MmapRequest) -> Result<Mapping> {
        Err(ENODEV)
    }

    /// fsync(2), fdatasync(2) with `data_only`.
    fn fsync(&self, file: &File, data_only: bool) -> Result<()> {
        Err(EINVAL)
    }

    /// The same for the bytes from `start` up to `end`, where a file knows of ranges: O_DSYNC, msync(2).
    fn fsync_range(&self, file: &File, start: u64, end: u64, data_only: bool) -> Result<()> {
        self.fsync(file, data_only)
    }

    /// sync_file_range(2): the bytes are with the device when this returns, though not yet durable there.
    fn write_range(&self, file: &File, start: u64, end: u64) -> Result<()> {
        self.fsync(file, true)
    }

    /// posix_fadvise(2) and readahead(2), as POSIX_FADV_WILLNEED. `end` is u64::MAX for the end of the file. Advice that
    /// is not followed is no error.
    fn fadvise(&self, file: &File, start: u64, end: u64, advice: u32) -> Result<()> {
        Ok(())
    }

    /// fallocate(2): FALLOC_FL_* mode.
    fn fallocate(&self, file: &File, mode: u32, offset: u64, len: u64) -> Result<()> {
        Err(EOPNOTSUPP)
    }

    /// A descriptor is closed (every time, not only the last): flush errors are close(2)'s result.
    fn flush(&self, file: &File) -> Result<()> {
        Ok(())
    }

    /// The last reference is gone. May sleep.
    fn release(&self, file: &File) {}

    /// O_ASYNC is set (`on`) or cleared: gives every list by which the object can tell to `set`. None by default.
    fn fasync(&self, file: &File, on: bool, set: &mut dyn FnMut(&FasyncList)) {}

    /// F_SETFL changed O_NONBLOCK, O_ASYNC, O_DIRECT or O_APPEND; EINVAL refuses.
    fn check_flags(&self, file: &File, flags: OpenFlags) -> Result<()> {
        Ok(())
    }

    /// fcntl(2) commands that are the file's own: F_ADD_SEALS, F_GET_SEALS. EINVAL.
    fn fcntl(&self, file: &File, cmd: u32, arg: u64) -> Result<u64> {
        Err(EINVAL)
    }

    /// Whether it has no position, as a terminal or a pipe: asked once, when a device node or FIFO is opened.
    fn is_stream(&self) -> bool {
        false
    }

    /// Lines beyond pos, flags and mnt_id of /proc/PID/fdinfo/N.
    fn fdinfo(&self, file: &File) -> String {
        String::new()
    }
}

impl File {
    /// An open file. `mode` is what the caller has checked that it may do.
    pub fn new(path: Path, ops: Box<dyn FileOps>, flags: OpenFlags, mode: FileMode) -> Arc<File> {
        File::with_cred(path, ops, flags, mode, current().cred())
    }

    /// The same, opened by `cred`.
    pub fn with_cred(
        path: Path,
        ops: Box<dyn FileOps>,
        flags: OpenFlags,
        mode: FileMode,
        cred: Arc<Cred>,
    ) -> Arc<File> {
        let keep =
            OpenFlags::CREAT | OpenFlags::EXCL | OpenFlags::NOCTTY | OpenFlags::TRUNC | OpenFlags::CLOEXEC;
        Arc::new(File {
            path,
            ops,
            mode,
            flags: AtomicU32::new(flags.difference(keep).bits()),
            pos: Mutex::new(0),
            cred,
            owner: OnceLock::new(),
            epolls: SpinLock::new(rank::FILE, Vec::new()),
        })
    }

    /// What is behind it as the type that it was made of.
    pub fn ops_as<T: FileOps>(&self) -> Option<&T> {
        (&*self.ops as &dyn Any).downcast_ref()
    }

    /// The inode.
    pub fn inode(&self) -> &Arc<Inode> {
        self.path.dentry.inode_of_open()
    }

    /// Flags as F_GETFL shows them.
    pub fn flags(&self) -> OpenFlags {
        OpenFlags::from_bits_retain(self.flags.load(Ordering::Relaxed))
    }

    /// F_SETFL: replaces the bits in `mask`.
    pub fn set_flags(&self, flags: OpenFlags, mask: OpenFlags) {
        let (flags, mask) = (flags.bits(), mask.bits());
        let _ = self
            .flags
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |old| Some(old & !mask | flags & mask));
    }

    /// Who gets SIGIO.
    pub fn owner(&self) -> FileOwner {
        self.owner.get().map_or_else(FileOwner::default, |owner| *owner.lock())
    }

    /// Who gets SIGIO, to set.
    pub fn owner_cell(&self) -> &Owner {
        self.owner.get_or_init(fasync::new_owner)
    }

    /// O_NONBLOCK
    pub fn nonblock(&self) -> bool {
        self.flags().contains(OpenFlags::NONBLOCK)
    }

    /// O_PATH
    pub fn is_path(&self) -> bool {
        self.mode.contains(FileMode::PATH)
    }

    /// The position, locked until the guard goes.
    pub fn lock_pos(&self) -> MutexGuard<'_, u64> {
        self.pos.lock()
    }

    /// The position for /proc/PID/fdinfo: 0 while somebody is reading or writing there.
    pub fn peek_pos(&self) -> u64 {
        self.pos.try_lock().map_or(0, |pos| *pos)
    }

    /// read(2) and readv(2) at the file's position.
    pub fn read(&self, dest: &mut IovDest<'_>) -> Result<usize> {
        if self.mode.contains(FileMode::STREAM) {
            return self.read_at(dest, &mut { STREAM_POS });
        }
        let mut pos = self.lock_pos();
        self.read_at(dest, &mut pos)
    }

    /// Reads at `pos`, waiting if the file may block. ERESTARTSYS on a signal.
    pub fn read_at(&self, dest: &mut IovDest<'_>, pos: &mut u64) -> Result<usize> {
        if !self.mode.contains(FileMode::READ) {
            return Err(EBADF);
        }
        self.retry(PollEvents::IN | PollEvents::RDHUP, self.nonblock(), self.deadline(false), || {
            self.ops.read(self, dest, pos)
        })
    }

    /// write(2) and writev(2) at the file's position.
    pub fn write(&self, src: &mut IovSource<'_>) -> Result<usize> {
        if self.mode.contains(FileMode::STREAM) {
            return self.write_at(src, &mut { STREAM_POS });
        }
        let mut pos = self.lock_pos();
        self.write_at(src, &mut pos)
    }

    /// Writes at `pos` until everything is written, waiting if the file may block. What was written before an error or
    /// a signal is the result.
    pub fn write_at(&self, src: &mut IovSource<'_>, pos: &mut u64) -> Result<usize> {
        if !self.mode.contains(FileMode::WRITE) {
            return Err(EBADF);
        }
        let mut done = 0;
        loop {
            let before = src.remaining();
            match self.retry(PollEvents::OUT, self.nonblock(), self.deadline(true), || {
                self.ops.write(self, src, pos)
            }) {
                Ok(n) => {
                    done += n;
                    if src.remaining() == 0 || src.remaining() == before {
                        return Ok(done);
                    }
                }
                Err(_) if done > 0 => return Ok(done),
                Err(errno) => return Err(errno),
            }
        }
    }

    fn deadline(&self, writing: bool) -> Option<u64> {
        let timeout = self.ops.io_timeout(writing)?;
        Some(host::clock::monotonic().saturating_add(timeout))
    }

    /// Calls `op` until it answers something else than EAGAIN, sleeping in between until `poll` shows one of `events`
    /// (or an error or hang-up). EAGAIN at once if `nonblock`, and at `deadline` (host monotonic ns); ERESTARTSYS on a
    /// signal.
    pub fn retry<R>(
        &self,
        events: PollEvents,
        nonblock: bool,
        deadline: Option<u64>,
        op: impl FnMut() -> Result<R>,
    ) -> Result<R> {
        self.retry_as(events, nonblock, deadline, false, op)
    }

    /// [`File::retry`], if `exclusive` as one of several of whom a wake-up reaches one (accept).
    pub fn retry_as<R>(
        &self,
        events: PollEvents,
        nonblock: bool,
        deadline: Option<u64>,
        exclusive: bool,
        mut op: impl FnMut() -> Result<R>,
    ) -> Result<R> {
        loop {
            match op() {
                Err(EAGAIN) if !nonblock => {}
                outcome => return outcome,
            }
            let wanted = events | PollEvents::ALWAYS;
            let wait = wait_until(Sleep::until(deadline), |table| {
                if exclusive {
                    table.set_exclusive();
                }
                self.ops.poll(self, table).intersects(wanted).then_some(())
            });
            match wait {
                Err(abi::errno::ETIMEDOUT) => return Err(EAGAIN),
                other => other?,
            }
        }
    }

    /// lseek(2). ESPIPE.
    pub fn seek(&self, offset: i64, whence: u32) -> Result<u64> {
        if self.mode.contains(FileMode::NOOP_SEEK) {
            return Ok(0);
        }
        if !self.mode.contains(FileMode::SEEK) {
            return Err(ESPIPE);
        }
        let mut pos = self.lock_pos();
        *pos = self.ops.seek(self, *pos, offset, whence)?;
        Ok(*pos)
    }

    /// pread(2), pwrite(2) and the like need a position. ESPIPE.
    pub fn require_seekable(&self) -> Result<()> {
        if self.mode.contains(FileMode::SEEK) { Ok(()) } else { Err(ESPIPE) }
    }

    /// Reads the whole file from `pos` into `buf` without a guest buffer (execve, initramfs). Short at the end.
    pub fn kernel_read(&self, buf: &mut [u8], mut pos: u64) -> Result<usize> {
        let mut done = 0;
        while done < buf.len() {
            let mut dest = IovDest::kernel(&mut buf[done..]);
            match self.ops.read(self, &mut dest, &mut pos)? {
                0 => break,
                n => done += n,
            }
        }
        Ok(done)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        for watch in core::mem::take(self.epolls.get_mut()) {
            if let Some(watch) = watch.upgrade() {
                watch.file_closed(self);
            }
        }
        locks::release_file(self);
        if self.flags().contains(OpenFlags::ASYNC) {
            fasync::set_async(self, -1, false);
        }
        self.ops.release(self);
        if self.mode.contains(FileMode::WRITER) {
            self.inode().put_write_access();
            self.inode().sb.writers.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// Operations of a file opened with O_PATH: none.
pub struct PathFile;

impl FileOps for PathFile {
    fn read(&self, _: &File, _: &mut IovDest<'_>, _: &mut u64) -> Result<usize> {
        Err(EBADF)
    }
    fn write(&self, _: &File, _: &mut IovSource<'_>, _: &mut u64) -> Result<usize> {
        Err(EBADF)
    }
    fn ioctl(&self, _: &File, _: u32, _: u64) -> Result<u64> {
        Err(EBADF)
    }
    fn iterate(&self, _: &File, _: &mut u64, _: Readdir<'_>) -> Result<()> {
        Err(EBADF)
    }
    fn mmap(&self, _: &File, _: MmapRequest) -> Result<Mapping> {
        Err(EBADF)
    }
    fn fsync(&self, _: &File, _: bool) -> Result<()> {
        Err(EBADF)
    }
}

/// What read(2) answers for a directory.
pub fn read_of_directory() -> Result<usize> {
    Err(EISDIR)
}
