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
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = meminfo
        .lines()
        .find_map(|l| l.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    total.map_or(512 << 20, |kib| (kib << 10) / 2)
}

/// A vCPU for each host core that ruml may use.
pub fn default_ncpus() -> usize {
    host::cpu::usable_cores().max(1)
}

/// A copy of a standard file.
fn duplicate(file: impl AsFd) -> Result<OwnedFd, String> {
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

/// Shows kernel messages, and traces without a file of their own, on standard error.
fn log_to_stderr(trace_output: Option<File>) {
    fn write(line: &str) {
        let mut stderr = std::io::stderr().lock();
        // Nobody is left to tell when standard error is gone. A raw terminal needs the carriage return.
        let _ = if stderr.is_terminal() {
            stderr.write_all(line.replace('\n', "\r\n").as_bytes())
        } else {
            stderr.write_all(line.as_bytes())
        };
    }
    kernel::printk::set_console(Some(Box::new(write)));
    kernel::syscall::trace::set_sink(Some(match trace_output {
        // A full disk must not end the guest.
        Some(mut file) => Box::new(move |text| drop(file.write_all(text.as_bytes()))),
        None => Box::new(write),
    }));
}

/// Creates the file of `--trace-output`. The guest's programs don't get it.
pub fn trace_file(path: &Path) -> Result<File, String> {
    File::create(path).map_err(|e| format!("cannot create trace output {}: {e}", path.display()))
}

/// Boots and waits for the end. On a reboot the same command line starts anew, and claims its `umid` again.
pub fn boot(
    config: Config,
    may_reboot: bool,
    umid: Option<&Umid>,
    trace_output: Option<File>,
) -> Result<u8, String> {
    log_to_stderr(trace_output);
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
