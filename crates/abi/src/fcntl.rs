//! open(2), openat2(2), fcntl(2), and the flags of calls that name or move files: `AT_*`, `RENAME_*`, `FALLOC_FL_*`.

use bitflags::bitflags;

consts! { u32;
    O_RDONLY = 0,
    O_WRONLY = 1,
    O_RDWR = 2,
    O_ACCMODE = 3,
    O_CREAT = 0o100,
    O_EXCL = 0o200,
    O_NOCTTY = 0o400,
    O_TRUNC = 0o1000,
    O_APPEND = 0o2000,
    O_NONBLOCK = 0o4000,
    O_NDELAY = O_NONBLOCK,
    O_DSYNC = 0o10000,
    /// Set by user space as `FASYNC`.
    O_ASYNC = 0o20000,
    O_DIRECT = 0o40000,
    /// On x86-64 libc calls this 0; the kernel sets it on every open of a 64-bit process.
    O_LARGEFILE = 0o100000,
    O_DIRECTORY = 0o200000,
    O_NOFOLLOW = 0o400000,
    O_NOATIME = 0o1000000,
    O_CLOEXEC = 0o2000000,
    __O_SYNC = 0o4000000,
    O_SYNC = __O_SYNC | O_DSYNC,
    O_PATH = 0o10000000,
    __O_TMPFILE = 0o20000000,
    O_TMPFILE = __O_TMPFILE | O_DIRECTORY,
}

bitflags! {
    /// Flags of open(2). The access mode is the two low bits: compare `flags & ACCMODE`, or ask [`OpenFlags::readable`].
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
    pub struct OpenFlags: u32 {
        const WRONLY = O_WRONLY;
        const RDWR = O_RDWR;
        const ACCMODE = O_ACCMODE;
        const CREAT = O_CREAT;
        const EXCL = O_EXCL;
        const NOCTTY = O_NOCTTY;
        const TRUNC = O_TRUNC;
        const APPEND = O_APPEND;
        const NONBLOCK = O_NONBLOCK;
        const DSYNC = O_DSYNC;
        const ASYNC = O_ASYNC;
        const DIRECT = O_DIRECT;
        const LARGEFILE = O_LARGEFILE;
        const DIRECTORY = O_DIRECTORY;
        const NOFOLLOW = O_NOFOLLOW;
        const NOATIME = O_NOATIME;
        const CLOEXEC = O_CLOEXEC;
        const SYNC = O_SYNC;
        const PATH = O_PATH;
        const TMPFILE = O_TMPFILE;
    }
}

impl OpenFlags {
    /// No bit set: the access mode read-only.
    pub const RDONLY: OpenFlags = OpenFlags::empty();
    /// The flags that fcntl(2) `F_SETFL` may change; it ignores all others.
    pub const SETFL: OpenFlags =
        OpenFlags::from_bits_truncate(O_APPEND | O_NONBLOCK | O_ASYNC | O_DIRECT | O_NOATIME);

    /// The access mode alone: `O_RDONLY`, `O_WRONLY`, `O_RDWR` or 3.
    pub const fn accmode(self) -> u32 {
        self.bits() & O_ACCMODE
    }

    /// Whether read(2) is allowed by the access mode. Mode 3 allows neither (it is for ioctl(2) alone).
    pub const fn readable(self) -> bool {
        matches!(self.accmode(), O_RDONLY | O_RDWR) && !self.contains(OpenFlags::PATH)
    }

    /// Whether write(2) is allowed by the access mode.
    pub const fn writable(self) -> bool {
        matches!(self.accmode(), O_WRONLY | O_RDWR) && !self.contains(OpenFlags::PATH)
    }
}

