//! The host processes that stubs are: who is alive, and what happens when one dies.
//!
//! A process id is used only while the process is not yet reaped, which the `alive` lock sees to, so it can never mean
//! another process. The registry's lock comes before a process's.

use super::abi::Window;
use super::window::{Mapping, turn_kick};
use crate::sys::check;
use abi::Result;
use abi::errno::*;
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::mem::offset_of;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::*};
use std::sync::{Arc, OnceLock, Weak};

/// A stub process.
pub(super) struct Process {
    pub(super) pid: i32,
    /// False once reaped: the process id is then someone else's.
    alive: RwLock<bool>,
    dead: AtomicBool,
    killed: AtomicBool,
    /// Why it was given up.
    obituary: OnceLock<String>,
    /// Where kernel threads may wait for this process.
    windows: Mutex<Vec<Weak<Mapping>>>,
}

/// The words of a stat file of /proc after the thread's name, which may have parentheses and spaces in it.
pub(super) fn after_name(stat: &str) -> std::str::SplitAsciiWhitespace<'_> {
    stat.rsplit(')').next().unwrap_or_default().split_ascii_whitespace()
}

static REGISTRY: Mutex<BTreeMap<i32, Arc<Process>>> = Mutex::new(BTreeMap::new());

/// Whether the host lets us copy to and from stubs (process_vm_readv); settled before the first guest runs.
pub(super) static PROCESS_VM: AtomicBool = AtomicBool::new(true);

impl Process {
    pub(super) fn is_dead(&self) -> bool {
        self.dead.load(Acquire)
    }

    /// Runs `f` with the process id, which cannot be reused meanwhile; nothing if the process is gone.
    pub(super) fn with_pid<T>(&self, f: impl FnOnce(i32) -> T) -> Option<T> {
        let alive = self.alive.read();
        alive.then(|| f(self.pid))
    }

    pub(super) fn kill(&self) {
        if !self.killed.swap(true, Relaxed) {
            // SAFETY: no memory is passed.
            self.with_pid(|pid| unsafe { libc::kill(pid, libc::SIGKILL) });
        }
    }

    /// Kills it for what one of its threads does or does not do; `window` is that thread's.
    pub(super) fn give_up(&self, why: &str, window: &Window) {
        let word = |word: &AtomicU32| word.load(Relaxed);
        self.obituary.get_or_init(|| {
            format!(
                "{why} (turn {}, stub waits {}, kernel waits {}, spin {:#x}, command {}, event {})",
                word(&window.turn),
                word(&window.stub_waits),
                word(&window.kernel_waits),
                word(&window.spin),
                word(&window.command),
                word(&window.event)
            )
        });
        self.kill();
    }

    pub(super) fn obituary(&self) -> Option<&str> {
        self.obituary.get().map(String::as_str)
    }

    /// Sends `signal` (0: none) to a thread; ESRCH if it is not one of this process.
    pub(super) fn signal_thread(&self, tid: i32, signal: i32) -> Result<()> {
        let sent = self.with_pid(|pid| {
            // SAFETY: no memory is passed.
            check(unsafe { libc::syscall(libc::SYS_tgkill, pid, tid, signal) })
        });
        sent.unwrap_or(Err(ESRCH)).map(drop)
    }

    /// Whether a thread sleeps where signals could wake it, as it does while it waits for its turn, and how long it has
    /// run outside and inside the host's kernel, in clock ticks. None if it is gone.
    pub(super) fn activity(&self, tid: i32) -> Option<(bool, u64, u64)> {
        let stat = self.with_pid(|pid| std::fs::read_to_string(format!("/proc/{pid}/task/{tid}/stat")));
        let stat = stat.and_then(std::io::Result::ok)?;
        // The state is the first; utime is the twelfth, and stime comes after it.
        let mut words = after_name(&stat);
        Some((words.next() == Some("S"), words.nth(10)?.parse().ok()?, words.next()?.parse().ok()?))
    }

    /// Whoever waits on this window learns of the process's death.
    pub(super) fn watch(&self, window: &Arc<Mapping>) {
        let mut windows = self.windows.lock();
        windows.retain(|window| window.strong_count() != 0);
        windows.push(Arc::downgrade(window));
    }

    fn mark_dead(&self) {
        self.dead.store(true, SeqCst);
        for window in self.windows.lock().iter().filter_map(Weak::upgrade) {
            turn_kick(&window.get().turn);
        }
    }
}

/// Takes a new child process in. Who says `pid` may be hostile: it must be a child of ours, not known yet, and have
/// `window`, which no other process has, mapped at `base`.
pub(super) fn adopt(pid: i32, window: &Arc<Mapping>, base: u64, nonce: u64) -> Result<Arc<Process>> {
    let mut registry = REGISTRY.lock();
    if pid <= 1 || registry.contains_key(&pid) {
        return Err(ESRCH);
    }
    if PROCESS_VM.load(Relaxed) {
        // Only the process that was to be made can have the window; one that has exited has nothing mapped.
        let mut seen = [0; 8];
        let at = base + offset_of!(Window, nonce) as u64;
        if copy_from(pid, &[(at, 8)], &mut seen) != Ok(8) || u64::from_ne_bytes(seen) != nonce {
            return Err(ESRCH);
        }
    } else if has_exited(pid) || !super::zygote::is_stub(pid) {
        return Err(ESRCH);
    }
    let process = Arc::new(Process {
        pid,
        alive: RwLock::new(true),
        dead: AtomicBool::new(false),
        killed: AtomicBool::new(false),
        obituary: OnceLock::new(),
        windows: Mutex::new(Vec::new()),
    });
    process.watch(window);
    registry.insert(pid, process.clone());
    Ok(process)
}

