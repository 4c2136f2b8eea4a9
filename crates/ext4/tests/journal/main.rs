//! The journal by itself: random transactions over the blocks of a file, cut anywhere and replayed by this crate and
//! by e2fsck; journals that debugfs wrote; threads at once; devices that fail.

#[path = "../common/mod.rs"]
mod common;
mod cuts;

use abi::errno::{EIO, ENOSPC, EOPNOTSUPP, EROFS};
use common::{Image, Random, tool};
use cuts::{pattern, work};
use ext4::recording::RecordingDevice;
use ext4::{
    BlockDevice, BufferCache, JournalMap, JournalOptions, MemoryDevice, NoLog, Recovered, Result, Run,
    Transactions, recover,
};
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What a journal block begins with.
const MAGIC: [u8; 4] = [0xC0, 0x3B, 0x39, 0x98];

/// An image with a journal and a file of `BLOCKS` blocks that the tests use as they like.
struct Disk {
    image: Image,
    data: Vec<u8>,
    block_size: usize,
    journal: Vec<Run>,
    file: Vec<u64>,
}

const BLOCKS: usize = 96;

impl Disk {
    fn new(options: &str, block_size: usize) -> Disk {
        let content = common::TempDir::new();
        fs::write(content.path().join("file"), vec![0x55; BLOCKS * block_size]).unwrap();
        let options = format!("{options} -b {block_size} -d {}", content.path().display());
        let args: Vec<&str> = options.split_whitespace().collect();
        let image = Image::make(&format!("{}k", 4 * block_size), &args);
        image.debugfs_write("feature needs_recovery");
        let runs = |file: &str| runs(&String::from_utf8_lossy(&image.debugfs(&format!("stat {file}"))));
        let journal = runs("<8>");
        let file: Vec<u64> =
            runs("/file").iter().flat_map(|run| run.physical..run.physical + u64::from(run.len)).collect();
        assert_eq!(file.len(), BLOCKS);
        Disk { data: fs::read(&image.path).unwrap(), image, block_size, journal, file }
    }

    fn map(&self) -> JournalMap {
        JournalMap::new(&self.journal, self.block_size, self.data.len() as u64).unwrap()
    }

    fn open(&self, device: Arc<dyn BlockDevice>, checksum: u8, wide: bool) -> Transactions {
        recover(&*device, &self.map(), &NoLog).unwrap();
        let cache = Arc::new(BufferCache::new(device, self.block_size));
        let options = JournalOptions { checksum, wide, barrier: true };
        Transactions::with_journal(cache, Arc::new(NoLog), self.map(), &options).unwrap()
    }

    /// The image replayed by e2fsck, which must find it good then.
    fn replay_by_e2fsck(&self, image: &[u8]) -> Vec<u8> {
        fs::write(&self.image.path, image).unwrap();
        let output = tool("e2fsck", &["-fy", self.image.name()]);
        let code = output.status.code();
        assert!(matches!(code, Some(0 | 1)), "{code:?}: {}", String::from_utf8_lossy(&output.stdout));
        self.image.check("replayed by e2fsck");
        fs::read(&self.image.path).unwrap()
    }
}

/// The data blocks in the output of debugfs's stat: `(0-11):27-38, (IND):39, (12):40`.
fn runs(stat: &str) -> Vec<Run> {
    let at = stat.find("BLOCKS:").or_else(|| stat.find("EXTENTS:")).expect("a block list");
    let mut runs = Vec::new();
    for item in stat[at..].split(['\n', ',']).skip(1).map(str::trim) {
        let Some((logical, physical)) = item.split_once(':') else { continue };
        if logical.trim_start_matches('(').starts_with(|c: char| c.is_ascii_digit()) {
            let (first, last) = physical.split_once('-').unwrap_or((physical, physical));
            let (first, last): (u64, u64) = (first.parse().unwrap(), last.parse().unwrap());
            runs.push(Run { physical: first, len: (last - first + 1) as u32 });
        }
    }
    runs
}

