//! The newer way to mount: fsopen(2), fsconfig(2), fsmount(2), fspick(2), open_tree(2), move_mount(2), mount_setattr(2).
//!
//! A context gathers a file system's parameters one by one, which become the option string that mount(2) would have
//! brought. A mount that is not attached yet is an open file whose path is its root; with the last such file it goes.
//!
//! Lock: a context's parameters are guarded by a sleeping lock.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use abi::Result;
use abi::cred::CAP_SYS_ADMIN;
use abi::errno::*;
use abi::fcntl::{AT_EMPTY_PATH, AT_NO_AUTOMOUNT, AT_RECURSIVE, AT_SYMLINK_NOFOLLOW, OpenFlags};
use abi::mount::*;
use zerocopy::FromBytes;

use super::anon::anon_file;
use super::mount::{self, MountNamespace, detached, lock_namespace};
use super::mount_calls::{copy_of, mount_at, set_kind};
use super::namei::{LookupFlags, path_at};
use super::open::open_path;
use super::propagate::MountTree;
use super::{Fd, File, FileMode, FileOps, FsType, IovDest, Mount, MountFlags, Path, SuperBlock, find_fs};
use crate::sync::Mutex;
use crate::syscall::UserPath;
use crate::task::{capable, current};
use crate::uaccess::{copy_from_user, strncpy_from_user};

/// Most bytes of options.
const OPTIONS_MAX: usize = 4096;
/// Longest key and value.
const KEY_MAX: usize = 256;

/// What an open context is.
struct Context {
    fs_type: &'static FsType,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    source: Vec<u8>,
    flags: u32,
    options: Vec<u8>,
    /// Made by FSCONFIG_CMD_CREATE, or picked by fspick(2).
    sb: Option<Arc<SuperBlock>>,
    /// The mount that fspick(2) was given.
    picked: Option<Path>,
    /// A mount of what was made, so that it goes with the context if nobody mounts it.
    held: Option<Arc<Mount>>,
    /// fsmount(2) has taken it.
    mounted: bool,
}

impl FileOps for Context {
    /// Messages about what went wrong: there are none beyond errno.
    fn read(&self, _: &File, _: &mut IovDest<'_>, _: &mut u64) -> Result<usize> {
        Err(ENODATA)
    }
}

fn may_mount() -> Result<()> {
    if capable(CAP_SYS_ADMIN) { Ok(()) } else { Err(EPERM) }
}

fn install(context: Context, cloexec: bool) -> Result<Fd> {
    let mode = FileMode::STREAM | FileMode::READ | FileMode::WRITE;
    let file = anon_file("anon_inode:[fscontext]", Box::new(context), OpenFlags::RDWR, mode)?;
    current().files()?.install(file, cloexec)
}

/// fsopen(2). ENODEV for a type that isn't known.
pub fn fsopen(fs_name: UserPath, flags: u32) -> Result<Fd> {
    may_mount()?;
    if flags & !FSOPEN_CLOEXEC != 0 {
        return Err(EINVAL);
    }
    let fs_type = find_fs(&fs_name.read()?).ok_or(ENODEV)?;
    install(Context { fs_type, state: Mutex::new(State::default()) }, flags & FSOPEN_CLOEXEC != 0)
}

/// fspick(2): a context for changing what is mounted.
pub fn fspick(dirfd: Fd, path: UserPath, flags: u32) -> Result<Fd> {
    may_mount()?;
    let known = FSPICK_CLOEXEC | FSPICK_SYMLINK_NOFOLLOW | FSPICK_NO_AUTOMOUNT | FSPICK_EMPTY_PATH;
    if flags & !known != 0 {
        return Err(EINVAL);
    }
    let mut lookup = LookupFlags::empty();
    lookup.set(LookupFlags::FOLLOW, flags & FSPICK_SYMLINK_NOFOLLOW == 0);
    lookup.set(LookupFlags::EMPTY_PATH, flags & FSPICK_EMPTY_PATH != 0);
    let path = path_at(dirfd, &path.read()?, lookup)?;
    if !Arc::ptr_eq(&path.dentry, &path.mnt.root) {
        return Err(EINVAL);
    }
    let sb = path.mnt.sb.clone();
    let state = State {
        flags: sb.flags.load(Ordering::Relaxed) & MS_RDONLY as u32,
        sb: Some(sb.clone()),
        picked: Some(path),
        ..State::default()
    };
    install(Context { fs_type: sb.fs_type, state: Mutex::new(state) }, flags & FSPICK_CLOEXEC != 0)
}

