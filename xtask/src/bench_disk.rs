//! The bench of disks: `bench/disk.c` on an ext4 image in ruml and in Debian's UML, natively in a folder of the host's own
//! file system and, where root may loop-mount it, on the same kind of image; and the boot of a Debian image to its login
//! prompt.
//!
//! Everything is measured once: the rows are long. Images lie in a folder of the build's, made anew for each column.

use crate::bench::{Figures, measure, show, which};
use crate::place::Place;
use crate::process;
use std::collections::HashMap;
use std::fmt::Write;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A row of the table: the program's subcommand, what it is, whether its time is that of the large file, and what ruml
/// must reach.
type Row = (&'static str, &'static str, bool, &'static [Goal]);

const ROWS: &[Row] = &[
    ("write", "write of a large file and fsync", true, &[Goal::Uml(1.0)]),
    ("read", "read of it, cached", true, &[Goal::Loop(1.3), Goal::Uml(1.0)]),
    ("dread", "read of it, O_DIRECT", true, &[Goal::Uml(1.0)]),
    ("dwrite", "overwrite of it, O_DIRECT, and fsync", true, &[Goal::Uml(1.0)]),
    ("randread1", "4 KiB random read, O_DIRECT, depth 1", false, &[Goal::Uml(5.0)]),
    ("randread32", "the same, 32 threads", false, &[]),
    ("randwrite1", "4 KiB random write, O_DIRECT, depth 1", false, &[Goal::Uml(5.0)]),
    ("randwrite32", "the same, 32 threads", false, &[]),
    ("fsync", "4 KiB append and fsync", false, &[]),
    ("fdatasync", "4 KiB append and fdatasync", false, &[Goal::Host(1.3)]),
    ("untar", "untar of a tree of small files, and sync", false, &[Goal::Loop(1.5), Goal::Uml(5.0)]),
    ("find", "find over it, with sizes", false, &[Goal::Loop(1.5), Goal::Uml(5.0)]),
    ("rmrf", "rm -rf of it", false, &[Goal::Loop(1.5), Goal::Uml(5.0)]),
    ("apt", "apt-get install of 30 local packages", false, &[Goal::Loop(2.0), Goal::Uml(5.0)]),
    ("boot", "boot of the Debian image to its login prompt", false, &[Goal::Nanos(0.5e9)]),
];
const PACKAGES: usize = 30;
/// UML may take long.
const BOOT_LIMIT: Duration = Duration::from_secs(120);

enum Goal {
    /// At most so many times the time of the host's own file system.
    Host(f64),
    /// The same of the loop mount, or of the host's file system where there is none.
    Loop(f64),
    /// At least so many times as fast as UML.
    Uml(f64),
    Nanos(f64),
}

struct Args {
    only: Option<Vec<String>>,
    ruml: Option<String>,
    uml: Option<PathBuf>,
    native_only: bool,
    image: Option<PathBuf>,
    files: u64,
    megs: u64,
}

impl Args {
    fn parse(args: &[String]) -> Result<Self, String> {
        let mut a = Self {
            only: None,
            ruml: None,
            uml: which("linux.uml"),
            native_only: false,
            image: None,
            files: 50_000,
            megs: 1024,
        };
        let mut it = args.iter();
        while let Some(word) = it.next() {
            let mut value = || it.next().cloned().ok_or(format!("{word} needs a value"));
            let number = |text: String| text.parse().map_err(|_| format!("{word} needs a number"));
            match word.as_str() {
                "--only" => a.only = Some(value()?.split(',').map(str::to_string).collect()),
                "--ruml" => a.ruml = Some(value()?),
                "--uml" => a.uml = Some(PathBuf::from(value()?)),
                "--no-uml" => a.uml = None,
                "--native-only" => a.native_only = true,
                "--image" => a.image = Some(absolute(&value()?)?),
                "--files" => a.files = number(value()?)?,
                "--megs" => a.megs = number(value()?)?,
                other => return Err(format!("unknown argument '{other}'")),
            }
        }
        if let Some(bad) = a.only.iter().flatten().find(|name| !ROWS.iter().any(|row| row.0 == **name)) {
            return Err(format!("no bench '{bad}'"));
        }
        if a.megs == 0 || a.files == 0 {
            return Err("--megs and --files are at least 1".to_string());
        }
        Ok(a)
    }

    fn wants(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|o| o.iter().any(|n| n == name))
    }
}

