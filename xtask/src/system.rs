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
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for case in cases {
        if args.native_only && !case.native {
            println!("skip {}: in a guest only", case.name);
            skipped += 1;
        } else if let Some(missing) = case.needs.iter().find(|n| !has(&place, n)) {
            println!("skip {}: the host has no working {missing}", case.name);
            skipped += 1;
        } else {
            match test(&place, case) {
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

fn has(place: &Place, program: &str) -> bool {
    let ask = format!(
        "command -v {program} >/dev/null && {{ {program} --version || {program} --help; }} >/dev/null 2>&1"
    );
    let mut c = place.command(Path::new("/bin/sh"));
    process::run(c.arg("-c").arg(ask), b"", Duration::from_secs(20)).is_ok_and(|o| o.status_text() == "0")
}

fn test(place: &Place, case: &Case) -> Result<f64, String> {
    let (mut command, want, status) = match case.job {
        Job::Shell(script, want, status) => {
            let mut c = guest(place, case.args);
            // Natively a case may not leave anything behind, so each gets a directory of its own.
            let script =
                format!("T=$(mktemp -d) && cd $T || exit 99\ntrap 'cd / && rm -rf $T' EXIT\n{script}");
            c.args(["/bin/bash", "-c", &script]);
            (c, want, status)
        }
        Job::Driver(file, words) => {
            let mut c = place.command(Path::new("/usr/bin/python3"));
            c.arg("-B").arg(staged(place, file)?);
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

/// A driver where the test user can read it, beside what it imports.
fn staged(place: &Place, file: &str) -> Result<PathBuf, String> {
    for name in ["term.py", file] {
        let from = place.root.join("tests/system").join(name);
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
