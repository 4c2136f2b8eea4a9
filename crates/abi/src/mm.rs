//! mmap(2), mprotect(2), mremap(2), madvise(2), msync(2), mlock(2), memfd_create(2), and the shape of user memory.

/// Bytes of a page.
pub const PAGE_SIZE: u64 = 4096;
/// `PAGE_SIZE` is `1 << PAGE_SHIFT`.
pub const PAGE_SHIFT: u32 = 12;
/// One past the last address of user space with four-level page tables.
pub const TASK_SIZE: u64 = 0x7fff_ffff_f000;

/// `addr` rounded down to a page.
pub const fn page_down(addr: u64) -> u64 {
    addr & !(PAGE_SIZE - 1)
}

/// `len` rounded up to a page; none if that overflows.
pub const fn page_up(len: u64) -> Option<u64> {
    match len.checked_add(PAGE_SIZE - 1) {
        Some(sum) => Some(page_down(sum)),
        None => None,
    }
}

/// Whether `addr` is a multiple of the page size.
pub const fn page_aligned(addr: u64) -> bool {
    addr & (PAGE_SIZE - 1) == 0
}

consts! { u32;
    PROT_NONE = 0x0,
    PROT_READ = 0x1,
    PROT_WRITE = 0x2,
    PROT_EXEC = 0x4,
    PROT_SEM = 0x8,
    PROT_GROWSDOWN = 0x0100_0000,
    PROT_GROWSUP = 0x0200_0000,
}

consts! { u32;
    MAP_FILE = 0,
    MAP_SHARED = 0x01,
    MAP_PRIVATE = 0x02,
    MAP_SHARED_VALIDATE = 0x03,
    MAP_TYPE = 0x0f,
    MAP_DROPPABLE = 0x08,
    MAP_FIXED = 0x10,
    MAP_ANONYMOUS = 0x20,
    MAP_32BIT = 0x40,
    MAP_ABOVE4G = 0x80,
    MAP_GROWSDOWN = 0x0100,
    MAP_DENYWRITE = 0x0800,
    MAP_EXECUTABLE = 0x1000,
    MAP_LOCKED = 0x2000,
    MAP_NORESERVE = 0x4000,
    MAP_POPULATE = 0x8000,
    MAP_NONBLOCK = 0x1_0000,
    MAP_STACK = 0x2_0000,
    MAP_HUGETLB = 0x4_0000,
    MAP_SYNC = 0x8_0000,
    MAP_FIXED_NOREPLACE = 0x10_0000,
    MAP_UNINITIALIZED = 0x400_0000,
    MAP_HUGE_SHIFT = 26,
    MAP_HUGE_MASK = 0x3f,
}

consts! { u32;
    MREMAP_MAYMOVE = 1,
    MREMAP_FIXED = 2,
    MREMAP_DONTUNMAP = 4,
}

consts! { u32;
    MS_ASYNC = 1,
    MS_INVALIDATE = 2,
    MS_SYNC = 4,
}

consts! { u32;
    MCL_CURRENT = 1,
    MCL_FUTURE = 2,
    MCL_ONFAULT = 4,
    /// mlock2(2)
    MLOCK_ONFAULT = 1,
}

consts! { u32;
    MADV_NORMAL = 0,
    MADV_RANDOM = 1,
    MADV_SEQUENTIAL = 2,
    MADV_WILLNEED = 3,
    MADV_DONTNEED = 4,
    MADV_FREE = 8,
    MADV_REMOVE = 9,
    MADV_DONTFORK = 10,
    MADV_DOFORK = 11,
    MADV_MERGEABLE = 12,
    MADV_UNMERGEABLE = 13,
    MADV_HUGEPAGE = 14,
    MADV_NOHUGEPAGE = 15,
    MADV_DONTDUMP = 16,
    MADV_DODUMP = 17,
    MADV_WIPEONFORK = 18,
    MADV_KEEPONFORK = 19,
    MADV_COLD = 20,
    MADV_PAGEOUT = 21,
    MADV_POPULATE_READ = 22,
    MADV_POPULATE_WRITE = 23,
    MADV_DONTNEED_LOCKED = 24,
    MADV_COLLAPSE = 25,
    MADV_HWPOISON = 100,
    MADV_SOFT_OFFLINE = 101,
    MADV_GUARD_INSTALL = 102,
    MADV_GUARD_REMOVE = 103,
}

consts! { u32;
    MFD_CLOEXEC = 0x01,
    MFD_ALLOW_SEALING = 0x02,
    MFD_HUGETLB = 0x04,
    MFD_NOEXEC_SEAL = 0x08,
    MFD_EXEC = 0x10,
}

// mbind(2), set_mempolicy(2): modes, then mode flags and flags
consts! { u32;
    MPOL_DEFAULT = 0,
    MPOL_PREFERRED = 1,
    MPOL_BIND = 2,
    MPOL_INTERLEAVE = 3,
    MPOL_LOCAL = 4,
    MPOL_PREFERRED_MANY = 5,
    MPOL_WEIGHTED_INTERLEAVE = 6,
    MPOL_F_NUMA_BALANCING = 1 << 13,
    MPOL_F_RELATIVE_NODES = 1 << 14,
    MPOL_F_STATIC_NODES = 1 << 15,
    MPOL_F_NODE = 1,
    MPOL_F_ADDR = 2,
    MPOL_F_MEMS_ALLOWED = 4,
    MPOL_MF_STRICT = 1,
    MPOL_MF_MOVE = 2,
    MPOL_MF_MOVE_ALL = 4,
}

// mincore(2): the other bits of a page's byte are reserved
consts! { u8;
    MINCORE_RESIDENT = 1,
}

// pkey_alloc(2)
consts! { u32;
    PKEY_DISABLE_ACCESS = 1,
    PKEY_DISABLE_WRITE = 2,
}
