//! Kernel threads: tasks without a guest program, children of `kthreadd`, which ps(1) shows as `[name]`.
//!
//! They take no signals. A body looks at [`KThreadCtx::should_stop`] and sleeps in [`KThreadCtx::wait`], which the end
//! of its thread interrupts; [`KThread::stop`] waits for that end.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

use abi::Result;
use abi::errno::{EAGAIN, ETIMEDOUT};
use abi::signal::{SIG_IGN, SIGCHLD};

use super::{FIRST_FS, Process, Task, TaskParts, exit, pid, rlimit};
use crate::sched;
use crate::signal::SigHand;
use crate::sync::{Interruptible, Mutex, Sleep, WaitQueue, wait_until};

/// The parent of all kernel threads, made with the first of them.
static KTHREADD: LazyLock<Mutex<Option<Arc<Process>>>> = LazyLock::new(|| Mutex::new(None));

/// What a kernel thread and its owner share.
struct Shared {
    stop: AtomicBool,
    done: AtomicBool,
    queue: WaitQueue,
}

/// A running kernel thread. Dropping it lets the thread run on.
pub struct KThread {
    shared: Arc<Shared>,
}

/// What the body of a kernel thread is given.
pub struct KThreadCtx {
    shared: Arc<Shared>,
}

/// Starts a kernel thread. EAGAIN without a free number, or before there is a first process.
pub fn kthread(name: &str, body: impl FnOnce(&KThreadCtx) + Send + 'static) -> Result<KThread> {
    let kthreadd = kthreadd()?;
    let shared = Arc::new(Shared {
        stop: AtomicBool::new(false),
        done: AtomicBool::new(false),
        queue: WaitQueue::new(),
    });
    let ctx = KThreadCtx { shared: shared.clone() };
    let task = new_task(Some(&kthreadd), name)?;
    let me = task.clone();
    sched::spawn_kernel_task(&task, move || {
        if catch_unwind(AssertUnwindSafe(|| body(&ctx))).is_err() {
            crate::pr_emerg!("Oops: kernel thread {} has died", me.comm().escape_ascii());
        }
        ctx.shared.done.store(true, Ordering::SeqCst);
        ctx.shared.queue.wake_all();
        drop(ctx);
        exit::do_exit(&me);
    });
    Ok(KThread { shared })
}

/// That process. EAGAIN before there is a first one.
pub(super) fn kthreadd() -> Result<Arc<Process>> {
    let mut slot = KTHREADD.lock();
    if let Some(process) = &*slot {
        return Ok(process.clone());
    }
    let task = new_task(None, "kthreadd")?;
    // Its children vanish without being waited for.
    task.process.sighand().actions.lock()[SIGCHLD as usize - 1].handler = SIG_IGN;
    sched::spawn_kernel_task(&task, || {
        let never = Sleep { interruptible: Interruptible::Yes, deadline: None };
        while wait_until(never, |_| None::<()>).is_err() {}
    });
    *slot = Some(task.process.clone());
    Ok(task.process.clone())
}

fn new_task(parent: Option<&Arc<Process>>, name: &str) -> Result<Arc<Task>> {
    let fs = FIRST_FS.get().ok_or(EAGAIN)?.clone();
    let tid = pid::tasklist().alloc()?;
    let process = Process::new(tid, Arc::new(SigHand::new()), rlimit::initial(u64::MAX));
    process.kthread.store(true, Ordering::SeqCst);
    let task = Task::new(TaskParts::kernel(tid, process.clone(), fs, &name.as_bytes()[..name.len().min(15)]));
    pid::tasklist().add_process(&task, parent.map(|parent| (parent, parent.tgid)));
    Ok(task)
}

impl KThread {
    /// Asks the thread to end, and waits until its body has returned.
    pub fn stop(&self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.queue.wake_all();
        let sleep = Sleep { interruptible: Interruptible::No, deadline: None };
        let _ = wait_until(sleep, |table| {
            table.register(&self.shared.queue);
            self.shared.done.load(Ordering::SeqCst).then_some(())
        });
    }

    /// Makes the thread look at its condition.
    pub fn wake(&self) {
        self.shared.queue.wake_all();
    }

    /// Whether its body has returned.
    pub fn is_done(&self) -> bool {
        self.shared.done.load(Ordering::SeqCst)
    }
}

impl KThreadCtx {
    /// Whether [`KThread::stop`] was called.
    pub fn should_stop(&self) -> bool {
        self.shared.stop.load(Ordering::SeqCst)
    }

    /// Sleeps until `condition` holds, the thread is to stop, or `deadline` (host monotonic ns) has come. [`KThread::wake`]
    /// and the queues in `queues` make it look. Whether the condition holds.
    pub fn wait(&self, deadline: Option<u64>, queues: &[&WaitQueue], condition: impl Fn() -> bool) -> bool {
        let sleep = Sleep { interruptible: Interruptible::Yes, deadline };
        let outcome = wait_until(sleep, |table| {
            table.register(&self.shared.queue);
            queues.iter().for_each(|q| table.register(q));
            match condition() {
                true => Some(true),
                false if self.should_stop() => Some(false),
                false => None,
            }
        });
        match outcome {
            Ok(holds) => holds,
            Err(ETIMEDOUT) => condition(),
            Err(_) => false,
        }
    }
}
