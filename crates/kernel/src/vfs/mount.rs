//! Mounts and mount name spaces: the tree, mount_namespaces(7). The calls that change it are in `mount_calls.rs`.
//!
//! Locks: NAMESPACE (sleeping) serialises changes of any tree of mounts; MOUNT guards the hash of mounts by place, and
//! below it the place of each mount and the list of each name space.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Weak};

use abi::Result;
use abi::errno::{EBUSY, EINVAL, ENOENT, ENOSPC, ENOTDIR};
use hashbrown::HashMap;

use super::propagate::{self, Kind, MountTree, Peers};
use super::{Dentry, Path, SuperBlock};
use crate::sync::{Mutex, MutexGuard, SpinLock, WaitQueue, rank};

bitflags::bitflags! {
    /// Options of one mount (not of the file system): the MS_* bits of mount(2).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct MountFlags: u32 {
        /// Read-only.
        const RDONLY = 1;
        /// Set-user-ID bits have no effect.
        const NOSUID = 2;
        /// Device nodes cannot be opened.
        const NODEV = 4;
        /// Programs cannot be run.
        const NOEXEC = 8;
        /// Symbolic links are not followed.
        const NOSYMFOLLOW = 256;
        /// Access times are not kept.
        const NOATIME = 1024;
        /// Nor those of directories.
        const NODIRATIME = 2048;
        /// Only when older than the change or a day.
        const RELATIME = 1 << 21;
    }
}

/// A file system, or a part of it, attached to a directory.
pub struct Mount {
    /// mnt_id of /proc/PID/mountinfo.
    pub id: u64,
    /// The file system.
    pub sb: Arc<SuperBlock>,
    /// What it shows as its root.
    pub root: Arc<Dentry>,
    flags: AtomicU32,
    /// MS_UNBINDABLE: no bind mount is made of it.
    unbindable: AtomicBool,
    /// Peer groups: shared and slave mounts.
    pub peers: Peers,
    /// The name space that it is in.
    ns: SpinLock<Weak<MountNamespace>>,
    /// Where it is attached: parent mount and the directory in it. None for the root of the name space, and once
    /// detached.
    pub at: SpinLock<Option<(Arc<Mount>, Arc<Dentry>)>>,
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);
static NEXT_NS: AtomicU64 = AtomicU64::new(0);

impl Mount {
    /// A mount that is attached nowhere.
    pub fn new(sb: &Arc<SuperBlock>, root: &Arc<Dentry>, flags: MountFlags) -> Arc<Mount> {
        sb.get_active();
        Arc::new(Mount {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            sb: sb.clone(),
            root: root.clone(),
            flags: AtomicU32::new(flags.bits()),
            unbindable: AtomicBool::new(false),
            peers: Peers::default(),
            ns: SpinLock::new(rank::LEAF, Weak::new()),
            at: SpinLock::new(rank::MOUNT_PLACE, None),
        })
    }

    /// Its options.
    pub fn flags(&self) -> MountFlags {
        MountFlags::from_bits_retain(self.flags.load(Ordering::Relaxed))
    }

    /// remount,bind.
    pub fn set_flags(&self, flags: MountFlags) {
        self.flags.store(flags.bits(), Ordering::Relaxed);
    }

    /// Whether MS_UNBINDABLE was set.
    pub fn is_unbindable(&self) -> bool {
        self.unbindable.load(Ordering::Relaxed)
    }

    /// Sets MS_UNBINDABLE, or with false MS_PRIVATE.
    pub fn set_unbindable(&self, unbindable: bool) {
        self.unbindable.store(unbindable, Ordering::Relaxed);
    }

    /// The name space that it is attached in.
    pub fn namespace(&self) -> Option<Arc<MountNamespace>> {
        self.ns.lock().upgrade()
    }

    fn set_namespace(&self, ns: Weak<MountNamespace>) {
        let old = core::mem::replace(&mut *self.ns.lock(), ns);
        drop(old);
    }

