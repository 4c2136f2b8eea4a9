//! `ruml PARAMETERS…`: boots as User-Mode Linux does, with the kernel's own command line.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use kernel::boot::{Channel, Config, First, Lockdown, Params, Root, Stdio};

use crate::umid::Umid;
use crate::{console, machine};

/// Boots a machine and answers its exit code.
pub fn main(args: Vec<OsString>) -> Result<u8, String> {
    let words: Vec<String> = args
        .into_iter()
        .map(|a| a.into_string().map_err(|a| format!("{}: not UTF-8", a.to_string_lossy())))
        .collect::<Result<_, _>>()?;
    let params =
        Params::parse(words.iter().map(String::as_str)).map_err(|e| format!("{e}\nTry 'ruml --help'."))?;
    let may_reboot = !params.noreboot;
    if may_reboot && !params.no_lockdown {
        host::supervise::supervise()?;
    }
    tell_missing_devices(&params.unsupported);
    let umid = Umid::claim(params.umid.as_deref(), params.uml_dir.as_deref())?;
    let channels = console::channels(&params.consoles)?;
    // Kernel messages are the console's, and nobody's if it has no output.
    let console =
        channels.iter().find(|channel| channel.minor == 0).and_then(|channel| channel.output.as_ref());
    let log = console.map(machine::duplicate).transpose()?;
    let mut config = config(params, channels, words.join(" "))?;
    if let Some(lockdown) = &mut config.lockdown {
        lockdown.write.extend(umid.dir().parent().map(Path::to_owned));
    }
    let outcome = machine::boot(config, may_reboot, Some(&umid), machine::Messages { log, trace: None });
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

fn config(mut params: Params, channels: Vec<Channel>, cmdline: String) -> Result<Config, String> {
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
        stdio: Stdio::Consoles(channels),
        loglevel: params.loglevel.unwrap_or(7),
        trace: params.trace,
        lockdown: (!params.no_lockdown).then(Lockdown::default),
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
