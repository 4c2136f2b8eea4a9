//! Changing users and groups: setuid(2), setresuid(2), setfsuid(2), setgroups(2) and the rest, credentials(7).
//!
//! Each is a thread's own; a C library asks every thread for the same. What users do to capabilities is in [`fix_caps`].

use std::sync::Arc;
use std::sync::atomic::Ordering;

use abi::Result;
use abi::cred::*;
use abi::errno::{EINVAL, EPERM};
use zerocopy::IntoBytes;

use super::{CapSet, Cred, Task, current};
use crate::uaccess::{UserPtr, copy_from_user, copy_to_user};

/// getuid(2)
pub fn getuid() -> Result<u32> {
    Ok(current().cred().uid)
}

/// geteuid(2)
pub fn geteuid() -> Result<u32> {
    Ok(current().cred().euid)
}

/// getgid(2)
pub fn getgid() -> Result<u32> {
    Ok(current().cred().gid)
}

/// getegid(2)
pub fn getegid() -> Result<u32> {
    Ok(current().cred().egid)
}

/// getresuid(2)
pub fn getresuid(real: UserPtr<u32>, effective: UserPtr<u32>, saved: UserPtr<u32>) -> Result<()> {
    let cred = current().cred();
    real.write(&cred.uid)?;
    effective.write(&cred.euid)?;
    saved.write(&cred.suid)
}

/// getresgid(2)
pub fn getresgid(real: UserPtr<u32>, effective: UserPtr<u32>, saved: UserPtr<u32>) -> Result<()> {
    let cred = current().cred();
    real.write(&cred.gid)?;
    effective.write(&cred.egid)?;
    saved.write(&cred.sgid)
}

/// setuid(2)
pub fn setuid(uid: u32) -> Result<()> {
    let ids = users(&current().cred());
    let privileged = super::capable(CAP_SETUID);
    set_users(ids.set_one(uid, privileged)?)
}

/// setgid(2)
pub fn setgid(gid: u32) -> Result<()> {
    let ids = groups(&current().cred());
    let privileged = super::capable(CAP_SETGID);
    set_groups(ids.set_one(gid, privileged)?)
}

/// setreuid(2)
pub fn setreuid(real: u32, effective: u32) -> Result<()> {
    let ids = users(&current().cred());
    set_users(ids.set_two(real, effective, super::capable(CAP_SETUID))?)
}

/// setregid(2)
pub fn setregid(real: u32, effective: u32) -> Result<()> {
    let ids = groups(&current().cred());
    set_groups(ids.set_two(real, effective, super::capable(CAP_SETGID))?)
}

/// setresuid(2)
pub fn setresuid(real: u32, effective: u32, saved: u32) -> Result<()> {
    let ids = users(&current().cred());
    set_users(ids.set_three(real, effective, saved, super::capable(CAP_SETUID))?)
}

/// setresgid(2)
pub fn setresgid(real: u32, effective: u32, saved: u32) -> Result<()> {
    let ids = groups(&current().cred());
    set_groups(ids.set_three(real, effective, saved, super::capable(CAP_SETGID))?)
}

/// setfsuid(2): the old one, whether it changes or not.
pub fn setfsuid(uid: u32) -> Result<u32> {
    let task = current();
    let old = task.cred();
    let allowed = [old.uid, old.euid, old.suid, old.fsuid].contains(&uid) || old.capable(CAP_SETUID);
    if uid != ID_UNCHANGED && uid != old.fsuid && allowed {
        let mut new = Cred { fsuid: uid, ..(*old).clone() };
        fix_fs_caps(&old, &mut new);
        commit(&task, &old, new);
    }
    Ok(old.fsuid)
}

/// setfsgid(2)
pub fn setfsgid(gid: u32) -> Result<u32> {
    let task = current();
    let old = task.cred();
    let allowed = [old.gid, old.egid, old.sgid, old.fsgid].contains(&gid) || old.capable(CAP_SETGID);
    if gid != ID_UNCHANGED && gid != old.fsgid && allowed {
        commit(&task, &old, Cred { fsgid: gid, ..(*old).clone() });
    }
    Ok(old.fsgid)
}

