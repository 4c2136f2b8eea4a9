//! `ruml PARAMETERS…`: boots as User-Mode Linux does, with the kernel's own command line.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use kernel::boot::{Config, First, Params, Root, Stdio};

use crate::machine;
use crate::umid::Umid;

/// Boots a machine and answers its exit code.
pub fn main(args: Vec<OsString>) -> Result<u8, String> {
    let words: Vec<String> = args
        .into_iter()
        .map(|a| a.into_string().map_err(|a| format!("{}: not UTF-8", a.to_string_lossy())))
        .collect::<Result<_, _>>()?;
    let params =
        Params::parse(words.iter().map(String::as_str)).map_err(|e| format!("{e}\nTry 'ruml --help'."))?;
    let may_reboot = !params.noreboot;
    tell_missing_devices(&params.unsupported);
    let umid = Umid::claim(params.umid.as_deref(), params.uml_dir.as_deref())?;
    let outcome = machine::boot(config(params, words.join(" "))?, may_reboot, Some(&umid), None);
    drop(umid);
    outcome
}

/// A machine without a network is one with its cable pulled.
fn tell_missing_devices(words: &[String]) {
    for word in words {
        eprintln!("ruml: {word}: not in this version, ignored");
    }
}

/// As User-Mode Linux: the first disk is the file `root_fs` where nothing else is said.
const DEFAULT_DISK: &str = "root_fs";

fn config(mut params: Params, cmdline: String) -> Result<Config, String> {
    if needs_default_disk(&params) {
        params.disks.word("ubd0", DEFAULT_DISK)?;
    }
    let initrd = params.initrd.as_deref().map(|p| machine::read_initrd(Path::new(p))).transpose()?;
    let root = root(&params)?;
    let disks = params.disks.finish();
    let in_archive = matches!(root, Root::Initramfs);
    let path =
        if in_archive { Some(params.rdinit.unwrap_or_else(|| "/init".to_owned())) } else { params.init };
    Ok(Config {
        mem: params.mem.unwrap_or_else(machine::default_memory),
        ncpus: params.ncpus.unwrap_or_else(machine::default_ncpus),
        hostname: params.hostname.unwrap_or_else(|| "(none)".to_owned()),
        cmdline,
        disks,
        root,
        root_ro: params.read_only.unwrap_or(false),
        initrd,
        volumes: Vec::new(),
        hostfs: params.hostfs,
        first: First::Init { path, argv: params.init_args, env: params.init_env },
        stdio: console(&params.consoles)?,
        loglevel: params.loglevel.unwrap_or(7),
        trace: params.trace,
        panic_timeout: params.panic.unwrap_or(0),
    })
}

fn root(params: &Params) -> Result<Root, String> {
    let hostfs = params.rootfstype.as_deref() == Some("hostfs");
    match params.root.as_deref() {
        _ if hostfs => {
            let dir =
                params.rootflags.clone().or_else(|| params.hostfs.clone()).unwrap_or_else(|| "/".to_owned());
            Ok(Root::Host(PathBuf::from(dir)))
        }
        None if params.initrd.is_some() => Ok(Root::Initramfs),
        Some(_) if params.initrd.is_some() => Ok(Root::Initramfs),
        None if params.disks.devices.iter().all(|d| d.index != 0) => {
            Err("no root file system: use ubd0=IMAGE, rootfstype=hostfs rootflags=FOLDER, or initrd=FILE"
                .to_owned())
        }
        device => Ok(Root::Disk {
            device: device.unwrap_or("98:0").to_owned(),
            fs_type: params.rootfstype.clone(),
            flags: params.rootflags.clone().unwrap_or_default(),
        }),
    }
}

fn needs_default_disk(params: &Params) -> bool {
    let elsewhere = params.initrd.is_some() || params.rootfstype.as_deref() == Some("hostfs");
    let given = params.disks.devices.iter().any(|d| d.index == 0);
    !elsewhere && !given && Path::new(DEFAULT_DISK).exists()
}

/// Console 0's channel: `fd:IN,fd:OUT`, `fd:N`, `null`; by default standard input and output.
fn console(consoles: &[(Option<u32>, String)]) -> Result<Stdio, String> {
    let of = |number| consoles.iter().rev().find(|(n, _)| *n == number).map(|(_, c)| c.as_str());
    let channel = of(Some(0)).or(of(None)).unwrap_or("fd:0,fd:1");
    let (input, output) = channel.split_once(',').unwrap_or((channel, channel));
    let open = |text: &str, write: bool| match text {
        "null" | "none" | "" => {
            let file = std::fs::OpenOptions::new().read(!write).write(write).open("/dev/null");
            file.map(Into::into).map_err(|e| format!("cannot open /dev/null: {e}"))
        }
        _ => match text.strip_prefix("fd:").and_then(|n| n.parse().ok()) {
            Some(fd) => {
                host::machine::duplicate_fd(fd).map_err(|e| format!("con0={channel}: descriptor {fd}: {e}"))
            }
            None => {
                Err(format!("con0={channel}: {text} is not a channel of this version (fd:N and null are)"))
            }
        },
    };
    Ok(Stdio::Terminal { input: open(input, false)?, output: open(output, true)?, error: None })
}
