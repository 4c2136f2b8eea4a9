//! Times contents: a large file written and read in pieces, random overwrites, and how many extents and device calls it
//! took.
//!
//! `cargo run --release -p ext4 --example throughput -- [MIB] [MKE2FS-ARGS…]`

use abi::time::Timespec;
use ext4::{BlockDevice, FileDevice, Filesystem, MountOptions, NewInode, NoLog};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Counts calls.
struct Counting {
    file: FileDevice,
    reads: AtomicU64,
    writes: AtomicU64,
}

impl BlockDevice for Counting {
    fn len(&self) -> u64 {
        self.file.len()
    }
    fn is_readonly(&self) -> bool {
        self.file.is_readonly()
    }
    fn read(&self, offset: u64, buf: &mut [u8]) -> ext4::Result<()> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.file.read(offset, buf)
    }
    fn write(&self, offset: u64, bufs: &[&[u8]]) -> ext4::Result<()> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        self.file.write(offset, bufs)
    }
    fn flush(&self) -> ext4::Result<()> {
        self.file.flush()
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let mib: u64 = args.next().map_or(Ok(1024), |arg| arg.parse())?;
    let mut mke2fs: Vec<String> = args.collect();
    if mke2fs.is_empty() {
        mke2fs = vec!["-t".into(), "ext4".into()];
    }
    let path = std::env::temp_dir().join(format!("ext4-throughput-{}", std::process::id()));
    let size = format!("{}M", mib * 2 + 256);
    let status = std::process::Command::new("/sbin/mke2fs")
        .args(["-q", "-F"])
        .args(&mke2fs)
        .arg(&path)
        .arg(&size)
        .status()?;
    if !status.success() {
        return Err("mke2fs failed".into());
    }
    let file = std::fs::File::options().read(true).write(true).open(&path)?;
    let device = Arc::new(Counting {
        file: FileDevice::new(file, false)?,
        reads: AtomicU64::new(0),
        writes: AtomicU64::new(0),
    });
    let fs = Filesystem::mount(device.clone(), &MountOptions::default(), Arc::new(NoLog))?;
    let now = Timespec { tv_sec: 1_700_000_000, tv_nsec: 0 };
    let new = NewInode { mode: 0o100644, uid: 0, gid: 0, rdev: (0, 0), now };
    let root = fs.root()?;
    let piece = vec![0x5A; 1 << 20];
    let total = mib << 20;
    let report = |what: &str, start: Instant, count: u64, bytes: u64| {
        let time = start.elapsed().as_secs_f64();
        println!(
            "{what:<24} {:8.2} µs each {:8.0} MB/s, {} reads, {} writes",
            time * 1e6 / count as f64,
            bytes as f64 / time / 1e6,
            device.reads.swap(0, Ordering::Relaxed),
            device.writes.swap(0, Ordering::Relaxed)
        );
    };
    let raw = Instant::now();
    for at in 0..mib {
        device.write(at << 20 | (total + (200 << 20)), &[&piece[..]]).ok();
    }
    report("bare device write", raw, mib, total);
    let inode = root.create(b"large", &new)?;
    let start = Instant::now();
    for page in 0..total >> 12 {
        inode.reserve(page << 12, 4096)?;
    }
    report("reserve, by pages", start, total >> 12, total);
    let start = Instant::now();
    let pages: Vec<&[u8]> = piece.chunks(4096).collect();
    for at in 0..mib {
        inode.write_back(at << 20, &pages, total)?;
    }
    report("write, 1 MiB pieces", start, mib, total);
    let start = Instant::now();
    fs.sync()?;
    report("sync", start, 1, 0);
    println!("extents: {}", inode.fiemap(0, u64::MAX, 0)?.len());
    let mut buf = vec![0; 1 << 20];
    let start = Instant::now();
    for at in 0..mib {
        inode.read_at(at << 20, &mut buf)?;
    }
    report("read, 1 MiB pieces", start, mib, total);
    let mut seed = 1u64;
    let mut random = move |n: u64| {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (seed >> 33) % n
    };
    let count = 100_000;
    let start = Instant::now();
    for _ in 0..count {
        inode.write_back(random(total >> 12) << 12, &[&piece[..4096]], total)?;
    }
    report("overwrite 4 KiB, random", start, count, count << 12);
    let start = Instant::now();
    for _ in 0..count {
        inode.read_at(random(total >> 12) << 12, &mut buf[..4096])?;
    }
    report("read 4 KiB, random", start, count, count << 12);
    let pair = [root.create(b"one", &new)?, root.create(b"two", &new)?];
    let start = Instant::now();
    let part = total / 8;
    for at in 0..part >> 16 {
        for inode in &pair {
            inode.reserve(at << 16, 1 << 16)?;
            inode.write_back(at << 16, &[&piece[..1 << 16]], (at + 1) << 16)?;
        }
    }
    report("two appended, 64 KiB", start, part >> 15, part * 2);
    println!("extents: {} {}", pair[0].fiemap(0, u64::MAX, 0)?.len(), pair[1].fiemap(0, u64::MAX, 0)?.len());
    let sparse = root.create(b"sparse", &new)?;
    let start = Instant::now();
    let count = 20_000;
    for _ in 0..count {
        let at = random(1 << 20) << 12;
        sparse.reserve(at, 4096)?;
        sparse.write_back(at, &[&piece[..4096]], 1 << 32)?;
    }
    report("fill holes 4 KiB, random", start, count, count << 12);
    println!("extents: {}", sparse.fiemap(0, u64::MAX, 0)?.len());
    let start = Instant::now();
    for at in 0..2000 {
        pair[0].write_back(part + (at << 12), &[&piece[..4096]], part + ((at + 1) << 12))?;
        pair[0].fsync(true)?;
    }
    report("append 4 KiB + fsync", start, 2000, 2000 << 12);
    let start = Instant::now();
    sparse.set_size(0)?;
    inode.set_size(0)?;
    report("truncate", start, 1, 0);
    drop((inode, pair, sparse, root));
    let start = Instant::now();
    fs.unmount()?;
    report("unmount", start, 1, 0);
    let status = std::process::Command::new("/sbin/e2fsck").args(["-fn"]).arg(&path).output()?;
    println!("e2fsck: {}", status.status);
    if !status.status.success() {
        println!("{}", String::from_utf8_lossy(&status.stdout));
    }
    std::fs::remove_file(&path)?;
    Ok(())
}