    /// Whether nothing may be written through it.
    pub fn is_readonly(&self) -> bool {
        self.flags().contains(MountFlags::RDONLY) || self.sb.is_readonly()
    }

    /// Where it is attached.
    pub fn parent(&self) -> Option<Path> {
        self.at.lock().as_ref().map(|(mnt, dentry)| Path { mnt: mnt.clone(), dentry: dentry.clone() })
    }

    /// Whether `ancestor` is it or one of the mounts that it stands on.
    fn is_below(self: &Arc<Self>, ancestor: &Arc<Mount>) -> bool {
        let mut at = Some(self.clone());
        while let Some(mnt) = at {
            if Arc::ptr_eq(&mnt, ancestor) {
                return true;
            }
            at = mnt.parent().map(|p| p.mnt);
        }
        false
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        propagate::forget(self);
        self.sb.put_active();
    }
}

/// Mounts by the addresses of their parent and the dentry they cover.
type ByPlace = HashMap<(usize, usize), Arc<Mount>>;

static BY_PLACE: LazyLock<SpinLock<ByPlace>> = LazyLock::new(|| SpinLock::new(rank::MOUNT, HashMap::new()));
/// Every name space that is alive.
static NAMESPACES: SpinLock<Vec<Weak<MountNamespace>>> = SpinLock::new(rank::LEAF, Vec::new());
static NAMESPACE: LazyLock<Mutex<()>> = LazyLock::new(|| Mutex::new(()));

/// Most mounts of one name space: /proc/sys/fs/mount-max.
pub const MOUNT_MAX: usize = 100_000;

fn key(path: &Path) -> (usize, usize) {
    (Arc::as_ptr(&path.mnt) as usize, Arc::as_ptr(&path.dentry) as usize)
}

/// The mount that covers `path`, if any.
pub fn lookup_mount(path: &Path) -> Option<Arc<Mount>> {
    if !path.dentry.is_mountpoint() { None } else { covering(path) }
}

/// The same, without a look at whether anything is mounted there at all.
pub(super) fn covering(path: &Path) -> Option<Arc<Mount>> {
    BY_PLACE.lock().get(&key(path)).cloned()
}

/// `mnt` and every mount below it in `ns`, parents first.
pub(super) fn subtree_of(ns: &MountNamespace, mnt: &Arc<Mount>) -> MountTree {
    ns.subtree(mnt)
}

/// Puts the mounts of a copied tree on each other as those of the old one stand.
pub(super) fn stand_alike(old: &[Arc<Mount>], new: &[Arc<Mount>]) {
    for (old_mnt, new_mnt) in old.iter().zip(new).skip(1) {
        let Some(at) = old_mnt.parent() else { continue };
        let parent = old.iter().position(|m| Arc::ptr_eq(m, &at.mnt)).and_then(|i| new.get(i));
        if let Some(parent) = parent {
            put_on(new_mnt, Path { mnt: parent.clone(), dentry: at.dentry });
        }
    }
}

/// Takes the mounts of a tree that was never attached off each other.
pub(super) fn dismantle(tree: &[Arc<Mount>]) {
    for mnt in tree {
        take_off(mnt);
        propagate::set(mnt, Kind::Private);
    }
}

/// Moves `path` to the root of the topmost mount on it. Whether there was one.
pub fn traverse_mounts(path: &mut Path) -> bool {
    let mut crossed = false;
    while let Some(mnt) = lookup_mount(path) {
        *path = Path::root_of(&mnt);
        crossed = true;
    }
    crossed
}

/// Serialises changes of mount trees. Taken before any directory's `rwsem`.
pub fn lock_namespace() -> MutexGuard<'static, ()> {
    NAMESPACE.lock()
}

fn put_on(mnt: &Arc<Mount>, place: Path) {
    place.dentry.mounted.fetch_add(1, Ordering::SeqCst);
    let mut by_place = BY_PLACE.lock();
    by_place.insert(key(&place), mnt.clone());
    *mnt.at.lock() = Some((place.mnt, place.dentry));
}

