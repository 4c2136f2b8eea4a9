//! ioctl(2): how a request number is built, and requests on files, file systems, block devices, random and sockets.
//! Those of terminals are in [`crate::tty`].

// The direction bits of a request
consts! { u32;
    _IOC_NONE = 0,
    _IOC_WRITE = 1,
    _IOC_READ = 2,
}

/// A request number: direction, type (a letter), number and the size of the argument.
pub const fn ioc(dir: u32, ty: u8, nr: u8, size: usize) -> u32 {
    dir << 30 | (size as u32 & 0x3fff) << 16 | (ty as u32) << 8 | nr as u32
}

/// `_IO`: no argument.
pub const fn io(ty: u8, nr: u8) -> u32 {
    ioc(_IOC_NONE, ty, nr, 0)
}

/// `_IOR`: the kernel writes the argument.
pub const fn ior<T>(ty: u8, nr: u8) -> u32 {
    ioc(_IOC_READ, ty, nr, size_of::<T>())
}

/// `_IOW`: the kernel reads the argument.
pub const fn iow<T>(ty: u8, nr: u8) -> u32 {
    ioc(_IOC_WRITE, ty, nr, size_of::<T>())
}

/// `_IOWR`: both.
pub const fn iowr<T>(ty: u8, nr: u8) -> u32 {
    ioc(_IOC_READ | _IOC_WRITE, ty, nr, size_of::<T>())
}

/// The size of the argument that a request number tells of.
pub const fn ioc_size(request: u32) -> usize {
    (request >> 16 & 0x3fff) as usize
}

uapi! {
    /// `struct file_clone_range`.
    pub struct FileCloneRange {
        pub src_fd: i64,
        pub src_offset: u64,
        pub src_length: u64,
        pub dest_offset: u64,
    }

    /// `struct fstrim_range`.
    pub struct FstrimRange {
        pub start: u64,
        pub len: u64,
        pub minlen: u64,
    }

    /// `struct fsxattr`.
    pub struct Fsxattr {
        pub fsx_xflags: u32,
        pub fsx_extsize: u32,
        pub fsx_nextents: u32,
        pub fsx_projid: u32,
        pub fsx_cowextsize: u32,
        pub _pad: [u8; 8],
    }

    /// `struct fiemap`, before its extents.
    pub struct Fiemap {
        pub fm_start: u64,
        pub fm_length: u64,
        pub fm_flags: u32,
        pub fm_mapped_extents: u32,
        pub fm_extent_count: u32,
        pub _reserved: u32,
    }

    /// `struct fiemap_extent`.
    pub struct FiemapExtent {
        pub fe_logical: u64,
        pub fe_physical: u64,
        pub fe_length: u64,
        pub _reserved64: [u64; 2],
        pub fe_flags: u32,
        pub _reserved: [u32; 3],
    }

    /// `struct hd_geometry`.
    pub struct HdGeometry {
        pub heads: u8,
        pub sectors: u8,
        pub cylinders: u16,
        pub _pad: u32,
        pub start: u64,
    }

    /// `struct blkpg_ioctl_arg`.
    pub struct BlkpgIoctlArg {
        pub op: i32,
        pub flags: i32,
        pub datalen: i32,
        pub _pad: u32,
        pub data: u64,
    }

    /// `struct blkpg_partition`.
    pub struct BlkpgPartition {
        pub start: i64,
        pub length: i64,
        pub pno: i32,
        pub devname: [u8; 64],
        pub volname: [u8; 64],
        pub _pad: u32,
    }

    /// `struct loop_info`, for LOOP_SET_STATUS.
    pub struct LoopInfo {
        pub lo_number: i32,
        pub _pad: u32,
        pub lo_device: u64,
        pub lo_inode: u64,
        pub lo_rdevice: u64,
        pub lo_offset: i32,
        pub lo_encrypt_type: i32,
        pub lo_encrypt_key_size: i32,
        pub lo_flags: i32,
        pub lo_name: [u8; 64],
        pub lo_encrypt_key: [u8; 32],
        pub lo_init: [u64; 2],
        pub reserved: [u8; 8],
    }

    /// `struct loop_info64`.
    pub struct LoopInfo64 {
        pub lo_device: u64,
        pub lo_inode: u64,
        pub lo_rdevice: u64,
        pub lo_offset: u64,
        pub lo_sizelimit: u64,
        pub lo_number: u32,
        pub lo_encrypt_type: u32,
        pub lo_encrypt_key_size: u32,
        pub lo_flags: u32,
        pub lo_file_name: [u8; 64],
        pub lo_crypt_name: [u8; 64],
        pub lo_encrypt_key: [u8; 32],
        pub lo_init: [u64; 2],
    }

    /// `struct loop_config`.
    pub struct LoopConfig {
        pub fd: u32,
        pub block_size: u32,
        pub info: LoopInfo64,
        pub _reserved: [u64; 8],
    }
}

