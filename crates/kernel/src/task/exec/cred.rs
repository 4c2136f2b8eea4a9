//! Credentials over execve(2): set-user-ID, file capabilities, ambient capabilities (capabilities(7)).

use abi::Result;
use abi::cred::{
    CAP_SETUID, VFS_CAP_FLAGS_EFFECTIVE, VFS_CAP_REVISION_1, VFS_CAP_REVISION_2, VFS_CAP_REVISION_3,
    VFS_CAP_REVISION_MASK,
};
use abi::cred::{SECBIT_KEEP_CAPS, SECBIT_NOROOT};
use abi::errno::{EINVAL, ENODATA, EOPNOTSUPP, EPERM};
use abi::stat::{S_ISGID, S_ISUID, S_IXGRP};

use crate::task::{CapSet, Cred};
use crate::vfs::{File, MountFlags};

/// What the program file asks for.
#[derive(Clone, Copy, Debug, Default)]
pub struct FilePrivileges {
    /// Owner, if the file is set-user-ID.
    pub setuid: Option<u32>,
    /// Group, if it is set-group-ID.
    pub setgid: Option<u32>,
    /// security.capability
    pub caps: Option<FileCaps>,
}

/// A file's capabilities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileCaps {
    permitted: CapSet,
    inheritable: CapSet,
    effective: bool,
}

impl FilePrivileges {
    /// Reads them. A mount with nosuid, or no_new_privs, takes set-user-ID away; nosuid file capabilities, too.
    pub fn of(file: &File, no_new_privs: bool) -> Result<FilePrivileges> {
        if file.path.mnt.flags().contains(MountFlags::NOSUID) {
            return Ok(FilePrivileges::default());
        }
        let inode = file.inode();
        let caps = match inode.ops.getxattr(inode, b"security.capability") {
            Ok(value) => parse_caps(&value)?,
            Err(ENODATA | EOPNOTSUPP) => None,
            Err(errno) => return Err(errno),
        };
        let attr = inode.getattr()?;
        let mut privileges = FilePrivileges { caps, ..FilePrivileges::default() };
        if !no_new_privs {
            privileges.setuid = (attr.mode & S_ISUID != 0).then_some(attr.uid);
            // Without group execution the bit once meant mandatory locking.
            let setgid = attr.mode & (S_ISGID | S_IXGRP) == S_ISGID | S_IXGRP;
            privileges.setgid = setgid.then_some(attr.gid);
        }
        Ok(privileges)
    }
}

fn parse_caps(value: &[u8]) -> Result<Option<FileCaps>> {
    let words: Vec<u32> =
        value.chunks_exact(4).map(|w| u32::from_le_bytes([w[0], w[1], w[2], w[3]])).collect();
    let magic = *words.first().ok_or(EINVAL)?;
    let (expected, root) = match magic & VFS_CAP_REVISION_MASK {
        VFS_CAP_REVISION_1 => (3, 0),
        VFS_CAP_REVISION_2 => (5, 0),
        VFS_CAP_REVISION_3 => (6, words.get(5).copied().unwrap_or(0)),
        _ => return Err(EINVAL),
    };
    if words.len() != expected || value.len() != expected * 4 {
        return Err(EINVAL);
    }
    // Capabilities for the root of another user name space count for nothing here.
    if root != 0 {
        return Ok(None);
    }
    let half = |at: usize| words.get(at).map_or(0, |&w| u64::from(w));
    let wide = expected > 3;
    let set = |low: usize| CapSet((half(low) | if wide { half(low + 2) << 32 } else { 0 }) & CapSet::FULL.0);
    Ok(Some(FileCaps {
        permitted: set(1),
        inheritable: set(2),
        effective: magic & VFS_CAP_FLAGS_EFFECTIVE != 0,
    }))
}

/// The credentials of the new program.
pub struct ExecCred {
    /// Them.
    pub cred: Cred,
    /// AT_SECURE: more privileges than the caller had.
    pub secure: bool,
}

