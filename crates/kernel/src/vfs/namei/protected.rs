//! What /proc/sys/fs/protected_* forbid in directories where everybody may make names, proc(5).

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use abi::Result;
use abi::errno::{EACCES, EPERM};
use abi::stat::{S_ISGID, S_ISUID, S_ISVTX, S_IWGRP, S_IWOTH, S_IXGRP};

use super::{MAY_READ, MAY_WRITE, is_owner, permission};
use crate::task::Cred;
use crate::vfs::{Dentry, FileType, Inode};

/// A setting.
pub struct Setting {
    /// File in /proc/sys/fs.
    pub name: &'static str,
    /// Largest value.
    pub max: u32,
    value: AtomicU32,
}

impl Setting {
    const fn new(name: &'static str, value: u32, max: u32) -> Setting {
        Setting { name, max, value: AtomicU32::new(value) }
    }

    /// Its value.
    pub fn get(&self) -> u32 {
        self.value.load(Relaxed)
    }

    /// Sets it; the caller checks the bounds.
    pub fn set(&self, value: u32) {
        self.value.store(value, Relaxed);
    }
}

// As a kernel of Debian's begins; its user space sets the other two.
static SYMLINKS: Setting = Setting::new("protected_symlinks", 1, 1);
static HARDLINKS: Setting = Setting::new("protected_hardlinks", 1, 1);
static FIFOS: Setting = Setting::new("protected_fifos", 0, 2);
static REGULAR: Setting = Setting::new("protected_regular", 0, 2);

/// All settings.
pub static ALL: [&Setting; 4] = [&SYMLINKS, &HARDLINKS, &FIFOS, &REGULAR];

/// Whether a link at the end of a name may be followed: in a sticky directory that everybody may write, only one's own
/// links, and those of the directory's owner. EACCES.
pub(super) fn may_follow(dir: &Dentry, link: &Inode, cred: &Cred) -> Result<()> {
    if SYMLINKS.get() == 0 {
        return Ok(());
    }
    let Some(dir) = dir.inode_ref() else { return Ok(()) };
    let dir = dir.getattr()?;
    let open = S_ISVTX | S_IWOTH;
    if dir.mode & open != open {
        return Ok(());
    }
    let owner = link.getattr()?.uid;
    if owner == cred.fsuid || owner == dir.uid { Ok(()) } else { Err(EACCES) }
}

/// Whether another name may be given to a file: to one's own, or to one that could be read and written anyway. EPERM.
pub fn may_link(inode: &Inode, cred: &Cred) -> Result<()> {
    if HARDLINKS.get() == 0 {
        return Ok(());
    }
    let attr = inode.getattr()?;
    let setgid = S_ISGID | S_IXGRP;
    let plain = inode.kind == FileType::Regular && attr.mode & S_ISUID == 0 && attr.mode & setgid != setgid;
    let safe = plain && permission(inode, MAY_READ | MAY_WRITE, cred).is_ok();
    if safe || is_owner(&attr, cred) { Ok(()) } else { Err(EPERM) }
}

/// Whether open(2) with O_CREAT may open what was in the directory already: not somebody else's file where the opener
/// believes it makes its own. EACCES.
pub fn may_reuse(dir: &Dentry, inode: &Inode, cred: &Cred) -> Result<()> {
    let level = match inode.kind {
        FileType::Regular => REGULAR.get(),
        FileType::Fifo => FIFOS.get(),
        _ => 1,
    };
    let Some(dir) = dir.inode_ref().filter(|_| level > 0) else { return Ok(()) };
    let dir = dir.getattr()?;
    if dir.mode & S_ISVTX == 0 {
        return Ok(());
    }
    let owner = inode.getattr()?.uid;
    if owner == dir.uid || owner == cred.fsuid {
        return Ok(());
    }
    let kept = dir.mode & S_IWOTH != 0 || (dir.mode & S_IWGRP != 0 && level >= 2);
    if kept { Err(EACCES) } else { Ok(()) }
}
