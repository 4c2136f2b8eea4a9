//! prctl(2), arch_prctl(2), personality(2).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use abi::Result;
use abi::cred::*;
use abi::errno::{EINVAL, ENODEV, ENXIO, EPERM};
use abi::prctl::*;
use abi::signal::NSIG;
use host::stub::TASK_SIZE;

use super::{CapSet, Cred, Task, capable, current, prctl_mm};
use crate::uaccess::{UserPtr, copy_to_user, strncpy_from_user};

/// prctl(2)
pub fn prctl(option: u32, arg2: u64, arg3: u64, arg4: u64, arg5: u64) -> Result<u64> {
    let task = current();
    let process = &task.process;
    let args = [arg2, arg3, arg4, arg5];
    // Options that insist on zeros where they have no argument.
    let zero_from = |first: usize| if args[first..].iter().all(|&a| a == 0) { Ok(()) } else { Err(EINVAL) };
    match option {
        PR_SET_NAME => {
            let name = strncpy_from_user(arg2, TASK_COMM_LEN - 1);
            let name = match name {
                Err(abi::errno::ENAMETOOLONG) => {
                    let mut cut = vec![0; TASK_COMM_LEN - 1];
                    crate::uaccess::copy_from_user(arg2, &mut cut)?;
                    cut
                }
                other => other?,
            };
            task.set_comm(&name);
        }
        PR_GET_NAME => {
            let mut name = task.comm();
            name.resize(TASK_COMM_LEN, 0);
            copy_to_user(arg2, &name)?;
        }
        PR_SET_PDEATHSIG => {
            if arg2 > u64::from(NSIG) {
                return Err(EINVAL);
            }
            task.pdeath_signal.store(arg2 as i32, Ordering::Relaxed);
        }
        PR_GET_PDEATHSIG => {
            UserPtr::<i32>::new(arg2).write(&task.pdeath_signal.load(Ordering::Relaxed))?;
        }
        PR_SET_DUMPABLE => {
            if arg2 != u64::from(SUID_DUMP_DISABLE) && arg2 != u64::from(SUID_DUMP_USER) {
                return Err(EINVAL);
            }
            process.dumpable.store(arg2 as i32, Ordering::Relaxed);
        }
        PR_GET_DUMPABLE => return Ok(process.dumpable.load(Ordering::Relaxed) as u64),
        PR_SET_CHILD_SUBREAPER => process.child_subreaper.store(arg2 != 0, Ordering::Relaxed),
        PR_GET_CHILD_SUBREAPER => {
            let set = process.child_subreaper.load(Ordering::Relaxed);
            UserPtr::<i32>::new(arg2).write(&i32::from(set))?;
        }
        PR_SET_NO_NEW_PRIVS => {
            zero_from(1)?;
            if arg2 != 1 {
                return Err(EINVAL);
            }
            task.no_new_privs.store(true, Ordering::Relaxed);
        }
        PR_GET_NO_NEW_PRIVS => {
            zero_from(0)?;
            return Ok(u64::from(task.no_new_privs.load(Ordering::Relaxed)));
        }
        PR_SET_TIMERSLACK => {
            // Zero and negative numbers bring the default back.
            let slack = if arg2 as i64 <= 0 { DEFAULT_SLACK } else { arg2 };
            task.timer_slack.store(slack, Ordering::Relaxed);
        }
        PR_GET_TIMERSLACK => return Ok(task.timer_slack.load(Ordering::Relaxed)),
        PR_SET_THP_DISABLE => {
            zero_from(1)?;
            process.thp_disable.store(arg2 != 0, Ordering::Relaxed);
        }
        PR_GET_THP_DISABLE => {
            zero_from(0)?;
            return Ok(u64::from(process.thp_disable.load(Ordering::Relaxed)));
        }
        PR_GET_TID_ADDRESS => {
            UserPtr::<u64>::new(arg2).write(&task.clear_child_tid.load(Ordering::Relaxed))?;
        }
        PR_GET_SECCOMP => return Ok(u64::from(task.seccomp.mode())),
        PR_SET_SECCOMP => return super::seccomp::prctl_set(arg2, arg3),
        PR_GET_TIMING => return Ok(u64::from(PR_TIMING_STATISTICAL)),
        PR_SET_TIMING if arg2 == u64::from(PR_TIMING_STATISTICAL) => {}
        PR_GET_TSC => UserPtr::<u32>::new(arg2).write(&PR_TSC_ENABLE)?,
        PR_SET_TSC if arg2 == u64::from(PR_TSC_ENABLE) => {}
        PR_MCE_KILL => {
            zero_from(2)?;
            return set_mce_kill(&task, arg2, arg3);
        }
        PR_MCE_KILL_GET => {
            zero_from(0)?;
            return Ok(u64::from(task.mce_kill.load(Ordering::Relaxed)));
        }
        PR_SET_MM => prctl_mm::set_mm(arg2, arg3, [arg4, arg5])?,
        PR_GET_AUXV => return prctl_mm::get_auxv(arg2, arg3, [arg4, arg5]),
        PR_GET_SPECULATION_CTRL | PR_SET_SPECULATION_CTRL => return speculation(option, args),
        _ => return cred_option(&task, option, args),
    }
    Ok(0)
}

