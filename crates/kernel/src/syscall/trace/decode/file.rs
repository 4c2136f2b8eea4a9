//! Files: opening, reading, attributes, descriptors.

use abi::fcntl::{__O_TMPFILE, Flock, O_CREAT, OpenFlags, OpenHow};
use abi::stat::{S_IFMT, Stat, Statfs, Statx, major, minor};
use abi::uio::Iovec;

use super::super::line::Line;
use super::{address, octal, signal_name};
use crate::syscall::Arg;

flags! {
    /// Flags of the *at(2) calls.
    at_flags(u32) in fcntl {
        AT_SYMLINK_NOFOLLOW AT_SYMLINK_FOLLOW AT_NO_AUTOMOUNT AT_EMPTY_PATH AT_STATX_FORCE_SYNC AT_STATX_DONT_SYNC
        AT_RECURSIVE AT_EXECVE_CHECK
    }
    /// unlinkat(2)
    unlink_flags(u32) in fcntl { AT_REMOVEDIR }
    /// faccessat2(2)
    access_flags(u32) in fcntl { AT_EACCESS AT_SYMLINK_NOFOLLOW AT_EMPTY_PATH }
    /// access(2)
    access_mode(u32) in fcntl { F_OK R_OK W_OK X_OK }
    /// pipe2(2), dup3(2), eventfd2(2) and others that take a few of open(2)'s flags.
    fd_flags(u32) in fcntl { O_CLOEXEC O_NONBLOCK O_DIRECT O_NOTIFICATION_PIPE EFD_SEMAPHORE }
    /// renameat2(2)
    rename_flags(u32) in fcntl { RENAME_NOREPLACE RENAME_EXCHANGE RENAME_WHITEOUT }
    /// fallocate(2)
    fallocate_mode(u32) in fcntl {
        FALLOC_FL_KEEP_SIZE FALLOC_FL_PUNCH_HOLE FALLOC_FL_NO_HIDE_STALE FALLOC_FL_COLLAPSE_RANGE FALLOC_FL_ZERO_RANGE
        FALLOC_FL_INSERT_RANGE FALLOC_FL_UNSHARE_RANGE FALLOC_FL_WRITE_ZEROES
    }
    /// splice(2)
    splice_flags(u32) in fcntl { SPLICE_F_MOVE SPLICE_F_NONBLOCK SPLICE_F_MORE SPLICE_F_GIFT }
    /// sync_file_range(2)
    sync_range_flags(u32) in fcntl {
        SYNC_FILE_RANGE_WAIT_BEFORE SYNC_FILE_RANGE_WRITE SYNC_FILE_RANGE_WAIT_AFTER
    }
    /// close_range(2)
    close_range_flags(u32) in fcntl { CLOSE_RANGE_UNSHARE CLOSE_RANGE_CLOEXEC }
    /// flock(2)
    flock_op(u32) in fcntl { LOCK_NB LOCK_RW LOCK_MAND LOCK_SH LOCK_EX LOCK_UN }
    /// preadv2(2)
    rwf_flags(u32) in uio {
        RWF_HIPRI RWF_DSYNC RWF_SYNC RWF_NOWAIT RWF_APPEND RWF_NOAPPEND RWF_ATOMIC RWF_DONTCACHE
    }
    /// setxattr(2)
    xattr_flags(u32) in xattr { XATTR_CREATE XATTR_REPLACE }
    /// statx(2): what is asked.
    statx_mask(u32) in stat {
        STATX_ALL STATX_BASIC_STATS STATX_TYPE STATX_MODE STATX_NLINK STATX_UID STATX_GID STATX_ATIME STATX_MTIME
        STATX_CTIME STATX_INO STATX_SIZE STATX_BLOCKS STATX_BTIME STATX_MNT_ID STATX_DIOALIGN STATX_MNT_ID_UNIQUE
        STATX_SUBVOL STATX_WRITE_ATOMIC STATX_DIO_READ_ALIGN
    }
    seals(u32) in fcntl {
        F_SEAL_SEAL F_SEAL_SHRINK F_SEAL_GROW F_SEAL_WRITE F_SEAL_FUTURE_WRITE F_SEAL_EXEC
    }
    resolve(u64) in fcntl {
        RESOLVE_NO_XDEV RESOLVE_NO_MAGICLINKS RESOLVE_NO_SYMLINKS RESOLVE_BENEATH RESOLVE_IN_ROOT RESOLVE_CACHED
    }
    fd_cloexec(u32) in fcntl { FD_CLOEXEC }
}

