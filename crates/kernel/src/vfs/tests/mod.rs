//! Walks, names and mounts on a small file system of their own.

mod memfs;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use abi::errno::*;
use abi::fcntl::*;
use abi::mount::{MS_BIND, MS_RDONLY, MS_REC, MS_REMOUNT};
use abi::resource::Rlimit;
use abi::{Errno, Result};

use super::links::{do_rename, make_symlink, remove_file};
use super::mount::MountNamespace;
use super::mount_calls::{do_mount, do_umount};
use super::namei::{LookupFlags, Walk, d_path, lookup_parent, path_at};
use super::open::filp_open;
use super::read_write::{do_read, do_write};
use super::*;
use crate::signal::SigHand;
use crate::task::{Cred, Process, Task, TaskParts, current, set_current};

/// Makes this thread a task of root whose root directory is a fresh file system.
fn begin() {
    register_filesystem(&memfs::MEMFS);
    let sb = (memfs::MEMFS.mount)(&memfs::MEMFS, b"none", 0, b"").unwrap();
    let mnt = Mount::new(&sb, &sb.root().unwrap(), MountFlags::empty());
    let unlimited = Rlimit { rlim_cur: u64::MAX, rlim_max: u64::MAX };
    let fs = FsStruct::new(MountNamespace::new(&mnt), &mnt);
    let files = Arc::new(FilesStruct::default());
    set_current(Some(Task::new(TaskParts {
        files: Some(files),
        ..TaskParts::kernel(1, Process::new(1, Arc::new(SigHand::new()), [unlimited; 16]), fs, b"test")
    })));
    current().fs().set_umask(0o022);
}

fn mkdir(name: &str) -> Result<()> {
    dirs::make_dir(&lookup_parent(Fd::CWD, name.as_bytes())?, 0o777)
}

fn rmdir(name: &str) -> Result<()> {
    dirs::remove_dir(&lookup_parent(Fd::CWD, name.as_bytes())?)
}

fn unlink(name: &str) -> Result<()> {
    remove_file(&lookup_parent(Fd::CWD, name.as_bytes())?)
}

fn symlink(target: &str, name: &str) -> Result<()> {
    make_symlink(&lookup_parent(Fd::CWD, name.as_bytes())?, target.as_bytes())
}

fn rename(old: &str, new: &str, flags: u32) -> Result<()> {
    do_rename((Fd::CWD, old.as_bytes()), (Fd::CWD, new.as_bytes()), flags)
}

fn open(name: &str, flags: u32) -> Result<Arc<File>> {
    filp_open(name.as_bytes(), OpenFlags::from_bits_retain(flags), 0o666)
}

fn touch(name: &str) {
    open(name, O_CREAT | O_EXCL | O_WRONLY).unwrap();
}

fn follow(name: &str) -> Result<Path> {
    path_at(Fd::CWD, name.as_bytes(), LookupFlags::FOLLOW)
}

fn err<T>(result: Result<T>) -> Errno {
    result.err().expect("an error")
}

/// The name of where `name` leads.
fn real(name: &str) -> Result<String> {
    let path = d_path(&follow(name)?, &current().fs().root());
    Ok(String::from_utf8_lossy(&path).into_owned())
}

fn as_user(uid: u32) {
    current().set_cred(Cred::user(uid, uid));
}

#[test]
fn walks_follow_dots_and_slashes() {
    begin();
    mkdir("/a").unwrap();
    mkdir("/a/b/").unwrap();
    touch("/a/f");
    for (name, leads) in [
        ("/", "/"),
        ("///", "/"),
        ("/..", "/"),
        ("/a/./b/../f", "/a/f"),
        ("a//b///", "/a/b"),
        ("/a/b/../../../..", "/"),
    ] {
        assert_eq!(real(name).as_deref(), Ok(leads), "{name}");
    }
    for (name, errno) in [
        ("", ENOENT),
        ("/a/f/", ENOTDIR),
        ("/a/f/.", ENOTDIR),
        ("/a/f/x", ENOTDIR),
        ("/none", ENOENT),
        ("/none/../a", ENOENT),
    ] {
        assert_eq!(real(name), Err(errno), "{name}");
    }
    let long = "n".repeat(256);
    assert_eq!(real(&long), Err(ENAMETOOLONG));
    assert_eq!(real(&long[1..]), Err(ENOENT));
}

