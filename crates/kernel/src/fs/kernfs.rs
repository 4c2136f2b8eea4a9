//! The base of file systems whose files are made as they are read: proc, sysfs, devpts.
//!
//! A [`Node`] is what is behind an inode: a directory that finds its entries, a text that is made at the first read, or
//! a link. `tree.rs` has nodes for what is always there. A node lives as long as a name for it is cached;
//! [`Node::is_current`] says whether the name still means it.
//!
//! The text is made anew whenever a file is read from its start, and kept for the reads that follow: a program that
//! reads it piece by piece sees one state.
//!
//! Lock: the text of an open file is guarded by a sleeping lock, which is held while it is copied out.

mod tree;

use std::any::Any;
use std::sync::Arc;

use abi::Result;
use abi::errno::{EACCES, EINVAL, EIO, ENOTDIR, EPERM};
use abi::fcntl::{OpenFlags, SEEK_CUR, SEEK_SET};
use abi::stat::Statfs;
use abi::time::Timespec;

use crate::sync::Mutex;
use crate::task::Cred;
use crate::vfs::{
    Access, DirEmit, File, FileOps, FileType, FsType, Inode, InodeOps, IovDest, IovSource, Kstat, NewInode,
    Path, Readdir, SetAttr, SuperBlock, SuperOps, emit_dots, next_anon_dev,
};

pub use tree::{Tree, dir, dir_with, link, node, sized, text, try_text, var};

/// Most bytes that one write may bring.
const WRITE_MAX: usize = 64 * 1024;

/// Attributes that a node makes up whenever they are asked for.
#[derive(Clone, Copy, Debug)]
pub struct Attr {
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Links.
    pub nlink: u32,
    /// Device number of a device node.
    pub rdev: u64,
    /// Bytes, as stat(2) shows them.
    pub size: u64,
}

impl Attr {
    /// Of root, with one link.
    pub fn root(mode: u32) -> Attr {
        Attr { mode, uid: 0, gid: 0, nlink: 1, rdev: 0, size: 0 }
    }
}

/// A directory's entry.
pub struct Entry {
    /// Position: 2 or more, as 0 and 1 are `.` and `..`.
    pub pos: u64,
    /// Name.
    pub name: Vec<u8>,
    /// Type.
    pub kind: FileType,
    /// Inode number, where the node has one of its own.
    pub ino: Option<u64>,
}

/// What is behind an inode.
#[expect(unused_variables, reason = "default bodies only answer an errno")]
pub trait Node: Any + Send + Sync {
    /// Type; never changes.
    fn kind(&self) -> FileType;

    /// Attributes at this moment.
    fn attr(&self) -> Result<Attr>;

    /// Inode number. Without one it follows from the directory and the name.
    fn ino(&self) -> Option<u64> {
        None
    }

    /// Whether the name by which it was found still means it.
    fn is_current(&self) -> bool {
        true
    }

    /// A directory's entry by name. ENOENT.
    fn lookup(&self, name: &[u8]) -> Result<Box<dyn Node>> {
        Err(ENOTDIR)
    }

    /// A directory's first entry at position `from` or later.
    fn entry_from(&self, from: u64) -> Result<Option<Entry>> {
        Ok(None)
    }

    /// The text of a file.
    fn show(&self) -> Result<Vec<u8>> {
        Err(EIO)
    }

    /// What write(2) does to a file.
    fn store(&self, data: &[u8]) -> Result<()> {
        Err(EIO)
    }

    /// Target of a link.
    fn readlink(&self) -> Result<Vec<u8>> {
        Err(EINVAL)
    }

    /// Where a magic link leads.
    fn get_link(&self) -> Option<Result<Path>> {
        None
    }

    /// Operations of an open file that is more than a text.
    fn open(&self, flags: OpenFlags) -> Result<Option<Box<dyn FileOps>>> {
        Ok(None)
    }

    /// See [`InodeOps::permission`].
    fn permission(&self, access: Access, cred: &Cred) -> Option<Result<()>> {
        None
    }

    /// chmod(2), chown(2), utimensat(2).
    fn setattr(&self, set: &SetAttr) -> Result<()> {
        Err(EPERM)
    }

    /// mkdir(2) in a directory.
    fn mkdir(&self, name: &[u8]) -> Result<()> {
        Err(EPERM)
    }

    /// rmdir(2) of an entry.
    fn rmdir(&self, name: &[u8]) -> Result<()> {
        Err(EPERM)
    }
}

/// The file system itself, where it has no options: only statfs(2)'s magic number.
pub struct KernSuper {
    /// As in `abi::stat`.
    pub magic: i64,
}

impl SuperOps for KernSuper {
    fn statfs(&self, _: &SuperBlock) -> Result<Statfs> {
        Ok(statfs(self.magic))
    }
}

/// What statfs(2) says of a file system without blocks.
pub fn statfs(magic: i64) -> Statfs {
    Statfs { f_type: magic, f_bsize: 4096, f_frsize: 4096, f_namelen: 255, ..Statfs::default() }
}