uapi! {
    /// `struct open_how` of openat2(2).
    pub struct OpenHow {
        pub flags: u64,
        pub mode: u64,
        pub resolve: u64,
    }

    /// `struct flock` of fcntl(2).
    pub struct Flock {
        pub l_type: i16,
        pub l_whence: i16,
        pub _pad1: u32,
        pub l_start: i64,
        pub l_len: i64,
        pub l_pid: i32,
        pub _pad2: u32,
    }

    /// `struct f_owner_ex` of fcntl(2) `F_SETOWN_EX`.
    pub struct FOwnerEx {
        pub type_: i32,
        pub pid: i32,
    }

    /// `struct file_handle` of name_to_handle_at(2), before its bytes.
    pub struct FileHandleHeader {
        pub handle_bytes: u32,
        pub handle_type: i32,
    }
}

/// The size of the first published [`OpenHow`].
pub const OPEN_HOW_SIZE_VER0: usize = 24;

consts! { u64;
    RESOLVE_NO_XDEV = 0x01,
    RESOLVE_NO_MAGICLINKS = 0x02,
    RESOLVE_NO_SYMLINKS = 0x04,
    RESOLVE_BENEATH = 0x08,
    RESOLVE_IN_ROOT = 0x10,
    RESOLVE_CACHED = 0x20,
}

// The *at(2) family.
consts! { i32;
    AT_FDCWD = -100,
}
consts! { u32;
    AT_SYMLINK_NOFOLLOW = 0x100,
    AT_REMOVEDIR = 0x200,
    AT_EACCESS = 0x200,
    AT_HANDLE_FID = 0x200,
    AT_SYMLINK_FOLLOW = 0x400,
    AT_NO_AUTOMOUNT = 0x800,
    AT_EMPTY_PATH = 0x1000,
    AT_STATX_SYNC_TYPE = 0x6000,
    AT_STATX_SYNC_AS_STAT = 0x0000,
    AT_STATX_FORCE_SYNC = 0x2000,
    AT_STATX_DONT_SYNC = 0x4000,
    AT_RECURSIVE = 0x8000,
    AT_EXECVE_CHECK = 0x10000,
}

// access(2)
consts! { u32;
    F_OK = 0,
    X_OK = 1,
    W_OK = 2,
    R_OK = 4,
}

// fcntl(2) commands
consts! { u32;
    F_DUPFD = 0,
    F_GETFD = 1,
    F_SETFD = 2,
    F_GETFL = 3,
    F_SETFL = 4,
    F_GETLK = 5,
    F_SETLK = 6,
    F_SETLKW = 7,
    F_SETOWN = 8,
    F_GETOWN = 9,
    F_SETSIG = 10,
    F_GETSIG = 11,
    F_GETLK64 = 12,
    F_SETLK64 = 13,
    F_SETLKW64 = 14,
    F_SETOWN_EX = 15,
    F_GETOWN_EX = 16,
    F_GETOWNER_UIDS = 17,
    F_OFD_GETLK = 36,
    F_OFD_SETLK = 37,
    F_OFD_SETLKW = 38,
    F_SETLEASE = 1024,
    F_GETLEASE = 1025,
    F_NOTIFY = 1026,
    F_DUPFD_QUERY = 1027,
    F_CREATED_QUERY = 1028,
    F_CANCELLK = 1029,
    F_DUPFD_CLOEXEC = 1030,
    F_SETPIPE_SZ = 1031,
    F_GETPIPE_SZ = 1032,
    F_ADD_SEALS = 1033,
    F_GET_SEALS = 1034,
    F_GET_RW_HINT = 1035,
    F_SET_RW_HINT = 1036,
    F_GET_FILE_RW_HINT = 1037,
    F_SET_FILE_RW_HINT = 1038,
    FD_CLOEXEC = 1,
}

// Lock types (`l_type`), and the owners of F_SETOWN_EX.
consts! { i16;
    F_RDLCK = 0,
    F_WRLCK = 1,
    F_UNLCK = 2,
    F_EXLCK = 4,
    F_SHLCK = 8,
}
consts! { i32;
    F_OWNER_TID = 0,
    F_OWNER_PID = 1,
    F_OWNER_PGRP = 2,
}

