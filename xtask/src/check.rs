//! The README's test command: every check in the order of its cost, and a summary.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::{compat, guest, hostile, process, system};

/// Programs that the tests use, with the Debian package of each.
const TOOLS: &[(&str, &str)] = &[
    ("cc", "gcc"),
    ("make", "make"),
    ("git", "git"),
    ("python3", "python3"),
    ("perl", "perl"),
    ("ps", "procps"),
    ("less", "less"),
    ("cpio", "cpio"),
    ("xz", "xz-utils"),
    ("setpriv", "util-linux"),
    ("mmdebstrap", "mmdebstrap"),
    ("mke2fs", "e2fsprogs"),
    ("sfdisk", "fdisk"),
    ("uml_moo", "uml-utilities"),
    ("linux.uml", "user-mode-linux"),
    ("strace", "strace"),
];

type Step = (&'static str, Box<dyn Fn() -> Result<bool, String>>);

/// Runs every step, the later ones too when one fails; whether all passed.
pub fn main() -> Result<bool, String> {
    let missing: Vec<_> = TOOLS.iter().filter(|(program, _)| !in_path(program)).collect();
    if !missing.is_empty() {
        let packages: Vec<_> = missing.iter().map(|(_, package)| *package).collect();
        return Err(format!("missing programs: apt-get install {}", packages.join(" ")));
    }
    let steps: Vec<Step> = vec![
        ("format", cargo(&["fmt", "--all", "--", "--check"])),
        ("lints", cargo(&["clippy", "-q", "--workspace", "--all-targets", "--", "-D", "warnings"])),
        ("unit tests", cargo(&["test", "-q", "--workspace", "--no-fail-fast"])),
        ("build", cargo(&["build", "-q", "--release", "--package", "ruml"])),
        ("compatibility table", Box::new(|| compat::main(true))),
        ("guest tests", Box::new(|| guest::main(&[]))),
        ("hostile tests", Box::new(|| hostile::main(&[]))),
        ("system tests", Box::new(|| system::main(&[]))),
    ];
    let mut failed = Vec::new();
    for (name, step) in &steps {
        println!("== {name}");
        let started = Instant::now();
        let outcome = step();
        let took = started.elapsed().as_secs();
        match outcome {
            Ok(true) => println!("== {name}: passed in {took} s"),
            Ok(false) => failed.push(*name),
            Err(message) => {
                println!("{message}");
                failed.push(*name);
            }
        }
    }
    let passed = steps.len() - failed.len();
    if failed.is_empty() {
        println!("test result: ok. {passed} steps passed; 0 failed");
    } else {
        println!(
            "test result: FAILED. {passed} steps passed; {} failed: {}",
            failed.len(),
            failed.join(", ")
        );
    }
    Ok(failed.is_empty())
}

/// What one step by cargo may take: a test that hangs must say so, and not hold up the steps after it.
const LIMIT: Duration = Duration::from_secs(25 * 60);

fn cargo(args: &'static [&'static str]) -> Box<dyn Fn() -> Result<bool, String>> {
    Box::new(move || {
        let mut command = Command::new(env!("CARGO"));
        let mut child = command
            .args(args)
            .stdin(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(|e| format!("cargo: {e}"))?;
        let started = Instant::now();
        loop {
            match child.try_wait().map_err(|e| format!("cargo: {e}"))? {
                Some(status) => return Ok(status.success()),
                None if started.elapsed() > LIMIT => break,
                None => std::thread::sleep(Duration::from_millis(50)),
            }
        }
        process::kill_group(child.id());
        child.wait().map_err(|e| format!("cargo: {e}"))?;
        Err(format!("cargo {}: killed after {} s", args.join(" "), LIMIT.as_secs()))
    })
}

fn in_path(program: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':').chain(["/usr/sbin", "/sbin"]).any(|dir| Path::new(dir).join(program).exists())
}
