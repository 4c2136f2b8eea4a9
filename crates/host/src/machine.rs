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
    return_large_blocks();
    // Before any thread is pinned, or the first stub and all after it would be too.
    let _ = crate::place::places();
    let (tell, told) = mpsc::channel();
    // Stubs are children of this thread, which must not end before the program: their deaths' signal hangs on it.
    let reaper = thread::Builder::new().name("ruml-reaper".into()).spawn(move || {
        crate::place::unpin();
        let started = zygote::start();
        let ok = started.is_ok();
        crate::place::unhurried();
        let _ = tell.send(started);
        if ok {
            crate::stub::reap_forever();
        }
    });
    reaper.map_err(|e| format!("cannot start a host thread: {e}"))?;
    told.recv().map_err(|_| "the reaper thread has died".to_string())??;
    let pool = config.pool;
    if pool > 0 {
        let (tell, told) = mpsc::channel();
        let keeper = thread::Builder::new().name("ruml-pool".into()).spawn(move || {
            crate::place::unpin();
            crate::place::unhurried();
            let _ = tell.send(());
            zygote::keep_pool(pool)
        });
        keeper.map_err(|e| format!("cannot start a host thread: {e}"))?;
        let _ = told.recv();
    }
    Ok(())
}

/// Reads what is told of the host in files that the machine will not have at hand: before Landlock, if there will be.
pub fn learn() {
    let _ = (crate::cpu::cpuinfo(), crate::cpu::caches(), huge_pages());
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

/// Has the heap map blocks of this size and above one by one, so that each goes back to the host when it is freed: a
/// page cache is made of them. The heap would move the limit up with the first that is freed.
fn return_large_blocks() {
    const LARGE: libc::c_int = 128 << 10;
    // The host allows 65530 mappings.
    const MOST: libc::c_int = 30_000;
    // SAFETY: mallopt has no preconditions; a refusal leaves the heap as it is.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 8 * LARGE);
        libc::mallopt(libc::M_MMAP_MAX, MOST);
    }
}

/// The host's memory, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostMemory {
    /// All of it.
    pub total: u64,
    /// What can be had without swapping.
    pub available: u64,
}

/// What /proc/meminfo says of the host. None where it can't be read.
pub fn memory() -> Option<HostMemory> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
    };
    Some(HostMemory { total: field("MemTotal:")?, available: field("MemAvailable:")? })
}

/// Gives memory that the heap has freed back to the host.
pub fn trim_heap() {
    // SAFETY: malloc_trim has no preconditions.
    unsafe { libc::malloc_trim(0) };
}

/// Starts the program anew with its own command line: a guest's reboot. Returns only why it could not.
pub fn restart() -> String {
    use std::os::unix::process::CommandExt;
    let mut args = std::env::args_os();
    let name = args.next();
    let mut command = std::process::Command::new("/proc/self/exe");
    if let Some(name) = name {
        command.arg0(name);
    }
    format!("cannot start again: {}", command.args(args).exec())
}

/// A copy of the program's descriptor `fd`, as the user names it on the command line.
pub fn duplicate_fd(fd: i32) -> std::io::Result<std::os::fd::OwnedFd> {
    use std::os::fd::FromRawFd;
    // SAFETY: F_DUPFD_CLOEXEC touches no memory, and a non-negative answer is a descriptor that nobody else owns.
    unsafe {
        let copy = libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3);
        if copy < 0 {
            Err(std::io::Error::last_os_error())
        } else {
            Ok(std::os::fd::OwnedFd::from_raw_fd(copy))
        }
    }
}

/// Whether the host gives out huge pages, which it does to guests as well: its own file of that name. Read once.
pub fn huge_pages() -> &'static str {
    static ENABLED: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    let read = || std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled");
    ENABLED.get_or_init(|| read().unwrap_or_else(|_| "always madvise [never]\n".to_owned()))
}
