//! Programs that the kernel itself starts, as root and as children of `kthreadd`: `call_usermodehelper`.

use std::sync::Arc;

use abi::Result;
use abi::errno::EAGAIN;

use super::pid::INIT_PID;
use super::{Process, Task, TaskParts, exec, exit, kthread, pid, rlimit, run};
use crate::sched;
use crate::signal::SigHand;
use crate::sync::{Interruptible, Sleep, SpinLock, WaitQueue, rank, wait_until};
use crate::vfs::{File, FilesStruct};

/// A program that is to be started.
pub struct Helper {
    /// Its arguments, the first of which is its full path.
    pub argv: Vec<Vec<u8>>,
    /// Its standard input, its only open file.
    pub stdin: Arc<File>,
}

/// What the starter and the new task share.
struct Start {
    outcome: SpinLock<Option<Result<()>>>,
    queue: WaitQueue,
}

/// Starts a program in the first process's root directory, and waits until it has begun or cannot.
pub fn start(helper: Helper) -> Result<()> {
    let task = new_task()?;
    task.files()?.install(helper.stdin, false)?;
    let start = Arc::new(Start { outcome: SpinLock::new(rank::LEAF, None), queue: WaitQueue::new() });
    let shared = start.clone();
    let me = task.clone();
    sched::spawn_kernel_task(&task, move || {
        let environment = [&b"HOME=/"[..], b"TERM=linux", b"PATH=/sbin:/bin:/usr/sbin:/usr/bin"];
        let environment = environment.iter().map(|v| v.to_vec()).collect();
        let path = helper.argv.first().cloned().unwrap_or_default();
        let outcome = exec::kernel_execve(&me, &path, helper.argv, environment);
        *shared.outcome.lock() = Some(outcome);
        shared.queue.wake_all();
        drop(shared);
        match outcome {
            Ok(()) => run::user_task(me),
            Err(_) => exit::do_exit(&me),
        }
    });
    drop(task);
    let sleep = Sleep { interruptible: Interruptible::Killable, deadline: None };
    wait_until(sleep, |table| {
        table.register(&start.queue);
        *start.outcome.lock()
    })?
}

/// A task that has no program yet. EAGAIN without a free number or a first process.
fn new_task() -> Result<Arc<Task>> {
    let parent = kthread::kthreadd()?;
    let init = pid::tasklist().task(INIT_PID).ok_or(EAGAIN)?;
    let fs = init.fs().copy();
    fs.set_cwd(fs.root());
    let tid = pid::tasklist().alloc()?;
    let process = Process::new(tid, Arc::new(SigHand::new()), rlimit::initial(u64::MAX));
    let task = Task::new(TaskParts {
        files: Some(Arc::new(FilesStruct::default())),
        ..TaskParts::kernel(tid, process.clone(), fs, b"kworker/u")
    });
    pid::tasklist().add_process(&task, Some((&parent, parent.tgid)));
    crate::cgroup::born(None, &process);
    Ok(task)
}
