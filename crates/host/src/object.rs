//! Memory objects: memory that guests can map, each a memfd of the host.
//!
//! An object is as long as the file it stands for, so that SIGBUS past the end, truncation and coherence between
//! read/write and mmap are the host's own.
//!
//! All objects are registered, so that what they hold can be summed up. `REGISTRY` is a leaf lock.

use abi::Result;
use abi::errno::*;
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::ffi::CString;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use crate::sys::{check, spared};

/// Descriptors of the objects there are: memory of its own right, and caches of what is stored elsewhere.
static REGISTRY: Mutex<BTreeSet<RawFd>> = Mutex::new(BTreeSet::new());
static CACHES: Mutex<BTreeSet<RawFd>> = Mutex::new(BTreeSet::new());

/// A memfd. Dropped with its last user, which every legitimate mapping is: the memory is then gone, though a hostile
/// guest may have kept a mapping or a descriptor that nobody counts.
pub struct Object {
    fd: Arc<OwnedFd>,
    readonly: Mutex<Option<Arc<OwnedFd>>>,
    registry: &'static Mutex<BTreeSet<RawFd>>,
}

/// Bytes of host memory that all objects take, but for caches.
pub fn resident() -> u64 {
    resident_of(&REGISTRY)
}

/// Bytes of host memory that caches take.
pub fn resident_caches() -> u64 {
    resident_of(&CACHES)
}

fn resident_of(registry: &Mutex<BTreeSet<RawFd>>) -> u64 {
    let registry = registry.lock();
    registry.iter().filter_map(|fd| stat(*fd).ok()).map(|st| st.st_blocks as u64 * 512).sum()
}

/// How many objects there are.
pub fn count() -> usize {
    REGISTRY.lock().len()
}

fn stat(fd: RawFd) -> Result<libc::stat> {
    // SAFETY: an all-zero stat is a valid value of that plain structure.
    let mut st: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: `st` is a valid stat to write to.
    check(unsafe { libc::fstat(fd, &mut st) }.into())?;
    Ok(st)
}

impl Object {
    /// A new object of length 0. `name` shows in the host's /proc/PID/maps. ENFILE if there are too many.
    pub fn create(name: &str) -> Result<Object> {
        Object::create_in(&REGISTRY, name)
    }

    /// The same for pages of something that is stored elsewhere: [`resident_caches`] counts it.
    pub fn create_cache(name: &str) -> Result<Object> {
        Object::create_in(&CACHES, name)
    }

