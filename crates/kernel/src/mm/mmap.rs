//! mmap(2), munmap(2), brk(2), and where free space is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use abi::Result;
use abi::cred::CAP_IPC_LOCK;
use abi::errno::{EACCES, EAGAIN, EEXIST, EINVAL, ENOMEM, EOPNOTSUPP, EOVERFLOW, EPERM};
use abi::mm::*;
use abi::resource::{RLIMIT_DATA, RLIMIT_MEMLOCK};
use host::object::Object;
use host::stub::{MapSource, MemOp, TASK_SIZE};

use super::vma::{Backing, SharedAnon, VmFlags, Vma};
use super::{Changes, MAX_MAP_COUNT, MMAP_MIN_ADDR, MmInner, overcommit};
use crate::fastpath;
use crate::task::current;
use crate::vfs::{Fd, File, FileMode, Mapping, MmapRequest, MountFlags};

/// Linux takes these in any mapping, and does nothing for most.
const LEGACY_FLAGS: u32 = MAP_SHARED
    | MAP_PRIVATE
    | MAP_FIXED
    | MAP_ANONYMOUS
    | MAP_DENYWRITE
    | MAP_EXECUTABLE
    | MAP_UNINITIALIZED
    | MAP_GROWSDOWN
    | MAP_LOCKED
    | MAP_NORESERVE
    | MAP_POPULATE
    | MAP_NONBLOCK
    | MAP_STACK
    | MAP_HUGETLB
    | MAP_32BIT
    | MAP_ABOVE4G
    | MAP_HUGE_MASK << MAP_HUGE_SHIFT;
/// Anonymous mappings of whole huge pages begin at one, so that the host can use them.
const HUGE_PAGE: u64 = 2 << 20;

static NEXT_SHARED_ANON: AtomicU64 = AtomicU64::new(1);

/// mmap(2)
pub fn mmap(addr: u64, len: u64, prot: u32, flags: u32, fd: Fd, offset: u64) -> Result<u64> {
    if !page_aligned(offset) {
        return Err(EINVAL);
    }
    let file = if flags & MAP_ANONYMOUS == 0 {
        let file = fd.io()?;
        if flags & MAP_HUGETLB != 0 {
            return Err(EINVAL);
        }
        Some(file)
    } else {
        if flags & MAP_HUGETLB != 0 {
            // No huge pages are set aside: /proc/sys/vm/nr_hugepages is 0.
            return Err(ENOMEM);
        }
        None
    };
    do_mmap(Request { addr, len, prot, flags, offset }, file)
}

/// Arguments of mmap(2).
#[derive(Clone, Copy)]
struct Request {
    addr: u64,
    len: u64,
    prot: u32,
    flags: u32,
    offset: u64,
}

fn do_mmap(mut r: Request, file: Option<Arc<File>>) -> Result<u64> {
    if r.len == 0 {
        return Err(EINVAL);
    }
    if r.flags & MAP_FIXED_NOREPLACE != 0 {
        r.flags |= MAP_FIXED;
    }
    r.len = page_up(r.len).ok_or(ENOMEM)?;
    r.offset.checked_add(r.len).ok_or(EOVERFLOW)?;
    if r.flags & MAP_FIXED == 0 {
        r.addr = page_down(r.addr);
        if r.addr != 0 && r.addr < MMAP_MIN_ADDR {
            r.addr = MMAP_MIN_ADDR;
        }
    } else {
        check_fixed(r.addr, r.len)?;
    }
    if r.flags & MAP_LOCKED != 0 && !may_lock() {
        return Err(EPERM);
    }
    let mut flags = VmFlags::from_prot(r.prot) | VmFlags::MAY;
    let (backing, source) = match file {
        Some(file) => map_file(&r, file, &mut flags)?,
        None => map_anonymous(&r, &mut flags)?,
    };
    if matches!(backing, Backing::Anonymous | Backing::SharedAnon(_)) {
        r.offset = 0;
    }
    if r.flags & MAP_NORESERVE != 0 && overcommit::mode() != 2 {
        flags |= VmFlags::NORESERVE;
    }
    if r.flags & MAP_LOCKED != 0 {
        flags |= VmFlags::LOCKED;
    }
    let text = flags & (VmFlags::EXEC | VmFlags::WRITE | VmFlags::MAYSHARE) == VmFlags::EXEC;
    let copy = match &backing {
        Backing::File(mapped) if text => fastpath::of_file(&mapped.file, r.offset, r.len),
        _ => None,
    };
    current().mm()?.change(|inner, changes| {
        let addr = place(inner, changes, &r, flags, backing, source)?;
        if let Some(copy) = &copy {
            changes.patch(inner, addr, copy);
        }
        Ok(addr)
    })
}

