//! Opening files of the host without ever leaving a root directory.
//!
//! openat2(2) does it in one call. Where the host lacks it the path is walked component by component with O_NOFOLLOW,
//! which holds as well: a descriptor of a directory and one plain name cannot lead out of that directory.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use abi::Result;
use abi::errno::{EAGAIN, EINVAL, ENAMETOOLONG, ENOSYS, EXDEV};
use abi::fcntl::*;

use super::{component, cstr, uninterrupted};
use crate::sys::{check, spared};

/// Longest piece of a path that one call resolves.
const PIECE: usize = PATH_MAX - 1;
/// How often openat2 is asked again when a rename elsewhere on the host got in its way.
const RACE_RETRIES: usize = 64;

static NO_OPENAT2: AtomicBool = AtomicBool::new(false);

/// ENFILE for one too many.
fn own(fd: i64) -> Result<OwnedFd> {
    // SAFETY: only called with what an opening call just returned: a descriptor that nothing else owns.
    spared(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Opens what becomes a root: an O_PATH descriptor of any host path, links followed.
pub fn open_root(path: &[u8]) -> Result<OwnedFd> {
    let path = cstr(path)?;
    uninterrupted(|| {
        // SAFETY: `path` is a C string that outlives the call.
        check(unsafe { libc::open(path.as_ptr(), libc::O_PATH | libc::O_CLOEXEC) }.into())
    })
    .and_then(own)
}

/// Opens `path`, relative to `root`, with symbolic links followed as if `root` were `/`: for choosing a root inside
/// another one. O_PATH.
pub fn open_in_root(root: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd> {
    openat2(root, path, O_PATH, 0, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
}

/// Opens `path`, relative to `root` and without `..`, following no symbolic link anywhere. An empty path is the root
/// itself, which must be a directory. ELOOP for a symbolic link on the way; one at the end can be opened with O_PATH.
pub fn open_beneath(root: BorrowedFd<'_>, path: &[u8], flags: u32, mode: u32) -> Result<OwnedFd> {
    if path.is_empty() {
        return openat(root, b".", flags, mode);
    }
    let mut base: Option<OwnedFd> = None;
    let mut rest = path;
    while rest.len() > PIECE {
        let cut = rest[..=PIECE].iter().rposition(|&b| b == b'/').ok_or(ENAMETOOLONG)?;
        let from = base.as_ref().map_or(root, std::os::fd::AsFd::as_fd);
        base = Some(beneath(from, &rest[..cut], O_PATH | O_DIRECTORY, 0)?);
        rest = &rest[cut + 1..];
    }
    beneath(base.as_ref().map_or(root, std::os::fd::AsFd::as_fd), rest, flags, mode)
}

fn beneath(root: BorrowedFd<'_>, path: &[u8], flags: u32, mode: u32) -> Result<OwnedFd> {
    if !NO_OPENAT2.load(Ordering::Relaxed) {
        let resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
        match openat2(root, path, flags | O_NOFOLLOW, mode, resolve) {
            Err(ENOSYS) => NO_OPENAT2.store(true, Ordering::Relaxed),
            outcome => return outcome,
        }
    }
    walk(root, path, flags, mode)
}

/// What openat2 does, for hosts without it.
pub(super) fn walk(root: BorrowedFd<'_>, path: &[u8], flags: u32, mode: u32) -> Result<OwnedFd> {
    let mut dir: Option<OwnedFd> = None;
    let mut names = path.split(|&b| b == b'/').filter(|n| !n.is_empty() && n != b".").peekable();
    while let Some(name) = names.next() {
        if name == b".." {
            return Err(EXDEV);
        }
        let at = dir.as_ref().map_or(root, std::os::fd::AsFd::as_fd);
        if names.peek().is_none() {
            return open_child(at, name, flags, mode);
        }
        dir = Some(open_child(at, name, O_PATH | O_DIRECTORY, 0)?);
    }
    openat(root, b".", flags, mode)
}

fn openat2(root: BorrowedFd<'_>, path: &[u8], flags: u32, mode: u32, resolve: u64) -> Result<OwnedFd> {
    let path = cstr(path)?;
    // openat2 refuses a mode that the flags have no use for.
    let mode = if flags & (O_CREAT | __O_TMPFILE) != 0 { mode & 0o7777 } else { 0 };
    let how = OpenHow { flags: u64::from(flags | O_CLOEXEC), mode: u64::from(mode), resolve };
    let mut races = 0;
    loop {
        let outcome = uninterrupted(|| {
            // SAFETY: `path` is a C string and `how` an open_how of the size given; both outlive the call.
            check(unsafe {
                libc::syscall(
                    libc::SYS_openat2,
                    root.as_raw_fd(),
                    path.as_ptr(),
                    &raw const how,
                    size_of::<OpenHow>(),
                )
            })
        });
        match outcome {
            Err(EAGAIN) if races < RACE_RETRIES => races += 1,
            outcome => return outcome.and_then(own),
        }
    }
}

/// Opens one name of a directory; a symbolic link is not followed (ELOOP, unless O_PATH).
pub fn open_child(dir: BorrowedFd<'_>, name: &[u8], flags: u32, mode: u32) -> Result<OwnedFd> {
    if name.is_empty() || name == b".." || name.contains(&b'/') {
        return Err(EINVAL);
    }
    openat(dir, name, flags, mode)
}

/// An unnamed file in directory `dir`, open for reading and writing. EOPNOTSUPP.
pub fn tmpfile(dir: BorrowedFd<'_>, linkable: bool, mode: u32) -> Result<OwnedFd> {
    openat(dir, b".", O_TMPFILE | O_RDWR | if linkable { 0 } else { O_EXCL }, mode)
}

fn openat(dir: BorrowedFd<'_>, name: &[u8], flags: u32, mode: u32) -> Result<OwnedFd> {
    let name = if name == b"." { cstr(name)? } else { component(name)? };
    let flags = (flags | O_NOFOLLOW | O_CLOEXEC) as i32;
    uninterrupted(|| {
        // SAFETY: `name` is a C string that outlives the call.
        check(unsafe { libc::openat(dir.as_raw_fd(), name.as_ptr(), flags, mode & 0o7777) }.into())
    })
    .and_then(own)
}

/// Opens anew what `fd` has open, with other flags: with the rights of the file, not of its path.
pub fn reopen(fd: BorrowedFd<'_>, flags: u32) -> Result<OwnedFd> {
    let path = proc_path(fd)?;
    let flags = ((flags & !O_NOFOLLOW) | O_CLOEXEC) as i32;
    uninterrupted(|| {
        // SAFETY: `path` is a C string that outlives the call.
        check(unsafe { libc::open(path.as_ptr(), flags) }.into())
    })
    .and_then(own)
}

/// The name under which /proc lets calls that want a path work on a descriptor, O_PATH ones too.
pub(super) fn proc_path(fd: BorrowedFd<'_>) -> Result<std::ffi::CString> {
    cstr(format!("/proc/self/fd/{}", fd.as_raw_fd()).as_bytes())
}