#[test]
fn links_are_followed_forty_times() {
    begin();
    mkdir("/d").unwrap();
    touch("/d/f");
    symlink("d", "/l").unwrap();
    symlink("../d/f", "/d/up").unwrap();
    symlink("/d/f/", "/slash").unwrap();
    assert_eq!(real("/l/f").as_deref(), Ok("/d/f"));
    assert_eq!(real("/l/up").as_deref(), Ok("/d/f"));
    assert_eq!(real("/slash"), Err(ENOTDIR));
    assert_eq!(
        path_at(Fd::CWD, b"/l", LookupFlags::empty()).unwrap().inode().unwrap().kind,
        FileType::Symlink
    );
    // A trailing slash follows even where the call doesn't.
    assert!(path_at(Fd::CWD, b"/l/", LookupFlags::empty()).unwrap().dentry.is_dir());
    symlink("loop", "/loop").unwrap();
    assert_eq!(real("/loop"), Err(ELOOP));
    symlink("/d/f", "/c0").unwrap();
    for i in 1..=40 {
        symlink(&format!("c{}", i - 1), &format!("/c{i}")).unwrap();
    }
    assert_eq!(real("/c39").as_deref(), Ok("/d/f"));
    assert_eq!(real("/c40"), Err(ELOOP));
}

#[test]
fn open_creates_as_asked() {
    begin();
    mkdir("/d").unwrap();
    let file = open("/f", O_CREAT | O_RDWR).unwrap();
    assert_eq!(file.inode().getattr().unwrap().mode & 0o7777, 0o644);
    assert_eq!(err(open("/f", O_CREAT | O_EXCL | O_RDWR)), EEXIST);
    symlink("/new", "/dangling").unwrap();
    assert_eq!(err(open("/dangling", O_RDONLY)), ENOENT);
    assert_eq!(err(open("/dangling", O_CREAT | O_EXCL | O_WRONLY)), EEXIST);
    assert_eq!(err(open("/dangling", O_CREAT | O_NOFOLLOW | O_WRONLY)), ELOOP);
    open("/dangling", O_CREAT | O_WRONLY).unwrap();
    assert_eq!(real("/new").as_deref(), Ok("/new"));
    for (name, flags, errno) in [
        ("/f/", O_CREAT, EISDIR),
        ("/d", O_CREAT, EISDIR),
        ("/d", O_WRONLY, EISDIR),
        ("/.", O_CREAT, EISDIR),
        ("/.", O_CREAT | O_EXCL, EEXIST),
        ("/f", O_DIRECTORY, ENOTDIR),
        ("/x", O_CREAT | O_DIRECTORY, EINVAL),
        ("/d", O_TMPFILE, EINVAL),
        ("/dangling", O_NOFOLLOW, ELOOP),
    ] {
        assert_eq!(err(open(name, flags)), errno, "{name} {flags:o}");
    }
    let tmp = open("/d", O_TMPFILE | O_RDWR).unwrap();
    assert_eq!(d_path(&tmp.path, &current().fs().root()), b"/d/#99 (deleted)");
}

#[test]
fn writing_and_reading_use_the_position() {
    begin();
    let file = open("/f", O_CREAT | O_RDWR).unwrap();
    assert_eq!(do_write(&file, &mut IovSource::kernel(b"hello"), None), Ok(5));
    assert_eq!(do_write(&file, &mut IovSource::kernel(b"J"), Some(0)), Ok(1));
    assert_eq!(file.seek(-4, SEEK_CUR), Ok(1));
    let mut buf = [0; 8];
    assert_eq!(do_read(&file, &mut IovDest::kernel(&mut buf), None), Ok(4));
    assert_eq!(&buf[..4], b"ello");
    assert_eq!(file.seek(-9, SEEK_END), Err(EINVAL));
    let reader = open("/f", O_RDONLY | O_TRUNC).unwrap();
    assert_eq!(do_write(&reader, &mut IovSource::kernel(b"x"), None), Err(EBADF));
    assert_eq!(reader.inode().getattr().unwrap().size, 0);
}

#[test]
fn permissions_are_the_owners_groups_and_others() {
    begin();
    mkdir("/d").unwrap();
    touch("/d/f");
    attr_mode("/d/f", 0o640);
    as_user(7);
    assert_eq!(err(open("/d/f", O_RDONLY)), EACCES);
    assert_eq!(err(open("/d/new", O_CREAT | O_WRONLY)), EACCES);
    assert_eq!(unlink("/d/f"), Err(EACCES));
    current().set_cred(Cred { groups: Arc::new([0]), ..Cred::user(7, 7) });
    assert!(open("/d/f", O_RDONLY).is_ok());
    assert_eq!(err(open("/d/f", O_RDWR)), EACCES);
    current().set_cred(Cred::root());
    attr_mode("/d", 0o1777);
    as_user(7);
    // Sticky: writable by all, but only the owner removes.
    touch("/d/mine");
    assert_eq!(unlink("/d/f"), Err(EPERM));
    assert_eq!(unlink("/d/mine"), Ok(()));
    current().set_cred(Cred::root());
    attr_mode("/d", 0o700);
    as_user(7);
    assert_eq!(real("/d/f"), Err(EACCES));
}