const DEFAULT_SLACK: u64 = 50_000;
/// PR_MCE_KILL: what a task has that has set nothing.
pub(super) const MCE_KILL_DEFAULT: u32 = 2;

/// What a memory error does to the task. There are none in this machine; the choice is kept.
fn set_mce_kill(task: &Task, command: u64, policy: u64) -> Result<u64> {
    let policy = match (command, policy) {
        (0, 0) => MCE_KILL_DEFAULT,
        (1, 0..=2) => policy as u32,
        _ => return Err(EINVAL),
    };
    task.mce_kill.store(policy, Ordering::Relaxed);
    Ok(0)
}

/// The processor's mitigations are the host's; nothing can be chosen here.
fn speculation(option: u32, args: [u64; 4]) -> Result<u64> {
    let first_unused = if option == PR_GET_SPECULATION_CTRL { 1 } else { 2 };
    if args[first_unused..].iter().any(|&a| a != 0) {
        return Err(EINVAL);
    }
    if args[0] > u64::from(PR_SPEC_L1D_FLUSH) {
        return Err(ENODEV);
    }
    if option == PR_GET_SPECULATION_CTRL { Ok(u64::from(PR_SPEC_NOT_AFFECTED)) } else { Err(ENXIO) }
}

/// Options that look at or change credentials.
fn cred_option(task: &Task, option: u32, args: [u64; 4]) -> Result<u64> {
    let old = task.cred();
    let cap = |word: u64| u32::try_from(word).ok().filter(|&c| c <= CAP_LAST_CAP).ok_or(EINVAL);
    let new = match option {
        PR_GET_KEEPCAPS => return Ok(u64::from(old.securebits & SECBIT_KEEP_CAPS != 0)),
        PR_GET_SECUREBITS => return Ok(u64::from(old.securebits)),
        PR_CAPBSET_READ => return Ok(u64::from(old.bounding.has(cap(args[0])?))),
        PR_SET_KEEPCAPS => {
            if args[0] > 1 {
                return Err(EINVAL);
            }
            if old.securebits & SECBIT_KEEP_CAPS_LOCKED != 0 {
                return Err(EPERM);
            }
            let keep = if args[0] != 0 { SECBIT_KEEP_CAPS } else { 0 };
            Cred { securebits: old.securebits & !SECBIT_KEEP_CAPS | keep, ..(*old).clone() }
        }
        PR_SET_SECUREBITS => Cred { securebits: new_securebits(&old, args[0])?, ..(*old).clone() },
        PR_CAPBSET_DROP => {
            if !capable(CAP_SETPCAP) {
                return Err(EPERM);
            }
            Cred { bounding: old.bounding.without(cap(args[0])?), ..(*old).clone() }
        }
        PR_CAP_AMBIENT => {
            if args[2..].iter().any(|&a| a != 0) {
                return Err(EINVAL);
            }
            match ambient(&old, args[0], args[1])? {
                Ambient::Answer(value) => return Ok(value),
                Ambient::Set(ambient) => Cred { ambient, ..(*old).clone() },
            }
        }
        _ => return Err(EINVAL),
    };
    task.set_cred(new);
    Ok(0)
}