/// The VMA flags and the backing of a file mapping, which the file may refuse.
fn map_file(r: &Request, file: Arc<File>, flags: &mut VmFlags) -> Result<(Backing, MapSource)> {
    let mode = file.mode;
    match r.flags & MAP_TYPE {
        MAP_SHARED | MAP_SHARED_VALIDATE => {
            if r.flags & MAP_TYPE == MAP_SHARED_VALIDATE
                && r.flags & !(LEGACY_FLAGS | MAP_SHARED_VALIDATE | MAP_FIXED_NOREPLACE) != 0
            {
                return Err(EOPNOTSUPP);
            }
            if r.prot & PROT_WRITE != 0 && !mode.contains(FileMode::WRITE) {
                return Err(EACCES);
            }
            *flags |= VmFlags::MAYSHARE;
            if mode.contains(FileMode::WRITE) {
                *flags |= VmFlags::SHARED;
            } else {
                flags.remove(VmFlags::MAYWRITE);
            }
        }
        MAP_PRIVATE => {}
        _ => return Err(EINVAL),
    }
    if !mode.contains(FileMode::READ) {
        return Err(EACCES);
    }
    if file.path.mnt.flags().contains(MountFlags::NOEXEC) {
        if flags.contains(VmFlags::EXEC) {
            return Err(EPERM);
        }
        flags.remove(VmFlags::MAYEXEC);
    }
    if r.flags & MAP_GROWSDOWN != 0 {
        return Err(EINVAL);
    }
    let shared = flags.contains(VmFlags::MAYSHARE);
    let request = MmapRequest {
        shared,
        write: r.prot & PROT_WRITE != 0,
        may_write: flags.contains(VmFlags::SHARED),
        offset: r.offset,
        len: r.len,
    };
    Ok(match file.ops.mmap(&file, request)? {
        Mapping::Object(fd) => {
            let source = MapSource::Object { fd: fd.clone(), offset: r.offset };
            (Backing::file(file, Some(fd), None), source)
        }
        Mapping::Paged(fd, pager) => {
            let source = MapSource::Object { fd: fd.clone(), offset: r.offset };
            (Backing::file(file, Some(fd), Some(pager)), source)
        }
        Mapping::ReadOnly(fd) => {
            flags.remove(VmFlags::MAYWRITE | VmFlags::SHARED);
            let source = MapSource::Object { fd: fd.clone(), offset: r.offset };
            (Backing::file(file, Some(fd), None), source)
        }
        Mapping::Anonymous if shared => shared_anon(r.len)?,
        Mapping::Anonymous => (Backing::file(file, None, None), MapSource::Anonymous),
    })
}

fn map_anonymous(r: &Request, flags: &mut VmFlags) -> Result<(Backing, MapSource)> {
    let growsdown = r.flags & MAP_GROWSDOWN != 0;
    match r.flags & MAP_TYPE {
        MAP_SHARED if growsdown => Err(EINVAL),
        MAP_SHARED => {
            *flags |= VmFlags::SHARED | VmFlags::MAYSHARE;
            shared_anon(r.len)
        }
        MAP_PRIVATE => {
            if growsdown {
                *flags |= VmFlags::GROWSDOWN;
            }
            Ok((Backing::Anonymous, MapSource::Anonymous))
        }
        _ => Err(EINVAL),
    }
}

/// Fresh shared memory. ENFILE, ENOMEM.
fn shared_anon(len: u64) -> Result<(Backing, MapSource)> {
    let object = Object::create("shared")?;
    object.set_len(len).map_err(|_| ENOMEM)?;
    let source = MapSource::Object { fd: object.fd(), offset: 0 };
    let ino = NEXT_SHARED_ANON.fetch_add(1, Ordering::Relaxed);
    Ok((Backing::SharedAnon(Arc::new(SharedAnon { ino, object: Some(object) })), source))
}

