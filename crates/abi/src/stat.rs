//! stat(2), statx(2), statfs(2), getdents64(2): file types and modes, device numbers, file system magics.

uapi! {
    /// `struct stat` of x86-64.
    pub struct Stat {
        pub st_dev: u64,
        pub st_ino: u64,
        pub st_nlink: u64,
        pub st_mode: u32,
        pub st_uid: u32,
        pub st_gid: u32,
        pub _pad0: u32,
        pub st_rdev: u64,
        pub st_size: i64,
        pub st_blksize: i64,
        /// In units of 512 bytes.
        pub st_blocks: i64,
        pub st_atime: i64,
        pub st_atime_nsec: i64,
        pub st_mtime: i64,
        pub st_mtime_nsec: i64,
        pub st_ctime: i64,
        pub st_ctime_nsec: i64,
        pub _unused: [i64; 3],
    }

    /// `struct statx_timestamp`.
    pub struct StatxTimestamp {
        pub tv_sec: i64,
        pub tv_nsec: u32,
        pub _reserved: i32,
    }

    /// `struct statx`.
    pub struct Statx {
        pub stx_mask: u32,
        pub stx_blksize: u32,
        pub stx_attributes: u64,
        pub stx_nlink: u32,
        pub stx_uid: u32,
        pub stx_gid: u32,
        pub stx_mode: u16,
        pub _spare0: u16,
        pub stx_ino: u64,
        pub stx_size: u64,
        /// In units of 512 bytes.
        pub stx_blocks: u64,
        pub stx_attributes_mask: u64,
        pub stx_atime: StatxTimestamp,
        pub stx_btime: StatxTimestamp,
        pub stx_ctime: StatxTimestamp,
        pub stx_mtime: StatxTimestamp,
        pub stx_rdev_major: u32,
        pub stx_rdev_minor: u32,
        pub stx_dev_major: u32,
        pub stx_dev_minor: u32,
        pub stx_mnt_id: u64,
        pub stx_dio_mem_align: u32,
        pub stx_dio_offset_align: u32,
        pub stx_subvol: u64,
        pub stx_atomic_write_unit_min: u32,
        pub stx_atomic_write_unit_max: u32,
        pub stx_atomic_write_segments_max: u32,
        pub stx_dio_read_offset_align: u32,
        pub stx_atomic_write_unit_max_opt: u32,
        pub _spare2: u32,
        pub _spare3: [u64; 8],
    }

    /// `struct statfs`.
    pub struct Statfs {
        pub f_type: i64,
        pub f_bsize: i64,
        pub f_blocks: u64,
        pub f_bfree: u64,
        pub f_bavail: u64,
        pub f_files: u64,
        pub f_ffree: u64,
        pub f_fsid: [i32; 2],
        pub f_namelen: i64,
        pub f_frsize: i64,
        pub f_flags: i64,
        pub _spare: [i64; 4],
    }
}

/// Bytes of `struct linux_dirent64` before its NUL-terminated name: d_ino, d_off, d_reclen, d_type.
pub const DIRENT64_NAME_OFFSET: usize = 19;

/// Bytes of `struct linux_dirent` (getdents(2)) before its name; its d_type is the last byte of the record.
pub const DIRENT_NAME_OFFSET: usize = 18;

/// The fixed part of `struct linux_dirent64`; the name follows at once, and the whole is padded to 8 bytes.
#[repr(C, packed)]
#[derive(
    zerocopy::FromBytes,
    zerocopy::IntoBytes,
    zerocopy::Immutable,
    zerocopy::KnownLayout,
    Clone,
    Copy,
    Debug,
    Default,
)]
pub struct Dirent64 {
    pub d_ino: u64,
    pub d_off: i64,
    pub d_reclen: u16,
    pub d_type: u8,
}

// st_mode
consts! { u32;
    S_IFMT = 0o170000,
    S_IFSOCK = 0o140000,
    S_IFLNK = 0o120000,
    S_IFREG = 0o100000,
    S_IFBLK = 0o060000,
    S_IFDIR = 0o040000,
    S_IFCHR = 0o020000,
    S_IFIFO = 0o010000,
    S_ISUID = 0o4000,
    S_ISGID = 0o2000,
    S_ISVTX = 0o1000,
    S_IRWXU = 0o700,
    S_IRUSR = 0o400,
    S_IWUSR = 0o200,
    S_IXUSR = 0o100,
    S_IRWXG = 0o070,
    S_IRGRP = 0o040,
    S_IWGRP = 0o020,
    S_IXGRP = 0o010,
    S_IRWXO = 0o007,
    S_IROTH = 0o004,
    S_IWOTH = 0o002,
    S_IXOTH = 0o001,
    S_IRWXUGO = 0o777,
    S_IALLUGO = 0o7777,
    S_IXUGO = 0o111,
}

// d_type: the file type bits of st_mode, shifted.
consts! { u8;
    DT_UNKNOWN = 0,
    DT_FIFO = 1,
    DT_CHR = 2,
    DT_DIR = 4,
    DT_BLK = 6,
    DT_REG = 8,
    DT_LNK = 10,
    DT_SOCK = 12,
    DT_WHT = 14,
}

/// The `d_type` of a file mode.
pub const fn mode_to_dt(mode: u32) -> u8 {
    ((mode & S_IFMT) >> 12) as u8
}