/// getgroups(2)
pub fn getgroups(size: i32, list: u64) -> Result<usize> {
    let groups = current().cred().groups.clone();
    let size = usize::try_from(size).map_err(|_| EINVAL)?;
    if size != 0 {
        if groups.len() > size {
            return Err(EINVAL);
        }
        copy_to_user(list, groups.as_bytes())?;
    }
    Ok(groups.len())
}

/// setgroups(2)
pub fn setgroups(size: usize, list: u64) -> Result<()> {
    let task = current();
    let old = task.cred();
    if !old.capable(CAP_SETGID) {
        return Err(EPERM);
    }
    if size > NGROUPS_MAX {
        return Err(EINVAL);
    }
    let mut groups = vec![0u32; size];
    copy_from_user(list, groups.as_mut_bytes())?;
    if groups.contains(&ID_UNCHANGED) {
        return Err(EINVAL);
    }
    groups.sort_unstable();
    commit(&task, &old, Cred { groups: Arc::from(groups), ..(*old).clone() });
    Ok(())
}

/// Real, effective and saved id, of users or of groups: the rules are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ids {
    real: u32,
    effective: u32,
    saved: u32,
}

fn users(cred: &Cred) -> Ids {
    Ids { real: cred.uid, effective: cred.euid, saved: cred.suid }
}

fn groups(cred: &Cred) -> Ids {
    Ids { real: cred.gid, effective: cred.egid, saved: cred.sgid }
}

impl Ids {
    fn has(self, id: u32) -> bool {
        [self.real, self.effective, self.saved].contains(&id)
    }

    fn set_one(self, id: u32, privileged: bool) -> Result<Ids> {
        if id == ID_UNCHANGED {
            return Err(EINVAL);
        }
        if privileged {
            return Ok(Ids { real: id, effective: id, saved: id });
        }
        if id == self.real || id == self.saved { Ok(Ids { effective: id, ..self }) } else { Err(EPERM) }
    }

    fn set_two(self, real: u32, effective: u32, privileged: bool) -> Result<Ids> {
        let mut new = self;
        if real != ID_UNCHANGED {
            if !privileged && real != self.real && real != self.effective {
                return Err(EPERM);
            }
            new.real = real;
        }
        if effective != ID_UNCHANGED {
            if !privileged && !self.has(effective) {
                return Err(EPERM);
            }
            new.effective = effective;
        }
        if real != ID_UNCHANGED || (effective != ID_UNCHANGED && effective != self.real) {
            new.saved = new.effective;
        }
        Ok(new)
    }

    fn set_three(self, real: u32, effective: u32, saved: u32, privileged: bool) -> Result<Ids> {
        let pick = |new: u32, old: u32| if new == ID_UNCHANGED { old } else { new };
        let new = Ids {
            real: pick(real, self.real),
            effective: pick(effective, self.effective),
            saved: pick(saved, self.saved),
        };
        let allowed = privileged || [new.real, new.effective, new.saved].iter().all(|&id| self.has(id));
        if allowed { Ok(new) } else { Err(EPERM) }
    }
}

fn set_users(ids: Ids) -> Result<()> {
    let task = current();
    let old = task.cred();
    let mut new =
        Cred { uid: ids.real, euid: ids.effective, suid: ids.saved, fsuid: ids.effective, ..(*old).clone() };
    fix_caps(&old, &mut new);
    commit(&task, &old, new);
    Ok(())
}

fn set_groups(ids: Ids) -> Result<()> {
    let task = current();
    let old = task.cred();
    let new =
        Cred { gid: ids.real, egid: ids.effective, sgid: ids.saved, fsgid: ids.effective, ..(*old).clone() };
    commit(&task, &old, new);
    Ok(())
}

