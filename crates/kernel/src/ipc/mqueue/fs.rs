//! The file system of message queues: one for the machine, whose mounts (/dev/mqueue) all show the same.
//!
//! Lock: INODE, over a directory's entries or an inode's attributes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use abi::Result;
use abi::cred::CAP_SYS_RESOURCE;
use abi::errno::{EINVAL, EISDIR, EMFILE, ENAMETOOLONG, ENOENT, ENOSPC, EOVERFLOW};
use abi::fcntl::OpenFlags;
use abi::ipc::{MQ_PRIO_MAX, MqAttr};
use abi::resource::RLIMIT_MSGQUEUE;
use abi::stat::Statfs;

use super::limits::{
    HARD_MSGMAX, HARD_MSGSIZEMAX, MSG_DEFAULT, MSG_MAX, MSGSIZE_DEFAULT, MSGSIZE_MAX, QUEUES_MAX,
};
use super::queue::Queue;
use crate::fs::pseudo::Attr;
use crate::fs::tmpfs::dir::Entries;
use crate::sync::{PollTable, SpinLock, rank};
use crate::task::current;
use crate::task::user_count::{Counted, UserCount};
use crate::time::now_realtime;
use crate::vfs::{
    DirEmit, File, FileOps, FileType, FsType, Inode, InodeOps, IovDest, Kstat, Mount, MountFlags, NewInode,
    Path, PollEvents, Readdir, SetAttr, SuperBlock, SuperOps, emit_dots, next_anon_dev,
};

/// mqueue
pub static MQUEUE: FsType = FsType { name: "mqueue", nodev: true, cache_negative: true, mount };

/// stat(2)'s size of a queue, and of each entry of the directory.
const FILE_SIZE: u64 = 80;
const ENTRY_SIZE: u64 = 20;
const NAME_MAX: usize = 255;

/// Memory of each user's queues; RLIMIT_MSGQUEUE is the limit.
static BYTES: UserCount = UserCount::new(usize::MAX);

static ROOT: LazyLock<Arc<Mount>> = LazyLock::new(|| {
    let sb = SuperBlock::new(&MQUEUE, next_anon_dev(), b"mqueue", Box::new(MqueueSuper));
    let attr = SpinLock::new(rank::INODE, Attr::new(0o1777, 0, 0));
    let state = DirState { entries: Entries::new(), queues: 0 };
    let root = MqueueDir { attr, state: SpinLock::new(rank::INODE, state), next_ino: AtomicU64::new(2) };
    let root = sb.set_root(Inode::new(&sb, 1, FileType::Dir, Box::new(root)));
    Mount::new(&sb, &root, MountFlags::empty())
});

/// Its root directory.
pub fn root() -> Path {
    Path::root_of(&ROOT)
}

fn mount(_: &'static FsType, _: &[u8], _: u32, _: &[u8]) -> Result<Arc<SuperBlock>> {
    Ok(ROOT.sb.clone())
}

struct MqueueSuper;

impl SuperOps for MqueueSuper {
    fn statfs(&self, _: &SuperBlock) -> Result<Statfs> {
        Ok(Statfs {
            f_type: abi::stat::MQUEUE_MAGIC,
            f_bsize: 4096,
            f_frsize: 4096,
            f_namelen: NAME_MAX as i64,
            ..Statfs::default()
        })
    }
}

struct MqueueDir {
    attr: SpinLock<Attr>,
    state: SpinLock<DirState>,
    next_ino: AtomicU64,
}

struct DirState {
    entries: Entries,
    queues: usize,
}

/// Makes the queue `name` in the root directory, whose lock is held. EINVAL, EOVERFLOW, EMFILE, ENOSPC.
pub fn create(dir: &Arc<Inode>, name: &[u8], new: &NewInode, attr: Option<&MqAttr>) -> Result<Arc<Inode>> {
    dir.ops_as::<MqueueDir>().ok_or(EINVAL)?.make(dir, name, new, attr)
}

impl MqueueDir {
    fn make(
        &self,
        dir: &Arc<Inode>,
        name: &[u8],
        new: &NewInode,
        attr: Option<&MqAttr>,
    ) -> Result<Arc<Inode>> {
        if FileType::from_mode(new.mode) != Some(FileType::Regular) {
            return Err(abi::errno::EPERM);
        }
        if name.len() > NAME_MAX {
            return Err(ENAMETOOLONG);
        }
        let privileged = current().cred().capable(CAP_SYS_RESOURCE);
        if self.state.lock().queues >= QUEUES_MAX.get() && !privileged {
            return Err(ENOSPC);
        }
        let (messages, size) = match attr {
            Some(attr) => (attr.mq_maxmsg, attr.mq_msgsize),
            None => {
                let messages = MSG_DEFAULT.get().min(MSG_MAX.get());
                (messages as i64, MSGSIZE_DEFAULT.get().min(MSGSIZE_MAX.get()) as i64)
            }
        };
        let (messages, size) = bounded(messages, size, privileged)?;
        let queue = Queue::new(messages, size, charge(messages, size)?);
        let node =
            MqueueFile { attr: SpinLock::new(rank::INODE, Attr::new(new.mode, new.uid, new.gid)), queue };
        let ino = self.next_ino.fetch_add(1, Ordering::Relaxed);
        let inode = Inode::new(&dir.sb, ino, FileType::Regular, Box::new(node));
        {
            let mut state = self.state.lock();
            state.entries.insert(name, inode.clone());
            state.queues += 1;
        }
        self.changed();
        Ok(inode)
    }

    fn changed(&self) {
        let now = now_realtime();
        let mut attr = self.attr.lock();
        (attr.atime, attr.mtime, attr.ctime) = (now, now, now);
    }
}

