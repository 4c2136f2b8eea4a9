//! Contents of files: against models, against debugfs, and e2fsck after each scenario.

mod common;

use abi::fcntl::{
    FALLOC_FL_COLLAPSE_RANGE, FALLOC_FL_INSERT_RANGE, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE,
    FALLOC_FL_ZERO_RANGE,
};
use common::{Image, Printer, Random, file as new_file, pattern, time, write};
use std::sync::Arc;

/// What mke2fs makes, of every kind.
const KINDS: &[&str] = &[
    "-t ext2 -b 1024",
    "-t ext2 -b 4096",
    "-t ext3 -b 1024",
    "-t ext3 -b 4096 -I 128",
    "-t ext4 -b 1024",
    "-t ext4 -b 2048",
    "-t ext4 -b 4096",
    "-t ext4 -b 4096 -O ^64bit,^metadata_csum,uninit_bg",
    "-t ext4 -b 4096 -O ^flex_bg,^resize_inode,meta_bg",
    "-t ext4 -b 4096 -O ^has_journal",
    "-t ext4 -b 1024 -g 1024",
    "-t ext4 -b 4096 -O inline_data",
];

fn image(kind: &str, kib: u64) -> Image {
    Image::make(&format!("{kib}k"), &kind.split_whitespace().collect::<Vec<_>>())
}

#[test]
fn write_and_read_back() {
    for kind in KINDS {
        eprintln!("{kind}");
        let image = image(kind, 64 << 10);
        let fs = image.mount();
        let root = fs.root().unwrap();
        for (n, len) in [1usize, 59, 1000, 4096, 5000, 70_000, 3_000_000].into_iter().enumerate() {
            let file = root.create(format!("f{n}").as_bytes(), &new_file(0o644)).unwrap();
            let data = pattern(n as u64, len);
            for (at, part) in data.chunks(1 << 18).enumerate() {
                write(&file, (at as u64) << 18, part).unwrap();
            }
            let mut back = vec![1; len + 10];
            file.read_at(0, &mut back).unwrap();
            assert!(back[..len] == data[..] && back[len..] == [0; 10]);
            assert_eq!(file.stat().size, len as u64);
        }
        drop(root);
        fs.unmount().unwrap();
        image.check(kind);
        for (n, len) in [1usize, 59, 1000, 4096, 5000, 70_000, 3_000_000].into_iter().enumerate() {
            let out = image.path.with_extension("out");
            image.debugfs(&format!("dump f{n} {}", out.display()));
            assert!(std::fs::read(&out).unwrap() == pattern(n as u64, len), "{kind} f{n}");
            std::fs::remove_file(&out).unwrap();
        }
        let fs = image.mount();
        let root = fs.root().unwrap();
        let free = fs.statfs();
        for n in 0..7 {
            root.unlink(format!("f{n}").as_bytes(), time(1)).unwrap();
        }
        drop(root);
        fs.sync().unwrap();
        assert!(fs.statfs().blocks_free > free.blocks_free + 3_000_000 / 4096);
        fs.unmount().unwrap();
        image.check(kind);
    }
}

/// A file as bytes, and what the tests do to both.
struct Model {
    bytes: Vec<u8>,
}

fn torture(kind: &str, seed: u64, steps: usize, options: &ext4::MountOptions) {
    eprintln!("{kind}, seed {seed}");
    let image = image(kind, 48 << 10);
    let mut random = Random(seed);
    let mut fs = image.try_mount(options, Arc::new(Printer)).unwrap();
    let mut file = fs.root().unwrap().create(b"file", &new_file(0o644)).unwrap();
    let mut other = fs.root().unwrap().create(b"other", &new_file(0o644)).unwrap();
    let mut model = Model { bytes: Vec::new() };
    let limit = 3 << 20;
    let extents = !kind.contains("ext2") && !kind.contains("ext3");
    let block = fs.geometry().block_size as u64;
    for step in 0..steps {
        let len = model.bytes.len() as u64;
        let at = random.below(limit);
        let most = if random.below(8) == 0 { 200_000 } else { 6000 };
        let count = 1 + random.below(most);
        let op = random.below(20);
        let what = format!("{kind} seed {seed} step {step}: op {op} {at}+{count} of {len}");
        match op {
            0..7 => {
                let data = pattern(random.below(1 << 20), count as usize);
                write(&file, at, &data).expect(&what);
                model.bytes.resize(len.max(at + count) as usize, 0);
                model.bytes[at as usize..][..data.len()].copy_from_slice(&data);
                // Somebody else's blocks between.
                if random.below(3) == 0 {
                    write(&other, other.stat().size, &data[..data.len().min(5000)]).expect(&what);
                    if other.stat().size > 1 << 20 {
                        other.set_size(0).expect(&what);
                    }
                }
            }
            7 | 8 => {
                let size = if random.below(4) == 0 { random.below(5000) } else { random.below(limit) };
                file.set_size(size).expect(&what);
                model.bytes.resize(size as usize, 0);
            }
            9 | 10 => {
                file.fallocate(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, count, false).expect(&what);
                let end = (at + count).min(len);
                if at < end {
                    model.bytes[at as usize..end as usize].fill(0);
                }
            }
            11 | 12 if extents => {
                let keep = if random.below(2) == 0 { FALLOC_FL_KEEP_SIZE } else { 0 };
                file.fallocate(FALLOC_FL_ZERO_RANGE | keep, at, count, false).expect(&what);
                if keep == 0 {
                    model.bytes.resize(len.max(at + count) as usize, 0);
                }
                let end = (at + count).min(model.bytes.len() as u64);
                if at < end {
                    model.bytes[at as usize..end as usize].fill(0);
                }
            }
            13 | 14 if extents => {
                let keep = if random.below(2) == 0 { FALLOC_FL_KEEP_SIZE } else { 0 };
                file.fallocate(keep, at, count, false).expect(&what);
                if keep == 0 {
                    model.bytes.resize(len.max(at + count) as usize, 0);
                }
            }
            15 if extents && len > 0 => {
                let (at, count) = (at % len / block * block, count.div_ceil(block) * block);
                if at + count < len {
                    file.fallocate(FALLOC_FL_COLLAPSE_RANGE, at, count, false).expect(&what);
                    model.bytes.drain(at as usize..(at + count) as usize);
                }
            }
            16 if extents && len > 0 && len < 2 * limit => {
                let (at, count) = (at % len / block * block, count.div_ceil(block) * block);
                file.fallocate(FALLOC_FL_INSERT_RANGE, at, count, false).expect(&what);
                let tail = model.bytes.split_off(at as usize);
                model.bytes.resize((at + count) as usize, 0);
                model.bytes.extend(tail);
            }
            17 if step % 7 == 0 => {
                drop((file, other));
                fs.unmount().expect(&what);
                image.check(kind);
                fs = image.try_mount(options, Arc::new(Printer)).unwrap();
                file = fs.root().unwrap().lookup(b"file").expect(&what);
                other = fs.root().unwrap().lookup(b"other").expect(&what);
            }
            18 => file.fsync(random.below(2) == 0).expect(&what),
            _ => {
                let mut part = vec![7; count as usize];
                file.read_at(at, &mut part).expect(&what);
                for (n, &byte) in part.iter().enumerate() {
                    assert_eq!(byte, model.bytes.get(at as usize + n).copied().unwrap_or(0), "{what} at {n}");
                }
            }
        }
        assert_eq!(file.stat().size, model.bytes.len() as u64, "{what}");
        if step % 16 == 0 {
            let mut all = vec![7; model.bytes.len() + 100];
            file.read_at(0, &mut all).expect(&what);
            model.bytes.resize(all.len(), 0);
            if let Some(at) = (0..all.len()).find(|&at| all[at] != model.bytes[at]) {
                panic!("{what}: differs at {at}");
            }
            model.bytes.truncate(all.len() - 100);
        }
    }
    drop((file, other));
    fs.unmount().unwrap();
    image.check(kind);
}