fn take_off(mnt: &Arc<Mount>) {
    let mut by_place = BY_PLACE.lock();
    let at = mnt.at.lock().take();
    let removed = at.as_ref().and_then(|(parent, dentry)| {
        by_place.remove(&(Arc::as_ptr(parent) as usize, Arc::as_ptr(dentry) as usize))
    });
    drop(by_place);
    if let Some((_, dentry)) = &at {
        dentry.mounted.fetch_sub(1, Ordering::SeqCst);
    }
    drop((removed, at));
}

/// Gives a tree of mounts, its top first, a name space of its own, which lives as long as the file that holds its top.
pub(super) fn detached(tree: MountTree) -> Arc<MountNamespace> {
    let ns = MountNamespace::of(tree);
    ns.detached.store(true, Ordering::SeqCst);
    ns
}

/// A mount and its copy in another name space.
pub type MountPair = (Arc<Mount>, Arc<Mount>);

/// A tree of mounts: CLONE_NEWNS.
pub struct MountNamespace {
    me: Weak<MountNamespace>,
    /// All mounts, in the order of mounting; the first is the root.
    pub mounts: SpinLock<Vec<Arc<Mount>>>,
    /// Number, from 0: names it in /proc/PID/ns.
    pub id: u64,
    /// Mounts that open_tree(2) or fsmount(2) has made and nobody has attached.
    detached: AtomicBool,
    /// Counts changes of the list.
    event: AtomicU64,
    /// Woken by every change: poll(2) of /proc/PID/mounts.
    pub changed: WaitQueue,
}

impl MountNamespace {
    /// A name space whose root is `root`.
    pub fn new(root: &Arc<Mount>) -> Arc<MountNamespace> {
        MountNamespace::of(vec![root.clone()])
    }

    /// The living one with that number.
    pub fn by_id(id: u64) -> Option<Arc<MountNamespace>> {
        // One that dies in between is dropped without the lock.
        let all = NAMESPACES.lock().clone();
        all.iter().filter_map(Weak::upgrade).find(|ns| ns.id == id)
    }

    fn of(mounts: Vec<Arc<Mount>>) -> Arc<MountNamespace> {
        let ns = Arc::new_cyclic(|me| MountNamespace {
            me: me.clone(),
            mounts: SpinLock::new(rank::MOUNT_LIST, mounts),
            id: NEXT_NS.fetch_add(1, Ordering::Relaxed),
            detached: AtomicBool::new(false),
            event: AtomicU64::new(0),
            changed: WaitQueue::new(),
        });
        for mnt in ns.list() {
            mnt.set_namespace(ns.me.clone());
        }
        let mut all = NAMESPACES.lock();
        all.retain(|old| old.strong_count() > 0);
        all.push(Arc::downgrade(&ns));
        drop(all);
        ns
    }

    /// Whether it only holds mounts that are not attached yet.
    pub fn is_detached(&self) -> bool {
        self.detached.load(Ordering::SeqCst)
    }

    /// Its mounts are another's now.
    pub(super) fn give_up(&self) {
        let mounts = core::mem::take(&mut *self.mounts.lock());
        drop(mounts);
    }

    /// How often its mounts have changed.
    pub fn event(&self) -> u64 {
        self.event.load(Ordering::SeqCst)
    }

    fn touch(&self) {
        self.event.fetch_add(1, Ordering::SeqCst);
        self.changed.wake_all();
    }

    /// The mount at the root.
    pub fn root(&self) -> Option<Arc<Mount>> {
        self.mounts.lock().first().cloned()
    }

    /// All mounts, in the order of mounting.
    pub fn list(&self) -> Vec<Arc<Mount>> {
        self.mounts.lock().clone()
    }

    /// Whether `mnt` belongs to it.
    pub fn has(&self, mnt: &Arc<Mount>) -> bool {
        self.mounts.lock().iter().any(|m| Arc::ptr_eq(m, mnt))
    }

