//! Changes to a guest address space, as the stub is told to make them.

use super::TASK_SIZE;
use abi::errno::*;
use abi::{Errno, Result};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

/// What a [`MemOp::Map`] maps.
#[derive(Clone, Debug)]
pub enum MapSource {
    /// Zeroed memory.
    Anonymous,
    /// A memory object or file from `offset` (page aligned).
    Object {
        /// Opened with no more rights than the guest has.
        fd: Arc<OwnedFd>,
        /// Bytes.
        offset: u64,
    },
}

/// A change to a guest address space, made by the stub. All addresses and lengths page aligned, all below [`TASK_SIZE`].
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the fields are the arguments of the host call named in each variant")]
pub enum MemOp {
    /// mmap(2) with MAP_FIXED.
    Map { addr: u64, len: u64, prot: u32, shared: bool, noreserve: bool, populate: bool, source: MapSource },
    /// munmap(2).
    Unmap { addr: u64, len: u64 },
    /// mprotect(2).
    Protect { addr: u64, len: u64, prot: u32 },
    /// mremap(2) with MREMAP_MAYMOVE|MREMAP_FIXED, or without them where `old == new`.
    Remap { old: u64, old_len: u64, new_len: u64, new: u64, dontunmap: bool },
    /// madvise(2).
    Advise { addr: u64, len: u64, advice: i32 },
}

/// Advice that a guest may give: what changes only its own memory, and only in ways the kernel's accounts know.
const ADVICE: [i32; 20] = [
    libc::MADV_NORMAL,
    libc::MADV_RANDOM,
    libc::MADV_SEQUENTIAL,
    libc::MADV_WILLNEED,
    libc::MADV_DONTNEED,
    libc::MADV_FREE,
    libc::MADV_REMOVE,
    libc::MADV_DONTFORK,
    libc::MADV_DOFORK,
    libc::MADV_HUGEPAGE,
    libc::MADV_NOHUGEPAGE,
    libc::MADV_DONTDUMP,
    libc::MADV_DODUMP,
    libc::MADV_WIPEONFORK,
    libc::MADV_KEEPONFORK,
    libc::MADV_COLD,
    libc::MADV_PAGEOUT,
    libc::MADV_POPULATE_READ,
    libc::MADV_POPULATE_WRITE,
    25, // MADV_COLLAPSE
];

fn range(addr: u64, len: u64) -> Result<()> {
    let end = addr.checked_add(len).ok_or(EINVAL)?;
    if addr & 0xfff != 0 || len & 0xfff != 0 || len == 0 {
        return Err(EINVAL);
    }
    if end > TASK_SIZE { Err(ENOMEM) } else { Ok(()) }
}

fn protection(prot: u32) -> Result<()> {
    if prot & !7 != 0 { Err(EINVAL) } else { Ok(()) }
}

impl MemOp {
    /// The operation as a host call's number and arguments, with the descriptor it needs.
    pub(super) fn encode(&self) -> Result<([u64; 7], Option<&Arc<OwnedFd>>), Errno> {
        let call = |nr: libc::c_long, args: [u64; 5]| {
            let [a, b, c, d, e] = args;
            [nr as u64, a, b, c, d, e, 0]
        };
        match *self {
            MemOp::Map { addr, len, prot, shared, noreserve, populate, ref source } => {
                range(addr, len)?;
                protection(prot)?;
                let mut flags = libc::MAP_FIXED | if shared { libc::MAP_SHARED } else { libc::MAP_PRIVATE };
                if noreserve {
                    flags |= libc::MAP_NORESERVE;
                }
                if populate {
                    flags |= libc::MAP_POPULATE;
                }
                let (offset, fd) = match source {
                    // The filter does not let it through: what is shared is an object.
                    MapSource::Anonymous if shared => return Err(EINVAL),
                    MapSource::Anonymous => {
                        flags |= libc::MAP_ANONYMOUS;
                        (0, None)
                    }
                    MapSource::Object { fd, offset } => (*offset, Some(fd)),
                };
                if offset & 0xfff != 0 {
                    return Err(EINVAL);
                }
                let nr = libc::SYS_mmap as u64;
                Ok(([nr, addr, len, prot.into(), flags as u64, !0, offset], fd))
            }
            MemOp::Unmap { addr, len } => {
                range(addr, len)?;
                Ok((call(libc::SYS_munmap, [addr, len, 0, 0, 0]), None))
            }
            MemOp::Protect { addr, len, prot } => {
                range(addr, len)?;
                protection(prot)?;
                Ok((call(libc::SYS_mprotect, [addr, len, prot.into(), 0, 0]), None))
            }
            MemOp::Remap { old, old_len, new_len, new, dontunmap } => {
                // A length of 0 duplicates a shared mapping.
                if old_len != 0 {
                    range(old, old_len)?;
                } else if old & 0xfff != 0 || old >= TASK_SIZE {
                    return Err(EINVAL);
                }
                range(new, new_len)?;
                let mut flags = 0;
                if old != new {
                    flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
                }
                if dontunmap {
                    flags |= libc::MREMAP_DONTUNMAP;
                }
                Ok((call(libc::SYS_mremap, [old, old_len, new_len, flags as u64, new]), None))
            }
            MemOp::Advise { addr, len, advice } => {
                range(addr, len)?;
                if !ADVICE.contains(&advice) {
                    return Err(EINVAL);
                }
                Ok((call(libc::SYS_madvise, [addr, len, advice as u64, 0, 0]), None))
            }
        }
    }
}

/// The descriptors of a batch, each once.
#[derive(Default)]
pub(super) struct Descriptors(Vec<RawFd>);

impl Descriptors {
    /// The index of `fd`, which is added if there is room for it.
    pub(super) fn index(&mut self, fd: &OwnedFd) -> Option<usize> {
        let fd = fd.as_raw_fd();
        if let Some(i) = self.0.iter().position(|known| *known == fd) {
            return Some(i);
        }
        if self.0.len() == super::abi::FDS {
            return None;
        }
        self.0.push(fd);
        Some(self.0.len() - 1)
    }

    pub(super) fn as_slice(&self) -> &[RawFd] {
        &self.0
    }
}
