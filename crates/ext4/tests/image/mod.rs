//! Images made by mke2fs and judged by e2fsck.

#![allow(dead_code, clippy::allow_attributes, reason = "each test program uses its part")]

use ext4::{FileDevice, Filesystem, Inode, Level, Log, MountOptions, NewInode};
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Log lines go to the test's output; nothing at or above `Error` is expected.
pub struct TestLog {
    pub errors: AtomicUsize,
}

impl Log for TestLog {
    fn log(&self, level: Level, text: std::fmt::Arguments<'_>) {
        eprintln!("{level:?}: {text}");
        if level <= Level::Error {
            self.errors.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A file system in a file of its own, gone with this.
pub struct Image {
    pub path: PathBuf,
    pub log: Arc<TestLog>,
}

impl Drop for Image {
    fn drop(&mut self) {
        if std::env::var_os("KEEP_IMAGES").is_none() {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Runs a tool of e2fsprogs; fails with a clear message if it isn't there.
pub fn tool(name: &str, args: &[&str]) -> (i32, String) {
    let path = ["/sbin", "/usr/sbin"].iter().map(|dir| Path::new(dir).join(name)).find(|path| path.exists());
    let path = path.unwrap_or_else(|| panic!("{name} is missing: install e2fsprogs"));
    let output = Command::new(path).args(args).output().expect("run");
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap_or(-1), text)
}

impl Image {
    /// mke2fs with `options` (split at blanks) and a size of `kib`.
    pub fn make(options: &str, kib: u64) -> Image {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::var_os("EXT4_TEST_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
        let path = dir.join(format!("ext4-{}-{count}.img", std::process::id()));
        let file = File::create(&path).expect("image");
        file.set_len(kib << 10).expect("image");
        let size = format!("{kib}k");
        let mut args: Vec<&str> = vec!["-q", "-F"];
        args.extend(options.split_whitespace());
        let name = path.to_str().expect("utf-8").to_owned();
        args.extend([name.as_str(), size.as_str()]);
        let (code, text) = tool("mke2fs", &args);
        assert_eq!(code, 0, "mke2fs {options}: {text}");
        Image { path, log: Arc::new(TestLog { errors: AtomicUsize::new(0) }) }
    }

    pub fn mount(&self) -> Arc<Filesystem> {
        self.mount_with(&MountOptions::default())
    }

    pub fn mount_with(&self, options: &MountOptions) -> Arc<Filesystem> {
        let file = OpenOptions::new().read(true).write(true).open(&self.path).expect("image");
        let device = Arc::new(FileDevice::new(file, false).expect("device"));
        Filesystem::mount(device, options, self.log.clone()).expect("mount")
    }

    /// e2fsck -fn finds nothing, and nothing was logged as an error.
    pub fn check(&self) {
        let (code, text) = tool("e2fsck", &["-fn", self.path.to_str().expect("utf-8")]);
        assert_eq!(code, 0, "e2fsck: {text}");
        assert_eq!(self.log.errors.load(Ordering::Relaxed), 0, "errors were logged");
    }

    /// The output of a debugfs command.
    pub fn debugfs(&self, command: &str) -> String {
        tool("debugfs", &["-R", command, self.path.to_str().expect("utf-8")]).1
    }
}

pub fn new_file() -> NewInode {
    NewInode {
        mode: 0o100644,
        uid: 0,
        gid: 0,
        rdev: (0, 0),
        now: abi::time::Timespec { tv_sec: 1_700_000_000, tv_nsec: 5 },
    }
}

pub fn now() -> abi::time::Timespec {
    abi::time::Timespec { tv_sec: 1_700_000_000, tv_nsec: 5 }
}

/// Writes to a file as a page cache without memory would: reserve, then write back whole blocks, reading what is there.
pub fn write(inode: &Inode, offset: u64, data: &[u8], size: &mut u64) -> ext4::Result<()> {
    let block = inode.filesystem().geometry().block_size as u64;
    *size = (*size).max(offset + data.len() as u64);
    let first = offset / block * block;
    let end = (offset + data.len() as u64).div_ceil(block) * block;
    inode.reserve(offset, data.len() as u64)?;
    let mut bytes = vec![0; (end - first) as usize];
    if first != offset || end != offset + data.len() as u64 {
        inode.read_at(first, &mut bytes)?;
    }
    bytes[(offset - first) as usize..][..data.len()].copy_from_slice(data);
    inode.write_back(first, &[&bytes], *size)
}

/// Random numbers that are the same every time.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % n
    }
}
