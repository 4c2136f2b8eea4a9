//! Commands of terminals, ioctl_tty(2).

use std::sync::Arc;

use abi::Result;
use abi::errno::{EINVAL, EIO, ENOTTY, EPERM};
use abi::ioctl::FIONREAD;
use abi::signal::SIGTTOU;
use abi::tty::*;

use super::n_tty::NTty;
use super::{Tty, jobctl};
use crate::sync::{Sleep, wait_event};
use crate::task::current;
use crate::uaccess::UserPtr;
use crate::vfs::File;

/// When new settings apply.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    Now,
    Drained,
    DrainedAndFlushed,
}

/// ioctl(2) of a terminal, or of a pty's master for its slave.
pub fn tty_ioctl(tty: &Arc<Tty>, _file: &File, cmd: u32, arg: u64) -> Result<u64> {
    if tty.inner.lock().hung_up {
        return Err(if cmd == TIOCSPGRP { ENOTTY } else { EIO });
    }
    match cmd {
        TCGETS => UserPtr::new(arg).write(&settings(tty))?,
        TCGETS2 => UserPtr::new(arg).write(&to_termios2(&settings(tty)))?,
        TCGETA => UserPtr::new(arg).write(&to_termio(&settings(tty)))?,
        TCSETS => set(tty, UserPtr::<Termios>::new(arg).read()?, When::Now)?,
        TCSETSW => set(tty, UserPtr::<Termios>::new(arg).read()?, When::Drained)?,
        TCSETSF => set(tty, UserPtr::<Termios>::new(arg).read()?, When::DrainedAndFlushed)?,
        TCSETS2 => set(tty, from_termios2(&UserPtr::new(arg).read()?), When::Now)?,
        TCSETSW2 => set(tty, from_termios2(&UserPtr::new(arg).read()?), When::Drained)?,
        TCSETSF2 => set(tty, from_termios2(&UserPtr::new(arg).read()?), When::DrainedAndFlushed)?,
        TCSETA => set(tty, from_termio(&settings(tty), &UserPtr::new(arg).read()?), When::Now)?,
        TCSETAW => set(tty, from_termio(&settings(tty), &UserPtr::new(arg).read()?), When::Drained)?,
        TCSETAF => {
            set(tty, from_termio(&settings(tty), &UserPtr::new(arg).read()?), When::DrainedAndFlushed)?
        }
        // A break has no meaning here; what remains is to wait for the output.
        TCSBRK | TCSBRKP => {
            change_allowed(tty)?;
            drain(tty)?;
        }
        TCXONC => flow(tty, arg)?,
        TCFLSH => flush(tty, arg)?,
        TIOCGWINSZ => UserPtr::new(arg).write(&tty.winsize())?,
        TIOCSWINSZ => tty.set_winsize(UserPtr::new(arg).read()?),
        TIOCGPGRP => UserPtr::new(arg).write(&jobctl::foreground(tty)?)?,
        TIOCSPGRP => {
            let pgrp = UserPtr::<i32>::new(arg).read()?;
            change_allowed(tty)?;
            jobctl::set_foreground(tty, pgrp)?;
        }
        TIOCGSID => UserPtr::new(arg).write(&jobctl::session(tty)?)?,
        TIOCSCTTY => jobctl::set_controlling(tty, arg == 1)?,
        TIOCNOTTY => jobctl::give_up(tty)?,
        FIONREAD => UserPtr::new(arg).write(&(tty.inner.lock().discipline.pending() as i32))?,
        TIOCOUTQ => UserPtr::new(arg).write(&(tty.inner.lock().output.len() as i32))?,
        TIOCEXCL => tty.inner.lock().exclusive = true,
        TIOCNXCL => tty.inner.lock().exclusive = false,
        TIOCGEXCL => UserPtr::new(arg).write(&i32::from(tty.inner.lock().exclusive))?,
        TIOCGETD => UserPtr::new(arg).write(&0i32)?,
        TIOCSETD => {
            if UserPtr::<i32>::new(arg).read()? != 0 {
                return Err(EINVAL);
            }
        }
        // A console's keys send UTF-8. getty takes what doesn't answer for a serial line, and waits a second for its
        // modem's noise.
        KDGKBMODE if is_console(tty) => UserPtr::new(arg).write(&(K_UNICODE as i32))?,
        TIOCGDEV => UserPtr::new(arg).write(&(tty.rdev() as u32))?,
        TIOCGSOFTCAR => UserPtr::new(arg).write(&i32::from(settings(tty).c_cflag & CLOCAL != 0))?,
        TIOCVHANGUP => {
            if !current().cred().capable(abi::cred::CAP_SYS_ADMIN) {
                return Err(EPERM);
            }
            tty.vhangup();
        }
        // Faked input is how a program breaks out of its terminal: refused, as with dev.tty.legacy_tiocsti=0.
        TIOCSTI => return Err(EIO),
        _ => return Err(ENOTTY),
    }
    Ok(0)
}