fn attr_mode(name: &str, mode: u32) {
    let inode = follow(name).unwrap().inode().unwrap();
    inode.ops.setattr(&inode, &SetAttr { mode: Some(mode), ..SetAttr::default() }).unwrap();
}

#[test]
fn unlinked_files_stay_for_who_has_them() {
    begin();
    mkdir("/d").unwrap();
    let file = open("/d/f", O_CREAT | O_RDWR).unwrap();
    assert_eq!(rmdir("/d"), Err(ENOTEMPTY));
    assert_eq!(rmdir("/d/f"), Err(ENOTDIR));
    assert_eq!(unlink("/d"), Err(EISDIR));
    assert_eq!(unlink("/d/f/"), Err(ENOTDIR));
    unlink("/d/f").unwrap();
    assert_eq!(real("/d/f"), Err(ENOENT));
    assert_eq!(d_path(&file.path, &current().fs().root()), b"/d/f (deleted)");
    assert!(do_write(&file, &mut IovSource::kernel(b"x"), None).is_ok());
    let dir = follow("/d").unwrap();
    current().fs().set_cwd(dir);
    rmdir("/d").unwrap();
    assert_eq!(err(open("x", O_CREAT | O_WRONLY)), ENOENT);
    assert_eq!(real("..").as_deref(), Ok("/"));
    assert_eq!(rmdir("/."), Err(EINVAL));
    assert_eq!(rmdir("/"), Err(EBUSY));
}

#[test]
fn renames_move_replace_and_exchange() {
    begin();
    mkdir("/a").unwrap();
    mkdir("/a/sub").unwrap();
    mkdir("/b").unwrap();
    touch("/a/f");
    touch("/b/g");
    let f = follow("/a/f").unwrap();
    rename("/a/f", "/b/g", 0).unwrap();
    assert!(follow("/b/g").unwrap() == f);
    assert_eq!(real("/a/f"), Err(ENOENT));
    for (old, new, flags, errno) in [
        ("/a", "/a/sub/x", 0, EINVAL),
        ("/a/sub", "/a", 0, ENOTEMPTY),
        ("/a", "/a/sub", RENAME_EXCHANGE, EINVAL),
        ("/b/g", "/a", 0, EISDIR),
        ("/a", "/b/g", 0, ENOTDIR),
        ("/a/sub", "/b", 0, ENOTEMPTY),
        ("/b/g", "/a", RENAME_NOREPLACE, EEXIST),
        ("/b/g", "/none", RENAME_EXCHANGE, ENOENT),
        ("/b/g", "/none", RENAME_EXCHANGE | RENAME_NOREPLACE, EINVAL),
        ("/b/g", "/none/", 0, ENOTDIR),
        ("/none", "/x", 0, ENOENT),
        ("/b/..", "/x", 0, EBUSY),
        ("/b/g", "/a/.", 0, EBUSY),
    ] {
        assert_eq!(rename(old, new, flags), Err(errno), "{old} {new} {flags}");
    }
    rename("/a/sub", "/b/g", RENAME_EXCHANGE).unwrap();
    assert!(follow("/b/g").unwrap().dentry.is_dir());
    assert!(follow("/a/sub").unwrap() == f);
    assert_eq!(real("/b/g").as_deref(), Ok("/b/g"));
    rename("/b", "/a/b/", 0).unwrap();
    assert_eq!(real("/a/b/g").as_deref(), Ok("/a/b/g"));
    rename("/a/sub", "/a/sub", 0).unwrap();
}