/// Leaving root takes capabilities away, becoming root again makes them effective, capabilities(7).
fn fix_caps(old: &Cred, new: &mut Cred) {
    if old.securebits & SECBIT_NO_SETUID_FIXUP != 0 {
        return;
    }
    let had_root = [old.uid, old.euid, old.suid].contains(&0);
    let has_root = [new.uid, new.euid, new.suid].contains(&0);
    if had_root && !has_root {
        if old.securebits & SECBIT_KEEP_CAPS == 0 {
            new.permitted = CapSet::EMPTY;
            new.effective = CapSet::EMPTY;
        }
        new.ambient = CapSet::EMPTY;
    }
    if old.euid == 0 && new.euid != 0 {
        new.effective = CapSet::EMPTY;
    }
    if old.euid != 0 && new.euid == 0 {
        new.effective = new.permitted;
    }
}

/// The same for the user of file permissions alone.
fn fix_fs_caps(old: &Cred, new: &mut Cred) {
    let fs_caps = [
        CAP_CHOWN,
        CAP_MKNOD,
        CAP_DAC_OVERRIDE,
        CAP_DAC_READ_SEARCH,
        CAP_FOWNER,
        CAP_FSETID,
        CAP_LINUX_IMMUTABLE,
        CAP_MAC_OVERRIDE,
    ];
    let fs_caps = fs_caps.iter().fold(CapSet::EMPTY, |set, &cap| set.with(cap));
    if old.securebits & SECBIT_NO_SETUID_FIXUP != 0 {
        return;
    }
    if old.fsuid == 0 && new.fsuid != 0 {
        new.effective = CapSet(new.effective.0 & !fs_caps.0);
    }
    if old.fsuid != 0 && new.fsuid == 0 {
        new.effective = new.effective.or(new.permitted.and(fs_caps));
    }
}

/// Makes them the task's. A change of power makes the process undumpable and ends PR_SET_PDEATHSIG.
pub(super) fn commit(task: &Task, old: &Cred, new: Cred) {
    let ids = |c: &Cred| (c.euid, c.egid, c.fsuid, c.fsgid);
    if ids(old) != ids(&new) || !new.permitted.is_subset(old.permitted) {
        super::dumpable::restrict(&task.process);
        task.pdeath_signal.store(0, Ordering::Relaxed);
    }
    task.set_cred(new);
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEEP: u32 = ID_UNCHANGED;

    #[test]
    fn saved_id_follows_setreuid() {
        let ids = Ids { real: 1, effective: 2, saved: 3 };
        assert_eq!(ids.set_two(KEEP, 3, false), Ok(Ids { real: 1, effective: 3, saved: 3 }));
        assert_eq!(ids.set_two(KEEP, 1, false), Ok(Ids { real: 1, effective: 1, saved: 3 }));
        assert_eq!(ids.set_two(2, KEEP, false), Ok(Ids { real: 2, effective: 2, saved: 2 }));
        assert_eq!(ids.set_two(3, KEEP, false), Err(EPERM));
        assert_eq!(ids.set_three(3, 1, 2, false), Ok(Ids { real: 3, effective: 1, saved: 2 }));
        assert_eq!(ids.set_three(KEEP, KEEP, 4, false), Err(EPERM));
        assert_eq!(ids.set_one(2, false), Err(EPERM));
        assert_eq!(ids.set_one(9, true), Ok(Ids { real: 9, effective: 9, saved: 9 }));
    }

    #[test]
    fn leaving_root_drops_capabilities() {
        let root = Cred::root();
        let mut user = Cred { uid: 5, euid: 5, suid: 5, ..Cred::root() };
        fix_caps(&root, &mut user);
        assert_eq!((user.permitted, user.effective), (CapSet::EMPTY, CapSet::EMPTY));
        let mut effective_only = Cred { euid: 5, ..Cred::root() };
        fix_caps(&root, &mut effective_only);
        assert_eq!((effective_only.permitted, effective_only.effective), (CapSet::FULL, CapSet::EMPTY));
        let mut back = Cred { euid: 0, ..effective_only.clone() };
        fix_caps(&effective_only, &mut back);
        assert_eq!(back.effective, CapSet::FULL);
        let keep = Cred { securebits: SECBIT_KEEP_CAPS, ..Cred::root() };
        let mut kept = Cred { uid: 5, euid: 5, suid: 5, ..keep.clone() };
        fix_caps(&keep, &mut kept);
        assert_eq!((kept.permitted, kept.effective), (CapSet::FULL, CapSet::EMPTY));
    }
}
