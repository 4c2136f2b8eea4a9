//! Open terminals, and the devices that open them: /dev/tty, /dev/console, /dev/ttyN.

use std::sync::Arc;

use abi::Result;
use abi::errno::{EAGAIN, EBUSY, EIO, ENXIO};
use abi::fcntl::{F_OWNER_PGRP, F_OWNER_PID, OpenFlags};
use abi::signal::{SIGTTIN, SIGTTOU};
use abi::tty::{VMIN, VTIME};

use super::{Tty, console, jobctl, pty};
use crate::sync::{PollTable, Sleep, wait_until};
use crate::task::current;
use crate::vfs::dev::register_chrdev;
use crate::vfs::fasync::FasyncList;
use crate::vfs::{File, FileMode, FileOps, Inode, IovDest, IovSource, PollEvents, anon};

/// Largest piece of a write, bytes.
const CHUNK: usize = 2048;

/// An open terminal.
pub struct TtyFile {
    /// The terminal.
    pub tty: Arc<Tty>,
    /// The terminal's hang-ups when it was opened: a later one ends its use.
    hangups: u64,
}

impl TtyFile {
    /// Counts an opening. EBUSY under TIOCEXCL, EIO for a terminal without its other side.
    pub fn new(tty: Arc<Tty>) -> Result<TtyFile> {
        let (exclusive, hangups) = {
            let mut inner = tty.inner.lock();
            let refused = inner.exclusive && inner.opens > 0;
            if !refused {
                inner.opens += 1;
            }
            (refused, inner.hangups)
        };
        if exclusive && !current().cred().capable(abi::cred::CAP_SYS_ADMIN) {
            return Err(EBUSY);
        }
        if exclusive {
            tty.inner.lock().opens += 1;
        }
        tty.driver.opened(true);
        Ok(TtyFile { tty, hangups })
    }

    fn is_hung_up(&self, inner: &super::Inner) -> bool {
        inner.hung_up || inner.hangups != self.hangups
    }

    /// VMIN and VTIME: bytes that a read waits for, and tenths of a second.
    fn min_time(&self) -> (usize, u64) {
        let inner = self.tty.inner.lock();
        let cc = inner.discipline.termios.c_cc;
        (usize::from(cc[VMIN]), u64::from(cc[VTIME]))
    }

    /// Takes input that a read of `max` bytes may return now. EAGAIN.
    fn take(&self, max: usize, min: usize) -> Result<Vec<u8>> {
        let data = {
            let mut inner = self.tty.inner.lock();
            if self.is_hung_up(&inner) {
                return Ok(Vec::new());
            }
            let ready = if inner.discipline.canonical() {
                inner.discipline.has_line()
            } else {
                inner.discipline.available() >= min.min(max)
            };
            if !ready && !inner.input_ended {
                return Err(EAGAIN);
            }
            inner.discipline.read(max)
        };
        self.tty.driver.input_room();
        Ok(data)
    }

    /// Raw input with a timer: VTIME alone bounds the whole read, with VMIN the gap between bytes.
    fn read_timed(&self, max: usize, min: usize, tenths: u64) -> Result<Vec<u8>> {
        let period = tenths * 100_000_000;
        let mut data = Vec::new();
        loop {
            let wanted = min.max(1).min(max);
            if data.len() >= wanted {
                return Ok(data);
            }
            let deadline = (min == 0 || !data.is_empty()).then(|| host::clock::monotonic() + period);
            let more = wait_until(Sleep::until(deadline), |table| {
                table.register(&self.tty.read_queue);
                match self.take(max - data.len(), 1) {
                    Err(EAGAIN) => None,
                    outcome => Some(outcome),
                }
            });
            match more {
                Ok(piece) => {
                    let piece = piece?;
                    if piece.is_empty() {
                        return Ok(data);
                    }
                    data.extend(piece);
                }
                Err(abi::errno::ETIMEDOUT) => return Ok(data),
                Err(_) if !data.is_empty() => return Ok(data),
                Err(errno) => return Err(errno),
            }
        }
    }
}

impl FileOps for TtyFile {
    fn is_stream(&self) -> bool {
        true
    }

    fn read(&self, file: &File, dest: &mut IovDest<'_>, _: &mut u64) -> Result<usize> {
        jobctl::check_access(&self.tty, SIGTTIN)?;
        if dest.remaining() == 0 {
            return Ok(0);
        }
        let max = dest.remaining().min(super::n_tty::BUFFER);
        let (min, tenths) = self.min_time();
        let canonical = self.tty.inner.lock().discipline.canonical();
        let data = match (canonical, min, tenths) {
            (true, ..) => self.take(max, 1)?,
            (false, 0, 0) => match self.take(max, 1) {
                Err(EAGAIN) => Vec::new(),
                outcome => outcome?,
            },
            (false, min, 0) => self.take(max, min)?,
            (false, ..) if file.nonblock() => self.take(max, 1)?,
            (false, min, tenths) => self.read_timed(max, min, tenths)?,
        };
        dest.write(&data)
    }

