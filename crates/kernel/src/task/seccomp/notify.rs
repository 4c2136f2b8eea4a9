//! SECCOMP_RET_USER_NOTIF, seccomp_unotify(2): a supervisor hears of calls through a descriptor, and answers them.
//!
//! Lock: LEAF, over the calls that wait for an answer.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use abi::errno::*;
use abi::fcntl::OpenFlags;
use abi::ioctl::{iow, iowr};
use abi::seccomp::*;
use abi::{Errno, Result};
use zerocopy::IntoBytes;

use super::Verdict;
use crate::sync::{Interruptible, PollTable, Sleep, SpinLock, WaitQueue, rank, wait_event};
use crate::task::{Task, current};
use crate::uaccess::UserPtr;
use crate::vfs::anon::anon_file;
use crate::vfs::{Fd, File, FileMode, FileOps, PollEvents};

const NOTIF_RECV: u32 = iowr::<SeccompNotif>(b'!', 0);
const NOTIF_SEND: u32 = iowr::<SeccompNotifResp>(b'!', 1);
const NOTIF_ID_VALID: u32 = iow::<u64>(b'!', 2);
/// The same with the wrong direction, as it was at first.
const NOTIF_ID_VALID_WRONG: u32 = 0x8008_2102;
const NOTIF_ADDFD: u32 = iow::<AddFd>(b'!', 3);
const NOTIF_SET_FLAGS: u32 = iow::<u64>(b'!', 4);
/// SECCOMP_ADDFD_FLAG_SETFD, SECCOMP_ADDFD_FLAG_SEND
const ADDFD_SETFD: u32 = 1;
const ADDFD_SEND: u32 = 2;

/// `struct seccomp_notif_addfd`
#[repr(C)]
#[derive(
    Clone, Copy, zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout,
)]
struct AddFd {
    id: u64,
    flags: u32,
    srcfd: u32,
    newfd: u32,
    newfd_flags: u32,
}

/// A supervisor's end of a filter.
pub(super) struct Listener {
    calls: SpinLock<Vec<Call>>,
    next: AtomicU64,
    /// Supervisors wait here for calls, and calls for answers.
    queue: WaitQueue,
    /// No thread has the filter any more.
    abandoned: AtomicBool,
    /// The descriptor is closed.
    closed: AtomicBool,
    /// SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
    killable: bool,
}

/// A call that waits.
struct Call {
    id: u64,
    task: Weak<Task>,
    pid: u32,
    data: SeccompData,
    state: State,
}

#[derive(Clone, Copy)]
enum State {
    New,
    Sent,
    Answered(SeccompNotifResp),
}

impl Listener {
    pub(super) fn new(killable: bool) -> Arc<Listener> {
        Arc::new(Listener {
            calls: SpinLock::new(rank::LEAF, Vec::new()),
            next: AtomicU64::new(host::clock::monotonic()),
            queue: WaitQueue::new(),
            abandoned: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            killable,
        })
    }

    pub(super) fn abandoned(&self) {
        self.abandoned.store(true, Ordering::SeqCst);
        self.queue.wake_all();
    }

