//! The guest tests: plain C programs that run on the host's own Linux and in ruml; the host is the oracle.
//!
//! A program's status 77 means that the host can't run it (an older kernel, say): skipped. Natively every program must
//! exit with 0, for its own checks hold everywhere.

use crate::TestArgs;
use crate::place::Place;
use crate::process::{self, Outcome};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);
const SKIP: &str = "77";
/// Programs that also exist in a dynamically linked flavour: the loader, a relocated stack, glibc's locale and threads.
const DYNAMIC: &[&str] = &["exec", "fork", "mmap", "pthread", "signal_basic", "timers"];
/// Programs that root runs. Where the host refuses them (status 77), or the tests run as an ordinary user, only the guest
/// runs them, and their own checks must do.
const AS_ROOT: &[&str] = &["cgroup", "newmount", "propagate", "protected"];
/// Only ever run in a guest: it may well harm whatever runs it.
const GUEST_ONLY: &str = "fuzz";

enum Verdict {
    Passed,
    Skipped(String),
    Failed(String),
}

/// Runs the task; whether everything passed.
pub fn main(args: &[String]) -> Result<bool, String> {
    let args = TestArgs::parse(args)?;
    let place = Place::find(args.ruml.as_deref(), args.native_only, "guest")?;
    let names = sources(&place.root.join("tests/guest"), args.filter.as_deref())?;
    let built = process::parallel(names.len(), 2, |i| build(&place, &names[i]));
    let mut failed = 0;
    for (name, b) in names.iter().zip(&built) {
        if let Err(e) = b {
            println!("FAIL {name}: does not compile\n{e}");
            failed += 1;
        }
    }
    let names: Vec<&String> = names.iter().zip(&built).filter(|(_, b)| b.is_ok()).map(|(n, _)| n).collect();
    let verdicts = process::parallel(names.len(), 2, |i| {
        let v = test(&place, names[i]).unwrap_or_else(Verdict::Failed);
        match &v {
            Verdict::Passed => println!("ok   {}", names[i]),
            Verdict::Skipped(why) => println!("skip {}: {why}", names[i]),
            Verdict::Failed(why) => println!("FAIL {}: {}", names[i], why.trim_end()),
        }
        v
    });
    let passed = verdicts.iter().filter(|v| matches!(v, Verdict::Passed)).count();
    let skipped = verdicts.iter().filter(|v| matches!(v, Verdict::Skipped(_))).count();
    failed += verdicts.len() - passed - skipped;
    println!("guest tests: {passed} passed, {failed} failed, {skipped} skipped");
    Ok(failed == 0)
}

fn sources(dir: &Path, filter: Option<&str>) -> Result<Vec<String>, String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(|e| format!("{}: {e}", dir.display()))? {
        let path = entry.map_err(|e| e.to_string())?.path();
        let Some(stem) = path.file_stem().and_then(|s| s.to_str()) else { continue };
        if path.extension().is_some_and(|e| e == "c") {
            names.push(stem.to_string());
            if DYNAMIC.contains(&stem) {
                names.push(format!("{stem}-dyn"));
            }
        }
    }
    names.retain(|n| filter.is_none_or(|f| n.contains(f)));
    names.sort();
    if names.is_empty() {
        return Err(format!("no test matches '{}'", filter.unwrap_or_default()));
    }
    Ok(names)
}

/// Compiles one program unless its binary is newer than its sources.
pub fn build(place: &Place, name: &str) -> Result<(), String> {
    let dir = place.root.join("tests/guest");
    let (stem, link) = name.strip_suffix("-dyn").map_or((name, "-static"), |s| (s, "-pie"));
    let source = dir.join(format!("{stem}.c"));
    let out = place.bin.join(name);
    let time = |p: &Path| p.metadata().and_then(|m| m.modified()).ok();
    if time(&out) > time(&source).max(time(&dir.join("t.h"))) {
        return Ok(());
    }
    let done = Command::new("gcc")
        .args(["-O1", "-Wall", "-Wextra", "-pthread", link, "-o"])
        .arg(&out)
        .arg(&source)
        .arg("-lm")
        .output()
        .map_err(|e| format!("gcc: {e}"))?;
    if done.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&done.stderr).into_owned()) }
}

