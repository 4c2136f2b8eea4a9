//! overlay over directories of the host, in the form that Linux's own overlayfs mounts with `userxattr`.

use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::Arc;

use abi::errno::*;
use abi::fcntl::{OpenFlags, RENAME_EXCHANGE, RENAME_NOREPLACE};
use abi::stat::{S_IFDIR, S_IFREG};

use super::upper::{link, make, remove, rename};
use super::*;
use crate::fs::hostfs;
use crate::fs::testing::{TempDir, open, read, write};
use crate::vfs::{Dentry, Mount, MountFlags, SetAttr};

struct Fs {
    temp: TempDir,
    mnt: Arc<Mount>,
}

fn mount_dir(temp: &TempDir, name: &str, cache: hostfs::Cache) -> Path {
    std::fs::create_dir_all(temp.join(name)).unwrap();
    let options = hostfs::Options { cache, ..hostfs::Options::default() };
    let sb = hostfs::mount(temp.join(name).as_os_str().as_encoded_bytes(), 0, options).unwrap();
    Path::root_of(&Mount::new(&sb, &sb.root().unwrap(), MountFlags::empty()))
}

impl Fs {
    fn new(name: &str) -> Fs {
        let temp = TempDir::new(name);
        for dir in ["low1/dir/sub", "low2/dir/only2", "top/upper", "top/work"] {
            std::fs::create_dir_all(temp.join(dir)).unwrap();
        }
        for (path, text) in [
            ("low1/dir/file", "one"),
            ("low1/dir/sub/deep", "deep"),
            ("low1/root", "root"),
            ("low2/dir/file", "two"),
            ("low2/dir/only2/x", "x2"),
            ("low2/dir/two", "two"),
        ] {
            std::fs::write(temp.join(path), text).unwrap();
        }
        let mnt = Fs::mount(&temp);
        Fs { temp, mnt }
    }

    fn mount(temp: &TempDir) -> Arc<Mount> {
        let lower = ["low1", "low2"].map(|n| mount_dir(temp, n, hostfs::Cache::Always)).to_vec();
        let top = mount_dir(temp, "top", hostfs::Cache::None);
        let sub = |name: &[u8]| Path {
            mnt: top.mnt.clone(),
            dentry: top.dentry.lookup(name, false).unwrap().unwrap(),
        };
        let options = Options { userxattr: true, ..Options::default() };
        let upper = Some((sub(b"upper"), sub(b"work")));
        let sb = build(b"overlay", 0, options, lower, upper).unwrap();
        Mount::new(&sb, &sb.root().unwrap(), MountFlags::empty())
    }

    /// As after a new boot.
    fn remount(&mut self) {
        self.mnt = Fs::mount(&self.temp);
    }

    fn upper(&self, path: &str) -> PathBuf {
        self.temp.join("top/upper").join(path)
    }

    fn walk(&self, path: &str) -> Result<Arc<Dentry>> {
        let mut at = self.mnt.root.clone();
        for name in path.split('/').filter(|n| !n.is_empty()) {
            at = at.lookup(name.as_bytes(), false)?.ok_or(ENOENT)?;
        }
        Ok(at)
    }

    fn content(&self, path: &str) -> Result<String> {
        let file = open(&self.mnt, &self.walk(path)?, OpenFlags::RDONLY)?;
        Ok(String::from_utf8(read(&file)).unwrap())
    }

    fn put(&self, path: &str, text: &str) {
        let dentry = self.walk(path).unwrap_or_else(|_| self.make(path, S_IFREG | 0o644));
        write(&open(&self.mnt, &dentry, OpenFlags::WRONLY).unwrap(), text.as_bytes(), 0);
    }

    fn make(&self, path: &str, mode: u32) -> Arc<Dentry> {
        let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
        let new = NewInode { mode, uid: 0, gid: 0, rdev: 0 };
        make(&self.walk(dir).unwrap(), name.as_bytes(), &new, &[]).unwrap()
    }

    fn mv(&self, from: &str, to: &str, flags: u32) -> Result<()> {
        let (dir, name) = to.rsplit_once('/').unwrap_or(("", to));
        rename(&self.walk(from)?, &self.walk(dir)?, name.as_bytes(), flags)
    }