// F_ADD_SEALS
consts! { u32;
    F_SEAL_SEAL = 0x01,
    F_SEAL_SHRINK = 0x02,
    F_SEAL_GROW = 0x04,
    F_SEAL_WRITE = 0x08,
    F_SEAL_FUTURE_WRITE = 0x10,
    F_SEAL_EXEC = 0x20,
}

// flock(2)
consts! { u32;
    LOCK_SH = 1,
    LOCK_EX = 2,
    LOCK_NB = 4,
    LOCK_UN = 8,
    LOCK_MAND = 32,
    LOCK_READ = 64,
    LOCK_WRITE = 128,
    LOCK_RW = 192,
}

// lseek(2)
consts! { u32;
    SEEK_SET = 0,
    SEEK_CUR = 1,
    SEEK_END = 2,
    SEEK_DATA = 3,
    SEEK_HOLE = 4,
}

// renameat2(2)
consts! { u32;
    RENAME_NOREPLACE = 1,
    RENAME_EXCHANGE = 2,
    RENAME_WHITEOUT = 4,
}

// fallocate(2)
consts! { u32;
    FALLOC_FL_ALLOCATE_RANGE = 0x00,
    FALLOC_FL_KEEP_SIZE = 0x01,
    FALLOC_FL_PUNCH_HOLE = 0x02,
    FALLOC_FL_NO_HIDE_STALE = 0x04,
    FALLOC_FL_COLLAPSE_RANGE = 0x08,
    FALLOC_FL_ZERO_RANGE = 0x10,
    FALLOC_FL_INSERT_RANGE = 0x20,
    FALLOC_FL_UNSHARE_RANGE = 0x40,
    FALLOC_FL_WRITE_ZEROES = 0x80,
}

// posix_fadvise(2)
consts! { u32;
    POSIX_FADV_NORMAL = 0,
    POSIX_FADV_RANDOM = 1,
    POSIX_FADV_SEQUENTIAL = 2,
    POSIX_FADV_WILLNEED = 3,
    POSIX_FADV_DONTNEED = 4,
    POSIX_FADV_NOREUSE = 5,
}

// splice(2), tee(2), vmsplice(2)
consts! { u32;
    SPLICE_F_MOVE = 1,
    SPLICE_F_NONBLOCK = 2,
    SPLICE_F_MORE = 4,
    SPLICE_F_GIFT = 8,
}

// sync_file_range(2)
consts! { u32;
    SYNC_FILE_RANGE_WAIT_BEFORE = 1,
    SYNC_FILE_RANGE_WRITE = 2,
    SYNC_FILE_RANGE_WAIT_AFTER = 4,
}

// close_range(2)
consts! { u32;
    CLOSE_RANGE_UNSHARE = 2,
    CLOSE_RANGE_CLOEXEC = 4,
}

// eventfd2(2), pipe2(2), dup3(2) take O_CLOEXEC and O_NONBLOCK; eventfd has one more.
consts! { u32;
    EFD_SEMAPHORE = 1,
    EFD_CLOEXEC = O_CLOEXEC,
    EFD_NONBLOCK = O_NONBLOCK,
    /// pipe2(2): the pipe carries watch_queue notifications. The same bit as `O_EXCL`.
    O_NOTIFICATION_PIPE = O_EXCL,
}

// F_NOTIFY
consts! { u32;
    DN_ACCESS = 0x01,
    DN_MODIFY = 0x02,
    DN_CREATE = 0x04,
    DN_DELETE = 0x08,
    DN_RENAME = 0x10,
    DN_ATTRIB = 0x20,
    DN_MULTISHOT = 0x8000_0000,
}

/// Longest path, its terminating NUL included.
pub const PATH_MAX: usize = 4096;
/// Longest file name, without a NUL.
pub const NAME_MAX: usize = 255;
/// Bytes that a write(2) to a pipe puts in at once.
pub const PIPE_BUF: usize = 4096;
