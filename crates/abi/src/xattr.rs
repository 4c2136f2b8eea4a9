//! Extended attributes: setxattr(2), xattr(7), and the stored form of POSIX ACLs (acl(5)).

consts! { u32;
    XATTR_CREATE = 1,
    XATTR_REPLACE = 2,
}
/// Bytes of an attribute's name, without a NUL.
pub const XATTR_NAME_MAX: usize = 255;
/// Bytes of an attribute's value.
pub const XATTR_SIZE_MAX: usize = 65536;
/// Bytes of a list of attribute names.
pub const XATTR_LIST_MAX: usize = 65536;

uapi! {
    /// `struct xattr_args` of setxattrat(2) and getxattrat(2).
    pub struct XattrArgs {
        pub value: u64,
        pub size: u32,
        pub flags: u32,
    }

    /// `struct posix_acl_xattr_entry`; a `u32` version, [`POSIX_ACL_XATTR_VERSION`], comes before the first.
    pub struct PosixAclXattrEntry {
        pub e_tag: u16,
        pub e_perm: u16,
        pub e_id: u32,
    }
}

pub const POSIX_ACL_XATTR_VERSION: u32 = 2;

// e_tag
consts! { u16;
    ACL_USER_OBJ = 0x01,
    ACL_USER = 0x02,
    ACL_GROUP_OBJ = 0x04,
    ACL_GROUP = 0x08,
    ACL_MASK = 0x10,
    ACL_OTHER = 0x20,
}
