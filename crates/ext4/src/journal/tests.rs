//! The journal by itself: random transactions over the blocks of a file, cut anywhere and replayed by this crate and
//! by e2fsck; journals that debugfs wrote; threads at once.

#[path = "../../tests/tools/mod.rs"]
mod tools;

use super::*;
use crate::device::{BlockDevice, FileDevice, MemoryDevice};
use crate::log::NoLog;
use crate::recording::RecordingDevice;
use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use tools::{Random, TempDir, debugfs_write, mke2fs, run, text};

/// An image with a journal and a file of `BLOCKS` blocks that the tests use as they like.
struct Image {
    dir: TempDir,
    data: Vec<u8>,
    block_size: usize,
    journal: Vec<Run>,
    file: Vec<u64>,
}

const BLOCKS: usize = 96;

impl Image {
    fn new(options: &str, block_size: usize) -> Image {
        let dir = TempDir::new();
        let path = dir.path("image");
        fs::create_dir(dir.path("root")).unwrap();
        fs::write(dir.path("root/file"), vec![0x55; BLOCKS * block_size]).unwrap();
        let root = dir.path("root");
        let options = format!("{options} -b {block_size} -d {}", root.display());
        mke2fs(&path, 4096 * block_size as u32 / 1024, &options);
        debugfs_write(&path, "feature needs_recovery");
        let runs = |file: &str| runs(&debugfs_write(&path, &format!("stat {file}")));
        let journal = runs("<8>");
        let file: Vec<u64> =
            runs("/file").iter().flat_map(|run| run.physical..run.physical + u64::from(run.len)).collect();
        assert_eq!(file.len(), BLOCKS);
        Image { data: fs::read(&path).unwrap(), dir, block_size, journal, file }
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
        let path = self.dir.path("cut");
        fs::write(&path, image).unwrap();
        e2fsck(&path, "-fy", &[0, 1]);
        e2fsck(&path, "-fn", &[0]);
        fs::read(&path).unwrap()
    }
}

fn e2fsck(path: &Path, options: &str, allowed: &[i32]) {
    let output = run("e2fsck", &[options, path.to_str().unwrap()]);
    let code = output.status.code().unwrap_or(-1);
    assert!(allowed.contains(&code), "e2fsck {options}: {code}\n{}", text(&output));
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

/// What a block holds after some operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    /// As mke2fs left it.
    Initial,
    /// Journaled by that operation.
    Journaled(u32),
    /// Freed: anything.
    Free,
    /// Written past the journal by that operation.
    Direct(u32),
}

/// What operations did, in their order.
struct History {
    /// For each block the operations that changed it.
    blocks: Vec<Vec<(u32, Content)>>,
    /// Recorded position and operation: from there on, everything up to it is durable.
    synced: Vec<(usize, u32)>,
    ops: u32,
}

/// The bytes that an operation writes. Some begin like a journal block.
fn pattern(op: u32, block_size: usize) -> Vec<u8> {
    let mut bytes = op.to_le_bytes().repeat(block_size / 4);
    if op % 3 == 0 {
        bytes[..4].copy_from_slice(&format::MAGIC.to_be_bytes());
    }
    bytes
}

impl History {
    fn content(&self, block: usize, op: u32) -> Content {
        let changes = &self.blocks[block];
        changes.iter().rev().find(|(at, _)| *at <= op).map_or(Content::Initial, |(_, content)| *content)
    }

