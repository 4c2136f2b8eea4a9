//! Terminals on host descriptors: the machine's consoles. A console may lack its input, which then never arrives, or its
//! output, which is then thrown away.
//!
//! Input is read on the reactor's thread as far as the line discipline has room; output is written without waiting,
//! and goes on from the reactor when the host's end is slow. A host terminal is in raw mode for as long as the machine
//! runs: the guest's line discipline does the work.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use abi::Result;
use abi::errno::EAGAIN;
use abi::tty::Winsize;
use host::reactor::{Interest, Watch, read_now, write_now};
use host::term::RawMode;

use super::{Tty, TtyDriver};
use crate::sync::{SpinLock, rank};

/// A console's host side.
pub struct Console {
    input: Option<Arc<OwnedFd>>,
    output: Option<Arc<OwnedFd>>,
    /// None for a descriptor that is always ready, and for one that isn't there.
    input_watch: OnceLock<Option<Watch>>,
    output_watch: OnceLock<Option<Watch>>,
    tty: OnceLock<Weak<Tty>>,
    /// Read from the host and not yet taken by the line discipline.
    unread: SpinLock<Vec<u8>>,
    /// The host's input has ended.
    ended: AtomicBool,
}

struct Driver(Arc<Console>);

/// Consoles by minor number of their /dev/ttyN; the first is /dev/console.
static CONSOLES: SpinLock<Table> = SpinLock::new(rank::TTY_TABLE, BTreeMap::new());
type Table = BTreeMap<u32, (Arc<Tty>, Arc<Console>)>;
/// Host terminals to put back.
static RAW: SpinLock<Vec<RawMode>> = SpinLock::new(rank::LEAF, Vec::new());

/// /dev/console.
pub fn system_console() -> Option<Arc<Tty>> {
    by_minor(0)
}

/// /dev/ttyN; tty0 is the console.
pub fn by_minor(minor: u32) -> Option<Arc<Tty>> {
    CONSOLES.lock().get(&minor).map(|(tty, _)| tty.clone())
}

/// Puts host terminals back, after what is queued for them has been written.
pub fn shutdown() {
    let consoles = core::mem::take(&mut *CONSOLES.lock());
    // A reader that takes nothing must not keep the machine from ending.
    let deadline = host::clock::monotonic() + 1_000_000_000;
    for (tty, console) in consoles.into_values() {
        let Some(output) = &console.output else { continue };
        while !tty.drained() && host::clock::monotonic() < deadline {
            host::reactor::wait_writable(output, 100);
            tty.output_ready();
        }
    }
    RAW.lock().clear();
}

impl Console {
    /// Makes a console of host descriptors: `minor` is the N of its /dev/ttyN. A host terminal goes to raw mode, and its
    /// window size is the guest's.
    pub fn attach(minor: u32, input: Option<OwnedFd>, output: Option<OwnedFd>) -> Result<Arc<Tty>> {
        let console = Arc::new(Console {
            input: input.map(Arc::new),
            output: output.map(Arc::new),
            input_watch: OnceLock::new(),
            output_watch: OnceLock::new(),
            tty: OnceLock::new(),
            unread: SpinLock::new(rank::TTY_BUFFER, Vec::new()),
            ended: AtomicBool::new(false),
        });
        let (dev, name) =
            if minor == 0 { ((5, 1), "console".to_owned()) } else { ((4, minor), format!("tty{minor}")) };
        let tty = Tty::new(dev, name, Box::new(Driver(console.clone())));
        let _ = console.tty.set(Arc::downgrade(&tty));
        CONSOLES.lock().insert(minor, (tty.clone(), console.clone()));
        if let Some(output) = &console.output {
            follow_winsize(output, &tty);
            let writer = Arc::downgrade(&tty);
            let watch = Watch::new(
                output.clone(),
                Arc::new(move || {
                    if let Some(tty) = writer.upgrade() {
                        tty.output_ready();
                    }
                }),
            );
            let _ = console.output_watch.set(watch.ok());
        }
        if let Some(input) = &console.input {
            if let Some(raw) = RawMode::enter(input)? {
                RAW.lock().push(raw);
            }
            let reader = Arc::downgrade(&console);
            let watch = Watch::new(
                input.clone(),
                Arc::new(move || {
                    if let Some(console) = reader.upgrade() {
                        console.read_input();
                    }
                }),
            );
            let _ = console.input_watch.set(watch.ok());
            console.read_input();
        }
        Ok(tty)
    }

    /// Reads what the host has as far as the guest's terminal takes it.
    fn read_input(&self) {
        let (Some(tty), Some(input)) = (self.tty.get().and_then(Weak::upgrade), &self.input) else { return };
        loop {
            let pending = core::mem::take(&mut *self.unread.lock());
            if !pending.is_empty() {
                let taken = tty.receive(&pending);
                if taken < pending.len() {
                    // Goes on when a reader has made room.
                    self.unread.lock().splice(..0, pending[taken..].iter().copied());
                    return;
                }
            }
            if self.ended.load(Ordering::SeqCst) {
                return;
            }
            let mut buf = [0; 1024];
            match read_now(input, &mut buf) {
                Ok(0) => {
                    self.ended.store(true, Ordering::SeqCst);
                    if host::term::window_size(input).is_some() {
                        // A terminal has no end but this: the line has gone, as when a modem hangs up.
                        tty.hang_up();
                    } else {
                        tty.end_input();
                    }
                    return;
                }
                Ok(n) => self.unread.lock().extend_from_slice(&buf[..n]),
                Err(EAGAIN) => break,
                Err(_) => {
                    self.ended.store(true, Ordering::SeqCst);
                    tty.hang_up();
                    return;
                }
            }
        }
        if let Some(Some(watch)) = self.input_watch.get() {
            // Cannot fail for a descriptor that was added.
            let _ = watch.arm(Interest { read: true, write: false });
        }
    }
}

/// The terminal has the size of the host's window from now on.
fn follow_winsize(output: &Arc<OwnedFd>, tty: &Arc<Tty>) {
    let set = |tty: &Tty, fd: &OwnedFd| {
        if let Some((rows, cols, x, y)) = host::term::window_size(fd) {
            tty.set_winsize(Winsize { ws_row: rows, ws_col: cols, ws_xpixel: x, ws_ypixel: y });
        }
    };
    set(tty, output);
    let (tty, output) = (Arc::downgrade(tty), output.clone());
    host::term::on_window_change(Arc::new(move || {
        if let Some(tty) = tty.upgrade() {
            set(&tty, &output);
        }
    }));
}

impl TtyDriver for Driver {
    fn write(&self, data: &[u8]) -> usize {
        let Some(output) = &self.0.output else { return data.len() };
        match write_now(output, data) {
            Ok(n) if n == data.len() => n,
            Ok(n) => {
                self.wait_for_room();
                n
            }
            Err(EAGAIN) => {
                self.wait_for_room();
                0
            }
            // Nobody looks any more: output goes nowhere, as on a terminal that is switched off.
            Err(_) => data.len(),
        }
    }

    fn input_room(&self) {
        if !self.0.unread.lock().is_empty() {
            self.0.read_input();
        }
    }
}

impl Driver {
    fn wait_for_room(&self) {
        if let Some(Some(watch)) = self.0.output_watch.get() {
            let _ = watch.arm(Interest { read: false, write: true });
        }
    }
}
