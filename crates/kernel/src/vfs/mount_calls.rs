//! mount(2), umount2(2), pivot_root(2).
//!
//! Whether a change is passed on to other mounts and name spaces: `propagate.rs`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use abi::Result;
use abi::cred::CAP_SYS_ADMIN;
use abi::errno::*;
use abi::mount::*;

use super::mount::{self, MountNamespace, lock_namespace};
use super::namei::{LookupFlags, path_at};
use super::propagate::{self, Kind, MountTree};
use super::{Fd, Mount, MountFlags, Path, SuperBlock, find_fs};
use crate::syscall::UserPath;
use crate::task::{current, pid};

/// Longest option string with its zero: a page.
const OPTIONS_MAX: usize = 4096;
/// Flags that belong to the super block.
const SB_FLAGS: u64 = MS_RDONLY
    | MS_SYNCHRONOUS
    | MS_MANDLOCK
    | MS_DIRSYNC
    | MS_SILENT
    | MS_POSIXACL
    | MS_LAZYTIME
    | MS_I_VERSION;
const PROPAGATION: u64 = MS_SHARED | MS_PRIVATE | MS_SLAVE | MS_UNBINDABLE;

/// mount(2)
pub fn mount(source: UserPath, target: UserPath, fs_type: UserPath, flags: u64, data: u64) -> Result<()> {
    let fs_name = optional(fs_type)?;
    let source = optional(source)?;
    let data = if data == 0 { Vec::new() } else { read_options(data)? };
    let target = path_at(Fd::CWD, &target.read()?, LookupFlags::FOLLOW)?;
    may_mount()?;
    do_mount(&source, &target, &fs_name, flags, &data)
}

fn optional(name: UserPath) -> Result<Vec<u8>> {
    if name.is_null() { Ok(Vec::new()) } else { name.read() }
}

/// Options end at a zero; what lies beyond an unreadable page was not meant.
fn read_options(addr: u64) -> Result<Vec<u8>> {
    let mut page = vec![0; OPTIONS_MAX];
    let got = current().mm()?.read(addr, &mut page);
    if got == 0 {
        return Err(EFAULT);
    }
    let end = page[..got].iter().position(|&b| b == 0).unwrap_or(got);
    page.truncate(end);
    Ok(page)
}

fn may_mount() -> Result<()> {
    if current().cred().capable(CAP_SYS_ADMIN) { Ok(()) } else { Err(EPERM) }
}

/// What mount(2) does, for a caller that may: `flags` are MS_*, `data` the options.
pub fn do_mount(source: &[u8], target: &Path, fs_type: &[u8], flags: u64, data: &[u8]) -> Result<()> {
    let flags = if flags & MS_MGC_MSK == MS_MGC_VAL { flags & !MS_MGC_MSK } else { flags };
    if flags & MS_KERNMOUNT != 0 {
        return Err(EINVAL);
    }
    if flags & (MS_REMOUNT | MS_BIND) == MS_REMOUNT | MS_BIND {
        return remount_mount(target, flags);
    }
    if flags & MS_REMOUNT != 0 {
        return remount(target, flags, data);
    }
    let source_path = || {
        if source.is_empty() {
            return Err(EINVAL);
        }
        path_at(Fd::CWD, source, LookupFlags::FOLLOW)
    };
    if flags & MS_BIND != 0 {
        return bind(&source_path()?, target, flags & MS_REC != 0);
    }
    if flags & PROPAGATION != 0 {
        return set_propagation(target, flags);
    }
    if flags & MS_MOVE != 0 {
        return move_mount(&source_path()?, target);
    }
    let fs_type = find_fs(fs_type).ok_or(if fs_type.is_empty() { EINVAL } else { ENODEV })?;
    let sb = (fs_type.mount)(fs_type, source, (flags & SB_FLAGS) as u32, data)?;
    if flags & MS_RDONLY != 0 {
        sb.flags.fetch_or(MS_RDONLY as u32, Ordering::SeqCst);
    }
    let mut mount_flags = mount_flags(flags);
    mount_flags.remove(MountFlags::RDONLY);
    let mnt = Mount::new(&sb, &sb.root()?, mount_flags);
    let _guard = lock_namespace();
    namespace().attach(&mnt, target.clone())
}

