//! Developer tasks: the guest tests, the whole-system tests and the bench.
//!
//! Each task is a module; [`process`] runs a program with a deadline and [`place`] knows where things lie and as which
//! user the tests run.
#![forbid(unsafe_code)]

mod bench;
mod bench_disk;
mod bench_programs;
mod check;
mod compat;
mod fuzz;
mod guest;
mod hostile;
mod meter;
mod place;
mod process;
mod system;
mod system_table;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask TASK [OPTIONS]

  test                                                 everything: format, lints, unit, guest and system tests
  compat [--check]                                     makes docs/compatibility.md, or says that it is out of date
  fuzz [--minutes N] [--seed N] [--lanes N] [--ruml PATH]
                                                       every syscall with garbage, from inside, for ten minutes
  guest-tests [--native-only] [--ruml PATH] [FILTER]   plain C programs, on the host and in ruml; both must agree
  hostile-tests [--ruml PATH] [FILTER]                 programs that attack ruml from inside; it must survive them
  system-tests [--native-only] [--ruml PATH] [FILTER]  whole programs in a ruml guest
  bench [--only A,B] [--runs N] [--native-only] [--no-pin] [--ruml PATH] [--uml PATH]
                                                       figures beside native and UML, as a Markdown table
  bench-disk [--only A,B] [--image DEBIAN] [--files N] [--megs N] [--native-only] [--ruml PATH] [--uml PATH] [--no-uml]
                                                       the same of an ext4 image; as root also of a loop mount
  bench-programs [--only A,B] [--ruml PATH]            compilers, finders, interpreters, servers: native and in ruml
";

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let task = args.next().unwrap_or_default();
    let rest: Vec<String> = args.collect();
    let done = match task.as_str() {
        "test" => check::main(),
        "compat" => compat::main(rest.first().is_some_and(|a| a == "--check")),
        "fuzz" => fuzz::main(&rest),
        "guest-tests" => guest::main(&rest),
        "hostile-tests" => hostile::main(&rest),
        "system-tests" => system::main(&rest),
        "bench" => bench::main(&rest),
        "bench-disk" => bench_disk::main(&rest),
        "bench-programs" => bench_programs::main(&rest),
        "" | "-h" | "--help" | "help" => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        other => Err(format!("no task '{other}'\n{USAGE}")),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("xtask {task}: {e}");
            ExitCode::from(2)
        }
    }
}

/// What the test tasks share on their command lines.
struct TestArgs {
    native_only: bool,
    ruml: Option<String>,
    filter: Option<String>,
}

impl TestArgs {
    fn parse(args: &[String]) -> Result<Self, String> {
        let mut parsed = Self { native_only: false, ruml: None, filter: None };
        let mut it = args.iter();
        while let Some(a) = it.next() {
            match a.as_str() {
                "--native-only" => parsed.native_only = true,
                "--ruml" => parsed.ruml = Some(it.next().ok_or("--ruml needs a path")?.clone()),
                f if !f.starts_with('-') && parsed.filter.is_none() => parsed.filter = Some(f.to_string()),
                other => return Err(format!("unknown argument '{other}'")),
            }
        }
        Ok(parsed)
    }
}
