//! hostfs on a directory of the host that somebody else changes at the same time.

use std::os::unix::fs::{MetadataExt, symlink};
use std::path::PathBuf;
use std::sync::Arc;

use abi::errno::*;
use abi::fcntl::{OpenFlags, RENAME_EXCHANGE};
use abi::stat::{S_IFIFO, S_IFREG};

use super::*;
use crate::fs::testing::{TempDir, open, read, rename, write};
use crate::vfs::{Dentry, Mount, MountFlags, NewInode, SetAttr};

fn new(mode: u32) -> NewInode {
    NewInode { mode, uid: 0, gid: 0, rdev: 0 }
}

struct Fs {
    temp: TempDir,
    mnt: Arc<Mount>,
}

impl Fs {
    fn new(name: &str, options: Options) -> Fs {
        let temp = TempDir::new(name);
        std::fs::create_dir_all(temp.join("root/dir/sub")).unwrap();
        std::fs::write(temp.join("root/dir/file"), b"inside").unwrap();
        std::fs::create_dir(temp.join("outside")).unwrap();
        std::fs::write(temp.join("outside/file"), b"secret").unwrap();
        let sb = mount(temp.join("root").as_os_str().as_encoded_bytes(), 0, options).unwrap();
        let mnt = Mount::new(&sb, &sb.root().unwrap(), MountFlags::empty());
        Fs { temp, mnt }
    }

    fn host(&self, path: &str) -> PathBuf {
        self.temp.join("root").join(path)
    }

    fn walk(&self, path: &str) -> Result<Arc<Dentry>> {
        let mut at = self.mnt.root.clone();
        for name in path.split('/').filter(|n| !n.is_empty()) {
            at = at.lookup(name.as_bytes(), false)?.ok_or(ENOENT)?;
        }
        Ok(at)
    }

    fn content(&self, path: &str) -> Result<Vec<u8>> {
        let file = open(&self.mnt, &self.walk(path)?, OpenFlags::RDONLY)?;
        Ok(read(&file))
    }
}

#[test]
fn reads_and_stats() {
    let fs = Fs::new("hostfs-read", Options::default());
    assert_eq!(fs.content("dir/file").unwrap(), b"inside");
    let attr = fs.walk("dir/file").unwrap().inode().unwrap().getattr().unwrap();
    let host = std::fs::metadata(fs.host("dir/file")).unwrap();
    assert_eq!((attr.ino, attr.size, attr.mode), (host.ino(), 6, host.mode()));
    assert_ne!(attr.dev, host.dev());
    assert_eq!(fs.walk("dir/none").err(), Some(ENOENT));
}

#[test]
fn links_of_the_host_do_not_lead_out() {
    let fs = Fs::new("hostfs-links", Options::default());
    symlink("../outside", fs.host("out")).unwrap();
    assert_eq!(fs.walk("out").unwrap().inode().unwrap().kind, crate::vfs::FileType::Symlink);
    assert_eq!(fs.walk("out/file").err(), Some(ENOTDIR));
    // A directory that the guest knows is swapped for a link.
    let file = fs.walk("dir/file").unwrap();
    let dir = fs.walk("dir").unwrap().inode().unwrap();
    std::fs::rename(fs.host("dir"), fs.host("was")).unwrap();
    symlink("../outside", fs.host("dir")).unwrap();
    assert_eq!(open(&fs.mnt, &file, OpenFlags::RDONLY).err(), Some(ESTALE));
    assert_eq!(dir.ops.lookup(&dir, b"file").err(), Some(ESTALE));
    assert_eq!(dir.ops.create(&dir, b"new", &new(S_IFREG | 0o644)).err(), Some(ESTALE));
    assert!(!fs.temp.join("outside/new").exists());
    // And is moved out of the root altogether.
    std::fs::remove_file(fs.host("dir")).unwrap();
    std::fs::rename(fs.host("was"), fs.temp.join("was")).unwrap();
    assert_eq!(open(&fs.mnt, &file, OpenFlags::RDONLY).err(), Some(ENOENT));
}

#[test]
fn what_the_host_renames_is_found_again() {
    let fs = Fs::new("hostfs-rename", Options::default());
    let before = fs.walk("dir/file").unwrap().inode().unwrap();
    std::fs::rename(fs.host("dir"), fs.host("moved")).unwrap();
    assert_eq!(fs.walk("dir/file").err(), Some(ENOENT));
    let after = fs.walk("moved/file").unwrap();
    assert!(Arc::ptr_eq(&before, &after.inode().unwrap()));
    assert_eq!(fs.content("moved/file").unwrap(), b"inside");
    // Another file under the same name is another inode.
    std::fs::write(fs.host("other"), b"other").unwrap();
    std::fs::rename(fs.host("other"), fs.host("moved/file")).unwrap();
    let other = fs.walk("moved/file").unwrap();
    assert!(!Arc::ptr_eq(&before, &other.inode().unwrap()));
    assert_eq!(fs.content("moved/file").unwrap(), b"other");
}

