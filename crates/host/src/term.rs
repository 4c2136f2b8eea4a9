//! The host's terminal: raw mode and its end, window size.
//!
//! Raw mode ends on every way out: when [`RawMode`] is dropped, at a panic, at a fatal signal, and, when ruml itself is
//! killed with SIGKILL, by a small process that waits for that and nothing else.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Once};

use abi::{Errno, Result};
use parking_lot::Mutex;

/// A terminal in raw mode; dropping it puts it back.
pub struct RawMode {
    fd: Arc<OwnedFd>,
    id: u64,
}

struct Saved {
    id: u64,
    fd: i32,
    termios: libc::termios,
}

/// Terminals that are raw.
static SAVED: Mutex<Vec<Saved>> = Mutex::new(Vec::new());

fn last_error() -> Errno {
    Errno::from_raw(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO))
}

fn get(fd: i32) -> Option<libc::termios> {
    // SAFETY: termios is plain data; tcgetattr fills it or fails.
    unsafe {
        let mut termios: libc::termios = std::mem::zeroed();
        (libc::tcgetattr(fd, &raw mut termios) == 0).then_some(termios)
    }
}

fn set(fd: i32, termios: &libc::termios) {
    // SAFETY: `termios` lives through the call, which only reads it.
    unsafe { libc::tcsetattr(fd, libc::TCSADRAIN, termios) };
}

impl RawMode {
    /// Puts a terminal into raw mode; none if the descriptor is no terminal.
    pub fn enter(fd: &Arc<OwnedFd>) -> Result<Option<RawMode>> {
        let raw_fd = fd.as_raw_fd();
        let Some(termios) = get(raw_fd) else { return Ok(None) };
        arrange_ways_out();
        watchdog(raw_fd)?;
        let mut raw = termios;
        // SAFETY: cfmakeraw changes the structure that it is given and nothing else.
        unsafe { libc::cfmakeraw(&raw mut raw) };
        let id = {
            let mut saved = SAVED.lock();
            let id = saved.last().map_or(1, |s| s.id + 1);
            saved.push(Saved { id, fd: raw_fd, termios });
            id
        };
        set(raw_fd, &raw);
        Ok(Some(RawMode { fd: fd.clone(), id }))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        let mut all = SAVED.lock();
        if let Some(at) = all.iter().position(|s| s.id == self.id) {
            let saved = all.remove(at);
            set(self.fd.as_raw_fd(), &saved.termios);
        }
    }
}

/// Puts every terminal back. For ways out that run no destructors.
pub fn restore_all() {
    // A signal may come while the list is locked by the very thread it stops: then its other holder restores.
    if let Some(saved) = SAVED.try_lock() {
        for saved in saved.iter() {
            set(saved.fd, &saved.termios);
        }
    }
}

fn arrange_ways_out() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let old = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            // A panic in a guest task's syscall is an oops of that task: the machine and its terminal go on.
            if !crate::fiber::in_fiber() {
                restore_all();
            }
            old(info);
        }));
        for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT, libc::SIGABRT] {
            // SAFETY: the handler only calls async-signal-safe functions and takes a lock without waiting.
            unsafe { libc::signal(signal, on_fatal as *const () as libc::sighandler_t) };
        }
    });
}

extern "C" fn on_fatal(signal: libc::c_int) {
    restore_all();
    // SAFETY: both calls are async-signal-safe; the default action ends the process with the signal's own status.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
    }
}