#[test]
fn random_operations() {
    let options = ext4::MountOptions::default();
    for (n, kind) in KINDS.iter().enumerate() {
        for seed in 0..2 {
            torture(kind, 100 + n as u64 * 10 + seed, 600, &options);
        }
    }
}

#[test]
fn random_operations_with_journaled_data() {
    let options = ext4::MountOptions { data: ext4::DataMode::Journal, ..Default::default() };
    torture("-t ext4 -b 4096", 7, 600, &options);
    torture("-t ext3 -b 1024", 8, 600, &options);
}

/// Counts a thread that is through, also by a panic.
struct CountOnDrop<'a>(&'a std::sync::atomic::AtomicUsize);

impl Drop for CountOnDrop<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
}

/// Several threads each at their own part of one file, one at another file's end, one syncing and trimming.
#[test]
fn threads_on_one_file() {
    for kind in ["-t ext4 -b 4096", "-t ext4 -b 1024", "-t ext3 -b 1024"] {
        let image = image(kind, 48 << 10);
        let fs = image.mount();
        let root = fs.root().unwrap();
        let part = 1 << 20;
        let file = root.create(b"shared", &new_file(0o644)).unwrap();
        file.set_size(4 * part).unwrap();
        let tail = root.create(b"tail", &new_file(0o644)).unwrap();
        let done = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (file, done) = (&file, &done);
                scope.spawn(move || {
                    let _done = CountOnDrop(done);
                    let mut random = Random(thread + 1);
                    let mut model = vec![0; part as usize];
                    for step in 0..300 {
                        let at = random.below(part / 4096) * 4096;
                        let count = (1 + random.below(16)).min((part - at) / 4096) * 4096;
                        let range = at as usize..(at + count) as usize;
                        match random.below(6) {
                            0 => {
                                let mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
                                file.fallocate(mode, thread * part + at, count, false).unwrap();
                                model[range].fill(0);
                            }
                            1 if !kind.contains("ext3") => {
                                file.fallocate(FALLOC_FL_ZERO_RANGE, thread * part + at, count, false)
                                    .unwrap();
                                model[range].fill(0);
                            }
                            2 => {
                                let mut back = vec![1; count as usize];
                                file.read_at(thread * part + at, &mut back).unwrap();
                                assert!(back == model[range], "{kind} thread {thread} step {step}");
                            }
                            _ => {
                                let data = pattern(random.below(1 << 20), count as usize);
                                file.reserve(thread * part + at, count).unwrap();
                                file.write_back(thread * part + at, &[&data], 4 * part).unwrap();
                                model[range].copy_from_slice(&data);
                            }
                        }
                    }
                    let mut back = vec![1; part as usize];
                    file.read_at(thread * part, &mut back).unwrap();
                    assert!(back == model, "{kind} thread {thread}");
                });
            }
            let (tail, fs, done) = (&tail, &fs, &done);
            let busy = move || done.load(std::sync::atomic::Ordering::Relaxed) < 4;
            scope.spawn(move || {
                let data = pattern(1, 70_000);
                while busy() {
                    for n in 0..10 {
                        write(tail, n * 70_000, &data).unwrap();
                    }
                    tail.set_size(100).unwrap();
                }
            });
            scope.spawn(move || {
                while busy() {
                    fs.sync().unwrap();
                    let _ = fs.trim(0, u64::MAX, 0);
                }
            });
        });
        drop((file, tail, root));
        fs.unmount().unwrap();
        image.check(kind);
    }
}
