//! `ruml run`: a command in a virtual machine.

use std::ffi::OsString;
use std::path::PathBuf;

use kernel::block::ubd;
use kernel::boot::{Config, First, Lockdown, Root, Volume, parse_size};
use kernel::syscall::CallSet;
use lexopt::prelude::*;

use crate::{help, machine};

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Boots a machine for the command and answers its exit code.
pub fn main(args: Vec<OsString>) -> Result<u8, String> {
    let Some(options) = Options::parse(args).map_err(|e| format!("{e}\nTry 'ruml run --help'."))? else {
        print!("{}", help::RUN);
        return Ok(0);
    };
    let messages = machine::Messages {
        log: Some(machine::duplicate(std::io::stderr())?),
        trace: options.trace_output.as_deref().map(machine::trace_file).transpose()?,
    };
    machine::boot(options.config()?, false, None, messages)
}

struct Options {
    mem: u64,
    ncpus: usize,
    env: Vec<String>,
    workdir: Option<String>,
    hostname: String,
    volumes: Vec<Volume>,
    disks: ubd::Setup,
    user: (u32, u32),
    tty: Option<bool>,
    root: Root,
    trace: Option<CallSet>,
    trace_output: Option<PathBuf>,
    loglevel: u8,
    lockdown: bool,
    command: Vec<String>,
}

impl Options {
    /// None if help was asked for.
    fn parse(args: Vec<OsString>) -> Result<Option<Options>, lexopt::Error> {
        let mut options = Options {
            mem: machine::default_memory(),
            ncpus: machine::default_ncpus(),
            env: Vec::new(),
            workdir: None,
            hostname: "ruml".to_owned(),
            volumes: Vec::new(),
            disks: ubd::Setup::default(),
            user: (0, 0),
            tty: None,
            root: Root::HostCow(PathBuf::from("/")),
            trace: None,
            trace_output: None,
            // Only a kernel that gives up or an oops is news to the user of a command.
            loglevel: 1,
            lockdown: true,
            command: Vec::new(),
        };
        let mut parser = lexopt::Parser::from_args(args);
        while let Some(arg) = parser.next()? {
            match arg {
                Short('h') | Long("help") => return Ok(None),
                Short('m') | Long("mem") => {
                    let value = parser.value()?.string()?;
                    options.mem =
                        parse_size(&value).ok_or(format!("--mem {value}: not a size (try 512M)"))?;
                }
                Short('c') | Long("ncpus") => options.ncpus = parser.value()?.parse()?,
                Short('e') | Long("env") => {
                    let value = parser.value()?.string()?;
                    // Like docker: a name alone passes the host's value on.
                    let with_value = || std::env::var(&value).ok().map(|v| format!("{value}={v}"));
                    options.env.extend(if value.contains('=') { Some(value) } else { with_value() });
                }
                Short('w') | Long("workdir") => options.workdir = Some(parser.value()?.string()?),
                Long("hostname") => options.hostname = parser.value()?.string()?,
                Short('v') | Long("volume") => options.volumes.push(volume(&parser.value()?.string()?)?),
                Long("disk") => disk(&mut options.disks, &parser.value()?.string()?)?,
                Short('u') | Long("user") => options.user = user(&parser.value()?.string()?)?,
                Short('t') | Long("tty") => options.tty = Some(true),
                Long("no-tty") => options.tty = Some(false),
                Long("root") => options.root = Root::HostCow(PathBuf::from(parser.value()?)),
                Long("no-lockdown") => options.lockdown = false,
                Long("verbose") => options.loglevel = 8,
                Long("trace") => {
                    let calls = parser.optional_value().map(|v| v.string()).transpose()?;
                    options.trace = Some(CallSet::parse(&calls.unwrap_or_default())?);
                }
                Long("trace-output") => {
                    options.trace_output = Some(PathBuf::from(parser.value()?));
                    // A file is wanted: then there is something to go there.
                    options.trace.get_or_insert_default();
                }
                Value(first) => {
                    options.command.push(first.string()?);
                    for word in parser.raw_args()? {
                        options.command.push(word.string()?);
                    }
                }
                _ => return Err(arg.unexpected()),
            }
        }
        if options.ncpus == 0 || options.ncpus > 64 {
            return Err(format!("--ncpus {}: must be 1 to 64", options.ncpus).into());
        }
        Ok(Some(options))
    }

