//! Mounting, crashing, remounting, freezing, full disks and errors.

mod common;

use abi::errno::{EFSCORRUPTED, EINVAL, EMLINK, ENODEV, ENOSPC, EROFS};
use common::*;
use ext4::{DataMode, ErrorsMode, Filesystem, MemoryDevice, MountOptions, RenameFlags};
use std::sync::Arc;

/// What a crash leaves: a copy of the image while it is mounted, after a sync.
fn crash(image: &Image) {
    let copy = image.dir.path().join("copy");
    std::fs::copy(&image.path, &copy).unwrap();
    std::fs::rename(&copy, &image.path).unwrap();
}

#[test]
fn orphans_are_deleted_and_truncated_after_a_crash() {
    for (kind, args) in KINDS.iter().filter(|(kind, _)| *kind != "ext4-64k") {
        let image = Image::make("48M", args);
        let fs = image.mount();
        let root = fs.root().unwrap();
        let before = fs.statfs();
        let mut held = Vec::new();
        for i in 0..20 {
            let name = format!("file{i}");
            let inode = root.create(name.as_bytes(), &file(0o644)).unwrap();
            write(&inode, 0, &pattern(i, 30_000)).unwrap();
            root.unlink(name.as_bytes(), time(1)).unwrap();
            held.push(inode);
        }
        held.push(root.tmpfile(&file(0o600)).unwrap());
        let dir = root.mkdir(b"dir", &directory(0o755)).unwrap();
        root.rmdir(b"dir", time(1)).unwrap();
        held.push(dir);
        // Some go, from the middle of the list too.
        for i in [3, 7, 0, 15] {
            held.swap_remove(i);
        }
        fs.sync().unwrap();
        crash(&image);
        let log = Arc::new(Recorder::default());
        let fs = image.try_mount(&MountOptions::default(), log.clone()).unwrap();
        let lines = log.0.lock().unwrap().join("\n");
        assert!(lines.contains("18 orphan inodes deleted"), "{kind}: {lines}");
        let after = fs.statfs();
        assert_eq!((before.blocks_free, before.files_free), (after.blocks_free, after.files_free), "{kind}");
        fs.unmount().unwrap();
        image.check(kind);
        drop(held);
    }
}

#[test]
fn remounting_and_freezing() {
    let image = Image::make("48M", &["-t", "ext4"]);
    let read_only = MountOptions { read_only: true, ..MountOptions::default() };
    let fs = image.try_mount(&read_only, Arc::new(Printer)).unwrap();
    let root = fs.root().unwrap();
    assert_eq!(root.mkdir(b"a", &directory(0o755)).err(), Some(EROFS));
    fs.remount(&MountOptions::default()).unwrap();
    root.mkdir(b"a", &directory(0o755)).unwrap();
    fs.remount(&read_only).unwrap();
    image.check("remounted read-only");
    assert_eq!(root.mkdir(b"b", &directory(0o755)).err(), Some(EROFS));
    fs.remount(&MountOptions::default()).unwrap();
    root.mkdir(b"b", &directory(0o755)).unwrap();
    fs.freeze().unwrap();
    image.check("frozen");
    let waiting = std::thread::scope(|scope| {
        let root = &root;
        let thread = scope.spawn(move || root.mkdir(b"c", &directory(0o755)).map(drop));
        std::thread::sleep(std::time::Duration::from_millis(100));
        let waiting = !thread.is_finished();
        fs.thaw().unwrap();
        thread.join().unwrap().unwrap();
        waiting
    });
    assert!(waiting, "a frozen file system takes no operations");
    drop(root);
    fs.unmount().unwrap();
    assert_eq!(fs.sync(), Err(ENODEV));
    image.check("unmounted");
    // Through a device that can't be written.
    let bytes = std::fs::read(&image.path).unwrap();
    let fs = Filesystem::mount(Arc::new(MemoryDevice::new(bytes)), &read_only, Arc::new(Printer)).unwrap();
    assert_eq!(list(&fs.root().unwrap()).len(), 4);
}

