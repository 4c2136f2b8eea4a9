//! readv(2), preadv2(2), process_vm_readv(2).

uapi! {
    /// `struct iovec`.
    pub struct Iovec {
        pub iov_base: u64,
        pub iov_len: u64,
    }
}

/// Vectors that one call takes at most.
pub const UIO_MAXIOV: usize = 1024;
/// Vectors that Linux reads onto its stack; a call with no more need not allocate.
pub const UIO_FASTIOV: usize = 8;
/// Bytes that one read or write moves at most; what is beyond is cut off, not an error.
pub const MAX_RW_COUNT: u64 = 0x7fff_f000;

// preadv2(2)
consts! { u32;
    RWF_HIPRI = 0x01,
    RWF_DSYNC = 0x02,
    RWF_SYNC = 0x04,
    RWF_NOWAIT = 0x08,
    RWF_APPEND = 0x10,
    RWF_NOAPPEND = 0x20,
    RWF_ATOMIC = 0x40,
    RWF_DONTCACHE = 0x80,
}