    /// Attaches a mount on top of whatever covers `place`, see [`MountNamespace::attach_tree`].
    pub fn attach(&self, mnt: &Arc<Mount>, place: Path) -> Result<()> {
        self.attach_tree(core::slice::from_ref(mnt), place)
    }

    /// Attaches a tree of mounts, its top first, on top of whatever covers `place`, and a copy of it wherever that
    /// propagates. ENOTDIR when one is a directory and the other is not, ENOENT for a removed directory, ENOSPC for too
    /// many mounts. The caller holds the lock of name spaces.
    pub fn attach_tree(&self, tree: &[Arc<Mount>], mut place: Path) -> Result<()> {
        traverse_mounts(&mut place);
        let Some(top) = tree.first() else { return Err(EINVAL) };
        if place.dentry.is_dir() != top.root.is_dir() {
            return Err(ENOTDIR);
        }
        if !self.has(&place.mnt) {
            return Err(EINVAL);
        }
        let dir = place.inode()?;
        // No rmdir or unlink in between.
        let _guard = dir.rwsem.lock();
        if place.dentry.is_unhashed() {
            return Err(ENOENT);
        }
        let copies = propagate::copies_for(tree, &place);
        let room = |ns: &MountNamespace| ns.mounts.lock().len() + tree.len() <= MOUNT_MAX;
        let fits = |(_, at): &(MountTree, Path)| at.mnt.namespace().is_some_and(|ns| room(&ns));
        if !room(self) || !copies.iter().all(fits) {
            copies.iter().for_each(|(copy, _)| dismantle(copy));
            return Err(ENOSPC);
        }
        self.add(tree, place);
        for (copy, mut place) in copies {
            traverse_mounts(&mut place);
            if let Some(ns) = place.mnt.namespace() {
                ns.add(&copy, place);
            }
        }
        Ok(())
    }

    fn add(&self, tree: &[Arc<Mount>], place: Path) {
        if let Some(top) = tree.first() {
            put_on(top, place);
        }
        for mnt in tree {
            mnt.set_namespace(self.me.clone());
        }
        self.mounts.lock().extend(tree.iter().cloned());
        self.touch();
    }

    /// Takes one mount off its place and out of the list.
    pub fn detach(&self, mnt: &Arc<Mount>) {
        take_off(mnt);
        let mut list = self.mounts.lock();
        let position = list.iter().position(|m| Arc::ptr_eq(m, mnt));
        let removed = position.map(|i| list.remove(i));
        drop(list);
        drop(removed);
        mnt.set_namespace(Weak::new());
        self.touch();
    }

    /// `mnt` and every mount below it, parents first.
    pub fn subtree(&self, mnt: &Arc<Mount>) -> Vec<Arc<Mount>> {
        self.list().into_iter().filter(|m| m.is_below(mnt)).collect()
    }

    /// Moves an attached mount with all below it. ELOOP into itself; EINVAL for the root of the name space, from a shared
    /// mount, or of an unbindable one to a shared one.
    pub fn move_mount(&self, mnt: &Arc<Mount>, place: &Path) -> Result<()> {
        if place.mnt.is_below(mnt) {
            return Err(abi::errno::ELOOP);
        }
        let Some(old) = mnt.parent() else { return Err(EINVAL) };
        let tree = self.subtree(mnt);
        let mut target = place.clone();
        traverse_mounts(&mut target);
        let unbindable = target.mnt.peers.shared() != 0 && tree.iter().any(|m| m.is_unbindable());
        if old.mnt.peers.shared() != 0 || unbindable {
            return Err(EINVAL);
        }
        if place.dentry.is_dir() != mnt.root.is_dir() {
            return Err(ENOTDIR);
        }
        self.take_out(&tree);
        let moved = self.attach_tree(&tree, place.clone());
        if moved.is_err() {
            // Nobody else changes mounts meanwhile, so the old place is as it was.
            self.attach_tree(&tree, old)?;
        }
        moved
    }

