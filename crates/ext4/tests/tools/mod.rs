//! What tests of this crate share: temporary directories, e2fsprogs, a random number generator.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

/// A directory that goes when the value is dropped.
pub struct TempDir(PathBuf);

impl TempDir {
    /// A new one, in memory where the host has such a place.
    pub fn new() -> TempDir {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let base = Path::new("/dev/shm");
        let base = if base.is_dir() { base.to_owned() } else { std::env::temp_dir() };
        let path =
            base.join(format!("ext4-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
        fs::create_dir(&path).expect("temporary directory");
        TempDir(path)
    }

    /// The path of `name` in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs a program of e2fsprogs.
pub fn run(program: &str, args: &[&str]) -> Output {
    let path = ["/sbin", "/usr/sbin", "/usr/bin"].map(|dir| Path::new(dir).join(program));
    let found = path.iter().find(|path| path.exists());
    let Some(found) = found else {
        panic!("{program} is missing: install e2fsprogs, the tests check images with it");
    };
    Command::new(found).args(args).env("LC_ALL", "C").output().expect("start")
}

/// Runs it and returns its standard output; panics with both outputs if it fails.
pub fn run_ok(program: &str, args: &[&str]) -> String {
    let output = run(program, args);
    assert!(output.status.success(), "{program} {args:?}: {}", text(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Both outputs of a program.
pub fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// An image of `size` KiB by mke2fs with `options`.
pub fn mke2fs(path: &Path, size: u32, options: &str) {
    let path = path.to_str().expect("UTF-8");
    let size = format!("{size}k");
    let mut args = vec!["-q", "-F"];
    args.extend(options.split_whitespace());
    args.extend([path, &size]);
    run_ok("mke2fs", &args);
}

/// Runs debugfs commands that change the image.
pub fn debugfs_write(path: &Path, command: &str) -> String {
    run_ok("debugfs", &["-w", "-R", command, path.to_str().expect("UTF-8")])
}

/// A splitmix64 generator.
pub struct Random(pub u64);

impl Random {
    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}
