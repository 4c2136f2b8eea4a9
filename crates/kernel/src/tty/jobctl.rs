//! Sessions and terminals: controlling terminal, foreground group, background access, hang-up; credentials(7),
//! termios(3).

use std::sync::Arc;

use abi::Result;
use abi::errno::{EINVAL, EIO, ENOTTY, EPERM, ERESTARTSYS, ESRCH};
use abi::signal::{SIGCONT, SIGHUP, SIGTTIN, SigInfo};

use super::Tty;
use crate::signal;
use crate::task::{Process, Task, current, family, pid};

/// Sends a signal of the terminal to a process group; group 0 is nobody.
pub fn signal_group(pgrp: i32, signal: u32) {
    if pgrp > 0 {
        // A group that has gone is nobody to tell.
        let _ = signal::send_group(pgrp, SigInfo::new(signal, abi::signal::SI_KERNEL));
    }
}

/// Whether the current task may read from its terminal (SIGTTIN) or change it (SIGTTOU). A background process is
/// signalled and restarts; one that blocks or ignores the signal, or whose group is orphaned, gets EIO for a read and
/// is let through for a write.
pub fn check_access(tty: &Arc<Tty>, which: u32) -> Result<()> {
    let task = current();
    let (pgrp, own) = {
        let link = task.process.link.lock();
        (link.pgrp, link.tty.as_ref().is_some_and(|t| Arc::ptr_eq(t, tty)))
    };
    let foreground = tty.inner.lock().foreground;
    if !own || foreground == 0 || pgrp == foreground {
        return Ok(());
    }
    if is_ignored_or_blocked(&task, which) {
        return if which == SIGTTIN { Err(EIO) } else { Ok(()) };
    }
    if family::is_orphaned(&pid::tasklist(), pgrp, None) {
        return Err(EIO);
    }
    signal_group(pgrp, which);
    Err(ERESTARTSYS)
}

fn is_ignored_or_blocked(task: &Task, signal: u32) -> bool {
    task.signal.lock().blocked.contains(signal)
        || task.process.sighand().actions.lock()[signal as usize - 1].handler == abi::signal::SIG_IGN
}

/// Makes `tty` the controlling terminal of the current process if it leads a session without one, and the terminal
/// has no session.
pub fn acquire(tty: &Arc<Tty>) {
    let process = current().process.clone();
    let list = pid::tasklist();
    let leads = {
        let link = process.link.lock();
        link.session == process.tgid && link.tty.is_none()
    };
    let free = tty.inner.lock_nested().session == 0;
    drop(list);
    if leads && free {
        tty.set_controlling(&process);
    }
}

impl Tty {
    /// Gives the terminal to the session that `process` leads, with its group in the foreground.
    pub fn set_controlling(self: &Arc<Self>, process: &Arc<Process>) {
        let (session, pgrp) = {
            let mut link = process.link.lock();
            link.tty = Some(self.clone());
            (link.session, link.pgrp)
        };
        let mut inner = self.inner.lock();
        inner.session = session;
        inner.foreground = pgrp;
    }

    /// Session and foreground group; 0 for none.
    pub fn session_and_foreground(&self) -> (i32, i32) {
        let inner = self.inner.lock();
        (inner.session, inner.foreground)
    }
}

/// TIOCSCTTY: EPERM unless the caller leads a session without a terminal; root may steal one with `force`.
pub(super) fn set_controlling(tty: &Arc<Tty>, force: bool) -> Result<()> {
    let process = current().process.clone();
    let (leads, has_tty, session) = {
        let link = process.link.lock();
        let same = link.tty.as_ref().is_some_and(|t| Arc::ptr_eq(t, tty));
        if same && link.session == process.tgid {
            return Ok(());
        }
        (link.session == process.tgid, link.tty.is_some(), link.session)
    };
    if !leads || has_tty {
        return Err(EPERM);
    }
    let owner = tty.inner.lock().session;
    if owner != 0 && owner != session {
        if !force || !current().cred().capable(abi::cred::CAP_SYS_ADMIN) {
            return Err(EPERM);
        }
        take_from_session(tty, owner);
    }
    tty.set_controlling(&process);
    Ok(())
}