#[test]
fn a_full_disk() {
    for (kind, args) in
        KINDS.iter().filter(|(kind, _)| ["ext2-1k", "ext3-1k", "ext4-1k", "ext4-nojournal"].contains(kind))
    {
        let image = Image::make("16M", args);
        let fs = image.mount();
        let root = fs.root().unwrap();
        let before = fs.statfs().blocks_free;
        let mut count = 0;
        // Until there is no block for contents, then until there is none for names.
        loop {
            let name = format!("file-{count}");
            let done = root
                .create(name.as_bytes(), &file(0o644))
                .and_then(|inode| write(&inode, 0, &pattern(count, 50_000)));
            match done {
                Ok(()) => count += 1,
                Err(errno) => {
                    assert_eq!(errno, ENOSPC, "{kind}");
                    break;
                }
            }
        }
        let mut dirs = 0;
        while let Ok(dir) = root.mkdir(format!("dir-{dirs}").as_bytes(), &directory(0o755)) {
            drop(dir);
            dirs += 1;
        }
        assert!(count > 200, "{kind}: {count}");
        fs.sync().unwrap();
        for i in 0..count {
            root.unlink(format!("file-{i}").as_bytes(), time(1)).unwrap();
        }
        let _ = root.unlink(format!("file-{count}").as_bytes(), time(1));
        for i in 0..dirs {
            root.rmdir(format!("dir-{i}").as_bytes(), time(1)).unwrap();
        }
        fs.sync().unwrap();
        // The root directory has grown.
        assert!(fs.statfs().blocks_free + 40 > before, "{kind}");
        // What was freed can be had again at once, too.
        for _ in 0..5 {
            let inode = root.create(b"again", &file(0o644)).unwrap();
            write(&inode, 0, &pattern(1, 9_000_000)).unwrap();
            drop(inode);
            root.unlink(b"again", time(1)).unwrap();
        }
        drop(root);
        fs.unmount().unwrap();
        image.check(kind);
    }
}

#[test]
fn more_subdirectories_than_can_be_counted() {
    let image = Image::make("300M", &["-t", "ext4", "-b", "1024", "-N", "70000"]);
    let fs = image.mount();
    let dir = fs.root().unwrap().mkdir(b"dir", &directory(0o755)).unwrap();
    for i in 0..65_010 {
        dir.mkdir(format!("{i}").as_bytes(), &directory(0o755)).unwrap();
    }
    assert_eq!(dir.stat().links, 1);
    for i in 0..10 {
        dir.rmdir(format!("{i}").as_bytes(), time(1)).unwrap();
    }
    assert_eq!(dir.stat().links, 1);
    drop(dir);
    fs.unmount().unwrap();
    image.check("dir_nlink");
    let image = Image::make("48M", &["-t", "ext4"]);
    let fs = image.mount();
    let root = fs.root().unwrap();
    let inode = root.create(b"many", &file(0o644)).unwrap();
    let mut count = 1;
    let error = loop {
        match root.link(&inode, format!("{count}").as_bytes(), time(1)) {
            Ok(()) => count += 1,
            Err(errno) => break errno,
        }
    };
    assert_eq!((error, count), (EMLINK, 65_000));
    drop((inode, root));
    fs.unmount().unwrap();
    image.check("links");
}

#[test]
fn errors_do_what_the_option_says() {
    for (mode, writable, panics) in [
        (ErrorsMode::Continue, true, false),
        (ErrorsMode::RemountRo, false, false),
        (ErrorsMode::Panic, false, true),
    ] {
        let image = Image::make("16M", &["-t", "ext4", "-O", "^metadata_csum", "-b", "1024"]);
        let fs = image.mount();
        let dir = fs.root().unwrap().mkdir(b"dir", &directory(0o755)).unwrap();
        dir.create(b"file", &file(0o644)).unwrap();
        drop(dir);
        fs.unmount().unwrap();
        let block = String::from_utf8(image.debugfs("blocks /dir")).unwrap();
        let block: usize = block.trim().parse().unwrap();
        let mut bytes = std::fs::read(&image.path).unwrap();
        bytes[block * 1024 + 4] = 3;
        std::fs::write(&image.path, bytes).unwrap();
        struct Panics(Recorder, std::sync::atomic::AtomicBool);
        impl ext4::Log for Panics {
            fn log(&self, level: ext4::Level, text: std::fmt::Arguments<'_>) {
                self.0.log(level, text);
            }
            fn panic(&self, _text: std::fmt::Arguments<'_>) {
                self.1.store(true, std::sync::atomic::Ordering::Relaxed);
            }
        }
        let log = Arc::new(Panics(Recorder::default(), false.into()));
        let options = MountOptions { errors: Some(mode), ..MountOptions::default() };
        let fs = image.try_mount(&options, log.clone()).unwrap();
        let root = fs.root().unwrap();
        let dir = root.lookup(b"dir").unwrap();
        assert_eq!(dir.lookup(b"file").err(), Some(EFSCORRUPTED));
        assert!(log.0.0.lock().unwrap().iter().any(|line| line.starts_with("error: ")), "a message");
        assert_eq!(log.1.load(std::sync::atomic::Ordering::Relaxed), panics);
        assert_eq!(root.create(b"new", &file(0o644)).is_ok(), writable, "{mode:?}");
        drop((dir, root));
        let _ = fs.unmount();
        let head = String::from_utf8(image.debugfs("stats -h")).unwrap();
        assert!(head.contains("with errors"), "{mode:?}: {head}");
        assert!(head.contains("FS Error count:           1"), "{mode:?}: {head}");
    }
}