fn absolute(path: &str) -> Result<PathBuf, String> {
    std::path::absolute(path).map_err(|e| format!("{path}: {e}"))
}

/// Where the bench works.
struct Bench {
    args: Args,
    folder: PathBuf,
    program: PathBuf,
    ruml: Option<PathBuf>,
}

/// Runs the task; whether every goal was reached.
pub fn main(args: &[String]) -> Result<bool, String> {
    let args = Args::parse(args)?;
    let place = Place::find(args.ruml.as_deref(), args.native_only, "bench-disk")?;
    // Made anew, and nothing of it stays.
    let folder = place.bin.join("work");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let program = folder.join("disk");
    tool(
        Command::new("gcc")
            .args(["-O2", "-Wall", "-static", "-pthread", "-o"])
            .arg(&program)
            .arg(place.root.join("bench/disk.c")),
    )?;
    let bench = Bench { args, folder, program, ruml: place.ruml };
    if bench.args.wants("untar") {
        tool(
            Command::new(&bench.program).arg("--make-tar").arg(bench.tar()).arg(bench.args.files.to_string()),
        )?;
    }
    let mut columns: Vec<(&str, Figures)> = vec![("host", bench.host()?)];
    match bench.on_loop() {
        Ok(figures) => columns.push(("loop", figures)),
        Err(why) => {
            println!("no loop mount, so the host's own file system is what is compared with: {why}\n")
        }
    }
    if let Some(ruml) = &bench.ruml {
        columns.push(("ruml", bench.in_ruml(ruml)?));
    }
    if let (Some(uml), false) = (&bench.args.uml, bench.args.native_only) {
        columns.push(("UML", bench.in_uml(uml)?));
    }
    let (text, good) = table(&columns, &bench.args);
    println!("{} on {}\n\n{text}", bench.folder.display(), file_system(&bench.folder));
    let _ = std::fs::remove_dir_all(&bench.folder);
    Ok(good)
}

impl Bench {
    fn tar(&self) -> PathBuf {
        self.folder.join("tree.tar")
    }

