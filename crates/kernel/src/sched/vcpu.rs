//! vCPU threads: each runs one task at a time, sleeps when there is none, and looks after its own timers.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use host::fiber::{Fiber, Resume};

use super::runqueue::RunQueue;
use super::timer::TimerQueue;
use crate::sync::{SpinLock, rank};
use crate::task::{self, Task, TaskState};

/// One virtual processor.
pub struct Vcpu {
    /// 0-based number, as the guest sees it.
    pub id: usize,
    /// Where its thread sleeps.
    pub cpu: Arc<host::cpu::Cpu>,
    pub(super) timers: TimerQueue,
    pub(super) queue: SpinLock<RunQueue>,
    /// Length of `queue`, and how far its virtual time is, read without its lock.
    pub(super) queued: AtomicUsize,
    vtime: AtomicU64,
    idle: AtomicBool,
    /// ns of idling and in guest programs up to the last change between them, for /proc/stat.
    idle_time: AtomicU64,
    user_time: AtomicU64,
    /// When the idling or the stretch in the guest program that is under way began; 0 for none.
    idle_since: AtomicU64,
    user_since: AtomicU64,
    /// Tasks that it has run.
    switches: AtomicU64,
}

/// ns of a vCPU: in guest programs, in the kernel, idle.
#[derive(Clone, Copy, Debug)]
pub struct CpuTimes {
    /// In guest programs.
    pub user: u64,
    /// In the kernel.
    pub system: u64,
    /// Idle.
    pub idle: u64,
}

/// How long the task's guest program has been running in the stretch that is under way, which is charged at its end. ns.
pub fn guest_so_far(task: &Task) -> u64 {
    if !task.sched.on_cpu() {
        return 0;
    }
    let vcpu = vcpus().get(task.sched.last_cpu.load(Ordering::Relaxed) as usize);
    match vcpu.map_or(0, |v| v.user_since.load(Ordering::Relaxed)) {
        0 => 0,
        since => host::clock::monotonic().saturating_sub(since),
    }
}

static VCPUS: OnceLock<Vec<Arc<Vcpu>>> = OnceLock::new();
static STOPPING: AtomicBool = AtomicBool::new(false);

thread_local! {
    static CURRENT: RefCell<Option<Arc<Vcpu>>> = const { RefCell::new(None) };
}

/// The vCPU whose thread this is. A fiber may be on another one after each sleep.
#[inline(never)]
pub fn current_vcpu() -> Option<Arc<Vcpu>> {
    CURRENT.with(|c| c.borrow().clone())
}

/// All vCPUs; empty before [`start`].
pub fn vcpus() -> &'static [Arc<Vcpu>] {
    VCPUS.get().map_or(&[], Vec::as_slice)
}

/// The calling thread's vCPU, or the first for a host thread that is none.
pub(super) fn current_or_first() -> Arc<Vcpu> {
    current_vcpu().unwrap_or_else(|| vcpus()[0].clone())
}

/// Starts `count` vCPU threads and returns their handles; they run until [`stop`].
pub fn start(count: usize) -> Vec<JoinHandle<()>> {
    let (ready, all_ready) = std::sync::mpsc::channel();
    let handles: Vec<_> = (0..count)
        .map(|id| {
            let ready = ready.clone();
            std::thread::Builder::new()
                .name(format!("vcpu{id}"))
                .spawn(move || {
                    let vcpu = Arc::new(Vcpu {
                        id,
                        cpu: host::cpu::Cpu::new(id),
                        timers: TimerQueue::new(),
                        queue: SpinLock::new(rank::RUN_QUEUE, RunQueue::default()),
                        queued: AtomicUsize::new(0),
                        vtime: AtomicU64::new(0),
                        idle: AtomicBool::new(false),
                        idle_time: AtomicU64::new(0),
                        user_time: AtomicU64::new(0),
                        idle_since: AtomicU64::new(0),
                        user_since: AtomicU64::new(0),
                        switches: AtomicU64::new(0),
                    });
                    CURRENT.with(|c| *c.borrow_mut() = Some(vcpu.clone()));
                    if ready.send(vcpu.clone()).is_ok() {
                        vcpu.run();
                    }
                })
                .expect("a thread for each vCPU")
        })
        .collect();
    let mut all: Vec<Arc<Vcpu>> = all_ready.iter().take(count).collect();
    all.sort_by_key(|v| v.id);
    if VCPUS.set(all).is_err() {
        panic!("vCPUs started twice");
    }
    for vcpu in vcpus() {
        vcpu.kick();
    }
    handles
}

/// Ends every vCPU's loop after the task that it runs at this moment.
pub fn stop() {
    STOPPING.store(true, Ordering::SeqCst);
    for vcpu in vcpus() {
        vcpu.kick();
    }
}