    /// Takes a tree out of the list, and its top off its place.
    fn take_out(&self, tree: &[Arc<Mount>]) {
        if let Some(top) = tree.first() {
            take_off(top);
        }
        let mut gone = Vec::new();
        let mut list = self.mounts.lock();
        list.retain(|m| {
            let stays = !tree.iter().any(|t| Arc::ptr_eq(t, m));
            if !stays {
                gone.push(m.clone());
            }
            stays
        });
        drop(list);
        drop(gone);
        self.touch();
    }

    /// pivot_root(2): `new` takes the place of `old`, and `old` goes to `put_old`, which lies in or below `new`. EINVAL
    /// for other places.
    pub fn pivot_root(&self, old: &Arc<Mount>, new: &Arc<Mount>, put_old: &Path) -> Result<()> {
        if !put_old.mnt.is_below(new) || !new.is_below(old) {
            return Err(EINVAL);
        }
        let Some(stand) = new.parent() else { return Err(EINVAL) };
        let is_shared = |mnt: &Arc<Mount>| mnt.peers.shared() != 0;
        if is_shared(&put_old.mnt) || is_shared(&stand.mnt) || old.parent().is_some_and(|p| is_shared(&p.mnt))
        {
            return Err(EINVAL);
        }
        if Arc::ptr_eq(&put_old.mnt, new) && !put_old.dentry.is_below(&new.root) {
            return Err(EINVAL);
        }
        let place = old.parent();
        take_off(new);
        take_off(old);
        put_on(old, put_old.clone());
        match place {
            // Only the root of the name space stands nowhere; it comes first in the list.
            None => {
                let mut list = self.mounts.lock();
                if let Some(at) = list.iter().position(|m| Arc::ptr_eq(m, new)) {
                    list[..=at].rotate_right(1);
                }
            }
            Some(place) => put_on(new, place),
        }
        Ok(())
    }

    /// Detaches `mnt`: with everything below it if `lazy`, else EBUSY when something is mounted below or a file,
    /// root or working directory uses it. `used` is the number of references that the caller holds.
    pub fn umount(&self, mnt: &Arc<Mount>, lazy: bool, used: usize) -> Result<()> {
        let tree = self.subtree(mnt);
        if !lazy {
            // One each for the list of mounts, the hash, and the copy just made.
            if tree.len() > 1 || Arc::strong_count(mnt) > used + 3 {
                return Err(EBUSY);
            }
            propagate::check_busy(mnt)?;
        }
        for mnt in tree.iter().rev() {
            for companion in propagate::companions(mnt) {
                let Some(ns) = companion.namespace() else { continue };
                // What has something of its own mounted on it stays.
                if ns.subtree(&companion).len() == 1 {
                    ns.detach(&companion);
                    propagate::set(&companion, Kind::Private);
                }
            }
            self.detach(mnt);
            propagate::set(mnt, Kind::Private);
        }
        Ok(())
    }

    /// A copy for CLONE_NEWNS: the same file systems at the same places. The second part says which mount became which.
    pub fn copy(&self) -> (Arc<MountNamespace>, Vec<MountPair>) {
        let _guard = lock_namespace();
        let old = self.list();
        let new: Vec<_> = old.iter().map(|m| Mount::new(&m.sb, &m.root, m.flags())).collect();
        let pairs: Vec<_> = old.into_iter().zip(new.iter().cloned()).collect();
        for (old, new) in &pairs {
            let Some(at) = old.parent() else { continue };
            let Some((_, parent)) = pairs.iter().find(|(o, _)| Arc::ptr_eq(o, &at.mnt)) else { continue };
            put_on(new, Path { mnt: parent.clone(), dentry: at.dentry });
        }
        for (old, new) in &pairs {
            propagate::inherit(new, old);
            new.set_unbindable(old.is_unbindable());
        }
        (MountNamespace::of(new), pairs)
    }
}

impl Drop for MountNamespace {
    fn drop(&mut self) {
        for mnt in core::mem::take(self.mounts.get_mut()) {
            take_off(&mnt);
            propagate::set(&mnt, Kind::Private);
        }
    }
}