    fn config(self) -> Result<Config, String> {
        let host = |name: &str| std::env::var(name).ok();
        let mut argv = self.command;
        if argv.is_empty() {
            let shell = host("SHELL").filter(|s| std::path::Path::new(s).exists());
            argv.push(shell.unwrap_or_else(|| "/bin/sh".to_owned()));
        }
        let home = if self.user.0 == 0 {
            "/root".to_owned()
        } else {
            host("HOME").unwrap_or_else(|| "/".to_owned())
        };
        let mut env = vec![format!("PATH={PATH}"), format!("HOME={home}")];
        let passed = ["TERM", "COLORTERM", "LANG", "LC_ALL", "LC_CTYPE", "TZ"];
        env.extend(passed.iter().filter_map(|name| host(name).map(|v| format!("{name}={v}"))));
        env.extend(self.env);
        Ok(Config {
            mem: self.mem,
            ncpus: self.ncpus,
            hostname: self.hostname,
            cmdline: format!("mem={}K ncpus={} root=host rootfstype=overlay", self.mem >> 10, self.ncpus),
            root: self.root,
            root_ro: false,
            initrd: None,
            disks: self.disks.finish(),
            volumes: self.volumes,
            hostfs: None,
            first: First::Command {
                argv,
                env,
                cwd: self.workdir.unwrap_or_else(|| "/".to_owned()),
                uid: self.user.0,
                gid: self.user.1,
            },
            stdio: machine::stdio(self.tty)?,
            loglevel: self.loglevel,
            trace: self.trace,
            lockdown: self.lockdown.then(Lockdown::default),
            panic_timeout: 0,
        })
    }
}

/// `HOST:GUEST[:ro]`
fn volume(text: &str) -> Result<Volume, String> {
    let parts: Vec<&str> = text.split(':').collect();
    let (host, guest, read_only) = match parts[..] {
        [host, guest] => (host, guest, false),
        [host, guest, "ro"] => (host, guest, true),
        [host, guest, "rw"] => (host, guest, false),
        _ => return Err(format!("--volume {text}: must be HOST:GUEST[:ro]")),
    };
    if !guest.starts_with('/') {
        return Err(format!("--volume {text}: the guest's folder must be absolute"));
    }
    let host = std::path::absolute(host).map_err(|e| format!("--volume {text}: {e}"))?;
    if !host.is_dir() {
        return Err(format!("--volume {text}: {} is not a folder", host.display()));
    }
    Ok(Volume { host, guest: guest.to_owned(), read_only })
}

/// `FILE[:ro]`, as the next disk.
fn disk(disks: &mut ubd::Setup, text: &str) -> Result<(), String> {
    let (file, read_only) = match text.strip_suffix(":ro") {
        Some(file) => (file, true),
        None => (text.strip_suffix(":rw").unwrap_or(text), false),
    };
    let index = disks.free_index().ok_or(format!("--disk {text}: there are {} at most", ubd::MAX_DEVICES))?;
    if file.is_empty() {
        return Err(format!("--disk {text}: must be FILE[:ro]"));
    }
    disks.devices.push(ubd::UbdConfig { index, file: file.into(), read_only, ..Default::default() });
    Ok(())
}

/// `UID[:GID]`; the group is the user's number if it isn't given.
fn user(text: &str) -> Result<(u32, u32), String> {
    let (uid, gid) = text.split_once(':').unwrap_or((text, text));
    let number = |t: &str| t.parse().map_err(|_| format!("--user {text}: must be UID[:GID], both numbers"));
    Ok((number(uid)?, number(gid)?))
}
