//! The first process.
//!
//! For `ruml run` it is a kernel task that starts the command, reaps whatever the command leaves behind, and ends the
//! machine with the command's status. Otherwise it becomes the guest's init by execve.

use std::sync::Arc;

use abi::Result;
use abi::errno::ENOENT;
use abi::fcntl::OpenFlags;
use abi::resource::Rlimit;

use super::{Config, First, Outcome, Stdio, power, root};
use crate::block::{self, ubd::Ubd};
use crate::sched;
use crate::signal::SigHand;
use crate::task::{self, Cred, Process, Task, TaskParts, current, pid, run::user_task};
use crate::tty::{Tty, console::Console, stdio};
use crate::vfs::{File, FilesStruct, FsStruct, Path};

/// Makes process 1 and lets it boot the rest.
pub(super) fn start(config: Config, disks: Vec<Ubd>) -> core::result::Result<(), String> {
    let fs = root::rootfs().map_err(|e| format!("cannot make the root file system: {e}"))?;
    let init =
        new_process(None, fs, b"swapper").map_err(|e| format!("cannot make the first process: {e}"))?;
    let task = init.clone();
    sched::spawn_kernel_task(&init, move || {
        crate::char::show_devices();
        crate::net::device::init();
        crate::fs::proc::net::register("netlink", crate::net::netlink::proc_table);
        crate::time::rtc::init();
        block::init();
        disks.into_iter().for_each(block::ubd::add);
        if let Err(message) = boot(&task, config) {
            power::panic(&message);
        }
    });
    Ok(())
}

fn boot(init: &Arc<Task>, config: Config) -> core::result::Result<(), String> {
    root::mount_all(&config)?;
    let (files, tty) = standard_files(config.stdio).map_err(|e| format!("cannot open the console: {e}"))?;
    super::lockdown::seal(config.lockdown.as_ref())?;
    match config.first {
        First::Command { argv, env, cwd, uid, gid } => {
            init.set_comm(b"init");
            let command = Command { argv, env, cwd, uid, gid };
            run_command(init, command, files, tty);
            Ok(())
        }
        First::Init { path, argv, env } => {
            become_leader(init, tty.as_ref());
            install(init, &files).map_err(|e| format!("cannot open the console: {e}"))?;
            drop(files);
            exec_init(init, path, &argv, &env)?;
            user_task(init.clone());
            Ok(())
        }
    }
}

struct Command {
    argv: Vec<String>,
    env: Vec<String>,
    cwd: String,
    uid: u32,
    gid: u32,
}

fn run_command(init: &Arc<Task>, command: Command, files: [Arc<File>; 3], tty: Option<Arc<Tty>>) {
    let child = match new_process(Some(init), init.fs().copy(), b"init") {
        Ok(child) => child,
        Err(errno) => return power::panic(&format!("cannot make the command's process: {errno}")),
    };
    let tgid = child.tgid();
    let task = child.clone();
    sched::spawn_kernel_task(&child, move || match start_command(&task, &command, &files, tty.as_ref()) {
        Ok(()) => {
            drop(files);
            user_task(task);
        }
        Err((errno, what)) => {
            // The exit codes of a shell and of env(1): 126 found but not runnable, 127 not found.
            let _ = files[2]
                .write(&mut crate::vfs::IovSource::kernel(format!("ruml: {what}: {errno}\n").as_bytes()));
            drop(files);
            task.process
                .exit_code
                .store(if errno == ENOENT { 127 } else { 126 } << 8, std::sync::atomic::Ordering::SeqCst);
            task::exit::do_exit(&task);
        }
    });
    drop(child);
    loop {
        match task::wait::reap_any() {
            Ok((pid, status)) if pid == tgid => {
                let code = if status & 0x7f == 0 { status >> 8 & 0xff } else { 128 + (status & 0x7f) };
                // Nobody shuts this machine down: what the command has written to disks is kept all the same.
                crate::fs::shutdown();
                crate::vfs::sync_calls::sync_disks(&init.fs().ns);
                return power::power_off(Outcome::Exit(code));
            }
            Ok(_) => {}
            Err(errno) => return power::panic(&format!("init cannot wait: {errno}")),
        }
    }
}

fn start_command(
    task: &Arc<Task>,
    command: &Command,
    files: &[Arc<File>; 3],
    tty: Option<&Arc<Tty>>,
) -> core::result::Result<(), (abi::Errno, String)> {
    become_leader(task, tty);
    install(task, files).map_err(|e| (e, "standard files".to_owned()))?;
    let cwd = lookup(&command.cwd).map_err(|e| (e, command.cwd.clone()))?;
    task.fs().set_cwd(cwd);
    if (command.uid, command.gid) != (0, 0) {
        task.set_cred(Cred::user(command.uid, command.gid));
    }
    let program = find_program(&command.argv[0], &command.env).map_err(|e| (e, command.argv[0].clone()))?;
    exec(task, &program, &command.argv, &command.env).map_err(|e| (e, command.argv[0].clone()))
}

fn lookup(name: &str) -> Result<Path> {
    crate::vfs::namei::path_at(crate::vfs::Fd::CWD, name.as_bytes(), crate::vfs::namei::LookupFlags::FOLLOW)
}