values! {
    /// lseek(2)
    whence(u32) in fcntl { SEEK_SET SEEK_CUR SEEK_END SEEK_DATA SEEK_HOLE }
    /// posix_fadvise(2)
    fadvice(u32) in fcntl {
        POSIX_FADV_NORMAL POSIX_FADV_RANDOM POSIX_FADV_SEQUENTIAL POSIX_FADV_WILLNEED POSIX_FADV_DONTNEED
        POSIX_FADV_NOREUSE
    }
    /// fcntl(2)
    fcntl_cmd(u32) in fcntl {
        F_DUPFD F_GETFD F_SETFD F_GETFL F_SETFL F_GETLK F_SETLK F_SETLKW F_SETOWN F_GETOWN F_SETSIG F_GETSIG F_SETOWN_EX
        F_GETOWN_EX F_GETOWNER_UIDS F_OFD_GETLK F_OFD_SETLK F_OFD_SETLKW F_SETLEASE F_GETLEASE F_NOTIFY F_DUPFD_QUERY
        F_CREATED_QUERY F_CANCELLK F_DUPFD_CLOEXEC F_SETPIPE_SZ F_GETPIPE_SZ F_ADD_SEALS F_GET_SEALS F_GET_RW_HINT
        F_SET_RW_HINT F_GET_FILE_RW_HINT F_SET_FILE_RW_HINT
    }
    lock_type(u16) in fcntl { F_RDLCK F_WRLCK F_UNLCK }
    file_type(u32) in stat { S_IFSOCK S_IFLNK S_IFREG S_IFBLK S_IFDIR S_IFCHR S_IFIFO }
    fs_type(i64) in stat {
        ANON_INODE_FS_MAGIC CGROUP2_SUPER_MAGIC DEVPTS_SUPER_MAGIC EXT4_SUPER_MAGIC HOSTFS_SUPER_MAGIC MQUEUE_MAGIC
        OVERLAYFS_SUPER_MAGIC PIPEFS_MAGIC PROC_SUPER_MAGIC RAMFS_MAGIC SOCKFS_MAGIC SYSFS_MAGIC TMPFS_MAGIC
    }
}

/// The mode of open(2), where it counts; the flags are the argument before it.
pub fn create_mode(raw: u64, line: &mut Line<'_>) {
    let flags = line.previous_arg() as u32;
    if flags & (O_CREAT | __O_TMPFILE) == 0 {
        return line.omit();
    }
    octal(raw, line);
}

/// `struct open_how`
pub fn open_how(raw: u64, line: &mut Line<'_>) {
    line.object(raw, |how: &OpenHow, line| {
        line.put("{flags=");
        OpenFlags::show(how.flags, line);
        line.put(", mode=");
        octal(how.mode, line);
        line.put(", resolve=");
        resolve(how.resolve, line);
        line.put("}");
    });
}

/// A mode with a file type: `S_IFREG|0644`.
pub fn file_mode(raw: u64, line: &mut Line<'_>) {
    let mode = raw as u32;
    if mode & S_IFMT != 0 {
        file_type(u64::from(mode & S_IFMT), line);
        line.put("|");
    }
    octal(u64::from(mode & !S_IFMT), line);
}

/// A device number.
pub fn device(raw: u64, line: &mut Line<'_>) {
    write!(line, "makedev({:#x}, {:#x})", major(raw), minor(raw));
}

/// `struct stat`
pub fn stat_buf(raw: u64, line: &mut Line<'_>) {
    line.object(raw, |stat: &Stat, line| {
        line.put("{st_mode=");
        file_mode(u64::from(stat.st_mode), line);
        if matches!(stat.st_mode & S_IFMT, abi::stat::S_IFCHR | abi::stat::S_IFBLK) {
            line.put(", st_rdev=");
            device(stat.st_rdev, line);
        } else {
            write!(line, ", st_size={}", stat.st_size);
        }
        line.put(", ...}");
    });
}

