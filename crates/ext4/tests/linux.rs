//! Images that go back and forth between this library and the host's own ext4. Needs root and loop devices, so it runs
//! only when asked for: `cargo test -p ext4 --test linux -- --ignored`.

mod common;

use abi::fcntl::{
    FALLOC_FL_COLLAPSE_RANGE, FALLOC_FL_INSERT_RANGE, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE,
};
use common::{Image, Random, directory, file, pattern, read, time, write};
use ext4::XattrFlags;
use std::path::{Path, PathBuf};
use std::process::Command;

const KINDS: &[&[&str]] = &[
    &["-t", "ext2", "-b", "1024"],
    &["-t", "ext3", "-b", "4096"],
    &["-t", "ext4", "-b", "1024"],
    &["-t", "ext4", "-b", "4096"],
    &["-t", "ext4", "-O", "orphan_file,metadata_csum_seed"],
    &["-t", "ext4", "-O", "inline_data"],
];

fn run(program: &str, args: &[&str]) -> String {
    let output =
        Command::new(program).args(args).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A mount point in use; let go of also when a test fails.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

/// Runs `work` on the image mounted by the host.
fn on_linux(image: &Image, work: impl FnOnce(&Path)) {
    let point = image.dir.path().join("mnt");
    std::fs::create_dir_all(&point).unwrap();
    run("mount", &["-o", "loop,errors=remount-ro", image.name(), point.to_str().unwrap()]);
    let mounted = Mounted(point);
    work(&mounted.0);
}

#[test]
#[ignore = "needs root and loop devices"]
fn back_and_forth() {
    for kind in KINDS {
        eprintln!("{kind:?}");
        let image = Image::make("96M", kind);
        let mut random = Random(5);
        let sizes: Vec<usize> =
            (0..40).map(|n| random.below([100, 5000, 70_000, 2_000_000][n % 4]) as usize).collect();
        {
            let fs = image.mount();
            let root = fs.root().unwrap();
            let dir = root.mkdir(b"ours", &directory(0o755)).unwrap();
            for (n, &size) in sizes.iter().enumerate() {
                let inode = dir.create(format!("{n}").as_bytes(), &file(0o644)).unwrap();
                let data = pattern(n as u64, size);
                // From the end, so that pieces don't simply follow each other.
                for at in (0..size).step_by(50_000).collect::<Vec<_>>().into_iter().rev() {
                    write(&inode, at as u64, &data[at..size.min(at + 50_000)]).unwrap();
                }
                inode.xattr_set(b"user.number", format!("{n}").as_bytes(), XattrFlags::empty()).unwrap();
                inode.xattr_set(b"user.long", &pattern(1, 200 + n % 3), XattrFlags::empty()).unwrap();
            }
            let comb = dir.create(b"comb", &file(0o644)).unwrap();
            write(&comb, 0, &pattern(77, 4_000_000)).unwrap();
            for at in (0..4_000_000).step_by(8192) {
                comb.fallocate(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, 4096, false).unwrap();
            }
            if kind[1] == "ext4" {
                comb.fallocate(FALLOC_FL_COLLAPSE_RANGE, 1 << 16, 1 << 16, false).unwrap();
                comb.fallocate(FALLOC_FL_INSERT_RANGE, 1 << 17, 1 << 16, false).unwrap();
            }
            drop((comb, dir, root));
            fs.unmount().unwrap();
            image.check("ours");
        }
        on_linux(&image, |point| {
            for (n, &size) in sizes.iter().enumerate() {
                let path = point.join("ours").join(n.to_string());
                assert!(std::fs::read(&path).unwrap() == pattern(n as u64, size), "{kind:?} {n}");
                if n % 3 == 0 {
                    std::fs::remove_file(&path).unwrap();
                } else if n % 3 == 1 {
                    let mut data = std::fs::read(&path).unwrap();
                    data.extend(pattern(n as u64, 30_000));
                    std::fs::write(&path, data).unwrap();
                }
            }
            let script = "import os,sys\n\
                for n in range(40):\n    p = f'{sys.argv[1]}/ours/{n}'\n    \
                if os.path.exists(p):\n        assert os.getxattr(p, 'user.number') == str(n).encode(), p\n        \
                assert len(os.getxattr(p, 'user.long')) == 200 + n % 3\n        os.setxattr(p, 'user.linux', b'y' * 50)\n";
            run("python3", &["-c", script, point.to_str().unwrap()]);
            std::fs::create_dir(point.join("theirs")).unwrap();
            for n in 0..300 {
                std::fs::write(point.join("theirs").join(format!("{n}")), pattern(n, n as usize * 37))
                    .unwrap();
            }
            std::fs::write(point.join("theirs/comb"), std::fs::read(point.join("ours/comb")).unwrap())
                .unwrap();
            let unwritten = point.join("theirs/unwritten");
            if kind[1] == "ext4" {
                run("fallocate", &["-l", "3000000", unwritten.to_str().unwrap()]);
            } else {
                std::fs::File::create(unwritten).unwrap().set_len(3_000_000).unwrap();
            }
        });
        image.check("linux");
        let fs = image.mount();
        let root = fs.root().unwrap();
        let (ours, theirs) = (root.lookup(b"ours").unwrap(), root.lookup(b"theirs").unwrap());
        for (n, &size) in sizes.iter().enumerate().filter(|(n, _)| n % 3 != 0) {
            let inode = ours.lookup(format!("{n}").as_bytes()).unwrap();
            let mut expect = pattern(n as u64, size);
            if n % 3 == 1 {
                expect.extend(pattern(n as u64, 30_000));
            }
            assert!(read(&inode) == expect, "{kind:?} {n}");
            assert_eq!(inode.xattr_get(b"user.linux").unwrap(), [b'y'; 50]);
        }
        for n in 0..300u64 {
            let inode = theirs.lookup(format!("{n}").as_bytes()).unwrap();
            assert!(read(&inode) == pattern(n, n as usize * 37), "{kind:?} theirs {n}");
        }
        let comb = read(&ours.lookup(b"comb").unwrap());
        assert!(read(&theirs.lookup(b"comb").unwrap()) == comb, "{kind:?}");
        let unwritten = theirs.lookup(b"unwritten").unwrap();
        assert!(read(&unwritten) == vec![0; 3_000_000]);
        write(&unwritten, 1_000_000, b"now it is").unwrap();
        assert!(read(&unwritten)[1_000_000..1_000_009] == *b"now it is");
        for n in 0..300 {
            theirs.unlink(format!("{n}").as_bytes(), time(1)).unwrap();
        }
        drop((unwritten, ours, theirs, root));
        fs.unmount().unwrap();
        image.check("ours again");
        on_linux(&image, |point| {
            let data = std::fs::read(point.join("theirs/unwritten")).unwrap();
            assert!(
                data[1_000_000..1_000_009] == *b"now it is" && data.iter().filter(|&&b| b != 0).count() == 9
            );
            assert!(std::fs::read(point.join("ours/comb")).unwrap() == comb);
        });
    }
}