/// The file that a command names: itself with a slash in it, else the first in PATH that can be run.
fn find_program(name: &str, env: &[String]) -> Result<String> {
    if name.contains('/') {
        return Ok(name.to_owned());
    }
    let path =
        env.iter().rev().find_map(|e| e.strip_prefix("PATH=")).unwrap_or("/usr/local/bin:/usr/bin:/bin");
    let mut error = ENOENT;
    for dir in path.split(':') {
        let candidate = format!("{}/{name}", if dir.is_empty() { "." } else { dir });
        match lookup(&candidate).and_then(|p| p.inode()) {
            Ok(inode) if !inode.is_dir() => {
                match crate::vfs::namei::permission(&inode, abi::fcntl::X_OK, &current().cred()) {
                    Ok(()) => return Ok(candidate),
                    Err(errno) => error = errno,
                }
            }
            Ok(_) => {}
            Err(ENOENT | abi::errno::ENOTDIR) => {}
            Err(errno) => error = errno,
        }
    }
    Err(error)
}

fn exec_init(
    init: &Arc<Task>,
    path: Option<String>,
    args: &[String],
    env: &[String],
) -> core::result::Result<(), String> {
    let usual = ["/sbin/init", "/etc/init", "/bin/init", "/bin/sh"];
    let candidates: Vec<&str> = path.as_deref().map_or_else(|| usual.to_vec(), |p| vec![p]);
    let mut full_env = vec!["HOME=/".to_owned(), "TERM=linux".to_owned()];
    full_env.extend_from_slice(env);
    for candidate in &candidates {
        let mut argv = vec![(*candidate).to_owned()];
        argv.extend_from_slice(args);
        match exec(init, candidate, &argv, &full_env) {
            Ok(()) => return Ok(()),
            Err(errno) if path.is_some() => {
                return Err(format!("Requested init {candidate} failed (error {errno})."));
            }
            Err(ENOENT) => {}
            Err(errno) => {
                crate::pr_err!("Starting init: {candidate} exists but couldn't execute it (error {errno})")
            }
        }
    }
    Err("No working init found.  Try passing init= option to kernel.".to_owned())
}

fn exec(task: &Arc<Task>, program: &str, argv: &[String], env: &[String]) -> Result<()> {
    let bytes = |list: &[String]| list.iter().map(|s| s.as_bytes().to_vec()).collect();
    task::exec::kernel_execve(task, program.as_bytes(), bytes(argv), bytes(env))
}

/// Descriptors 0, 1 and 2.
type StandardFiles = [Arc<File>; 3];

/// Opens the console or passes the host's files through.
fn standard_files(stdio: Stdio) -> Result<(StandardFiles, Option<Arc<Tty>>)> {
    match stdio {
        Stdio::Terminal { input, output, error } => {
            let tty = Console::attach(0, Some(input), Some(output))?;
            let file = crate::tty::open_console(&tty)?;
            let error = error.map_or_else(|| Ok(file.clone()), |error| stdio::open(error, false, true))?;
            Ok(([file.clone(), file, error], Some(tty)))
        }
        Stdio::Consoles(channels) => {
            let mut first = None;
            for channel in channels {
                let tty = Console::attach(channel.minor, channel.input, channel.output)?;
                if channel.minor == 0 {
                    first = Some(tty);
                }
            }
            let file = match &first {
                Some(tty) => crate::tty::open_console(tty)?,
                // Linux goes on without an initial console.
                None => crate::vfs::open::filp_open(b"/dev/null", OpenFlags::RDWR, 0)?,
            };
            Ok(([file.clone(), file.clone(), file], first))
        }
        Stdio::Files([input, output, error]) => {
            let input = stdio::open(input, true, false)?;
            let output = stdio::open(output, false, true)?;
            let error = stdio::open(error, false, true)?;
            Ok(([input, output, error], None))
        }
    }
}

fn install(task: &Task, files: &[Arc<File>; 3]) -> Result<()> {
    let table = task.files()?;
    for file in files {
        table.install(file.clone(), false)?;
    }
    Ok(())
}

/// A session of its own, with the console as its controlling terminal.
fn become_leader(task: &Arc<Task>, tty: Option<&Arc<Tty>>) {
    pid::tasklist().set_session(&task.process);
    if let Some(tty) = tty {
        tty.set_controlling(&task.process);
    }
}

/// A process with one thread that has no program yet.
fn new_process(parent: Option<&Arc<Task>>, fs: Arc<FsStruct>, comm: &[u8]) -> Result<Arc<Task>> {
    let tid = pid::tasklist().alloc()?;
    let process = Process::new(tid, Arc::new(SigHand::new()), default_rlimits());
    let task = Task::new(TaskParts {
        files: Some(Arc::new(FilesStruct::default())),
        ..TaskParts::kernel(tid, process.clone(), fs, comm)
    });
    let mut list = pid::tasklist();
    if let Some(parent) = parent {
        let (pgrp, session) = (parent.process.pgrp(), parent.process.session());
        let mut link = process.link.lock();
        (link.pgrp, link.session) = (pgrp, session);
    }
    list.add_process(&task, parent.map(|parent| (&parent.process, parent.tid())));
    Ok(task)
}

/// Linux's limits of its first process, but with room for descriptors as every distribution's init gives.
fn default_rlimits() -> [Rlimit; abi::resource::RLIM_NLIMITS] {
    let mut limits = task::rlimit::initial(pid::PID_MAX as u64 / 2);
    limits[abi::resource::RLIMIT_NOFILE].rlim_max = crate::vfs::NR_OPEN;
    limits
}
