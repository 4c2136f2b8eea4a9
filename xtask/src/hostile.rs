//! The hostile tests: C programs that attack the kernel they run on, as root, in ruml only.
//!
//! Each prints `survived` at its end. Beside that, what it must not have reached is looked at here: a folder of the
//! host, and the processes of the host.

use crate::TestArgs;
use crate::meter::Meter;
use crate::place::Place;
use crate::process;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Program, arguments, and how long it may take in all, s.
const ATTACKS: &[(&str, &[&str], u64)] = &[
    ("gadgets", &[], 90),
    ("window", &["20"], 60),
    ("stub", &[], 90),
    ("fastpath", &[], 120),
    ("spin", &[], 60),
    ("frames", &[], 60),
    ("elf", &["2000"], 120),
];

/// What `exhaust` takes, each in a machine of its own.
const EXHAUST: &[&str] = &[
    "fds_files",
    "fds_pipes",
    "fds_sockets",
    "fds_events",
    "fds_objects",
    "shared_maps",
    "host_files",
    "threads",
    "processes",
    "bomb",
    "vmas",
    "anonymous",
    "shared",
    "memfds",
    "hoarded",
    "hidden",
    "tables",
    "tmpfs",
    "many_files",
    "names",
    "pipes_full",
    "sockets_full",
    "signals",
    "timers",
    "watches",
    "events",
    "locks",
    "xattrs",
    "arguments",
    "queues",
    "mounts",
    "epolls",
    "rights",
    "deep",
    "links",
    "iovecs",
    "vforks",
    "swarm",
];

/// Memory of a machine under attack.
const MEM: &str = "256M";
/// The same in MiB.
const MEM_MIB: u64 = 256;
/// How much more than that the host may lose, MiB: what guests take between two looks of the OOM killer, and what the
/// machine needs at rest (docs/performance.md).
const SLACK_MIB: u64 = 256;
/// The same where other programs' memory is seen as well.
const VAGUE_SLACK_MIB: u64 = 1024;

/// Runs the task; whether everything passed.
pub fn main(args: &[String]) -> Result<bool, String> {
    let args = TestArgs::parse(args)?;
    let place = Place::find(args.ruml.as_deref(), args.native_only, "hostile")?;
    let mut runs: Vec<(String, &str, Vec<&str>, u64)> =
        ATTACKS.iter().map(|(name, a, limit)| ((*name).to_string(), *name, a.to_vec(), *limit)).collect();
    runs.extend(EXHAUST.iter().map(|what| (format!("exhaust-{what}"), "exhaust", vec![*what], 45)));
    runs.retain(|(name, ..)| args.filter.as_ref().is_none_or(|f| name.contains(f.as_str())));
    let mut passed = 0;
    for (name, program, words, limit) in &runs {
        let outcome = build(&place, program).and_then(|()| attack(&place, program, words, *limit));
        match outcome {
            Ok(note) => {
                println!("ok   {name}: {note}");
                passed += 1;
            }
            Err(why) => println!("FAIL {name}: {}", why.trim_end()),
        }
    }
    let failed = runs.len() - passed;
    println!("hostile tests: {passed} passed, {failed} failed");
    Ok(failed == 0 && passed > 0)
}

fn build(place: &Place, name: &str) -> Result<(), String> {
    let dir = place.root.join("tests/hostile");
    let done = Command::new("gcc")
        .args(["-O1", "-w", "-pthread", "-static", "-o"])
        .arg(place.bin.join(name))
        .arg(dir.join(format!("{name}.c")))
        .output()
        .map_err(|e| format!("gcc: {e}"))?;
    if done.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&done.stderr).into_owned()) }
}

