//! Propagation of mounts, mount_namespaces(7): shared, slave, private and unbindable mounts.
//!
//! Mounts of a peer group have its number in [`Peers::shared`]; slaves have the group that they receive from in
//! [`Peers::master`]. A mount or unmount on one member happens on all of them, and on their slaves.
//!
//! Locks: the numbers of a mount and the registry of groups change under PEERS, which nothing is called under; trees of
//! mounts under the lock of name spaces (`mount.rs`), which all callers hold.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};

use abi::Result;
use abi::errno::EBUSY;

use super::mount::{Mount, MountNamespace, covering, subtree_of};
use super::{Dentry, Path};
use crate::sync::{SpinLock, rank};

/// A mount's groups by number; 0 for none.
#[derive(Default)]
pub struct Peers {
    shared: AtomicU64,
    master: AtomicU64,
}

impl Peers {
    /// The peer group that it is in.
    pub fn shared(&self) -> u64 {
        self.shared.load(Relaxed)
    }

    /// The peer group that it receives from.
    pub fn master(&self) -> u64 {
        self.master.load(Relaxed)
    }
}

/// What MS_SHARED and its like ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// MS_SHARED
    Shared,
    /// MS_SLAVE
    Slave,
    /// MS_PRIVATE, and MS_UNBINDABLE, whose mark the caller sets.
    Private,
}

#[derive(Default)]
struct Group {
    members: Vec<Weak<Mount>>,
    slaves: Vec<Weak<Mount>>,
}

impl Group {
    fn without(list: &mut Vec<Weak<Mount>>, mnt: &Mount) {
        list.retain(|m| !core::ptr::eq(m.as_ptr(), mnt));
    }
}

type Registry = BTreeMap<u64, Group>;

static PEERS: SpinLock<Registry> = SpinLock::new(rank::LEAF, BTreeMap::new());

/// The least number that no group has, as Linux gives them.
fn free_id(groups: &Registry) -> u64 {
    groups.keys().zip(1..).find(|(used, n)| **used != *n).map_or(groups.len() as u64 + 1, |(_, n)| n)
}

fn new_group(groups: &mut Registry, mnt: &Arc<Mount>) {
    let id = free_id(groups);
    groups.insert(id, Group { members: vec![Arc::downgrade(mnt)], slaves: Vec::new() });
    mnt.peers.shared.store(id, Relaxed);
}

/// Makes it receive from that group, or from none.
fn set_master(groups: &mut Registry, mnt: &Mount, me: Weak<Mount>, master: u64) {
    let old = mnt.peers.master.swap(master, Relaxed);
    if old == master {
        return;
    }
    if let Some(group) = groups.get_mut(&old) {
        Group::without(&mut group.slaves, mnt);
    }
    if let Some(group) = groups.get_mut(&master) {
        group.slaves.push(me);
    }
}

/// Takes it out of its peer group. Answers the slaves of a group that it was the last of, which need another master.
fn leave(groups: &mut Registry, mnt: &Mount) -> (u64, Vec<Weak<Mount>>) {
    let id = mnt.peers.shared.swap(0, Relaxed);
    let Some(group) = groups.get_mut(&id) else { return (0, Vec::new()) };
    Group::without(&mut group.members, mnt);
    if !group.members.is_empty() {
        return (id, Vec::new());
    }
    (0, groups.remove(&id).map(|g| g.slaves).unwrap_or_default())
}

/// MS_SHARED, MS_SLAVE, MS_PRIVATE of one mount.
pub fn set(mnt: &Arc<Mount>, kind: Kind) {
    // References that die here die without the lock.
    let orphans: Vec<Arc<Mount>>;
    {
        let mut groups = PEERS.lock();
        if kind == Kind::Shared {
            if mnt.peers.shared() == 0 {
                new_group(&mut groups, mnt);
            }
            return;
        }
        let was_shared = mnt.peers.shared() != 0;
        let (left, slaves) = leave(&mut groups, mnt);
        if was_shared && left != 0 {
            // Peers are left: it becomes their slave.
            set_master(&mut groups, mnt, Arc::downgrade(mnt), left);
        }
        let heir = mnt.peers.master();
        orphans = slaves.iter().filter_map(Weak::upgrade).collect();
        for slave in &orphans {
            set_master(&mut groups, slave, Arc::downgrade(slave), heir);
        }
        if kind == Kind::Private {
            set_master(&mut groups, mnt, Weak::new(), 0);
        }
    }
    drop(orphans);
}