    fn list(&self, path: &str) -> Vec<String> {
        let dir = Path { mnt: self.mnt.clone(), dentry: self.walk(path).unwrap() };
        let mut names: Vec<_> = dir::list(&dir)
            .unwrap()
            .into_iter()
            .inspect(|entry| {
                let child = dir.dentry.lookup(&entry.name, false).unwrap().unwrap();
                assert_eq!(child.inode().unwrap().getattr().unwrap().ino, entry.ino, "{:?}", child.name());
            })
            .map(|entry| String::from_utf8(entry.name.to_vec()).unwrap())
            .collect();
        names.sort();
        names
    }

    fn ino(&self, path: &str) -> u64 {
        self.walk(path).unwrap().inode().unwrap().getattr().unwrap().ino
    }
}

#[test]
fn layers_merge() {
    let fs = Fs::new("overlay-merge");
    assert_eq!(fs.content("dir/file").unwrap(), "one");
    assert_eq!(fs.content("dir/only2/x").unwrap(), "x2");
    assert_eq!(fs.list("dir"), ["file", "only2", "sub", "two"]);
    assert_eq!(fs.list(""), ["dir", "root"]);
    assert_eq!(fs.walk("dir").unwrap().inode().unwrap().getattr().unwrap().nlink, 1);
    assert!(std::fs::read_dir(fs.upper("")).unwrap().next().is_none());
}

#[test]
fn writing_copies_up_and_keeps_the_lower_file() {
    let mut fs = Fs::new("overlay-copyup");
    let permissions = std::fs::Permissions::from_mode(0o4711);
    std::fs::set_permissions(fs.temp.join("low1/dir/sub/deep"), permissions).unwrap();
    let before = open(&fs.mnt, &fs.walk("dir/sub/deep").unwrap(), OpenFlags::RDONLY).unwrap();
    let ino = fs.ino("dir/sub/deep");
    let parent = std::fs::metadata(fs.temp.join("low1/dir/sub")).unwrap();
    fs.put("dir/sub/deep", "DE");
    assert_eq!(fs.content("dir/sub/deep").unwrap(), "DEep");
    assert_eq!(std::fs::read(fs.temp.join("low1/dir/sub/deep")).unwrap(), b"deep");
    assert_eq!(std::fs::read(fs.upper("dir/sub/deep")).unwrap(), b"DEep");
    // One opened before sees it too, and numbers stay.
    assert_eq!(read(&before), b"DEep");
    assert_eq!(fs.ino("dir/sub/deep"), ino);
    assert_eq!(std::fs::metadata(fs.upper("dir/sub")).unwrap().mtime_nsec(), parent.mtime_nsec());
    assert_eq!(fs.list("dir/sub"), ["deep"]);
    fs.remount();
    assert_eq!(fs.content("dir/sub/deep").unwrap(), "DEep");
    assert_eq!(fs.ino("dir/sub/deep"), ino);
}

#[test]
fn chmod_copies_the_data() {
    let fs = Fs::new("overlay-chmod");
    let inode = fs.walk("root").unwrap().inode().unwrap();
    inode.ops.setattr(&inode, &SetAttr { mode: Some(0o4755), ..SetAttr::default() }).unwrap();
    assert_eq!(std::fs::read(fs.upper("root")).unwrap(), b"root");
    assert_eq!(std::fs::metadata(fs.upper("root")).unwrap().mode() & 0o7777, 0o4755);
}

#[test]
fn holes_stay_holes() {
    let fs = Fs::new("overlay-holes");
    let host = std::fs::File::create(fs.temp.join("low1/sparse")).unwrap();
    host.set_len(64 << 20).unwrap();
    std::os::unix::fs::FileExt::write_at(&host, b"middle", 32 << 20).unwrap();
    let inode = fs.walk("sparse").unwrap().inode().unwrap();
    inode.ops.setattr(&inode, &SetAttr { mode: Some(0o600), ..SetAttr::default() }).unwrap();
    let copy = std::fs::metadata(fs.upper("sparse")).unwrap();
    assert_eq!(copy.len(), 64 << 20);
    assert!(copy.blocks() * 512 < 1 << 20, "{} blocks", copy.blocks());
    let mut buf = [0; 6];
    let file = open(&fs.mnt, &fs.walk("sparse").unwrap(), OpenFlags::RDONLY).unwrap();
    assert_eq!(file.kernel_read(&mut buf, 32 << 20).unwrap(), 6);
    assert_eq!(&buf, b"middle");
}

