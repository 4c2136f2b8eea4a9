//! The syscall fuzzer for as long as one likes: `tests/guest/fuzz.c` in a machine, as root and as an ordinary user, half of
//! the time each.
//!
//! CI runs it for a minute among the guest tests. Time alone decides nothing here but whether the guest's watchdog was
//! kept waiting: on a host whose cores others want as well it is given more time, in proportion.

use crate::place::Place;
use crate::{guest, process};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Runs the task: `[--minutes N] [--seed N] [--lanes N] [--ruml PATH]`; whether nothing was found.
pub fn main(args: &[String]) -> Result<bool, String> {
    let (mut minutes, mut lanes, mut ruml) = (10.0f64, 3u32, None);
    let mut seed = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |d| d.as_secs());
    let mut it = args.iter();
    while let Some(arg) = it.next() {
        let value = it.next().ok_or(format!("{arg} needs a value"))?;
        let wrong = |_| format!("{arg} {value}: not a number");
        match arg.as_str() {
            "--minutes" => minutes = value.parse().map_err(|_| format!("{arg} {value}: not a number"))?,
            "--seed" => seed = value.parse().map_err(wrong)?,
            "--lanes" => lanes = value.parse().map_err(wrong)?,
            "--ruml" => ruml = Some(value.as_str()),
            other => return Err(format!("unknown argument '{other}'")),
        }
    }
    let place = Place::find(ruml, false, "guest")?;
    guest::build(&place, "fuzz")?;
    let seconds = ((minutes * 30.0) as u64).max(1);
    let mut clean = true;
    for (who, user) in [("root", "0:0".to_string()), ("a user", format!("{}:{}", place.uid, place.gid))] {
        let mut c = place.command(place.ruml.as_deref().ok_or("runs in a guest only")?);
        c.args(["run", "--mem", "1G", "--verbose", "--volume"]).arg(format!("{}:/t:ro", place.bin.display()));
        c.args(["--user", &user, "--workdir", "/", "--", "/t/fuzz"]);
        c.args([seconds, seed, lanes.into(), patience()].map(|n| n.to_string()));
        // A call may well aim SIGKILL at the program itself (F_SETSIG, pidfds): that is no finding.
        let run = |c: &mut Command| process::run(c, b"", Duration::from_secs(seconds + 60 + patience() / 50));
        let mut outcome = run(&mut c)?;
        for _ in 0..2 {
            if outcome.status_text() == "137" {
                println!("     the fuzzer has killed itself; once more");
                outcome = run(&mut c)?;
            }
        }
        let log = String::from_utf8_lossy(&outcome.stderr).into_owned();
        let signs = ["Oops", "panicked", "BUG", "Out of memory: Killed process", "fuzz:"];
        let told: Vec<&str> = log.lines().filter(|l| signs.iter().any(|s| l.contains(s))).take(20).collect();
        let broken = |l: &&str| signs[..3].iter().any(|s| l.contains(s));
        let found = outcome.status_text() != "0" || told.iter().any(broken);
        let said = outcome.text();
        println!(
            "{} fuzz as {who}, {seconds} s, seed {seed}: status {}\n{}\n{}",
            if found { "FAIL" } else { "ok  " },
            outcome.status_text(),
            said.lines().rev().take(8).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n"),
            told.join("\n")
        );
        clean &= !found;
    }
    Ok(clean)
}

/// How long the guest's watchdog may be kept waiting, ms: three seconds for each program that wants a core of the host.
fn patience() -> u64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = text.split(' ').next().and_then(|n| n.parse::<f64>().ok()).unwrap_or(0.0);
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
    3000 * (load / cores).ceil().max(1.0) as u64
}
