//! Terminals.
//!
//! - [`Tty`] (here): settings, input through the line discipline, output to a driver.
//! - `n_tty.rs`: the line discipline, pure. `file.rs`: open terminals. `ioctl.rs`: their commands.
//! - `jobctl.rs`: controlling terminal, foreground group, SIGTTIN, SIGTTOU, hang-up.
//! - `pty.rs`: pseudo-terminals. `console.rs`: a terminal on host descriptors.
//! - `stdio.rs`: host pipes and files that are no terminal.
//!
//! Locks: TTY (one terminal), then TTY_BUFFER (a driver's queue). Signals are sent and waiters woken after TTY is
//! released.

pub mod console;
mod file;
mod ioctl;
pub mod jobctl;
mod n_tty;
pub mod pty;
pub mod stdio;

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use abi::Result;
use abi::errno::{EAGAIN, EIO};
use abi::signal::SIGWINCH;
use abi::tty::{TOSTOP, Winsize};

pub use file::{TtyFile, open_console, register_devices};
pub use ioctl::vhangup;
pub use jobctl::session_leader_exit;
use n_tty::{Effect, NTty};

use crate::sync::{SpinLock, WaitQueue, rank};
use crate::vfs::fasync::{Band, FasyncList};

/// Output kept while the driver cannot take it, bytes.
const OUTPUT_MAX: usize = 8192;
/// Bytes of a write that are processed at a time; each may become several.
const WRITE_CHUNK: usize = 1024;

/// The device behind a terminal.
pub trait TtyDriver: Send + Sync {
    /// Takes as many bytes as it has room for. When it takes fewer, it calls [`Tty::output_ready`] once there is room.
    fn write(&self, data: &[u8]) -> usize;
    /// Throws away output that it holds.
    fn flush(&self) {}
    /// The line discipline has room again for input that was refused.
    fn input_room(&self) {}
    /// Output was stopped or restarted, or input flushed: for a pty's packet mode, TIOCPKT_* bits.
    fn packet(&self, _bits: u8) {}
    /// The last file of the terminal has been closed, or the first one opened.
    fn opened(&self, _open: bool) {}
}

/// A terminal.
pub struct Tty {
    /// Major and minor number.
    pub dev: (u32, u32),
    /// As in /proc/PID/stat and ttyname: `pts/3`, `console`.
    pub name: String,
    me: Weak<Tty>,
    driver: Box<dyn TtyDriver>,
    inner: SpinLock<Inner>,
    /// Readers wait here.
    read_queue: WaitQueue,
    /// Writers, and who waits for output to drain.
    write_queue: WaitQueue,
    /// Files with O_ASYNC.
    fasync: FasyncList,
}

struct Inner {
    discipline: NTty,
    winsize: Winsize,
    /// Output that the driver has not taken yet.
    output: VecDeque<u8>,
    /// Session whose controlling terminal it is; 0 for none.
    session: i32,
    /// Foreground process group; 0 for none.
    foreground: i32,
    /// TIOCEXCL
    exclusive: bool,
    /// Hung up: reads end, writes fail.
    hung_up: bool,
    /// How often vhangup(2) or TIOCVHANGUP has ended the use of all files that were open then.
    hangups: u64,
    /// No more input will come: reads end when what came is read. Output goes on.
    input_ended: bool,
    /// Open files.
    opens: usize,
}

impl Tty {
    /// A terminal with Linux's settings of a fresh one.
    pub fn new(dev: (u32, u32), name: String, driver: Box<dyn TtyDriver>) -> Arc<Tty> {
        let inner = Inner {
            discipline: NTty::default(),
            winsize: Winsize::default(),
            output: VecDeque::new(),
            session: 0,
            foreground: 0,
            exclusive: false,
            hung_up: false,
            hangups: 0,
            input_ended: false,
            opens: 0,
        };
        Arc::new_cyclic(|me| Tty {
            dev,
            name,
            me: me.clone(),
            driver,
            inner: SpinLock::new(rank::TTY, inner),
            read_queue: WaitQueue::new(),
            write_queue: WaitQueue::new(),
            fasync: FasyncList::new(),
        })
    }

    /// Control modes of a fresh terminal: a pty hangs nothing up at its last close.
    pub fn set_cflag(&self, cflag: u32) {
        self.inner.lock().discipline.termios.c_cflag = cflag;
    }

    /// An Arc of itself; none while it goes away.
    pub fn arc(&self) -> Option<Arc<Tty>> {
        self.me.upgrade()
    }