/// Checks a queue's bounds. EINVAL, EOVERFLOW.
fn bounded(messages: i64, size: i64, privileged: bool) -> Result<(usize, usize)> {
    let (messages, size) = match (usize::try_from(messages), usize::try_from(size)) {
        (Ok(messages @ 1..), Ok(size @ 1..)) => (messages, size),
        _ => return Err(EINVAL),
    };
    let most = if privileged { (HARD_MSGMAX, HARD_MSGSIZEMAX) } else { (MSG_MAX.get(), MSGSIZE_MAX.get()) };
    if messages > most.0 || size > most.1 {
        return Err(EINVAL);
    }
    messages.checked_mul(size).map(|_| (messages, size)).ok_or(EOVERFLOW)
}

/// Counts the memory that a queue may come to use, as Linux does: contents, headers and a tree of priorities. EMFILE.
fn charge(messages: usize, size: usize) -> Result<Counted> {
    const HEADER: usize = 48;
    let task = current();
    let heads = messages.saturating_add(messages.min(MQ_PRIO_MAX as usize)).saturating_mul(HEADER);
    let bytes = messages.saturating_mul(size).saturating_add(heads);
    let limit = usize::try_from(task.process.rlimit(RLIMIT_MSGQUEUE)).unwrap_or(usize::MAX);
    BYTES.charge_user(task.cred().uid, bytes, limit).ok_or(EMFILE)
}

impl InodeOps for MqueueDir {
    fn getattr(&self, inode: &Inode) -> Result<Kstat> {
        let size = self.state.lock().queues as u64 * ENTRY_SIZE;
        Ok(Kstat { nlink: 2, ..self.attr.lock().stat(inode, size) })
    }

    fn setattr(&self, _: &Inode, set: &SetAttr) -> Result<()> {
        self.attr.lock().set(set);
        Ok(())
    }

    fn lookup(&self, _: &Arc<Inode>, name: &[u8]) -> Result<Arc<Inode>> {
        self.state.lock().entries.get(name).ok_or(ENOENT)
    }

    fn create(&self, dir: &Arc<Inode>, name: &[u8], new: &NewInode) -> Result<Arc<Inode>> {
        self.make(dir, name, new, None)
    }

    fn unlink(&self, _: &Arc<Inode>, name: &[u8], _: &Arc<Inode>) -> Result<()> {
        let gone = {
            let mut state = self.state.lock();
            let gone = state.entries.remove(name).ok_or(ENOENT)?;
            state.queues -= 1;
            gone
        };
        drop(gone);
        self.changed();
        Ok(())
    }

    fn open(&self, _: &Arc<Inode>, _: OpenFlags) -> Result<Box<dyn FileOps>> {
        Ok(Box::new(OpenDir))
    }
}

struct OpenDir;

impl FileOps for OpenDir {
    fn read(&self, _: &File, _: &mut IovDest<'_>, _: &mut u64) -> Result<usize> {
        Err(EISDIR)
    }

    fn iterate(&self, file: &File, pos: &mut u64, emit: Readdir<'_>) -> Result<()> {
        let dir = file.inode().ops_as::<MqueueDir>().ok_or(EINVAL)?;
        if !emit_dots(file, pos, emit) {
            return Ok(());
        }
        loop {
            let next = dir.state.lock().entries.next_from(*pos);
            let Some((at, name, inode)) = next else { return Ok(()) };
            if !emit(DirEmit { name: &name, ino: inode.ino, dtype: inode.kind.dtype(), next: at + 1 }) {
                return Ok(());
            }
            *pos = at + 1;
        }
    }
}

/// The inode of a queue.
pub struct MqueueFile {
    attr: SpinLock<Attr>,
    /// The queue.
    pub queue: Queue,
}

impl MqueueFile {
    /// The queue of an open file, if it is one.
    pub fn of(file: &File) -> Option<&MqueueFile> {
        file.inode().ops_as()
    }

    /// A message came or went.
    pub fn used(&self) {
        let now = now_realtime();
        let mut attr = self.attr.lock();
        (attr.atime, attr.mtime, attr.ctime) = (now, now, now);
    }

    /// Flags or notification changed.
    pub fn changed(&self) {
        let now = now_realtime();
        let mut attr = self.attr.lock();
        (attr.atime, attr.ctime) = (now, now);
    }
}

impl InodeOps for MqueueFile {
    fn getattr(&self, inode: &Inode) -> Result<Kstat> {
        Ok(self.attr.lock().stat(inode, FILE_SIZE))
    }

    fn setattr(&self, _: &Inode, set: &SetAttr) -> Result<()> {
        self.attr.lock().set(set);
        Ok(())
    }

    fn open(&self, _: &Arc<Inode>, _: OpenFlags) -> Result<Box<dyn FileOps>> {
        Ok(Box::new(OpenQueue))
    }
}

/// An open queue.
struct OpenQueue;

impl FileOps for OpenQueue {
    fn read(&self, file: &File, dest: &mut IovDest<'_>, pos: &mut u64) -> Result<usize> {
        let node = MqueueFile::of(file).ok_or(EINVAL)?;
        let text = node.queue.status();
        let rest = usize::try_from(*pos).ok().and_then(|at| text.as_bytes().get(at..)).unwrap_or_default();
        let n = dest.write(rest)?;
        *pos += n as u64;
        Ok(n)
    }

    fn poll(&self, file: &File, table: &mut PollTable) -> PollEvents {
        MqueueFile::of(file).map_or(PollEvents::ERR, |node| node.queue.poll(table))
    }

    fn can_poll(&self, _: &File) -> bool {
        true
    }

    fn flush(&self, file: &File) -> Result<()> {
        if let Some(node) = MqueueFile::of(file) {
            node.queue.end_notify(&current().process);
        }
        Ok(())
    }
}
