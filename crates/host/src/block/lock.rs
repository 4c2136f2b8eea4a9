//! Locks of image files, against other machines that would write the same.
//!
//! Open file description locks: a program's ordinary fcntl(2) locks go as soon as it closes any other descriptor of the
//! file, and hostfs opens and closes what it likes. User-Mode Linux takes ordinary ones; the two kinds exclude each other.

use std::fmt;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use abi::Errno;
use abi::errno::{EACCES, EAGAIN, EINVAL, ENOLCK, ENOSYS, EOPNOTSUPP};

use crate::sys::check;

/// Why a file could not be locked.
#[derive(Debug)]
enum Refused {
    /// Another program has it locked: its process ID, where that can be found out.
    Held(Option<i32>),
    /// The host's error.
    Failed(Errno),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::Held(Some(pid)) => {
                write!(f, "already locked by process {pid}")
            }
            Refused::Held(None) => {
                write!(f, "already locked by another program")
            }
            Refused::Failed(errno) => write!(f, "cannot lock it: {errno}"),
        }
    }
}

/// Locks a whole file for as long as it is open: against writers, and against readers too if `exclusive`. Host file systems
/// without locks are let pass.
///
/// # Errors
/// In words for the user.
pub fn lock_file(file: &File, path: &Path, exclusive: bool) -> Result<(), String> {
    whole_file(file.as_fd(), exclusive).map_err(|refused| format!("{}: {refused}", path.display()))
}

/// The same for a disk of a machine, whose user can have it shared.
pub(super) fn lock_disk(file: &File, path: &Path, exclusive: bool) -> Result<(), String> {
    whole_file(file.as_fd(), exclusive).map_err(|refused| {
        let hint = if matches!(refused, Refused::Held(_)) {
            "; 'c' after the device's number shares it"
        } else {
            ""
        };
        format!("{}: {refused}{hint}", path.display())
    })
}

fn whole_file(fd: BorrowedFd<'_>, exclusive: bool) -> Result<(), Refused> {
    let kind = if exclusive { libc::F_WRLCK } else { libc::F_RDLCK };
    match control(fd, libc::F_OFD_SETLK, kind) {
        Ok(_) | Err(ENOLCK | ENOSYS | EOPNOTSUPP | EINVAL) => Ok(()),
        Err(EAGAIN | EACCES) => Err(Refused::Held(holder(fd, kind))),
        Err(errno) => Err(Refused::Failed(errno)),
    }
}

fn control(fd: BorrowedFd<'_>, command: i32, kind: i32) -> abi::Result<libc::flock> {
    // SAFETY: flock is plain data, for which zero is a value.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = kind as libc::c_short;
    lock.l_whence = libc::SEEK_SET as libc::c_short;
    // SAFETY: `lock` outlives the call.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), command, &raw mut lock) }.into())?;
    Ok(lock)
}

fn holder(fd: BorrowedFd<'_>, kind: i32) -> Option<i32> {
    let lock = control(fd, libc::F_OFD_GETLK, kind).ok()?;
    if lock.l_pid > 0 { Some(lock.l_pid) } else { description_holder(fd) }
}

/// The process that holds a lock by its open file description. The host tells its number to nobody, but shows the lock
/// with the descriptor.
fn description_holder(fd: BorrowedFd<'_>) -> Option<i32> {
    let own = std::fs::metadata(format!("/proc/self/fd/{}", fd.as_raw_fd())).ok()?;
    for process in std::fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|n| n.parse::<i32>().ok()) else { continue };
        let Ok(files) = std::fs::read_dir(process.path().join("fd")) else { continue };
        for file in files.flatten() {
            let same = std::fs::metadata(file.path())
                .is_ok_and(|meta| (meta.dev(), meta.ino()) == (own.dev(), own.ino()));
            let info = process.path().join("fdinfo").join(file.file_name());
            if same && std::fs::read_to_string(info).is_ok_and(|text| text.contains("OFDLCK")) {
                return Some(pid);
            }
        }
    }
    None
}
