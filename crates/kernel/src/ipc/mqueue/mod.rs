//! POSIX message queues, mq_overview(7): the syscalls.
//!
//! - `queue.rs`: a queue. `fs.rs`: the file system that names them. `limits.rs`: /proc/sys/fs/mqueue.
//!
//! The calls take any descriptor of a queue, however it was opened.

mod fs;
pub mod limits;
mod queue;

pub use fs::MQUEUE;

use std::sync::Arc;

use abi::Result;
use abi::errno::{EACCES, EBADF, EEXIST, EINVAL, EMSGSIZE, ENOENT, ENOTSOCK};
use abi::fcntl::{O_ACCMODE, O_NONBLOCK, O_RDONLY, O_RDWR, O_WRONLY, OpenFlags};
use abi::ipc::{MQ_PRIO_MAX, MqAttr};
use abi::signal::{NSIG, SIGEV_NONE, SIGEV_SIGNAL, SIGEV_THREAD, SigEvent};
use abi::time::Timespec;

use self::fs::MqueueFile;
use self::queue::{Block, Message, deadline};
use crate::mm::kmem::Kmem;
use crate::syscall::UserPath;
use crate::task::current;
use crate::uaccess::{UserPtr, copy_from_user, copy_to_user};
use crate::vfs::namei::{LastKind, MAY_READ, MAY_WRITE, Parent, inherit, may_create, permission, want_write};
use crate::vfs::open::dentry_open;
use crate::vfs::{Dentry, Fd, File, FileMode, FileType, Path, links, notify};

/// mq_open(2): the name comes without its slash.
pub fn mq_open(name: UserPath, flags: OpenFlags, mode: u32, attr: UserPtr<MqAttr>) -> Result<Fd> {
    let attr = attr.non_null().map(UserPtr::read).transpose()?;
    let name = name_of(name)?;
    let file = open(&name, flags, mode, attr.as_ref())?;
    current().files()?.install(file, true)
}

/// A single component. ENOENT, EACCES.
fn name_of(name: UserPath) -> Result<Vec<u8>> {
    let name = name.read()?;
    match name.as_slice() {
        b"" => Err(ENOENT),
        b"." | b".." => Err(EACCES),
        name if name.contains(&b'/') => Err(EACCES),
        _ => Ok(name),
    }
}

fn open(name: &[u8], flags: OpenFlags, mode: u32, attr: Option<&MqAttr>) -> Result<Arc<File>> {
    let cred = current().cred();
    let root = fs::root();
    let dentry = find_or_create(&root, name, flags, mode, attr)?;
    let keep = OpenFlags::from_bits_retain(flags.bits() & (O_NONBLOCK | O_ACCMODE));
    dentry_open(Path { mnt: root.mnt, dentry }, keep, cred)
}

fn find_or_create(
    root: &Path,
    name: &[u8],
    flags: OpenFlags,
    mode: u32,
    attr: Option<&MqAttr>,
) -> Result<Arc<Dentry>> {
    let cred = current().cred();
    let dir = root.inode()?;
    let _guard = dir.rwsem.lock();
    let found = root.dentry.lookup_locked(name)?;
    let Some(dentry) = found else {
        if !flags.contains(OpenFlags::CREAT) {
            return Err(ENOENT);
        }
        want_write(&root.mnt)?;
        may_create(&root.dentry, &cred)?;
        let new = inherit(&dir, FileType::Regular.bits() | mode & 0o7777, 0, &cred)?;
        let inode = fs::create(&dir, name, &new, attr)?;
        let dentry = root.dentry.add(name, Some(inode));
        notify::created(&dir, &dentry, name);
        return Ok(dentry);
    };
    if flags.contains(OpenFlags::CREAT | OpenFlags::EXCL) {
        return Err(EEXIST);
    }
    let access = match flags.accmode() {
        O_RDONLY => MAY_READ,
        O_WRONLY => MAY_WRITE,
        O_RDWR => MAY_READ | MAY_WRITE,
        _ => return Err(EINVAL),
    };
    let inode = dentry.inode().ok_or(ENOENT)?;
    permission(&inode, access, &cred)?;
    Ok(dentry)
}

/// mq_unlink(2)
pub fn mq_unlink(name: UserPath) -> Result<()> {
    let name = name_of(name)?;
    links::remove_file(&Parent { path: fs::root(), name, kind: LastKind::Norm, slash: false })
}

/// An open queue, if `fd` is one and open for `mode`. EBADF.
fn queue_file(fd: Fd, mode: FileMode) -> Result<Arc<File>> {
    let file = fd.io()?;
    if MqueueFile::of(&file).is_none() || !file.mode.contains(mode) {
        return Err(EBADF);
    }
    Ok(file)
}

