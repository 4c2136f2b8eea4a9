//! Full, fragmented and huge: nothing promised is lost, nothing is leaked.

mod common;

use abi::errno::ENOSPC;
use abi::fcntl::{FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE};
use common::{Image, Printer, Random, file, pattern, time, write};
use ext4::{Inode, MountOptions};
use std::sync::Arc;

const KINDS: &[&[&str]] = &[
    &["-t", "ext2", "-b", "1024"],
    &["-t", "ext3", "-b", "1024"],
    &["-t", "ext4", "-b", "1024"],
    &["-t", "ext4", "-b", "4096"],
];

fn same(inode: &Inode, offset: u64, data: &[u8]) -> bool {
    let mut back = vec![1; data.len()];
    inode.read_at(offset, &mut back).unwrap();
    back == data
}

/// What was promised can be written, to the last block, while others take what isn't promised.
#[test]
fn promises_are_kept_on_a_full_disk() {
    for kind in KINDS {
        let image = Image::make("8M", kind);
        let fs = image.mount();
        let root = fs.root().unwrap();
        let mut random = Random(3);
        let mut promised: Vec<(Arc<Inode>, u64, u64)> = Vec::new();
        let files: Vec<_> =
            (0..10).map(|n| root.create(format!("f{n}").as_bytes(), &file(0o644)).unwrap()).collect();
        let mut refused = 0;
        while refused < 40 {
            let inode = &files[random.below(10) as usize];
            let offset = random.below(2000) * 4096;
            let len = 4096 * (1 + random.below(8));
            match inode.reserve(offset, len) {
                Ok(()) => promised.push((inode.clone(), offset, len)),
                Err(error) => {
                    assert_eq!(error, ENOSPC);
                    refused += 1;
                }
            }
        }
        // Nobody else gets what is promised.
        let greedy = root.create(b"greedy", &file(0o644)).unwrap();
        let mut at = 0;
        while greedy.fallocate(0, at, 4096, true).is_ok() {
            at += 4096;
        }
        for (n, (inode, offset, len)) in promised.iter().enumerate() {
            let data = pattern(*offset, *len as usize);
            inode
                .write_back(*offset, &[&data], u64::MAX >> 20)
                .unwrap_or_else(|error| panic!("{kind:?} {n}: {error}"));
        }
        for (inode, offset, len) in &promised {
            let later = promised.iter().any(|o| {
                Arc::ptr_eq(&o.0, inode) && o.1 != *offset && o.1 < offset + len && *offset < o.1 + o.2
            });
            assert!(later || same(inode, *offset, &pattern(*offset, *len as usize)), "{kind:?}");
        }
        drop((promised, files, greedy));
        for n in 0..10 {
            root.unlink(format!("f{n}").as_bytes(), time(1)).unwrap();
        }
        drop(root);
        fs.unmount().unwrap();
        image.check("full");
    }
}

/// Writes until the disk is full, frees, and writes again: freed space comes back, and a failed write loses nothing.
#[test]
fn fill_free_fill() {
    for kind in KINDS {
        let image = Image::make("12M", kind);
        let fs = image.mount();
        let root = fs.root().unwrap();
        let mut most = 0;
        for round in 0..4 {
            let mut count = 0;
            loop {
                let name = format!("r{round}-{count}");
                let Ok(inode) = root.create(name.as_bytes(), &file(0o644)) else { break };
                if write(&inode, 0, &pattern(count, 30_000)).is_err() {
                    break;
                }
                count += 1;
            }
            assert!(round == 0 || count >= most - 2, "{kind:?}: {count} files, {most} before");
            most = most.max(count);
            for n in 0..count {
                let name = format!("r{round}-{n}");
                assert!(
                    same(&root.lookup(name.as_bytes()).unwrap(), 0, &pattern(n, 30_000)),
                    "{kind:?} {name}"
                );
            }
            for n in 0..=count {
                let _ = root.unlink(format!("r{round}-{n}").as_bytes(), time(1));
            }
        }
        drop(root);
        fs.unmount().unwrap();
        image.check("filled");
    }
}

/// Every other block of a full disk freed: a file over those has an extent a block, and a deep tree.
#[test]
fn fragmented() {
    for kind in KINDS {
        let image = Image::make("64M", kind);
        let fs = image.mount();
        let block = fs.geometry().block_size as u64;
        let root = fs.root().unwrap();
        let comb = root.create(b"comb", &file(0o644)).unwrap();
        let chunk = pattern(1, 1 << 20);
        let mut size = 0;
        while write(&comb, size, &chunk).is_ok() {
            size += 1 << 20;
        }
        let filler = root.create(b"filler", &file(0o644)).unwrap();
        let mut filled = 0;
        while write(&filler, filled, &chunk[..block as usize]).is_ok() {
            filled += block;
        }
        for at in (0..size / block).step_by(2) {
            comb.fallocate(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at * block, block, false).unwrap();
        }
        fs.sync().unwrap();
        let scattered = root.create(b"scattered", &file(0o644)).unwrap();
        let data = pattern(9, size as usize / 3);
        let mut at = 0;
        for part in data.chunks(1 << 19) {
            write(&scattered, at, part).unwrap();
            at += part.len() as u64;
        }
        assert!(same(&scattered, 0, &data), "{kind:?}");
        if kind[1] == "ext4" {
            assert!(scattered.fiemap(0, u64::MAX, 0).unwrap().len() as u64 > size / 3 / block / 2);
        }
        assert!(same(&comb, block, &chunk[block as usize..2 * block as usize]));
        drop((scattered, comb, filler));
        drop(root);
        fs.unmount().unwrap();
        image.check("fragmented");
        let fs = image.mount();
        let root = fs.root().unwrap();
        let scattered = root.lookup(b"scattered").unwrap();
        assert!(same(&scattered, 0, &data), "{kind:?}");
        scattered.set_size(5000).unwrap();
        assert!(same(&scattered, 0, &data[..5000]));
        for name in ["scattered", "comb", "filler"] {
            root.unlink(name.as_bytes(), time(1)).unwrap();
        }
        drop(scattered);
        fs.sync().unwrap();
        let free = fs.statfs().blocks_free * block;
        assert!(free > size, "{kind:?}: {free} free, {size} were in use");
        drop(root);
        fs.unmount().unwrap();
        image.check("emptied");
    }
}

