//! Threads that do what waits: a bounded number, started as they are needed, ended when they have nothing to do.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// Most threads.
const MAX: usize = 16;
/// How long a thread waits for work before it ends.
const LINGER: Duration = Duration::from_secs(10);

type Job = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
}

static STATE: Mutex<State> = Mutex::new(State { jobs: VecDeque::new(), threads: 0, idle: 0 });
static WORK: Condvar = Condvar::new();

/// Has `job` done by a thread, soon. Where the host gives no thread at all, the caller does it.
pub(super) fn run(job: Job) {
    let mut state = STATE.lock();
    state.jobs.push_back(job);
    if state.idle >= state.jobs.len() || state.threads == MAX {
        WORK.notify_one();
        return;
    }
    state.threads += 1;
    drop(state);
    if std::thread::Builder::new().name("block-io".to_owned()).spawn(work).is_err() {
        let mut state = STATE.lock();
        state.threads -= 1;
        let job = if state.threads == 0 { state.jobs.pop_back() } else { None };
        drop(state);
        if let Some(job) = job {
            job();
        }
    }
}

fn work() {
    crate::place::unpin();
    let mut state = STATE.lock();
    loop {
        if let Some(job) = state.jobs.pop_front() {
            drop(state);
            job();
            state = STATE.lock();
            continue;
        }
        state.idle += 1;
        let late = WORK.wait_for(&mut state, LINGER).timed_out();
        state.idle -= 1;
        if late && state.jobs.is_empty() {
            state.threads -= 1;
            return;
        }
    }
}
