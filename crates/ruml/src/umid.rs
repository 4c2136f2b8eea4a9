//! `umid=`: the directory by which a running machine is found, `~/.uml/NAME` with its `pid` file, as User-Mode Linux
//! keeps it.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Longest name.
const NAME_MAX: usize = 63;

/// A claimed directory; it goes when this is dropped.
pub struct Umid {
    dir: PathBuf,
}

impl Umid {
    /// Claims `name`, or a random one. A directory whose machine has died is taken over; where it is alive, another
    /// name is taken, and said so.
    ///
    /// # Errors
    /// In words for the user: a name that is none, a directory that cannot be made.
    pub fn claim(name: Option<&str>, uml_dir: Option<&str>) -> Result<Umid, String> {
        let base = match uml_dir {
            Some(dir) => PathBuf::from(dir),
            None => Path::new(&std::env::var_os("HOME").unwrap_or_else(|| "/".into())).join(".uml"),
        };
        if let Some(name) = name {
            if name.is_empty() || name.len() > NAME_MAX || name.contains('/') || name.starts_with('.') {
                return Err(format!(
                    "umid={name}: must be 1 to {NAME_MAX} characters, no slash, no dot in front"
                ));
            }
            if let Some(umid) = Umid::take(&base.join(name))? {
                return Ok(umid);
            }
            eprintln!("ruml: umid={name} belongs to a running machine; taking another name");
        }
        loop {
            if let Some(umid) = Umid::take(&base.join(random_name()))? {
                return Ok(umid);
            }
        }
    }

    /// None if its machine is alive.
    fn take(dir: &Path) -> Result<Option<Umid>, String> {
        fs::create_dir_all(dir).map_err(|e| format!("cannot make {}: {e}", dir.display()))?;
        let pid_file = dir.join("pid");
        if let Ok(text) = fs::read_to_string(&pid_file) {
            let alive =
                text.trim().parse::<u32>().is_ok_and(|pid| Path::new(&format!("/proc/{pid}")).exists());
            if alive {
                return Ok(None);
            }
            // Left behind by a machine that was killed. Of two that find it one makes the new file.
            let _ = fs::remove_file(&pid_file);
        }
        let made = fs::OpenOptions::new().write(true).create_new(true).mode(0o644).open(&pid_file);
        match made.and_then(|mut file| writeln!(file, "{}", std::process::id())) {
            Ok(()) => Ok(Some(Umid { dir: dir.to_owned() })),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(None),
            Err(e) => Err(format!("cannot write {}: {e}", pid_file.display())),
        }
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Gives the directory up before its time: the program is about to start again.
    pub fn release(&self) {
        let _ = fs::remove_file(self.dir.join("pid"));
        // Not empty if somebody else put something there: then it stays.
        let _ = fs::remove_dir(&self.dir);
    }
}

impl Drop for Umid {
    fn drop(&mut self) {
        self.release();
    }
}

fn random_name() -> String {
    let mut bytes = [0; 6];
    host::random::fill(&mut bytes);
    const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    bytes.iter().map(|b| char::from(LETTERS[usize::from(b % 32)])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_live_machine_keeps_its_name_and_a_dead_one_loses_it() {
        let base = std::env::temp_dir().join(format!("ruml-umid-{}", std::process::id()));
        let base_text = base.to_str().unwrap();
        let first = Umid::claim(Some("a"), Some(base_text)).unwrap();
        assert_eq!(first.dir, base.join("a"));
        let second = Umid::claim(Some("a"), Some(base_text)).unwrap();
        assert_ne!(second.dir, first.dir);
        drop((first, second));
        fs::create_dir_all(base.join("a")).unwrap();
        fs::write(base.join("a/pid"), "4194305\n").unwrap();
        let taken_over = Umid::claim(Some("a"), Some(base_text)).unwrap();
        assert_eq!(taken_over.dir, base.join("a"));
        drop(taken_over);
        fs::remove_dir(&base).unwrap();
    }

    #[test]
    fn a_name_that_leads_elsewhere_is_refused() {
        for name in ["", "../x", "a/b", "."] {
            assert!(Umid::claim(Some(name), Some("/nonexistent")).is_err());
        }
    }
}
