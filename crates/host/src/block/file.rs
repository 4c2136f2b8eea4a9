//! A raw image or a block device of the host, as plain calls.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use abi::Result;
use abi::errno::{EAGAIN, EINTR, EINVAL, EIO, ENODEV, ENOSYS, ENOTTY, EOPNOTSUPP};
use parking_lot::Mutex;

use super::ahead::Ahead;
use super::holes::Holes;
use super::slow::Slow;
use super::{Blocking, Limits, SECTOR, lock};
use crate::sys::check;

/// How a host file is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenOptions {
    /// Never written.
    pub read_only: bool,
    /// O_SYNC: every write is durable.
    pub sync: bool,
    /// No lock: several machines may use it.
    pub shared: bool,
    /// Discards do nothing.
    pub no_trim: bool,
}

/// A host file as a disk.
pub struct HostFile {
    file: File,
    len: u64,
    read_only: bool,
    is_device: bool,
    physical_block: u32,
    discard: bool,
    /// The host refuses to write zeros by a range.
    no_zero_range: AtomicBool,
    /// The host knows no RWF_NOWAIT for reads, or for writes, of this file.
    no_nowait: [AtomicBool; 2],
    /// Reads, and writes, on the caller's thread.
    slow: [Slow; 2],
    /// Writes that followed each other and that the host was not yet told to store: from where to where.
    streak: Mutex<(u64, u64)>,
    /// To tell it.
    slow_start: Slow,
    /// None if others may fill them.
    holes: Option<Holes>,
    ahead: Ahead,
}

/// Writes that follow each other are on their way to the disk after so many bytes, so that a flush finds less to do.
const START_BYTES: u64 = 1 << 20;
/// To tell the host so should take less than this, ns.
const SLOW_START_NS: u64 = 1_000_000;
/// Otherwise it isn't told for so many times what that took.
const SLOW_START_PAUSE: u64 = 10;
/// A transfer that has waited for something is slow if it took this many ns beyond what copying takes.
const SLOW_NS: u64 = 300_000;
/// How long such calls are then left to others, ns.
const SLOW_PAUSE_NS: u64 = 50_000_000;
/// Most bytes that are moved at once on the caller's thread where the host may wait.
const NOW_MAX: usize = 1 << 20;

const BLKGETSIZE64: libc::c_ulong = abi::ioctl::BLKGETSIZE64 as libc::c_ulong;
const BLKDISCARD: libc::c_ulong = abi::ioctl::BLKDISCARD as libc::c_ulong;
const BLKZEROOUT: libc::c_ulong = abi::ioctl::BLKZEROOUT as libc::c_ulong;
const BLKPBSZGET: libc::c_ulong = abi::ioctl::BLKPBSZGET as libc::c_ulong;

impl HostFile {
    /// Opens a regular file or block device. One that cannot be written is opened read-only.
    ///
    /// # Errors
    /// In words for the user.
    pub fn open(path: &Path, options: OpenOptions) -> Result<HostFile, String> {
        let failed = |e: std::io::Error| format!("{}: {}", path.display(), reason(&e));
        let flags = if options.sync { libc::O_SYNC } else { 0 } | libc::O_CLOEXEC;
        let open = |write| File::options().read(true).write(write).custom_flags(flags).open(path);
        let (file, read_only) = match open(!options.read_only) {
            Err(e) if !options.read_only && matches!(e.raw_os_error(), Some(libc::EROFS | libc::EACCES)) => {
                (open(false).map_err(failed)?, true)
            }
            outcome => (outcome.map_err(failed)?, options.read_only),
        };
        let meta = file.metadata().map_err(failed)?;
        let is_device = meta.file_type().is_block_device();
        if !is_device && !meta.is_file() {
            return Err(format!("{}: neither a regular file nor a block device", path.display()));
        }
        let fd = file.as_fd();
        let len = if is_device { device_u64(fd, BLKGETSIZE64) } else { Ok(meta.len()) };
        let len = len.map_err(|e| format!("{}: cannot find out its size: {e}", path.display()))?;
        if !options.shared {
            lock::lock_disk(&file, path, !read_only)?;
        }
        Ok(HostFile {
            is_device,
            discard: !options.no_trim && !read_only,
            holes: (!options.shared && !is_device).then(Holes::default),
            ..HostFile::adopt(file, len.next_multiple_of(SECTOR), read_only)?
        })
    }