/// `struct statx`
pub fn statx_buf(raw: u64, line: &mut Line<'_>) {
    line.object(raw, |stat: &Statx, line| {
        line.put("{stx_mask=");
        statx_mask(u64::from(stat.stx_mask), line);
        line.put(", stx_mode=");
        file_mode(u64::from(stat.stx_mode), line);
        write!(line, ", stx_size={}, ...}}", stat.stx_size);
    });
}

/// `struct statfs`
pub fn statfs_buf(raw: u64, line: &mut Line<'_>) {
    line.object(raw, |fs: &Statfs, line| {
        line.put("{f_type=");
        fs_type(fs.f_type as u64, line);
        write!(line, ", f_bsize={}, f_blocks={}, f_bfree={}, ...}}", fs.f_bsize, fs.f_blocks, fs.f_bfree);
    });
}

/// `count` segments; of their bytes the first `moved` mean something.
pub(super) fn segments(raw: u64, count: u64, moved: u64, line: &mut Line<'_>) {
    let mut left = moved;
    line.array(raw, count, |iov: &Iovec, line| {
        line.put("{iov_base=");
        line.bytes(iov.iov_base, iov.iov_len.min(left));
        write!(line, ", iov_len={}}}", iov.iov_len);
        left = left.saturating_sub(iov.iov_len);
    });
}

/// Segments that a call reads; their count is the next argument.
pub fn iovec(raw: u64, line: &mut Line<'_>) {
    let count = line.next_arg();
    segments(raw, count, u64::MAX, line);
}

/// Segments that a call has filled.
pub fn iovec_filled(raw: u64, line: &mut Line<'_>) {
    let (count, filled) = (line.next_arg(), line.result().unwrap_or(0));
    segments(raw, count, filled, line);
}

/// What getdents64(2) found.
pub fn dirents(raw: u64, line: &mut Line<'_>) {
    line.put_addr(raw);
    let Some(len) = line.result() else { return };
    let (mut at, mut count) = (0, 0);
    // Records tell their own length; another thread may have changed them since.
    while at < len && count < 10_000 {
        let Some(record) = line.read::<u16>(raw.wrapping_add(at + 16)).filter(|r| *r > 0) else { break };
        at += u64::from(record);
        count += 1;
    }
    write!(line, " /* {count} entries */");
}

/// The argument of fcntl(2).
pub fn fcntl_arg(raw: u64, line: &mut Line<'_>) {
    use abi::fcntl::*;
    match line.arg(1) as u32 {
        F_GETFD | F_GETFL | F_GETOWN | F_GETSIG | F_GETLEASE | F_GETPIPE_SZ | F_GET_SEALS => line.omit(),
        F_SETFD => fd_cloexec(raw, line),
        F_SETFL => OpenFlags::show(raw, line),
        F_SETSIG => signal_name(raw, line),
        F_ADD_SEALS => seals(raw, line),
        F_SETLEASE => lock_type(raw, line),
        F_GETLK | F_SETLK | F_SETLKW | F_OFD_GETLK | F_OFD_SETLK | F_OFD_SETLKW => line.object(raw, flock),
        F_DUPFD | F_DUPFD_CLOEXEC | F_SETOWN | F_SETPIPE_SZ | F_DUPFD_QUERY => {
            write!(line, "{}", raw as i32);
        }
        _ => address(raw, line),
    }
}

fn flock(lock: &Flock, line: &mut Line<'_>) {
    line.put("{l_type=");
    lock_type(lock.l_type as u64, line);
    line.put(", l_whence=");
    whence(lock.l_whence as u64, line);
    write!(line, ", l_start={}, l_len={}}}", lock.l_start, lock.l_len);
}

/// The result of fcntl(2).
pub fn fcntl_result(value: u64, line: &mut Line<'_>) {
    use abi::fcntl::{F_GET_SEALS, F_GETFD, F_GETFL};
    let show: fn(u64, &mut Line<'_>) = match line.arg(1) as u32 {
        F_GETFL => OpenFlags::show,
        F_GETFD if value != 0 => fd_cloexec,
        F_GET_SEALS => seals,
        _ => return super::signed(value, line),
    };
    write!(line, "{value:#x} (flags ");
    show(value, line);
    line.put(")");
}