/// fsconfig(2)
pub fn fsconfig(fd: Fd, command: u32, key: u64, value: u64, aux: i32) -> Result<()> {
    let file = fd.file()?;
    let context = file.ops_as::<Context>().ok_or(EINVAL)?;
    let (has_key, has_value) = (key != 0, value != 0);
    let fits = match command {
        FSCONFIG_SET_FLAG => has_key && !has_value && aux == 0,
        FSCONFIG_SET_STRING => has_key && has_value && aux == 0,
        FSCONFIG_SET_BINARY => has_key && has_value && aux > 0,
        FSCONFIG_SET_PATH | FSCONFIG_SET_PATH_EMPTY => has_key && has_value,
        FSCONFIG_SET_FD => has_key && !has_value && aux >= 0,
        FSCONFIG_CMD_CREATE | FSCONFIG_CMD_CREATE_EXCL | FSCONFIG_CMD_RECONFIGURE => {
            !has_key && !has_value && aux == 0
        }
        _ => return Err(EOPNOTSUPP),
    };
    if !fits {
        return Err(EINVAL);
    }
    let text =
        |addr: u64| strncpy_from_user(addr, KEY_MAX).map_err(|e| if e == ENAMETOOLONG { EINVAL } else { e });
    match command {
        FSCONFIG_SET_FLAG => context.parameter(&text(key)?, None),
        FSCONFIG_SET_STRING => context.parameter(&text(key)?, Some(&text(value)?)),
        FSCONFIG_CMD_CREATE | FSCONFIG_CMD_CREATE_EXCL => context.create(),
        FSCONFIG_CMD_RECONFIGURE => context.reconfigure(),
        // No file system here takes contents, paths or descriptors.
        _ => Err(EINVAL),
    }
}

impl Context {
    fn parameter(&self, key: &[u8], value: Option<&[u8]>) -> Result<()> {
        let mut state = self.state.lock();
        if state.sb.is_some() && state.picked.is_none() {
            return Err(EBUSY);
        }
        match (key, value) {
            (b"source", Some(source)) => {
                if !state.source.is_empty() {
                    return Err(EINVAL);
                }
                state.source = source.to_vec();
            }
            (b"ro", None) => state.flags |= MS_RDONLY as u32,
            (b"rw", None) => state.flags &= !(MS_RDONLY as u32),
            (b"sync", None) => state.flags |= MS_SYNCHRONOUS as u32,
            (b"async", None) => state.flags &= !(MS_SYNCHRONOUS as u32),
            (b"dirsync", None) => state.flags |= MS_DIRSYNC as u32,
            (b"lazytime", None) => state.flags |= MS_LAZYTIME as u32,
            (b"nolazytime", None) => state.flags &= !(MS_LAZYTIME as u32),
            _ => {
                let plain = |text: &[u8]| !text.contains(&b',');
                if key.is_empty() || !plain(key) || !value.is_none_or(plain) {
                    return Err(EINVAL);
                }
                if state.options.len() + key.len() + value.map_or(0, <[u8]>::len) + 2 > OPTIONS_MAX {
                    return Err(EINVAL);
                }
                if !state.options.is_empty() {
                    state.options.push(b',');
                }
                state.options.extend_from_slice(key);
                if let Some(value) = value {
                    state.options.push(b'=');
                    state.options.extend_from_slice(value);
                }
            }
        }
        Ok(())
    }

    fn create(&self) -> Result<()> {
        may_mount()?;
        let mut state = self.state.lock();
        if state.sb.is_some() {
            return Err(EBUSY);
        }
        let sb = (self.fs_type.mount)(self.fs_type, &state.source, state.flags, &state.options)?;
        sb.flags.fetch_or(state.flags & MS_RDONLY as u32, Ordering::SeqCst);
        state.held = Some(Mount::new(&sb, &sb.root()?, MountFlags::empty()));
        state.sb = Some(sb);
        Ok(())
    }

    fn reconfigure(&self) -> Result<()> {
        may_mount()?;
        let state = self.state.lock();
        let Some(sb) = state.sb.clone().filter(|_| state.picked.is_some()) else { return Err(EBUSY) };
        super::mount_calls::remount_sb(&sb, u64::from(state.flags), &state.options)
    }
}

/// fsmount(2): a mount of what a context has made, attached nowhere.
pub fn fsmount(fd: Fd, flags: u32, attributes: u32) -> Result<Fd> {
    may_mount()?;
    if flags & !FSMOUNT_CLOEXEC != 0 {
        return Err(EINVAL);
    }
    let mount_flags = attr_flags(u64::from(attributes))?;
    let file = fd.file()?;
    let context = file.ops_as::<Context>().ok_or(EINVAL)?;
    let mut state = context.state.lock();
    if state.picked.is_some() || state.mounted {
        return Err(EBUSY);
    }
    let sb = state.sb.clone().ok_or(EINVAL)?;
    let mnt = Mount::new(&sb, &sb.root()?, mount_flags);
    let fd = open_tree_file(vec![mnt], flags & FSMOUNT_CLOEXEC != 0)?;
    state.mounted = true;
    let held = state.held.take();
    drop(state);
    drop(held);
    Ok(fd)
}