/// A mount that was never attached is dropped.
pub fn forget(mnt: &Mount) {
    if mnt.peers.shared() == 0 && mnt.peers.master() == 0 {
        return;
    }
    let mut groups = PEERS.lock();
    // Slaves of a mount alone in its group are those of a tree that is dropped with it.
    let left = leave(&mut groups, mnt);
    set_master(&mut groups, mnt, Weak::new(), 0);
    drop(groups);
    drop(left);
}

/// A copy of a mount is its peer, and a slave of the same group, as far as it is either.
pub fn inherit(copy: &Arc<Mount>, old: &Mount) {
    let mut groups = PEERS.lock();
    let shared = old.peers.shared();
    if let Some(group) = groups.get_mut(&shared) {
        group.members.push(Arc::downgrade(copy));
        copy.peers.shared.store(shared, Relaxed);
    }
    set_master(&mut groups, copy, Arc::downgrade(copy), old.peers.master());
}

/// Members and slaves of a group.
fn group(id: u64) -> (Vec<Arc<Mount>>, Vec<Arc<Mount>>) {
    let groups = PEERS.lock();
    let live = |list: &[Weak<Mount>]| list.iter().filter_map(Weak::upgrade).collect();
    groups.get(&id).map(|g| (live(&g.members), live(&g.slaves))).unwrap_or_default()
}

/// The closest group above a mount's master that has a member below `root` in that name space: `propagate_from`.
pub fn dominating(mnt: &Mount, root: &Path, ns: &MountNamespace) -> Option<u64> {
    let mut id = mnt.peers.master();
    while id != 0 {
        let (members, _) = group(id);
        let seen = |m: &&Arc<Mount>| {
            ns.has(m)
                && super::namei::d_path_reachable(&Path::root_of(m), root).is_some_and(|(_, below)| below)
        };
        if members.iter().any(|m| seen(&m)) {
            return Some(id);
        }
        id = members.first().map_or(0, |m| m.peers.master());
    }
    None
}

/// All mounts that receive what happens on `dest`, without itself.
fn receivers(dest: &Arc<Mount>) -> Vec<Arc<Mount>> {
    let mut found: Vec<Arc<Mount>> = Vec::new();
    let mut seen = Vec::new();
    let mut todo = vec![dest.peers.shared()];
    while let Some(id) = todo.pop() {
        if id == 0 || seen.contains(&id) {
            continue;
        }
        seen.push(id);
        let (members, slaves) = group(id);
        for mnt in members.into_iter().chain(slaves) {
            todo.push(mnt.peers.shared());
            if !Arc::ptr_eq(&mnt, dest) && !found.iter().any(|f| Arc::ptr_eq(f, &mnt)) {
                found.push(mnt);
            }
        }
    }
    found
}

/// How the copies for a receiver stand to the tree that they are copies of.
#[derive(Clone, Copy)]
enum Copies {
    /// The receiver is a peer of the place's mount: so are they.
    Peers,
    /// It is a slave of it: so are they; with `shared` they also begin a peer group, as the receiver is in one.
    Slaves { shared: bool },
}

/// A tree of mounts, its top first, which stand on each other.
pub type MountTree = Vec<Arc<Mount>>;