fn timeout_of(timeout: UserPtr<Timespec>) -> Result<Block> {
    match timeout.non_null() {
        Some(timeout) => deadline(timeout.read()?).ok_or(EINVAL),
        None => Ok(Block::Forever),
    }
}

/// mq_timedsend(2): `timeout` is a time of CLOCK_REALTIME.
pub fn mq_timedsend(fd: Fd, msg: u64, len: usize, priority: u32, timeout: UserPtr<Timespec>) -> Result<()> {
    let block = timeout_of(timeout)?;
    if priority >= MQ_PRIO_MAX {
        return Err(EINVAL);
    }
    let file = queue_file(fd, FileMode::WRITE)?;
    let node = MqueueFile::of(&file).ok_or(EBADF)?;
    if len > node.queue.max_size() {
        return Err(EMSGSIZE);
    }
    let memory = Kmem::charge_lasting(64 + len)?;
    let mut data = vec![0; len];
    copy_from_user(msg, &mut data)?;
    let block = if file.nonblock() { Block::No } else { block };
    node.queue.send(Message { priority, data, memory }, block)?;
    node.used();
    Ok(())
}

/// mq_timedreceive(2): the bytes of the message.
pub fn mq_timedreceive(
    fd: Fd,
    msg: u64,
    len: usize,
    priority: UserPtr<u32>,
    timeout: UserPtr<Timespec>,
) -> Result<usize> {
    let block = timeout_of(timeout)?;
    let file = queue_file(fd, FileMode::READ)?;
    let node = MqueueFile::of(&file).ok_or(EBADF)?;
    if len < node.queue.max_size() {
        return Err(EMSGSIZE);
    }
    let block = if file.nonblock() { Block::No } else { block };
    let message = node.queue.receive(block)?;
    node.used();
    priority.write_if(&message.priority)?;
    copy_to_user(msg, &message.data)?;
    Ok(message.data.len())
}

/// mq_notify(2). SIGEV_THREAD wants a netlink socket, by which the C library's helper thread is told.
pub fn mq_notify(fd: Fd, event: UserPtr<SigEvent>) -> Result<()> {
    let event = event.non_null().map(UserPtr::read).transpose()?;
    let signal = match &event {
        None => None,
        Some(event) => match event.sigev_notify {
            SIGEV_NONE => None,
            SIGEV_SIGNAL => {
                let signo = u32::try_from(event.sigev_signo).ok().filter(|&s| s <= NSIG).ok_or(EINVAL)?;
                Some((signo, event.sigev_value))
            }
            SIGEV_THREAD => return Err(not_netlink(event)),
            _ => return Err(EINVAL),
        },
    };
    let file = queue_file(fd, FileMode::empty())?;
    let node = MqueueFile::of(&file).ok_or(EBADF)?;
    let process = &current().process;
    let changed = match event {
        None => node.queue.end_notify(process),
        Some(_) => node.queue.set_notify(process, signal).map(|()| true)?,
    };
    if changed {
        node.changed();
    }
    Ok(())
}

/// What is wrong with the socket of a SIGEV_THREAD: there are no netlink sockets that could carry the message.
fn not_netlink(event: &SigEvent) -> abi::Errno {
    const COOKIE_LEN: usize = 32;
    if let Err(errno) = copy_from_user(event.sigev_value, &mut [0; COOKIE_LEN]) {
        return errno;
    }
    match Fd(event.sigev_signo).io() {
        Ok(file) if file.inode().kind != FileType::Socket => ENOTSOCK,
        Ok(_) => EINVAL,
        Err(errno) => errno,
    }
}

/// mq_getsetattr(2): only O_NONBLOCK can be set.
pub fn mq_getsetattr(fd: Fd, new: UserPtr<MqAttr>, old: UserPtr<MqAttr>) -> Result<()> {
    let new = new.non_null().map(UserPtr::read).transpose()?;
    if new.is_some_and(|new| new.mq_flags & !i64::from(O_NONBLOCK) != 0) {
        return Err(EINVAL);
    }
    let file = queue_file(fd, FileMode::empty())?;
    let node = MqueueFile::of(&file).ok_or(EBADF)?;
    let flags = i64::from(file.flags().bits() & O_NONBLOCK);
    let before = MqAttr { mq_flags: flags, ..node.queue.attributes() };
    if let Some(new) = new {
        file.set_flags(OpenFlags::from_bits_retain(new.mq_flags as u32), OpenFlags::NONBLOCK);
        node.changed();
    }
    old.write_if(&before)
}