fn test(place: &Place, name: &str) -> Result<Verdict, String> {
    if name == GUEST_ONLY {
        return guest_only(place, name);
    }
    if AS_ROOT.contains(&name) {
        let native =
            place.as_root().then(|| process::run(&mut place.root_command(&place.bin.join(name)), b"", LIMIT));
        return match native.transpose()? {
            Some(native) if native.status_text() != SKIP => match in_guest(place, name) {
                Some(mut command) => {
                    compare(place, name, &native, "ruml", &process::run(&mut command, b"", LIMIT)?)
                }
                None => Ok(Verdict::Passed),
            },
            _ => guest_only(place, name),
        };
    }
    let native = process::run(&mut place.command(&place.bin.join(name)), b"", LIMIT)?;
    if native.status_text() == SKIP {
        return Ok(Verdict::Skipped("the host's kernel cannot run it".to_string()));
    }
    if native.status_text() != "0" {
        return Ok(Verdict::Failed(format!(
            "on the host: status {}\n{}",
            native.status_text(),
            complaints(&native)
        )));
    }
    let Some(mut command) = in_guest(place, name) else { return repeat(place, name, &native) };
    let guest = process::run(&mut command, b"", LIMIT)?;
    compare(place, name, &native, "ruml", &guest)
}

/// Without a guest to compare with, two runs on the host must agree: else the test itself is at fault.
fn repeat(place: &Place, name: &str, first: &Outcome) -> Result<Verdict, String> {
    let second = process::run(&mut place.command(&place.bin.join(name)), b"", LIMIT)?;
    compare(place, name, first, "host again", &second)
}

fn guest_only(place: &Place, name: &str) -> Result<Verdict, String> {
    let Some(mut command) = in_guest(place, name) else {
        return Ok(Verdict::Skipped("runs in a guest only".to_string()));
    };
    let guest = process::run(&mut command, b"", Duration::from_secs(180))?;
    if guest.status_text() == "0" {
        return Ok(Verdict::Passed);
    }
    let err = String::from_utf8_lossy(&guest.stderr).into_owned();
    Ok(Verdict::Failed(format!(
        "status {}\n{}\n{}",
        guest.status_text(),
        tail(&guest.text(), 10),
        tail(&err, 20)
    )))
}

fn in_guest(place: &Place, name: &str) -> Option<Command> {
    let mut c = place.command(place.ruml.as_deref()?);
    c.arg("run").arg("--volume").arg(format!("{}:/t:ro", place.bin.display()));
    let (uid, gid) = if AS_ROOT.contains(&name) { (0, 0) } else { (place.uid, place.gid) };
    c.arg("--user").arg(format!("{uid}:{gid}")).args(["--workdir", "/", "--", &format!("/t/{name}")]);
    Some(c)
}

fn compare(
    place: &Place,
    name: &str,
    host: &Outcome,
    label: &str,
    other: &Outcome,
) -> Result<Verdict, String> {
    if host.stdout == other.stdout && host.status_text() == other.status_text() {
        return Ok(Verdict::Passed);
    }
    let dir = place.bin.join("out");
    std::fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    let paths = [dir.join(format!("{name}.host")), dir.join(format!("{name}.other"))];
    for (path, bytes) in paths.iter().zip([&host.stdout, &other.stdout]) {
        std::fs::write(path, bytes).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    let diff = Command::new("diff")
        .args(["-a", "-U2", "--label", "host", "--label", label])
        .args(&paths)
        .output()
        .map_err(|e| format!("diff: {e}"))?;
    let diff = String::from_utf8_lossy(&diff.stdout);
    let shown: Vec<&str> = diff.lines().take(60).collect();
    let err = String::from_utf8_lossy(&other.stderr);
    let status = format!("status {} on the host, {} in {label}", host.status_text(), other.status_text());
    Ok(Verdict::Failed(format!("{status}\n{}\n{}", shown.join("\n"), tail(&err, 20))))
}

/// The checks that a program itself found wrong, or else its last words.
fn complaints(o: &Outcome) -> String {
    let text = o.text();
    let wrong: Vec<&str> = text.lines().filter(|l| l.ends_with(": NO") || l.starts_with("setup ")).collect();
    if wrong.is_empty() { tail(&text, 5) } else { wrong.join("\n") }
}

fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::tail;

    #[test]
    fn tail_takes_the_last_lines() {
        assert_eq!(tail("a\nb\nc\n", 2), "b\nc");
        assert_eq!(tail("a", 5), "a");
    }
}
