//! The bench: `bench/bench.c` natively, in ruml and in Debian's UML, in one run and as ratios.
//!
//! Figures are the least of several runs; a second pass pins everything to one core. What a program inside cannot see
//! (the whole of `ruml run -- /bin/true`, an idle guest's CPU and memory) is measured from here.

use crate::place::Place;
use crate::process;
use std::collections::HashMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A row of the table: the program's subcommand, what it is, and the largest ratio to native that is good enough.
const ROWS: &[(&str, &str, Goal)] = &[
    ("fork", "fork + exit + wait", Goal::Ratio(2.0)),
    ("vforkexec", "vfork + exec + wait", Goal::Ratio(2.0)),
    ("shtrue", "sh -c true", Goal::Ratio(2.0)),
    ("loop200", "/bin/true in a shell loop", Goal::Ratio(2.0)),
    ("anon", "anonymous page touch", Goal::Ratio(1.2)),
    ("filemap", "mmapped cached file page touch", Goal::Ratio(1.2)),
    ("mmap", "mmap + touch + munmap", Goal::Ratio(4.0)),
    ("mprotect", "mprotect cycle (two calls)", Goal::Ratio(4.0)),
    ("getppid", "getppid", Goal::Ratio(1.0)),
    ("clock", "clock_gettime", Goal::Ratio(1.3)),
    ("getpid", "getpid", Goal::Ratio(1.0)),
    ("clocksys", "clock_gettime, as a system call", Goal::Ratio(1.0)),
    ("getpgid", "getpgid", Goal::Nanos { free: 300.0, pinned: 6000.0 }),
    ("getfd", "fcntl(F_GETFD)", Goal::Nanos { free: 300.0, pinned: 6000.0 }),
    ("readzero", "read, 1 byte of /dev/zero", Goal::Nanos { free: 300.0, pinned: 6000.0 }),
    ("writenull", "write, 1 byte to /dev/null", Goal::Nanos { free: 300.0, pinned: 6000.0 }),
    ("pipe", "pipe ping-pong, two processes", Goal::Ratio(1.5)),
    ("pipebulk", "pipe, 64 KiB", Goal::None),
    ("read4k", "pread of 4 KiB", Goal::Ratio(1.2)),
    ("read64k", "pread of 64 KiB", Goal::Ratio(1.2)),
    ("write4k", "pwrite of 4 KiB", Goal::Ratio(1.2)),
    ("openclose", "open + close", Goal::Ratio(1.2)),
    ("stat", "stat", Goal::Ratio(1.2)),
    ("create", "create + close + unlink", Goal::Ratio(1.2)),
    ("futex", "futex ping-pong, two threads", Goal::Ratio(1.5)),
    ("unix", "unix socket ping-pong, two processes", Goal::Ratio(1.5)),
    ("sigself", "signal to self", Goal::Ratio(4.0)),
    ("thread", "thread create + join", Goal::Ratio(2.0)),
    ("cpu1", "CPU-bound, one thread", Goal::Ratio(1.02)),
    ("cpu2", "CPU-bound, two threads", Goal::Ratio(1.02)),
];
/// `ruml run -- /bin/true`, in ns.
const START_GOAL: f64 = 60e6;
const IDLE: Duration = Duration::from_secs(10);
const IDLE_PSS_KIB: u64 = 15 * 1024;
const LIMIT: Duration = Duration::from_secs(600);

enum Goal {
    None,
    Ratio(f64),
    Nanos { free: f64, pinned: f64 },
}

struct Args {
    only: Option<Vec<String>>,
    runs: u32,
    native_only: bool,
    pin: bool,
    ruml: Option<String>,
    uml: Option<PathBuf>,
}