    /// A file that is open, and perhaps locked, as a disk of `len` bytes; without discards. One that is written may be
    /// so by others as well.
    ///
    /// # Errors
    /// In words for the user.
    pub(super) fn adopt(file: File, len: u64, read_only: bool) -> Result<HostFile, String> {
        let meta = file.metadata().map_err(|e| reason(&e))?;
        let is_device = meta.file_type().is_block_device();
        let physical =
            if is_device { device_u64(file.as_fd(), BLKPBSZGET).unwrap_or(SECTOR) } else { SECTOR };
        Ok(HostFile {
            len,
            read_only,
            is_device,
            physical_block: physical.clamp(SECTOR, 1 << 20) as u32,
            discard: false,
            no_zero_range: AtomicBool::new(false),
            no_nowait: [AtomicBool::new(false), AtomicBool::new(false)],
            slow: Default::default(),
            streak: Mutex::new((0, 0)),
            slow_start: Slow::default(),
            holes: (read_only && !is_device).then(Holes::default),
            ahead: Ahead::default(),
            file,
        })
    }

    /// The descriptor.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    pub(super) fn is_device(&self) -> bool {
        self.is_device
    }

    fn fallocate(&self, mode: i32, offset: u64, len: u64) -> Result<()> {
        crate::fs::fallocate(self.fd(), (mode | libc::FALLOC_FL_KEEP_SIZE) as u32, offset, len)
    }

    fn device_range(&self, request: libc::c_ulong, offset: u64, len: u64) -> Result<()> {
        let range = [offset, len];
        // SAFETY: these requests read two u64 from the address, which outlives the call.
        check(unsafe { libc::ioctl(self.file.as_raw_fd(), request, range.as_ptr()) }.into()).map(drop)
    }

    fn write_zeros(&self, mut offset: u64, mut len: u64) -> Result<()> {
        static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
        while len > 0 {
            let n = len.min(ZEROS.len() as u64);
            self.write(offset, &ZEROS[..n as usize], false)?;
            (offset, len) = (offset + n, len - n);
        }
        Ok(())
    }

    /// preadv2 of one piece: bytes done.
    fn read_some(&self, offset: u64, buf: &mut [u8], flags: i32) -> Result<usize> {
        let iov = libc::iovec { iov_base: buf.as_mut_ptr().cast(), iov_len: buf.len() };
        let offset = i64::try_from(offset).map_err(|_| EINVAL)?;
        // SAFETY: `iov` outlives the call and points to memory that is valid for its length and nobody else's.
        let n = unsafe { libc::preadv2(self.file.as_raw_fd(), &iov, 1, offset, flags) };
        check(n as i64).map(|n| n as usize)
    }

    /// pwritev2 of what lies together in the file: bytes done.
    fn write_some(&self, offset: u64, bufs: &[&[u8]], flags: i32) -> Result<usize> {
        let mut one = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }];
        let many: Vec<libc::iovec>;
        let iov = |buf: &&[u8]| libc::iovec { iov_base: buf.as_ptr().cast_mut().cast(), iov_len: buf.len() };
        let iovs = match bufs {
            [buf] => {
                one[0] = iov(buf);
                &one[..]
            }
            _ => {
                many = bufs.iter().take(libc::UIO_MAXIOV as usize).map(iov).collect();
                &many[..]
            }
        };
        let offset = i64::try_from(offset).map_err(|_| EINVAL)?;
        let len = iovs.iter().map(|iov| iov.iov_len as u64).sum();
        self.note_write(offset as u64, len);
        // SAFETY: the vector outlives the call; its entries point to the buffers, which are borrowed for it and are only
        // read.
        let n =
            unsafe { libc::pwritev2(self.file.as_raw_fd(), iovs.as_ptr(), iovs.len() as i32, offset, flags) };
        let outcome = check(n as i64).map(|n| n as usize);
        self.note_write(offset as u64, len);
        outcome
    }

    /// Before and after a write.
    pub(super) fn note_write(&self, offset: u64, len: u64) {
        if let Some(holes) = &self.holes {
            holes.written(offset, len);
        }
    }

    /// Fills the start of `buf` with zeros as far as it lies in a hole: the bytes done.
    fn read_hole(&self, offset: u64, buf: &mut [u8]) -> usize {
        let Some(holes) = &self.holes else { return 0 };
        let found = holes.at(self.fd(), offset, buf.len() as u64, self.len);
        buf[..found as usize].fill(0);
        found as usize
    }

    /// Has the host begin to store what was written, once enough of it lies together.
    fn start_storing(&self, offset: u64, len: u64) {
        if len == 0 {
            return;
        }
        let (start, end) = {
            let mut streak = self.streak.lock();
            let start = if streak.1 == offset { streak.0 } else { offset };
            let end = offset + len;
            let due = end - start >= START_BYTES;
            *streak = if due { (end, end) } else { (start, end) };
            if !due {
                return;
            }
            (start, end)
        };
        let (start, len) = (start as i64, (end - start) as i64);
        let flags = libc::SYNC_FILE_RANGE_WRITE;
        // SAFETY: the call takes no memory. That it cannot be done changes nothing: a flush does it.
        let tell = || unsafe { libc::sync_file_range(self.file.as_raw_fd(), start, len, flags) };
        self.slow_start
            .unless(tell, |_, took| if took > SLOW_START_NS { took * SLOW_START_PAUSE } else { 0 });
    }

    /// A transfer of `len` bytes on the caller's thread, where the host cannot promise not to wait: the bytes done. What is
    /// in the host's page cache, or goes there, hardly ever waits, and few host file systems know how to promise it: so
    /// it is tried, and left to others for a while after one that has waited for long.
    fn try_now(&self, write: bool, len: usize, transfer: impl FnOnce() -> Result<usize>) -> usize {
        if len > NOW_MAX {
            return 0;
        }
        let call = || {
            let waits = own_waits();
            (transfer().unwrap_or(0), waits)
        };
        let done = self.slow[usize::from(write)].unless(call, |(_, waits), took| {
            // Copying alone is about a byte a ns. What takes long for want of a core would do so elsewhere as well.
            let slow = took > SLOW_NS + len as u64 && own_waits() != *waits;
            if slow { SLOW_PAUSE_NS } else { 0 }
        });
        done.map_or(0, |(done, _)| done)
    }

    /// The outcome of a try with RWF_NOWAIT; None if the host knows no way to ask for that.
    fn unless_unknown(&self, write: bool, outcome: Result<usize>) -> Option<usize> {
        match outcome {
            Ok(n) => Some(n),
            Err(EOPNOTSUPP | ENOSYS | EINVAL) => {
                self.no_nowait[usize::from(write)].store(true, Relaxed);
                None
            }
            Err(_) => Some(0),
        }
    }
}

