//! docs/compatibility.md: which syscalls are there, from ruml's own table, and what is not.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use crate::place::Place;

const HEAD: &str = "\
# Compatibility

What of Linux is there. The list of syscalls is made from the kernel's table by `cargo xtask compat`; a call that isn't
in it answers ENOSYS and is counted in the guest's /proc/ruml/unimplemented.

## Parts

";

/// Hand-written: what a list of calls doesn't tell.
const PARTS: &str = include_str!("compat_parts.md");

/// Writes the document, or with `check` says whether it is what would be written.
pub fn main(check: bool) -> Result<bool, String> {
    let place = Place::find(None, false, "guest")?;
    let path = place.root.join("docs/compatibility.md");
    let text = document(place.ruml.as_deref().ok_or("ruml is not built")?)?;
    if !check {
        std::fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display()))?;
        return Ok(true);
    }
    let current = std::fs::read_to_string(&path).unwrap_or_default();
    if current != text {
        println!("docs/compatibility.md is out of date: cargo xtask compat");
    }
    Ok(current == text)
}

fn document(ruml: &Path) -> Result<String, String> {
    let output =
        Command::new(ruml).arg("syscalls").output().map_err(|e| format!("{}: {e}", ruml.display()))?;
    let list = String::from_utf8(output.stdout).map_err(|e| e.to_string())?;
    let names: Vec<&str> =
        list.lines().filter_map(|line| line.split_once(' ')).map(|(_, name)| name).collect();
    if names.is_empty() {
        return Err("ruml syscalls printed nothing".to_owned());
    }
    let mut text = format!("{HEAD}{PARTS}\n## Syscalls\n\n{} of x86-64's:\n\n", names.len());
    let mut line = String::new();
    for name in names {
        if line.len() + name.len() + 2 > 118 {
            let _ = writeln!(text, "{}", line.trim_end());
            line.clear();
        }
        let _ = write!(line, "{name}, ");
    }
    let _ = writeln!(text, "{}", line.trim_end().trim_end_matches(','));
    Ok(text)
}