#[test]
fn what_is_not_handled_is_refused_by_name() {
    for (args, word) in [
        (&["-t", "ext4", "-O", "bigalloc"][..], "bigalloc"),
        (&["-t", "ext4", "-O", "casefold"], "casefold"),
        (&["-t", "ext4", "-O", "encrypt"], "encrypt"),
        (&["-t", "ext4", "-O", "mmp"], "mmp"),
        (&["-t", "ext4", "-O", "quota"], "quota"),
        (&["-t", "ext4", "-O", "verity"], "verity"),
    ] {
        let image = Image::make("32M", args);
        let log = Arc::new(Recorder::default());
        let result = image.try_mount(&MountOptions::default(), log.clone());
        assert_eq!(result.err(), Some(EINVAL), "{word}");
        let lines = log.0.lock().unwrap().join("\n");
        assert!(lines.contains(word), "{word}: {lines}");
        image.check(word);
    }
    // Reading does no harm to quota files and verity.
    let image = Image::make("32M", &["-t", "ext4", "-O", "quota,verity"]);
    let options = MountOptions { read_only: true, ..MountOptions::default() };
    image.try_mount(&options, Arc::new(Printer)).unwrap().unmount().unwrap();
    image.check("quota, read-only");
    let device = Arc::new(MemoryDevice::new(vec![0; 1 << 20]));
    assert_eq!(Filesystem::mount(device, &options, Arc::new(Printer)).err(), Some(EINVAL));
    let device = Arc::new(MemoryDevice::new(vec![0; 512]));
    assert!(Filesystem::mount(device, &options, Arc::new(Printer)).is_err());
}

#[test]
fn options_of_the_superblock() {
    let image = Image::make("32M", &["-t", "ext4"]);
    let options = |image: &Image| Filesystem::default_options(&*image.device(), &Printer).unwrap();
    assert_eq!((options(&image).data, options(&image).commit_interval), (DataMode::Ordered, 0));
    tool("tune2fs", &["-o", "journal_data_writeback,nobarrier", "-E", "mount_opts=commit=30", image.name()]);
    let mut found = options(&image);
    assert_eq!((found.data, found.barrier, found.commit_interval), (DataMode::Writeback, false, 30));
    found.parse("data=ordered").unwrap();
    assert_eq!(found.data, DataMode::Ordered);
    let plain = Image::make("32M", &["-t", "ext2"]);
    let journaled = MountOptions { data: DataMode::Journal, ..MountOptions::default() };
    assert_eq!(plain.try_mount(&journaled, Arc::new(Printer)).err(), Some(EINVAL));
}

#[test]
fn journals_that_must_or_must_not_be_replayed() {
    let image = Image::make("32M", &["-t", "ext4"]);
    let fs = image.mount();
    fs.root().unwrap().mkdir(b"in-the-journal", &directory(0o755)).unwrap();
    fs.sync().unwrap();
    crash(&image);
    drop(fs);
    let bytes = std::fs::read(&image.path).unwrap();
    let names = |fs: &Arc<Filesystem>| list(&fs.root().unwrap()).len();
    // Not replayed on demand, and only without writing.
    let options = MountOptions { noload: true, read_only: true, ..MountOptions::default() };
    assert_eq!(names(&image.try_mount(&options, Arc::new(Printer)).unwrap()), 1);
    let writing = MountOptions { noload: true, ..MountOptions::default() };
    assert_eq!(image.try_mount(&writing, Arc::new(Printer)).err(), Some(EINVAL));
    assert!(std::fs::read(&image.path).unwrap() == bytes, "nothing was written");
    // A read-only mount replays too, if the device can be written.
    let options = MountOptions { read_only: true, ..MountOptions::default() };
    let fs = image.try_mount(&options, Arc::new(Printer)).unwrap();
    assert_eq!(names(&fs), 2);
    fs.unmount().unwrap();
    image.check("replayed");
    // Somebody who knew no journal was here since: what it has is old.
    std::fs::write(&image.path, &bytes).unwrap();
    image.debugfs_write("feature ^needs_recovery");
    let fs = image.mount();
    assert_eq!(names(&fs), 1);
    fs.unmount().unwrap();
    image.check("discarded");
}