/// Starts the process that puts the terminal back when ruml is gone without having done so.
fn watchdog(fd: i32) -> Result<()> {
    let Some(termios) = get(fd) else { return Ok(()) };
    let mut pipe = [0; 2];
    // SAFETY: `pipe` has room for two descriptors.
    if unsafe { libc::pipe2(pipe.as_mut_ptr(), libc::O_CLOEXEC) } < 0 {
        return Err(last_error());
    }
    // SAFETY: the child of a process with threads calls async-signal-safe functions only, and ends by _exit.
    let pid = unsafe { libc::fork() };
    match pid {
        -1 => Err(last_error()),
        0 => {
            // SAFETY: as above. Signals of the terminal must not end the watch.
            unsafe {
                libc::setsid();
                for signal in
                    [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT, libc::SIGTTOU, libc::SIGPIPE]
                {
                    libc::signal(signal, libc::SIG_IGN);
                }
                // Every other descriptor goes: one that stays open would keep pipes of the caller from ending.
                let keep = fd.min(pipe[0])..=fd.max(pipe[0]);
                for other in 0..1024 {
                    if other != *keep.start() && other != *keep.end() {
                        libc::close(other);
                    }
                }
                let mut byte = 0u8;
                // The end of the pipe is the end of ruml; a byte says that the terminal has been put back.
                let n = libc::read(pipe[0], (&raw mut byte).cast(), 1);
                if n == 0 {
                    libc::tcsetattr(fd, libc::TCSANOW, &raw const termios);
                }
                libc::_exit(0);
            }
        }
        _ => {
            // SAFETY: the read end belongs to the child. The write end stays open until ruml ends, on purpose.
            unsafe { libc::close(pipe[0]) };
            Ok(())
        }
    }
}

/// Rows, columns and pixels of a terminal's window; none if the descriptor is no terminal.
pub fn window_size(fd: &OwnedFd) -> Option<(u16, u16, u16, u16)> {
    // SAFETY: winsize is plain data, which the call fills.
    let size = unsafe {
        let mut size: libc::winsize = std::mem::zeroed();
        if libc::ioctl(fd.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) != 0 {
            return None;
        }
        size
    };
    Some((size.ws_row, size.ws_col, size.ws_xpixel, size.ws_ypixel))
}

type Callback = Arc<dyn Fn() + Send + Sync>;
static ON_CHANGE: Mutex<Vec<Callback>> = Mutex::new(Vec::new());
static CHANGED: Mutex<Option<(Arc<OwnedFd>, crate::reactor::Watch)>> = Mutex::new(None);

/// Calls back on the reactor's thread after each SIGWINCH.
pub fn on_window_change(callback: Callback) {
    use std::os::fd::FromRawFd;
    ON_CHANGE.lock().push(callback);
    let mut slot = CHANGED.lock();
    if slot.is_some() {
        return;
    }
    // SAFETY: eventfd takes no memory; a non-negative answer is a descriptor that nobody else owns.
    let fd = unsafe {
        let fd = libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK);
        if fd < 0 {
            return;
        }
        WINCH_FD.store(fd, std::sync::atomic::Ordering::SeqCst);
        Arc::new(OwnedFd::from_raw_fd(fd))
    };
    let drained = fd.clone();
    let watch = crate::reactor::Watch::new(
        fd.clone(),
        Arc::new(move || {
            let mut count = [0; 8];
            let _ = crate::reactor::read_now(&drained, &mut count);
            let callbacks = ON_CHANGE.lock().clone();
            for callback in callbacks {
                callback();
            }
            if let Some((_, watch)) = &*CHANGED.lock() {
                let _ = watch.arm(crate::reactor::Interest { read: true, write: false });
            }
        }),
    );
    if let Ok(watch) = watch {
        let _ = watch.arm(crate::reactor::Interest { read: true, write: false });
        *slot = Some((fd, watch));
        // SAFETY: the handler only writes to an eventfd.
        unsafe { libc::signal(libc::SIGWINCH, on_winch as *const () as libc::sighandler_t) };
    }
}

static WINCH_FD: std::sync::atomic::AtomicI32 = std::sync::atomic::AtomicI32::new(-1);

extern "C" fn on_winch(_: libc::c_int) {
    let one = 1u64.to_ne_bytes();
    // SAFETY: write(2) is async-signal-safe; the descriptor is an eventfd that is never closed.
    unsafe {
        libc::write(WINCH_FD.load(std::sync::atomic::Ordering::SeqCst), one.as_ptr().cast(), one.len())
    };
}