    /// Has the supervisor decide about a call of the current task. ENOSYS without one; ERESTARTSYS.
    pub(super) fn ask(&self, task: &Arc<Task>, data: SeccompData) -> Result<Verdict> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let call = Call { id, task: Arc::downgrade(task), pid: task.tgid() as u32, data, state: State::New };
        self.calls.lock().push(call);
        self.queue.wake_all();
        let answer = || {
            if self.closed.load(Ordering::SeqCst) {
                return Some(Err(ENOSYS));
            }
            let calls = self.calls.lock();
            match calls.iter().find(|c| c.id == id)?.state {
                State::Answered(resp) => Some(Ok(resp)),
                _ => None,
            }
        };
        let received = || {
            let calls = self.calls.lock();
            calls.iter().any(|c| c.id == id && matches!(c.state, State::Sent))
        };
        let mut outcome = wait_event(&self.queue, Sleep::INTERRUPTIBLE, || {
            answer().or_else(|| (self.killable && received()).then_some(Err(EAGAIN)))
        });
        if let Ok(Err(EAGAIN)) = outcome {
            let sleep = Sleep { interruptible: Interruptible::Killable, deadline: None };
            outcome = wait_event(&self.queue, sleep, answer);
        }
        let gone = {
            let mut calls = self.calls.lock();
            calls.iter().position(|c| c.id == id).map(|at| calls.remove(at))
        };
        drop(gone);
        let resp = outcome??;
        if resp.flags & SECCOMP_USER_NOTIF_FLAG_CONTINUE != 0 {
            return Ok(Verdict::Run);
        }
        Ok(Verdict::Answer(match resp.error {
            0 => Ok(resp.val as u64),
            error => Err(Errno::from_raw(error.wrapping_neg())),
        }))
    }

    fn receive(&self, file: &File, arg: u64) -> Result<u64> {
        let user = UserPtr::<SeccompNotif>::new(arg);
        if user.read()?.as_bytes().iter().any(|&b| b != 0) {
            return Err(EINVAL);
        }
        let take = || {
            let mut calls = self.calls.lock();
            if let Some(call) = calls.iter_mut().find(|c| matches!(c.state, State::New)) {
                call.state = State::Sent;
                return Some(Ok(SeccompNotif { id: call.id, pid: call.pid, flags: 0, data: call.data }));
            }
            self.abandoned.load(Ordering::SeqCst).then_some(Err(ENOENT))
        };
        let notif = match take() {
            Some(found) => found?,
            None if file.nonblock() => return Err(EAGAIN),
            None => wait_event(&self.queue, Sleep::INTERRUPTIBLE, take).map_err(|_| EINTR)??,
        };
        self.queue.wake_all();
        if let Err(errno) = user.write(&notif) {
            if let Some(call) = self.calls.lock().iter_mut().find(|c| c.id == notif.id) {
                call.state = State::New;
            }
            return Err(errno);
        }
        Ok(0)
    }

    fn answer(&self, resp: SeccompNotifResp) -> Result<u64> {
        if resp.flags & !SECCOMP_USER_NOTIF_FLAG_CONTINUE != 0 {
            return Err(EINVAL);
        }
        if resp.flags != 0 && (resp.error != 0 || resp.val != 0) {
            return Err(EINVAL);
        }
        {
            let mut calls = self.calls.lock();
            let call = calls.iter_mut().find(|c| c.id == resp.id).ok_or(ENOENT)?;
            if !matches!(call.state, State::Sent) {
                return Err(EINPROGRESS);
            }
            call.state = State::Answered(resp);
        }
        self.queue.wake_all();
        Ok(0)
    }

    /// Gives the caller of a call a descriptor of the supervisor's.
    fn add_fd(&self, add: AddFd) -> Result<u64> {
        let cloexec = abi::fcntl::O_CLOEXEC;
        if add.flags & !(ADDFD_SETFD | ADDFD_SEND) != 0 || add.newfd_flags & !cloexec != 0 {
            return Err(EINVAL);
        }
        if add.newfd != 0 && add.flags & ADDFD_SETFD == 0 {
            return Err(EINVAL);
        }
        let file = Fd(add.srcfd as i32).file()?;
        let task = {
            let calls = self.calls.lock();
            let call = calls.iter().find(|c| c.id == add.id).ok_or(ENOENT)?;
            if !matches!(call.state, State::Sent) {
                return Err(EINPROGRESS);
            }
            call.task.clone()
        };
        let files = task.upgrade().ok_or(ENOENT)?.files()?;
        let close = add.newfd_flags & cloexec != 0;
        let fd = if add.flags & ADDFD_SETFD != 0 {
            let fd = Fd(add.newfd as i32);
            let old = files.replace(fd, file, close)?;
            drop(old);
            fd
        } else {
            files.install(file, close)?
        };
        if add.flags & ADDFD_SEND != 0 {
            self.answer(SeccompNotifResp { id: add.id, val: i64::from(fd.0), error: 0, flags: 0 })?;
        }
        Ok(fd.0 as u64)
    }
}

/// A descriptor of the current process's for a listener.
pub(super) fn install(listener: &Arc<Listener>) -> Result<Fd> {
    let mode = FileMode::STREAM | FileMode::READ | FileMode::WRITE;
    let ops = Box::new(ListenerFile(listener.clone()));
    let file = anon_file("anon_inode:seccomp notify", ops, OpenFlags::RDWR, mode)?;
    current().files()?.install(file, true)
}

struct ListenerFile(Arc<Listener>);

impl FileOps for ListenerFile {
    fn poll(&self, _: &File, table: &mut PollTable) -> PollEvents {
        table.register(&self.0.queue);
        let mut events = PollEvents::empty();
        for call in self.0.calls.lock().iter() {
            match call.state {
                State::New => events |= PollEvents::READABLE,
                State::Sent => events |= PollEvents::WRITABLE,
                State::Answered(_) => {}
            }
        }
        if self.0.abandoned.load(Ordering::SeqCst) {
            events |= PollEvents::HUP;
        }
        events
    }

    fn ioctl(&self, file: &File, cmd: u32, arg: u64) -> Result<u64> {
        match cmd {
            NOTIF_RECV => self.0.receive(file, arg),
            NOTIF_SEND => self.0.answer(UserPtr::<SeccompNotifResp>::new(arg).read()?),
            NOTIF_ID_VALID | NOTIF_ID_VALID_WRONG => {
                let id = UserPtr::<u64>::new(arg).read()?;
                let calls = self.0.calls.lock();
                let valid = calls.iter().any(|c| c.id == id && matches!(c.state, State::Sent));
                if valid { Ok(0) } else { Err(ENOENT) }
            }
            NOTIF_ADDFD => self.0.add_fd(UserPtr::<AddFd>::new(arg).read()?),
            // Who wakes whom on which processor is the scheduler's business.
            NOTIF_SET_FLAGS => {
                if arg <= 1 {
                    Ok(0)
                } else {
                    Err(EINVAL)
                }
            }
            _ => Err(EINVAL),
        }
    }

    fn release(&self, _: &File) {
        self.0.closed.store(true, Ordering::SeqCst);
        self.0.queue.wake_all();
    }
}