    /// Checks an image after replay: it must be as after some operation that isn't before the last synced one.
    fn check(&self, image: &Image, data: &[u8], position: usize) {
        let synced = self.synced.iter().rev().find(|(at, _)| *at <= position).map_or(0, |(_, op)| *op);
        let block = |n: usize| &data[image.file[n] as usize * image.block_size..][..image.block_size];
        let fits = |n: usize, op: u32| match self.content(n, op) {
            Content::Free => true,
            Content::Initial => block(n).iter().all(|byte| *byte == 0x55),
            Content::Journaled(by) => block(n) == pattern(by, image.block_size),
            // Not ordered with anything until it was synced, and overwritten in place.
            Content::Direct(by) => {
                let overwritten =
                    self.blocks[n].iter().any(|(at, c)| *at > synced && *c == Content::Direct(*at));
                by > synced || overwritten || block(n) == pattern(by, image.block_size)
            }
        };
        let good = (synced..=self.ops).any(|op| (0..BLOCKS).all(|n| fits(n, op)));
        if !good {
            let wrong = |op: u32| (0..BLOCKS).filter(|n| !fits(*n, op)).collect::<Vec<_>>();
            let nearest = (synced..=self.ops).min_by_key(|op| wrong(*op).len()).unwrap_or(synced);
            let details: Vec<_> = wrong(nearest)
                .into_iter()
                .map(|n| {
                    let found = u32::from_le_bytes(block(n)[4..8].try_into().expect("four bytes"));
                    (n, found, self.blocks[n].iter().filter(|(op, _)| *op + 100 > synced).collect::<Vec<_>>())
                })
                .collect();
            panic!("cut at {position}, operations up to {synced} durable; nearest {nearest} but {details:?}");
        }
    }
}

/// Random transactions on `tx`.
fn work(
    image: &Image,
    device: &RecordingDevice,
    tx: &Transactions,
    ops: u32,
    random: &mut Random,
) -> History {
    let mut history = History { blocks: vec![Vec::new(); BLOCKS], synced: Vec::new(), ops };
    // Blocks that are metadata, and those that may be used for anything; freed ones come there by a commit.
    let mut used: Vec<usize> = (0..BLOCKS).collect();
    let free: Arc<Mutex<Vec<usize>>> = Arc::default();
    for op in 1..=ops {
        let bytes = pattern(op, image.block_size);
        let mut note = |n: usize, content: Content| history.blocks[n].push((op, content));
        match random.below(10) {
            0..5 => {
                let mut handle = tx.begin(8).unwrap();
                for _ in 0..1 + random.below(8) {
                    let n = used[random.below(used.len())];
                    let buffer = tx.cache().read(image.file[n]).unwrap();
                    handle.modify(&buffer, |data| data.copy_from_slice(&bytes)).unwrap();
                    note(n, Content::Journaled(op));
                }
            }
            5 if used.len() > BLOCKS / 2 => {
                let mut handle = tx.begin(8).unwrap();
                for _ in 0..1 + random.below(6) {
                    let n = used.swap_remove(random.below(used.len()));
                    handle.forget(image.file[n]).unwrap();
                    let free = free.clone();
                    handle.on_commit(Box::new(move || free.lock().push(n)));
                    note(n, Content::Free);
                }
            }
            6 => {
                let Some(n) = free.lock().pop() else { continue };
                let mut handle = tx.begin(1).unwrap();
                let buffer = tx.cache().get_zeroed(image.file[n]).unwrap();
                handle.create(&buffer, |data| data.copy_from_slice(&bytes)).unwrap();
                used.push(n);
                note(n, Content::Journaled(op));
            }
            7 => {
                let Some(n) = free.lock().pop() else { continue };
                // As a file's data would be; it goes back at once.
                device.write(image.file[n] * image.block_size as u64, &[&bytes]).unwrap();
                note(n, Content::Direct(op));
                let tid = tx.begin(0).unwrap().tid();
                tx.sync_tid(tid).unwrap();
                history.synced.push((device.position(), op));
                free.lock().insert(0, n);
            }
            8 => {
                tx.commit_now(true).unwrap();
                history.synced.push((device.position(), op));
            }
            _ => {
                if random.below(8) == 0 {
                    tx.checkpoint_all().unwrap();
                    history.synced.push((device.position(), op));
                }
            }
        }
    }
    history
}

