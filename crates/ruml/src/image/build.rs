//! [`Build`]: the machine that builds an image, its scratch folder, and what is seen of it.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::Options;

/// A line of the machine's output that names the next step begins so.
const STEP: &str = "ruml-step ";
/// Lines of the tools' output that are shown when one fails.
const TAIL: usize = 20;

/// An image in the making. Its scratch folder goes with it.
pub struct Build {
    /// A folder of the host, beside the image: `/mnt/out` of the machine.
    scratch: PathBuf,
    script: String,
    volumes: Vec<String>,
    /// A folder of the host that the machine gets on its standard input, as an archive.
    packed: Option<PathBuf>,
    mem: u64,
    verbose: bool,
    spinner: ProgressBar,
}

/// Fails with the packages to install if one of these programs is missing.
pub fn need(programs: &[(&str, &str)]) -> Result<(), String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> =
        std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]).collect();
    let missing: Vec<&(&str, &str)> =
        programs.iter().filter(|(name, _)| !folders.iter().any(|f| f.join(name).exists())).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = missing.iter().map(|(name, _)| *name).collect();
    let packages: Vec<&str> = missing.iter().map(|(_, package)| *package).collect();
    Err(format!("{} not found: install {}", names.join(" and "), packages.join(" ")))
}

/// A file's folder and its name in that.
pub fn split(path: &Path) -> Result<(PathBuf, Vec<u8>), String> {
    let path = path.canonicalize().map_err(|e| format!("{}: {e}", path.display()))?;
    match (path.parent(), path.file_name()) {
        (Some(folder), Some(name)) => Ok((folder.to_owned(), name.as_bytes().to_vec())),
        _ => Err(format!("{}: is no file", path.display())),
    }
}

/// A name for the shell.
pub fn quote(name: &[u8]) -> String {
    format!("'{}'", String::from_utf8_lossy(name).replace('\'', "'\\''"))
}

impl Build {
    /// A build with nothing to do yet.
    pub fn new(options: &Options) -> Result<Build, String> {
        let file =
            std::path::absolute(&options.file).map_err(|e| format!("{}: {e}", options.file.display()))?;
        let mut name = std::ffi::OsString::from(".");
        name.push(file.file_name().ok_or_else(|| format!("{}: is no file name", file.display()))?);
        name.push(format!(".{}", std::process::id()));
        let scratch = file.with_file_name(name);
        fs::create_dir(&scratch).map_err(|e| format!("{}: {e}", scratch.display()))?;
        let spinner = ProgressBar::new_spinner();
        let style = ProgressStyle::with_template("{spinner} {prefix} {elapsed}: {wide_msg:.dim}");
        spinner.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        spinner.enable_steady_tick(Duration::from_millis(120));
        let mut build = Build {
            scratch,
            script: "set -e\nexport LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive\n".into(),
            volumes: Vec::new(),
            packed: None,
            mem: options.mem,
            verbose: options.verbose,
            spinner,
        };
        let scratch = build.scratch.clone();
        build.volume(&scratch, "/mnt/out", false)?;
        Ok(build)
    }

