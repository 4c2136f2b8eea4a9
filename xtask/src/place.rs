//! Where sources, builds and the ruml executable lie, and the ordinary user the tests run as.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Directories and identity of one run of the tests.
pub struct Place {
    /// The repository.
    pub root: PathBuf,
    /// Compiled guest programs; readable by the test user.
    pub bin: PathBuf,
    /// The ruml executable, unless only native runs were asked for.
    pub ruml: Option<PathBuf>,
    /// Who the tests run as, on both sides.
    pub uid: u32,
    /// That user's group.
    pub gid: u32,
    /// Whether `setpriv` must change to that user first.
    as_root: bool,
}

impl Place {
    /// Finds everything; `ruml` overrides `target/release/ruml`.
    pub fn find(ruml: Option<&str>, native_only: bool, bin: &str) -> Result<Self, String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .ok_or("xtask has no parent directory")?
            .to_path_buf();
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        let own = std::fs::metadata("/proc/self").map_err(|e| format!("/proc/self: {e}"))?;
        let as_root = own.uid() == 0;
        let (uid, gid) = if as_root { ordinary_user() } else { (own.uid(), own.gid()) };
        let mut place = Self { bin: target.join(bin), root, ruml: None, uid, gid, as_root };
        std::fs::create_dir_all(&place.bin).map_err(|e| format!("{}: {e}", place.bin.display()))?;
        if !place.reaches(&place.bin) {
            // A checkout in root's home: the test user needs the programs somewhere it may look.
            place.bin = std::env::temp_dir().join(format!("ruml-{}", bin.replace('/', "-")));
            std::fs::create_dir_all(&place.bin).map_err(|e| format!("{}: {e}", place.bin.display()))?;
            let open = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(&place.bin, open).map_err(|e| e.to_string())?;
        }
        if !native_only {
            let path = ruml.map_or_else(|| target.join("release/ruml"), PathBuf::from);
            let path = path
                .canonicalize()
                .map_err(|e| format!("{}: {e} (cargo build --release first)", path.display()))?;
            place.ruml = Some(place.staged(path)?);
        }
        Ok(place)
    }

    /// `program` as the test user.
    pub fn command(&self, program: &Path) -> Command {
        let mut c = if self.as_root {
            let mut c = Command::new("setpriv");
            c.arg(format!("--reuid={}", self.uid)).arg(format!("--regid={}", self.gid));
            c.args(["--clear-groups", "--inh-caps=-all"]).arg(program);
            c
        } else {
            Command::new(program)
        };
        c.current_dir("/").env_remove("TMPDIR").env("LC_ALL", "C.UTF-8");
        if self.as_root {
            c.env("HOME", "/tmp").env("USER", "guest");
        }
        c
    }

    /// Whether the tests are run by root.
    pub fn as_root(&self) -> bool {
        self.as_root
    }

    /// `program` as whoever runs the tests.
    pub fn root_command(&self, program: &Path) -> Command {
        let mut c = Command::new(program);
        c.current_dir("/").env_remove("TMPDIR").env("LC_ALL", "C.UTF-8");
        c
    }

    /// Whether the test user can read a file or directory.
    pub fn reaches(&self, path: &Path) -> bool {
        self.command(Path::new("test")).arg("-r").arg(path).status().is_ok_and(|s| s.success())
    }

    fn staged(&self, path: PathBuf) -> Result<PathBuf, String> {
        if self.reaches(&path) {
            return Ok(path);
        }
        let copy = self.bin.join(".ruml");
        std::fs::copy(&path, &copy).map_err(|e| format!("{}: {e}", copy.display()))?;
        Ok(copy)
    }
}

/// The first ordinary user of the machine, or nobody.
fn ordinary_user() -> (u32, u32) {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    first_user(&passwd).unwrap_or((65534, 65534))
}

fn first_user(passwd: &str) -> Option<(u32, u32)> {
    passwd
        .lines()
        .filter_map(|l| {
            let mut f = l.split(':').skip(2);
            Some((f.next()?.parse::<u32>().ok()?, f.next()?.parse::<u32>().ok()?))
        })
        .find(|&(uid, _)| (1000..60000).contains(&uid))
}

#[cfg(test)]
mod tests {
    use super::first_user;

    #[test]
    fn picks_an_ordinary_user() {
        assert_eq!(
            first_user("root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\njo:x:1001:100::/:\n"),
            Some((1001, 100))
        );
        assert_eq!(first_user("root:x:0:0::/:/bin/sh\nbroken\n"), None);
    }
}