/// Whether the machine ends: no task runs its guest again.
pub(super) fn is_stopping() -> bool {
    STOPPING.load(Ordering::SeqCst)
}

impl Vcpu {
    /// Makes its thread look at its timers, its queue and its task's flags.
    pub fn kick(&self) {
        self.cpu.kick();
    }

    /// How its time since the boot was spent.
    pub fn times(&self) -> CpuTimes {
        let now = host::clock::monotonic();
        let under_way = |since: &AtomicU64| match since.load(Ordering::Relaxed) {
            0 => 0,
            since => now.saturating_sub(since),
        };
        let user = self.user_time.load(Ordering::Relaxed) + under_way(&self.user_since);
        let idle = self.idle_time.load(Ordering::Relaxed) + under_way(&self.idle_since);
        CpuTimes { user, idle, system: crate::time::since_boot().saturating_sub(user + idle) }
    }

    /// How often it has turned to a task.
    pub fn switches(&self) -> u64 {
        self.switches.load(Ordering::Relaxed)
    }

    /// The guest program of its task begins to run.
    pub(super) fn enter_user(&self, now: u64) {
        self.user_since.store(now, Ordering::Relaxed);
    }

    /// It has ended.
    pub(super) fn leave_user(&self, started: u64, now: u64) {
        self.user_since.store(0, Ordering::Relaxed);
        self.user_time.fetch_add(now.saturating_sub(started), Ordering::Relaxed);
    }

    /// Whether the calling thread is this vCPU's.
    pub fn is_current(&self) -> bool {
        CURRENT.with(|c| c.borrow().as_ref().is_some_and(|v| v.id == self.id))
    }

    fn run(self: &Arc<Self>) {
        while !STOPPING.load(Ordering::SeqCst) {
            self.timers.run_expired(host::clock::monotonic());
            match self.pick_next() {
                Some(task) => self.run_task(task),
                None => self.sleep(),
            }
        }
    }

    fn pick_next(&self) -> Option<Arc<Task>> {
        if let Some(task) = self.take_from(self) {
            return Some(task);
        }
        // Vec order from our own place on: thieves spread over their victims.
        let all = vcpus();
        (1..all.len()).find_map(|i| self.take_from(&all[(self.id + i) % all.len()]))
    }

    fn take_from(&self, victim: &Vcpu) -> Option<Arc<Task>> {
        if victim.queued.load(Ordering::SeqCst) == 0 {
            return None;
        }
        let mut queue = victim.queue.lock();
        let task = queue.pop(self.id);
        victim.vtime.store(queue.min_vruntime(), Ordering::Relaxed);
        victim.set_queued(queue.len());
        task
    }

    fn sleep(&self) {
        self.idle.store(true, Ordering::SeqCst);
        // A task queued between the last look and the flag is seen here.
        let work =
            vcpus().iter().any(|v| v.queued.load(Ordering::SeqCst) > 0 && v.queue.lock().has_for(self.id));
        if !work && !STOPPING.load(Ordering::SeqCst) {
            if crate::syscall::trace_enabled() {
                crate::syscall::trace::idle();
            }
            let before = host::clock::monotonic();
            self.idle_since.store(before, Ordering::Relaxed);
            self.cpu.idle(self.timers.earliest());
            self.idle_time.fetch_add(host::clock::monotonic().saturating_sub(before), Ordering::Relaxed);
            self.idle_since.store(0, Ordering::Relaxed);
        }
        self.idle.store(false, Ordering::SeqCst);
    }

    fn run_task(self: &Arc<Self>, task: Arc<Task>) {
        self.adopt(&task);
        task.sched.switch_in();
        self.switches.fetch_add(1, Ordering::Relaxed);
        super::loadavg::tick(task.sched.run_start.load(Ordering::Relaxed), active);
        task.sched.last_cpu.store(self.id as u64, Ordering::Relaxed);
        let Some(mut fiber) = task.take_fiber() else { return };
        if task.rseq.is_registered() {
            task.rseq.switched_in(self.id);
        }
        // What passed since it last ran is nobody's work.
        task.account_resume();
        task::set_current(Some(task.clone()));
        let outcome = fiber.resume();
        task::set_current(None);
        match outcome {
            Resume::Suspended => {
                task.account_kernel();
                if task.rseq.is_registered() {
                    task.rseq.switched_out();
                }
                task.put_fiber(fiber);
                if task.sched.switch_out() {
                    task.sched.nivcsw.fetch_add(1, Ordering::Relaxed);
                    // Here, unless it may not run here any more.
                    enqueue(task);
                } else {
                    task.sched.nvcsw.fetch_add(1, Ordering::Relaxed);
                }
            }
            Resume::Finished => {
                // A zombie stays one until it is reaped.
                if task.sched.state() != TaskState::Zombie {
                    task.sched.set_state(TaskState::Dead);
                }
                task.sched.switch_out();
            }
        }
    }

