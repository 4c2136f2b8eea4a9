//! The host's standard files in the guest: pipes, files and sockets pass through exactly.
//!
//! A guest task that waits for them gives up its vCPU; the host's reactor wakes it.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, LazyLock};

use abi::Result;
use abi::errno::{EACCES, EINVAL, ENXIO, EPERM, EPIPE};
use abi::fcntl::{OpenFlags, R_OK, W_OK, X_OK};
use abi::signal::{SIGPIPE, SigInfo};
use abi::stat::{Statx, StatxTimestamp, makedev};
use abi::time::Timespec;
use host::reactor::{Interest, Watch, read_now, ready_now, write_now};

use crate::fs::pseudo::{PseudoFs, no_mount};
use crate::sync::{PollTable, WaitQueue};
use crate::task::{Cred, current};
use crate::vfs::{
    Access, File, FileMode, FileOps, FileType, FsType, Inode, InodeOps, IovDest, IovSource, Kstat,
    PollEvents, STREAM_POS, SetAttr,
};

/// Bytes copied at a time.
const CHUNK: usize = 64 * 1024;

static HOSTFD_TYPE: FsType = FsType { name: "hostfd", nodev: true, cache_negative: false, mount: no_mount };
static HOSTFD: LazyLock<PseudoFs> =
    LazyLock::new(|| PseudoFs::new(&HOSTFD_TYPE, abi::stat::ANON_INODE_FS_MAGIC));

/// What a host descriptor has open, as the guest's fstat(2) sees it.
struct HostInode {
    fd: Arc<OwnedFd>,
    access: FileMode,
}

/// A host descriptor as a guest file.
pub struct HostFile {
    fd: Arc<OwnedFd>,
    queue: WaitQueue,
    /// None for a descriptor that is always ready.
    watch: Option<Watch>,
    regular: bool,
}

/// Opens a host descriptor for the guest. A regular file keeps its position on the host, where whoever else has the
/// same open file goes on from it.
pub fn open(fd: OwnedFd, readable: bool, writable: bool) -> Result<Arc<File>> {
    let (flags, access) = match (readable, writable) {
        (true, false) => (OpenFlags::empty(), FileMode::READ),
        (false, true) => (OpenFlags::WRONLY, FileMode::WRITE),
        _ => (OpenFlags::RDWR, FileMode::READ | FileMode::WRITE),
    };
    let fd = Arc::new(fd);
    let stat = host::fs::statx(fd.as_fd())?;
    let kind = FileType::from_mode(u32::from(stat.stx_mode)).unwrap_or(FileType::Regular);
    let ino = number(&stat);
    let name = match kind {
        FileType::Fifo => format!("pipe:[{ino}]"),
        FileType::Socket => format!("socket:[{ino}]"),
        FileType::CharDev if (stat.stx_rdev_major, stat.stx_rdev_minor) == (1, 3) => "/dev/null".to_owned(),
        _ => format!("host:[{ino}]"),
    };
    let path = HOSTFD.with_ops(&name, ino, kind, Box::new(HostInode { fd: fd.clone(), access }));
    let ops = Box::new(HostFile::new(fd, kind));
    let seekable = if kind == FileType::Regular { FileMode::SEEK } else { FileMode::empty() };
    Ok(File::new(path, ops, flags, access | FileMode::STREAM | seekable))
}

/// One number for a file of any of the host's file systems.
fn number(stat: &Statx) -> u64 {
    stat.stx_ino ^ makedev(stat.stx_dev_major, stat.stx_dev_minor).rotate_left(40)
}

fn time(t: &StatxTimestamp) -> Timespec {
    Timespec { tv_sec: t.tv_sec, tv_nsec: i64::from(t.tv_nsec) }
}

impl InodeOps for HostInode {
    fn getattr(&self, inode: &Inode) -> Result<Kstat> {
        let stat = host::fs::statx(self.fd.as_fd())?;
        Ok(Kstat {
            dev: inode.sb.dev,
            ino: number(&stat),
            mode: u32::from(stat.stx_mode),
            nlink: stat.stx_nlink,
            uid: stat.stx_uid,
            gid: stat.stx_gid,
            rdev: makedev(stat.stx_rdev_major, stat.stx_rdev_minor),
            size: stat.stx_size,
            blksize: stat.stx_blksize,
            blocks: stat.stx_blocks,
            atime: time(&stat.stx_atime),
            mtime: time(&stat.stx_mtime),
            ctime: time(&stat.stx_ctime),
            btime: None,
        })
    }

    /// ftruncate(2) alone: owner, mode and times are the host's business.
    fn setattr(&self, _: &Inode, attr: &SetAttr) -> Result<()> {
        match attr.size {
            Some(size) if self.access.contains(FileMode::WRITE) => host::fs::truncate(self.fd.as_fd(), size),
            _ => Err(EPERM),
        }
    }

