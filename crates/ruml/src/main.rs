//! The `ruml` executable: reads its command line, boots a machine, and ends with the machine's status.
//!
//! - `run.rs`: `ruml run [OPTIONS] -- COMMAND`.
//! - `uml.rs`: `ruml PARAMETERS…`, as User-Mode Linux.
//! - `moo.rs`: `ruml mkcow`, `ruml moo`; `image/`: `ruml image create`.
//! - `console.rs`: con=, conN=.
//! - `umid.rs`: the directory by which a running machine is found.
//! - `machine.rs`: what both share: host files, defaults, the end.
#![forbid(unsafe_code)]

mod console;
mod help;
mod image;
mod machine;
mod moo;
mod run;
mod umid;
mod uml;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    let name = args.next().map(PathBuf::from).unwrap_or_default();
    let mut args: Vec<OsString> = args.collect();
    // Under the names that uml-utilities gives its tools.
    if let Some(tool @ ("mkcow" | "moo")) =
        name.file_name().and_then(|n| n.to_str()).and_then(|n| n.strip_prefix("uml_"))
    {
        args.insert(0, tool.into());
    }
    let first = args.first().and_then(|a| a.to_str());
    let outcome = match first {
        Some("image") => tool(image::main(args[1..].to_vec())),
        Some("mkcow") => tool(moo::mkcow(args[1..].to_vec())),
        Some("moo") => tool(moo::moo(args[1..].to_vec())),
        None => run::main(Vec::new()),
        Some("run") => run::main(args[1..].to_vec()),
        Some("--help" | "-h") => {
            print!("{}", help::TOP);
            return ExitCode::SUCCESS;
        }
        Some("help") => {
            let text = match args.get(1).and_then(|a| a.to_str()) {
                Some("run") => help::RUN,
                Some("image") => image::HELP,
                Some("mkcow") => moo::MKCOW,
                Some("moo") => moo::MOO,
                _ => help::TOP,
            };
            print!("{text}");
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

/// Outcome of a tool that boots nothing: 1 for an error, as other programs have it.
fn tool(outcome: Result<u8, String>) -> Result<u8, String> {
    outcome.or_else(|message| {
        eprintln!("ruml: {message}");
        Ok(1)
    })
}
