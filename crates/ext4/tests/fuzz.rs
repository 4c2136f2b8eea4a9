//! Images with damaged metadata: mount, walk, write, unmount, with errors but without a panic, a hang or unbounded
//! memory. `cargo test` does a few hundred; `EXT4_FUZZ_SECONDS=3600 cargo test --release --test fuzz` goes on with new
//! seeds, and `EXT4_FUZZ_SEED=KIND:SEED` repeats one.

mod common;

use abi::fcntl::{
    FALLOC_FL_COLLAPSE_RANGE, FALLOC_FL_INSERT_RANGE, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE,
    FALLOC_FL_ZERO_RANGE,
};
use common::*;
use ext4::{Filesystem, Inode, MemoryDevice, MountOptions, NoLog, RenameFlags, SetAttr, XattrFlags};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const SMALL: &[(&str, &[&str])] = &[
    ("ext4", &["-t", "ext4", "-N", "512", "-b", "1024"]),
    ("nocsum-1k", &["-t", "ext4", "-O", "^metadata_csum", "-N", "512", "-b", "1024"]),
    ("nocsum-4k", &["-t", "ext4", "-O", "^metadata_csum", "-N", "512", "-b", "4096"]),
    ("nojournal", &["-t", "ext4", "-O", "^metadata_csum,^has_journal", "-N", "512", "-b", "1024"]),
    ("inline", &["-t", "ext4", "-O", "^metadata_csum,inline_data,large_dir", "-N", "512", "-b", "1024"]),
    ("ea-inode", &["-t", "ext4", "-O", "^metadata_csum,ea_inode", "-N", "512", "-b", "1024"]),
    ("orphan-file", &["-t", "ext4", "-O", "^metadata_csum,orphan_file", "-N", "512", "-b", "1024"]),
    ("ext3", &["-t", "ext3", "-N", "512", "-b", "1024"]),
    ("ext2", &["-t", "ext2", "-N", "512", "-b", "1024"]),
    ("meta-bg", &["-t", "ext4", "-O", "^metadata_csum,meta_bg,^resize_inode", "-N", "512", "-b", "1024"]),
];

/// An image with a bit of everything in it, as bytes; the second one was not unmounted.
fn base(args: &[&str]) -> (Vec<u8>, Vec<u8>) {
    let mut all = args.to_vec();
    all.extend(["-J", "size=1", "-g", "2048"].iter().filter(|_| !args.contains(&"ext2")).copied().take(2));
    if args.contains(&"ext2") || args.iter().any(|arg| arg.contains("^has_journal")) {
        all.retain(|arg| *arg != "-J" && *arg != "size=1");
    } else if args.contains(&"4096") {
        all.retain(|arg| *arg != "-J" && *arg != "size=1");
        all.extend(["-J", "size=4"]);
    }
    let image = Image::make("10M", &all);
    let fs = image.mount();
    let root = fs.root().unwrap();
    let big = root.mkdir(b"big", &directory(0o755)).unwrap();
    for i in 0..120 {
        let inode = big.create(format!("name-{i}-{}", "z".repeat(60)).as_bytes(), &file(0o644)).unwrap();
        if i % 10 == 0 {
            write(&inode, 0, &pattern(i, 3000)).unwrap();
        }
    }
    let deep = root.mkdir(b"deep", &directory(0o755)).unwrap();
    deep.mkdir(b"deeper", &directory(0o755)).unwrap().mkdir(b"deepest", &directory(0o755)).unwrap();
    let holes = deep.create(b"holes", &file(0o644)).unwrap();
    for i in 0..40 {
        write(&holes, i * 40_000, &pattern(i, 1500)).unwrap();
    }
    holes.xattr_set(b"user.short", b"value", XattrFlags::empty()).unwrap();
    holes.xattr_set(b"user.long", &[7; 700], XattrFlags::empty()).unwrap();
    deep.symlink(b"short", b"holes", &file(0)).unwrap();
    deep.symlink(b"long", &[b'l'; 200], &file(0)).unwrap();
    let open = deep.create(b"open", &file(0o644)).unwrap();
    write(&open, 0, &pattern(1, 20_000)).unwrap();
    deep.unlink(b"open", time(1)).unwrap();
    fs.sync().unwrap();
    let unclean = std::fs::read(&image.path).unwrap();
    drop((open, holes, deep, big, root));
    fs.unmount().unwrap();
    (std::fs::read(&image.path).unwrap(), unclean)
}

/// Blocks of 1 KiB that have anything in them, other than file contents.
fn interesting(image: &[u8]) -> Vec<usize> {
    let blocks = image.chunks(1024).enumerate();
    blocks
        .filter(|(_, block)| {
            block.iter().filter(|&&byte| byte == 0).count() > 100 && block.iter().any(|&byte| byte != 0)
        })
        .map(|(i, _)| i)
        .collect()
}

