//! `ruml mkcow` and `ruml moo`, also as `uml_mkcow` and `uml_moo`: what uml-utilities has for COW files.

use std::ffi::OsString;
use std::path::PathBuf;

use host::block::lock_file;
use indicatif::{ProgressBar, ProgressStyle};
use lexopt::{Arg, Parser};

/// Exit status for a command line that can't be understood, as uml_mkcow's.
const EXIT_USAGE: u8 = 2;

/// Help of `ruml mkcow`.
pub const MKCOW: &str = "\
Usage: ruml mkcow [-f] COW BACKING

Makes COW, a copy-on-write file over the disk image BACKING: a machine started
with ubd0=COW writes its changes there and leaves BACKING as it is.

  -f, --force    replace COW if it exists
  -h, --help
";

/// Help of `ruml moo`.
pub const MOO: &str = "\
Usage: ruml moo [-b BACKING] COW NEW
       ruml moo [-b BACKING] -d COW

Merges a copy-on-write file with its backing file, into the new image NEW or,
with -d, into the backing file itself. No machine may be using the files.

  -b, --backing FILE   the backing file, if it isn't where COW says
  -d, --destructive    write COW's changes into the backing file. Other COW
                       files over it are of no use any more
  -h, --help
";

/// Outcome of a tool: its exit status, or what went wrong.
type Outcome = Result<u8, String>;

/// `ruml mkcow`
pub fn mkcow(args: Vec<OsString>) -> Outcome {
    let mut force = false;
    let mut files = Vec::new();
    let mut parser = Parser::from_args(args);
    loop {
        match parser.next() {
            Ok(None) => break,
            Ok(Some(Arg::Short('f') | Arg::Long("force"))) => force = true,
            Ok(Some(Arg::Short('h') | Arg::Long("help"))) => {
                print!("{MKCOW}");
                return Ok(0);
            }
            Ok(Some(Arg::Value(file))) => files.push(PathBuf::from(file)),
            Ok(Some(other)) => return Ok(usage(&other.unexpected(), MKCOW)),
            Err(e) => return Ok(usage(&e, MKCOW)),
        }
    }
    let [cow, backing] = files.as_slice() else {
        return Ok(usage(&"it needs the names of two files", MKCOW));
    };
    cow::create(cow, backing, force)
        .map_err(|e| if !force && cow.exists() { format!("{e} (-f replaces it)") } else { e })?;
    Ok(0)
}

/// `ruml moo`
pub fn moo(args: Vec<OsString>) -> Outcome {
    let (mut destructive, mut backing, mut files) = (false, None, Vec::new());
    let mut parser = Parser::from_args(args);
    loop {
        match parser.next() {
            Ok(None) => break,
            Ok(Some(Arg::Short('d') | Arg::Long("destructive"))) => destructive = true,
            Ok(Some(Arg::Short('b') | Arg::Long("backing"))) => match parser.value() {
                Ok(file) => backing = Some(PathBuf::from(file)),
                Err(e) => return Ok(usage(&e, MOO)),
            },
            Ok(Some(Arg::Short('h') | Arg::Long("help"))) => {
                print!("{MOO}");
                return Ok(0);
            }
            Ok(Some(Arg::Value(file))) => files.push(PathBuf::from(file)),
            Ok(Some(other)) => return Ok(usage(&other.unexpected(), MOO)),
            Err(e) => return Ok(usage(&e, MOO)),
        }
    }
    let bar = bar();
    let mut progress = |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    };
    match (destructive, files.as_slice()) {
        (true, [cow]) => cow::merge_in_place(cow, backing.as_deref(), lock_file, &mut progress)?,
        (false, [cow, new]) => cow::merge_to(cow, backing.as_deref(), new, lock_file, &mut progress)?,
        (true, _) => return Ok(usage(&"-d needs the name of one COW file", MOO)),
        (false, _) => return Ok(usage(&"it needs the names of a COW file and of the new file", MOO)),
    }
    bar.finish_and_clear();
    Ok(0)
}

/// A progress bar on standard error, drawn if that is a terminal.
fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}");
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn usage(what: &dyn std::fmt::Display, help: &str) -> u8 {
    eprint!("ruml: {what}\n{help}");
    EXIT_USAGE
}