/// Whether it is one of /dev/tty1, tty2 …: what a PC has its virtual consoles at.
fn is_console(tty: &Tty) -> bool {
    tty.dev.0 == 4
}

/// vhangup(2): ends the use of the caller's terminal. EPERM.
pub fn vhangup() -> Result<()> {
    if !current().cred().capable(abi::cred::CAP_SYS_TTY_CONFIG) {
        return Err(EPERM);
    }
    let tty = current().process.link.lock().tty.clone();
    if let Some(tty) = tty {
        tty.vhangup();
    }
    Ok(())
}

fn settings(tty: &Tty) -> Termios {
    tty.inner.lock().discipline.termios
}

/// A background process that changes its terminal is stopped by SIGTTOU.
fn change_allowed(tty: &Arc<Tty>) -> Result<()> {
    jobctl::check_access(tty, SIGTTOU)
}

fn drain(tty: &Tty) -> Result<()> {
    wait_event(&tty.write_queue, Sleep::INTERRUPTIBLE, || tty.drained().then_some(()))
}

fn set(tty: &Arc<Tty>, termios: Termios, when: When) -> Result<()> {
    change_allowed(tty)?;
    if when != When::Now {
        drain(tty)?;
    }
    {
        let mut inner = tty.inner.lock();
        if when == When::DrainedAndFlushed {
            inner.discipline.flush_input();
        }
        let before = packet_flow_bits(&inner.discipline);
        inner.discipline.set_termios(termios);
        let after = packet_flow_bits(&inner.discipline);
        drop(inner);
        if after != before {
            tty.driver.packet(after);
        }
    }
    tty.push_output();
    tty.read_queue.wake_all();
    Ok(())
}

fn flow(tty: &Arc<Tty>, action: u64) -> Result<()> {
    change_allowed(tty)?;
    match action as u32 {
        TCOOFF => tty.inner.lock().discipline.set_stopped(true),
        TCOON => {
            tty.inner.lock().discipline.set_stopped(false);
            tty.push_output();
        }
        // There is no line to send START and STOP over.
        TCIOFF | TCION => {}
        _ => return Err(EINVAL),
    }
    Ok(())
}

fn flush(tty: &Arc<Tty>, queues: u64) -> Result<()> {
    change_allowed(tty)?;
    let (input, output) = match queues as u32 {
        TCIFLUSH => (true, false),
        TCOFLUSH => (false, true),
        TCIOFLUSH => (true, true),
        _ => return Err(EINVAL),
    };
    {
        let mut inner = tty.inner.lock();
        if input {
            inner.discipline.flush_input();
        }
        if output {
            inner.output.clear();
        }
    }
    if input {
        tty.driver.packet(TIOCPKT_FLUSHREAD);
        tty.driver.input_room();
    }
    if output {
        tty.driver.flush();
        tty.driver.packet(TIOCPKT_FLUSHWRITE);
        tty.write_queue.wake_all();
    }
    Ok(())
}

fn to_termios2(t: &Termios) -> Termios2 {
    Termios2 {
        c_iflag: t.c_iflag,
        c_oflag: t.c_oflag,
        c_cflag: t.c_cflag,
        c_lflag: t.c_lflag,
        c_line: t.c_line,
        c_cc: t.c_cc,
        c_ispeed: 38400,
        c_ospeed: 38400,
    }
}

fn from_termios2(t: &Termios2) -> Termios {
    Termios {
        c_iflag: t.c_iflag,
        c_oflag: t.c_oflag,
        c_cflag: t.c_cflag,
        c_lflag: t.c_lflag,
        c_line: t.c_line,
        c_cc: t.c_cc,
    }
}

fn to_termio(t: &Termios) -> Termio {
    let mut old = Termio {
        c_iflag: t.c_iflag as u16,
        c_oflag: t.c_oflag as u16,
        c_cflag: t.c_cflag as u16,
        c_lflag: t.c_lflag as u16,
        c_line: t.c_line,
        ..Default::default()
    };
    old.c_cc.copy_from_slice(&t.c_cc[..8]);
    old
}

/// The old form sets only the low halves.
fn from_termio(now: &Termios, old: &Termio) -> Termios {
    let merge = |now: u32, low: u16| now & 0xffff_0000 | u32::from(low);
    let mut new = Termios {
        c_iflag: merge(now.c_iflag, old.c_iflag),
        c_oflag: merge(now.c_oflag, old.c_oflag),
        c_cflag: merge(now.c_cflag, old.c_cflag),
        c_lflag: merge(now.c_lflag, old.c_lflag),
        c_line: old.c_line,
        c_cc: now.c_cc,
    };
    new.c_cc[..8].copy_from_slice(&old.c_cc);
    new
}

/// Whether a pty's master may do flow control with the usual keys by itself, as packets tell it.
fn packet_flow_bits(discipline: &NTty) -> u8 {
    let t = &discipline.termios;
    let usual = t.c_iflag & IXON != 0 && t.c_cc[VSTOP] == 0o23 && t.c_cc[VSTART] == 0o21;
    if usual { TIOCPKT_DOSTOP } else { TIOCPKT_NOSTOP }
}
