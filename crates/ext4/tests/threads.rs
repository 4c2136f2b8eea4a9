//! Many threads at once in the same few directories: no deadlock, no lost name, and e2fsck has nothing to say.

mod common;

use common::*;
use ext4::{Inode, RenameFlags};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Random operations in `dirs`; errors are what they may be, as others do the same.
fn work(dirs: &[Arc<Inode>], seed: u64, steps: u32) {
    let mut random = Random(seed * 2 + 1);
    for _ in 0..steps {
        let dir = &dirs[random.below(dirs.len() as u64) as usize];
        let other = &dirs[random.below(dirs.len() as u64) as usize];
        let name = format!("name-{}", random.below(30)).into_bytes();
        let new = format!("name-{}", random.below(30)).into_bytes();
        match random.below(12) {
            0..=2 => {
                let _ = dir.create(&name, &file(0o644)).map(|inode| write(&inode, 0, &pattern(seed, 6000)));
            }
            3 => drop(dir.mkdir(&name, &directory(0o755))),
            4 => drop(dir.unlink(&name, time(1))),
            5 => drop(dir.rmdir(&name, time(1))),
            6 | 7 => {
                // The fixed directories are never moved, so no directory can get below itself but by these two.
                let flags = if random.below(3) == 0 { RenameFlags::EXCHANGE } else { RenameFlags::empty() };
                let _ = dir.rename(&name, other, &new, flags, time(1));
            }
            8 => drop(dir.lookup(&name).and_then(|inode| other.link(&inode, &new, time(1)))),
            9 => drop(
                dir.lookup(&name)
                    .map(|inode| if !inode.is_dir() { inode.set_size(random.below(20_000)) } else { Ok(()) }),
            ),
            10 => drop(list(dir)),
            _ => drop(dir.lookup(&name).map(|inode| inode.fsync(false))),
        }
    }
}

/// Counts links below a directory.
fn count(dir: &Arc<Inode>, links: &mut HashMap<u32, u32>) {
    for (name, ino) in list(dir) {
        let inode = dir.lookup(&name).unwrap();
        assert_eq!(inode.ino(), ino);
        *links.entry(ino).or_default() += 1;
        if inode.is_dir() {
            count(&inode, links);
        } else {
            let mut buf = vec![0; inode.stat().size as usize];
            inode.read_at(0, &mut buf).unwrap();
        }
    }
}

fn storm(kind: &str, args: &[&str]) {
    let image = Image::make("64M", args);
    let fs = image.mount();
    let root = fs.root().unwrap();
    let dirs: Vec<_> =
        (0..4).map(|i| root.mkdir(format!("dir{i}").as_bytes(), &directory(0o755)).unwrap()).collect();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..6)
            .map(|seed| {
                let dirs = &dirs;
                scope.spawn(move || work(dirs, seed, 800))
            })
            .collect();
        let (done, fs) = (&done, &fs);
        scope.spawn(move || {
            while !done.load(Ordering::Relaxed) {
                fs.sync().unwrap();
                fs.buffers().shrink(100_000);
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
        });
        let start = std::time::Instant::now();
        while workers.iter().any(|worker| !worker.is_finished()) {
            std::thread::sleep(std::time::Duration::from_millis(10));
            if start.elapsed().as_secs() > 120 {
                eprintln!("{kind}: deadlock");
                std::process::abort();
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    let mut links = HashMap::new();
    count(&root, &mut links);
    for (ino, count) in links {
        let inode = fs.iget(ino).unwrap();
        if !inode.is_dir() {
            assert_eq!(inode.stat().links, count, "{kind}: links of {ino}");
        }
    }
    drop((dirs, root));
    fs.unmount().unwrap();
    image.check(kind);
}

#[test]
fn storms() {
    for (kind, args) in KINDS {
        if ["ext2-1k", "ext3-1k", "ext4-1k", "ext4-4k", "ext4-orphan-file", "ext4-inline", "ext4-nojournal"]
            .contains(kind)
        {
            storm(kind, args);
        }
    }
}
