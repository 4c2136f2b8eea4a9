//! /proc/PID and /proc/PID/task/TID: the directory of a process or thread.
//!
//! | files | where |
//! |---|---|
//! | stat, statm, status | `pid/stat.rs`, `pid/status.rs` |
//! | maps, smaps, smaps_rollup | `pid/maps.rs` |
//! | cmdline, environ, auxv, mem | `pid/memory.rs` |
//! | fd, fdinfo | `pid/fd.rs` |
//! | exe, cwd, root, ns | `pid/links.rs` |
//! | mounts, mountinfo, mountstats | `pid/mounts.rs` |
//! | task, children | `pid/task.rs` |
//! | limits, comm, oom_score_adj and other small ones | `pid/misc.rs` |
//!
//! A directory names a process by number and by a weak reference, so that it never shows another one that got the
//! number later. Files of a process that is gone answer ESRCH.

mod fd;
mod links;
mod maps;
mod memory;
mod misc;
mod mounts;
mod stat;
mod status;
mod task;

pub use links::mount_namespace;

pub(super) use stat::ticks;
pub(super) use status::{all_tasks, brief};

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use abi::errno::{EACCES, EINVAL, EIO, ENOENT, ESRCH};
use abi::fcntl::OpenFlags;
use abi::{Result, prctl::SUID_DUMP_USER};

use super::kernfs::{Attr, Entry, Node};
use crate::mm::Mm;
use crate::task::{Process, Task, current, pid::tasklist, ptrace_access};
use crate::vfs::{Access, FileOps, FileType, Path};

/// Whom a directory is about.
#[derive(Clone)]
pub(super) struct Who {
    /// The thread's number; the process's in /proc/PID.
    pub pid: i32,
    process: Weak<Process>,
    /// The process as a whole, else one thread.
    pub whole: bool,
}

impl Who {
    /// A process by the number of any of its threads. ENOENT.
    pub fn find(pid: i32) -> Result<Who> {
        let task = tasklist().task(pid).ok_or(ENOENT)?;
        Ok(Who { pid, process: Arc::downgrade(&task.process), whole: true })
    }

    /// A thread of that process. ENOENT.
    pub fn thread(&self, tid: i32) -> Result<Who> {
        let who = Who { pid: tid, process: self.process.clone(), whole: false };
        who.task().map_err(|_| ENOENT)?;
        Ok(who)
    }

    /// ESRCH.
    pub fn process(&self) -> Result<Arc<Process>> {
        Ok(self.task()?.process.clone())
    }

    /// The thread, or the process's first; a zombie counts. ESRCH.
    pub fn task(&self) -> Result<Arc<Task>> {
        let task = tasklist().task(self.pid).ok_or(ESRCH)?;
        if core::ptr::eq(Arc::as_ptr(&task.process), self.process.as_ptr()) { Ok(task) } else { Err(ESRCH) }
    }

    /// The address space; none of a kernel task or a zombie. ESRCH.
    pub fn mm(&self) -> Result<Option<Arc<Mm>>> {
        Ok(self.task()?.mm().ok())
    }

    /// ESRCH if it is gone, EACCES if the current task may not look into it.
    pub fn accessible(&self) -> Result<Arc<Task>> {
        let task = self.task()?;
        ptrace_access(&task).map_err(|_| EACCES)?;
        Ok(task)
    }

    /// Whose files are: the effective user's, or root's where the process doesn't want to be looked into. `always` is
    /// for directories, whose mode everybody sees.
    fn attr(&self, mode: u32, always: bool) -> Result<Attr> {
        let task = self.task().map_err(|_| ENOENT)?;
        let dumpable = task.process.dumpable.load(Ordering::Relaxed) == SUID_DUMP_USER as i32;
        let mut attr = Attr::root(mode);
        if always || (dumpable && task.mm().is_ok()) {
            let cred = task.cred();
            (attr.uid, attr.gid) = (cred.euid, cred.egid);
        }
        Ok(attr)
    }
}