/// Cuts the power `cuts` times during random transactions, and replays.
fn cut_power(options: &str, block_size: usize, checksum: u8, wide: bool, cuts: usize, seed: u64) {
    let image = Image::new(options, block_size);
    let device = Arc::new(RecordingDevice::new(image.data.clone()));
    let tx = image.open(device.clone(), checksum, wide);
    let mut random = Random(seed);
    let history = work(&image, &device, &tx, 1500, &mut random);
    let end = device.position();
    let mut positions: Vec<usize> = (0..cuts).map(|_| random.below(end + 1)).collect();
    positions.sort_unstable();
    let mut record = device.cuts();
    for (n, position) in positions.into_iter().enumerate() {
        let cut = record.image(position, |below| random.below(below));
        if n % 20 == 0 {
            history.check(&image, &image.replay_by_e2fsck(&cut), position);
        }
        let replayed = MemoryDevice::new(cut);
        let done = recover(&replayed, &image.map(), &NoLog).unwrap();
        assert!(!done.damaged, "cut at {position}");
        history.check(&image, &replayed.snapshot(), position);
    }
    tx.close().unwrap();
    let closed = device.snapshot();
    let done = recover(&MemoryDevice::new(closed.clone()), &image.map(), &NoLog).unwrap();
    assert_eq!(done, Recovered::default());
    history.check(&image, &closed, usize::MAX);
    image.replay_by_e2fsck(&closed);
}

#[test]
fn power_cuts_without_checksums() {
    cut_power("-t ext3 -J size=4", 4096, 0, false, 200, 1);
}

#[test]
fn power_cuts_with_small_blocks_and_log() {
    cut_power("-t ext3 -J size=1", 1024, 0, false, 200, 2);
}

#[test]
fn power_cuts_with_checksums_v1() {
    cut_power("-t ext4 -O ^metadata_csum,^64bit -J size=1", 1024, 1, false, 200, 3);
}

#[test]
fn power_cuts_with_checksums_v2() {
    cut_power("-t ext4 -O ^metadata_csum,^64bit -J size=1", 1024, 2, false, 100, 4);
    cut_power("-t ext4 -O 64bit -J size=1", 1024, 2, true, 100, 5);
}

#[test]
fn power_cuts_with_checksums_v3() {
    cut_power("-t ext4 -O 64bit,metadata_csum -J size=4", 4096, 3, true, 200, 6);
    cut_power("-t ext4 -O ^64bit,metadata_csum -J size=1", 1024, 3, false, 100, 7);
}