impl Args {
    fn parse(args: &[String]) -> Result<Self, String> {
        let mut a =
            Self { only: None, runs: 5, native_only: false, pin: true, ruml: None, uml: which("linux.uml") };
        let mut it = args.iter();
        while let Some(word) = it.next() {
            let mut value = || it.next().cloned().ok_or(format!("{word} needs a value"));
            match word.as_str() {
                "--only" => a.only = Some(value()?.split(',').map(str::to_string).collect()),
                "--runs" => a.runs = value()?.parse().map_err(|_| "--runs needs a number")?,
                "--native-only" => a.native_only = true,
                "--no-pin" => a.pin = false,
                "--ruml" => a.ruml = Some(value()?),
                "--uml" => a.uml = Some(PathBuf::from(value()?)),
                other => return Err(format!("unknown argument '{other}'")),
            }
        }
        if let Some(only) = &a.only {
            let known = |n: &String| n == "start" || n == "idle" || ROWS.iter().any(|r| r.0 == n);
            if let Some(bad) = only.iter().find(|n| !known(n)) {
                return Err(format!("no bench '{bad}'"));
            }
        }
        Ok(a)
    }

    fn wants(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|o| o.iter().any(|n| n == name))
    }
}

/// ns by a row's name.
pub type Figures = HashMap<String, f64>;

/// Runs the task; whether every goal was reached.
pub fn main(args: &[String]) -> Result<bool, String> {
    let args = Args::parse(args)?;
    let place = Place::find(args.ruml.as_deref(), args.native_only, "bench")?;
    let program = place.bin.join("bench");
    let done = Command::new("gcc")
        .args(["-O2", "-Wall", "-static", "-pthread", "-o"])
        .arg(&program)
        .arg(place.root.join("bench/bench.c"))
        .status()
        .map_err(|e| format!("gcc: {e}"))?;
    if !done.success() {
        return Err("bench.c does not compile".to_string());
    }
    let mut good = true;
    let passes: &[bool] = if args.pin { &[false, true] } else { &[false] };
    for &pinned in passes {
        println!("\n### {}\n", if pinned { "pinned to one core" } else { "all cores" });
        good &= pass(&args, &place, &program, pinned)?;
    }
    if let (Some(ruml), true) = (&place.ruml, args.wants("idle")) {
        good &= idle(&place, ruml)?;
    }
    Ok(good)
}

fn pass(args: &Args, place: &Place, program: &Path, pinned: bool) -> Result<bool, String> {
    let names: Vec<&str> = ROWS.iter().map(|r| r.0).filter(|n| args.wants(n)).collect();
    let mut columns: Vec<(&str, Figures)> = Vec::new();
    let start = args.wants("start");
    let runs = args.runs.to_string();
    let mut inside = vec!["--runs", &runs];
    inside.extend(&names);

    let mut native = measure(pin(place, program, pinned).args(&inside))?;
    if start {
        native.insert("start".into(), least(args.runs, || Ok(pin(place, Path::new("/bin/true"), pinned)))?);
    }
    columns.push(("native", native));
    if let Some(ruml) = &place.ruml {
        let guest = || {
            let mut c = pin(place, ruml, pinned);
            c.arg("run");
            c
        };
        let mut c = guest();
        c.arg("--volume")
            .arg(format!("{}:/t:ro", place.bin.display()))
            .args(["--", "/t/bench"])
            .args(&inside);
        let mut figures = measure(&mut c)?;
        if start {
            let run = || {
                let mut c = guest();
                c.args(["--", "/bin/true"]);
                Ok(c)
            };
            figures.insert("start".into(), least(args.runs, run)?);
        }
        columns.push(("ruml", figures));
    }
    if let (Some(uml), false) = (&args.uml, args.native_only) {
        let mut c = pin(place, uml, pinned);
        c.args([
            "mem=512M",
            "root=/dev/root",
            "rootfstype=hostfs",
            "rootflags=/",
            "rw",
            "quiet",
            "con0=null,fd:1",
            "con=null",
        ]);
        c.arg(format!("init={}", program.display())).arg("--").args(&inside);
        columns.push(("UML", measure(&mut c)?));
    }
    let (text, good) = table(&columns, &names, start, pinned);
    print!("{text}");
    Ok(good)
}

