//! How much of the host's memory a program and all that it starts takes.
//!
//! Where the tests may make a memory cgroup (version 1 or 2), that says it exactly, the host kernel's own memory
//! included; page cache, which the host takes back at will, is left out. Elsewhere MemAvailable stands in, which every
//! other program on the machine moves as well.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often to look.
const INTERVAL: Duration = Duration::from_millis(10);

/// A running measurement.
pub struct Meter {
    group: Option<PathBuf>,
    stop: Sender<()>,
    thread: JoinHandle<u64>,
}

impl Meter {
    /// Starts to look. The program is to be started by [`wrap`](Meter::wrap)'s command.
    pub fn start() -> Meter {
        let group = make_group();
        let (stop, stopped) = channel();
        let of = group.clone();
        let thread = std::thread::spawn(move || {
            let before = available();
            let taken = || match &of {
                Some(dir) => charged(dir).unwrap_or(0),
                None => before.saturating_sub(available()),
            };
            let mut most = 0;
            while stopped.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                most = most.max(taken());
            }
            most
        });
        Meter { group, stop, thread }
    }

    /// Whether what it says is exact.
    pub fn is_exact(&self) -> bool {
        self.group.is_some()
    }

    /// `command` as a member of what is measured.
    pub fn wrap(&self, command: Command) -> Command {
        let Some(group) = &self.group else { return command };
        let mut wrapped = Command::new("sh");
        wrapped.args(["-c", "echo $$ > \"$0\" && exec \"$@\""]).arg(group.join("cgroup.procs"));
        wrapped.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => wrapped.env(name, value),
                None => wrapped.env_remove(name),
            };
        }
        if let Some(dir) = command.get_current_dir() {
            wrapped.current_dir(dir);
        }
        wrapped
    }

    /// The most that was taken at a time, bytes.
    pub fn end(self) -> u64 {
        drop(self.stop);
        let most = self.thread.join().unwrap_or(0);
        if let Some(group) = self.group {
            // A member that has just ended may linger.
            for _ in 0..20 {
                if std::fs::remove_dir(&group).is_ok() {
                    break;
                }
                std::thread::sleep(INTERVAL);
            }
        }
        most
    }
}

/// A memory cgroup of our own, if we may have one.
fn make_group() -> Option<PathBuf> {
    let name = format!("ruml-test-{}", std::process::id());
    let tops = ["/sys/fs/cgroup/memory", "/sys/fs/cgroup"];
    tops.iter().find_map(|top| {
        let dir = Path::new(top).join(&name);
        std::fs::create_dir(&dir).ok()?;
        if charged(&dir).is_some() {
            return Some(dir);
        }
        // Without the memory controller; nothing lies in it.
        let _ = std::fs::remove_dir(&dir);
        None
    })
}

/// What a cgroup has been charged with beside page cache, bytes.
fn charged(dir: &Path) -> Option<u64> {
    let read = |name: &str| std::fs::read_to_string(dir.join(name)).ok();
    let usage = read("memory.current").or_else(|| read("memory.usage_in_bytes"))?;
    let stat = read("memory.stat")?;
    let cache: u64 = ["active_file ", "inactive_file "]
        .iter()
        .filter_map(|name| stat.lines().find_map(|line| line.strip_prefix(name)))
        .filter_map(|n| n.parse::<u64>().ok())
        .sum();
    Some(usage.trim().parse::<u64>().ok()?.saturating_sub(cache))
}

/// MemAvailable of the host, bytes.
fn available() -> u64 {
    let info = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = info.lines().find_map(|l| l.strip_prefix("MemAvailable:"));
    line.and_then(|l| l.split_whitespace().next()).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0) * 1024
}
