//! The alternate signal stack, sigaltstack(2).

use abi::Result;
use abi::errno::{EINVAL, ENOMEM, EPERM};
use abi::signal::{MINSIGSTKSZ, SS_AUTODISARM, SS_DISABLE, SS_ONSTACK, SigAltStack};

use crate::task::{Task, current};
use crate::uaccess::UserPtr;

/// sigaltstack(2) of a thread.
#[derive(Clone, Copy, Debug, Default)]
pub struct SigAltStackState {
    /// Lowest address.
    pub sp: u64,
    /// Bytes; 0 when disabled.
    pub size: u64,
    /// SS_AUTODISARM and what else the guest gave.
    pub flags: u32,
}

impl SigAltStackState {
    /// Whether `sp` lies on it.
    pub fn holds(&self, sp: u64) -> bool {
        sp > self.sp && sp - self.sp <= self.size
    }

    /// Whether code with this stack pointer runs on it, so that it may neither be entered again nor changed. With
    /// SS_AUTODISARM it is never so: a handler runs without one.
    pub fn in_use(&self, sp: u64) -> bool {
        self.flags & SS_AUTODISARM == 0 && self.holds(sp)
    }

    /// `ss_flags` as user space sees them.
    pub fn status(&self, sp: u64) -> u32 {
        let mode = match () {
            () if self.size == 0 => SS_DISABLE,
            () if self.in_use(sp) => SS_ONSTACK,
            () => 0,
        };
        mode | self.flags & SS_AUTODISARM
    }

    /// Checks what a guest at stack pointer `sp` wants instead. EPERM on the stack, EINVAL, ENOMEM when too small.
    pub fn changed(&self, new: &SigAltStack, sp: u64) -> Result<SigAltStackState> {
        if self.in_use(sp) {
            return Err(EPERM);
        }
        match new.ss_flags & !SS_AUTODISARM {
            SS_DISABLE => Ok(SigAltStackState { sp: 0, size: 0, flags: new.ss_flags }),
            0 | SS_ONSTACK if new.ss_size < MINSIGSTKSZ => Err(ENOMEM),
            0 | SS_ONSTACK => Ok(SigAltStackState { sp: new.ss_sp, size: new.ss_size, flags: new.ss_flags }),
            _ => Err(EINVAL),
        }
    }
}

/// sigaltstack(2)
pub fn sigaltstack(new: UserPtr<SigAltStack>, old: UserPtr<SigAltStack>) -> Result<()> {
    let wanted = if new.is_null() { None } else { Some(new.read()?) };
    let task = current();
    let sp = task.with_regs(|r| r.rsp)?;
    let before = set(&task, wanted.as_ref(), sp)?;
    old.write_if(&SigAltStack {
        ss_sp: before.sp,
        ss_flags: before.status(sp),
        _pad: 0,
        ss_size: before.size,
    })
}

/// Changes the stack of the current task if asked to; the answer is the old one.
pub(super) fn set(task: &Task, wanted: Option<&SigAltStack>, sp: u64) -> Result<SigAltStackState> {
    let mut signal = task.signal.lock();
    let before = signal.altstack;
    if let Some(wanted) = wanted {
        signal.altstack = before.changed(wanted, sp)?;
    }
    Ok(before)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(ss_sp: u64, ss_size: u64, ss_flags: u32) -> SigAltStack {
        SigAltStack { ss_sp, ss_flags, _pad: 0, ss_size }
    }

    #[test]
    fn follows_the_man_page() {
        let off = SigAltStackState::default();
        assert_eq!(off.status(0x1800), SS_DISABLE);
        assert_eq!(off.changed(&wanted(0x1000, 100, 0), 0).unwrap_err(), ENOMEM);
        assert_eq!(off.changed(&wanted(0x1000, 8192, 4), 0).unwrap_err(), EINVAL);
        let on = off.changed(&wanted(0x1000, 0x1000, 0), 0).unwrap();
        assert_eq!(on.status(0x1800), SS_ONSTACK);
        assert_eq!(on.status(0x1000), 0, "the lowest address is below the first push");
        assert_eq!(on.status(0x2000), SS_ONSTACK);
        assert_eq!(on.changed(&wanted(0, 0, SS_DISABLE), 0x1800).unwrap_err(), EPERM);
        assert_eq!(on.changed(&wanted(0, 0, SS_DISABLE), 0x3000).unwrap().status(0), SS_DISABLE);
        let auto = off.changed(&wanted(0x1000, 0x1000, SS_AUTODISARM), 0).unwrap();
        assert_eq!(auto.status(0x1800), SS_AUTODISARM);
    }
}