fn new_securebits(old: &Cred, bits: u64) -> Result<u32> {
    const BITS: u32 = SECBIT_NOROOT | SECBIT_NO_SETUID_FIXUP | SECBIT_KEEP_CAPS | SECBIT_NO_CAP_AMBIENT_RAISE;
    let new = bits as u32;
    let locked = old.securebits & BITS << 1;
    if (locked >> 1) & (old.securebits ^ new) != 0
        || locked & !new != 0
        || bits & !u64::from(BITS | BITS << 1) != 0
        || !old.capable(CAP_SETPCAP)
    {
        return Err(EPERM);
    }
    Ok(new)
}

enum Ambient {
    Answer(u64),
    Set(CapSet),
}

fn ambient(old: &Cred, command: u64, cap: u64) -> Result<Ambient> {
    let command = u32::try_from(command).map_err(|_| EINVAL)?;
    if command == PR_CAP_AMBIENT_CLEAR_ALL {
        return if cap == 0 { Ok(Ambient::Set(CapSet::EMPTY)) } else { Err(EINVAL) };
    }
    let cap = u32::try_from(cap).ok().filter(|&c| c <= CAP_LAST_CAP).ok_or(EINVAL)?;
    match command {
        PR_CAP_AMBIENT_IS_SET => Ok(Ambient::Answer(u64::from(old.ambient.has(cap)))),
        PR_CAP_AMBIENT_LOWER => Ok(Ambient::Set(old.ambient.without(cap))),
        PR_CAP_AMBIENT_RAISE => {
            let may = old.permitted.has(cap)
                && old.inheritable.has(cap)
                && old.securebits & SECBIT_NO_CAP_AMBIENT_RAISE == 0;
            if may { Ok(Ambient::Set(old.ambient.with(cap))) } else { Err(EPERM) }
        }
        _ => Err(EINVAL),
    }
}

/// arch_prctl(2)
pub fn arch_prctl(code: u32, addr: u64) -> Result<u64> {
    let task: Arc<Task> = current();
    let settable = || if addr < TASK_SIZE { Ok(()) } else { Err(EPERM) };
    match code {
        ARCH_SET_FS => {
            settable()?;
            task.with_regs(|r| r.fs_base = addr)?;
        }
        ARCH_SET_GS => {
            settable()?;
            task.with_regs(|r| r.gs_base = addr)?;
        }
        ARCH_GET_FS => UserPtr::<u64>::new(addr).write(&task.with_regs(|r| r.fs_base)?)?,
        ARCH_GET_GS => UserPtr::<u64>::new(addr).write(&task.with_regs(|r| r.gs_base)?)?,
        // The instruction works, and cannot be made to fault.
        ARCH_GET_CPUID => return Ok(1),
        ARCH_SET_CPUID => return Err(ENODEV),
        _ => return Err(EINVAL),
    }
    Ok(0)
}

/// personality(2)
pub fn personality(persona: u32) -> Result<u32> {
    let task = current();
    let old = task.personality.load(Ordering::Relaxed);
    if persona != PERSONALITY_QUERY {
        task.personality.store(persona, Ordering::Relaxed);
    }
    Ok(old)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn securebits_stay_locked() {
        let cred = Cred { securebits: SECBIT_NOROOT | SECBIT_NOROOT_LOCKED, ..Cred::root() };
        assert_eq!(new_securebits(&cred, u64::from(SECBIT_NOROOT_LOCKED)), Err(EPERM));
        assert_eq!(new_securebits(&cred, u64::from(SECBIT_NOROOT)), Err(EPERM));
        let more = SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_KEEP_CAPS;
        assert_eq!(new_securebits(&cred, u64::from(more)), Ok(more));
        assert_eq!(new_securebits(&Cred::root(), 1 << 20), Err(EPERM));
        assert_eq!(new_securebits(&Cred::user(1, 1), 0), Err(EPERM));
    }

    #[test]
    fn ambient_needs_permitted_and_inheritable() {
        let cred = Cred { permitted: CapSet(2), inheritable: CapSet(2), ..Cred::user(1, 1) };
        let raise = u64::from(PR_CAP_AMBIENT_RAISE);
        assert!(matches!(ambient(&cred, raise, 1), Ok(Ambient::Set(CapSet(2)))));
        assert!(ambient(&cred, raise, 0).is_err());
        assert!(ambient(&cred, raise, 41).is_err());
    }
}
