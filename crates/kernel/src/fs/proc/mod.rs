//! proc(5): processes and the state of the machine as files.
//!
//! - `pid.rs` and `pid/`: /proc/PID and /proc/PID/task/TID.
//! - `system.rs`: what the machine does (stat, uptime, cpuinfo…). `memory.rs`: how memory is used.
//! - `devices.rs`: devices, file systems, interrupts. `kmsg.rs`: the log.
//! - `sys.rs` and `sys/`: /proc/sys. `net.rs`, `sysvipc.rs`: tables of sockets and of System V objects.
//! - `ruml.rs`: what only this kernel has. `sysrq.rs`: /proc/sysrq-trigger.
//!
//! Here are the mount, the root directory and the links `self` and `thread-self`.
//!
//! The files stand on `fs/kernfs.rs`. Everything is asked of its owner when a file is read; nothing is kept here.

pub mod devices;
mod kmsg;
mod memory;
pub mod net;
mod pid;
mod ruml;
mod sys;
pub mod sysrq;
mod system;
mod sysvipc;

pub use pid::mount_namespace;

use std::fmt::Write;
use std::sync::{Arc, OnceLock};

use abi::Result;
use abi::errno::{EINVAL, ENOENT};
use abi::stat::{PROC_SUPER_MAGIC, Statfs};

use super::kernfs::{self, Attr, Entry, Node, Tree, dir, link};
use crate::task::{Process, Task, current, pid::tasklist};
use crate::vfs::{File, FileType, FsType, SuperBlock, SuperOps};
use pid::Who;

/// proc
pub static PROC: FsType = FsType { name: "proc", nodev: true, cache_negative: false, mount };

/// Positions of processes in the root directory: behind everything else.
const FIRST_PID_POS: u64 = 256;

fn mount(fs_type: &'static FsType, source: &[u8], _: u32, data: &[u8]) -> Result<Arc<SuperBlock>> {
    parse_options(data)?;
    Ok(kernfs::new_super(fs_type, source, Box::new(Proc), Box::new(Root)))
}

/// Everything is shown to everybody: options that would hide something are refused.
fn parse_options(data: &[u8]) -> Result<()> {
    let text = core::str::from_utf8(data).map_err(|_| EINVAL)?;
    for word in text.split(',').filter(|w| !w.is_empty()) {
        match word.split_once('=') {
            Some(("hidepid", "0" | "off")) => {}
            // The group that hidepid= makes an exception for.
            Some(("gid", gid)) => drop(gid.parse::<u32>().map_err(|_| EINVAL)?),
            _ => return Err(EINVAL),
        }
    }
    Ok(())
}

/// The process that an open directory /proc/PID is about (ESRCH once it is gone), for pidfd_send_signal(2); None for any
/// other file.
pub fn task_of_dir(file: &File) -> Option<Result<Arc<Task>>> {
    kernfs::node_of::<pid::Dir>(file.inode()).filter(|dir| dir.0.whole).map(|dir| dir.0.task())
}

struct Proc;

impl SuperOps for Proc {
    fn statfs(&self, _: &SuperBlock) -> Result<Statfs> {
        Ok(kernfs::statfs(PROC_SUPER_MAGIC))
    }

    fn remount(&self, _: &SuperBlock, _: u32, data: &[u8]) -> Result<()> {
        parse_options(data)
    }
}

/// What is in the root directory besides processes.
fn tree() -> &'static Arc<Tree> {
    static TREE: OnceLock<Arc<Tree>> = OnceLock::new();
    TREE.get_or_init(|| {
        let links = [
            link("self", || Ok(current().tgid().to_string())),
            link("thread-self", || Ok(format!("{}/task/{}", current().tgid(), current().tid()))),
            link("mounts", || Ok("self/mounts")),
            link("net", || Ok("self/net")),
        ];
        let own = links.into_iter().chain([kmsg::file(), sys::tree(), sysvipc::tree(), ruml::tree()]);
        dir("proc", own.chain(system::files()).chain(memory::files()).chain(devices::files()))
    })
}

