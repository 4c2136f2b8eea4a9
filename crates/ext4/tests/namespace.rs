//! Names on images of every kind: made by mke2fs, changed by the library, judged by e2fsck and debugfs.

mod common;

use abi::errno::{EEXIST, EINVAL, EISDIR, ENOENT, ENOTDIR, ENOTEMPTY, EPERM};
use common::*;
use ext4::{Inode, MountOptions, RenameFlags, SetAttr};
use std::sync::Arc;

fn names(dir: &Inode) -> Vec<String> {
    let mut names: Vec<_> = list(dir).into_iter().map(|(name, _)| String::from_utf8(name).unwrap()).collect();
    names.sort();
    names
}

/// Does a bit of everything and leaves a known tree.
fn build(root: &Arc<Inode>) {
    let now = time(1_700_000_001);
    let a = root.mkdir(b"a", &directory(0o755)).unwrap();
    let b = root.mkdir(b"b", &directory(0o700)).unwrap();
    let inner = a.mkdir(b"inner", &directory(0o755)).unwrap();
    let hello = a.create(b"hello", &file(0o644)).unwrap();
    write(&hello, 0, b"hello, world\n").unwrap();
    let big = b.create(b"big", &file(0o600)).unwrap();
    for i in 0..8 {
        write(&big, i * 70_000, &pattern(i, 70_000)).unwrap();
    }
    assert_eq!(a.create(b"hello", &file(0o644)).err(), Some(EEXIST));
    assert_eq!(a.mkdir(b"hello", &directory(0o755)).err(), Some(EEXIST));
    assert_eq!(a.lookup(b"nothing").err(), Some(ENOENT));
    assert_eq!(hello.lookup(b"x").err(), Some(ENOTDIR));
    assert_eq!(root.rmdir(b"a", now), Err(ENOTEMPTY));
    assert_eq!(root.unlink(b"a", now), Err(EISDIR));
    assert_eq!(a.rmdir(b"hello", now), Err(ENOTDIR));
    let short = root.symlink(b"short", b"a/hello", &file(0)).unwrap();
    let target = vec![b't'; 300];
    let long = root.symlink(b"long", &target, &file(0)).unwrap();
    assert_eq!(short.read_link().unwrap(), b"a/hello");
    assert_eq!(long.read_link().unwrap(), target);
    let null = ext4::NewInode { mode: 0o020666, rdev: (1, 3), ..file(0) };
    let wide = ext4::NewInode { mode: 0o060660, rdev: (259, 70_000), ..file(0) };
    assert_eq!(root.create(b"null", &null).unwrap().stat().rdev, (1, 3));
    assert_eq!(root.create(b"wide", &wide).unwrap().stat().rdev, (259, 70_000));
    root.create(b"fifo", &ext4::NewInode { mode: 0o010644, ..file(0) }).unwrap();
    root.create(b"socket", &ext4::NewInode { mode: 0o140644, ..file(0) }).unwrap();
    root.link(&hello, b"link", now).unwrap();
    assert_eq!(hello.stat().links, 2);
    assert_eq!(root.link(&a, b"dirlink", now), Err(EPERM));
    // Renames: plain, over a file, over an empty directory, of a directory elsewhere, exchange, whiteout.
    let victim = b.create(b"victim", &file(0o644)).unwrap();
    write(&victim, 0, &pattern(9, 5000)).unwrap();
    b.rename(b"big", &b, b"large", RenameFlags::empty(), now).unwrap();
    b.rename(b"large", &b, b"victim", RenameFlags::empty(), now).unwrap();
    assert_eq!(victim.stat().links, 0);
    assert_eq!(read(&victim), pattern(9, 5000));
    drop(victim);
    a.rename(b"inner", &b, b"moved", RenameFlags::empty(), now).unwrap();
    assert_eq!(inner.parent().unwrap(), b.ino());
    assert_eq!(inner.lookup(b"..").unwrap().ino(), b.ino());
    assert_eq!((a.stat().links, b.stat().links), (2, 3));
    let empty = a.mkdir(b"empty", &directory(0o755)).unwrap();
    b.rename(b"moved", &a, b"empty", RenameFlags::empty(), now).unwrap();
    assert_eq!(empty.stat().links, 0);
    assert_eq!(empty.create(b"x", &file(0)).err(), Some(ENOENT));
    assert_eq!((a.stat().links, b.stat().links), (3, 2));
    drop(empty);
    let swap = b.create(b"swap", &file(0o644)).unwrap();
    a.rename(b"empty", &b, b"swap", RenameFlags::EXCHANGE, now).unwrap();
    assert_eq!(a.lookup(b"empty").unwrap().ino(), swap.ino());
    assert_eq!((a.stat().links, b.stat().links), (2, 3));
    assert_eq!(a.rename(b"hello", &b, b"swap", RenameFlags::empty(), now), Err(EISDIR));
    assert_eq!(b.rename(b"swap", &a, b"hello", RenameFlags::empty(), now), Err(ENOTDIR));
    assert_eq!(a.rename(b"hello", &b, b"victim", RenameFlags::NOREPLACE, now), Err(EEXIST));
    assert_eq!(root.rename(b"b", &b, b"x", RenameFlags::empty(), now), Err(EINVAL));
    b.rename(b"victim", &a, b"final", RenameFlags::WHITEOUT, now).unwrap();
    let whiteout = b.lookup(b"victim").unwrap().stat();
    assert_eq!((whiteout.mode & 0o170000, whiteout.rdev), (0o020000, (0, 0)));
    // A file that has no name yet, and one that never gets any.
    let unnamed = a.tmpfile(&file(0o600)).unwrap();
    write(&unnamed, 0, &pattern(3, 10_000)).unwrap();
    a.link(&unnamed, b"named", now).unwrap();
    let never = a.tmpfile(&file(0o600)).unwrap();
    write(&never, 0, &pattern(3, 10_000)).unwrap();
    drop(never);
    // Deleted at once, and while open.
    let open = root.create(b"open", &file(0o644)).unwrap();
    write(&open, 0, &pattern(5, 100_000)).unwrap();
    root.unlink(b"open", now).unwrap();
    assert_eq!(root.lookup(b"open").err(), Some(ENOENT));
    assert_eq!(read(&open), pattern(5, 100_000));
    root.mkdir(b"gone", &directory(0o755)).unwrap();
    root.rmdir(b"gone", now).unwrap();
    hello
        .set_attr(&SetAttr {
            mode: Some(0o4755),
            uid: Some(100_000),
            mtime: Some(time(5)),
            ..Default::default()
        })
        .unwrap();
}

