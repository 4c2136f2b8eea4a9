//! Large directories: hash trees that are made, split and deepened, listed while they change, and emptied.

mod common;

use abi::errno::{ENOENT, ENOSPC};
use common::*;
use ext4::{Compat, Inode};
use std::collections::HashSet;

fn name(i: u32) -> Vec<u8> {
    format!("file-{i:07}").into_bytes()
}

/// Fills a directory with `count` names (of links, so that inodes aren't what is tested), lists it, empties it.
fn fill_and_empty(kind: &str, args: &[&str], size: &str, count: u32, make: &dyn Fn(u32) -> Vec<u8>) {
    let image = Image::make(size, args);
    let fs = image.mount();
    let root = fs.root().unwrap();
    let dir = root.mkdir(b"dir", &directory(0o755)).unwrap();
    let mut inode = dir.create(&make(0), &file(0o644)).unwrap();
    for i in 1..count {
        // A new inode before the link count is exhausted.
        if i % 30_000 == 0 {
            inode = dir.create(&make(i), &file(0o644)).unwrap();
        } else {
            dir.link(&inode, &make(i), time(1)).unwrap();
        }
    }
    let listed = list(&dir);
    assert_eq!(listed.len(), count as usize, "{kind}");
    let unique: HashSet<_> = listed.iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(unique.len(), count as usize, "{kind}");
    for i in (0..count).step_by(97) {
        assert!(unique.contains(&make(i)));
        dir.lookup(&make(i)).unwrap();
    }
    assert_eq!(dir.lookup(b"absent").err(), Some(ENOENT));
    drop((inode, dir, root));
    fs.unmount().unwrap();
    image.check(kind);
    let fs = image.mount();
    let dir = fs.root().unwrap().lookup(b"dir").unwrap();
    for i in 0..count {
        dir.unlink(&make(i), time(2)).unwrap_or_else(|errno| panic!("{kind}: unlink {i}: {errno}"));
    }
    assert!(list(&dir).is_empty());
    drop(dir);
    fs.root().unwrap().rmdir(b"dir", time(3)).unwrap();
    fs.unmount().unwrap();
    image.check(kind);
}

#[test]
fn a_hundred_thousand_names() {
    fill_and_empty("ext4", &["-t", "ext4"], "100M", 100_000, &name);
    fill_and_empty("ext3-1k", &["-t", "ext3", "-b", "1024"], "100M", 100_000, &name);
}

#[test]
fn trees_of_every_hash_and_depth() {
    let long = |i: u32| format!("{i:05}-{}", "x".repeat(200)).into_bytes();
    // Three levels: with 1 KiB blocks and 4 names in each two levels hold about 30,000 names.
    fill_and_empty("large_dir", &["-t", "ext4", "-b", "1024", "-O", "large_dir"], "200M", 70_000, &long);
    for hash in ["legacy", "half_md4", "tea"] {
        for flags in [1, 2] {
            let image = Image::make("64M", &["-t", "ext4", "-b", "1024"]);
            let output = tool("tune2fs", &["-E", &format!("hash_alg={hash}"), image.name()]);
            assert!(output.status.success());
            image.debugfs_write(&format!("ssv flags {flags}"));
            let fs = image.mount();
            let dir = fs.root().unwrap().mkdir(b"dir", &directory(0o755)).unwrap();
            for i in 0..3000 {
                // Bytes above 127 tell signed from unsigned.
                dir.create(format!("grüße-{i}-ÿ").as_bytes(), &file(0o644)).unwrap();
            }
            assert_eq!(list(&dir).len(), 3000);
            drop(dir);
            fs.unmount().unwrap();
            image.check(&format!("{hash} {flags}"));
        }
    }
}

#[test]
fn without_large_dir_a_tree_ends() {
    let image = Image::make("100M", &["-t", "ext4", "-b", "1024"]);
    let fs = image.mount();
    let dir = fs.root().unwrap().mkdir(b"dir", &directory(0o755)).unwrap();
    let inode = dir.create(b"first", &file(0o644)).unwrap();
    let mut count = 0;
    let error = loop {
        let name = format!("{count:05}-{}", "y".repeat(240));
        match dir.link(&inode, name.as_bytes(), time(1)) {
            Ok(()) => count += 1,
            Err(errno) => break errno,
        }
    };
    assert_eq!(error, ENOSPC);
    assert!(count > 15_000, "{count}");
    assert_eq!(list(&dir).len(), count + 1);
    drop((inode, dir));
    fs.unmount().unwrap();
    image.check("full tree");
}

/// What POSIX promises: names that stay are listed exactly once, whatever happens to others meanwhile.
#[test]
fn listing_while_names_come_and_go() {
    for (kind, args) in
        [("ext4", &["-t", "ext4", "-b", "1024"][..]), ("inline", &["-t", "ext4", "-O", "inline_data"])]
    {
        let image = Image::make("64M", args);
        let fs = image.mount();
        let dir = fs.root().unwrap().mkdir(b"dir", &directory(0o755)).unwrap();
        for i in 0..2000 {
            dir.create(format!("stay-{i}").as_bytes(), &file(0o644)).unwrap();
        }
        let (mut position, mut round, mut seen) = (0, 0, Vec::new());
        loop {
            let mut got = 0;
            dir.read_dir(position, &mut |entry| {
                if got == 50 {
                    return false;
                }
                got += 1;
                position = entry.next;
                if entry.name.starts_with(b"stay") {
                    seen.push(entry.name.clone());
                }
                true
            })
            .unwrap();
            if got == 0 {
                break;
            }
            for i in 0..60 {
                dir.create(format!("new-{round}-{i}").as_bytes(), &file(0o644)).unwrap();
            }
            if round > 0 {
                for i in 0..30 {
                    dir.unlink(format!("new-{}-{i}", round - 1).as_bytes(), time(1)).unwrap();
                }
            }
            round += 1;
            assert!(round < 1000);
        }
        let unique: HashSet<_> = seen.iter().collect();
        assert_eq!((seen.len(), unique.len()), (2000, 2000), "{kind}");
        drop(dir);
        fs.unmount().unwrap();
        image.check(kind);
    }
}

/// The library goes on with trees that others made, and others read its own.
#[test]
fn trees_made_by_mke2fs() {
    let source = TempDir::new();
    for i in 0..1500 {
        std::fs::write(source.path().join(format!("made-{i}")), b"x").unwrap();
    }
    let path = source.path().to_str().unwrap().to_string();
    for (kind, args) in KINDS.iter().filter(|(kind, _)| *kind != "ext4-64k") {
        let mut all = args.to_vec();
        all.extend(["-d", &path, "-N", "20000"]);
        let image = Image::make("96M", &all);
        tool("e2fsck", &["-fyD", image.name()]);
        let fs = image.mount();
        let root = fs.root().unwrap();
        assert_eq!(list(&root).len(), 1501, "{kind}");
        // Without an index each name costs a look at all.
        let indexed = fs.geometry().features.compat.contains(Compat::DIR_INDEX);
        for i in 0..if indexed { 1000 } else { 200 } {
            root.create(format!("added-{i}").as_bytes(), &file(0o644)).unwrap();
            root.unlink(format!("made-{i}").as_bytes(), time(1)).unwrap();
        }
        let fresh: &Inode = &root;
        assert_eq!(list(fresh).len(), 1501, "{kind}");
        drop(root);
        fs.unmount().unwrap();
        image.check(kind);
    }
}