fn copy_tree(tree: &[Arc<Mount>], how: Copies) -> MountTree {
    let copies: MountTree = tree.iter().map(|m| Mount::new(&m.sb, &m.root, m.flags())).collect();
    for (old, new) in tree.iter().zip(&copies) {
        match how {
            Copies::Peers => inherit(new, old),
            Copies::Slaves { shared } => {
                let mut groups = PEERS.lock();
                set_master(&mut groups, new, Arc::downgrade(new), old.peers.shared());
                if shared {
                    new_group(&mut groups, new);
                }
            }
        }
        new.set_unbindable(old.is_unbindable());
    }
    super::mount::stand_alike(tree, &copies);
    copies
}

/// Copies a tree that is about to be attached at `place` for every receiver: each copy with where it goes. All mounts of
/// the tree become shared if the place's mount is. The caller attaches the copies, or drops them.
pub fn copies_for(tree: &[Arc<Mount>], place: &Path) -> Vec<(MountTree, Path)> {
    let id = place.mnt.peers.shared();
    if id == 0 {
        return Vec::new();
    }
    tree.iter().for_each(|mnt| set(mnt, Kind::Shared));
    let mut out = Vec::new();
    let mut seen = Vec::new();
    spread(id, tree, &place.dentry, &place.mnt, &mut seen, &mut out);
    out
}

/// Makes the copies for the members of a group, but for `done`, and for all who receive from it.
fn spread(
    id: u64,
    tree: &[Arc<Mount>],
    dentry: &Arc<Dentry>,
    done: &Arc<Mount>,
    seen: &mut Vec<u64>,
    out: &mut Vec<(MountTree, Path)>,
) {
    seen.push(id);
    // Part of the file system that the mount doesn't show, or a mount that is nowhere, receives nothing.
    let takes = |mnt: &Arc<Mount>| mnt.namespace().is_some() && dentry.is_below(&mnt.root);
    let place = |mnt: &Arc<Mount>| Path { mnt: mnt.clone(), dentry: dentry.clone() };
    let (members, slaves) = group(id);
    for mnt in members.iter().filter(|m| !Arc::ptr_eq(m, done) && takes(m)) {
        out.push((copy_tree(tree, Copies::Peers), place(mnt)));
    }
    for slave in &slaves {
        let own = slave.peers.shared();
        if own == 0 {
            if takes(slave) {
                out.push((copy_tree(tree, Copies::Slaves { shared: false }), place(slave)));
            }
            continue;
        }
        if seen.contains(&own) {
            continue;
        }
        // The first of its group that takes a copy is the source of the others' copies.
        let (peers, _) = group(own);
        match peers.iter().find(|m| takes(m)) {
            Some(first) => {
                let copy = copy_tree(tree, Copies::Slaves { shared: true });
                spread(own, &copy, dentry, first, seen, out);
                out.push((copy, place(first)));
            }
            None => spread(own, tree, dentry, slave, seen, out),
        }
    }
}

/// The mounts that go with `mnt` when it is unmounted: those at the same place of every receiver of its parent.
pub fn companions(mnt: &Arc<Mount>) -> Vec<Arc<Mount>> {
    let Some(at) = mnt.parent() else { return Vec::new() };
    if at.mnt.peers.shared() == 0 {
        return Vec::new();
    }
    let there = |m: &Arc<Mount>| covering(&Path { mnt: m.clone(), dentry: at.dentry.clone() });
    receivers(&at.mnt).iter().filter_map(there).collect()
}

/// Whether one of the mounts that would go with `mnt` is in use. EBUSY.
pub fn check_busy(mnt: &Arc<Mount>) -> Result<()> {
    for companion in companions(mnt) {
        let alone = companion.namespace().is_some_and(|ns| subtree_of(&ns, &companion).len() == 1);
        // One reference for the list of its name space, one for the hash of places, one is our own.
        if alone && Arc::strong_count(&companion) > 3 {
            return Err(EBUSY);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_free_number_is_taken() {
        let mut groups = Registry::new();
        assert_eq!(free_id(&groups), 1);
        for id in [1, 2, 4] {
            groups.insert(id, Group::default());
        }
        assert_eq!(free_id(&groups), 3);
        groups.insert(3, Group::default());
        assert_eq!(free_id(&groups), 5);
    }
}