#[test]
fn operations_that_are_durable_at_once() {
    let options = [
        MountOptions { sync: true, ..MountOptions::default() },
        MountOptions { dirsync: true, ..MountOptions::default() },
    ];
    for options in options {
        let image = Image::make("32M", &["-t", "ext4"]);
        let fs = image.try_mount(&options, Arc::new(Printer)).unwrap();
        let root = fs.root().unwrap();
        root.mkdir(b"dir", &directory(0o755)).unwrap();
        root.create(b"old", &file(0o644)).unwrap();
        root.rename(b"old", &root.lookup(b"dir").unwrap(), b"new", RenameFlags::empty(), time(1)).unwrap();
        crash(&image);
        let fs = image.mount();
        assert_eq!(list(&fs.root().unwrap().lookup(b"dir").unwrap()).len(), 1);
        fs.unmount().unwrap();
        image.check("durable");
    }
}

#[test]
fn fast_commits_that_wait_are_refused_by_name() {
    const AREA: usize = 256;
    let image = Image::make("48M", &["-t", "ext4", "-b", "1024", "-O", "fast_commit"]);
    let fs = image.mount();
    fs.root().unwrap().mkdir(b"first", &directory(0o755)).unwrap();
    fs.unmount().unwrap();
    image.check("never used for a fast commit");
    let fs = image.mount();
    fs.root().unwrap().mkdir(b"second", &directory(0o755)).unwrap();
    fs.sync().unwrap();
    crash(&image);
    drop(fs);

    // What Linux would have left after one of the transactions: the head (features, transaction) of a fast commit in the
    // last blocks of the journal, a name that is unlinked, and the tail.
    let bytes = std::fs::read(&image.path).unwrap();
    let blocks = tool("debugfs", &["-R", "blocks <8>", image.name()]);
    let blocks: Vec<usize> = String::from_utf8_lossy(&blocks.stdout)
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    let journal = blocks[0] * 1024;
    let word = |at: usize| u32::from_be_bytes(bytes[journal + at..journal + at + 4].try_into().unwrap());
    let (length, sequence) = (word(0x10) as usize, word(0x18));
    let area = blocks[length - AREA] * 1024;
    let mut refused = Vec::new();
    for tid in sequence..sequence + 8 {
        let mut bytes = bytes.clone();
        // The feature itself is set by the first mount of Linux's.
        bytes[journal + 0x2B] |= 0x20;
        bytes[journal + 0x54..journal + 0x58].copy_from_slice(&(AREA as u32).to_be_bytes());
        let mut tags = vec![9, 0, 8, 0, 0, 0, 0, 0];
        tags.extend(tid.to_le_bytes());
        tags.extend([5, 0, 13, 0, 2, 0, 0, 0, 12, 0, 0, 0]);
        tags.extend(b"first");
        tags.extend([8, 0, 8, 0]);
        tags.extend(tid.to_le_bytes());
        tags.extend([0; 4]);
        bytes[area..area + tags.len()].copy_from_slice(&tags);
        // The superblock's checksum goes with what was changed of it.
        let checked = word(0x28) & 0x18 != 0;
        if checked {
            bytes[journal + 0xFC..journal + 0x100].fill(0);
            let crc = crc32c(&bytes[journal..journal + 1024]);
            bytes[journal + 0xFC..journal + 0x100].copy_from_slice(&crc.to_be_bytes());
        }
        std::fs::write(&image.path, &bytes).unwrap();
        let log = Arc::new(Recorder::default());
        match image.try_mount(&MountOptions::default(), log.clone()) {
            Ok(fs) => {
                assert_eq!(list(&fs.root().unwrap()).len(), 3, "{tid}: replayed without them");
                fs.unmount().unwrap();
                image.check("stale fast commits");
            }
            Err(_) => {
                let lines = log.0.lock().unwrap().join("\n");
                assert!(lines.contains("fast commits"), "{lines}");
                assert!(std::fs::read(&image.path).unwrap() == bytes, "a refused image stays as it is");
                refused.push(tid);
            }
        }
    }
    assert_eq!(refused.len(), 1, "{refused:?}: those of the transaction after the last");
}

fn crc32c(data: &[u8]) -> u32 {
    data.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| crc >> 1 ^ if crc & 1 != 0 { 0x82F6_3B78 } else { 0 })
    })
}