    /// The names of the program's rows that run on an empty image, or on the Debian one.
    fn rows(&self, debian: bool) -> Vec<&'static str> {
        let mine = |name: &str| if debian { name == "apt" } else { name != "apt" && name != "boot" };
        ROWS.iter().map(|row| row.0).filter(|name| mine(name) && self.args.wants(name)).collect()
    }

    /// A new image, empty or a copy of the Debian one with packages to install, and the rows for it.
    fn images(&self) -> Result<Vec<(PathBuf, Vec<&'static str>)>, String> {
        let mut images = Vec::new();
        if !self.rows(false).is_empty() {
            let image = self.folder.join("image");
            let _ = std::fs::remove_file(&image);
            let megs = self.args.megs * 2 + self.args.files / 40 + 256;
            tool(
                Command::new("mke2fs").args(["-q", "-F", "-t", "ext4"]).arg(&image).arg(format!("{megs}M")),
            )?;
            images.push((image, self.rows(false)));
        }
        if let (Some(debian), false) = (&self.args.image, self.rows(true).is_empty()) {
            let image = self.folder.join("debian");
            tool(Command::new("cp").arg("--sparse=always").arg(debian).arg(&image))?;
            self.add_packages(&image)?;
            images.push((image, self.rows(true)));
        }
        Ok(images)
    }

    /// Packages of 20 files each go to /debs of the image.
    fn add_packages(&self, image: &Path) -> Result<(), String> {
        let written = |path: &Path, text: &str| {
            std::fs::write(path, text).map_err(|e| format!("{}: {e}", path.display()))
        };
        let mut commands = String::from("mkdir debs\n");
        for n in 0..PACKAGES {
            let tree = self.folder.join("package");
            let _ = std::fs::remove_dir_all(&tree);
            let (control, data) = (tree.join("DEBIAN"), tree.join(format!("usr/share/bench{n}")));
            for folder in [&control, &data] {
                std::fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
            }
            let about = format!(
                "Package: bench{n}\nVersion: 1\nArchitecture: all\nMaintainer: nobody <nobody@localhost>\nDescription: files\n"
            );
            written(&control.join("control"), &about)?;
            for file in 0..20 {
                written(&data.join(file.to_string()), &format!("{n} {file}\n").repeat(700))?;
            }
            let package = self.folder.join(format!("bench{n}.deb"));
            tool(Command::new("dpkg-deb").args(["--root-owner-group", "-b"]).arg(&tree).arg(&package))?;
            // Writing to a String cannot fail.
            let _ = writeln!(commands, "write {} debs/bench{n}.deb", package.display());
        }
        let script = self.folder.join("debugfs.cmd");
        written(&script, &commands)?;
        tool(Command::new("debugfs").arg("-w").arg("-f").arg(&script).arg(image))
    }

    /// The program with its arguments; `tar` is where it sees the archive.
    fn arguments(&self, command: &mut Command, tar: &Path, rows: &[&str]) {
        command.arg("--tar").arg(tar).arg("--megs").arg(self.args.megs.to_string()).args(rows);
    }

    fn host(&self) -> Result<Figures, String> {
        let rows = self.rows(false);
        if rows.is_empty() {
            return Ok(HashMap::new());
        }
        let folder = self.folder.join("native");
        std::fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        let mut command = Command::new(&self.program);
        command.arg("--dir").arg(&folder);
        self.arguments(&mut command, &self.tar(), &rows);
        let figures = measure(&mut command);
        let _ = std::fs::remove_dir_all(&folder);
        figures
    }

    fn on_loop(&self) -> Result<Figures, String> {
        let folder = self.folder.join("mounted");
        std::fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        let mut figures = HashMap::new();
        for (image, rows) in self.images()? {
            tool(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&folder))?;
            // What a row mounts goes with its name space.
            let mut command = Command::new("unshare");
            command.arg("-m").arg(&self.program).arg("--dir").arg(&folder);
            self.arguments(&mut command, &self.tar(), &rows);
            let measured = measure(&mut command);
            tool(Command::new("umount").arg(&folder))?;
            figures.extend(measured?);
        }
        Ok(figures)
    }

    fn in_ruml(&self, ruml: &Path) -> Result<Figures, String> {
        let mut figures = HashMap::new();
        for (image, rows) in self.images()? {
            let mut command = Command::new(ruml);
            command.args(["run", "--mem", "2G", "--disk"]).arg(&image);
            command.arg("--volume").arg(format!("{}:/t:ro", self.folder.display()));
            command.args(["--", "/t/disk", "--dev", "98:0"]);
            self.arguments(&mut command, Path::new("/t/tree.tar"), &rows);
            figures.extend(measure(&mut command)?);
        }
        self.boot(ruml, &mut figures)?;
        Ok(figures)
    }

    fn in_uml(&self, uml: &Path) -> Result<Figures, String> {
        let mut figures = HashMap::new();
        for (image, rows) in self.images()? {
            let mut command = Command::new(uml);
            command.args(["mem=2G", "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "rw", "quiet"]);
            command.args(["con0=null,fd:1", "con=null"]).arg(format!("ubd0={}", image.display()));
            command.arg(format!("init={}", self.program.display())).args(["--", "--dev", "98:0"]);
            self.arguments(&mut command, &self.tar(), &rows);
            figures.extend(measure(&mut command)?);
        }
        self.boot(uml, &mut figures)?;
        Ok(figures)
    }

    fn boot(&self, kernel: &Path, figures: &mut Figures) -> Result<(), String> {
        let (Some(debian), true) = (&self.args.image, self.args.wants("boot")) else { return Ok(()) };
        let cow = self.folder.join("cow");
        let mut best = f64::INFINITY;
        for _ in 0..3 {
            let _ = std::fs::remove_file(&cow);
            best = best.min(boot(kernel, &format!("ubd0={},{}", cow.display(), debian.display()))?);
        }
        let _ = std::fs::remove_file(&cow);
        figures.insert("boot".to_string(), best);
        Ok(())
    }
}

/// ns from the start of a kernel to the login prompt.
fn boot(kernel: &Path, disk: &str) -> Result<f64, String> {
    let failed = |e: std::io::Error| format!("{}: {e}", kernel.display());
    let started = Instant::now();
    let mut child = Command::new(kernel)
        .args(["mem=256M", disk, "con=null", "con0=null,fd:2", "con1=fd:0,fd:1", "devfs=nomount"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(failed)?;
    let mut output = child.stdout.take().ok_or("no standard output")?;
    let (sender, prompt) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let (mut seen, mut byte) = (Vec::new(), [0; 256]);
        while let Ok(n @ 1..) = output.read(&mut byte) {
            seen.extend_from_slice(&byte[..n]);
            if seen.windows(7).any(|w| w == b"login: ") {
                // The receiver may have given up.
                let _ = sender.send(started.elapsed());
                break;
            }
        }
    });
    let took = prompt.recv_timeout(BOOT_LIMIT);
    // UML's own processes outlive its first one.
    process::kill_group(child.id());
    child.wait().map_err(failed)?;
    took.map(|t| t.as_nanos() as f64).map_err(|_| format!("{}: no login prompt", kernel.display()))
}

fn table(columns: &[(&str, Figures)], args: &Args) -> (String, bool) {
    let mut text = String::from("| what |");
    for (head, _) in columns {
        // Writing to a String cannot fail.
        let _ = write!(text, " {head} |");
    }
    text.push_str(" goal |\n|---|");
    text.push_str(&"---|".repeat(columns.len() + 1));
    text.push('\n');
    let find = |column: &str, name: &str| {
        columns.iter().find(|c| c.0 == column).and_then(|c| c.1.get(name)).copied()
    };
    let mut good = true;
    for (name, what, whole, goals) in ROWS.iter().filter(|row| args.wants(row.0)) {
        let _ = write!(text, "| {what} |");
        for (head, _) in columns {
            let shown = match find(head, name) {
                None => "–".to_string(),
                Some(ns) if *whole => format!("{:.2} GB/s", (args.megs << 20) as f64 / ns),
                Some(ns) => show(ns),
            };
            let _ = write!(text, " {shown} |");
        }
        let verdicts: Vec<String> = goals
            .iter()
            .map(|goal| {
                let (verdict, reached) = goal.judge(|column| find(column, name));
                good &= reached;
                verdict
            })
            .collect();
        let _ = writeln!(text, " {} |", verdicts.join(", "));
    }
    (text, good)
}

impl Goal {
    /// The goal, with what was reached of it if it could be told.
    fn judge(&self, figure: impl Fn(&str) -> Option<f64>) -> (String, bool) {
        let ruml = figure("ruml");
        let mark = |reached: bool| if reached { "" } else { " **missed**" };
        let times = |most: f64, name: &str, base: Option<f64>| match ruml
            .zip(base)
            .map(|(ruml, base)| ruml / base)
        {
            Some(ratio) => (format!("≤ {most} × {name}: {ratio:.2}{}", mark(ratio <= most)), ratio <= most),
            None => (format!("≤ {most} × {name}"), true),
        };
        match *self {
            Goal::Host(most) => times(most, "host", figure("host")),
            Goal::Loop(most) if figure("loop").is_some() => times(most, "loop", figure("loop")),
            Goal::Loop(most) => times(most, "host", figure("host")),
            Goal::Uml(least) => match ruml.zip(figure("UML")).map(|(ruml, uml)| uml / ruml) {
                Some(factor) => {
                    (format!("≥ {least} × UML: {factor:.1}{}", mark(factor >= least)), factor >= least)
                }
                None => (format!("≥ {least} × UML"), true),
            },
            Goal::Nanos(most) => {
                let reached = ruml.is_none_or(|ruml| ruml <= most);
                (format!("≤ {}{}", show(most), mark(reached)), reached)
            }
        }
    }
}

/// Type of the file system that a path is on.
fn file_system(path: &Path) -> String {
    let done = Command::new("stat").args(["-f", "-c", "%T"]).arg(path).output();
    done.map_or_else(|e| e.to_string(), |o| String::from_utf8_lossy(&o.stdout).trim().to_string())
}

/// Runs a tool that must succeed.
fn tool(command: &mut Command) -> Result<(), String> {
    let done = command.stdin(Stdio::null()).output().map_err(|e| format!("{command:?}: {e}"))?;
    if done.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}\n{}", done.status, String::from_utf8_lossy(&done.stderr).trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_are_judged_by_what_was_measured() {
        let figures = |ruml: f64| {
            move |column: &str| match column {
                "host" => Some(100.0),
                "ruml" => Some(ruml),
                "UML" => Some(1000.0),
                _ => None,
            }
        };
        assert!(Goal::Host(1.3).judge(figures(130.0)).1);
        assert!(!Goal::Host(1.3).judge(figures(131.0)).1);
        assert!(
            !Goal::Loop(1.3).judge(figures(131.0)).1,
            "without a loop mount the host's file system counts"
        );
        assert!(Goal::Uml(5.0).judge(figures(200.0)).1);
        assert!(!Goal::Uml(5.0).judge(figures(201.0)).1);
        assert!(!Goal::Nanos(150.0).judge(figures(151.0)).1);
        assert!(Goal::Uml(5.0).judge(|_| None).1, "what was not measured is not missed");
    }
}