    /// Input from the device: as many bytes as there is room for.
    pub fn receive(&self, data: &[u8]) -> usize {
        let mut effects = Vec::new();
        let mut echo = Vec::new();
        let mut taken = 0;
        let (foreground, tells) = {
            let mut inner = self.inner.lock();
            if inner.hung_up {
                return data.len();
            }
            let lines = inner.discipline.lines();
            for &byte in data {
                if inner.discipline.room() == 0 {
                    break;
                }
                let seen = effects.len();
                let echoed = echo.len();
                inner.discipline.receive(byte, &mut echo, &mut effects);
                taken += 1;
                if effects[seen..].contains(&Effect::FlushOutput) {
                    // Whatever was on its way goes; the echo of the key itself comes after.
                    inner.output.clear();
                    self.driver.flush();
                    echo.drain(..echoed);
                }
            }
            // Echo has no one to wait for it: what doesn't fit is lost, as in Linux.
            let room = OUTPUT_MAX.saturating_sub(inner.output.len());
            inner.output.extend(echo.iter().take(room));
            let discipline = &inner.discipline;
            let tells =
                if discipline.canonical() { discipline.lines() > lines } else { discipline.available() > 0 };
            (inner.foreground, tells)
        };
        self.push_output();
        self.read_queue.wake_all();
        if tells {
            self.fasync.kill(Band::In);
        }
        for effect in effects {
            match effect {
                Effect::Signal(signal) => jobctl::signal_group(foreground, signal),
                Effect::FlushOutput => {}
                Effect::Stopped(stopped) => {
                    let bits = if stopped { abi::tty::TIOCPKT_STOP } else { abi::tty::TIOCPKT_START };
                    self.driver.packet(bits);
                    self.push_output();
                }
            }
        }
        taken
    }

    /// Bytes of input that would be taken now.
    pub fn input_room(&self) -> usize {
        self.inner.lock().discipline.room()
    }

    /// The driver can take output again.
    pub fn output_ready(&self) {
        self.push_output();
    }

    /// Hands queued output to the driver.
    fn push_output(&self) {
        let mut inner = self.inner.lock();
        let before = inner.output.len();
        while !inner.output.is_empty() && !inner.discipline.stopped() {
            let (front, _) = inner.output.as_slices();
            let taken = self.driver.write(front);
            if taken == 0 {
                break;
            }
            inner.output.drain(..taken);
        }
        let drained = inner.output.len() < before || before == 0;
        drop(inner);
        if drained {
            self.write_queue.wake_all();
        }
    }

    /// Output of a program: takes what there is room for. EAGAIN, EIO after a hang-up.
    fn write(&self, data: &[u8]) -> Result<usize> {
        let mut done = 0;
        while done < data.len() {
            {
                let mut inner = self.inner.lock();
                if inner.hung_up {
                    return Err(EIO);
                }
                if inner.output.len() > OUTPUT_MAX - WRITE_CHUNK {
                    break;
                }
                let chunk = &data[done..(done + WRITE_CHUNK).min(data.len())];
                let mut out = Vec::with_capacity(chunk.len() * 2);
                inner.discipline.write(chunk, &mut out);
                inner.output.extend(out);
                done += chunk.len();
            }
            self.push_output();
        }
        if done == 0 && !data.is_empty() { Err(EAGAIN) } else { Ok(done) }
    }

    /// Whether all output has reached the driver, or there is nobody left to take it.
    fn drained(&self) -> bool {
        let inner = self.inner.lock();
        inner.output.is_empty() || inner.hung_up
    }

    /// Window size.
    pub fn winsize(&self) -> Winsize {
        self.inner.lock().winsize
    }

    /// Sets the window size; a change is told to the foreground group by SIGWINCH.
    pub fn set_winsize(&self, size: Winsize) {
        let foreground = {
            let mut inner = self.inner.lock();
            if inner.winsize == size {
                return;
            }
            inner.winsize = size;
            inner.foreground
        };
        jobctl::signal_group(foreground, SIGWINCH);
    }

    /// Whether background processes may write (`stty -tostop`).
    fn tostop(&self) -> bool {
        self.inner.lock().discipline.termios.c_lflag & TOSTOP != 0
    }

    /// Device number as stat(2) shows it.
    pub fn rdev(&self) -> u64 {
        abi::stat::makedev(self.dev.0, self.dev.1)
    }

    /// Says that no more input will come, as from a pipe at its end.
    pub fn end_input(&self) {
        {
            let mut inner = self.inner.lock();
            inner.input_ended = true;
            inner.discipline.end_input();
        }
        self.read_queue.wake_all();
    }

    /// Ends the use of all its open files, and its session loses it; who opens it anew finds it in order.
    pub fn vhangup(&self) {
        self.end_use(|inner| {
            inner.hangups += 1;
            inner.discipline.flush_input();
            true
        });
    }

    /// Ends all use of the terminal: reads see the end, writes fail, its session loses it.
    pub fn hang_up(&self) {
        self.end_use(|inner| !std::mem::replace(&mut inner.hung_up, true));
    }

    /// Drops what is to be written, and takes the terminal from its session, if `mark` says so.
    fn end_use(&self, mark: impl FnOnce(&mut Inner) -> bool) {
        let (session, foreground) = {
            let mut inner = self.inner.lock();
            if !mark(&mut inner) {
                return;
            }
            inner.output.clear();
            let ids = (inner.session, inner.foreground);
            inner.session = 0;
            inner.foreground = 0;
            ids
        };
        jobctl::hang_up_session(self, session, foreground);
        self.read_queue.wake_all();
        self.write_queue.wake_all();
    }

    /// Makes a hung-up terminal that nobody has open usable again: its other side is there.
    fn revive(&self) {
        let mut inner = self.inner.lock();
        if inner.hung_up && inner.opens == 0 {
            inner.hung_up = false;
            inner.discipline.flush_input();
        }
    }
}

/// Puts host terminals back and writes out what is left, at the end of the machine.
pub fn shutdown() {
    console::shutdown();
}
