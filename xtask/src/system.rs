//! The whole-system tests: commands from the host's own Debian in a guest, and drivers that watch ruml from outside.
//!
//! [`crate::system_table`] holds the cases. A driver is a Python program in `tests/system/` that gets the command which
//! starts a guest as its arguments (or the bare command, natively) and prints `PASS` last.

use crate::TestArgs;
use crate::place::Place;
use crate::process::{self, Outcome};
use crate::system_table::{CASES, Case, Job, Want};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Runs the task; whether everything passed.
pub fn main(args: &[String]) -> Result<bool, String> {
    let args = TestArgs::parse(args)?;
    let place = Place::find(args.ruml.as_deref(), args.native_only, "system")?;
    let cases: Vec<&Case> =
        CASES.iter().filter(|c| args.filter.as_deref().is_none_or(|f| c.name.contains(f))).collect();
    if cases.is_empty() {
        return Err("no test matches".to_string());
    }
    let toolchain =
        if cases.iter().any(|c| c.needs.contains(&"cargo")) { rust_toolchain(&place) } else { None };
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for case in cases {
        if args.native_only && !case.native {
            println!("skip {}: in a guest only", case.name);
            skipped += 1;
        } else if let Some(missing) = case.needs.iter().find(|n| !has(&place, toolchain.as_deref(), n)) {
            println!("skip {}: the host has no working {missing}", case.name);
            skipped += 1;
        } else {
            match test(&place, toolchain.as_deref(), case) {
                Ok(seconds) => {
                    println!("ok   {} ({seconds:.1} s)", case.name);
                    passed += 1;
                }
                Err(why) => {
                    println!("FAIL {}: {}", case.name, why.trim_end());
                    failed += 1;
                }
            }
        }
    }
    println!("system tests: {passed} passed, {failed} failed, {skipped} skipped");
    Ok(failed == 0)
}

/// The `bin` of the Rust toolchain that runs this, for the test user. One in root's home is shown elsewhere by hard
/// links, or copied where it lies on another file system.
fn rust_toolchain(place: &Place) -> Option<PathBuf> {
    let mut ask = Command::new("rustc");
    let asked = process::run(ask.args(["--print", "sysroot"]), b"", Duration::from_secs(20)).ok()?;
    let sysroot = PathBuf::from(asked.text().trim());
    if place.reaches(&sysroot.join("bin/cargo")) {
        return Some(sysroot.join("bin"));
    }
    let copy = place.bin.join("toolchain").join(sysroot.file_name()?);
    if !place.reaches(&copy.join("bin/cargo")) {
        std::fs::create_dir_all(&copy).ok()?;
        let script = "cp -al \"$1/bin\" \"$1/lib\" \"$2\" 2>/dev/null || cp -a \"$1/bin\" \"$1/lib\" \"$2\"";
        let mut cp = Command::new("sh");
        cp.args(["-c", script, "sh"]).arg(&sysroot).arg(&copy);
        process::run(&mut cp, b"", Duration::from_secs(120)).ok()?;
    }
    place.reaches(&copy.join("bin/cargo")).then(|| copy.join("bin"))
}

/// Puts the Rust toolchain first in the PATH of a script.
fn with_path(toolchain: Option<&Path>, script: &str) -> String {
    toolchain.map_or_else(
        || script.to_owned(),
        |bin| format!("export PATH='{}':\"$PATH\"\n{script}", bin.display()),
    )
}

fn has(place: &Place, toolchain: Option<&Path>, program: &str) -> bool {
    if program.starts_with('/') {
        return Path::new(program).exists();
    }
    let ask = format!(
        "command -v {program} >/dev/null && {{ {program} --version || {program} version || {program} --help; }} >/dev/null 2>&1"
    );
    let ask = with_path(toolchain, &ask);
    let mut c = place.command(Path::new("/bin/sh"));
    process::run(c.arg("-c").arg(ask), b"", Duration::from_secs(20)).is_ok_and(|o| o.status_text() == "0")
}

fn test(place: &Place, toolchain: Option<&Path>, case: &Case) -> Result<f64, String> {
    let (mut command, want, status) = match case.job {
        Job::Shell(script, want, status) => {
            let mut c = guest(place, case.args);
            // Natively a case may not leave anything behind, so each gets a directory of its own.
            let script =
                format!("T=$(mktemp -d) && cd $T || exit 99\ntrap 'cd / && rm -rf $T' EXIT\n{script}");
            let script = if case.needs.contains(&"cargo") { with_path(toolchain, &script) } else { script };
            c.args(["/bin/bash", "-c", &script]);
            (c, want, status)
        }
        Job::Driver(file, words) => {
            let mut c = place.command(Path::new("/usr/bin/python3"));
            c.arg("-B").arg(staged(place, file, words)?);
            if let Some(ruml) = &place.ruml {
                c.arg(ruml).args(case.args);
            }
            c.args(words);
            (c, Want::Last("PASS"), "0")
        }
    };
    let o = process::run(&mut command, case.stdin, Duration::from_secs(case.seconds))?;
    check(&o, want, status).map_err(|why| format!("{why}\n{}", report(&o)))?;
    Ok(o.elapsed.as_secs_f64())
}

fn guest(place: &Place, args: &[&str]) -> Command {
    let Some(ruml) = &place.ruml else {
        // env, so that natively and in a guest the command follows as arguments.
        return place.command(Path::new("/usr/bin/env"));
    };
    let mut c = place.command(ruml);
    c.arg("run").args(args).arg("--");
    c
}

/// A driver where the test user can read it, beside what drivers import and the guest tests that it compiles.
fn staged(place: &Place, file: &str, words: &[&str]) -> Result<PathBuf, String> {
    let mut names: Vec<(&str, &str)> =
        ["term.py", "machine.py", file].map(|name| ("tests/system", name)).into();
    for source in words.iter().filter(|word| word.ends_with(".c")) {
        names.extend([("tests/guest", *source), ("tests/guest", "t.h")]);
    }
    for (folder, name) in names {
        let from = place.root.join(folder).join(name);
        std::fs::copy(&from, place.bin.join(name)).map_err(|e| format!("{}: {e}", from.display()))?;
    }
    Ok(place.bin.join(file))
}

fn check(o: &Outcome, want: Want, status: &str) -> Result<(), String> {
    if o.status_text() != status {
        return Err(format!("status {}, not {status}", o.status_text()));
    }
    let text = o.text();
    match want {
        Want::Exact(w) if text != w => Err(format!("output is not {w:?}")),
        Want::Has(words) => words
            .iter()
            .find(|w| !text.contains(**w))
            .map_or(Ok(()), |w| Err(format!("no {w:?} in the output"))),
        Want::Last(w) if text.lines().last() != Some(w) => Err(format!("does not end with {w:?}")),
        Want::Exact(_) | Want::Last(_) | Want::Any => Ok(()),
    }
}

fn report(o: &Outcome) -> String {
    let err = String::from_utf8_lossy(&o.stderr);
    let text = o.text();
    let last = |t: &str| {
        t.lines()
            .rev()
            .take(15)
            .collect::<Vec<_>>()
            .into_iter()
            .rev()
            .map(|l| format!("  | {l}\n"))
            .collect::<String>()
    };
    format!("{}{}", last(&text), last(&err))
}