    /// What was passed through may be used by anybody in the guest, for what it was passed through for.
    fn permission(&self, _: &Inode, access: Access, _: &Cred) -> Option<Result<()>> {
        let granted = |bit, mode| access & bit == 0 || self.access.contains(mode);
        let may = granted(R_OK, FileMode::READ) && granted(W_OK, FileMode::WRITE) && access & X_OK == 0;
        Some(if may { Ok(()) } else { Err(EACCES) })
    }

    fn opens_special(&self) -> bool {
        true
    }

    /// open(2) of /dev/stdin and the like.
    fn open(&self, inode: &Arc<Inode>, flags: OpenFlags) -> Result<Box<dyn FileOps>> {
        if inode.kind == FileType::Socket {
            return Err(ENXIO);
        }
        let how = flags.bits() & (abi::fcntl::O_ACCMODE | abi::fcntl::O_APPEND) | abi::fcntl::O_NOCTTY;
        let fd = host::fs::reopen(self.fd.as_fd(), how | abi::fcntl::O_NONBLOCK)?;
        Ok(Box::new(HostFile::new(Arc::new(fd), inode.kind)))
    }
}

impl HostFile {
    fn new(fd: Arc<OwnedFd>, kind: FileType) -> HostFile {
        let queue = WaitQueue::new();
        let waiters = queue.clone();
        // Regular files are refused: they never make anybody wait.
        let watch = Watch::new(fd.clone(), Arc::new(move || waiters.wake_all())).ok();
        HostFile { fd, queue, watch, regular: kind == FileType::Regular }
    }
}

impl FileOps for HostFile {
    fn read(&self, _: &File, dest: &mut IovDest<'_>, pos: &mut u64) -> Result<usize> {
        let mut buf = vec![0; dest.remaining().min(CHUNK)];
        let got = if !self.regular {
            read_now(&self.fd, &mut buf)?
        } else if *pos == STREAM_POS {
            host::fs::read(self.fd.as_fd(), &mut buf)?
        } else {
            let got = host::fs::pread(self.fd.as_fd(), &mut buf, *pos)?;
            *pos += got as u64;
            got
        };
        dest.write(&buf[..got])
    }

    fn write(&self, _: &File, src: &mut IovSource<'_>, pos: &mut u64) -> Result<usize> {
        let mut buf = vec![0; src.remaining().min(CHUNK)];
        let got = src.peek(&mut buf)?;
        let n = if !self.regular {
            write_now(&self.fd, &buf[..got]).inspect_err(|&errno| {
                if errno == EPIPE {
                    let task = current();
                    crate::signal::send_task(
                        &task,
                        SigInfo::kill(SIGPIPE, abi::signal::SI_USER, task.tgid(), task.cred().uid),
                    );
                }
            })?
        } else if *pos == STREAM_POS {
            host::fs::write(self.fd.as_fd(), &buf[..got])?
        } else {
            let n = host::fs::pwrite(self.fd.as_fd(), &buf[..got], *pos)?;
            *pos += n as u64;
            n
        };
        src.advance(n);
        Ok(n)
    }

    fn seek(&self, file: &File, pos: u64, offset: i64, whence: u32) -> Result<u64> {
        if file.mode.contains(FileMode::STREAM) {
            return host::fs::lseek(self.fd.as_fd(), offset, whence);
        }
        let size = i64::try_from(file.inode().getattr()?.size).unwrap_or(i64::MAX);
        let base = match whence {
            abi::fcntl::SEEK_SET => 0,
            abi::fcntl::SEEK_CUR => i64::try_from(pos).unwrap_or(i64::MAX),
            abi::fcntl::SEEK_END => size,
            _ => return host::fs::lseek(self.fd.as_fd(), offset, whence),
        };
        base.checked_add(offset).and_then(|at| u64::try_from(at).ok()).ok_or(EINVAL)
    }

    fn is_stream(&self) -> bool {
        !self.regular
    }

    fn poll(&self, _: &File, table: &mut PollTable) -> PollEvents {
        table.register(&self.queue);
        let (readable, writable, hung_up, error) = ready_now(&self.fd);
        let mut events = PollEvents::empty();
        events.set(PollEvents::READABLE, readable);
        events.set(PollEvents::WRITABLE, writable);
        events.set(PollEvents::HUP, hung_up);
        events.set(PollEvents::ERR, error);
        if let Some(watch) = &self.watch
            && !(readable && writable)
        {
            // Whoever waits wants what is missing. An error here means that the descriptor is always ready.
            let _ = watch.arm(Interest { read: !readable && !hung_up, write: !writable && !error });
        }
        events
    }

    fn fsync(&self, _: &File, data_only: bool) -> Result<()> {
        if self.regular { host::fs::fsync(self.fd.as_fd(), data_only) } else { Err(EINVAL) }
    }
}