fn attack(place: &Place, name: &str, words: &[&str], limit: u64) -> Result<String, String> {
    let ruml = place.ruml.as_deref().ok_or("runs in a guest only")?;
    let canary = Canary::new(place)?;
    let meter = Meter::start();
    let mut c = place.command(ruml);
    c.args(["run", "--mem", MEM, "--verbose", "--workdir", "/", "--volume"])
        .arg(format!("{}:/t:ro", place.bin.display()));
    c.arg("--env").arg(format!("CANARY={}", canary.dir.display()));
    c.arg("--").arg(format!("/t/{name}")).args(words);
    let slack = if meter.is_exact() { SLACK_MIB } else { VAGUE_SLACK_MIB };
    let outcome = process::run(&mut meter.wrap(c), b"", Duration::from_secs(limit))?;
    let lost = meter.end() >> 20;
    let text = outcome.text();
    let log = String::from_utf8_lossy(&outcome.stderr).into_owned();
    let bad: Vec<&str> = text.lines().filter(|l| l.starts_with("NO")).collect();
    let oops = log.lines().find(|l| l.contains("Oops") || l.contains("panicked") || l.contains("BUG"));
    if outcome.status_text() != "0" || !text.contains("survived") || !bad.is_empty() || oops.is_some() {
        let last: Vec<&str> = log.lines().rev().take(10).collect();
        let last: Vec<&str> = last.into_iter().rev().collect();
        let oops = oops.unwrap_or_default();
        return Err(format!(
            "status {}\n{}\n{oops}\n{}",
            outcome.status_text(),
            bad.join("\n"),
            last.join("\n")
        ));
    }
    canary.check()?;
    leftovers(place)?;
    if lost > MEM_MIB + slack {
        return Err(format!("the host lost {lost} MiB"));
    }
    Ok(format!("{:.1} s, {lost} MiB of the host", outcome.elapsed.as_secs_f64()))
}

/// No stub outlives its machine.
fn leftovers(place: &Place) -> Result<(), String> {
    for _ in 0..50 {
        if stubs(place.uid) == 0 {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Err("stub processes are left over".to_string())
}

/// Orphaned stubs of the test user: others may run machines meanwhile.
fn stubs(uid: u32) -> usize {
    let Ok(all) = std::fs::read_dir("/proc") else { return 0 };
    all.flatten()
        .filter_map(|e| std::fs::read_to_string(e.path().join("status")).ok())
        .filter(|s| {
            let word = |name: &str| {
                s.lines().find_map(|l| l.strip_prefix(name)).and_then(|l| l.split_whitespace().next())
            };
            word("Name:") == Some("ruml-stub")
                && word("PPid:") == Some("1")
                && word("Uid:") == Some(&uid.to_string())
                && word("State:") != Some("Z")
        })
        .count()
}

/// A folder of the host that the test user may write to, and that no guest may change.
struct Canary {
    dir: PathBuf,
    before: BTreeMap<PathBuf, (u64, u32, Vec<u8>)>,
}

impl Canary {
    fn new(place: &Place) -> Result<Canary, String> {
        let dir = std::env::temp_dir().join(format!("ruml-canary-{}", std::process::id()));
        let text = |e: std::io::Error| format!("{}: {e}", dir.display());
        std::fs::create_dir_all(&dir).map_err(text)?;
        std::fs::write(dir.join("file"), "canary").map_err(text)?;
        for path in [dir.clone(), dir.join("file")] {
            std::os::unix::fs::chown(path, Some(place.uid), Some(place.gid)).map_err(text)?;
        }
        let before = contents(&dir)?;
        Ok(Canary { dir, before })
    }

    fn check(&self) -> Result<(), String> {
        if contents(&self.dir)? == self.before {
            Ok(())
        } else {
            Err("a folder of the host has changed".to_string())
        }
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        // Only tidying up: what is wrong has been said.
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Files by path: what a canary is compared by.
type Contents = BTreeMap<PathBuf, (u64, u32, Vec<u8>)>;

fn contents(dir: &Path) -> Result<Contents, String> {
    use std::os::unix::fs::MetadataExt;
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir).map_err(|e| e.to_string())?.flatten() {
        let meta = entry.metadata().map_err(|e| e.to_string())?;
        let bytes =
            if meta.is_file() { std::fs::read(entry.path()).map_err(|e| e.to_string())? } else { Vec::new() };
        found.insert(entry.path(), (meta.ino(), meta.mode(), bytes));
    }
    Ok(found)
}