#[test]
fn mounts_cover_and_uncover() {
    begin();
    mkdir("/m").unwrap();
    touch("/m/under");
    let target = follow("/m").unwrap();
    do_mount(b"none", &target, b"memfs", 0, b"").unwrap();
    assert_eq!(real("/m/under"), Err(ENOENT));
    mkdir("/m/d").unwrap();
    let inside = follow("/m/d").unwrap();
    assert_eq!(d_path(&inside, &current().fs().root()), b"/m/d");
    assert_eq!(real("/m/d/../..").as_deref(), Ok("/"));
    assert_eq!(rmdir("/m"), Err(EBUSY));
    assert_eq!(rename("/m", "/n", 0), Err(EBUSY));
    assert_eq!(rename("/m/d", "/d", 0), Err(EXDEV));
    assert_eq!(do_umount(follow("/m").unwrap(), false, false), Err(EBUSY));
    drop(inside);
    let before = memfs::UNMOUNTED.load(Ordering::SeqCst);
    assert_eq!(do_umount(follow("/m").unwrap(), false, false), Ok(()));
    assert!(memfs::UNMOUNTED.load(Ordering::SeqCst) > before);
    assert!(real("/m/under").is_ok());
    assert_eq!(do_umount(follow("/m").unwrap(), false, false), Err(EINVAL));
    assert_eq!(do_mount(b"none", &target, b"nosuchfs", 0, b""), Err(ENODEV));
    assert_eq!(do_umount(follow("/").unwrap(), false, false), Err(EBUSY));
}

#[test]
fn binds_show_a_part_and_may_be_read_only() {
    begin();
    mkdir("/src").unwrap();
    mkdir("/src/m").unwrap();
    mkdir("/dst").unwrap();
    touch("/src/f");
    do_mount(b"none", &follow("/src/m").unwrap(), b"memfs", 0, b"").unwrap();
    touch("/src/m/inner");
    let dst = follow("/dst").unwrap();
    do_mount(b"/src", &dst, b"", MS_BIND, b"").unwrap();
    assert!(real("/dst/f").is_ok());
    assert_eq!(real("/dst/m/inner"), Err(ENOENT));
    do_mount(b"none", &follow("/dst").unwrap(), b"", MS_REMOUNT | MS_BIND | MS_RDONLY, b"").unwrap();
    assert_eq!(err(open("/dst/f", O_WRONLY)), EROFS);
    assert_eq!(err(open("/dst/n", O_WRONLY | O_CREAT)), EROFS);
    assert!(open("/dst/f", O_RDONLY | O_CREAT).is_ok());
    assert!(open("/src/f", O_WRONLY).is_ok());
    do_umount(follow("/dst").unwrap(), false, false).unwrap();
    do_mount(b"/src", &dst, b"", MS_BIND | MS_REC, b"").unwrap();
    assert!(real("/dst/m/inner").is_ok());
    assert_eq!(do_umount(follow("/dst").unwrap(), false, false), Err(EBUSY));
    do_umount(follow("/dst").unwrap(), true, false).unwrap();
    assert_eq!(real("/dst/f"), Err(ENOENT));
}

#[test]
fn scoped_walks_stay_below() {
    begin();
    mkdir("/box").unwrap();
    mkdir("/box/d").unwrap();
    touch("/secret");
    symlink("/secret", "/box/abs").unwrap();
    symlink("../../secret", "/box/d/rel").unwrap();
    symlink("d", "/box/in").unwrap();
    let cred = Arc::new(Cred::root());
    let walk = |flags: LookupFlags, name: &str| {
        let start = follow("/box").unwrap();
        Walk::from(start.clone(), start, cred.clone(), flags | LookupFlags::FOLLOW).lookup(name.as_bytes())
    };
    for name in ["..", "d/../..", "abs", "d/rel", "/d"] {
        assert_eq!(err(walk(LookupFlags::BENEATH, name)), EXDEV, "{name}");
    }
    assert!(walk(LookupFlags::BENEATH, "d/../in").is_ok());
    // In a root of its own nothing outside exists.
    assert_eq!(err(walk(LookupFlags::IN_ROOT, "abs")), ENOENT);
    assert_eq!(err(walk(LookupFlags::IN_ROOT, "d/rel")), ENOENT);
    assert!(walk(LookupFlags::IN_ROOT, "/../../d").is_ok());
    assert_eq!(err(walk(LookupFlags::NO_SYMLINKS, "in")), ELOOP);
}

#[test]
fn a_long_chain_of_removed_directories_is_dropped() {
    begin();
    let mut at = follow("/").unwrap();
    current().fs().set_cwd(at.clone());
    for _ in 0..20_000 {
        mkdir("d").unwrap();
        at = follow("d").unwrap();
        current().fs().set_cwd(at.clone());
    }
    // Bottom up, with only the deepest in use: it keeps the whole chain of removed directories.
    let mut here = at.clone();
    for _ in 0..20_000 {
        here.dentry = here.dentry.parent();
        current().fs().set_cwd(here.clone());
        rmdir("d").unwrap();
    }
    let chain = Arc::downgrade(&at.dentry.parent());
    drop(at);
    assert!(chain.upgrade().is_none());
}
