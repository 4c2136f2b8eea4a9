//! The bench of whole programs: `bench/programs.sh` natively and in ruml. Compilers, finders, interpreters and servers as
//! people run them, with all cores and pinned to one.
//!
//! Both sides work in a folder in memory; programs and headers are the host's own, which the guest sees through its
//! copy-on-write root. A guest's first run meets caches of its own that are empty, while the host's are warm: so both of its
//! figures are compared with the native run on warm caches.

use crate::bench::{Figures, measure, pin, show, which};
use crate::place::Place;
use std::path::Path;

/// A row: the script's name for it, what it is, and the program that it needs.
const ROWS: &[(&str, &str, &str)] = &[
    ("gcc", "gcc -O2 of a file of 5,000 lines", "gcc"),
    ("make", "make -j2 of 20 small C files", "make"),
    ("find", "find /usr", "find"),
    ("tar", "tar of /usr/include", "tar"),
    ("git", "git status in a tree of 5,000 files", "git"),
    ("python", "python3 -c 'import asyncio'", "python3"),
    ("sqlite", "sqlite3, 20,000 inserts", "sqlite3"),
    ("redis", "redis-benchmark on a Unix socket", "redis-benchmark"),
];
/// The largest ratio to native that is good enough, with all cores and with one.
const GOAL: [f64; 2] = [1.15, 1.3];

/// Runs the task; whether every goal was reached.
pub fn main(args: &[String]) -> Result<bool, String> {
    let (mut only, mut ruml) = (None, None);
    let mut it = args.iter();
    while let Some(word) = it.next() {
        let mut value = || it.next().cloned().ok_or(format!("{word} needs a value"));
        match word.as_str() {
            "--only" => only = Some(value()?.split(',').map(str::to_string).collect::<Vec<_>>()),
            "--ruml" => ruml = Some(value()?),
            other => return Err(format!("unknown argument '{other}'")),
        }
    }
    if let Some(bad) = only.iter().flatten().find(|name| !ROWS.iter().any(|row| row.0 == **name)) {
        return Err(format!("no bench '{bad}'"));
    }
    let wanted = |name: &str| only.as_ref().is_none_or(|only| only.iter().any(|o| o == name));
    let (rows, missing): (Vec<_>, Vec<_>) =
        ROWS.iter().filter(|row| wanted(row.0)).partition(|row| which(row.2).is_some());
    for (_, what, program) in missing {
        eprintln!("{what}: not measured, the host has no {program}");
    }
    let place = Place::find(ruml.as_deref(), false, "bench")?;
    let script = place.bin.join("programs.sh");
    std::fs::copy(place.root.join("bench/programs.sh"), &script).map_err(|e| format!("programs.sh: {e}"))?;
    let names: Vec<&str> = rows.iter().map(|row| row.0).collect();
    let mut good = true;
    for pinned in [false, true] {
        println!("\n### {}\n", if pinned { "pinned to one core" } else { "all cores" });
        good &= pass(&place, &script, &names, pinned)?;
    }
    Ok(good)
}

fn pass(place: &Place, script: &Path, names: &[&str], pinned: bool) -> Result<bool, String> {
    let native = measure(pin(place, script, pinned).args(names))?;
    let ruml = place.ruml.as_ref().ok_or("no ruml")?;
    let mut guest = pin(place, ruml, pinned);
    guest.args(["run", "--volume"]).arg(format!("{}:/t:ro", place.bin.display()));
    guest.args(["--", "/t/programs.sh"]).args(names);
    let ruml = measure(&mut guest)?;
    println!(
        "| what | native | ruml | ratio | its first run | ratio | goal |\n|---|---|---|---|---|---|---|"
    );
    let goal = GOAL[usize::from(pinned)];
    let mut good = true;
    for (name, what, _) in ROWS.iter().filter(|row| names.contains(&row.0)) {
        let figure = |figures: &Figures, kind: &str| figures.get(&format!("{name}-{kind}")).copied();
        let native = figure(&native, "warm").ok_or(format!("{name}: no native figure"))?;
        print!("| {what} | {} |", show(native));
        for kind in ["warm", "cold"] {
            let ns = figure(&ruml, kind).ok_or(format!("{name}: no figure of ruml's"))?;
            let reached = ns / native <= goal;
            good &= reached;
            print!(" {} | {:.2}{} |", show(ns), ns / native, if reached { "" } else { " **missed**" });
        }
        println!(" ≤ {goal} × |");
    }
    Ok(good)
}