    /// A folder for what the host prepares: `/mnt/out/NAME` of the machine.
    pub fn folder(&self, name: &str) -> Result<PathBuf, String> {
        let path = self.scratch.join(name);
        fs::create_dir_all(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(path)
    }

    fn volume(&mut self, host: &Path, guest: &str, read_only: bool) -> Result<(), String> {
        let name = host.to_str().filter(|name| !name.contains(':'));
        let name =
            name.ok_or_else(|| format!("{}: a folder with such a name can't be shown", host.display()))?;
        self.volumes.push(format!("{name}:{guest}{}", if read_only { ":ro" } else { "" }));
        Ok(())
    }

    /// Shows a folder of the host to the machine, read-only.
    pub fn show(&mut self, host: &Path, guest: &str) -> Result<(), String> {
        let host = host.canonicalize().map_err(|e| format!("{}: {e}", host.display()))?;
        self.volume(&host, guest, true)
    }

    /// Gives the machine a folder of the host as a tar archive on its standard input, with what a folder that is shown
    /// does not have: access control lists, capabilities.
    pub fn pack(&mut self, host: &Path) -> Result<(), String> {
        need(&[("tar", "tar")])?;
        self.packed = Some(host.canonicalize().map_err(|e| format!("{}: {e}", host.display()))?);
        Ok(())
    }

    /// The machine will do this next, which the user sees as `title`.
    pub fn step(&mut self, title: &str, command: &str) {
        self.script.push_str(&format!("echo {}\n", quote(format!("{STEP}{title}").as_bytes())));
        self.script(command);
    }

    /// The machine will do this next.
    pub fn script(&mut self, command: &str) {
        self.script.push_str(command);
        self.script.push('\n');
    }

    /// Runs a program of the host now.
    pub fn host(&self, title: &str, command: &mut Command) -> Result<(), String> {
        self.spinner.set_prefix(title.to_owned());
        self.follow(command.stdin(Stdio::null()))
    }

    /// Boots the machine and has everything done.
    pub fn run(&self) -> Result<(), String> {
        fs::write(self.scratch.join("script"), &self.script)
            .map_err(|e| format!("{}: {e}", self.scratch.display()))?;
        let ruml = std::env::current_exe().map_err(|e| format!("this program cannot be found: {e}"))?;
        let mut command = Command::new(ruml);
        command.args(["run", "--no-tty", "--mem", &format!("{}K", self.mem >> 10)]);
        for volume in &self.volumes {
            command.args(["--volume", volume]);
        }
        command.args(["--", "/bin/sh", "/mnt/out/script"]);
        self.spinner.set_prefix("Booting");
        let Some(folder) = &self.packed else { return self.follow(command.stdin(Stdio::null())) };
        let mut tar = Command::new("tar");
        tar.args(["--numeric-owner", "--acls", "--xattrs", "--xattrs-include=*", "--sparse", "-C"])
            .arg(folder);
        let tar = tar.args(["-cf", "-", "."]).stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let mut tar = tar.map_err(|e| format!("tar: {e}"))?;
        let outcome = match tar.stdout.take() {
            Some(archive) => self.follow(command.stdin(archive)),
            None => Err("tar: no pipe".into()),
        };
        // Without the pipe's other end it ends, whatever became of the machine.
        drop(command);
        let status = tar.wait().map_err(|e| format!("tar: {e}"))?;
        outcome?;
        // 1: a file has changed while it was read, of which tar has told.
        if matches!(status.code(), Some(0 | 1)) {
            Ok(())
        } else {
            Err(format!("tar cannot read all of {} ({status})", folder.display()))
        }
    }

    /// Runs a program, shows what it prints as it goes, and its last lines if it fails.
    fn follow(&self, command: &mut Command) -> Result<(), String> {
        let name = command.get_program().to_string_lossy().into_owned();
        let (reader, writer) = std::io::pipe().map_err(|e| format!("no pipe: {e}"))?;
        let copy = writer.try_clone().map_err(|e| format!("no pipe: {e}"))?;
        let child = command.stdout(writer).stderr(copy).spawn();
        // The program's ends of the pipe are in `command`.
        let mut child = child.map_err(|e| format!("{name}: {e}"))?;
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut tail = std::collections::VecDeque::new();
        for line in BufReader::new(reader).split(b'\n') {
            let Ok(line) = line else { break };
            let line = String::from_utf8_lossy(&line);
            let line = line.rsplit('\r').find(|l| !l.is_empty()).unwrap_or("").to_owned();
            if let Some(title) = line.strip_prefix(STEP) {
                self.spinner.set_prefix(title.to_owned());
                self.spinner.set_message("");
                if self.spinner.is_hidden() {
                    eprintln!("{title}…");
                }
                continue;
            }
            if self.verbose {
                self.spinner.suspend(|| eprintln!("{line}"));
            } else {
                self.spinner.set_message(line.clone());
            }
            if tail.len() == TAIL {
                tail.pop_front();
            }
            tail.push_back(line);
        }
        let status = child.wait().map_err(|e| format!("{name}: {e}"))?;
        if status.success() {
            return Ok(());
        }
        if !self.verbose {
            self.spinner.suspend(|| tail.iter().for_each(|line| eprintln!("{line}")));
        }
        Err(format!("'{}' failed ({status}); what it said is above", self.spinner.prefix()))
    }

    /// Puts the image where it belongs.
    pub fn finish(self, file: &Path) -> Result<(), String> {
        let image = self.scratch.join("image");
        let done = File::options()
            .write(true)
            .open(&image)
            .and_then(|mut f| f.flush().and_then(|()| f.sync_all()))
            .and_then(|()| fs::rename(&image, file));
        done.map_err(|e| format!("{}: {e}", file.display()))?;
        self.spinner.finish_and_clear();
        eprintln!("{} is ready. Boot it with", file.display());
        eprintln!("  ruml mem=256M ubd0={} con=null con0=null,fd:2 con1=fd:0,fd:1", file.display());
        Ok(())
    }
}

impl Drop for Build {
    fn drop(&mut self) {
        self.spinner.finish_and_clear();
        if let Err(e) = fs::remove_dir_all(&self.scratch) {
            eprintln!("ruml: {} is left over: {e}", self.scratch.display());
        }
    }
}
