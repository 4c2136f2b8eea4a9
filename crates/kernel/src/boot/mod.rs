//! Bringing the machine up and down.
//!
//! - `cmdline.rs`: kernel parameters.
//! - `accounts.rs`: password files in place of those that the host hides.
//! - `root.rs`: the root file system and what is mounted in it.
//! - `files.rs`: files that the kernel makes itself.
//! - `init.rs`: the first process: the built-in init of `ruml run`, or the guest's own.
//! - `lockdown.rs`: what of the host is given up.
//! - `power.rs`: exit, poweroff, reboot, panic.
//!
//! [`run`] is the whole life of a machine; the caller's thread waits in it.

mod accounts;
mod cmdline;
pub mod files;
mod init;
mod lockdown;
mod power;
mod root;

use std::os::fd::OwnedFd;
use std::path::PathBuf;

pub use cmdline::{Params, parse_size};
pub use power::{Outcome, init_exited, machine_cmdline, memory_size, panic, power_off};

use crate::block::ubd::{self, UbdConfig};
use crate::syscall::CallSet;
use crate::{printk, sched, time};

/// A machine to boot.
pub struct Config {
    /// `mem=`: bytes of guest memory.
    pub mem: u64,
    /// `ncpus=`
    pub ncpus: usize,
    /// Name of the machine.
    pub hostname: String,
    /// What /proc/cmdline shows.
    pub cmdline: String,
    /// `ubdN=`: disks.
    pub disks: Vec<UbdConfig>,
    /// The root file system.
    pub root: Root,
    /// Mounted read-only at first (`ro`).
    pub root_ro: bool,
    /// An initial cpio archive, perhaps compressed.
    pub initrd: Option<Vec<u8>>,
    /// Host folders shown in the guest.
    pub volumes: Vec<Volume>,
    /// `hostfs=FOLDER[,append]`: what of the host the guest itself may mount; nothing without it.
    pub hostfs: Option<String>,
    /// The first program.
    pub first: First,
    /// What the first program's standard files are.
    pub stdio: Stdio,
    /// Messages below this level are shown on standard error.
    pub loglevel: u8,
    /// Trace these syscalls.
    pub trace: Option<CallSet>,
    /// Whether ruml gives up what it doesn't need of the host, and which folders of the host it keeps besides those that
    /// the guest is shown.
    pub lockdown: Option<Lockdown>,
    /// `panic=`: seconds until the reboot after a panic; 0 never reboots, and the machine ends.
    pub panic_timeout: i32,
}

/// What of the host is kept when the machine locks itself in.
#[derive(Clone, Debug, Default)]
pub struct Lockdown {
    /// Folders that ruml itself writes to: of the machine's control files.
    pub write: Vec<PathBuf>,
    /// Internet sockets.
    pub network: bool,
}

/// Where `/` comes from.
pub enum Root {
    /// A copy-on-write view of a host folder: changes stay in memory and are gone at the end.
    HostCow(PathBuf),
    /// A host folder itself.
    Host(PathBuf),
    /// A file system on a disk: `root=`, `rootfstype=`, `rootflags=`.
    Disk {
        /// As `root=` names it.
        device: String,
        /// Types to try, with commas between; without it all that are known.
        fs_type: Option<String>,
        /// Mount options.
        flags: String,
    },
    /// The initial archive stays the root.
    Initramfs,
}

/// A host folder in the guest.
pub struct Volume {
    /// Folder on the host.
    pub host: PathBuf,
    /// Where the guest sees it; made if it isn't there.
    pub guest: String,
    /// Not written to.
    pub read_only: bool,
}

/// The first program.
pub enum First {
    /// A command under the built-in init; its status is the machine's.
    Command {
        /// Program and arguments.
        argv: Vec<String>,
        /// `K=V` each.
        env: Vec<String>,
        /// Working directory.
        cwd: String,
        /// User and group that it runs as.
        uid: u32,
        /// Group.
        gid: u32,
    },
    /// The guest's init.
    Init {
        /// `init=` or `rdinit=`; without it the usual places are tried.
        path: Option<String>,
        /// Further arguments.
        argv: Vec<String>,
        /// `K=V` each, besides HOME and TERM.
        env: Vec<String>,
    },
}

/// The console and the standard files of the first program.
pub enum Stdio {
    /// A terminal: the guest's console and controlling terminal.
    Terminal {
        /// Read from.
        input: OwnedFd,
        /// Written to.
        output: OwnedFd,
        /// Standard error, where that is no terminal.
        error: Option<OwnedFd>,
    },
    /// Terminals by the numbers of their /dev/ttyN, of which 0 is the console and the first program's.
    Consoles(Vec<Channel>),
    /// Three host files passed through as they are.
    Files([OwnedFd; 3]),
}

/// A terminal on host descriptors.
pub struct Channel {
    /// N of /dev/ttyN.
    pub minor: u32,
    /// Read from; without it input never arrives.
    pub input: Option<OwnedFd>,
    /// Written to; without it output is thrown away.
    pub output: Option<OwnedFd>,
}

/// Boots the machine, waits for its end, and ends every process of it.
///
/// # Errors
/// What the host lacks, in words for the user; errors of the guest are outcomes.
pub fn run(mut config: Config) -> Result<Outcome, String> {
    time::since_boot();
    printk::set_console_level(config.loglevel);
    let disks = std::mem::take(&mut config.disks);
    let disks = disks.into_iter().map(ubd::open).collect::<Result<Vec<_>, _>>()?;
    lockdown::enter(&config)?;
    host::machine::init(host::machine::Config { ncpus: config.ncpus, ..Default::default() })?;
    time::init();
    crate::task::sys::set_hostname(config.hostname.as_bytes());
    power::set_machine(config.mem, &config.cmdline, config.panic_timeout);
    if let Some(calls) = &config.trace {
        crate::syscall::set_trace(calls);
    }
    crate::pr_info!("ruml {} on {} vCPUs", env!("CARGO_PKG_VERSION"), config.ncpus);
    crate::pr_info!("Kernel command line: {}", config.cmdline);
    let vcpus = sched::start(config.ncpus);
    root::register_filesystems();
    init::start(config, disks)?;
    let outcome = power::wait();
    sched::stop();
    for vcpu in vcpus {
        // A vCPU that panicked has said so.
        let _ = vcpu.join();
    }
    crate::tty::shutdown();
    host::block::flush_all()?;
    Ok(outcome)
}
