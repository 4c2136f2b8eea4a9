//! The system as a whole: uname(2), sethostname(2), sysinfo(2), getrandom(2), getcpu(2), reboot(2).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use abi::Result;
use abi::cred::{CAP_SYS_ADMIN, CAP_SYS_BOOT};
use abi::errno::{EFAULT, EINVAL, EPERM};
use abi::prctl::{PER_LINUX32, PER_MASK, UNAME26};
use abi::resource::Sysinfo;
use abi::utsname::*;

use super::{capable, current, pid};
use crate::boot::{self, Outcome};
use crate::sync::{Interruptible, Sleep, SpinLock, WaitQueue, rank, wait_event};
use crate::uaccess::{UserPtr, copy_from_user, copy_to_user, strncpy_from_user};
use crate::{sched, time};

/// The release of Linux that programs are to see.
pub const RELEASE: &str = "6.12.0-ruml";
/// uname(2)'s version.
pub const VERSION: &str = "#1 SMP PREEMPT_DYNAMIC";

/// Host and domain name.
static NAMES: SpinLock<(Vec<u8>, Vec<u8>)> = SpinLock::new(rank::LEAF, (Vec::new(), Vec::new()));

/// The host's name.
pub fn hostname() -> Vec<u8> {
    let name = NAMES.lock().0.clone();
    if name.is_empty() { b"(none)".to_vec() } else { name }
}

/// The NIS domain's name.
pub fn domainname() -> Vec<u8> {
    let name = NAMES.lock().1.clone();
    if name.is_empty() { b"(none)".to_vec() } else { name }
}

/// Sets the host's name, cut at 64 bytes (boot, /proc/sys/kernel/hostname).
pub fn set_hostname(name: &[u8]) {
    NAMES.lock().0 = name[..name.len().min(__NEW_UTS_LEN)].to_vec();
}

/// Sets the NIS domain's name.
pub fn set_domainname(name: &[u8]) {
    NAMES.lock().1 = name[..name.len().min(__NEW_UTS_LEN)].to_vec();
}

/// uname(2)
pub fn uname(buf: UserPtr<Utsname>) -> Result<()> {
    fn field(text: &[u8]) -> [u8; 65] {
        let mut field = [0; 65];
        let len = text.len().min(__NEW_UTS_LEN);
        field[..len].copy_from_slice(&text[..len]);
        field
    }
    let persona = current().personality.load(Ordering::Relaxed);
    let machine = if persona & PER_MASK == PER_LINUX32 { "i686" } else { "x86_64" };
    // Programs that cannot cope with a version beyond 2.6: 6.12 is 2.6.72 to them.
    let release = if persona & UNAME26 != 0 { "2.6.72-ruml" } else { RELEASE };
    buf.write(&Utsname {
        sysname: field(b"Linux"),
        nodename: field(&hostname()),
        release: field(release.as_bytes()),
        version: field(VERSION.as_bytes()),
        machine: field(machine.as_bytes()),
        domainname: field(&domainname()),
    })
}

/// sethostname(2)
pub fn sethostname(name: u64, len: i32) -> Result<()> {
    set_hostname(&read_name(name, len)?);
    Ok(())
}

/// setdomainname(2)
pub fn setdomainname(name: u64, len: i32) -> Result<()> {
    set_domainname(&read_name(name, len)?);
    Ok(())
}

fn read_name(name: u64, len: i32) -> Result<Vec<u8>> {
    if !capable(CAP_SYS_ADMIN) {
        return Err(EPERM);
    }
    let len = usize::try_from(len).ok().filter(|&n| n <= __NEW_UTS_LEN).ok_or(EINVAL)?;
    let mut bytes = vec![0; len];
    copy_from_user(name, &mut bytes)?;
    Ok(bytes)
}

/// sysinfo(2)
pub fn sysinfo(info: UserPtr<Sysinfo>) -> Result<()> {
    let procs = pid::tasklist().threads();
    let memory = crate::mm::meminfo();
    info.write(&Sysinfo {
        // Linux rounds up.
        uptime: time::since_boot().div_ceil(abi::time::NSEC_PER_SEC) as i64,
        loads: sched::loads(),
        totalram: memory.total,
        freeram: memory.free,
        sharedram: memory.shared,
        bufferram: crate::mm::filemap::reclaim::buffers(),
        totalswap: crate::block::swap::total(),
        freeswap: crate::block::swap::total(),
        procs: u16::try_from(procs).unwrap_or(u16::MAX),
        mem_unit: 1,
        ..Sysinfo::default()
    })
}