/// Chooses the address, checks limits, and maps.
fn place(
    inner: &mut MmInner,
    changes: &mut Changes,
    r: &Request,
    mut flags: VmFlags,
    backing: Backing,
    source: MapSource,
) -> Result<u64> {
    if inner.vmas.len() >= MAX_MAP_COUNT {
        return Err(ENOMEM);
    }
    let addr = if r.flags & MAP_FIXED != 0 {
        r.addr
    } else {
        let huge = matches!(backing, Backing::Anonymous) && r.len.is_multiple_of(HUGE_PAGE);
        inner.unmapped_area(
            r.addr,
            r.len,
            r.flags & MAP_32BIT != 0,
            if huge { HUGE_PAGE } else { PAGE_SIZE },
        )?
    };
    let range = (addr, addr + r.len);
    if r.flags & MAP_FIXED_NOREPLACE != 0 && inner.vmas.overlapping(range.0, range.1).next().is_some() {
        return Err(EEXIST);
    }
    flags |= inner.def_flags.unwrap_or(VmFlags::empty());
    if flags.contains(VmFlags::LOCKED) && !may_lock_more(inner, r.len) {
        return Err(EAGAIN);
    }
    // What is replaced is not counted twice.
    let replaced: u64 =
        inner.vmas.overlapping(range.0, range.1).map(|v| v.end.min(range.1) - v.start.max(range.0)).sum();
    if !inner.may_expand(flags, r.len - replaced) {
        return Err(ENOMEM);
    }
    let private_writable = flags & (VmFlags::SHARED | VmFlags::WRITE) == VmFlags::WRITE;
    if (private_writable || matches!(backing, Backing::SharedAnon(_))) && !flags.contains(VmFlags::NORESERVE)
    {
        overcommit::check(r.len)?;
        flags |= VmFlags::ACCOUNT;
    }
    let populate = r.flags & MAP_POPULATE != 0 && r.flags & MAP_NONBLOCK == 0
        || flags & (VmFlags::LOCKED | VmFlags::LOCKONFAULT) == VmFlags::LOCKED;
    let vma = Vma { start: range.0, end: range.1, flags, backing, offset: r.offset };
    let ops = vma.map_ops(source, populate);
    changes.replace(inner, range, [vma], ops);
    Ok(addr)
}

/// Whether a fixed range may be mapped at all: EINVAL, ENOMEM, EPERM.
pub(super) fn check_fixed(addr: u64, len: u64) -> Result<()> {
    if len > TASK_SIZE || addr > TASK_SIZE - len {
        return Err(ENOMEM);
    }
    if !page_aligned(addr) {
        return Err(EINVAL);
    }
    // The host does not let an ordinary user map there, so not even root of the guest can.
    if addr < MMAP_MIN_ADDR { Err(EPERM) } else { Ok(()) }
}

/// Whether the task may lock memory at all.
pub(super) fn may_lock() -> bool {
    let task = current();
    task.process.rlimit(RLIMIT_MEMLOCK) != 0 || task.cred().capable(CAP_IPC_LOCK)
}

/// Whether `len` more bytes may be locked.
pub(super) fn may_lock_more(inner: &MmInner, len: u64) -> bool {
    let task = current();
    inner.vmas.totals().locked.saturating_add(len) <= task.process.rlimit(RLIMIT_MEMLOCK)
        || task.cred().capable(CAP_IPC_LOCK)
}

impl MmInner {
    /// Free space for `len` bytes: at `hint` if it is free, else the highest below the mmap base. ENOMEM.
    pub(super) fn unmapped_area(&self, hint: u64, len: u64, low: bool, align: u64) -> Result<u64> {
        if len > TASK_SIZE {
            return Err(ENOMEM);
        }
        if low {
            // MAP_32BIT: the first gigabyte above 1 GiB, for code with 32-bit displacements.
            return self.vmas.gap_above(0x4000_0000, 0x8000_0000, len, PAGE_SIZE).ok_or(ENOMEM);
        }
        if hint >= MMAP_MIN_ADDR && hint <= TASK_SIZE - len && self.vmas.is_free(hint, hint + len) {
            return Ok(hint);
        }
        let base = self.layout.mmap_base;
        let top_down = |align| self.vmas.gap_below(MMAP_MIN_ADDR, base, len, align);
        let found = top_down(align).or_else(|| top_down(PAGE_SIZE));
        // Above the base there is what the stack leaves: Linux looks there last, too.
        found.or_else(|| self.vmas.gap_above(TASK_SIZE / 3, TASK_SIZE, len, PAGE_SIZE)).ok_or(ENOMEM)
    }