/// A file system with that root.
pub fn new_super(
    fs_type: &'static FsType,
    source: &[u8],
    ops: Box<dyn SuperOps>,
    root: Box<dyn Node>,
) -> Arc<SuperBlock> {
    let sb = SuperBlock::new(fs_type, next_anon_dev(), source, ops);
    sb.set_root(make_inode(&sb, 1, root));
    sb
}

fn make_inode(sb: &Arc<SuperBlock>, ino: u64, node: Box<dyn Node>) -> Arc<Inode> {
    let kind = node.kind();
    Inode::new(sb, ino, kind, Box::new(KernInode { node, made: crate::time::now_realtime() }))
}

/// An inode number that follows from the directory's and the name: FNV-1a, cut to 48 bits.
fn child_ino(parent: u64, name: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    let hash = parent.to_le_bytes().iter().chain(name).fold(0xcbf2_9ce4_8422_2325, step);
    (hash ^ hash >> 48) & ((1 << 48) - 1) | 1 << 32
}

struct KernInode {
    node: Box<dyn Node>,
    made: Timespec,
}

/// The node of an inode, of the type that it was made of.
pub fn node_of<T: Node>(inode: &Inode) -> Option<&T> {
    (&*inode.ops_as::<KernInode>()?.node as &dyn Any).downcast_ref()
}

impl InodeOps for KernInode {
    fn getattr(&self, inode: &Inode) -> Result<Kstat> {
        let attr = self.node.attr()?;
        Ok(Kstat {
            dev: inode.sb.dev,
            ino: inode.ino,
            mode: inode.kind.bits() | attr.mode,
            nlink: attr.nlink,
            uid: attr.uid,
            gid: attr.gid,
            rdev: attr.rdev,
            size: attr.size,
            blksize: 1024,
            blocks: 0,
            atime: self.made,
            mtime: self.made,
            ctime: self.made,
            btime: None,
        })
    }

    fn setattr(&self, _: &Inode, set: &SetAttr) -> Result<()> {
        // open(O_TRUNC) changes nothing; times are not kept.
        if set.mode.is_none() && set.uid.is_none() && set.gid.is_none() {
            return Ok(());
        }
        self.node.setattr(set)
    }

    fn lookup(&self, dir: &Arc<Inode>, name: &[u8]) -> Result<Arc<Inode>> {
        let node = self.node.lookup(name)?;
        let ino = node.ino().unwrap_or_else(|| child_ino(dir.ino, name));
        Ok(make_inode(&dir.sb, ino, node))
    }

    fn refuses_names(&self, dir: &Inode) -> bool {
        dir.sb.fs_type.name == "proc"
    }

    fn create(&self, _: &Arc<Inode>, _: &[u8], _: &NewInode) -> Result<Arc<Inode>> {
        Err(EACCES)
    }

    fn mkdir(&self, dir: &Arc<Inode>, name: &[u8], _: &NewInode) -> Result<Arc<Inode>> {
        self.node.mkdir(name)?;
        self.lookup(dir, name)
    }

    fn rmdir(&self, _: &Arc<Inode>, name: &[u8], _: &Arc<Inode>) -> Result<()> {
        self.node.rmdir(name)
    }

    fn readlink(&self, _: &Inode) -> Result<Vec<u8>> {
        self.node.readlink()
    }

    fn get_link(&self, _: &Inode) -> Option<Result<Path>> {
        self.node.get_link()
    }

    fn open(&self, inode: &Arc<Inode>, flags: OpenFlags) -> Result<Box<dyn FileOps>> {
        if let Some(ops) = self.node.open(flags)? {
            return Ok(ops);
        }
        if inode.is_dir() {
            return Ok(Box::new(KernDir));
        }
        Ok(Box::new(KernFile { text: Mutex::new(None) }))
    }

    fn permission(&self, _: &Inode, access: Access, cred: &Cred) -> Option<Result<()>> {
        self.node.permission(access, cred)
    }

    fn revalidate(&self, _: &Arc<Inode>, _: &[u8], inode: &Arc<Inode>) -> bool {
        inode.ops_as::<KernInode>().is_some_and(|i| i.node.is_current())
    }
}

/// The node behind an open file.
fn open_node(file: &File) -> Result<&dyn Node> {
    Ok(&*file.inode().ops_as::<KernInode>().ok_or(EINVAL)?.node)
}

struct KernDir;

impl FileOps for KernDir {
    fn read(&self, _: &File, _: &mut IovDest<'_>, _: &mut u64) -> Result<usize> {
        crate::vfs::file::read_of_directory()
    }

