//! Memory.

use super::super::line::Line;

flags! {
    /// mmap(2), mprotect(2)
    prot(u32) in mm { PROT_NONE PROT_READ PROT_WRITE PROT_EXEC PROT_SEM PROT_GROWSDOWN PROT_GROWSUP }
    /// mmap(2)
    map_flags(u32) in mm {
        MAP_FILE MAP_SHARED_VALIDATE MAP_SHARED MAP_PRIVATE MAP_DROPPABLE MAP_FIXED MAP_ANONYMOUS MAP_32BIT MAP_GROWSDOWN
        MAP_DENYWRITE MAP_EXECUTABLE MAP_LOCKED MAP_NORESERVE MAP_POPULATE MAP_NONBLOCK MAP_STACK MAP_HUGETLB MAP_SYNC
        MAP_FIXED_NOREPLACE MAP_UNINITIALIZED
    }
    /// mremap(2)
    mremap_flags(u32) in mm { MREMAP_MAYMOVE MREMAP_FIXED MREMAP_DONTUNMAP }
    /// msync(2)
    msync_flags(u32) in mm { MS_ASYNC MS_INVALIDATE MS_SYNC }
    /// mlockall(2)
    mlockall_flags(u32) in mm { MCL_CURRENT MCL_FUTURE MCL_ONFAULT }
    /// mlock2(2)
    mlock_flags(u32) in mm { MLOCK_ONFAULT }
    /// memfd_create(2)
    memfd_flags(u32) in mm { MFD_CLOEXEC MFD_ALLOW_SEALING MFD_HUGETLB MFD_NOEXEC_SEAL MFD_EXEC }
    /// pkey_alloc(2)
    pkey_rights(u32) in mm { PKEY_DISABLE_ACCESS PKEY_DISABLE_WRITE }
}

values! {
    /// madvise(2)
    madvice(u32) in mm {
        MADV_NORMAL MADV_RANDOM MADV_SEQUENTIAL MADV_WILLNEED MADV_DONTNEED MADV_FREE MADV_REMOVE MADV_DONTFORK
        MADV_DOFORK MADV_MERGEABLE MADV_UNMERGEABLE MADV_HUGEPAGE MADV_NOHUGEPAGE MADV_DONTDUMP MADV_DODUMP
        MADV_WIPEONFORK MADV_KEEPONFORK MADV_COLD MADV_PAGEOUT MADV_POPULATE_READ MADV_POPULATE_WRITE
        MADV_DONTNEED_LOCKED MADV_COLLAPSE MADV_HWPOISON MADV_SOFT_OFFLINE MADV_GUARD_INSTALL MADV_GUARD_REMOVE
    }
}

/// The new address of mremap(2), where it counts.
pub fn mremap_to(raw: u64, line: &mut Line<'_>) {
    use abi::mm::{MREMAP_DONTUNMAP, MREMAP_FIXED};
    let flags = line.previous_arg() as u32;
    if flags & (MREMAP_FIXED | MREMAP_DONTUNMAP) == 0 { line.omit() } else { line.put_addr(raw) }
}