    fn push(&self, task: Arc<Task>) {
        self.adopt(&task);
        let running = if self.queued.load(Ordering::Relaxed) == 0 { self.running_vruntime() } else { None };
        let mut queue = self.queue.lock();
        if let Some(now) = running {
            queue.alone_until(now);
            self.vtime.store(queue.min_vruntime(), Ordering::Relaxed);
        }
        queue.push(task);
        self.set_queued(queue.len());
    }

    /// The virtual run time of the fair task that the calling thread runs, if that is this vCPU's.
    fn running_vruntime(&self) -> Option<u64> {
        if !self.is_current() {
            return None;
        }
        let vruntime = |task: &Task| {
            let fair = task.sched.realtime_priority() == 0;
            fair.then(|| task.sched.vruntime_with(guest_so_far(task)))
        };
        task::with_current(vruntime).flatten()
    }

    /// A task that has come from another vCPU is reckoned by this one's time.
    fn adopt(&self, task: &Task) {
        task.sched.reckon_by(self.id, |before| {
            let time = |vcpu: &Vcpu| vcpu.vtime.load(Ordering::Relaxed) as i64;
            vcpus().get(before).map_or(0, |before| time(self) - time(before))
        });
    }

    /// Notes the length of its queue, which is locked.
    fn set_queued(&self, len: usize) {
        self.queued.store(len, Ordering::SeqCst);
        host::answers::set_queued(self.id, len);
    }

    /// Whether somebody in the queue should run instead of `task`.
    pub(super) fn should_preempt(&self, task: &Task) -> bool {
        self.queued.load(Ordering::SeqCst) > 0 && self.queue.lock().should_preempt(task)
    }
}

/// Queues a runnable task: on the waker's vCPU, or on an idle one when the waker is no vCPU or the task may not run there.
pub(super) fn enqueue(task: Arc<Task>) {
    let affinity = task.sched.attr().affinity;
    let allowed = |v: &Vcpu| v.id >= 64 || affinity & (1 << v.id) != 0;
    if let Some(own) = current_vcpu().filter(|v| allowed(v)) {
        own.push(task);
        return;
    }
    let idle = vcpus().iter().find(|v| allowed(v) && v.idle.load(Ordering::SeqCst));
    let Some(target) = idle.or_else(|| vcpus().iter().find(|v| allowed(v))) else {
        panic!("task {} may run on no vCPU", task.tid());
    };
    target.push(task);
    target.kick();
}

/// Lends a task a real-time priority, or takes it back with 0. It is felt at once where the task waits for a vCPU.
pub fn boost(task: &Arc<Task>, priority: u8) {
    if task.sched.lend(priority) {
        for vcpu in vcpus() {
            vcpu.queue.lock().resort(task);
        }
        call_idle();
    }
}

/// Tasks that run or wait for a vCPU.
fn active() -> u64 {
    let of =
        |v: &Arc<Vcpu>| v.queued.load(Ordering::Relaxed) as u64 + u64::from(!v.idle.load(Ordering::Relaxed));
    vcpus().iter().map(of).sum()
}

/// Whether the calling task may keep its vCPU's thread in a host call for about `ns`: no other task waits for this vCPU, no
/// timer is due on it, and another one is there for whoever wakes up meanwhile.
pub fn may_linger(ns: u64) -> bool {
    let Some(own) = current_vcpu() else { return false };
    own.queued.load(Ordering::SeqCst) == 0
        && vcpus().iter().any(|v| v.id != own.id && v.idle.load(Ordering::SeqCst))
        && own.timers.earliest().is_none_or(|at| at > host::clock::monotonic() + ns)
}

/// Calls every idle vCPU: what is queued may run elsewhere than before.
pub(super) fn call_all() {
    for vcpu in vcpus().iter().filter(|v| v.idle.load(Ordering::SeqCst)) {
        vcpu.kick();
    }
}

/// Calls one idle vCPU to steal queued work, if there is one.
pub(super) fn call_idle() {
    if let Some(vcpu) = vcpus().iter().find(|v| v.idle.load(Ordering::SeqCst)) {
        vcpu.kick();
    }
}

/// Gives a task its fiber and queues it for the first time.
pub fn spawn_kernel_task(task: &Arc<Task>, body: impl FnOnce() + Send + 'static) {
    task.put_fiber(Fiber::new(body));
    task.sched.wake(task, |_| true);
}
