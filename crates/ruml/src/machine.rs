//! What both command lines share: the host's side of a machine.

use std::fs::File;
use std::io::{IsTerminal, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use crate::umid::Umid;
use kernel::boot::{self, Config, Outcome, Stdio};

/// Exit code of an error of ruml itself, as docker and env have it.
pub const EXIT_RUML: u8 = 125;

/// Half of the host's memory: guest memory is only taken as it is used.
pub fn default_memory() -> u64 {
    host::machine::memory().map_or(512 << 20, |memory| memory.total / 2)
}

/// A vCPU for each host core that ruml may use.
pub fn default_ncpus() -> usize {
    host::cpu::usable_cores().max(1)
}

/// A copy of a standard file.
pub fn duplicate(file: impl AsFd) -> Result<OwnedFd, String> {
    file.as_fd().try_clone_to_owned().map_err(|e| format!("cannot duplicate a standard file: {e}"))
}

/// The guest's console or standard files: a terminal if `tty` says so, or if standard input and output are one.
pub fn stdio(tty: Option<bool>) -> Result<Stdio, String> {
    let terminal = tty.unwrap_or(std::io::stdin().is_terminal() && std::io::stdout().is_terminal());
    if terminal {
        return Ok(Stdio::Terminal {
            input: duplicate(std::io::stdin())?,
            output: duplicate(std::io::stdout())?,
            error: (!std::io::stderr().is_terminal()).then(|| duplicate(std::io::stderr())).transpose()?,
        });
    }
    Ok(Stdio::Files([
        duplicate(std::io::stdin())?,
        duplicate(std::io::stdout())?,
        duplicate(std::io::stderr())?,
    ]))
}

/// Reads an initial archive.
pub fn read_initrd(path: &Path) -> Result<Vec<u8>, String> {
    let mut data = Vec::new();
    let mut file = File::open(path).map_err(|e| format!("cannot open initrd {}: {e}", path.display()))?;
    file.read_to_end(&mut data).map_err(|e| format!("cannot read initrd {}: {e}", path.display()))?;
    Ok(data)
}

/// Where what is not the guest's own output goes.
pub struct Messages {
    /// Kernel messages; nowhere without it.
    pub log: Option<OwnedFd>,
    /// Traces; standard error without it.
    pub trace: Option<File>,
}

/// Writes to a file or terminal whose end must not be the guest's end.
fn writer(file: File) -> impl Fn(&str) + Send + Sync {
    let terminal = file.is_terminal();
    move |text| {
        // Nobody is left to tell when it cannot be written. A raw terminal needs the carriage return.
        let _ = if terminal {
            (&file).write_all(text.replace('\n', "\r\n").as_bytes())
        } else {
            (&file).write_all(text.as_bytes())
        };
    }
}

/// Creates the file of `--trace-output`. The guest's programs don't get it.
pub fn trace_file(path: &Path) -> Result<File, String> {
    File::create(path).map_err(|e| format!("cannot create trace output {}: {e}", path.display()))
}

/// Boots and waits for the end. On a reboot the same command line starts anew, and claims its `umid` again.
pub fn boot(config: Config, may_reboot: bool, umid: Option<&Umid>, messages: Messages) -> Result<u8, String> {
    if let Some(log) = messages.log {
        kernel::printk::set_console(Some(Box::new(writer(log.into()))));
    }
    let trace = match messages.trace {
        Some(file) => file,
        None => duplicate(std::io::stderr())?.into(),
    };
    kernel::syscall::trace::set_sink(Some(Box::new(writer(trace))));
    match boot::run(config)? {
        Outcome::Exit(code) => Ok(u8::try_from(code & 0xff).unwrap_or(EXIT_RUML)),
        Outcome::PowerOff => Ok(0),
        Outcome::Reboot if may_reboot => {
            if let Some(umid) = umid {
                umid.release();
            }
            if host::supervise::wants_restart() {
                return Ok(0);
            }
            Err(host::machine::restart())
        }
        Outcome::Reboot => Ok(0),
        Outcome::Panic => Ok(134),
    }
}