/// The process whose directory /proc/PID is open.
pub fn process_of(file: &File) -> Option<Arc<Process>> {
    let dir = kernfs::node_of::<pid::Dir>(file.inode())?;
    dir.0.process().ok().filter(|p| dir.0.whole && dir.0.pid == p.tgid)
}

struct Root;

impl Node for Root {
    fn kind(&self) -> FileType {
        FileType::Dir
    }

    fn attr(&self) -> Result<Attr> {
        let processes = tasklist().processes().count();
        let nlink = 2 + tree().subdirs() + processes;
        Ok(Attr { nlink: u32::try_from(nlink).unwrap_or(u32::MAX), ..Attr::root(0o555) })
    }

    fn lookup(&self, name: &[u8]) -> Result<Box<dyn Node>> {
        match pid_of(name) {
            Some(pid) => Ok(Box::new(pid::Dir(Who::find(pid)?))),
            None => Ok(tree().child(name)?.into_node()),
        }
    }

    fn entry_from(&self, from: u64) -> Result<Option<Entry>> {
        if let Some(entry) = tree().entry(from.saturating_sub(2)).filter(|e| e.pos < FIRST_PID_POS) {
            return Ok(Some(entry));
        }
        let first = i32::try_from(from.saturating_sub(FIRST_PID_POS)).unwrap_or(i32::MAX);
        let next = tasklist().next_process(first).map(|p| p.tgid);
        Ok(next.map(|pid| Entry {
            pos: FIRST_PID_POS + pid as u64,
            name: pid.to_string().into_bytes(),
            kind: FileType::Dir,
            ino: None,
        }))
    }
}

/// The number that a directory of processes or descriptors is named by; none for any other name.
fn pid_of(name: &[u8]) -> Option<i32> {
    let plain = name.iter().all(u8::is_ascii_digit) && (name == b"0" || !name.starts_with(b"0"));
    if !plain {
        return None;
    }
    core::str::from_utf8(name).ok()?.parse().ok()
}

/// The same for a directory's lookup. ENOENT.
fn number_or_enoent(name: &[u8]) -> Result<i32> {
    pid_of(name).ok_or(ENOENT)
}

/// A text under construction; bytes may go in between.
#[derive(Default)]
struct Text(Vec<u8>);

impl Text {
    fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Bytes with those in `special` as `\ooo`.
    fn escaped(&mut self, bytes: &[u8], special: &[u8]) {
        for &byte in bytes {
            if special.contains(&byte) {
                let _ = write!(self, "\\{byte:03o}");
            } else {
                self.0.push(byte);
            }
        }
    }
}

impl Write for Text {
    fn write_str(&mut self, s: &str) -> core::fmt::Result {
        self.0.extend_from_slice(s.as_bytes());
        Ok(())
    }
}

/// Adds to a [`Text`] or a string; neither can fail.
macro_rules! put {
    ($out:expr, $($arg:tt)*) => {{
        use std::fmt::Write as _;
        let _ = write!($out, $($arg)*);
    }};
}
use put;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_processes() {
        assert_eq!(pid_of(b"1"), Some(1));
        assert_eq!(pid_of(b"0"), Some(0));
        assert_eq!(pid_of(b"01"), None);
        assert_eq!(pid_of(b"+1"), None);
        assert_eq!(pid_of(b"99999999999"), None);
        assert_eq!(pid_of(b"self"), None);
    }

    #[test]
    fn hiding_is_refused() {
        assert_eq!(parse_options(b"hidepid=0,gid=5"), Ok(()));
        assert_eq!(parse_options(b"hidepid=2"), Err(EINVAL));
    }

    #[test]
    fn blanks_are_escaped() {
        let mut text = Text::default();
        text.escaped(b"a b\\c\xff", b" \\");
        assert_eq!(text.0, b"a\\040b\\134c\xff");
    }
}