    fn create_in(registry: &'static Mutex<BTreeSet<RawFd>>, name: &str) -> Result<Object> {
        let name = CString::new(name).map_err(|_| EINVAL)?;
        // SAFETY: `name` is a C string that outlives the call.
        let fd = check(
            unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING) }.into(),
        )
        .map_err(|e| if e == EMFILE { ENFILE } else { e })?;
        // SAFETY: memfd_create returned a descriptor that nothing else owns.
        let fd = spared(unsafe { OwnedFd::from_raw_fd(fd as i32) })?;
        registry.lock().insert(fd.as_raw_fd());
        Ok(Object { fd: Arc::new(fd), readonly: Mutex::new(None), registry })
    }

    /// The read-write descriptor.
    pub fn fd(&self) -> Arc<OwnedFd> {
        self.fd.clone()
    }

    /// A descriptor that cannot be mapped writable and shared.
    pub fn readonly_fd(&self) -> Result<Arc<OwnedFd>> {
        let mut cached = self.readonly.lock();
        if let Some(fd) = &*cached {
            return Ok(fd.clone());
        }
        let path = CString::new(format!("/proc/self/fd/{}", self.fd.as_raw_fd())).map_err(|_| EINVAL)?;
        // SAFETY: `path` is a C string that outlives the call.
        let fd = check(unsafe { libc::open(path.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) }.into())?;
        // SAFETY: open returned a descriptor that nothing else owns.
        let fd = Arc::new(unsafe { OwnedFd::from_raw_fd(fd as i32) });
        *cached = Some(fd.clone());
        Ok(fd)
    }

    /// Reads at `offset`; bytes read, short at the end.
    pub fn pread(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let offset = i64::try_from(offset).map_err(|_| EINVAL)?;
        // SAFETY: `buf` is writable for its length.
        let n = unsafe { libc::pread(self.fd.as_raw_fd(), buf.as_mut_ptr().cast(), buf.len(), offset) };
        check(n as i64).map(|n| n as usize)
    }

    /// Writes at `offset`, growing the object as needed; bytes written. ENOSPC/ENOMEM when the host has no memory.
    pub fn pwrite(&self, offset: u64, buf: &[u8]) -> Result<usize> {
        let offset = i64::try_from(offset).map_err(|_| EFBIG)?;
        // SAFETY: `buf` is readable for its length.
        let n = unsafe { libc::pwrite(self.fd.as_raw_fd(), buf.as_ptr().cast(), buf.len(), offset) };
        check(n as i64).map(|n| n as usize)
    }

    /// Sets the length in bytes; what is cut off is gone, what is added reads as zeros.
    pub fn set_len(&self, len: u64) -> Result<()> {
        let len = i64::try_from(len).map_err(|_| EFBIG)?;
        // SAFETY: no memory is passed.
        check(unsafe { libc::ftruncate(self.fd.as_raw_fd(), len) }.into()).map(drop)
    }

    fn stat(&self) -> Result<libc::stat> {
        stat(self.fd.as_raw_fd())
    }

    /// The length in bytes.
    pub fn len(&self) -> Result<u64> {
        Ok(self.stat()?.st_size as u64)
    }

    /// Whether the length is 0.
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Bytes of host memory the object's pages take.
    pub fn resident(&self) -> Result<u64> {
        Ok(self.stat()?.st_blocks as u64 * 512)
    }

    fn fallocate(&self, mode: i32, offset: u64, len: u64) -> Result<()> {
        let (offset, len) =
            (i64::try_from(offset).map_err(|_| EFBIG)?, i64::try_from(len).map_err(|_| EFBIG)?);
        // SAFETY: no memory is passed.
        check(unsafe { libc::fallocate(self.fd.as_raw_fd(), mode, offset, len) }.into()).map(drop)
    }

    /// Frees the memory of a range, which then reads as zeros; the length stays.
    pub fn punch_hole(&self, offset: u64, len: u64) -> Result<()> {
        self.fallocate(libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE, offset, len)
    }

    /// Allocates the memory of a range now; grows the object to cover it unless `keep_len`.
    pub fn allocate(&self, offset: u64, len: u64, keep_len: bool) -> Result<()> {
        self.fallocate(if keep_len { libc::FALLOC_FL_KEEP_SIZE } else { 0 }, offset, len)
    }

    fn seek(&self, offset: u64, whence: i32) -> Result<u64> {
        let offset = i64::try_from(offset).map_err(|_| ENXIO)?;
        // SAFETY: no memory is passed. The file position that moves is used by nothing.
        check(unsafe { libc::lseek(self.fd.as_raw_fd(), offset, whence) }).map(|n| n as u64)
    }

    /// The first offset at or after `offset` that holds data (SEEK_DATA); ENXIO if none.
    pub fn seek_data(&self, offset: u64) -> Result<u64> {
        self.seek(offset, libc::SEEK_DATA)
    }

    /// The first offset at or after `offset` in a hole, the end counting as one (SEEK_HOLE); ENXIO past the end.
    pub fn seek_hole(&self, offset: u64) -> Result<u64> {
        self.seek(offset, libc::SEEK_HOLE)
    }

    /// Adds host seals (F_SEAL_*): EBUSY for F_SEAL_WRITE while a shared writable map exists.
    pub fn seal(&self, seals: i32) -> Result<()> {
        // SAFETY: no memory is passed.
        check(unsafe { libc::fcntl(self.fd.as_raw_fd(), libc::F_ADD_SEALS, seals) }.into()).map(drop)
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        self.registry.lock().remove(&self.fd.as_raw_fd());
        // Refused for an object with seals: then nothing is gained by keeping a mapping but what was there.
        let _ = self.set_len(0);
    }
}