#[test]
fn hard_links_share_an_inode() {
    let fs = Fs::new("hostfs-hardlink", Options::default());
    std::fs::hard_link(fs.host("dir/file"), fs.host("link")).unwrap();
    let (a, b) = (fs.walk("dir/file").unwrap(), fs.walk("link").unwrap());
    assert!(Arc::ptr_eq(&a.inode().unwrap(), &b.inode().unwrap()));
    assert_eq!(a.inode().unwrap().getattr().unwrap().nlink, 2);
    // With one name gone the file is still there under the other.
    let root = fs.mnt.root.inode().unwrap();
    root.ops.unlink(&root, b"link", &b.inode().unwrap()).unwrap();
    b.unhash();
    assert_eq!(fs.content("dir/file").unwrap(), b"inside");
}

#[test]
fn written_files_are_the_hosts() {
    let fs = Fs::new("hostfs-write", Options::default());
    let root = fs.mnt.root.inode().unwrap();
    let inode = root.ops.create(&root, b"new", &new(S_IFREG | 0o444)).unwrap();
    let dentry = fs.mnt.root.add(b"new", Some(inode.clone()));
    // Its mode would not let it be opened for writing a second time; what made it may.
    let file = open(&fs.mnt, &dentry, OpenFlags::RDWR).unwrap();
    write(&file, b"hello ", 0);
    file.set_flags(OpenFlags::APPEND, OpenFlags::APPEND);
    assert_eq!(write(&file, b"world", 0), 11);
    assert_eq!(std::fs::read(fs.host("new")).unwrap(), b"hello world");
    assert_eq!(std::fs::metadata(fs.host("new")).unwrap().mode() & 0o7777, 0o444);
    inode.ops.setattr(&inode, &SetAttr { size: Some(5), mode: Some(0o600), ..SetAttr::default() }).unwrap();
    assert_eq!(read(&file), b"hello");
    // Removed, it lives on while it is open.
    root.ops.unlink(&root, b"new", &inode).unwrap();
    dentry.unhash();
    assert_eq!(inode.getattr().unwrap().nlink, 0);
    assert_eq!(read(&open(&fs.mnt, &dentry, OpenFlags::RDONLY).unwrap()), b"hello");
    root.ops.create(&root, b"fifo", &new(S_IFIFO | 0o600)).unwrap();
    assert_eq!(fs.walk("fifo").unwrap().inode().unwrap().kind, crate::vfs::FileType::Fifo);
}

#[test]
fn guest_renames_move_what_is_below() {
    let fs = Fs::new("hostfs-mv", Options::default());
    let file = fs.walk("dir/file").unwrap();
    rename(&fs.walk("dir").unwrap(), &fs.mnt.root, b"moved", 0).unwrap();
    assert_eq!(read(&open(&fs.mnt, &file, OpenFlags::RDONLY).unwrap()), b"inside");
    std::fs::write(fs.host("other"), b"other").unwrap();
    rename(&fs.walk("other").unwrap(), &fs.walk("moved").unwrap(), b"file", RENAME_EXCHANGE).unwrap();
    assert_eq!(fs.content("moved/file").unwrap(), b"other");
    assert_eq!(fs.content("other").unwrap(), b"inside");
    assert_eq!(read(&open(&fs.mnt, &file, OpenFlags::RDONLY).unwrap()), b"inside");
}

#[test]
fn append_only_takes_nothing_away() {
    let fs = Fs::new("hostfs-append", Options { append: true, ..Options::default() });
    let root = fs.mnt.root.inode().unwrap();
    let dir = fs.walk("dir").unwrap().inode().unwrap();
    let file = fs.walk("dir/file").unwrap();
    let inode = file.inode().unwrap();
    assert_eq!(dir.ops.unlink(&dir, b"file", &inode).err(), Some(EPERM));
    assert_eq!(root.ops.rename(&root, b"dir", &dir, &root, b"x", None, 0).err(), Some(EPERM));
    let cut = SetAttr { size: Some(0), ..SetAttr::default() };
    assert_eq!(inode.ops.setattr(&inode, &cut).err(), Some(EPERM));
    write(&open(&fs.mnt, &file, OpenFlags::WRONLY).unwrap(), b"!", 0);
    assert_eq!(std::fs::read(fs.host("dir/file")).unwrap(), b"inside!");
}

#[test]
fn lists_what_the_host_lists() {
    let fs = Fs::new("hostfs-list", Options::default());
    for i in 0..3000 {
        std::fs::write(fs.host(&format!("dir/sub/file-with-a-long-name-{i}")), b"").unwrap();
    }
    let dir = open(&fs.mnt, &fs.walk("dir/sub").unwrap(), OpenFlags::RDONLY).unwrap();
    let (mut pos, mut names) = (0, Vec::new());
    loop {
        // A small buffer: the reader comes back in the middle of the host's batch.
        let (before, mut room) = (names.len(), 7);
        dir.ops
            .iterate(&dir, &mut pos, &mut |entry| {
                room -= 1;
                if room > 0 {
                    names.push(entry.name.to_vec());
                }
                room > 0
            })
            .unwrap();
        if names.len() == before {
            break;
        }
    }
    assert_eq!(names.len(), 3002);
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 3002);
}

#[test]
fn many_threads_find_one_inode() {
    let fs = Fs::new("hostfs-threads", Options::default());
    let dir = fs.walk("dir").unwrap().inode().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..500 {
                    let a = dir.ops.lookup(&dir, b"file").unwrap();
                    let b = dir.ops.lookup(&dir, b"file").unwrap();
                    assert!(Arc::ptr_eq(&a, &b));
                }
            });
        }
    });
}