fn mutate(image: &mut [u8], places: &[usize], random: &mut Random) {
    let place = |random: &mut Random| {
        // Superblock, descriptors and first inodes more often than their share.
        let from = if random.below(3) == 0 { places.len().min(12) } else { places.len() };
        places[random.below(from as u64) as usize] * 1024
    };
    for _ in 0..1 + random.below(12) {
        let at = place(random);
        let used: Vec<usize> = (0..1024).filter(|&i| image[at + i] != 0).collect();
        if used.is_empty() {
            continue;
        }
        let near = used[random.below(used.len() as u64) as usize];
        let byte = at + (near + random.below(3) as usize).min(1023);
        match random.below(8) {
            0 => image[byte] ^= 1 << random.below(8),
            1 => image[byte] = random.next() as u8,
            2 => image[byte] = [0, 1, 0x7F, 0x80, 0xFF, 0xFE][random.below(6) as usize],
            3 => {
                let word = byte & !3;
                let value = [0, 1, 2, 11, 0xFFFF, 0x7FFF_FFFF, 0xFFFF_FFFF, random.below(12_000) as u32];
                image[word..word + 4].copy_from_slice(&value[random.below(8) as usize].to_le_bytes());
            }
            4 => {
                let word = byte & !3;
                let old = u32::from_le_bytes(image[word..word + 4].try_into().unwrap());
                let new = old.wrapping_add(random.below(9) as u32).wrapping_sub(4);
                image[word..word + 4].copy_from_slice(&new.to_le_bytes());
            }
            5 => {
                let (from, to) = (place(random), place(random));
                let part = random.below(64) as usize * 16;
                image.copy_within(from + part..from + 1024, to + part);
            }
            6 => {
                let half = byte & !1;
                image[half..half + 2].copy_from_slice(&(random.next() as u16).to_le_bytes());
            }
            _ => {
                let len = 1 + random.below(32) as usize;
                let end = (byte + len).min(at + 1024);
                for byte in &mut image[byte..end] {
                    *byte = random.next() as u8;
                }
            }
        }
    }
}

/// Looks at everything below a directory, as far as `budget` goes.
fn walk(dir: &Arc<Inode>, depth: u32, budget: &mut u32, found: &mut Vec<(Arc<Inode>, Vec<u8>)>) {
    let mut names = Vec::new();
    let _ = dir.read_dir(0, &mut |entry| {
        names.push(entry.name.clone());
        names.len() < 400
    });
    for name in names {
        if *budget == 0 {
            return;
        }
        *budget -= 1;
        let Ok(inode) = dir.lookup(&name) else { continue };
        let stat = inode.stat();
        let mut buf = [0; 5000];
        let _ = inode.read_at(0, &mut buf);
        let _ = inode.read_at(stat.size.saturating_sub(3000), &mut buf);
        let _ = inode.read_link();
        for name in inode.xattr_list().unwrap_or_default() {
            let _ = inode.xattr_get(&name);
        }
        let _ = inode.seek_data(0, stat.size);
        let _ = inode.seek_hole(0, stat.size);
        let _ = inode.fiemap(0, u64::MAX, 100);
        if inode.is_dir() && depth < 6 && name != b"." && name != b".." {
            walk(&inode, depth + 1, budget, found);
        }
        found.push((dir.clone(), name));
    }
}

const MODES: [u32; 6] = [
    0,
    FALLOC_FL_KEEP_SIZE,
    FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE,
    FALLOC_FL_ZERO_RANGE,
    FALLOC_FL_COLLAPSE_RANGE,
    FALLOC_FL_INSERT_RANGE,
];