/// A file of the directory.
struct File {
    name: &'static str,
    mode: u32,
    /// Whether it is only in /proc/PID, or only in a thread's directory.
    place: Place,
    body: Body,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Both,
    Process,
    Thread,
}

enum Body {
    Text(fn(&Who) -> Result<Vec<u8>>),
    Var(fn(&Who) -> Result<Vec<u8>>, fn(&Who, &[u8]) -> Result<()>),
    Open(fn(&Who, OpenFlags) -> Result<Box<dyn FileOps>>),
    /// A magic link.
    Link(fn(&Task) -> Result<Path>),
    Dir(fn(Who) -> Box<dyn Node>),
}

const fn text(name: &'static str, mode: u32, show: fn(&Who) -> Result<Vec<u8>>) -> File {
    File { name, mode, place: Place::Both, body: Body::Text(show) }
}

const fn var(
    name: &'static str,
    mode: u32,
    show: fn(&Who) -> Result<Vec<u8>>,
    store: fn(&Who, &[u8]) -> Result<()>,
) -> File {
    File { name, mode, place: Place::Both, body: Body::Var(show, store) }
}

const fn link(name: &'static str, target: fn(&Task) -> Result<Path>) -> File {
    File { name, mode: 0o777, place: Place::Both, body: Body::Link(target) }
}

const fn subdir(name: &'static str, mode: u32, place: Place, make: fn(Who) -> Box<dyn Node>) -> File {
    File { name, mode, place, body: Body::Dir(make) }
}

const fn open(name: &'static str, mode: u32, open: fn(&Who, OpenFlags) -> Result<Box<dyn FileOps>>) -> File {
    File { name, mode, place: Place::Both, body: Body::Open(open) }
}

static FILES: &[File] = &[
    subdir("task", 0o555, Place::Process, |who| Box::new(task::Threads(who))),
    subdir("fd", 0o500, Place::Both, |who| Box::new(fd::Fds(who))),
    subdir("fdinfo", 0o555, Place::Both, |who| Box::new(fd::FdInfos(who))),
    subdir("ns", 0o511, Place::Both, |who| Box::new(links::Namespaces(who))),
    subdir("net", 0o555, Place::Both, |_| super::net::dir_node()),
    text("environ", 0o400, memory::environ),
    text("auxv", 0o400, memory::auxv),
    text("status", 0o444, status::status),
    text("personality", 0o400, misc::personality),
    text("limits", 0o444, misc::limits),
    var("comm", 0o644, misc::comm, misc::set_comm),
    text("cmdline", 0o444, memory::cmdline),
    text("stat", 0o444, stat::stat),
    text("statm", 0o444, stat::statm),
    text("maps", 0o444, maps::maps),
    open("mem", 0o600, memory::open_mem),
    link("cwd", links::cwd),
    link("root", links::root),
    link("exe", links::exe),
    open("mounts", 0o444, mounts::open_mounts),
    open("mountinfo", 0o444, mounts::open_mountinfo),
    open("mountstats", 0o400, mounts::open_mountstats),
    text("smaps", 0o444, maps::smaps),
    text("smaps_rollup", 0o444, maps::smaps_rollup),
    text("wchan", 0o444, misc::wchan),
    text("io", 0o400, misc::io),
    text("cgroup", 0o444, misc::cgroup),
    text("oom_score", 0o444, misc::oom_score),
    var("oom_adj", 0o644, misc::oom_adj, misc::set_oom_adj),
    var("oom_score_adj", 0o644, misc::oom_score_adj, misc::set_oom_score_adj),
    text("uid_map", 0o444, misc::id_map),
    text("gid_map", 0o444, misc::id_map),
    text("projid_map", 0o444, misc::id_map),
    text("setgroups", 0o444, misc::setgroups),
    File { name: "children", mode: 0o444, place: Place::Thread, body: Body::Text(task::children) },
    File {
        name: "timerslack_ns",
        mode: 0o666,
        place: Place::Process,
        body: Body::Var(misc::timerslack, misc::set_timerslack),
    },
];