/// Works out the credentials. `unsafe_to_gain`: somebody shares the file system state or no_new_privs is set, so that
/// nothing may be gained. EPERM for a file that must have capabilities which it cannot get.
pub fn compute(
    old: &Cred,
    file: FilePrivileges,
    unsafe_to_gain: bool,
    no_new_privs: bool,
) -> Result<ExecCred> {
    let mut new = old.clone();
    if let Some(uid) = file.setuid {
        new.euid = uid;
    }
    if let Some(gid) = file.setgid {
        new.egid = gid;
    }
    let mut effective = false;
    new.permitted = CapSet::EMPTY;
    if let Some(caps) = file.caps {
        let permitted = (old.bounding.0 & caps.permitted.0) | (old.inheritable.0 & caps.inheritable.0);
        new.permitted = CapSet(permitted);
        effective = caps.effective;
        // A program that doesn't know about capabilities must not run with only some of them.
        if effective && caps.permitted.0 & !permitted != 0 {
            return Err(EPERM);
        }
    }
    if old.securebits & SECBIT_NOROOT == 0 {
        let capped_setuid = file.caps.is_some() && new.uid != 0 && new.euid == 0;
        if !capped_setuid {
            if new.euid == 0 || new.uid == 0 {
                new.permitted = CapSet(old.bounding.0 | old.inheritable.0);
            }
            if new.euid == 0 {
                effective = true;
            }
        }
    }
    let changes_id = |new: &Cred| new.euid != old.euid || new.egid != old.egid;
    let is_setid = changes_id(&new);
    let gained = new.permitted.0 & !old.permitted.0 != 0;
    if (is_setid || gained) && unsafe_to_gain {
        if no_new_privs || !old.capable(CAP_SETUID) {
            new.euid = new.uid;
            new.egid = new.gid;
        }
        new.permitted = CapSet(new.permitted.0 & old.permitted.0);
    }
    (new.suid, new.fsuid) = (new.euid, new.euid);
    (new.sgid, new.fsgid) = (new.egid, new.egid);
    if file.caps.is_some() || is_setid {
        new.ambient = CapSet::EMPTY;
    }
    new.permitted = CapSet(new.permitted.0 | new.ambient.0);
    new.effective = if effective { new.permitted } else { new.ambient };
    new.securebits &= !SECBIT_KEEP_CAPS;
    let grew = new.permitted.0 & !new.ambient.0 != 0;
    let secure = is_setid || new.uid != 0 && (effective || grew);
    Ok(ExecCred { cred: new, secure })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_keeps_everything() {
        let exec = compute(&Cred::root(), FilePrivileges::default(), false, false).unwrap();
        assert_eq!(exec.cred.effective, CapSet::FULL);
        assert!(!exec.secure);
    }

    #[test]
    fn a_user_gains_by_setuid_root() {
        let file = FilePrivileges { setuid: Some(0), ..FilePrivileges::default() };
        let exec = compute(&Cred::user(1000, 1000), file, false, false).unwrap();
        assert_eq!((exec.cred.uid, exec.cred.euid, exec.cred.suid, exec.cred.fsuid), (1000, 0, 0, 0));
        assert_eq!(exec.cred.effective, CapSet::FULL);
        assert!(exec.secure);
        let shared = compute(&Cred::user(1000, 1000), file, true, false).unwrap();
        assert_eq!((shared.cred.euid, shared.cred.permitted), (1000, CapSet::EMPTY));
    }

    #[test]
    fn file_capabilities() {
        let caps = FileCaps { permitted: CapSet(1 << 13), inheritable: CapSet::EMPTY, effective: true };
        let file = FilePrivileges { caps: Some(caps), ..FilePrivileges::default() };
        let exec = compute(&Cred::user(1000, 1000), file, false, false).unwrap();
        assert_eq!((exec.cred.effective, exec.secure), (CapSet(1 << 13), true));
        let bounded = Cred { bounding: CapSet::EMPTY, ..Cred::user(1000, 1000) };
        assert_eq!(compute(&bounded, file, false, false).err(), Some(EPERM));
    }

    #[test]
    fn ambient_capabilities_stay_without_setid() {
        let mut user = Cred::user(1000, 1000);
        for set in [&mut user.ambient, &mut user.inheritable, &mut user.permitted] {
            *set = CapSet(4);
        }
        let exec = compute(&user, FilePrivileges::default(), false, false).unwrap();
        assert_eq!((exec.cred.effective, exec.secure), (CapSet(4), false));
    }

    #[test]
    fn the_attribute() {
        let mut value = Vec::new();
        for word in [VFS_CAP_REVISION_2 | VFS_CAP_FLAGS_EFFECTIVE, 1 << 13, 0, 0, 0] {
            value.extend(word.to_le_bytes());
        }
        let caps = FileCaps { permitted: CapSet(1 << 13), inheritable: CapSet::EMPTY, effective: true };
        assert_eq!(parse_caps(&value), Ok(Some(caps)));
        assert_eq!(parse_caps(&value[..12]), Err(EINVAL));
        assert_eq!(parse_caps(&[]), Err(EINVAL));
    }
}