#[test]
fn removed_names_are_covered() {
    let mut fs = Fs::new("overlay-whiteout");
    remove(&fs.walk("dir/file").unwrap()).unwrap();
    assert_eq!(fs.walk("dir/file").err(), Some(ENOENT));
    assert_eq!(fs.list("dir"), ["only2", "sub", "two"]);
    let whiteout = std::fs::symlink_metadata(fs.upper("dir/file")).unwrap();
    assert!(whiteout.file_type().is_char_device() && whiteout.rdev() == 0);
    fs.remount();
    assert_eq!(fs.walk("dir/file").err(), Some(ENOENT));
    // A new file takes the whiteout's place; removed again, the lower one must not show.
    fs.put("dir/file", "new");
    assert_eq!(fs.content("dir/file").unwrap(), "new");
    remove(&fs.walk("dir/file").unwrap()).unwrap();
    assert_eq!(fs.walk("dir/file").err(), Some(ENOENT));
    // What only the upper layer had leaves nothing.
    fs.put("own", "own");
    remove(&fs.walk("own").unwrap()).unwrap();
    assert!(!fs.upper("own").exists());
    assert!(std::fs::read_dir(fs.temp.join("top/work/work")).unwrap().next().is_none());
}

#[test]
fn directories_go_only_when_empty_and_come_back_empty() {
    let mut fs = Fs::new("overlay-rmdir");
    let dir = fs.walk("dir/only2").unwrap();
    assert_eq!(remove(&dir).err(), Some(ENOTEMPTY));
    remove(&fs.walk("dir/only2/x").unwrap()).unwrap();
    assert_eq!(fs.list("dir/only2"), [""; 0]);
    remove(&dir).unwrap();
    assert_eq!(fs.walk("dir/only2").err(), Some(ENOENT));
    fs.make("dir/only2", S_IFDIR | 0o755);
    assert_eq!(fs.list("dir/only2"), [""; 0]);
    fs.remount();
    assert_eq!(fs.list("dir/only2"), [""; 0]);
    assert_eq!(fs.list("dir"), ["file", "only2", "sub", "two"]);
}

#[test]
fn renamed_files() {
    let mut fs = Fs::new("overlay-mv");
    let ino = fs.ino("root");
    fs.mv("root", "dir/moved", 0).unwrap();
    assert_eq!(fs.walk("root").err(), Some(ENOENT));
    assert_eq!(fs.content("dir/moved").unwrap(), "root");
    assert_eq!(fs.ino("dir/moved"), ino);
    assert_eq!(fs.mv("dir/moved", "dir/two", RENAME_NOREPLACE).err(), Some(EEXIST));
    fs.mv("dir/moved", "dir/file", RENAME_EXCHANGE).unwrap();
    assert_eq!(fs.content("dir/moved").unwrap(), "one");
    assert_eq!(fs.content("dir/file").unwrap(), "root");
    fs.mv("dir/moved", "dir/two", 0).unwrap();
    // Back over the whiteout that it left.
    fs.mv("dir/file", "root", 0).unwrap();
    fs.remount();
    assert_eq!(fs.content("root").unwrap(), "root");
    assert_eq!(fs.content("dir/two").unwrap(), "one");
    assert_eq!(fs.list("dir"), ["only2", "sub", "two"]);
    assert!(std::fs::read_dir(fs.temp.join("top/work/work")).unwrap().next().is_none());
}