/// Whether a child has exited, or is none of ours.
pub(super) fn has_exited(pid: i32) -> bool {
    // SAFETY: siginfo_t is plain data, for which zero is a value.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let options = libc::WEXITED | libc::WNOWAIT | libc::WNOHANG;
    // SAFETY: `info` is writable, and a siginfo of a child or zero after the call.
    unsafe { libc::waitid(libc::P_PID, pid as libc::id_t, &mut info, options) != 0 || info.si_pid() != 0 }
}

/// Only children of the calling thread.
const WNOTHREAD: i32 = 0x2000_0000;

/// How long to wait for more deaths.
const CROWD: std::time::Duration = std::time::Duration::from_millis(4);

/// Reaps stubs until there are none, which is for ever. Runs on the thread that started the first one, for stubs are
/// children of that thread; other children of the program are left to whoever waits for them.
///
/// Deaths come in crowds, and to be woken costs as much as to reap. So a death is noticed at once where there was none for
/// a while, and those after it a moment later, all together.
pub(crate) fn reap_forever() {
    loop {
        match dying(0) {
            Ok(Some(pid)) => reap(pid),
            Ok(None) | Err(EINTR) => continue,
            Err(_) => return,
        }
        loop {
            std::thread::sleep(CROWD);
            let mut any = false;
            while let Ok(Some(pid)) = dying(libc::WNOHANG) {
                reap(pid);
                any = true;
            }
            if !any {
                break;
            }
        }
    }
}

/// A child of this thread that has exited and is not reaped.
fn dying(options: i32) -> Result<Option<i32>> {
    // SAFETY: siginfo_t is plain data, for which zero is a value.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let options = libc::WEXITED | libc::WNOWAIT | WNOTHREAD | options;
    // SAFETY: `info` is writable.
    check(unsafe { libc::waitid(libc::P_ALL, 0, &mut info, options) }.into())?;
    // SAFETY: waitid has filled in a child's siginfo, or left zeros.
    let pid = unsafe { info.si_pid() };
    Ok(Some(pid).filter(|pid| *pid != 0))
}

fn reap(pid: i32) {
    // Its id is not free before the wait below. The lock is not held over that: whoever forks needs it, and must not
    // wait until this thread is given a core again.
    let process = REGISTRY.lock().remove(&pid);
    {
        let mut alive = process.as_ref().map(|process| process.alive.write());
        // SAFETY: siginfo_t is plain data, for which zero is a value.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        // SAFETY: `info` is writable; the child is a zombie, so this does not block.
        unsafe {
            libc::waitid(libc::P_PID, pid as libc::id_t, &mut info, libc::WEXITED | WNOTHREAD);
        }
        if let Some(alive) = &mut alive {
            **alive = false;
        }
    }
    if let Some(process) = process {
        process.mark_dead();
    }
}

/// Most ranges of one copy.
pub(super) const RANGES: usize = 16;

fn remote(ranges: &[(u64, usize)]) -> ([libc::iovec; RANGES], usize) {
    let mut iov = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; RANGES];
    let count = ranges.len().min(RANGES);
    for (to, (addr, len)) in iov.iter_mut().zip(ranges) {
        *to = libc::iovec { iov_base: *addr as *mut _, iov_len: *len };
    }
    (iov, count)
}

/// process_vm_readv(2) from up to 16 ranges; bytes copied.
pub(super) fn copy_from(pid: i32, ranges: &[(u64, usize)], buf: &mut [u8]) -> Result<usize> {
    let local = libc::iovec { iov_base: buf.as_mut_ptr().cast(), iov_len: buf.len() };
    let (iov, count) = remote(ranges);
    // SAFETY: `buf` is writable for its length; the remote addresses are the other process's and checked by the host.
    let n = unsafe { libc::process_vm_readv(pid, &local, 1, iov.as_ptr(), count as u64, 0) };
    check(n as i64).map(|n| n as usize)
}

/// process_vm_writev(2) to up to 16 ranges; bytes copied.
pub(super) fn copy_to(pid: i32, ranges: &[(u64, usize)], buf: &[u8]) -> Result<usize> {
    let local = libc::iovec { iov_base: buf.as_ptr().cast_mut().cast(), iov_len: buf.len() };
    let (iov, count) = remote(ranges);
    // SAFETY: `buf` is readable for its length; the remote addresses are the other process's and checked by the host.
    let n = unsafe { libc::process_vm_writev(pid, &local, 1, iov.as_ptr(), count as u64, 0) };
    check(n as i64).map(|n| n as usize)
}
