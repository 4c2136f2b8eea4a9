//! A file system in a few lines, for the tests of the VFS alone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use abi::Result;
use abi::errno::*;
use abi::fcntl::OpenFlags;
use abi::stat::Statfs;
use abi::time::Timespec;

use crate::sync::{SpinLock, rank};
use crate::vfs::*;

pub static MEMFS: FsType = FsType { name: "memfs", nodev: true, cache_negative: true, mount };
/// How many instances were unmounted.
pub static UNMOUNTED: AtomicU32 = AtomicU32::new(0);

struct Super {
    next: AtomicU64,
}

impl SuperOps for Super {
    fn statfs(&self, _: &SuperBlock) -> Result<Statfs> {
        Ok(Statfs::default())
    }
    fn umount(&self, _: &SuperBlock) {
        UNMOUNTED.fetch_add(1, Ordering::SeqCst);
    }
}

fn mount(fs_type: &'static FsType, source: &[u8], _: u32, _: &[u8]) -> Result<Arc<SuperBlock>> {
    let sb = SuperBlock::new(fs_type, next_anon_dev(), source, Box::new(Super { next: AtomicU64::new(2) }));
    let new = NewInode { mode: FileType::Dir.bits() | 0o755, uid: 0, gid: 0, rdev: 0 };
    sb.set_root(Inode::new(&sb, 1, FileType::Dir, Box::new(Node::new(&new, b""))));
    Ok(sb)
}

struct Node {
    attr: SpinLock<(NewInode, u32)>,
    target: Vec<u8>,
    data: SpinLock<Vec<u8>>,
    entries: SpinLock<BTreeMap<Vec<u8>, Arc<Inode>>>,
}

impl Node {
    fn new(new: &NewInode, target: &[u8]) -> Node {
        Node {
            attr: SpinLock::new(rank::INODE, (*new, 1)),
            target: target.to_vec(),
            data: SpinLock::new(rank::INODE, Vec::new()),
            entries: SpinLock::new(rank::INODE, BTreeMap::new()),
        }
    }

    fn make(&self, dir: &Arc<Inode>, name: &[u8], target: &[u8], new: &NewInode) -> Result<Arc<Inode>> {
        let kind = FileType::from_mode(new.mode).ok_or(EINVAL)?;
        let ino = dir.sb.ops_as::<Super>().ok_or(EIO)?.next.fetch_add(1, Ordering::SeqCst);
        let inode = Inode::new(&dir.sb, ino, kind, Box::new(Node::new(new, target)));
        match self.entries.lock().insert(name.to_vec(), inode.clone()) {
            Some(_) => Err(EEXIST),
            None => Ok(inode),
        }
    }
}

fn node(inode: &Inode) -> &Node {
    inode.ops_as().expect("a memfs inode")
}

impl InodeOps for Node {
    fn getattr(&self, inode: &Inode) -> Result<Kstat> {
        let (new, nlink) = *self.attr.lock();
        let time = Timespec::default();
        Ok(Kstat {
            dev: inode.sb.dev,
            ino: inode.ino,
            mode: new.mode,
            nlink,
            uid: new.uid,
            gid: new.gid,
            rdev: new.rdev,
            size: self.data.lock().len() as u64,
            blksize: 4096,
            blocks: 0,
            atime: time,
            mtime: time,
            ctime: time,
            btime: None,
        })
    }
    fn setattr(&self, _: &Inode, attr: &SetAttr) -> Result<()> {
        if let Some(size) = attr.size {
            self.data.lock().resize(size as usize, 0);
        }
        let mut own = self.attr.lock();
        own.0.mode = attr.mode.map_or(own.0.mode, |m| own.0.mode & 0o170000 | m);
        own.0.uid = attr.uid.unwrap_or(own.0.uid);
        Ok(())
    }
    fn lookup(&self, _: &Arc<Inode>, name: &[u8]) -> Result<Arc<Inode>> {
        self.entries.lock().get(name).cloned().ok_or(ENOENT)
    }
    fn create(&self, dir: &Arc<Inode>, name: &[u8], new: &NewInode) -> Result<Arc<Inode>> {
        self.make(dir, name, b"", new)
    }
    fn mkdir(&self, dir: &Arc<Inode>, name: &[u8], new: &NewInode) -> Result<Arc<Inode>> {
        self.make(dir, name, b"", new)
    }
    fn symlink(&self, dir: &Arc<Inode>, name: &[u8], target: &[u8], new: &NewInode) -> Result<Arc<Inode>> {
        self.make(dir, name, target, new)
    }
    fn unlink(&self, _: &Arc<Inode>, name: &[u8], _: &Arc<Inode>) -> Result<()> {
        self.entries.lock().remove(name).map(drop).ok_or(ENOENT)
    }
    fn rmdir(&self, _: &Arc<Inode>, name: &[u8], inode: &Arc<Inode>) -> Result<()> {
        if !node(inode).entries.lock().is_empty() {
            return Err(ENOTEMPTY);
        }
        self.entries.lock().remove(name).map(drop).ok_or(ENOENT)
    }
    fn rename(
        &self,
        _: &Arc<Inode>,
        old_name: &[u8],
        inode: &Arc<Inode>,
        new_dir: &Arc<Inode>,
        new_name: &[u8],
        target: Option<&Arc<Inode>>,
        flags: u32,
    ) -> Result<()> {
        let exchange = flags & abi::fcntl::RENAME_EXCHANGE != 0;
        if let Some(target) = target
            && !exchange
            && !node(target).entries.lock().is_empty()
        {
            return Err(ENOTEMPTY);
        }
        self.entries.lock().remove(old_name);
        node(new_dir).entries.lock().insert(new_name.to_vec(), inode.clone());
        if exchange && let Some(target) = target {
            self.entries.lock().insert(old_name.to_vec(), target.clone());
        }
        Ok(())
    }
    fn readlink(&self, inode: &Inode) -> Result<Vec<u8>> {
        if inode.kind == FileType::Symlink { Ok(self.target.clone()) } else { Err(EINVAL) }
    }
    fn tmpfile(&self, dir: &Arc<Inode>, new: &NewInode) -> Result<Arc<Inode>> {
        Ok(Inode::new(&dir.sb, 99, FileType::Regular, Box::new(Node::new(new, b""))))
    }
    fn open(&self, _: &Arc<Inode>, _: OpenFlags) -> Result<Box<dyn FileOps>> {
        Ok(Box::new(Open))
    }
}

struct Open;

impl FileOps for Open {
    fn read(&self, file: &File, dest: &mut IovDest<'_>, pos: &mut u64) -> Result<usize> {
        let data = node(file.inode()).data.lock().clone();
        let n = dest.write(data.get(*pos as usize..).unwrap_or_default())?;
        *pos += n as u64;
        Ok(n)
    }
    fn write(&self, file: &File, src: &mut IovSource<'_>, pos: &mut u64) -> Result<usize> {
        let mut bytes = vec![0; src.remaining()];
        let n = src.read(&mut bytes)?;
        let mut data = node(file.inode()).data.lock();
        let end = *pos as usize + n;
        if data.len() < end {
            data.resize(end, 0);
        }
        data[*pos as usize..end].copy_from_slice(&bytes[..n]);
        *pos = end as u64;
        Ok(n)
    }
}