fn table(columns: &[(&str, Figures)], names: &[&str], start: bool, pinned: bool) -> (String, bool) {
    let mut text = String::from("| what |");
    let mut good = true;
    for (head, _) in columns {
        // Writing to a String cannot fail.
        let _ = if *head == "native" { write!(text, " native |") } else { write!(text, " {head} | ratio |") };
    }
    text.push_str(" goal |\n|---|");
    text.push_str(&"---|".repeat(columns.len() * 2));
    text.push('\n');
    let first = ("start", "/bin/true, whole process", Goal::Nanos { free: START_GOAL, pinned: START_GOAL });
    let rows = start.then_some(&first).into_iter().chain(ROWS.iter().filter(|r| names.contains(&r.0)));
    for (name, what, goal) in rows {
        let _ = write!(text, "| {what} |");
        let native = columns.iter().find(|c| c.0 == "native").and_then(|c| c.1.get(*name)).copied();
        for (head, figures) in columns {
            let Some(&ns) = figures.get(*name) else {
                text.push_str(if *head == "native" { " – |" } else { " – | – |" });
                continue;
            };
            let _ = write!(text, " {} |", show(ns));
            if *head == "native" {
                continue;
            }
            let ratio = native.map_or(f64::NAN, |n| ns / n);
            let reached = *head != "ruml" || goal.reached(ns, ratio, pinned);
            good &= reached;
            let _ = write!(text, " {ratio:.2}{} |", if reached { "" } else { " **missed**" });
        }
        let _ = writeln!(text, " {} |", goal.show(pinned));
    }
    (text, good)
}

impl Goal {
    fn reached(&self, ns: f64, ratio: f64, pinned: bool) -> bool {
        match *self {
            Goal::None => true,
            Goal::Ratio(most) => ratio <= most,
            Goal::Nanos { free, pinned: one } => ns <= if pinned { one } else { free },
        }
    }

    fn show(&self, pinned: bool) -> String {
        match *self {
            Goal::None => String::new(),
            Goal::Ratio(most) => format!("≤ {most} ×"),
            Goal::Nanos { free, pinned: one } => format!("≤ {}", show(if pinned { one } else { free })),
        }
    }
}

pub fn show(ns: f64) -> String {
    match ns {
        n if n < 1e3 => format!("{n:.0} ns"),
        n if n < 1e6 => format!("{:.2} µs", n / 1e3),
        n if n < 1e9 => format!("{:.2} ms", n / 1e6),
        n => format!("{:.2} s", n / 1e9),
    }
}

/// `program` as the test user, on the first core alone if `pinned`.
pub fn pin(place: &Place, program: &Path, pinned: bool) -> Command {
    if !pinned {
        return place.command(program);
    }
    let mut c = place.command(Path::new("taskset"));
    c.args(["-c", "0"]).arg(program);
    c
}

/// Runs the program and reads its `BENCH name ns` lines.
pub fn measure(command: &mut Command) -> Result<Figures, String> {
    let o = process::run(command, b"", LIMIT)?;
    let figures = parse(&o.text());
    if figures.is_empty() {
        let err = String::from_utf8_lossy(&o.stderr).into_owned();
        return Err(format!("{command:?}: status {}, no figures\n{}{err}", o.status_text(), o.text()));
    }
    Ok(figures)
}

fn parse(text: &str) -> Figures {
    let line = |l: &str| {
        let mut words = l.trim().strip_prefix("BENCH ")?.split(' ');
        Some((words.next()?.to_string(), words.next()?.parse().ok()?))
    };
    text.lines().filter_map(line).collect()
}