fn namespace() -> Arc<MountNamespace> {
    current().fs().ns.clone()
}

/// The part of MS_* that is the mount's own.
fn mount_flags(flags: u64) -> MountFlags {
    let mut own = MountFlags::from_bits_truncate(flags as u32);
    if flags & (MS_NOATIME | MS_STRICTATIME) == 0 {
        own |= MountFlags::RELATIME;
    }
    if flags & MS_STRICTATIME != 0 {
        own.remove(MountFlags::RELATIME | MountFlags::NOATIME);
    }
    own
}

/// The mount whose root `path` is; EINVAL for any other place, or a mount of another name space.
pub(super) fn mount_at(path: &Path) -> Result<Arc<Mount>> {
    let here = Arc::ptr_eq(&path.dentry, &path.mnt.root) && namespace().has(&path.mnt);
    if here { Ok(path.mnt.clone()) } else { Err(EINVAL) }
}

fn remount_mount(target: &Path, flags: u64) -> Result<()> {
    let mnt = mount_at(target)?;
    let mut new = mount_flags(flags);
    let atime = MS_NOATIME | MS_NODIRATIME | MS_RELATIME | MS_STRICTATIME;
    if flags & atime == 0 {
        // No word about access times leaves them as they are.
        let kept = MountFlags::NOATIME | MountFlags::NODIRATIME | MountFlags::RELATIME;
        new = new.difference(kept) | mnt.flags().intersection(kept);
    }
    mnt.set_flags(new);
    Ok(())
}

fn remount(target: &Path, flags: u64, data: &[u8]) -> Result<()> {
    let mnt = mount_at(target)?;
    remount_sb(&mnt.sb, flags, data)?;
    let mut own = mount_flags(flags);
    own.remove(MountFlags::RDONLY);
    mnt.set_flags(own);
    Ok(())
}

/// Changes the options of a file system. EBUSY for read-only while files are open for writing.
pub(super) fn remount_sb(sb: &Arc<SuperBlock>, flags: u64, data: &[u8]) -> Result<()> {
    let readonly = flags & MS_RDONLY != 0;
    if readonly && !sb.is_readonly() {
        if has_writers(sb) {
            return Err(EBUSY);
        }
        sb.ops.sync(sb)?;
    }
    sb.ops.remount(sb, (flags & SB_FLAGS) as u32, data)?;
    let bit = MS_RDONLY as u32;
    if readonly {
        sb.flags.fetch_or(bit, Ordering::SeqCst);
    } else {
        sb.flags.fetch_and(!bit, Ordering::SeqCst);
    }
    Ok(())
}

/// Whether a file of `sb` is open for writing.
fn has_writers(sb: &Arc<SuperBlock>) -> bool {
    sb.writers.load(Ordering::SeqCst) > 0
}

fn bind(source: &Path, target: &Path, recursive: bool) -> Result<()> {
    let ns = namespace();
    let _guard = lock_namespace();
    if !ns.has(&source.mnt) || source.mnt.is_unbindable() {
        return Err(EINVAL);
    }
    let tree = copy_of(&ns, source, recursive);
    let outcome = ns.attach_tree(&tree, target.clone());
    if outcome.is_err() {
        mount::dismantle(&tree);
    }
    outcome
}

/// A copy of what is at `source`, with `recursive` also of the mounts below it but for unbindable ones. The caller holds
/// the lock of name spaces.
pub(super) fn copy_of(ns: &MountNamespace, source: &Path, recursive: bool) -> MountTree {
    let top = Mount::new(&source.mnt.sb, &source.dentry, source.mnt.flags());
    propagate::inherit(&top, &source.mnt);
    let mut olds = vec![source.mnt.clone()];
    let mut copies = vec![top];
    let below = if recursive { ns.subtree(&source.mnt) } else { Vec::new() };
    for mnt in below.into_iter().skip(1) {
        let Some(at) = mnt.parent() else { continue };
        let top = Arc::ptr_eq(&at.mnt, &source.mnt);
        let known = olds.iter().any(|old| Arc::ptr_eq(old, &at.mnt));
        // Nor what is mounted on an unbindable one: it has no copy to stand on.
        if mnt.is_unbindable() || !known || (top && !at.dentry.is_below(&source.dentry)) {
            continue;
        }
        let new = Mount::new(&mnt.sb, &mnt.root, mnt.flags());
        propagate::inherit(&new, &mnt);
        olds.push(mnt);
        copies.push(new);
    }
    mount::stand_alike(&olds, &copies);
    copies
}

