//! Control groups, cgroups(7), version 2: the tree of groups and which process is in which. There are no controllers: a
//! group is a name for a set of processes, as systemd needs to follow its services. The files are `fs/cgroup2.rs`.
//!
//! Lock: CGROUP, over one group's children and attributes, and over a process's place; one at a time.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use abi::Result;
use abi::errno::{EACCES, EBUSY, EEXIST, ENODEV, ENOENT};
use abi::signal::{SI_KERNEL, SIGKILL, SigInfo};

use crate::fs::cgroup2;
use crate::signal;
use crate::sync::{SpinLock, rank};
use crate::task::{Cred, Process, pid};
use crate::vfs::SetAttr;

/// Deepest group: a guard of the kernel's memory, not a promise of Linux's.
const MAX_DEPTH: usize = 256;

/// A group.
pub struct Cgroup {
    /// Its name in its parent; empty for the root.
    pub name: String,
    parent: Option<Arc<Cgroup>>,
    state: SpinLock<State>,
    /// Processes in it and below it.
    populated: AtomicUsize,
    removed: AtomicBool,
}

#[derive(Default)]
struct State {
    children: Vec<Arc<Cgroup>>,
    /// What chmod(2) and chown(2) have changed, by file; the group's own directory under an empty name.
    attrs: BTreeMap<&'static str, SetAttr>,
}

static ROOT: LazyLock<Arc<Cgroup>> = LazyLock::new(|| Cgroup::new("", None));

/// The group that everybody begins in.
pub fn root() -> Arc<Cgroup> {
    ROOT.clone()
}

impl Cgroup {
    fn new(name: &str, parent: Option<Arc<Cgroup>>) -> Arc<Cgroup> {
        Arc::new(Cgroup {
            name: name.to_owned(),
            parent,
            state: SpinLock::new(rank::CGROUP, State::default()),
            populated: AtomicUsize::new(0),
            removed: AtomicBool::new(false),
        })
    }

    /// Whether it is the root.
    pub fn is_root(&self) -> bool {
        self.parent.is_none()
    }

    /// Whether its directory is gone.
    pub fn is_removed(&self) -> bool {
        self.removed.load(Ordering::SeqCst)
    }

    /// Whether there are processes in it or below it.
    pub fn is_populated(&self) -> bool {
        self.populated.load(Ordering::SeqCst) > 0
    }

    /// Its children.
    pub fn children(&self) -> Vec<Arc<Cgroup>> {
        self.state.lock().children.clone()
    }

    /// A child by name. ENOENT.
    pub fn child(&self, name: &[u8]) -> Result<Arc<Cgroup>> {
        self.state.lock().children.iter().find(|c| c.name.as_bytes() == name).cloned().ok_or(ENOENT)
    }

    /// Its names from the root's child down to its own.
    pub fn names(&self) -> Vec<&str> {
        let mut names = Vec::new();
        let mut at = self;
        while let Some(parent) = &at.parent {
            names.push(at.name.as_str());
            at = parent;
        }
        names.reverse();
        names
    }

    /// Its path, as /proc/PID/cgroup has it.
    pub fn path(&self) -> String {
        let path = format!("/{}", self.names().join("/"));
        if self.is_removed() { path + " (deleted)" } else { path }
    }

    /// mkdir(2). EEXIST; ENODEV in one that is gone.
    pub fn make(self: &Arc<Self>, name: &str) -> Result<()> {
        if self.names().len() >= MAX_DEPTH {
            return Err(abi::errno::EAGAIN);
        }
        let new = Cgroup::new(name, Some(self.clone()));
        let mut state = self.state.lock();
        if self.is_removed() {
            return Err(ENODEV);
        }
        if state.children.iter().any(|c| c.name == name) {
            return Err(EEXIST);
        }
        state.children.push(new);
        Ok(())
    }

    /// rmdir(2). EBUSY while there are processes or groups in it.
    pub fn remove(&self, name: &[u8]) -> Result<()> {
        let child = self.child(name)?;
        if child.is_populated() || !child.children().is_empty() {
            return Err(EBUSY);
        }
        child.removed.store(true, Ordering::SeqCst);
        self.state.lock().children.retain(|c| !Arc::ptr_eq(c, &child));
        Ok(())
    }

    /// What was changed of a file's attributes.
    pub fn attr(&self, file: &str) -> SetAttr {
        self.state.lock().attrs.get(file).copied().unwrap_or_default()
    }

    /// Changes them.
    pub fn set_attr(&self, file: &'static str, set: &SetAttr) {
        let mut state = self.state.lock();
        let old = state.attrs.entry(file).or_default();
        old.mode = set.mode.or(old.mode);
        old.uid = set.uid.or(old.uid);
        old.gid = set.gid.or(old.gid);
    }

    /// Processes that are in it itself.
    pub fn processes(self: &Arc<Self>) -> Vec<Arc<Process>> {
        let all: Vec<_> = pid::tasklist().processes().cloned().collect();
        let here = |p: &Arc<Process>| !p.zombie.load(Ordering::SeqCst) && Arc::ptr_eq(&of(p), self);
        all.into_iter().filter(here).collect()
    }

    /// cgroup.kill: ends every process in it and below it.
    pub fn kill(self: &Arc<Self>) {
        for process in self.processes() {
            signal::send_process(&process, SigInfo::new(SIGKILL, SI_KERNEL));
        }
        for child in self.children() {
            child.kill();
        }
    }

    /// Counts a process that comes or goes, here and in all above.
    fn count(self: &Arc<Self>, comes: bool) {
        let mut at = Some(self);
        while let Some(group) = at {
            let changed = if comes {
                group.populated.fetch_add(1, Ordering::SeqCst) == 0
            } else {
                group.populated.fetch_sub(1, Ordering::SeqCst) == 1
            };
            if changed && !group.is_root() {
                cgroup2::events_changed(group);
            }
            at = group.parent.as_ref();
        }
    }

    fn is_below(&self, other: &Cgroup) -> bool {
        let mut at = Some(self);
        while let Some(group) = at {
            if core::ptr::eq(group, other) {
                return true;
            }
            at = group.parent.as_deref();
        }
        false
    }
}

/// The group of a process.
pub fn of(process: &Process) -> Arc<Cgroup> {
    process.cgroup.lock().clone().unwrap_or_else(root)
}

/// A process is born into its parent's group.
pub fn born(parent: Option<&Process>, child: &Process) {
    let group = parent.map_or_else(root, of);
    *child.cgroup.lock() = Some(group.clone());
    group.count(true);
}

/// A process has no threads any more. Sleeps.
pub fn died(process: &Process) {
    let group = process.cgroup.lock().clone();
    if let Some(group) = group {
        group.count(false);
    }
}

/// Moves a process into a group. ENODEV for one that is gone; EACCES unless `cred` owns what both groups are in.
pub fn attach(group: &Arc<Cgroup>, process: &Process, cred: &Cred) -> Result<()> {
    if group.is_removed() {
        return Err(ENODEV);
    }
    let old = of(process);
    let mut common = Some(&old);
    while let Some(at) = common.filter(|at| !group.is_below(at)) {
        common = at.parent.as_ref();
    }
    let owner = common.map_or(0, |c| c.attr("cgroup.procs").uid.unwrap_or(0));
    if cred.fsuid != 0 && cred.fsuid != owner {
        return Err(EACCES);
    }
    group.count(true);
    let before = process.cgroup.lock().replace(group.clone());
    if let Some(before) = before {
        before.count(false);
    }
    Ok(())
}