/// TIOCNOTTY: gives the terminal up; a session leader's whole session loses it, after SIGHUP and SIGCONT.
pub(super) fn give_up(tty: &Arc<Tty>) -> Result<()> {
    let process = current().process.clone();
    let leads = {
        let mut link = process.link.lock();
        if !link.tty.as_ref().is_some_and(|t| Arc::ptr_eq(t, tty)) {
            return Err(ENOTTY);
        }
        let leads = link.session == process.tgid;
        if !leads {
            link.tty = None;
        }
        leads
    };
    if leads {
        session_leader_exit(&process);
    }
    Ok(())
}

/// A session leader exits or gives its terminal up: the foreground group is told, and nobody has the terminal.
pub fn session_leader_exit(process: &Process) {
    let Some(tty) = process.link.lock().tty.clone() else { return };
    let foreground = {
        let mut inner = tty.inner.lock();
        if inner.session != process.tgid {
            return;
        }
        inner.session = 0;
        core::mem::take(&mut inner.foreground)
    };
    signal_group(foreground, SIGHUP);
    signal_group(foreground, SIGCONT);
    take_from_session(&tty, process.tgid);
}

/// The terminal has hung up: the session's leader and the foreground group get SIGHUP and SIGCONT.
pub(super) fn hang_up_session(tty: &Tty, session: i32, foreground: i32) {
    if session == 0 {
        return;
    }
    let leader = pid::tasklist().process(session);
    if let Some(leader) = leader {
        for signal in [SIGHUP, SIGCONT] {
            signal::send_process(&leader, SigInfo::new(signal, abi::signal::SI_KERNEL));
        }
        if foreground != leader.pgrp() {
            signal_group(foreground, SIGHUP);
            signal_group(foreground, SIGCONT);
        }
    }
    if let Some(tty) = tty.arc() {
        take_from_session(&tty, session);
    }
}

fn take_from_session(tty: &Arc<Tty>, session: i32) {
    let members = pid::tasklist().session(session);
    for process in members {
        let mut link = process.link.lock();
        let old = link.tty.take_if(|t| Arc::ptr_eq(t, tty));
        drop(link);
        drop(old);
    }
}

/// TIOCGPGRP on the caller's own terminal: ENOTTY.
pub(super) fn foreground(tty: &Arc<Tty>) -> Result<i32> {
    require_own(tty)?;
    Ok(tty.inner.lock().foreground)
}

/// TIOCGSID: ENOTTY.
pub(super) fn session(tty: &Arc<Tty>) -> Result<i32> {
    require_own(tty)?;
    match tty.inner.lock().session {
        0 => Err(ENOTTY),
        session => Ok(session),
    }
}

/// TIOCSPGRP: ENOTTY, EINVAL, ESRCH, EPERM for a group of another session.
pub(super) fn set_foreground(tty: &Arc<Tty>, pgrp: i32) -> Result<()> {
    require_own(tty)?;
    let own_session = current().process.session();
    if tty.inner.lock().session != own_session {
        return Err(ENOTTY);
    }
    if pgrp < 0 {
        return Err(EINVAL);
    }
    let members = pid::tasklist().group(pgrp);
    let member = members.first().ok_or(ESRCH)?;
    if member.session() != own_session {
        return Err(EPERM);
    }
    tty.inner.lock().foreground = pgrp;
    Ok(())
}

fn require_own(tty: &Arc<Tty>) -> Result<()> {
    let own = current().process.link.lock().tty.as_ref().is_some_and(|t| Arc::ptr_eq(t, tty));
    if own { Ok(()) } else { Err(ENOTTY) }
}
