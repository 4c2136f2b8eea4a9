//! Images made by mke2fs, mounted by the library, checked by e2fsck and read by debugfs.
#![allow(dead_code, clippy::allow_attributes, reason = "each test program uses its part")]

use abi::time::Timespec;
use ext4::{FileDevice, Filesystem, Inode, Level, Log, MountOptions, NewInode, Result};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

/// mke2fs arguments of every kind of file system that is tested: name, arguments.
pub const KINDS: &[(&str, &[&str])] = &[
    ("ext2-1k", &["-t", "ext2", "-b", "1024"]),
    ("ext2-4k", &["-t", "ext2", "-b", "4096"]),
    ("ext2-noindex", &["-t", "ext2", "-b", "1024", "-O", "^dir_index"]),
    ("ext2-rev0-like", &["-t", "ext2", "-b", "1024", "-I", "128", "-O", "none"]),
    ("ext3-1k", &["-t", "ext3", "-b", "1024"]),
    ("ext3-4k-128", &["-t", "ext3", "-b", "4096", "-I", "128"]),
    ("ext4-1k", &["-t", "ext4", "-b", "1024"]),
    ("ext4-2k", &["-t", "ext4", "-b", "2048"]),
    ("ext4-4k", &["-t", "ext4", "-b", "4096"]),
    ("ext4-128", &["-t", "ext4", "-I", "128"]),
    ("ext4-512", &["-t", "ext4", "-I", "512"]),
    ("ext4-32bit", &["-t", "ext4", "-O", "^64bit"]),
    ("ext4-uninit-bg", &["-t", "ext4", "-O", "^metadata_csum,uninit_bg", "-b", "1024"]),
    ("ext4-nocsum", &["-t", "ext4", "-O", "^metadata_csum"]),
    ("ext4-nojournal", &["-t", "ext4", "-O", "^has_journal"]),
    ("ext4-noextent", &["-t", "ext4", "-O", "^extent,^64bit", "-b", "1024"]),
    ("ext4-noflex", &["-t", "ext4", "-O", "^flex_bg", "-b", "1024"]),
    ("ext4-meta-bg", &["-t", "ext4", "-O", "meta_bg,^resize_inode", "-b", "1024"]),
    ("ext4-sparse2", &["-t", "ext4", "-O", "sparse_super2,^resize_inode", "-b", "1024"]),
    ("ext4-orphan-file", &["-t", "ext4", "-O", "orphan_file"]),
    ("ext4-inline", &["-t", "ext4", "-O", "inline_data"]),
    ("ext4-large-dir", &["-t", "ext4", "-O", "large_dir", "-b", "1024"]),
    ("ext4-csum-seed", &["-t", "ext4", "-O", "metadata_csum_seed"]),
    ("ext4-nofiletype", &["-t", "ext4", "-O", "^filetype"]),
    ("ext4-64k", &["-t", "ext4", "-b", "65536"]),
];

/// A directory of its own, removed at the end.
pub struct TempDir(PathBuf);