    fn write(&self, _: &File, src: &mut IovSource<'_>, _: &mut u64) -> Result<usize> {
        if self.tty.tostop() {
            jobctl::check_access(&self.tty, SIGTTOU)?;
        }
        if self.is_hung_up(&self.tty.inner.lock()) {
            return Err(EIO);
        }
        let mut buf = [0; CHUNK];
        let mut done = 0;
        while src.remaining() > 0 {
            let got = src.peek(&mut buf)?;
            match self.tty.write(&buf[..got]) {
                Ok(n) => {
                    src.advance(n);
                    done += n;
                    if n < got {
                        break;
                    }
                }
                Err(errno) if done == 0 => return Err(errno),
                Err(_) => break,
            }
        }
        Ok(done)
    }

    fn fasync(&self, file: &File, on: bool, set: &mut dyn FnMut(&FasyncList)) {
        set(&self.tty.fasync);
        // Its foreground group, or the caller, if nobody was named.
        let (_, foreground) = self.tty.session_and_foreground();
        let task = current();
        let cred = task.cred();
        let mut owner = file.owner_cell().lock();
        if on && owner.id == 0 {
            (owner.kind, owner.id) =
                if foreground != 0 { (F_OWNER_PGRP, foreground) } else { (F_OWNER_PID, task.tgid()) };
            owner.uids = (cred.uid, cred.euid);
        }
    }

    fn poll(&self, _: &File, table: &mut PollTable) -> PollEvents {
        table.register(&self.tty.read_queue);
        table.register(&self.tty.write_queue);
        let (min, tenths) = self.min_time();
        let inner = self.tty.inner.lock();
        if self.is_hung_up(&inner) {
            return PollEvents::READABLE | PollEvents::WRITABLE | PollEvents::HUP | PollEvents::ERR;
        }
        let readable = if inner.discipline.canonical() {
            inner.discipline.has_line()
        } else {
            inner.discipline.available() >= if tenths > 0 { 1 } else { min.max(1) }
        };
        let readable = readable || inner.input_ended;
        let writable = inner.output.len() <= super::OUTPUT_MAX - super::WRITE_CHUNK;
        let mut events = PollEvents::empty();
        events.set(PollEvents::READABLE, readable);
        events.set(PollEvents::WRITABLE, writable);
        events
    }

    fn ioctl(&self, file: &File, cmd: u32, arg: u64) -> Result<u64> {
        if self.is_hung_up(&self.tty.inner.lock()) {
            return Err(if cmd == abi::tty::TIOCSPGRP { abi::errno::ENOTTY } else { EIO });
        }
        super::ioctl::tty_ioctl(&self.tty, file, cmd, arg)
    }

    fn release(&self, _: &File) {
        let last = {
            let mut inner = self.tty.inner.lock();
            inner.opens -= 1;
            if inner.opens == 0 {
                inner.exclusive = false;
            }
            inner.opens == 0
        };
        if last {
            self.tty.driver.opened(false);
        }
    }
}

/// The console as a file without a name in any file system, for the first program.
pub fn open_console(tty: &Arc<Tty>) -> Result<Arc<File>> {
    // Programs look for the terminal's name in /dev: the node is used when it is there.
    if let Ok(file) = crate::vfs::open::filp_open(b"/dev/console", OpenFlags::RDWR, 0) {
        return Ok(file);
    }
    let access = FileMode::READ | FileMode::WRITE | FileMode::STREAM;
    anon::anon_file("console", Box::new(TtyFile::new(tty.clone())?), OpenFlags::RDWR, access)
}

/// Opens terminal `tty`; it becomes the controlling terminal of a session leader that has none, unless O_NOCTTY.
pub(super) fn open(tty: Arc<Tty>, flags: OpenFlags) -> Result<Box<dyn FileOps>> {
    let file = TtyFile::new(tty.clone())?;
    if !flags.contains(OpenFlags::NOCTTY) && flags.readable() {
        jobctl::acquire(&tty);
    }
    Ok(Box::new(file))
}

fn open_controlling(_: &Arc<Inode>, _: OpenFlags) -> Result<Box<dyn FileOps>> {
    let tty = current().process.link.lock().tty.clone().ok_or(ENXIO)?;
    Ok(Box::new(TtyFile::new(tty)?))
}

fn open_system_console(_: &Arc<Inode>, flags: OpenFlags) -> Result<Box<dyn FileOps>> {
    let tty = console::system_console().ok_or(EIO)?;
    // The console never becomes a controlling terminal by being opened.
    open(tty, flags | OpenFlags::NOCTTY)
}

fn open_virtual_terminal(inode: &Arc<Inode>, flags: OpenFlags) -> Result<Box<dyn FileOps>> {
    let minor = abi::stat::minor(inode.getattr()?.rdev);
    open(console::by_minor(minor).ok_or(ENXIO)?, flags)
}

/// Makes the terminal devices known by their numbers.
pub fn register_devices() {
    register_chrdev(5, 0, "/dev/tty", open_controlling);
    register_chrdev(5, 1, "/dev/console", open_system_console);
    register_chrdev(5, 2, "/dev/ptmx", pty::open_ptmx);
    register_chrdev(4, 0..64, "tty", open_virtual_terminal);
    register_chrdev(136, 0..pty::MAX as u32, "pts", pty::open_slave);
}