    fn iterate(&self, file: &File, pos: &mut u64, emit: Readdir<'_>) -> Result<()> {
        if !emit_dots(file, pos, emit) {
            return Ok(());
        }
        let node = open_node(file)?;
        while let Some(entry) = node.entry_from(*pos)? {
            let ino = entry.ino.unwrap_or_else(|| child_ino(file.inode().ino, &entry.name));
            let next = entry.pos + 1;
            if !emit(DirEmit { name: &entry.name, ino, dtype: entry.kind.dtype(), next }) {
                break;
            }
            *pos = next;
        }
        Ok(())
    }

    fn fsync(&self, _: &File, _: bool) -> Result<()> {
        Ok(())
    }
}

/// An open text: what was made at the last read from the start.
struct KernFile {
    text: Mutex<Option<Vec<u8>>>,
}

impl FileOps for KernFile {
    fn read(&self, file: &File, dest: &mut IovDest<'_>, pos: &mut u64) -> Result<usize> {
        let mut text = self.text.lock();
        if *pos == 0 || text.is_none() {
            *text = Some(open_node(file)?.show()?);
        }
        read_text(text.as_deref().unwrap_or_default(), dest, pos)
    }

    fn write(&self, file: &File, src: &mut IovSource<'_>, pos: &mut u64) -> Result<usize> {
        let len = src.remaining();
        if len > WRITE_MAX {
            return Err(EINVAL);
        }
        let mut data = vec![0; len];
        let got = src.peek(&mut data)?;
        data.truncate(got);
        open_node(file)?.store(&data)?;
        // A handler takes a write as a whole, even where it looks at its beginning only.
        src.advance(len);
        *pos = pos.saturating_add(len as u64);
        Ok(len)
    }

    fn seek(&self, _: &File, pos: u64, offset: i64, whence: u32) -> Result<u64> {
        seek_text(pos, offset, whence)
    }
}

/// Copies what `text` has from `pos` on.
pub fn read_text(text: &[u8], dest: &mut IovDest<'_>, pos: &mut u64) -> Result<usize> {
    let rest = usize::try_from(*pos).ok().and_then(|at| text.get(at..)).unwrap_or_default();
    let n = dest.write(rest)?;
    *pos += n as u64;
    Ok(n)
}

/// lseek(2) of a text, whose end is not known. EINVAL.
pub fn seek_text(pos: u64, offset: i64, whence: u32) -> Result<u64> {
    let base = match whence {
        SEEK_SET => 0,
        SEEK_CUR => i64::try_from(pos).map_err(|_| EINVAL)?,
        _ => return Err(EINVAL),
    };
    base.checked_add(offset).and_then(|at| u64::try_from(at).ok()).ok_or(EINVAL)
}

/// A word or number as programs write it: without blanks and NUL bytes around it. EINVAL if it isn't text.
pub fn word(data: &[u8]) -> Result<&str> {
    let text = core::str::from_utf8(data).map_err(|_| EINVAL)?;
    Ok(text.trim_matches(|c: char| c.is_ascii_whitespace() || c == '\0'))
}

/// A number as programs write it, decimal, or octal and hexadecimal with C's prefixes. EINVAL.
pub fn number(data: &[u8]) -> Result<i64> {
    let text = word(data)?;
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let value = if let Some(hex) = digits.strip_prefix("0x") {
        i64::from_str_radix(hex, 16)
    } else if digits.len() > 1 && digits.starts_with('0') {
        i64::from_str_radix(digits, 8)
    } else {
        digits.parse()
    };
    let value = value.map_err(|_| EINVAL)?;
    Ok(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_in_c() {
        assert_eq!(number(b"12\n"), Ok(12));
        assert_eq!(number(b" -1 \0"), Ok(-1));
        assert_eq!(number(b"010"), Ok(8));
        assert_eq!(number(b"0x1f"), Ok(31));
        assert_eq!(number(b"0"), Ok(0));
        assert_eq!(number(b"1 2"), Err(EINVAL));
        assert_eq!(number(b""), Err(EINVAL));
    }

    #[test]
    fn texts_are_read_by_pieces() {
        let mut buf = [0; 4];
        let mut pos = 2;
        assert_eq!(read_text(b"abcdefgh", &mut IovDest::kernel(&mut buf), &mut pos), Ok(4));
        assert_eq!((&buf, pos), (b"cdef", 6));
        assert_eq!(read_text(b"abcdefgh", &mut IovDest::kernel(&mut buf), &mut pos), Ok(2));
        assert_eq!(read_text(b"abcdefgh", &mut IovDest::kernel(&mut buf), &mut pos), Ok(0));
        pos = u64::MAX;
        assert_eq!(read_text(b"abcdefgh", &mut IovDest::kernel(&mut buf), &mut pos), Ok(0));
    }

    #[test]
    fn a_text_has_no_end_to_seek_to() {
        assert_eq!(seek_text(5, 3, SEEK_CUR), Ok(8));
        assert_eq!(seek_text(5, -6, SEEK_CUR), Err(EINVAL));
        assert_eq!(seek_text(0, 0, abi::fcntl::SEEK_END), Err(EINVAL));
    }
}