impl TempDir {
    pub fn new() -> TempDir {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        // In memory where the host has such a place.
        let memory = Path::new("/dev/shm");
        let base = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let path = base.join(format!("ext4-test-{}-{count}", std::process::id()));
        std::fs::create_dir_all(&path).expect("temporary directory");
        TempDir(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs a program of e2fsprogs.
pub fn tool(name: &str, args: &[&str]) -> Output {
    let path =
        ["/usr/sbin", "/sbin", "/usr/bin", "/usr/local/sbin"].iter().map(|dir| Path::new(dir).join(name));
    let path = path.into_iter().find(|path| path.exists()).unwrap_or_else(|| {
        panic!("{name} is missing: these tests need the package e2fsprogs");
    });
    Command::new(path).args(args).output().unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// A file system image in a temporary directory.
pub struct Image {
    pub dir: TempDir,
    pub path: PathBuf,
}

impl Image {
    /// An image of `size` (as mke2fs takes it) made with `args`.
    pub fn make(size: &str, args: &[&str]) -> Image {
        let dir = TempDir::new();
        let path = dir.path().join("image");
        let mut all = vec!["-q", "-F"];
        all.extend(args);
        let name = path.to_str().expect("temporary directory in UTF-8").to_string();
        all.extend([name.as_str(), size]);
        let output = tool("mke2fs", &all);
        assert!(output.status.success(), "mke2fs {all:?}: {}", String::from_utf8_lossy(&output.stderr));
        Image { dir, path }
    }

    pub fn name(&self) -> &str {
        self.path.to_str().expect("temporary directory in UTF-8")
    }

    pub fn device(&self) -> Arc<FileDevice> {
        let file = std::fs::File::options().read(true).write(true).open(&self.path).expect("image");
        Arc::new(FileDevice::new(file, false).expect("image"))
    }

    pub fn try_mount(&self, options: &MountOptions, log: Arc<dyn Log>) -> Result<Arc<Filesystem>> {
        Filesystem::mount(self.device(), options, log)
    }

    pub fn mount(&self) -> Arc<Filesystem> {
        self.try_mount(&MountOptions::default(), Arc::new(Printer)).expect("mount")
    }

    /// e2fsck finds nothing to complain about.
    pub fn check(&self, what: &str) {
        let output = tool("e2fsck", &["-fn", self.name()]);
        let text = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            let keep = std::env::temp_dir().join("ext4-test-failed.img");
            let _ = std::fs::copy(&self.path, &keep);
            let short: String = text.chars().take(6000).collect();
            panic!("{what}: e2fsck -fn {}: (kept as {})\n{short}", self.name(), keep.display());
        }
    }

    /// What debugfs prints for a command.
    pub fn debugfs(&self, command: &str) -> Vec<u8> {
        let output = tool("debugfs", &["-R", command, self.name()]);
        output.stdout
    }

    /// Commands that change the image.
    pub fn debugfs_write(&self, command: &str) {
        let output = tool("debugfs", &["-w", "-R", command, self.name()]);
        assert!(output.status.success(), "debugfs {command}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// Log lines on standard error, which cargo shows for failing tests.
pub struct Printer;

impl Log for Printer {
    fn log(&self, level: Level, text: std::fmt::Arguments<'_>) {
        eprintln!("{level:?}: {text}");
    }
}

/// Keeps log lines.
#[derive(Default)]
pub struct Recorder(pub Mutex<Vec<String>>);

impl Log for Recorder {
    fn log(&self, _level: Level, text: std::fmt::Arguments<'_>) {
        self.0.lock().unwrap().push(text.to_string());
    }
}

/// A deterministic random number generator (xorshift64*).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 16) % bound
    }

    pub fn pick(&mut self, bound: usize) -> usize {
        self.below(bound as u64) as usize
    }
}

pub fn time(seconds: i64) -> Timespec {
    Timespec { tv_sec: seconds, tv_nsec: 500 }
}

pub fn file(mode: u16) -> NewInode {
    NewInode { mode: 0o100000 | mode, uid: 1000, gid: 70000, rdev: (0, 0), now: time(1_700_000_000) }
}

pub fn directory(mode: u16) -> NewInode {
    NewInode { mode: 0o040000 | mode, ..file(0) }
}

/// Writes a range, as a page cache would: whole blocks, what is around the range read before.
pub fn write(inode: &Inode, offset: u64, data: &[u8]) -> Result<()> {
    let block = inode.filesystem().geometry().block_size as u64;
    let end = offset + data.len() as u64;
    let size = inode.stat().size.max(end);
    let start = offset / block * block;
    let stop = end.next_multiple_of(block).min(size);
    let mut bytes = vec![0; (stop - start) as usize];
    inode.read_at(start, &mut bytes)?;
    bytes[(offset - start) as usize..][..data.len()].copy_from_slice(data);
    inode.reserve(start, bytes.len() as u64)?;
    inode.write_back(start, &[&bytes], size)
}

/// All of a file.
pub fn read(inode: &Inode) -> Vec<u8> {
    let mut data = vec![0; inode.stat().size as usize];
    inode.read_at(0, &mut data).expect("read");
    data
}

/// Names and numbers of a directory, in listing order, without "." and "..".
pub fn list(dir: &Inode) -> Vec<(Vec<u8>, u32)> {
    let mut found = Vec::new();
    let mut position = 0;
    loop {
        let mut count = 0;
        dir.read_dir(position, &mut |entry| {
            if count == 7 {
                return false;
            }
            count += 1;
            assert!(entry.next > position, "cookies rise");
            position = entry.next;
            if entry.name != b"." && entry.name != b".." {
                found.push((entry.name.clone(), entry.ino));
            }
            true
        })
        .expect("read_dir");
        if count == 0 {
            return found;
        }
    }
}

/// Some bytes that are told apart by `seed`.
pub fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let mut data = Vec::with_capacity(len + 8);
    while data.len() < len {
        data.extend(random.next().to_le_bytes());
    }
    data.truncate(len);
    data
}