/// How often the calling thread has given up its core to wait for something.
fn own_waits() -> i64 {
    // SAFETY: an all-zero rusage is a valid value of that plain structure.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `usage` is a valid rusage to write to.
    unsafe { libc::getrusage(libc::RUSAGE_THREAD, &mut usage) };
    usage.ru_nvcsw
}

/// The host's reason, as UML puts it for the common ones.
fn reason(error: &std::io::Error) -> String {
    match error.raw_os_error() {
        Some(code) => format!("cannot open it: {}", abi::Errno::from_raw(code)),
        None => format!("cannot open it: {error}"),
    }
}

/// Whether a file that can be read cannot be written.
pub(super) fn is_unwritable(path: &Path) -> bool {
    let outcome = File::options().write(true).open(path);
    matches!(outcome, Err(e) if matches!(e.raw_os_error(), Some(libc::EROFS | libc::EACCES)))
}

fn device_u64(fd: BorrowedFd<'_>, request: libc::c_ulong) -> Result<u64> {
    let mut value = 0u64;
    // SAFETY: the requests passed here write at most a u64 to the address.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), request, &raw mut value) }.into())?;
    Ok(value)
}

impl Blocking for HostFile {
    fn len(&self) -> u64 {
        self.len
    }

    fn is_read_only(&self) -> bool {
        self.read_only
    }

