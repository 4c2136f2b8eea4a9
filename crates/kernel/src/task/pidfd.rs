//! Process descriptors: pidfd_open(2), pidfd_send_signal(2), pidfd_getfd(2).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use abi::Result;
use abi::errno::{EBADF, EINVAL, EPERM, ESRCH};
use abi::fcntl::OpenFlags;
use abi::sched::{
    PIDFD_NONBLOCK, PIDFD_SIGNAL_PROCESS_GROUP, PIDFD_SIGNAL_THREAD, PIDFD_SIGNAL_THREAD_GROUP, PIDFD_THREAD,
};
use abi::signal::{NSIG, SI_TKILL, SI_USER, SigInfo};

use super::{Process, Task, TaskState, current, may_signal, pid, ptrace_access};
use crate::sync::PollTable;
use crate::uaccess::UserPtr;
use crate::vfs::{Fd, File, FileMode, FileOps, PollEvents, anon};
use crate::{fs, signal};

/// What a pidfd refers to.
struct PidFile {
    /// The process, or the process of the thread.
    process: Arc<Process>,
    /// With PIDFD_THREAD. Weak: a descriptor keeps no thread.
    thread: Option<std::sync::Weak<Task>>,
    number: i32,
}

impl PidFile {
    /// The thread, or the process's first; a zombie counts. ESRCH once it is reaped, whoever has its number now.
    fn task(&self) -> Result<Arc<Task>> {
        let task = pid::find_task(self.number)?;
        if Arc::ptr_eq(&task.process, &self.process) { Ok(task) } else { Err(ESRCH) }
    }

    fn exited(&self) -> bool {
        match &self.thread {
            None => self.process.zombie.load(Ordering::SeqCst),
            Some(thread) => thread.upgrade().is_none_or(|t| t.state() == TaskState::Zombie || !is_member(&t)),
        }
    }
}

fn is_member(task: &Task) -> bool {
    task.process.threads.lock().iter().any(|t| core::ptr::eq(&raw const **t, task))
}

impl FileOps for PidFile {
    fn poll(&self, _file: &File, table: &mut PollTable) -> PollEvents {
        table.register(&self.process.exit_queue);
        if !self.exited() {
            return PollEvents::empty();
        }
        if self.task().is_err() { PollEvents::READABLE | PollEvents::HUP } else { PollEvents::READABLE }
    }

    fn fdinfo(&self, _file: &File) -> String {
        let shown = if self.task().is_ok() { self.number } else { -1 };
        format!("Pid:\t{shown}\nNSpid:\t{shown}\n")
    }
}

/// A descriptor's file for a task: of its process, or of the thread itself.
pub fn file_of(task: &Arc<Task>, thread: bool, nonblock: bool) -> Result<Arc<File>> {
    let ops = PidFile {
        process: task.process.clone(),
        thread: thread.then(|| Arc::downgrade(task)),
        number: if thread { task.tid() } else { task.tgid() },
    };
    let mut flags = OpenFlags::RDWR;
    flags.set(OpenFlags::NONBLOCK, nonblock);
    anon::anon_file("[pidfd]", Box::new(ops), flags, FileMode::READ | FileMode::WRITE)
}

/// The same for a process, dead or alive.
pub fn file_of_process(process: Arc<Process>) -> Result<Arc<File>> {
    let number = process.tgid;
    let ops = PidFile { process, thread: None, number };
    anon::anon_file("[pidfd]", Box::new(ops), OpenFlags::RDWR, FileMode::READ | FileMode::WRITE)
}

/// The process that a pidfd refers to; None if the file is no pidfd.
pub fn process_of(file: &File) -> Option<Arc<Process>> {
    file.ops_as::<PidFile>().map(|f| f.process.clone())
}

/// pidfd_open(2)
pub fn pidfd_open(number: i32, flags: u32) -> Result<Fd> {
    if flags & !(PIDFD_NONBLOCK | PIDFD_THREAD) != 0 || number <= 0 {
        return Err(EINVAL);
    }
    let task = pid::find_task(number)?;
    let thread = flags & PIDFD_THREAD != 0;
    if !thread && task.tgid() != number {
        // A thread that isn't the leader is no process.
        return Err(EINVAL);
    }
    let file = file_of(&task, thread, flags & PIDFD_NONBLOCK != 0)?;
    current().files()?.install(file, true)
}

/// pidfd_send_signal(2)
pub fn pidfd_send_signal(pidfd: Fd, sig: u32, info: UserPtr<SigInfo>, flags: u32) -> Result<()> {
    let scopes = PIDFD_SIGNAL_THREAD | PIDFD_SIGNAL_THREAD_GROUP | PIDFD_SIGNAL_PROCESS_GROUP;
    if flags & !scopes != 0 || flags.count_ones() > 1 || sig > NSIG {
        return Err(EINVAL);
    }
    let file = pidfd.file()?;
    let (task, is_thread) = match file.ops_as::<PidFile>() {
        Some(target) => (target.task(), target.thread.is_some()),
        // A directory of /proc names a process as well.
        None => (fs::proc::task_of_dir(&file).ok_or(EBADF)?, false),
    };
    let task = task?;
    let to_thread = match flags {
        0 => is_thread,
        flag => flag == PIDFD_SIGNAL_THREAD,
    };
    let me = current();
    let info = match info.non_null() {
        None => {
            let code = if to_thread { SI_TKILL } else { SI_USER };
            SigInfo::kill(sig, code, me.tgid(), me.cred().uid)
        }
        Some(info) => {
            let info = info.read()?;
            if info.si_signo != sig as i32 {
                return Err(EINVAL);
            }
            // Only to itself may a process claim to be the kernel, or another's kill.
            if (info.si_code >= 0 || info.si_code == SI_TKILL) && !Arc::ptr_eq(&task.process, &me.process) {
                return Err(EPERM);
            }
            info
        }
    };
    if flags == PIDFD_SIGNAL_PROCESS_GROUP {
        return signal::kill_group(task.process.pgrp(), info);
    }
    may_signal(&task, sig)?;
    if sig == 0 {
        return Ok(());
    }
    if to_thread {
        signal::send_task(&task, info);
    } else {
        signal::send_process(&task.process, info);
    }
    Ok(())
}

/// pidfd_getfd(2)
pub fn pidfd_getfd(pidfd: Fd, fd: Fd, flags: u32) -> Result<Fd> {
    if flags != 0 {
        return Err(EINVAL);
    }
    let file = pidfd.file()?;
    let target = file.ops_as::<PidFile>().ok_or(EBADF)?;
    let task = target.task()?;
    ptrace_access(&task)?;
    let stolen = task.files()?.get(fd)?;
    current().files()?.install(stolen, true)
}
