//! The `ruml` executable: reads its command line, boots a machine, and ends with the machine's status.
//!
//! - `run.rs`: `ruml run [OPTIONS] -- COMMAND`.
//! - `uml.rs`: `ruml PARAMETERS…`, as User-Mode Linux.
//! - `umid.rs`: the directory by which a running machine is found.
//! - `machine.rs`: what both share: host files, defaults, the end.
#![forbid(unsafe_code)]

mod help;
mod machine;
mod run;
mod umid;
mod uml;

use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    let first = args.first().and_then(|a| a.to_str());
    let outcome = match first {
        None => run::main(Vec::new()),
        Some("run") => run::main(args[1..].to_vec()),
        Some("--help" | "-h") => {
            print!("{}", help::TOP);
            return ExitCode::SUCCESS;
        }
        Some("help") => {
            print!("{}", if args.get(1).is_some_and(|a| a == "run") { help::RUN } else { help::TOP });
            return ExitCode::SUCCESS;
        }
        Some("--version" | "-V") => {
            println!("ruml {}", env!("CARGO_PKG_VERSION"));
            return ExitCode::SUCCESS;
        }
        Some("syscalls") => {
            for (number, name) in kernel::syscall::entries() {
                println!("{number} {name}");
            }
            return ExitCode::SUCCESS;
        }
        Some("completion") => return help::completion(args.get(1).and_then(|a| a.to_str())),
        Some(_) => uml::main(args),
    };
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(message) => {
            eprintln!("ruml: {message}");
            ExitCode::from(machine::EXIT_RUML)
        }
    }
}
