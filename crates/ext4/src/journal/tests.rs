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
