//! The magic SysRq keys: /proc/sysrq-trigger, and whoever else sends them (mconsole).

use abi::Result;
use abi::signal::{SI_KERNEL, SIGKILL, SIGTERM, SigInfo};

use crate::boot::{self, Outcome};
use crate::task::pid;
use crate::{pr_info, signal};

/// The keys of one write: the first, or all after an underscore.
pub(super) fn write(data: &[u8]) -> Result<()> {
    match data {
        [b'_', keys @ ..] => keys.iter().for_each(|&k| key(k)),
        [first, ..] => key(*first),
        [] => {}
    }
    Ok(())
}

/// Does what a key says. The log tells of it.
pub fn key(key: u8) {
    match key {
        b'b' => {
            pr_info!("sysrq: Resetting");
            boot::power_off(Outcome::Reboot);
        }
        b'c' => boot::panic("sysrq triggered crash"),
        b'e' => kill_all("Terminate All Tasks", SIGTERM),
        b'i' => kill_all("Kill All Tasks", SIGKILL),
        b'm' => {
            pr_info!("sysrq: Show Memory");
            pr_info!("{}", super::memory::meminfo());
        }
        b'o' => {
            pr_info!("sysrq: Power Off");
            boot::power_off(Outcome::PowerOff);
        }
        b's' => {
            pr_info!("sysrq: Emergency Sync");
            if let Some(task) = crate::task::try_current() {
                crate::vfs::sync_calls::sync_all(&task.fs().ns);
            }
        }
        b't' => {
            pr_info!("sysrq: Show State");
            pr_info!("{}", String::from_utf8_lossy(&super::ruml::tasks()));
        }
        b'0'..=b'9' => {
            crate::printk::set_console_level(key - b'0');
            pr_info!("sysrq: Changing Loglevel: Loglevel set to {}", key - b'0');
        }
        b'\n' => {}
        _ => pr_info!(
            "sysrq: HELP : loglevel(0-9) reboot(b) crash(c) terminate-all-tasks(e) kill-all-tasks(i) \
             show-memory-usage(m) poweroff(o) sync(s) show-task-states(t)"
        ),
    }
}

/// Sends a signal to every process but the first.
fn kill_all(title: &str, sig: u32) {
    pr_info!("sysrq: {title}");
    let all: Vec<_> = pid::tasklist().processes().filter(|p| p.tgid != pid::INIT_PID).cloned().collect();
    for process in all {
        signal::send_process(&process, SigInfo::kill(sig, SI_KERNEL, 0, 0));
    }
}