/// Journals that debugfs wrote, replayed here and by e2fsck with the same result.
fn replay_of_debugfs(options: &str, block_size: usize, open: &str) {
    let image = Image::new(options, block_size);
    let path = image.dir.path("image");
    let mut random = Random(block_size as u64);
    let mut script = format!("{open}\n");
    for n in 0..40 {
        let data = image.dir.path(&format!("data{n}"));
        let count = 1 + random.below(20);
        let mut bytes = pattern(n + 1, count * block_size);
        // Blocks that have to be escaped.
        bytes[..4].copy_from_slice(&format::MAGIC.to_be_bytes());
        fs::write(&data, bytes).unwrap();
        let first = random.below(BLOCKS - count);
        let list = |blocks: &[u64]| blocks.iter().map(u64::to_string).collect::<Vec<_>>().join(",");
        let blocks = list(&image.file[first..first + count]);
        let revoked = list(&image.file[first..first + count.min(3)]);
        script += &match n {
            39 => format!("jw -c -b {blocks} {}\n", data.display()),
            n if n % 5 == 4 => format!("jw -r {revoked} {}\n", data.display()),
            _ => format!("jw -b {blocks} {}\n", data.display()),
        };
    }
    script += "jc\n";
    fs::write(image.dir.path("script"), script).unwrap();
    let script = image.dir.path("script");
    tools::run_ok("debugfs", &["-w", "-f", script.to_str().unwrap(), path.to_str().unwrap()]);
    let written = fs::read(&path).unwrap();
    let ours = MemoryDevice::new(written.clone());
    let done = recover(&ours, &image.map(), &NoLog).unwrap();
    assert_eq!((done.transactions, done.damaged), (39, false));
    assert!(done.revoked > 0 && done.blocks > 20, "{done:?}");
    let theirs = image.replay_by_e2fsck(&written);
    let ours = ours.snapshot();
    for block in &image.file {
        let at = *block as usize * block_size;
        assert_eq!(ours[at..at + block_size], theirs[at..at + block_size], "block {block}");
    }
    assert_ne!(ours, written);
    // What was replayed mustn't be replayed again.
    let again = recover(&MemoryDevice::new(ours), &image.map(), &NoLog).unwrap();
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
    let image = Image::new("-t ext4 -J size=1", 1024);
    let device = Arc::new(MemoryDevice::new(image.data.clone()));
    let tx = Arc::new(image.open(device.clone(), 3, true));
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
            let (tx, blocks) = (tx.clone(), image.file.clone());
            std::thread::spawn(move || {
                let mut random = Random(thread);
                for n in 0..1500u64 {
                    let mut handle = tx.begin(24).unwrap();
                    for block in blocks.iter().skip(thread as usize).step_by(4) {
                        let buffer = tx.cache().read(*block).unwrap();
                        handle.modify(&buffer, |data| data[8..16].copy_from_slice(&n.to_le_bytes())).unwrap();
                    }
                    let tid = handle.tid();
                    drop(handle);
                    if random.below(20) == 0 {
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
    for block in &image.file {
        let at = *block as usize * 1024;
        assert_eq!(data[at + 8..at + 16], 1499u64.to_le_bytes());
    }
    image.replay_by_e2fsck(&data);
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
    let image = Image::new("-t ext4 -J size=1", 1024);
    let device =
        Arc::new(Failing { inner: MemoryDevice::new(image.data.clone()), failing: AtomicBool::new(false) });
    let tx = image.open(device.clone(), 3, true);
    let buffer = tx.cache().read(image.file[0]).unwrap();
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
    recover(&*device, &image.map(), &NoLog).unwrap();
    let mut found = vec![0; 1024];
    device.read(image.file[0] * 1024, &mut found).unwrap();
    assert_eq!(found, vec![1; 1024]);
}

#[test]
fn an_abort_is_remembered_by_the_journal() {
    let image = Image::new("-t ext4 -J size=1", 1024);
    let device = Arc::new(MemoryDevice::new(image.data.clone()));
    image.open(device.clone(), 3, true).abort(EIO);
    let tx = image.open(device, 3, true);
    assert_eq!(tx.recorded_error(), Some(EIO));
    tx.clear_error().unwrap();
    assert_eq!(tx.recorded_error(), None);
}

#[test]
fn too_large_an_operation_is_refused() {
    let image = Image::new("-t ext4 -J size=1", 1024);
    let tx = image.open(Arc::new(MemoryDevice::new(image.data.clone())), 3, true);
    assert_eq!(tx.begin(tx.max_credits() + 1).err(), Some(abi::errno::ENOSPC));
    let mut handle = tx.begin(tx.max_credits()).unwrap();
    assert_eq!(handle.extend(1), Ok(false));
    handle.restart(5).unwrap();
    assert_eq!(handle.extend(1), Ok(true));
}

/// Journals with random damage: replay may fail or skip, but neither panics nor hangs.
#[test]
fn damaged_journals_are_survived() {
    let image = Image::new("-t ext4 -O 64bit,metadata_csum -J size=1", 1024);
    for (checksum, seed) in [(0, 1), (1, 2), (2, 3), (3, 4)] {
        let device = Arc::new(RecordingDevice::new(image.data.clone()));
        let tx = image.open(device.clone(), checksum, true);
        let mut random = Random(seed);
        work(&image, &device, &tx, 60, &mut random);
        let good = device.snapshot();
        for _ in 0..300 {
            let mut bad = good.clone();
            for _ in 0..1 + random.below(6) {
                let run = image.journal[0];
                let block = run.physical as usize + random.below(40.min(run.len as usize));
                let at =
                    block * 1024 + if random.below(2) == 0 { random.below(64) } else { random.below(1024) };
                bad[at] = random.next() as u8;
            }
            let device = MemoryDevice::new(bad);
            let _ = recover(&device, &image.map(), &NoLog);
        }
    }
}