/// Journals that debugfs wrote, replayed here and by e2fsck with the same result.
fn replay_of_debugfs(options: &str, block_size: usize, open: &str) {
    let disk = Disk::new(options, block_size);
    let path = disk.image.path.clone();
    let mut random = Random(block_size as u64);
    let mut script = format!("{open}\n");
    for n in 0..40 {
        let data = disk.image.dir.path().join(format!("data{n}"));
        let count = 1 + random.pick(20);
        let mut bytes = pattern(n + 1, count * block_size);
        // Blocks that have to be escaped.
        bytes[..4].copy_from_slice(&MAGIC);
        fs::write(&data, bytes).unwrap();
        let first = random.pick(BLOCKS - count);
        let list = |blocks: &[u64]| blocks.iter().map(u64::to_string).collect::<Vec<_>>().join(",");
        let blocks = list(&disk.file[first..first + count]);
        let revoked = list(&disk.file[first..first + count.min(3)]);
        script += &match n {
            39 => format!("jw -c -b {blocks} {}\n", data.display()),
            n if n % 5 == 4 => format!("jw -r {revoked} {}\n", data.display()),
            _ => format!("jw -b {blocks} {}\n", data.display()),
        };
    }
    script += "jc\n";
    fs::write(disk.image.dir.path().join("script"), script).unwrap();
    let script = disk.image.dir.path().join("script");
    let output = tool("debugfs", &["-w", "-f", script.to_str().unwrap(), disk.image.name()]);
    assert!(output.status.success());
    let written = fs::read(&path).unwrap();
    let ours = MemoryDevice::new(written.clone());
    let done = recover(&ours, &disk.map(), &NoLog).unwrap();
    assert_eq!((done.transactions, done.damaged), (39, false));
    assert!(done.revoked > 0 && done.blocks > 20, "{done:?}");
    let theirs = disk.replay_by_e2fsck(&written);
    let ours = ours.snapshot();
    for block in &disk.file {
        let at = *block as usize * block_size;
        assert_eq!(ours[at..at + block_size], theirs[at..at + block_size], "block {block}");
    }
    assert_ne!(ours, written);
    // What was replayed mustn't be replayed again.
    let again = recover(&MemoryDevice::new(ours), &disk.map(), &NoLog).unwrap();
    assert_eq!(again, Recovered::default());
}

#[test]
fn journals_by_debugfs() {
    replay_of_debugfs("-t ext3 -J size=4", 4096, "jo");
    replay_of_debugfs("-t ext3 -J size=1", 1024, "jo -c -v 2");
    replay_of_debugfs("-t ext4 -O 64bit,metadata_csum -J size=1", 1024, "jo -c -v 2");
    replay_of_debugfs("-t ext4 -O 64bit,metadata_csum -J size=4", 4096, "jo -c -v 3");
    replay_of_debugfs("-t ext4 -O ^64bit,metadata_csum -J size=1", 1024, "jo -c");
}