    fn limits(&self) -> Limits {
        Limits { physical_block: self.physical_block, discard: self.discard }
    }

    fn read(&self, mut offset: u64, mut buf: &mut [u8]) -> Result<()> {
        while !buf.is_empty() {
            match self.read_some(offset, buf, 0) {
                // The end of a file whose size is no multiple of a sector.
                Ok(0) => {
                    buf.fill(0);
                    return Ok(());
                }
                Ok(n) => {
                    buf = &mut buf[n..];
                    offset += n as u64;
                }
                Err(EINTR | EAGAIN) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    fn write(&self, mut offset: u64, mut data: &[u8], fua: bool) -> Result<()> {
        let flags = if fua { libc::RWF_DSYNC } else { 0 };
        while !data.is_empty() {
            match self.write_some(offset, &[data], flags) {
                Ok(0) => return Err(EIO),
                Ok(n) => {
                    data = &data[n..];
                    offset += n as u64;
                }
                Err(EINTR | EAGAIN) => {}
                Err(EOPNOTSUPP | ENOSYS | EINVAL) if fua => {
                    self.write(offset, data, false)?;
                    return self.flush();
                }
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        crate::fs::fsync(self.fd(), true)
    }

    fn discard(&self, offset: u64, len: u64) -> Result<()> {
        let outcome = match self.is_device {
            true => self.device_range(BLKDISCARD, offset, len),
            false => self.fallocate(libc::FALLOC_FL_PUNCH_HOLE, offset, len),
        };
        match outcome {
            Err(ENODEV | ENOSYS | ENOTTY) => Err(EOPNOTSUPP),
            outcome => outcome,
        }
    }

    fn write_zeroes(&self, offset: u64, len: u64, unmap: bool) -> Result<()> {
        if self.is_device {
            return self.device_range(BLKZEROOUT, offset, len);
        }
        let punch = unmap && self.discard;
        if punch && self.fallocate(libc::FALLOC_FL_PUNCH_HOLE, offset, len).is_ok() {
            return Ok(());
        }
        if !self.no_zero_range.load(Relaxed) {
            match self.fallocate(libc::FALLOC_FL_ZERO_RANGE, offset, len) {
                Err(EOPNOTSUPP | ENOSYS | ENODEV) => self.no_zero_range.store(true, Relaxed),
                outcome => return outcome,
            }
        }
        self.write_zeros(offset, len)
    }

    fn is_plain(&self) -> bool {
        true
    }

    fn read_now(&self, offset: u64, buf: &mut [u8]) -> usize {
        if !self.no_nowait[0].load(Relaxed) {
            let hole = self.read_hole(offset, buf);
            if hole == buf.len() {
                return hole;
            }
            let outcome = self.read_some(offset + hole as u64, &mut buf[hole..], libc::RWF_NOWAIT);
            // Short: what follows is not in memory, or the file ends.
            if let Some(done) = self.unless_unknown(false, outcome) {
                let done = (hole + done).min(buf.len());
                self.ahead.read(self.fd(), offset, buf.len() as u64, done < buf.len());
                return done;
            }
        }
        let len = buf.len();
        self.try_now(false, len, || self.read_some(offset, buf, 0)).min(len)
    }

    fn write_now(&self, offset: u64, bufs: &[&[u8]]) -> usize {
        let len: usize = bufs.iter().map(|buf| buf.len()).sum();
        if len > NOW_MAX {
            return 0;
        }
        let mut done = None;
        if !self.no_nowait[1].load(Relaxed) {
            let outcome = self.write_some(offset, bufs, libc::RWF_NOWAIT);
            done = self.unless_unknown(true, outcome);
        }
        let done = done.unwrap_or_else(|| self.try_now(true, len, || self.write_some(offset, bufs, 0)));
        self.start_storing(offset, done as u64);
        done
    }
}