/// Data far out: beyond 4 GiB, and at the very end of what a file can be.
#[test]
fn sparse() {
    for kind in KINDS {
        let image = Image::make("16M", kind);
        let fs = image.mount();
        let root = fs.root().unwrap();
        let inode = root.create(b"sparse", &file(0o644)).unwrap();
        let extents = kind[1] == "ext4";
        let far =
            if extents { (u64::from(u32::MAX) - 1) * fs.geometry().block_size as u64 } else { 16 << 30 };
        let places = [far, 5 << 30, (4 << 30) - 3, 1 << 20, 0];
        for (n, &at) in places.iter().enumerate() {
            if at == far {
                write(&inode, at, &pattern(n as u64, 900)).unwrap();
            } else {
                write(&inode, at, &pattern(n as u64, 9000)).unwrap();
            }
        }
        assert_eq!(write(&inode, u64::from(u32::MAX) * 4096, b"x").err(), Some(abi::errno::EFBIG));
        let size = far + 900;
        assert_eq!(inode.stat().size, size);
        assert_eq!(inode.seek_data(0, size), Ok(0));
        let hole = inode.seek_hole(0, size).unwrap();
        assert!((9000..9000 + 4096).contains(&hole));
        assert_eq!(inode.seek_data(hole, size), Ok(1 << 20));
        let next = inode.seek_hole(1 << 20, size).unwrap();
        assert!(inode.seek_data(next, size).unwrap() > (4 << 30) - 3 - 4096);
        assert_eq!(inode.seek_data(far + 899, size), Ok(far + 899));
        assert_eq!(inode.seek_hole(far, size), Ok(size));
        assert_eq!(inode.seek_data(size, size), Err(abi::errno::ENXIO));
        drop((inode, root));
        fs.unmount().unwrap();
        image.check("sparse");
        let fs = image.mount();
        let root = fs.root().unwrap();
        let inode = root.lookup(b"sparse").unwrap();
        for (n, &at) in places.iter().enumerate() {
            let data = pattern(n as u64, if at == far { 900 } else { 9000 });
            assert!(same(&inode, at, &data), "{kind:?} {at}");
        }
        assert!(same(&inode, 3 << 30, &[0; 5000]));
        inode.set_size((4 << 30) + 1).unwrap();
        inode.set_size(6 << 30).unwrap();
        assert!(same(&inode, (4 << 30) + 1, &[0; 9000]) && same(&inode, 5 << 30, &[0; 9000]));
        drop((inode, root));
        fs.unmount().unwrap();
        image.check("cut");
    }
}

/// Delayed data counts as data, and its promises go with the file.
#[test]
fn delayed_data() {
    let image = Image::make("16M", &["-t", "ext4"]);
    let fs = image.mount();
    let root = fs.root().unwrap();
    let free = fs.statfs().blocks_free;
    let inode = root.create(b"f", &file(0o644)).unwrap();
    inode.reserve(100_000, 50_000).unwrap();
    inode.reserve(100_000, 50_000).unwrap();
    let taken = free - fs.statfs().blocks_free;
    assert!((50..70).contains(&(taken * fs.geometry().block_size as u64 / 1000)), "{taken}");
    assert_eq!(inode.seek_data(0, 150_000), Ok(100_000 / 1024 * 1024));
    assert_eq!(inode.fiemap(0, u64::MAX, 0).unwrap().len(), 1);
    inode.set_size(120_000).unwrap();
    assert!(fs.statfs().blocks_free > free - taken + 20);
    root.unlink(b"f", time(1)).unwrap();
    drop(inode);
    fs.sync().unwrap();
    assert_eq!(fs.statfs().blocks_free, free);
    drop(root);
    fs.unmount().unwrap();
    image.check("delayed");
}

/// FITRIM and the `discard` option tell the device of free blocks only.
#[test]
fn trimming() {
    let image = Image::make("32M", &["-t", "ext4"]);
    let options = MountOptions { discard: true, ..Default::default() };
    let fs = image.try_mount(&options, Arc::new(Printer)).unwrap();
    let root = fs.root().unwrap();
    let data = pattern(4, 1_000_000);
    for n in 0..20 {
        let inode = root.create(format!("{n}").as_bytes(), &file(0o644)).unwrap();
        write(&inode, 0, &data).unwrap();
    }
    for n in (0..20).step_by(2) {
        root.unlink(format!("{n}").as_bytes(), time(1)).unwrap();
    }
    fs.sync().unwrap();
    let free = fs.statfs().blocks_free * fs.geometry().block_size as u64;
    match fs.trim(0, u64::MAX, 0) {
        Ok(bytes) => assert!(bytes <= free && bytes > free - (1 << 20), "{bytes} of {free}"),
        Err(error) => assert_eq!(error, abi::errno::EOPNOTSUPP),
    }
    for n in (1..20).step_by(2) {
        assert!(same(&root.lookup(format!("{n}").as_bytes()).unwrap(), 0, &data));
    }
    drop(root);
    fs.unmount().unwrap();
    image.check("trimmed");
}