fn least(runs: u32, command: impl Fn() -> Result<Command, String>) -> Result<f64, String> {
    let mut best = f64::INFINITY;
    for _ in 0..runs.max(1) * 3 {
        let mut c = command()?;
        c.stdin(Stdio::null()).stdout(Stdio::null());
        let t = Instant::now();
        let status = c.status().map_err(|e| format!("{c:?}: {e}"))?;
        if !status.success() {
            return Err(format!("{c:?}: {status}"));
        }
        best = best.min(t.elapsed().as_nanos() as f64);
    }
    Ok(best)
}

/// CPU time and memory of a guest that only sleeps.
fn idle(place: &Place, ruml: &Path) -> Result<bool, String> {
    let mut child = place
        .command(ruml)
        .args(["run", "--", "/bin/sleep", "60"])
        .stdin(Stdio::null())
        .spawn()
        .map_err(|e| format!("{}: {e}", ruml.display()))?;
    std::thread::sleep(Duration::from_secs(2));
    let all = family(child.id());
    let before: u64 = all.iter().map(|&p| ticks(p)).sum();
    std::thread::sleep(IDLE);
    let used = all.iter().map(|&p| ticks(p)).sum::<u64>().saturating_sub(before);
    let pss: u64 = all.iter().filter_map(|&p| pss_kib(p)).sum();
    child.kill().map_err(|e| e.to_string())?;
    child.wait().map_err(|e| e.to_string())?;
    let good = used == 0 && pss <= IDLE_PSS_KIB;
    println!(
        "\nidle guest: {used} ticks of 10 ms in {} s (goal 0), {:.1} MiB PSS in {} processes (goal ≤ 15){}",
        IDLE.as_secs(),
        pss as f64 / 1024.0,
        all.len(),
        if good { "" } else { " **missed**" }
    );
    Ok(good)
}

fn stat_fields(pid: u32) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(text.rsplit_once(')')?.1.split_whitespace().map(str::to_string).collect())
}

/// User and system time in clock ticks.
fn ticks(pid: u32) -> u64 {
    let field = |f: &[String], i: usize| f.get(i).and_then(|s| s.parse::<u64>().ok()).unwrap_or(0);
    stat_fields(pid).map_or(0, |f| field(&f, 11) + field(&f, 12))
}

fn pss_kib(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    text.lines().find_map(|l| l.strip_prefix("Pss:"))?.split_whitespace().next()?.parse().ok()
}

/// A process and all its descendants.
fn family(root: u32) -> Vec<u32> {
    let pids = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let parents: HashMap<u32, u32> = pids
        .filter_map(|e| e.file_name().to_str()?.parse().ok())
        .filter_map(|p| Some((p, stat_fields(p)?.get(1)?.parse().ok()?)))
        .collect();
    let mut all = vec![root];
    let mut at = 0;
    while let Some(&p) = all.get(at) {
        all.extend(parents.iter().filter(|(_, parent)| **parent == p).map(|(&pid, _)| pid));
        at += 1;
    }
    all
}

/// Where a program is, by PATH.
pub fn which(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?).map(|d| d.join(name)).find(|p| p.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_figures_among_other_lines() {
        let f = parse("boot\nBENCH fork 123.5\r\nBENCH bad\nBENCH x y\nBENCH pipe 7.0\n");
        assert_eq!((f.len(), f["fork"], f["pipe"]), (2, 123.5, 7.0));
    }

    #[test]
    fn table_marks_what_missed_its_goal() {
        let of = |ns| HashMap::from([("fork".to_string(), ns)]);
        let (text, good) = table(&[("native", of(100.0)), ("ruml", of(200.0))], &["fork"], false, false);
        assert!(good && text.contains("| 100 ns | 200 ns | 2.00 |"), "{text}");
        let (text, good) = table(&[("native", of(100.0)), ("ruml", of(300.0))], &["fork"], false, false);
        assert!(!good && text.contains("3.00 **missed**"), "{text}");
    }
}
