//! Attributes of an inode.

use abi::time::Timespec;

/// The type bits of a mode, inode(7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum FileType {
    /// FIFO
    Fifo = 0o010000,
    /// Character device
    CharDev = 0o020000,
    /// Directory
    Dir = 0o040000,
    /// Block device
    BlockDev = 0o060000,
    /// Regular file
    Regular = 0o100000,
    /// Symbolic link
    Symlink = 0o120000,
    /// Socket
    Socket = 0o140000,
}

impl FileType {
    /// The type in a mode's bits; none for bits that name none.
    pub fn from_mode(mode: u32) -> Option<FileType> {
        Some(match mode & 0o170000 {
            0o010000 => FileType::Fifo,
            0o020000 => FileType::CharDev,
            0o040000 => FileType::Dir,
            0o060000 => FileType::BlockDev,
            0o100000 => FileType::Regular,
            0o120000 => FileType::Symlink,
            0o140000 => FileType::Socket,
            _ => return None,
        })
    }

    /// The mode bits.
    pub fn bits(self) -> u32 {
        self as u32
    }

    /// `d_type` of getdents64(2).
    pub fn dtype(self) -> u8 {
        (self.bits() >> 12) as u8
    }
}

/// What stat(2) tells.
#[derive(Clone, Copy, Debug)]
pub struct Kstat {
    /// Device number of the file system, in Linux's internal 12:20 form as `abi::stat::makedev` encodes it.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Type and permission bits.
    pub mode: u32,
    /// Links.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device number of a device node.
    pub rdev: u64,
    /// Bytes.
    pub size: u64,
    /// Preferred I/O size.
    pub blksize: u32,
    /// 512-byte blocks in use.
    pub blocks: u64,
    /// Last access.
    pub atime: Timespec,
    /// Last change of data.
    pub mtime: Timespec,
    /// Last change of the inode.
    pub ctime: Timespec,
    /// Birth, where the file system keeps it.
    pub btime: Option<Timespec>,
}

impl Kstat {
    /// The file type; a mode without a valid one counts as a regular file.
    pub fn file_type(&self) -> FileType {
        FileType::from_mode(self.mode).unwrap_or(FileType::Regular)
    }
}

/// A time to set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetTime {
    /// The current time.
    Now,
    /// That time.
    At(Timespec),
}

/// What chmod, chown, truncate and utimensat change; fields that are none stay. Permission has been checked.
#[derive(Clone, Copy, Debug, Default)]
pub struct SetAttr {
    /// Permission bits, without the type.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Length, bytes.
    pub size: Option<u64>,
    /// Last access.
    pub atime: Option<SetTime>,
    /// Last change.
    pub mtime: Option<SetTime>,
    /// The change of the inode itself is recorded (every setattr by a syscall).
    pub ctime: Option<SetTime>,
}
