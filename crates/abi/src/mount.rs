//! mount(2), umount2(2), and the newer calls: fsopen(2), fsconfig(2), fsmount(2), move_mount(2), mount_setattr(2).

use crate::fcntl::O_CLOEXEC;

consts! { u64;
    MS_RDONLY = 1,
    MS_NOSUID = 2,
    MS_NODEV = 4,
    MS_NOEXEC = 8,
    MS_SYNCHRONOUS = 16,
    MS_REMOUNT = 32,
    MS_MANDLOCK = 64,
    MS_DIRSYNC = 128,
    MS_NOSYMFOLLOW = 256,
    MS_NOATIME = 1024,
    MS_NODIRATIME = 2048,
    MS_BIND = 4096,
    MS_MOVE = 8192,
    MS_REC = 16384,
    MS_SILENT = 32768,
    MS_POSIXACL = 1 << 16,
    MS_UNBINDABLE = 1 << 17,
    MS_PRIVATE = 1 << 18,
    MS_SLAVE = 1 << 19,
    MS_SHARED = 1 << 20,
    MS_RELATIME = 1 << 21,
    MS_KERNMOUNT = 1 << 22,
    MS_I_VERSION = 1 << 23,
    MS_STRICTATIME = 1 << 24,
    MS_LAZYTIME = 1 << 25,
    /// The flags that MS_REMOUNT changes on the super block; with MS_BIND it changes the mount's own instead.
    MS_RMT_MASK = MS_RDONLY | MS_SYNCHRONOUS | MS_MANDLOCK | MS_I_VERSION | MS_LAZYTIME,
    /// What old programs put into the high half of the flags; it is dropped.
    MS_MGC_VAL = 0xc0ed_0000,
    MS_MGC_MSK = 0xffff_0000,
}

// umount2(2)
consts! { u32;
    MNT_FORCE = 1,
    MNT_DETACH = 2,
    MNT_EXPIRE = 4,
    UMOUNT_NOFOLLOW = 8,
}

// fsopen(2), fspick(2), fsmount(2)
consts! { u32;
    FSOPEN_CLOEXEC = 1,
    FSPICK_CLOEXEC = 1,
    FSPICK_SYMLINK_NOFOLLOW = 2,
    FSPICK_NO_AUTOMOUNT = 4,
    FSPICK_EMPTY_PATH = 8,
    FSMOUNT_CLOEXEC = 1,
}

// fsconfig(2)
consts! { u32;
    FSCONFIG_SET_FLAG = 0,
    FSCONFIG_SET_STRING = 1,
    FSCONFIG_SET_BINARY = 2,
    FSCONFIG_SET_PATH = 3,
    FSCONFIG_SET_PATH_EMPTY = 4,
    FSCONFIG_SET_FD = 5,
    FSCONFIG_CMD_CREATE = 6,
    FSCONFIG_CMD_RECONFIGURE = 7,
    FSCONFIG_CMD_CREATE_EXCL = 8,
}

// open_tree(2), move_mount(2)
consts! { u32;
    OPEN_TREE_CLONE = 1,
    OPEN_TREE_CLOEXEC = O_CLOEXEC,
    MOVE_MOUNT_F_SYMLINKS = 0x001,
    MOVE_MOUNT_F_AUTOMOUNTS = 0x002,
    MOVE_MOUNT_F_EMPTY_PATH = 0x004,
    MOVE_MOUNT_T_SYMLINKS = 0x010,
    MOVE_MOUNT_T_AUTOMOUNTS = 0x020,
    MOVE_MOUNT_T_EMPTY_PATH = 0x040,
    MOVE_MOUNT_SET_GROUP = 0x100,
    MOVE_MOUNT_BENEATH = 0x200,
}

// mount_setattr(2), fsmount(2)
consts! { u64;
    MOUNT_ATTR_RDONLY = 0x01,
    MOUNT_ATTR_NOSUID = 0x02,
    MOUNT_ATTR_NODEV = 0x04,
    MOUNT_ATTR_NOEXEC = 0x08,
    MOUNT_ATTR__ATIME = 0x70,
    MOUNT_ATTR_RELATIME = 0x00,
    MOUNT_ATTR_NOATIME = 0x10,
    MOUNT_ATTR_STRICTATIME = 0x20,
    MOUNT_ATTR_NODIRATIME = 0x80,
    MOUNT_ATTR_IDMAP = 0x10_0000,
    MOUNT_ATTR_NOSYMFOLLOW = 0x20_0000,
}

uapi! {
    /// `struct mount_attr`.
    pub struct MountAttr {
        pub attr_set: u64,
        pub attr_clr: u64,
        pub propagation: u64,
        pub userns_fd: u64,
    }

    /// `struct mnt_id_req` of statmount(2) and listmount(2).
    pub struct MntIdReq {
        pub size: u32,
        pub mnt_ns_fd: u32,
        pub mnt_id: u64,
        pub param: u64,
        pub mnt_ns_id: u64,
    }
}

/// The size of the first [`MountAttr`].
pub const MOUNT_ATTR_SIZE_VER0: usize = 32;
/// Sizes of the published versions of [`MntIdReq`].
pub const MNT_ID_REQ_SIZE_VER0: usize = 24;
pub const MNT_ID_REQ_SIZE_VER1: usize = 32;
/// listmount(2): begin at the root of the mount namespace.
pub const LSMT_ROOT: u64 = u64::MAX;

// swapon(2)
consts! { u32;
    SWAP_FLAG_PREFER = 0x8000,
    SWAP_FLAG_PRIO_MASK = 0x7fff,
    SWAP_FLAG_DISCARD = 0x1_0000,
}