// Any file
consts! { u32;
    FIONREAD = 0x541b,
    FIONBIO = 0x5421,
    FIONCLEX = 0x5450,
    FIOCLEX = 0x5451,
    FIOASYNC = 0x5452,
    FIOQSIZE = 0x5460,
}

// File systems
consts! { u32;
    FIBMAP = io(0, 1),
    FIGETBSZ = io(0, 2),
    FIFREEZE = iowr::<i32>(b'X', 119),
    FITHAW = iowr::<i32>(b'X', 120),
    FITRIM = iowr::<FstrimRange>(b'X', 121),
    FICLONE = iow::<i32>(0x94, 9),
    FICLONERANGE = iow::<FileCloneRange>(0x94, 13),
    FIDEDUPERANGE = 0xc018_9436,
    FS_IOC_GETFLAGS = ior::<i64>(b'f', 1),
    FS_IOC_SETFLAGS = iow::<i64>(b'f', 2),
    FS_IOC_GETVERSION = ior::<i64>(b'v', 1),
    FS_IOC_SETVERSION = iow::<i64>(b'v', 2),
    FS_IOC_FIEMAP = iowr::<Fiemap>(b'f', 11),
    FS_IOC_FSGETXATTR = ior::<Fsxattr>(b'X', 31),
    FS_IOC_FSSETXATTR = iow::<Fsxattr>(b'X', 32),
    FS_IOC_GETFSLABEL = ior::<[u8; 256]>(0x94, 49),
    FS_IOC_SETFSLABEL = iow::<[u8; 256]>(0x94, 50),
}

// FS_IOC_GETFLAGS, chattr(1)
consts! { u32;
    FS_SECRM_FL = 0x0000_0001,
    FS_UNRM_FL = 0x0000_0002,
    FS_COMPR_FL = 0x0000_0004,
    FS_SYNC_FL = 0x0000_0008,
    FS_IMMUTABLE_FL = 0x0000_0010,
    FS_APPEND_FL = 0x0000_0020,
    FS_NODUMP_FL = 0x0000_0040,
    FS_NOATIME_FL = 0x0000_0080,
    FS_INDEX_FL = 0x0000_1000,
    FS_JOURNAL_DATA_FL = 0x0000_4000,
    FS_NOTAIL_FL = 0x0000_8000,
    FS_DIRSYNC_FL = 0x0001_0000,
    FS_TOPDIR_FL = 0x0002_0000,
    FS_HUGE_FILE_FL = 0x0004_0000,
    FS_EXTENT_FL = 0x0008_0000,
    FS_NOCOW_FL = 0x0080_0000,
    FS_INLINE_DATA_FL = 0x1000_0000,
    FS_PROJINHERIT_FL = 0x2000_0000,
    FS_CASEFOLD_FL = 0x4000_0000,
    FS_FL_USER_VISIBLE = 0x0003_dfff,
    FS_FL_USER_MODIFIABLE = 0x0003_80ff,
}

// FS_IOC_FIEMAP
consts! { u32;
    FIEMAP_FLAG_SYNC = 0x1,
    FIEMAP_FLAG_XATTR = 0x2,
    FIEMAP_FLAG_CACHE = 0x4,
    FIEMAP_EXTENT_LAST = 0x0001,
    FIEMAP_EXTENT_UNKNOWN = 0x0002,
    FIEMAP_EXTENT_DELALLOC = 0x0004,
    FIEMAP_EXTENT_DATA_INLINE = 0x0200,
    FIEMAP_EXTENT_UNWRITTEN = 0x0800,
    FIEMAP_EXTENT_MERGED = 0x1000,
    FIEMAP_EXTENT_SHARED = 0x2000,
}

// Block devices
consts! { u32;
    BLKROSET = io(0x12, 93),
    BLKROGET = io(0x12, 94),
    BLKRRPART = io(0x12, 95),
    BLKGETSIZE = io(0x12, 96),
    BLKFLSBUF = io(0x12, 97),
    BLKRASET = io(0x12, 98),
    BLKRAGET = io(0x12, 99),
    BLKFRASET = io(0x12, 100),
    BLKFRAGET = io(0x12, 101),
    BLKSECTGET = io(0x12, 103),
    BLKSSZGET = io(0x12, 104),
    BLKPG = io(0x12, 105),
    BLKBSZGET = ior::<usize>(0x12, 112),
    BLKBSZSET = iow::<usize>(0x12, 113),
    BLKGETSIZE64 = ior::<usize>(0x12, 114),
    BLKDISCARD = io(0x12, 119),
    BLKIOMIN = io(0x12, 120),
    BLKIOOPT = io(0x12, 121),
    BLKALIGNOFF = io(0x12, 122),
    BLKPBSZGET = io(0x12, 123),
    BLKDISCARDZEROES = io(0x12, 124),
    BLKSECDISCARD = io(0x12, 125),
    BLKROTATIONAL = io(0x12, 126),
    BLKZEROOUT = io(0x12, 127),
    BLKGETDISKSEQ = ior::<u64>(0x12, 128),
    HDIO_GETGEO = 0x0301,
    CDROM_GET_CAPABILITY = 0x5331,
}

