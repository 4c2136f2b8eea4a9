//! The promise of [`open_beneath`]: never outside, whatever the path says and the other side does.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink as host_symlink;
use std::path::PathBuf;

use abi::errno::*;
use abi::fcntl::*;

use super::*;

struct TempDir(PathBuf);

impl TempDir {
    fn new(name: &str) -> TempDir {
        let path = std::env::temp_dir().join(format!("ruml-host-fs-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        TempDir(path)
    }

    fn root(&self) -> OwnedFd {
        open_root(self.0.join("root").as_os_str().as_bytes()).unwrap()
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn sample(name: &str) -> TempDir {
    let temp = TempDir::new(name);
    std::fs::create_dir_all(temp.0.join("root/a/b")).unwrap();
    std::fs::write(temp.0.join("root/a/b/file"), b"inside").unwrap();
    std::fs::create_dir(temp.0.join("secret")).unwrap();
    std::fs::write(temp.0.join("secret/file"), b"outside").unwrap();
    host_symlink("../secret", temp.0.join("root/up")).unwrap();
    host_symlink(temp.0.join("secret"), temp.0.join("root/abs")).unwrap();
    host_symlink("a", temp.0.join("root/same")).unwrap();
    temp
}

fn content(fd: &OwnedFd) -> Vec<u8> {
    let mut buf = [0; 64];
    let n = pread(fd.as_fd(), &mut buf, 0).unwrap();
    buf[..n].to_vec()
}

#[test]
fn links_and_dots_never_lead_out() {
    let temp = sample("links");
    let root = temp.root();
    type Open = fn(BorrowedFd<'_>, &[u8], u32, u32) -> Result<OwnedFd>;
    for open in [open_beneath as Open, open::walk] {
        let open = |path: &[u8], flags| open(root.as_fd(), path, flags, 0);
        assert_eq!(content(&open(b"a/b/file", O_RDONLY).unwrap()), b"inside");
        for path in [&b"up/file"[..], b"abs/file", b"same/b/file", b"up"] {
            assert!(matches!(open(path, O_RDONLY), Err(ELOOP | ENOTDIR)), "{path:?}");
        }
        for path in [&b"../secret/file"[..], b"a/../../secret/file"] {
            assert_eq!(open(path, O_RDONLY).unwrap_err(), EXDEV, "{path:?}");
        }
        assert!(matches!(open(b"/etc/passwd", O_RDONLY), Err(EXDEV | ENOENT)));
        let link = open(b"up", O_PATH).unwrap();
        assert_eq!(readlink(link.as_fd()).unwrap(), b"../secret");
    }
    for name in [&b".."[..], b"a/b", b"", b"."] {
        assert_eq!(unlink(root.as_fd(), name).unwrap_err(), EINVAL);
    }
}

#[test]
fn a_directory_swapped_for_a_link_is_never_followed() {
    let temp = sample("race");
    let root = temp.root();
    let dir = temp.0.join("root/a");
    let aside = temp.0.join("root/aside");
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                std::fs::rename(&dir, &aside).unwrap();
                host_symlink("../secret", &dir).unwrap();
                std::fs::remove_file(&dir).unwrap();
                std::fs::rename(&aside, &dir).unwrap();
            }
        });
        for _ in 0..5000 {
            if let Ok(fd) = open_beneath(root.as_fd(), b"a/file", O_RDONLY, 0) {
                assert_ne!(content(&fd), b"outside");
            }
            if let Ok(fd) = open_beneath(root.as_fd(), b"a/b/file", O_RDONLY, 0) {
                assert_eq!(content(&fd), b"inside");
            }
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn paths_longer_than_path_max_are_walked_in_pieces() {
    let temp = sample("deep");
    let root = temp.root();
    let name = [b'd'; 200];
    let mut dir = open_beneath(root.as_fd(), b"", O_PATH | O_DIRECTORY, 0).unwrap();
    let mut path = Vec::new();
    for _ in 0..50 {
        mkdir(dir.as_fd(), &name, 0o755).unwrap();
        dir = open_child(dir.as_fd(), &name, O_PATH | O_DIRECTORY, 0).unwrap();
        path.extend_from_slice(&name);
        path.push(b'/');
    }
    path.pop();
    let found = open_beneath(root.as_fd(), &path, O_PATH | O_DIRECTORY, 0).unwrap();
    assert_eq!(statx(found.as_fd()).unwrap().stx_ino, statx(dir.as_fd()).unwrap().stx_ino);
    assert_eq!(open_beneath(root.as_fd(), &[b'x'; 5000], O_PATH, 0).unwrap_err(), ENAMETOOLONG);
}

#[test]
fn attributes_of_a_path_descriptor() {
    let temp = sample("attr");
    let fd = open_beneath(temp.root().as_fd(), b"a/b/file", O_PATH, 0).unwrap();
    chmod(fd.as_fd(), 0o640).unwrap();
    utimens(fd.as_fd(), [abi::time::Timespec { tv_sec: 5, tv_nsec: 6 }; 2]).unwrap();
    let stat = statx(fd.as_fd()).unwrap();
    assert_eq!((stat.stx_mode & 0o7777, stat.stx_size), (0o640, 6));
    assert_eq!((stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec), (5, 6));
    match setxattr(fd.as_fd(), b"user.key", b"value", 0) {
        Err(EOPNOTSUPP) => {}
        set => {
            set.unwrap();
            assert_eq!(getxattr(fd.as_fd(), b"user.key").unwrap(), b"value");
            assert!(listxattr(fd.as_fd()).unwrap().contains(&b"user.key".to_vec()));
            removexattr(fd.as_fd(), b"user.key").unwrap();
            assert_eq!(getxattr(fd.as_fd(), b"user.key").unwrap_err(), ENODATA);
        }
    }
}

#[test]
fn directories_list_and_seek() {
    let temp = sample("list");
    let dir = open_beneath(temp.root().as_fd(), b"", O_RDONLY | O_DIRECTORY, 0).unwrap();
    let mut names = Vec::new();
    let mut buf = [0; 4096];
    while getdents(dir.as_fd(), &mut buf, |e| names.push((e.name.to_vec(), e.next))).unwrap() {}
    let mut sorted: Vec<_> = names.iter().map(|(n, _)| &n[..]).collect();
    sorted.sort();
    assert_eq!(sorted, [&b"."[..], b"..", b"a", b"abs", b"same", b"up"]);
    seek(dir.as_fd(), names[1].1, SEEK_SET).unwrap();
    let mut again = Vec::new();
    getdents(dir.as_fd(), &mut buf, |e| again.push(e.name.to_vec())).unwrap();
    assert_eq!(again.first(), Some(&names[2].0));
}