/// A descriptor for a tree of mounts that belongs to a name space of its own until it is attached.
fn open_tree_file(tree: MountTree, cloexec: bool) -> Result<Fd> {
    let top = tree.first().cloned().ok_or(EINVAL)?;
    let ops = Box::new(TreeFile { _ns: detached(tree) });
    let cred = current().cred();
    let file = File::with_cred(Path::root_of(&top), ops, OpenFlags::PATH, FileMode::PATH, cred);
    current().files()?.install(file, cloexec)
}

/// Keeps mounts that are attached nowhere.
struct TreeFile {
    _ns: Arc<MountNamespace>,
}

impl FileOps for TreeFile {}

/// The options of a mount in the words of fsmount(2).
fn attr_flags(attributes: u64) -> Result<MountFlags> {
    let known = [
        (MOUNT_ATTR_RDONLY, MountFlags::RDONLY),
        (MOUNT_ATTR_NOSUID, MountFlags::NOSUID),
        (MOUNT_ATTR_NODEV, MountFlags::NODEV),
        (MOUNT_ATTR_NOEXEC, MountFlags::NOEXEC),
        (MOUNT_ATTR_NODIRATIME, MountFlags::NODIRATIME),
        (MOUNT_ATTR_NOSYMFOLLOW, MountFlags::NOSYMFOLLOW),
    ];
    let mut flags = MountFlags::empty();
    let mut rest = attributes & !MOUNT_ATTR__ATIME;
    for (bit, flag) in known {
        if rest & bit != 0 {
            flags |= flag;
            rest &= !bit;
        }
    }
    if rest != 0 {
        return Err(EINVAL);
    }
    match attributes & MOUNT_ATTR__ATIME {
        MOUNT_ATTR_RELATIME => flags |= MountFlags::RELATIME,
        MOUNT_ATTR_NOATIME => flags |= MountFlags::NOATIME,
        MOUNT_ATTR_STRICTATIME => {}
        _ => return Err(EINVAL),
    }
    Ok(flags)
}

/// open_tree(2): a descriptor of a place, or of a copy of the mounts there.
pub fn open_tree(dirfd: Fd, path: UserPath, flags: u32) -> Result<Fd> {
    let known = OPEN_TREE_CLONE
        | OPEN_TREE_CLOEXEC
        | AT_EMPTY_PATH
        | AT_NO_AUTOMOUNT
        | AT_RECURSIVE
        | AT_SYMLINK_NOFOLLOW;
    if flags & !known != 0 || flags & (AT_RECURSIVE | OPEN_TREE_CLONE) == AT_RECURSIVE {
        return Err(EINVAL);
    }
    let clone = flags & OPEN_TREE_CLONE != 0;
    if clone {
        may_mount()?;
    }
    let mut lookup = LookupFlags::empty();
    lookup.set(LookupFlags::FOLLOW, flags & AT_SYMLINK_NOFOLLOW == 0);
    lookup.set(LookupFlags::EMPTY_PATH, flags & AT_EMPTY_PATH != 0);
    let path = path_at(dirfd, &path.read()?, lookup)?;
    let cloexec = flags & OPEN_TREE_CLOEXEC != 0;
    if !clone {
        let file = open_path(&path, OpenFlags::PATH, &current().cred())?;
        return current().files()?.install(file, cloexec);
    }
    let tree = {
        let _guard = lock_namespace();
        let ns = path.mnt.namespace().ok_or(EINVAL)?;
        if path.mnt.is_unbindable() {
            return Err(EINVAL);
        }
        copy_of(&ns, &path, flags & AT_RECURSIVE != 0)
    };
    open_tree_file(tree, cloexec)
}