fn verify(root: &Arc<Inode>) {
    assert_eq!(
        names(root),
        ["a", "b", "fifo", "link", "long", "lost+found", "null", "short", "socket", "wide"].map(String::from)
    );
    let a = root.lookup(b"a").unwrap();
    let b = root.lookup(b"b").unwrap();
    assert_eq!(names(&a), ["empty", "final", "hello", "named"].map(String::from));
    assert_eq!(names(&b), ["swap", "victim"].map(String::from));
    assert_eq!(read(&a.lookup(b"hello").unwrap()), b"hello, world\n");
    assert_eq!(root.lookup(b"link").unwrap().ino(), a.lookup(b"hello").unwrap().ino());
    let big: Vec<u8> = (0..8).flat_map(|i| pattern(i, 70_000)).collect();
    assert_eq!(read(&a.lookup(b"final").unwrap()), big);
    assert_eq!(read(&a.lookup(b"named").unwrap()), pattern(3, 10_000));
    assert_eq!(root.lookup(b"long").unwrap().read_link().unwrap(), vec![b't'; 300]);
    let stat = a.lookup(b"hello").unwrap().stat();
    assert_eq!((stat.mode, stat.uid, stat.gid, stat.links), (0o104755, 100_000, 70_000, 2));
    assert_eq!(stat.mtime.tv_sec, 5);
    assert_eq!(stat.atime.tv_sec, 1_700_000_000);
}

#[test]
fn a_tree_on_every_kind() {
    for (kind, args) in KINDS {
        let size = if *kind == "ext4-64k" { "300M" } else { "48M" };
        let image = Image::make(size, args);
        let fs = image.mount();
        let root = fs.root().unwrap();
        build(&root);
        verify(&root);
        drop(root);
        fs.unmount().unwrap();
        image.check(kind);
        let fs = image.mount();
        verify(&fs.root().unwrap());
        fs.unmount().unwrap();
        image.check(kind);
        assert_eq!(image.debugfs("cat /a/hello"), b"hello, world\n", "{kind}");
        let big: Vec<u8> = (0..8).flat_map(|i| pattern(i, 70_000)).collect();
        assert_eq!(image.debugfs("cat /a/final"), big, "{kind}");
        let fs = image
            .try_mount(&MountOptions { read_only: true, ..Default::default() }, Arc::new(Printer))
            .unwrap();
        verify(&fs.root().unwrap());
        assert_eq!(fs.root().unwrap().create(b"no", &file(0)).err(), Some(abi::errno::EROFS));
        fs.unmount().unwrap();
        eprintln!("{kind}: well");
    }
}
