//! Random transactions, and power cuts in them.

use super::{BLOCKS, Disk, MAGIC};
use crate::common::Random;
use ext4::recording::RecordingDevice;
use ext4::{BlockDevice, MemoryDevice, NoLog, Recovered, Transactions, recover};
use std::sync::{Arc, Mutex};

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
pub struct History {
    /// For each block the operations that changed it.
    blocks: Vec<Vec<(u32, Content)>>,
    /// Recorded position and operation: from there on, everything up to it is durable.
    synced: Vec<(usize, u32)>,
    ops: u32,
}

/// The bytes that an operation writes. Some begin like a journal block.
pub fn pattern(op: u32, block_size: usize) -> Vec<u8> {
    let mut bytes = op.to_le_bytes().repeat(block_size / 4);
    if op.is_multiple_of(3) {
        bytes[..4].copy_from_slice(&MAGIC);
    }
    bytes
}

impl History {
    fn content(&self, block: usize, op: u32) -> Content {
        let changes = &self.blocks[block];
        changes.iter().rev().find(|(at, _)| *at <= op).map_or(Content::Initial, |(_, content)| *content)
    }

    /// Checks an image after replay: it must be as after some operation that isn't before the last synced one.
    fn check(&self, disk: &Disk, data: &[u8], position: usize) {
        let synced = self.synced.iter().rev().find(|(at, _)| *at <= position).map_or(0, |(_, op)| *op);
        let block = |n: usize| &data[disk.file[n] as usize * disk.block_size..][..disk.block_size];
        let fits = |n: usize, op: u32| match self.content(n, op) {
            Content::Free => true,
            Content::Initial => block(n).iter().all(|byte| *byte == 0x55),
            Content::Journaled(by) => block(n) == pattern(by, disk.block_size),
            // Not ordered with anything until it was synced, and overwritten in place.
            Content::Direct(by) => {
                let overwritten =
                    self.blocks[n].iter().any(|(at, c)| *at > synced && *c == Content::Direct(*at));
                by > synced || overwritten || block(n) == pattern(by, disk.block_size)
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
pub fn work(
    disk: &Disk,
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
        let bytes = pattern(op, disk.block_size);
        let mut note = |n: usize, content: Content| history.blocks[n].push((op, content));
        match random.pick(10) {
            0..5 => {
                let mut handle = tx.begin(8).unwrap();
                for _ in 0..1 + random.pick(8) {
                    let n = used[random.pick(used.len())];
                    let buffer = tx.cache().read(disk.file[n]).unwrap();
                    handle.modify(&buffer, |data| data.copy_from_slice(&bytes)).unwrap();
                    note(n, Content::Journaled(op));
                }
            }
            5 if used.len() > BLOCKS / 2 => {
                let mut handle = tx.begin(8).unwrap();
                for _ in 0..1 + random.pick(6) {
                    let n = used.swap_remove(random.pick(used.len()));
                    handle.forget(disk.file[n]).unwrap();
                    let free = free.clone();
                    handle.on_commit(Box::new(move || free.lock().unwrap().push(n)));
                    note(n, Content::Free);
                }
            }
            6 => {
                let Some(n) = free.lock().unwrap().pop() else { continue };
                let mut handle = tx.begin(1).unwrap();
                let buffer = tx.cache().get_zeroed(disk.file[n]).unwrap();
                handle.create(&buffer, |data| data.copy_from_slice(&bytes)).unwrap();
                used.push(n);
                note(n, Content::Journaled(op));
            }
            7 => {
                let Some(n) = free.lock().unwrap().pop() else { continue };
                // As a file's data would be; it goes back at once.
                device.write(disk.file[n] * disk.block_size as u64, &[&bytes]).unwrap();
                note(n, Content::Direct(op));
                let tid = tx.begin(0).unwrap().tid();
                tx.sync_tid(tid).unwrap();
                history.synced.push((device.position(), op));
                free.lock().unwrap().insert(0, n);
            }
            8 => {
                tx.commit_now(true).unwrap();
                history.synced.push((device.position(), op));
            }
            _ => {
                if random.pick(8) == 0 {
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
    let disk = Disk::new(options, block_size);
    let device = Arc::new(RecordingDevice::new(disk.data.clone(), 0));
    let tx = disk.open(device.clone(), checksum, wide);
    let mut random = Random(seed);
    let history = work(&disk, &device, &tx, 1500, &mut random);
    let end = device.position();
    let mut positions: Vec<usize> = (0..cuts).map(|_| random.pick(end + 1)).collect();
    positions.sort_unstable();
    let mut record = device.cuts();
    for (n, position) in positions.into_iter().enumerate() {
        let cut = record.image(position, |below| random.pick(below));
        if n % 20 == 0 {
            history.check(&disk, &disk.replay_by_e2fsck(&cut), position);
        }
        let replayed = MemoryDevice::new(cut);
        let done = recover(&replayed, &disk.map(), &NoLog).unwrap();
        assert!(!done.damaged, "cut at {position}");
        history.check(&disk, &replayed.snapshot(), position);
    }
    tx.close().unwrap();
    let closed = device.snapshot();
    let done = recover(&MemoryDevice::new(closed.clone()), &disk.map(), &NoLog).unwrap();
    assert_eq!(done, Recovered::default());
    history.check(&disk, &closed, usize::MAX);
    disk.replay_by_e2fsck(&closed);
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