/// move_mount(2): attaches a mount that isn't yet, or moves one that is.
pub fn move_mount(from_fd: Fd, from: UserPath, to_fd: Fd, to: UserPath, flags: u32) -> Result<()> {
    may_mount()?;
    let known = MOVE_MOUNT_F_SYMLINKS
        | MOVE_MOUNT_F_AUTOMOUNTS
        | MOVE_MOUNT_F_EMPTY_PATH
        | MOVE_MOUNT_T_SYMLINKS
        | MOVE_MOUNT_T_AUTOMOUNTS
        | MOVE_MOUNT_T_EMPTY_PATH;
    if flags & !known != 0 {
        return Err(EINVAL);
    }
    let lookup = |follow: u32, empty: u32| {
        let mut lookup = LookupFlags::empty();
        lookup.set(LookupFlags::FOLLOW, flags & follow != 0);
        lookup.set(LookupFlags::EMPTY_PATH, flags & empty != 0);
        lookup
    };
    let source = path_at(from_fd, &from.read()?, lookup(MOVE_MOUNT_F_SYMLINKS, MOVE_MOUNT_F_EMPTY_PATH))?;
    let target = path_at(to_fd, &to.read()?, lookup(MOVE_MOUNT_T_SYMLINKS, MOVE_MOUNT_T_EMPTY_PATH))?;
    let _guard = lock_namespace();
    let ns = current().fs().ns.clone();
    let mnt = source.mnt.clone();
    if !Arc::ptr_eq(&source.dentry, &mnt.root) || !ns.has(&target.mnt) {
        return Err(EINVAL);
    }
    if ns.has(&mnt) {
        return ns.move_mount(&mnt, &target);
    }
    attach_detached(&ns, &mnt, target)
}

fn attach_detached(ns: &Arc<MountNamespace>, mnt: &Arc<Mount>, target: Path) -> Result<()> {
    let own = mnt.namespace().filter(|own| own.is_detached()).ok_or(EINVAL)?;
    if !own.root().is_some_and(|root| Arc::ptr_eq(&root, mnt)) {
        return Err(EINVAL);
    }
    let tree = own.list();
    ns.attach_tree(&tree, target)?;
    own.give_up();
    Ok(())
}

/// mount_setattr(2)
pub fn mount_setattr(dirfd: Fd, path: UserPath, flags: u32, attr: u64, size: usize) -> Result<()> {
    if flags & !(AT_EMPTY_PATH | AT_RECURSIVE | AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) != 0 {
        return Err(EINVAL);
    }
    if size > OPTIONS_MAX {
        return Err(E2BIG);
    }
    if size < MOUNT_ATTR_SIZE_VER0 {
        return Err(EINVAL);
    }
    may_mount()?;
    let mut bytes = vec![0; size];
    copy_from_user(attr, &mut bytes)?;
    let (attr, rest) = MountAttr::read_from_prefix(&bytes).map_err(|_| EINVAL)?;
    if rest.iter().any(|&b| b != 0) {
        return Err(E2BIG);
    }
    if attr.attr_set == 0 && attr.attr_clr == 0 && attr.propagation == 0 {
        return Ok(());
    }
    let change = Change::new(&attr)?;
    let mut lookup = LookupFlags::empty();
    lookup.set(LookupFlags::FOLLOW, flags & AT_SYMLINK_NOFOLLOW == 0);
    lookup.set(LookupFlags::EMPTY_PATH, flags & AT_EMPTY_PATH != 0);
    let path = path_at(dirfd, &path.read()?, lookup)?;
    let _guard = lock_namespace();
    let mnt = match path.mnt.namespace() {
        Some(ns) if ns.is_detached() && Arc::ptr_eq(&path.dentry, &path.mnt.root) => path.mnt.clone(),
        _ => mount_at(&path)?,
    };
    let ns = mnt.namespace().ok_or(EINVAL)?;
    let tree = if flags & AT_RECURSIVE != 0 { mount::subtree_of(&ns, &mnt) } else { vec![mnt] };
    for mnt in &tree {
        mnt.set_flags(mnt.flags().difference(change.clear) | change.set);
        if attr.propagation != 0 {
            set_kind(mnt, attr.propagation);
        }
    }
    Ok(())
}

struct Change {
    set: MountFlags,
    clear: MountFlags,
}

impl Change {
    fn new(attr: &MountAttr) -> Result<Change> {
        let kinds = MS_SHARED | MS_PRIVATE | MS_SLAVE | MS_UNBINDABLE;
        if attr.propagation & !kinds != 0 || attr.propagation.count_ones() > 1 {
            return Err(EINVAL);
        }
        // There is one user name space, and in it nothing to map.
        if (attr.attr_set | attr.attr_clr) & MOUNT_ATTR_IDMAP != 0 {
            return Err(EINVAL);
        }
        let times = MountFlags::RELATIME | MountFlags::NOATIME;
        let mut set = attr_flags(attr.attr_set)?;
        let mut clear = attr_flags(attr.attr_clr & !MOUNT_ATTR__ATIME)?.difference(times);
        match attr.attr_clr & MOUNT_ATTR__ATIME {
            // Access times are one choice: it is set only where the old one is cleared.
            0 if attr.attr_set & MOUNT_ATTR__ATIME != 0 => return Err(EINVAL),
            0 => set = set.difference(times),
            MOUNT_ATTR__ATIME => clear |= times,
            _ => return Err(EINVAL),
        }
        Ok(Change { set, clear })
    }
}