impl File {
    fn is_in(&self, whole: bool) -> bool {
        match self.place {
            Place::Both => true,
            Place::Process => whole,
            Place::Thread => !whole,
        }
    }

    fn kind(&self) -> FileType {
        match self.body {
            Body::Text(_) | Body::Var(..) | Body::Open(_) => FileType::Regular,
            Body::Link(_) => FileType::Symlink,
            Body::Dir(_) => FileType::Dir,
        }
    }
}

/// The directory itself.
pub(super) struct Dir(pub Who);

impl Node for Dir {
    fn kind(&self) -> FileType {
        FileType::Dir
    }

    fn attr(&self) -> Result<Attr> {
        let subdirs = FILES.iter().filter(|f| f.is_in(self.0.whole) && f.kind() == FileType::Dir).count();
        Ok(Attr { nlink: 2 + subdirs as u32, ..self.0.attr(0o555, true)? })
    }

    fn is_current(&self) -> bool {
        self.0.task().is_ok()
    }

    fn lookup(&self, name: &[u8]) -> Result<Box<dyn Node>> {
        self.0.task().map_err(|_| ENOENT)?;
        let file = FILES.iter().find(|f| f.name.as_bytes() == name && f.is_in(self.0.whole)).ok_or(ENOENT)?;
        match file.body {
            Body::Dir(make) => Ok(make(self.0.clone())),
            _ => Ok(Box::new(FileNode { who: self.0.clone(), file })),
        }
    }

    fn entry_from(&self, from: u64) -> Result<Option<Entry>> {
        self.0.task().map_err(|_| ENOENT)?;
        let from = usize::try_from(from).unwrap_or(usize::MAX).saturating_sub(2);
        let mut rest = FILES.iter().enumerate().skip(from);
        Ok(rest.find(|(_, f)| f.is_in(self.0.whole)).map(|(i, f)| Entry {
            pos: i as u64 + 2,
            name: f.name.as_bytes().to_vec(),
            kind: f.kind(),
            ino: None,
        }))
    }
}

struct FileNode {
    who: Who,
    file: &'static File,
}

impl Node for FileNode {
    fn kind(&self) -> FileType {
        self.file.kind()
    }

    fn attr(&self) -> Result<Attr> {
        self.who.attr(self.file.mode, false)
    }

    fn is_current(&self) -> bool {
        self.who.task().is_ok()
    }

    fn show(&self) -> Result<Vec<u8>> {
        match self.file.body {
            Body::Text(show) | Body::Var(show, _) => show(&self.who),
            _ => Err(EINVAL),
        }
    }

    fn store(&self, data: &[u8]) -> Result<()> {
        match self.file.body {
            Body::Var(_, store) => store(&self.who, data),
            _ => Err(EIO),
        }
    }

    fn open(&self, flags: OpenFlags) -> Result<Option<Box<dyn FileOps>>> {
        match self.file.body {
            Body::Open(open) => open(&self.who, flags).map(Some),
            _ => Ok(None),
        }
    }

    fn readlink(&self) -> Result<Vec<u8>> {
        let Some(path) = self.get_link() else { return Err(EINVAL) };
        Ok(links::show_path(&path?))
    }

    fn get_link(&self) -> Option<Result<Path>> {
        let Body::Link(target) = self.file.body else { return None };
        Some(self.who.accessible().and_then(|task| target(&task)))
    }
}

/// Whether the current task is a thread of `who`: it may look at its own descriptors whatever its user is.
fn is_own(who: &Who) -> bool {
    who.process().is_ok_and(|p| Arc::ptr_eq(&p, &current().process))
}

/// Permission on a directory of descriptors: one's own always.
fn own_or_mode(who: &Who, access: Access) -> Option<Result<()>> {
    (access & crate::vfs::namei::MAY_WRITE == 0 && is_own(who)).then_some(Ok(()))
}
