//! One-time preparation of the host: checks, the first stub, the pool of fresh ones, and the thread that reaps.

use crate::stub::zygote;
use std::sync::mpsc;
use std::thread;

/// How to prepare the host.
#[derive(Clone, Debug)]
pub struct Config {
    /// vCPU threads that will run stubs.
    pub ncpus: usize,
    /// Fresh stubs kept ready for exec.
    pub pool: usize,
}

impl Default for Config {
    fn default() -> Config {
        Config { ncpus: 1, pool: 2 }
    }
}

/// Checks the host and starts the helpers; once. An error says exactly what the host lacks, and how to get it.
pub fn init(config: Config) -> Result<(), String> {
    raise_descriptor_limit();
    // Before any thread is pinned, or the first stub and all after it would be too.
    let _ = crate::place::places();
    let (tell, told) = mpsc::channel();
    // Stubs are children of this thread, which must not end before the program: their deaths' signal hangs on it.
    let reaper = thread::Builder::new().name("ruml-reaper".into()).spawn(move || {
        crate::place::unpin();
        let started = zygote::start();
        let ok = started.is_ok();
        let _ = tell.send(started);
        if ok {
            crate::stub::reap_forever();
        }
    });
    reaper.map_err(|e| format!("cannot start a host thread: {e}"))?;
    told.recv().map_err(|_| "the reaper thread has died".to_string())??;
    let pool = config.pool;
    if pool > 0 {
        let keeper = thread::Builder::new().name("ruml-pool".into()).spawn(move || {
            crate::place::unpin();
            zygote::keep_pool(pool)
        });
        keeper.map_err(|e| format!("cannot start a host thread: {e}"))?;
    }
    Ok(())
}

/// Makes [`init`] take the host for one that refuses process_vm_readv(2), as some containers do, so that guest memory is
/// copied through the windows: slower, but it works everywhere. Without this, `init` finds out itself.
pub fn copy_by_window() {
    zygote::refuse_process_vm();
}

/// A guest process takes two of this program's descriptors, and the usual soft limit is 1024.
fn raise_descriptor_limit() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is valid for both calls; a refusal leaves the lower limit.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) == 0 && limit.rlim_cur < limit.rlim_max {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
        }
    }
}
