//! /proc/PID/exe, cwd and root, and the name spaces in /proc/PID/ns: links that lead to a place whatever their text is.

use std::sync::LazyLock;

use abi::Result;
use abi::errno::{ENOENT, ESRCH};
use abi::stat::NSFS_MAGIC;

use super::super::super::kernfs::{Attr, Entry, Node};
use super::super::super::pseudo::{PseudoFs, no_mount};
use super::Who;
use crate::task::{Task, TaskState, current};
use crate::vfs::namei::d_path;
use crate::vfs::{FileType, FsType, Path};

/// What a magic link shows: the name as the reader sees it.
pub(super) fn show_path(path: &Path) -> Vec<u8> {
    d_path(path, &current().fs().root())
}

/// The working directory.
pub(super) fn cwd(task: &Task) -> Result<Path> {
    alive(task)?;
    Ok(task.fs().cwd())
}

/// The root directory.
pub(super) fn root(task: &Task) -> Result<Path> {
    alive(task)?;
    Ok(task.fs().root())
}

/// A zombie has given up its directories.
fn alive(task: &Task) -> Result<()> {
    if matches!(task.state(), TaskState::Zombie | TaskState::Dead) { Err(ENOENT) } else { Ok(()) }
}

/// The program.
pub(super) fn exe(task: &Task) -> Result<Path> {
    let mm = task.mm().map_err(|_| ENOENT)?;
    Ok(mm.exe_file().ok_or(ENOENT)?.path.clone())
}

/// Names and numbers of the name spaces. There is one of each kind, with Linux's number of the first one.
const NAMESPACES: [(&str, &str, u64); 10] = [
    ("net", "net", 0xf000_0000),
    ("uts", "uts", 0xefff_fffe),
    ("ipc", "ipc", 0xefff_ffff),
    ("pid", "pid", 0xefff_fffc),
    ("pid_for_children", "pid", 0xefff_fffc),
    ("user", "user", 0xefff_fffd),
    ("mnt", "mnt", 0xf000_0001),
    ("cgroup", "cgroup", 0xefff_fffb),
    ("time", "time", 0xefff_fffa),
    ("time_for_children", "time", 0xefff_fffa),
];

static NSFS_TYPE: FsType = FsType { name: "nsfs", nodev: true, cache_negative: false, mount: no_mount };
static NSFS: LazyLock<PseudoFs> = LazyLock::new(|| PseudoFs::new(&NSFS_TYPE, NSFS_MAGIC));

/// /proc/PID/ns
pub(super) struct Namespaces(pub Who);

impl Node for Namespaces {
    fn kind(&self) -> FileType {
        FileType::Dir
    }

    fn attr(&self) -> Result<Attr> {
        Ok(Attr { nlink: 2, ..self.0.attr(0o511, false)? })
    }

    fn is_current(&self) -> bool {
        self.0.task().is_ok()
    }

    fn lookup(&self, name: &[u8]) -> Result<Box<dyn Node>> {
        let index = NAMESPACES.iter().position(|(n, ..)| n.as_bytes() == name).ok_or(ENOENT)?;
        Ok(Box::new(Namespace { who: self.0.clone(), index }))
    }

    fn entry_from(&self, from: u64) -> Result<Option<Entry>> {
        let index = usize::try_from(from.saturating_sub(2)).unwrap_or(usize::MAX);
        Ok(NAMESPACES.get(index).map(|(name, ..)| Entry {
            pos: index as u64 + 2,
            name: name.as_bytes().to_vec(),
            kind: FileType::Symlink,
            ino: None,
        }))
    }
}

struct Namespace {
    who: Who,
    index: usize,
}

impl Namespace {
    /// The kind of name space, and its number. A mount name space is told from others by its own number.
    fn which(&self) -> Result<(&'static str, u64)> {
        let task = self.who.accessible()?;
        let (_, kind, number) = NAMESPACES[self.index];
        if task.state() == TaskState::Zombie && kind == "mnt" {
            return Err(ESRCH);
        }
        Ok((kind, if kind == "mnt" { number + task.fs().ns.id } else { number }))
    }
}

impl Node for Namespace {
    fn kind(&self) -> FileType {
        FileType::Symlink
    }

    fn attr(&self) -> Result<Attr> {
        self.who.attr(0o777, false)
    }

    fn is_current(&self) -> bool {
        self.who.task().is_ok()
    }

    fn readlink(&self) -> Result<Vec<u8>> {
        let (kind, number) = self.which()?;
        Ok(format!("{kind}:[{number}]").into_bytes())
    }

    fn get_link(&self) -> Option<Result<Path>> {
        let path =
            |(kind, number)| NSFS.fixed(&format!("{kind}:[{number}]"), number, FileType::Regular, 0o444);
        Some(self.which().map(path))
    }
}
