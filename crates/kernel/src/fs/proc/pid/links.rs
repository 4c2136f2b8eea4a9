//! /proc/PID/exe, cwd and root, and the name spaces in /proc/PID/ns: links that lead to a place whatever their text is.

use std::sync::{Arc, LazyLock};

use abi::Result;
use abi::errno::{EINVAL, ENOENT, ENOTTY, EPERM};
use abi::ioctl::{NS_GET_NSTYPE, NS_GET_OWNER_UID, NS_GET_PARENT, NS_GET_USERNS};
use abi::sched::{CLONE_NEWCGROUP, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWTIME, CLONE_NEWUSER};
use abi::stat::NSFS_MAGIC;

use super::super::super::kernfs::{Attr, Entry, Node};
use super::super::super::pseudo::{PseudoFs, no_mount};
use super::Who;
use crate::task::{Task, TaskState, current};
use crate::uaccess::UserPtr;
use crate::vfs::mount::MountNamespace;
use crate::vfs::namei::d_path;
use crate::vfs::{File, FileOps, FileType, FsType, Path};

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

/// A kind of name space.
struct Kind {
    /// As a name in the directory.
    file: &'static str,
    /// What it is shown as.
    name: &'static str,
    /// Number of the first one, as in Linux.
    first: u64,
    /// CLONE_NEW*
    flag: u64,
}

const fn kind(file: &'static str, name: &'static str, first: u64, flag: u64) -> Kind {
    Kind { file, name, first, flag }
}

/// There is one name space of each kind, but for mounts, whose numbers come last. Those that programs would make anew
/// because their file is there (systemd's services do), and can't, have none: as a kernel without them.
static KINDS: [Kind; 7] = [
    kind("cgroup", "cgroup", 0xefff_fffb, CLONE_NEWCGROUP),
    kind("mnt", "mnt", FIRST_MNT, CLONE_NEWNS),
    kind("pid", "pid", 0xefff_fffc, CLONE_NEWPID),
    kind("pid_for_children", "pid", 0xefff_fffc, CLONE_NEWPID),
    kind("time", "time", 0xefff_fffa, CLONE_NEWTIME),
    kind("time_for_children", "time", 0xefff_fffa, CLONE_NEWTIME),
    kind("user", "user", 0xefff_fffd, CLONE_NEWUSER),
];

/// Number of the first mount name space.
const FIRST_MNT: u64 = 0xf000_0001;

static NSFS_TYPE: FsType = FsType { name: "nsfs", nodev: true, cache_negative: false, mount: no_mount };
static NSFS: LazyLock<PseudoFs> = LazyLock::new(|| PseudoFs::new(&NSFS_TYPE, NSFS_MAGIC));

/// An open name space of the kind with that [`Kind::flag`], ioctl_ns(2), kept alive if it is one of mounts.
struct NsFile(u64, Option<Arc<MountNamespace>>);

/// The mount name space that is open as `file`, for setns(2). EINVAL for anything else.
pub fn mount_namespace(file: &File) -> Result<Arc<MountNamespace>> {
    file.ops_as::<NsFile>().and_then(|ns| ns.1.clone()).ok_or(EINVAL)
}

/// Opens the name space of that number.
fn open_ns(number: u64) -> Box<dyn FileOps> {
    let found = KINDS.iter().find(|k| k.first == number);
    let flag = found.map_or(CLONE_NEWNS, |k| k.flag);
    let mounts =
        if flag == CLONE_NEWNS { MountNamespace::by_id(number.wrapping_sub(FIRST_MNT)) } else { None };
    Box::new(NsFile(flag, mounts))
}

impl FileOps for NsFile {
    fn ioctl(&self, _: &File, cmd: u32, arg: u64) -> Result<u64> {
        match cmd {
            NS_GET_NSTYPE => Ok(self.0),
            // Nothing is outside the first name spaces.
            NS_GET_USERNS => Err(EPERM),
            NS_GET_PARENT if matches!(self.0, CLONE_NEWPID | CLONE_NEWUSER) => Err(EPERM),
            NS_GET_OWNER_UID if self.0 == CLONE_NEWUSER => UserPtr::new(arg).write(&0u32).map(|()| 0),
            NS_GET_PARENT | NS_GET_OWNER_UID => Err(EINVAL),
            _ => Err(ENOTTY),
        }
    }
}

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
        let index = KINDS.iter().position(|k| k.file.as_bytes() == name).ok_or(ENOENT)?;
        Ok(Box::new(Namespace { who: self.0.clone(), index }))
    }

    fn entry_from(&self, from: u64) -> Result<Option<Entry>> {
        let index = usize::try_from(from.saturating_sub(2)).unwrap_or(usize::MAX);
        Ok(KINDS.get(index).map(|kind| Entry {
            pos: index as u64 + 2,
            name: kind.file.as_bytes().to_vec(),
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
        let Kind { name, first, flag, .. } = KINDS[self.index];
        if flag != CLONE_NEWNS {
            return Ok((name, first));
        }
        // A zombie has left it.
        alive(&task)?;
        Ok((name, first + task.fs().ns.id))
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
        let path = |(kind, number)| NSFS.fixed(&format!("{kind}:[{number}]"), number, open_ns);
        Some(self.which().map(path))
    }
}
