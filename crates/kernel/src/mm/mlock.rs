//! mlock(2), mlock2(2), mlockall(2), munlock(2), munlockall(2).
//!
//! There is no swap here: locking brings pages in and counts towards RLIMIT_MEMLOCK.

use abi::Result;
use abi::errno::{EINVAL, ENOMEM, EPERM};
use abi::mm::*;
use abi::resource::RLIMIT_MEMLOCK;
use host::stub::{MemOp, TASK_SIZE};

use super::{Changes, MAX_MAP_COUNT, MmInner, VmFlags, Vma, mmap};
use crate::task::current;

const LOCK_BITS: VmFlags = VmFlags::LOCKED.union(VmFlags::LOCKONFAULT);

/// mlock(2)
pub fn mlock(addr: u64, len: u64) -> Result<()> {
    lock(addr, len, VmFlags::LOCKED)
}

/// mlock2(2)
pub fn mlock2(addr: u64, len: u64, flags: u32) -> Result<()> {
    match flags {
        0 => lock(addr, len, VmFlags::LOCKED),
        MLOCK_ONFAULT => lock(addr, len, LOCK_BITS),
        _ => Err(EINVAL),
    }
}

/// munlock(2)
pub fn munlock(addr: u64, len: u64) -> Result<()> {
    let range = page_range(addr, len)?;
    current().mm()?.change(|inner, changes| set_lock(inner, changes, range, VmFlags::empty()))
}

/// Whole pages around the bytes, as these calls count them.
fn page_range(addr: u64, len: u64) -> Result<(u64, u64)> {
    let start = page_down(addr);
    let len = len.checked_add(addr - start).and_then(page_up).ok_or(EINVAL)?;
    let end = start.checked_add(len).ok_or(EINVAL)?;
    if end > TASK_SIZE { Err(ENOMEM) } else { Ok((start, end)) }
}

fn lock(addr: u64, len: u64, bits: VmFlags) -> Result<()> {
    if !mmap::may_lock() {
        return Err(EPERM);
    }
    let (start, end) = page_range(addr, len)?;
    current().mm()?.change(|inner, changes| {
        let already: u64 = inner
            .vmas
            .overlapping(start, end)
            .filter(|v| v.flags.contains(VmFlags::LOCKED))
            .map(|v| v.end.min(end) - v.start.max(start))
            .sum();
        if !mmap::may_lock_more(inner, end - start - already) {
            return Err(ENOMEM);
        }
        set_lock(inner, changes, (start, end), bits)
    })
}

/// ENOMEM for a hole, after what lies before it is done.
fn set_lock(
    inner: &mut MmInner,
    changes: &mut Changes,
    (start, end): (u64, u64),
    bits: VmFlags,
) -> Result<()> {
    if start == end {
        return Ok(());
    }
    if inner.vmas.len() + 2 > MAX_MAP_COUNT {
        return Err(ENOMEM);
    }
    let mut at = start;
    let mut ops = Vec::new();
    for vma in inner.vmas.overlapping(start, end) {
        if vma.start > at {
            break;
        }
        ops.extend(populate(vma, at, vma.end.min(end), bits));
        at = vma.end.min(end);
    }
    if at > start {
        changes.edit(inner, (start, at), |vma| vma.flags = (vma.flags - LOCK_BITS) | bits, []);
        for op in ops {
            changes.op(op);
        }
    }
    if at < end { Err(ENOMEM) } else { Ok(()) }
}

/// Brings the pages in. A mapping that cannot be accessed has none; one past the end of its file fails when it is used.
fn populate(vma: &Vma, from: u64, to: u64, bits: VmFlags) -> Option<MemOp> {
    let accessible = vma.flags.intersects(VmFlags::READ | VmFlags::WRITE);
    if bits != VmFlags::LOCKED || !accessible || !vma.is_anonymous() {
        return None;
    }
    let writable = vma.flags.contains(VmFlags::WRITE);
    let advice = if writable { MADV_POPULATE_WRITE } else { MADV_POPULATE_READ };
    Some(MemOp::Advise { addr: from, len: to - from, advice: advice as i32 })
}

/// mlockall(2)
pub fn mlockall(flags: u32) -> Result<()> {
    if flags == 0 || flags & !(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) != 0 || flags == MCL_ONFAULT {
        return Err(EINVAL);
    }
    if !mmap::may_lock() {
        return Err(EPERM);
    }
    let bits = if flags & MCL_ONFAULT != 0 { LOCK_BITS } else { VmFlags::LOCKED };
    current().mm()?.change(|inner, changes| {
        let task = current();
        let fits = inner.vmas.totals().total <= task.process.rlimit(RLIMIT_MEMLOCK)
            || task.cred().capable(abi::cred::CAP_IPC_LOCK);
        if flags & MCL_CURRENT != 0 && !fits {
            return Err(ENOMEM);
        }
        inner.def_flags = (flags & MCL_FUTURE != 0).then_some(bits);
        if flags & MCL_CURRENT != 0 {
            set_all(inner, changes, bits);
        }
        Ok(())
    })
}

/// munlockall(2)
pub fn munlockall() -> Result<()> {
    current().mm()?.change(|inner, changes| {
        inner.def_flags = None;
        set_all(inner, changes, VmFlags::empty());
        Ok(())
    })
}

fn set_all(inner: &mut MmInner, changes: &mut Changes, bits: VmFlags) {
    let ops: Vec<MemOp> = inner.vmas.iter().filter_map(|v| populate(v, v.start, v.end, bits)).collect();
    let special = |vma: &Vma| vma.flags.contains(VmFlags::DONTEXPAND);
    let edit = |vma: &mut Vma| {
        if !special(vma) {
            vma.flags = (vma.flags - LOCK_BITS) | bits;
        }
    };
    changes.edit(inner, (0, TASK_SIZE), edit, []);
    for op in ops {
        changes.op(op);
    }
}