    /// Free space for `len` bytes aligned to `align`, for the kernel's own choices. ENOMEM.
    pub fn free_area(&self, len: u64, align: u64) -> Result<u64> {
        self.unmapped_area(0, len, false, align)
    }

    /// Takes `start..end` out. ENOMEM where splitting would make too many VMAs.
    pub(super) fn unmap(&mut self, changes: &mut Changes, start: u64, end: u64) -> Result<()> {
        let Some(first) = self.vmas.overlapping(start, end).next() else { return Ok(()) };
        if first.start < start && first.end > end && self.vmas.len() >= MAX_MAP_COUNT {
            return Err(ENOMEM);
        }
        changes.replace(self, (start, end), [], [MemOp::Unmap { addr: start, len: end - start }]);
        Ok(())
    }
}

/// munmap(2)
pub fn munmap(addr: u64, len: u64) -> Result<()> {
    if !page_aligned(addr) || len > TASK_SIZE || addr > TASK_SIZE - len {
        return Err(EINVAL);
    }
    let len = page_up(len).filter(|&l| l > 0).ok_or(EINVAL)?;
    if addr + len > TASK_SIZE {
        return Err(EINVAL);
    }
    current().mm()?.change(|inner, changes| inner.unmap(changes, addr, addr + len))
}

/// brk(2): the new break, or the old one if it cannot be.
pub fn brk(wanted: u64) -> Result<u64> {
    let mm = current().mm()?;
    let old = mm.lock().layout.brk;
    // Whatever goes wrong, the answer is the break as it is.
    Ok(mm.change(|inner, changes| move_brk(inner, changes, wanted)).unwrap_or(old))
}

fn move_brk(inner: &mut MmInner, changes: &mut Changes, wanted: u64) -> Result<u64> {
    let layout = inner.layout;
    if wanted < layout.start_brk || wanted > TASK_SIZE {
        return Ok(layout.brk);
    }
    let data = (wanted - layout.start_brk).saturating_add(layout.end_data.saturating_sub(layout.start_data));
    if data > current().process.rlimit(RLIMIT_DATA) {
        return Ok(layout.brk);
    }
    let (old_end, new_end) = (page_up(layout.brk).ok_or(ENOMEM)?, page_up(wanted).ok_or(ENOMEM)?);
    if new_end < old_end {
        inner.unmap(changes, new_end, old_end)?;
        changes.moves_brk_from(layout.brk);
    } else if new_end > old_end {
        let mut flags = VmFlags::READ | VmFlags::WRITE | VmFlags::MAY | VmFlags::ACCOUNT;
        flags |= inner.def_flags.unwrap_or(VmFlags::empty());
        let len = new_end - old_end;
        let locks = flags.contains(VmFlags::LOCKED);
        if new_end > TASK_SIZE
            || !inner.vmas.is_free(old_end, new_end)
            || inner.vmas.len() >= MAX_MAP_COUNT
            || !inner.may_expand(flags, len)
            || locks && !may_lock_more(inner, len)
        {
            return Ok(layout.brk);
        }
        overcommit::check(len)?;
        let op = MemOp::Map {
            addr: old_end,
            len,
            prot: flags.host_prot(),
            shared: false,
            noreserve: true,
            populate: locks && !flags.contains(VmFlags::LOCKONFAULT),
            source: MapSource::Anonymous,
        };
        let vma = Vma { start: old_end, end: new_end, flags, backing: Backing::Anonymous, offset: 0 };
        changes.replace(inner, (old_end, new_end), [vma], [op]);
        changes.moves_brk_from(layout.brk);
    }
    inner.layout.brk = wanted;
    Ok(wanted)
}

/// remap_file_pages(2) is emulated by Linux since 4.0 and used by nobody.
pub fn remap_file_pages(_addr: u64, _size: u64, _prot: u32, _pgoff: u64, _flags: u32) -> Result<()> {
    Err(abi::errno::ENOSYS)
}