// stx_mask
consts! { u32;
    STATX_TYPE = 0x0001,
    STATX_MODE = 0x0002,
    STATX_NLINK = 0x0004,
    STATX_UID = 0x0008,
    STATX_GID = 0x0010,
    STATX_ATIME = 0x0020,
    STATX_MTIME = 0x0040,
    STATX_CTIME = 0x0080,
    STATX_INO = 0x0100,
    STATX_SIZE = 0x0200,
    STATX_BLOCKS = 0x0400,
    STATX_BASIC_STATS = 0x07ff,
    STATX_BTIME = 0x0800,
    STATX_ALL = 0x0fff,
    STATX_MNT_ID = 0x1000,
    STATX_DIOALIGN = 0x2000,
    STATX_MNT_ID_UNIQUE = 0x4000,
    STATX_SUBVOL = 0x8000,
    STATX_WRITE_ATOMIC = 0x10000,
    STATX_DIO_READ_ALIGN = 0x20000,
    STATX__RESERVED = 0x8000_0000,
}

// stx_attributes
consts! { u64;
    STATX_ATTR_COMPRESSED = 0x04,
    STATX_ATTR_IMMUTABLE = 0x10,
    STATX_ATTR_APPEND = 0x20,
    STATX_ATTR_NODUMP = 0x40,
    STATX_ATTR_ENCRYPTED = 0x800,
    STATX_ATTR_AUTOMOUNT = 0x1000,
    STATX_ATTR_MOUNT_ROOT = 0x2000,
    STATX_ATTR_VERITY = 0x10_0000,
    STATX_ATTR_DAX = 0x20_0000,
    STATX_ATTR_WRITE_ATOMIC = 0x40_0000,
}

// utimensat(2), in tv_nsec
consts! { i64;
    UTIME_NOW = (1 << 30) - 1,
    UTIME_OMIT = (1 << 30) - 2,
}

/// The `st_dev` form of a device number, as glibc's makedev(3): 12+20 bits in the low word, the rest above.
pub const fn makedev(major: u32, minor: u32) -> u64 {
    let (major, minor) = (major as u64, minor as u64);
    (minor & 0xff) | (major & 0xfff) << 8 | (minor & !0xff) << 12 | (major & !0xfff) << 32
}

/// The major number of an `st_dev` or `st_rdev`.
pub const fn major(dev: u64) -> u32 {
    ((dev >> 8 & 0xfff) | (dev >> 32 & !0xfff)) as u32
}

/// The minor number of an `st_dev` or `st_rdev`.
pub const fn minor(dev: u64) -> u32 {
    ((dev & 0xff) | (dev >> 12 & !0xff)) as u32
}

// statfs(2) f_flags
consts! { i64;
    ST_RDONLY = 0x0001,
    ST_NOSUID = 0x0002,
    ST_NODEV = 0x0004,
    ST_NOEXEC = 0x0008,
    ST_SYNCHRONOUS = 0x0010,
    /// The kernel filled in f_flags.
    ST_VALID = 0x0020,
    ST_MANDLOCK = 0x0040,
    ST_NOATIME = 0x0400,
    ST_NODIRATIME = 0x0800,
    ST_RELATIME = 0x1000,
    ST_NOSYMFOLLOW = 0x2000,
}

// statfs(2) f_type
consts! { i64;
    ADFS_SUPER_MAGIC = 0xadf5,
    ANON_INODE_FS_MAGIC = 0x0904_1934,
    AUTOFS_SUPER_MAGIC = 0x0187,
    BDEVFS_MAGIC = 0x6264_6576,
    BINFMTFS_MAGIC = 0x4249_4e4d,
    BPF_FS_MAGIC = 0xcafe_4a11,
    BTRFS_SUPER_MAGIC = 0x9123_683e,
    CGROUP_SUPER_MAGIC = 0x0027_e0eb,
    CGROUP2_SUPER_MAGIC = 0x6367_7270,
    CRAMFS_MAGIC = 0x28cd_3d45,
    DEBUGFS_MAGIC = 0x6462_6720,
    DEVPTS_SUPER_MAGIC = 0x1cd1,
    EFIVARFS_MAGIC = 0xde5e_81e4,
    EXFAT_SUPER_MAGIC = 0x2011_bab0,
    EXT2_SUPER_MAGIC = 0xef53,
    EXT3_SUPER_MAGIC = 0xef53,
    EXT4_SUPER_MAGIC = 0xef53,
    F2FS_SUPER_MAGIC = 0xf2f5_2010,
    FUSE_SUPER_MAGIC = 0x6573_5546,
    HOSTFS_SUPER_MAGIC = 0x00c0_ffee,
    HUGETLBFS_MAGIC = 0x9584_58f6,
    ISOFS_SUPER_MAGIC = 0x9660,
    MQUEUE_MAGIC = 0x1980_0202,
    MSDOS_SUPER_MAGIC = 0x4d44,
    NFS_SUPER_MAGIC = 0x6969,
    NSFS_MAGIC = 0x6e73_6673,
    OVERLAYFS_SUPER_MAGIC = 0x794c_7630,
    PID_FS_MAGIC = 0x5049_4446,
    PIPEFS_MAGIC = 0x5049_5045,
    PROC_SUPER_MAGIC = 0x9fa0,
    PSTOREFS_MAGIC = 0x6165_676c,
    RAMFS_MAGIC = 0x8584_58f6,
    SECURITYFS_MAGIC = 0x7363_6673,
    SELINUX_MAGIC = 0xf97c_ff8c,
    SOCKFS_MAGIC = 0x534f_434b,
    SQUASHFS_MAGIC = 0x7371_7368,
    SYSFS_MAGIC = 0x6265_6572,
    TMPFS_MAGIC = 0x0102_1994,
    TRACEFS_MAGIC = 0x7472_6163,
    V9FS_MAGIC = 0x0102_1997,
    XFS_SUPER_MAGIC = 0x5846_5342,
}