fn exercise(image: Vec<u8>, random: &mut Random) {
    let device = Arc::new(MemoryDevice::new(image));
    let mut options = MountOptions::default();
    if random.below(4) == 0 {
        options.errors = Some(ext4::ErrorsMode::Continue);
    }
    let Ok(fs) = Filesystem::mount(device, &options, Arc::new(NoLog)) else { return };
    let _ = fs.statfs();
    {
        let Ok(root) = fs.root() else { return };
        let mut found = Vec::new();
        walk(&root, 0, &mut 600, &mut found);
        for _ in 0..60 {
            if found.is_empty() {
                break;
            }
            let (dir, name) = &found[random.below(found.len() as u64) as usize];
            let (other, other_name) = &found[random.below(found.len() as u64) as usize];
            let new = format!("new-{}", random.below(1000));
            match random.below(12) {
                0 => drop(
                    dir.create(new.as_bytes(), &file(0o644)).map(|inode| write(&inode, 0, &pattern(1, 9000))),
                ),
                1 => drop(dir.mkdir(new.as_bytes(), &directory(0o755))),
                2 => drop(dir.unlink(name, time(1))),
                3 => drop(dir.rmdir(name, time(1))),
                4 => {
                    // The caller's part: no directory below itself.
                    if dir.lookup(name).is_ok_and(|inode| !inode.is_dir())
                        && other.lookup(other_name).is_ok_and(|inode| !inode.is_dir())
                    {
                        let flags =
                            if random.below(2) == 0 { RenameFlags::EXCHANGE } else { RenameFlags::empty() };
                        let _ = dir.rename(name, other, other_name, flags, time(2));
                    }
                }
                5 => {
                    if let Ok(inode) = dir.lookup(name) {
                        let _ = write(&inode, random.below(200_000), &pattern(2, 20_000));
                    }
                }
                6 => {
                    if let Ok(inode) = dir.lookup(name)
                        && !inode.is_dir()
                    {
                        let _ = inode.set_size(random.below(100_000));
                    }
                }
                7 => {
                    if let Ok(inode) = dir.lookup(name) {
                        let _ = inode.xattr_set(b"user.fuzz", &[1; 300], XattrFlags::empty());
                        let _ = inode.xattr_remove(b"user.long");
                    }
                }
                8 => drop(dir.symlink(new.as_bytes(), &[b'x'; 100], &file(0))),
                9 => {
                    if let Ok(inode) = dir.lookup(name) {
                        let _ = other.link(&inode, new.as_bytes(), time(3));
                    }
                }
                10 => {
                    if let Ok(inode) = dir.lookup(name)
                        && !inode.is_dir()
                    {
                        let mode = MODES[random.below(MODES.len() as u64) as usize];
                        let (offset, len) = (random.below(60) << 10, (1 + random.below(60)) << 10);
                        let _ = inode.fallocate(mode, offset, len, false);
                    }
                }
                _ => {
                    if let Ok(inode) = dir.lookup(name) {
                        let _ = inode.set_attr(&SetAttr { mode: Some(0o600), ..Default::default() });
                    }
                }
            }
        }
    }
    let _ = fs.sync();
    let _ = fs.unmount();
}

#[test]
fn damaged_images() {
    let repeat = std::env::var("EXT4_FUZZ_SEED").ok();
    let seconds = std::env::var("EXT4_FUZZ_SECONDS").ok().and_then(|text| text.parse::<u64>().ok());
    let bases: Vec<_> = SMALL.iter().map(|(kind, args)| (*kind, base(args))).collect();
    let first = if seconds.is_some() { std::process::id() as u64 * 1_000_000 } else { 1 };
    let next = AtomicU64::new(first);
    let start = Instant::now();
    let running: [Mutex<Option<(String, Instant)>>; 2] = Default::default();
    let finished = std::sync::atomic::AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    let one = |kind: usize, seed: u64, slot: usize| {
        let (name, (clean, unclean)) = &bases[kind];
        let label = format!("{name}:{seed}");
        *running[slot].lock().unwrap() = Some((label.clone(), Instant::now()));
        let result = catch_unwind(AssertUnwindSafe(|| {
            let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
            let mut image = if random.below(3) == 0 { unclean.clone() } else { clean.clone() };
            let places = interesting(&image);
            mutate(&mut image, &places, &mut random);
            exercise(image, &mut random);
        }));
        *running[slot].lock().unwrap() = None;
        if result.is_err() {
            eprintln!("EXT4_FUZZ_SEED={label} panicked");
            failures.lock().unwrap().push(label);
        }
    };
    if let Some(repeat) = repeat {
        let (kind, seed) = repeat.split_once(':').expect("KIND:SEED");
        let kind = SMALL.iter().position(|(name, _)| *name == kind).expect("a kind");
        one(kind, seed.parse().expect("a number"), 0);
        assert!(failures.lock().unwrap().is_empty());
        return;
    }
    std::thread::scope(|scope| {
        for slot in 0..2 {
            let (one, next, finished) = (&one, &next, &finished);
            scope.spawn(move || {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let go_on = match seconds {
                        Some(seconds) => start.elapsed() < Duration::from_secs(seconds),
                        None => seed <= 400,
                    };
                    if !go_on {
                        break;
                    }
                    one(seed as usize % SMALL.len(), seed, slot);
                }
                finished.fetch_add(1, Ordering::Release);
            });
        }
        scope.spawn(|| {
            while finished.load(Ordering::Acquire) < 2 {
                std::thread::sleep(Duration::from_millis(200));
                for slot in &running {
                    if let Some((label, since)) = &*slot.lock().unwrap()
                        && since.elapsed() > Duration::from_secs(60)
                    {
                        eprintln!("EXT4_FUZZ_SEED={label} hangs");
                        std::process::abort();
                    }
                }
            }
        });
    });
    eprintln!("{} images", next.load(Ordering::Relaxed) - first);
    assert!(failures.lock().unwrap().is_empty(), "{:?}", failures.lock().unwrap());
}