fn set_propagation(target: &Path, flags: u64) -> Result<()> {
    let kind = flags & PROPAGATION;
    if !kind.is_power_of_two() || flags & !(PROPAGATION | MS_REC | MS_SILENT) != 0 {
        return Err(EINVAL);
    }
    let mnt = mount_at(target)?;
    let _guard = lock_namespace();
    let below = if flags & MS_REC != 0 { namespace().subtree(&mnt) } else { vec![mnt] };
    for mnt in below {
        set_kind(&mnt, kind);
    }
    Ok(())
}

/// MS_SHARED and its like of one mount. The caller holds the lock of name spaces.
pub(super) fn set_kind(mnt: &Arc<Mount>, kind: u64) {
    let what = match kind {
        MS_SHARED => Kind::Shared,
        MS_SLAVE => Kind::Slave,
        _ => Kind::Private,
    };
    propagate::set(mnt, what);
    if kind != MS_SLAVE || mnt.peers.master() != 0 {
        mnt.set_unbindable(kind == MS_UNBINDABLE);
    }
}

fn move_mount(source: &Path, target: &Path) -> Result<()> {
    let _guard = lock_namespace();
    let mnt = mount_at(source)?;
    namespace().move_mount(&mnt, target)
}

/// umount2(2)
pub fn umount2(target: UserPath, flags: u32) -> Result<()> {
    if flags & !(MNT_FORCE | MNT_DETACH | MNT_EXPIRE | UMOUNT_NOFOLLOW) != 0 {
        return Err(EINVAL);
    }
    let expire = flags & MNT_EXPIRE != 0;
    if expire && flags & (MNT_FORCE | MNT_DETACH) != 0 {
        return Err(EINVAL);
    }
    let mut lookup = LookupFlags::empty();
    lookup.set(LookupFlags::FOLLOW, flags & UMOUNT_NOFOLLOW == 0);
    let path = path_at(Fd::CWD, &target.read()?, lookup)?;
    may_mount()?;
    do_umount(path, flags & MNT_DETACH != 0, expire)
}

/// Unmounts the mount whose root `path` is. EINVAL; EBUSY.
pub fn do_umount(path: Path, lazy: bool, expire: bool) -> Result<()> {
    let ns = namespace();
    let guard = lock_namespace();
    let mnt = mount_at(&path)?;
    if ns.root().is_some_and(|root| Arc::ptr_eq(&root, &mnt)) {
        return Err(if expire { EINVAL } else { EBUSY });
    }
    if expire {
        // Expiry marks are not kept: every call is the first.
        return Err(EAGAIN);
    }
    drop(path);
    let outcome = ns.umount(&mnt, lazy, 1);
    drop(guard);
    outcome
}

/// pivot_root(2)
pub fn pivot_root(new_root: UserPath, put_old: UserPath) -> Result<()> {
    may_mount()?;
    let dir = LookupFlags::FOLLOW | LookupFlags::DIRECTORY;
    let new = path_at(Fd::CWD, &new_root.read()?, dir)?;
    let put_old = path_at(Fd::CWD, &put_old.read()?, dir)?;
    let old = current().fs().root();
    let ns = namespace();
    let guard = lock_namespace();
    let new_mnt = mount_at(&new)?;
    let old_mnt = mount_at(&old)?;
    if Arc::ptr_eq(&new_mnt, &old_mnt) || Arc::ptr_eq(&put_old.mnt, &old_mnt) {
        return Err(EBUSY);
    }
    ns.pivot_root(&old_mnt, &new_mnt, &put_old)?;
    drop(guard);
    // Whoever stood at the old root stands at the new one.
    let processes: Vec<_> = pid::tasklist().processes().cloned().collect();
    for task in processes.iter().flat_map(|p| p.threads()) {
        let fs = task.fs();
        if fs.root() == old {
            fs.set_root(new.clone());
        }
        if fs.cwd() == old {
            fs.set_cwd(new.clone());
        }
    }
    Ok(())
}