// BLKPG
consts! { i32;
    BLKPG_ADD_PARTITION = 1,
    BLKPG_DEL_PARTITION = 2,
    BLKPG_RESIZE_PARTITION = 3,
}

// Loop devices
consts! { u32;
    LOOP_SET_FD = 0x4c00,
    LOOP_CLR_FD = 0x4c01,
    LOOP_SET_STATUS = 0x4c02,
    LOOP_GET_STATUS = 0x4c03,
    LOOP_SET_STATUS64 = 0x4c04,
    LOOP_GET_STATUS64 = 0x4c05,
    LOOP_CHANGE_FD = 0x4c06,
    LOOP_SET_CAPACITY = 0x4c07,
    LOOP_SET_DIRECT_IO = 0x4c08,
    LOOP_SET_BLOCK_SIZE = 0x4c09,
    LOOP_CONFIGURE = 0x4c0a,
    LOOP_CTL_ADD = 0x4c80,
    LOOP_CTL_REMOVE = 0x4c81,
    LOOP_CTL_GET_FREE = 0x4c82,
    LO_FLAGS_READ_ONLY = 1,
    LO_FLAGS_AUTOCLEAR = 4,
    LO_FLAGS_PARTSCAN = 8,
    LO_FLAGS_DIRECT_IO = 16,
}

// random(4)
consts! { u32;
    RNDGETENTCNT = ior::<i32>(b'R', 0),
    RNDADDTOENTCNT = iow::<i32>(b'R', 1),
    RNDGETPOOL = ior::<[i32; 2]>(b'R', 2),
    RNDADDENTROPY = iow::<[i32; 2]>(b'R', 3),
    RNDZAPENTCNT = io(b'R', 4),
    RNDCLEARPOOL = io(b'R', 6),
    RNDRESEEDCRNG = io(b'R', 7),
}

// getrandom(2)
consts! { u32;
    GRND_NONBLOCK = 1,
    GRND_RANDOM = 2,
    GRND_INSECURE = 4,
}

// Sockets and interfaces (netdevice(7))
consts! { u32;
    FIOSETOWN = 0x8901,
    SIOCSPGRP = 0x8902,
    FIOGETOWN = 0x8903,
    SIOCGPGRP = 0x8904,
    SIOCATMARK = 0x8905,
    SIOCGSTAMP = 0x8906,
    SIOCGSTAMPNS = 0x8907,
    SIOCINQ = FIONREAD,
    SIOCOUTQ = 0x5411,
    SIOCUNIXFILE = 0x89e0,
    SIOCADDRT = 0x890b,
    SIOCDELRT = 0x890c,
    SIOCGIFNAME = 0x8910,
    SIOCGIFCONF = 0x8912,
    SIOCGIFFLAGS = 0x8913,
    SIOCSIFFLAGS = 0x8914,
    SIOCGIFADDR = 0x8915,
    SIOCSIFADDR = 0x8916,
    SIOCGIFDSTADDR = 0x8917,
    SIOCSIFDSTADDR = 0x8918,
    SIOCGIFBRDADDR = 0x8919,
    SIOCSIFBRDADDR = 0x891a,
    SIOCGIFNETMASK = 0x891b,
    SIOCSIFNETMASK = 0x891c,
    SIOCGIFMETRIC = 0x891d,
    SIOCGIFMTU = 0x8921,
    SIOCSIFMTU = 0x8922,
    SIOCSIFNAME = 0x8923,
    SIOCSIFHWADDR = 0x8924,
    SIOCGIFHWADDR = 0x8927,
    SIOCADDMULTI = 0x8931,
    SIOCDELMULTI = 0x8932,
    SIOCGIFINDEX = 0x8933,
    SIOCGIFTXQLEN = 0x8942,
    SIOCSIFTXQLEN = 0x8943,
    SIOCETHTOOL = 0x8946,
    SIOCGIFMAP = 0x8970,
}

// Namespaces (ioctl_ns(2))
consts! { u32;
    NS_GET_USERNS = io(0xb7, 1),
    NS_GET_PARENT = io(0xb7, 2),
    NS_GET_NSTYPE = io(0xb7, 3),
    NS_GET_OWNER_UID = io(0xb7, 4),
}
