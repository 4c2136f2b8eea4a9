//! A machine that may reboot needs somebody who isn't locked in to start it again: the process that the user started
//! does that and nothing else, and the machine is its child.
//!
//! The parent passes on the signals that ask a program to end, and ends as the machine has ended. The child dies with
//! it.

use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, Ordering};

use crate::sys::{check, errno};

/// The word that both processes see, once there are two: 1 when the machine wants to be started again.
static REBOOT: AtomicPtr<AtomicU32> = AtomicPtr::new(std::ptr::null_mut());
/// The machine's process, for the handler.
static CHILD: AtomicI32 = AtomicI32::new(0);

const PASSED_ON: [libc::c_int; 6] =
    [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT, libc::SIGUSR1, libc::SIGUSR2];

/// Splits the program in two. Returns in the child, whose [`restart`] then works although it is locked in; the parent
/// ends with the child's status. Before any thread is started.
///
/// # Errors
/// The host has no process or memory left, in words.
pub fn supervise() -> Result<(), String> {
    let prot = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
    // SAFETY: the host chooses a free place.
    let word = unsafe { libc::mmap(std::ptr::null_mut(), size_of::<AtomicU32>(), prot, flags, -1, 0) };
    if word == libc::MAP_FAILED {
        return Err(format!("no shared memory: {}", errno()));
    }
    REBOOT.store(word.cast(), Ordering::SeqCst);
    // SAFETY: getpid has no preconditions.
    let parent = unsafe { libc::getpid() };
    // SAFETY: the program has one thread yet, so the child is a whole program.
    let pid = check(unsafe { libc::fork() }.into()).map_err(|e| format!("cannot start a process: {e}"))?;
    if pid == 0 {
        // SAFETY: no memory is passed.
        unsafe {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            if libc::getppid() != parent {
                libc::_exit(1);
            }
        }
        return Ok(());
    }
    watch(pid as i32)
}

/// Tells the parent to start the machine again once this process has ended; false if there is no parent for that.
pub fn wants_restart() -> bool {
    let word = REBOOT.load(Ordering::SeqCst);
    // SAFETY: null, or a mapping that lasts as long as the program.
    match unsafe { word.as_ref() } {
        Some(word) => {
            word.store(1, Ordering::SeqCst);
            true
        }
        None => false,
    }
}

fn watch(child: i32) -> ! {
    CHILD.store(child, Ordering::SeqCst);
    for signal in PASSED_ON {
        // SAFETY: the handler calls kill(2) only.
        unsafe { libc::signal(signal, pass_on as *const () as libc::sighandler_t) };
    }
    let mut status = 0;
    loop {
        // SAFETY: `status` is writable.
        match check(unsafe { libc::waitpid(child, &mut status, 0) }.into()) {
            Ok(_) => break,
            Err(abi::errno::EINTR) => {}
            Err(_) => std::process::exit(125),
        }
    }
    for signal in PASSED_ON {
        // SAFETY: the default action.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // SAFETY: set before the fork; it lasts as long as the program.
    let reboot = unsafe { &*REBOOT.load(Ordering::SeqCst) };
    if reboot.load(Ordering::SeqCst) == 1 {
        eprintln!("ruml: {}", crate::machine::restart());
        std::process::exit(125);
    }
    if libc::WIFSIGNALED(status) {
        let core = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: `core` is readable; the signal ends this process as it ended the child.
        unsafe {
            libc::setrlimit(libc::RLIMIT_CORE, &core);
            libc::raise(libc::WTERMSIG(status));
        }
        std::process::exit(128 + libc::WTERMSIG(status));
    }
    std::process::exit(libc::WEXITSTATUS(status))
}

extern "C" fn pass_on(signal: libc::c_int) {
    // SAFETY: kill(2) is async-signal-safe and takes no memory.
    unsafe { libc::kill(CHILD.load(Ordering::SeqCst), signal) };
}