/// Threads that change blocks, sync, free and use them again, on a log that is much too small.
#[test]
fn threads_share_a_small_log() {
    let disk = Disk::new("-t ext4 -J size=1", 1024);
    let device = Arc::new(MemoryDevice::new(disk.data.clone()));
    let tx = Arc::new(disk.open(device.clone(), 3, true));
    let stop = Arc::new(AtomicBool::new(false));
    let ticker = {
        let (tx, stop) = (tx.clone(), stop.clone());
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                tx.tick(u64::MAX / 2).unwrap();
                std::thread::yield_now();
            }
        })
    };
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let (tx, blocks) = (tx.clone(), disk.file.clone());
            std::thread::spawn(move || {
                let mut random = Random(thread + 1);
                for n in 0..1500u64 {
                    let mut handle = tx.begin(24).unwrap();
                    for block in blocks.iter().skip(thread as usize).step_by(4) {
                        let buffer = tx.cache().read(*block).unwrap();
                        handle.modify(&buffer, |data| data[8..16].copy_from_slice(&n.to_le_bytes())).unwrap();
                    }
                    let tid = handle.tid();
                    drop(handle);
                    if random.pick(20) == 0 {
                        tx.sync_tid(tid).unwrap();
                    }
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    stop.store(true, Ordering::Relaxed);
    ticker.join().unwrap();
    tx.close().unwrap();
    let data = device.snapshot();
    for block in &disk.file {
        let at = *block as usize * 1024;
        assert_eq!(data[at + 8..at + 16], 1499u64.to_le_bytes());
    }
    disk.replay_by_e2fsck(&data);
}

/// A device that fails from some moment on.
struct Failing {
    inner: MemoryDevice,
    failing: AtomicBool,
}

impl BlockDevice for Failing {
    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn is_readonly(&self) -> bool {
        false
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.inner.read(offset, buf)
    }

    fn write(&self, offset: u64, bufs: &[&[u8]]) -> Result<()> {
        if self.failing.load(Ordering::Relaxed) { Err(EIO) } else { self.inner.write(offset, bufs) }
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }
}

#[test]
fn a_failing_log_ends_all_writing() {
    let disk = Disk::new("-t ext4 -J size=1", 1024);
    let device =
        Arc::new(Failing { inner: MemoryDevice::new(disk.data.clone()), failing: AtomicBool::new(false) });
    let tx = disk.open(device.clone(), 3, true);
    let buffer = tx.cache().read(disk.file[0]).unwrap();
    let write =
        |value: u8| tx.begin(1).and_then(|mut handle| handle.modify(&buffer, |data| data.fill(value)));
    write(1).unwrap();
    tx.commit_now(true).unwrap();
    write(2).unwrap();
    device.failing.store(true, Ordering::Relaxed);
    assert_eq!(tx.commit_now(true), Err(EIO));
    assert!(tx.is_aborted());
    assert_eq!(write(3), Err(EROFS));
    assert_eq!(tx.begin(1).err(), Some(EROFS));
    assert_eq!(tx.close(), Err(EIO));
    device.failing.store(false, Ordering::Relaxed);
    recover(&*device, &disk.map(), &NoLog).unwrap();
    let mut found = vec![0; 1024];
    device.read(disk.file[0] * 1024, &mut found).unwrap();
    assert_eq!(found, vec![1; 1024]);
}

#[test]
fn an_abort_is_remembered_by_the_journal() {
    let disk = Disk::new("-t ext4 -J size=1", 1024);
    let device = Arc::new(MemoryDevice::new(disk.data.clone()));
    disk.open(device.clone(), 3, true).abort(EIO);
    let tx = disk.open(device, 3, true);
    assert_eq!(tx.recorded_error(), Some(EIO));
    tx.clear_error().unwrap();
    assert_eq!(tx.recorded_error(), None);
}

#[test]
fn too_large_an_operation_is_refused() {
    let disk = Disk::new("-t ext4 -J size=1", 1024);
    let tx = disk.open(Arc::new(MemoryDevice::new(disk.data.clone())), 3, true);
    assert_eq!(tx.begin(tx.max_credits() + 1).err(), Some(ENOSPC));
    let mut handle = tx.begin(tx.max_credits()).unwrap();
    assert_eq!(handle.extend(1), Ok(false));
    handle.restart(5).unwrap();
    assert_eq!(handle.extend(1), Ok(true));
}

/// Journals with random damage: replay may fail or skip, but neither panics nor hangs.
#[test]
fn damaged_journals_are_survived() {
    let disk = Disk::new("-t ext4 -O 64bit,metadata_csum -J size=1", 1024);
    for (checksum, seed) in [(0, 1), (1, 2), (2, 3), (3, 4)] {
        let device = Arc::new(RecordingDevice::new(disk.data.clone(), 0));
        let tx = disk.open(device.clone(), checksum, true);
        let mut random = Random(seed);
        work(&disk, &device, &tx, 60, &mut random);
        let good = device.snapshot();
        for _ in 0..300 {
            let mut bad = good.clone();
            for _ in 0..1 + random.pick(6) {
                let run = disk.journal[0];
                let block = run.physical as usize + random.pick(40.min(run.len as usize));
                let at = block * 1024 + if random.pick(2) == 0 { random.pick(64) } else { random.pick(1024) };
                bad[at] = random.next() as u8;
            }
            let device = MemoryDevice::new(bad);
            let _ = recover(&device, &disk.map(), &NoLog);
        }
    }
}

/// A journal in use whose superblock names a fast-commit area, and whose area holds that.
fn with_fast_commits(disk: &Disk, tid: u32) -> Vec<u8> {
    let device = Arc::new(MemoryDevice::new(disk.data.clone()));
    let tx = disk.open(device.clone(), 0, false);
    let buffer = tx.cache().read(disk.file[0]).unwrap();
    tx.begin(1).and_then(|mut handle| handle.modify(&buffer, |data| data.fill(1))).unwrap();
    tx.commit_now(true).unwrap();
    let mut data = device.snapshot();
    let superblock = disk.journal[0].physical as usize * disk.block_size;
    data[superblock + 0x2B] |= 0x20;
    data[superblock + 0x54..superblock + 0x58].copy_from_slice(&16u32.to_be_bytes());
    // Little-endian tags: the head (features, transaction), an unlinked name, the tail (transaction, checksum).
    let mut tags = vec![9, 0, 8, 0, 0, 0, 0, 0];
    tags.extend(tid.to_le_bytes());
    tags.extend([5, 0, 9, 0, 2, 0, 0, 0, 12, 0, 0, 0, b'x']);
    tags.extend([8, 0, 8, 0]);
    tags.extend(tid.to_le_bytes());
    tags.extend([0; 4]);
    let last: Vec<u64> =
        disk.journal.iter().flat_map(|run| run.physical..run.physical + u64::from(run.len)).collect();
    let area = last[last.len() - 16] as usize * disk.block_size;
    data[area..area + tags.len()].copy_from_slice(&tags);
    data
}

#[test]
fn fast_commits_are_refused_and_stale_ones_ignored() {
    let disk = Disk::new("-t ext4 -O ^metadata_csum -J size=1", 1024);
    // The next transaction's are what would have to be replayed after the log.
    let next = with_fast_commits(&disk, 2);
    let device = MemoryDevice::new(next.clone());
    assert_eq!(recover(&device, &disk.map(), &NoLog), Err(EOPNOTSUPP));
    assert_eq!(device.snapshot(), next, "a refused journal stays as it is");
    let device = MemoryDevice::new(with_fast_commits(&disk, 1));
    assert_eq!(recover(&device, &disk.map(), &NoLog).unwrap().blocks, 1);
}