#[test]
fn renamed_directories_take_the_lower_names_along() {
    let mut fs = Fs::new("overlay-redirect");
    fs.mv("dir", "away", 0).unwrap();
    assert_eq!(fs.walk("dir").err(), Some(ENOENT));
    assert_eq!(fs.list("away"), ["file", "only2", "sub", "two"]);
    assert_eq!(fs.content("away/sub/deep").unwrap(), "deep");
    fs.remount();
    assert_eq!(fs.list("away"), ["file", "only2", "sub", "two"]);
    assert_eq!(fs.content("away/only2/x").unwrap(), "x2");
    // One moved out of a moved one, and a new one in the old place.
    fs.make("dir", S_IFDIR | 0o755);
    assert_eq!(fs.list("dir"), [""; 0]);
    fs.mv("away/sub", "dir/sub", 0).unwrap();
    fs.put("dir/sub/deep", "DEEP");
    fs.remount();
    assert_eq!(fs.content("dir/sub/deep").unwrap(), "DEEP");
    assert_eq!(fs.list("away"), ["file", "only2", "two"]);
    // A directory of our own over an emptied one from below.
    fs.make("own", S_IFDIR | 0o755);
    fs.put("own/mine", "mine");
    remove(&fs.walk("away/only2/x").unwrap()).unwrap();
    fs.mv("own", "away/only2", 0).unwrap();
    fs.remount();
    assert_eq!(fs.list("away/only2"), ["mine"]);
}

#[test]
fn hard_links() {
    let fs = Fs::new("overlay-link");
    let file = fs.walk("root").unwrap().inode().unwrap();
    link(&fs.walk("dir").unwrap(), b"second", &file).unwrap();
    fs.put("dir/second", "R");
    assert_eq!(fs.content("root").unwrap(), "Root");
    assert_eq!(file.getattr().unwrap().nlink, 2);
    assert!(Arc::ptr_eq(&file, &fs.walk("dir/second").unwrap().inode().unwrap()));
    remove(&fs.walk("root").unwrap()).unwrap();
    assert_eq!(fs.content("dir/second").unwrap(), "Root");
    assert_eq!(file.getattr().unwrap().nlink, 1);
}

#[test]
fn a_removed_file_can_still_be_written() {
    let fs = Fs::new("overlay-orphan");
    let dentry = fs.walk("root").unwrap();
    let file = open(&fs.mnt, &dentry, OpenFlags::RDONLY).unwrap();
    remove(&dentry).unwrap();
    let inode = dentry.inode().unwrap();
    assert_eq!(inode.getattr().unwrap().nlink, 0);
    inode.ops.setattr(&inode, &SetAttr { mode: Some(0o600), ..SetAttr::default() }).unwrap();
    assert_eq!(inode.getattr().unwrap().mode & 0o7777, 0o600);
    assert_eq!(read(&file), b"root");
    assert_eq!(fs.walk("root").err(), Some(ENOENT));
}

#[test]
fn own_attributes_are_hidden() {
    let fs = Fs::new("overlay-xattr");
    let inode = fs.walk("dir/file").unwrap().inode().unwrap();
    inode.ops.setxattr(&inode, b"user.mine", b"value", 0).unwrap();
    assert_eq!(inode.ops.listxattr(&inode).unwrap(), [b"user.mine".to_vec()]);
    assert_eq!(inode.ops.getxattr(&inode, b"user.mine").unwrap(), b"value");
    assert_eq!(inode.ops.getxattr(&inode, b"user.overlay.ruml.ino").err(), Some(EOPNOTSUPP));
    assert_eq!(inode.ops.setxattr(&inode, b"user.overlay.opaque", b"y", 0).err(), Some(EOPNOTSUPP));
}

#[test]
fn copy_up_and_removal_race() {
    let fs = Fs::new("overlay-race");
    for i in 0..200 {
        std::fs::write(fs.temp.join(&format!("low1/dir/sub/f{i}")), b"data").unwrap();
    }
    for i in 0..200 {
        let dentry = fs.walk(&format!("dir/sub/f{i}")).unwrap();
        let inode = dentry.inode().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                inode.ops.setattr(&inode, &SetAttr { mode: Some(0o600), ..SetAttr::default() }).unwrap();
            });
            remove(&dentry).unwrap();
        });
        assert_eq!(fs.walk(&format!("dir/sub/f{i}")).err(), Some(ENOENT));
    }
    assert_eq!(fs.list("dir/sub"), ["deep"]);
}