/// getrandom(2)
pub fn getrandom(buf: u64, len: usize, flags: u32) -> Result<usize> {
    const GRND_NONBLOCK: u32 = 1;
    const GRND_RANDOM: u32 = 2;
    const GRND_INSECURE: u32 = 4;
    let both = GRND_RANDOM | GRND_INSECURE;
    if flags & !(GRND_NONBLOCK | both) != 0 || flags & both == both {
        return Err(EINVAL);
    }
    let task = current();
    let len = len.min(i32::MAX as usize);
    let mut chunk = [0; 1024];
    let mut done = 0;
    while done < len {
        let n = chunk.len().min(len - done);
        host::random::fill(&mut chunk[..n]);
        if copy_to_user(buf.wrapping_add(done as u64), &chunk[..n]).is_err() {
            return if done > 0 { Ok(done) } else { Err(EFAULT) };
        }
        done += n;
        // Up to 256 bytes are never cut short; a long request gives way to a signal.
        if done % (1 << 16) == 0 && task.signal_pending() {
            break;
        }
    }
    Ok(done)
}

/// getcpu(2). The third argument has had no use since 2.6.24.
pub fn getcpu(cpu: UserPtr<u32>, node: UserPtr<u32>, _cache: u64) -> Result<()> {
    let id = sched::current_vcpu().map_or(0, |v| v.id);
    cpu.write_if(&(id as u32))?;
    node.write_if(&0)
}

/// Whether Ctrl-Alt-Del restarts at once, or sends SIGINT to init.
static CTRL_ALT_DEL_RESTARTS: AtomicBool = AtomicBool::new(true);

/// Whether Ctrl-Alt-Del (mconsole's `cad`) restarts the machine itself.
pub fn ctrl_alt_del_restarts() -> bool {
    CTRL_ALT_DEL_RESTARTS.load(Ordering::Relaxed)
}

/// reboot(2)
pub fn reboot(magic: u32, magic2: u32, command: u32, arg: u64) -> Result<()> {
    if !capable(CAP_SYS_BOOT) {
        return Err(EPERM);
    }
    let known = [LINUX_REBOOT_MAGIC2, LINUX_REBOOT_MAGIC2A, LINUX_REBOOT_MAGIC2B, LINUX_REBOOT_MAGIC2C];
    if magic != LINUX_REBOOT_MAGIC1 || !known.contains(&magic2) {
        return Err(EINVAL);
    }
    let outcome = match command {
        LINUX_REBOOT_CMD_CAD_ON | LINUX_REBOOT_CMD_CAD_OFF => {
            CTRL_ALT_DEL_RESTARTS.store(command == LINUX_REBOOT_CMD_CAD_ON, Ordering::Relaxed);
            return Ok(());
        }
        LINUX_REBOOT_CMD_RESTART => {
            crate::pr_emerg!("reboot: Restarting system");
            Outcome::Reboot
        }
        LINUX_REBOOT_CMD_RESTART2 => {
            let how = strncpy_from_user(arg, 256)?;
            crate::pr_emerg!("reboot: Restarting system with command '{}'", how.escape_ascii());
            Outcome::Reboot
        }
        LINUX_REBOOT_CMD_HALT => {
            crate::pr_emerg!("reboot: System halted");
            Outcome::PowerOff
        }
        LINUX_REBOOT_CMD_POWER_OFF => {
            crate::pr_emerg!("reboot: Power down");
            Outcome::PowerOff
        }
        _ => return Err(EINVAL),
    };
    crate::fs::shutdown();
    boot::power_off(outcome);
    // The caller sees no return: its machine ends while it sleeps.
    let sleep = Sleep { interruptible: Interruptible::No, deadline: None };
    wait_event(&WaitQueue::new(), sleep, || None)
}

/// How many bytes of entropy a caller could ask for: /proc/sys/kernel/random/entropy_avail.
pub const ENTROPY_AVAIL: u32 = 256;

/// A fresh boot id: /proc/sys/kernel/random/boot_id.
pub fn boot_id() -> Arc<str> {
    static ID: std::sync::OnceLock<Arc<str>> = std::sync::OnceLock::new();
    ID.get_or_init(|| Arc::from(uuid())).clone()
}

/// A random UUID, version 4: /proc/sys/kernel/random/uuid.
pub fn uuid() -> String {
    let mut b = [0u8; 16];
    host::random::fill(&mut b);
    b[6] = b[6] & 0x0f | 0x40;
    b[8] = b[8] & 0x3f | 0x80;
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    format!("{}-{}-{}-{}-{}", hex(&b[..4]), hex(&b[4..6]), hex(&b[6..8]), hex(&b[8..10]), hex(&b[10..]))
}
