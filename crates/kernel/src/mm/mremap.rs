//! mremap(2)

use abi::Result;
use abi::errno::{EAGAIN, EFAULT, EINVAL, ENOMEM};
use abi::mm::{MREMAP_DONTUNMAP, MREMAP_FIXED, MREMAP_MAYMOVE, PAGE_SIZE, page_aligned, page_up};
use host::stub::{MapSource, MemOp, TASK_SIZE};

use super::{Backing, Changes, MAX_MAP_COUNT, MMAP_MIN_ADDR, MmInner, VmFlags, Vma, mmap, overcommit};
use crate::task::current;

/// Checked arguments.
#[derive(Clone, Copy)]
struct Request {
    old: u64,
    old_len: u64,
    new_len: u64,
    flags: u32,
    new: u64,
}

/// mremap(2): the new address.
pub fn mremap(old: u64, old_len: u64, new_len: u64, flags: u32, new: u64) -> Result<u64> {
    let has = |flag| flags & flag != 0;
    if flags & !(MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP) != 0 {
        return Err(EINVAL);
    }
    if (has(MREMAP_FIXED) || has(MREMAP_DONTUNMAP)) && !has(MREMAP_MAYMOVE) {
        return Err(EINVAL);
    }
    let lens = (page_up(old_len).ok_or(EINVAL)?, page_up(new_len).ok_or(EINVAL)?);
    let r = Request { old, old_len: lens.0, new_len: lens.1, flags, new };
    if has(MREMAP_DONTUNMAP) && r.old_len != r.new_len || !page_aligned(old) || r.new_len == 0 {
        return Err(EINVAL);
    }
    if r.new_len > TASK_SIZE || r.old_len > TASK_SIZE || old > TASK_SIZE - r.old_len {
        return Err(EINVAL);
    }
    if has(MREMAP_FIXED) {
        if !page_aligned(new) || new > TASK_SIZE - r.new_len {
            return Err(EINVAL);
        }
        // Old and new may not overlap.
        if old + r.old_len > new && new + r.new_len > old {
            return Err(EINVAL);
        }
        if new < MMAP_MIN_ADDR {
            return Err(abi::errno::EPERM);
        }
    }
    current().mm()?.change(|inner, changes| remap(inner, changes, r))
}

fn remap(inner: &mut MmInner, changes: &mut Changes, r: Request) -> Result<u64> {
    changes.unpatch(inner, (r.old, r.old + r.old_len.max(PAGE_SIZE)), false);
    let vma = inner.vmas.find(r.old).cloned().ok_or(EFAULT)?;
    let moves = r.flags & (MREMAP_FIXED | MREMAP_DONTUNMAP) != 0;
    if !moves && r.old_len >= r.new_len {
        // Shrinking takes the tail away, over however many mappings it goes.
        if r.old_len > r.new_len {
            inner.unmap(changes, r.old + r.new_len, r.old + r.old_len)?;
        }
        return Ok(r.old);
    }
    if r.old_len == 0 && !vma.flags.contains(VmFlags::MAYSHARE) {
        return Err(EINVAL);
    }
    if moves && matches!(vma.backing, Backing::Special(_)) && r.flags & MREMAP_DONTUNMAP != 0 {
        return Err(EINVAL);
    }
    // A move that also shrinks may span what its shorter part does not.
    let spans = r.old_len.min(r.new_len.max(PAGE_SIZE));
    if spans > vma.end - r.old {
        return Err(EFAULT);
    }
    check_growth(inner, &vma, r)?;
    if !moves && r.old_len == vma.end - r.old && grow_in_place(inner, changes, &vma, r) {
        return Ok(r.old);
    }
    if r.flags & MREMAP_MAYMOVE == 0 {
        return Err(ENOMEM);
    }
    move_to(inner, changes, vma, r)
}

fn check_growth(inner: &MmInner, vma: &Vma, r: Request) -> Result<()> {
    if r.new_len <= r.old_len && r.flags & MREMAP_DONTUNMAP == 0 {
        return Ok(());
    }
    if r.new_len > r.old_len && vma.flags.contains(VmFlags::DONTEXPAND) {
        return Err(EFAULT);
    }
    let more = if r.flags & MREMAP_DONTUNMAP != 0 { r.new_len } else { r.new_len - r.old_len };
    let offset = vma.offset + (r.old - vma.start);
    offset.checked_add(r.new_len).ok_or(EINVAL)?;
    if vma.flags.contains(VmFlags::LOCKED) && !mmap::may_lock_more(inner, more) {
        return Err(EAGAIN);
    }
    if !inner.may_expand(vma.flags, more) {
        return Err(ENOMEM);
    }
    if vma.flags.contains(VmFlags::ACCOUNT) { overcommit::check(more) } else { Ok(()) }
}

/// Extends the mapping where it is, if nothing is in the way.
fn grow_in_place(inner: &mut MmInner, changes: &mut Changes, vma: &Vma, r: Request) -> bool {
    let (end, new_end) = (vma.end, r.old + r.new_len);
    if r.old_len == 0 || new_end > TASK_SIZE || !inner.vmas.is_free(end, new_end) {
        return false;
    }
    let op = match vma.backing {
        // The host may hold one VMA of ours as several; more of the same beside it needs no care for that.
        Backing::Anonymous => MemOp::Map {
            addr: end,
            len: new_end - end,
            prot: vma.flags.host_prot(),
            shared: false,
            noreserve: true,
            populate: vma.flags.contains(VmFlags::LOCKED),
            source: MapSource::Anonymous,
        },
        _ => {
            MemOp::Remap { old: r.old, old_len: r.old_len, new_len: r.new_len, new: r.old, dontunmap: false }
        }
    };
    let offset = match vma.backing {
        Backing::Anonymous => 0,
        _ => vma.offset + vma.len(),
    };
    let more = Vma { start: end, end: new_end, offset, ..vma.clone() };
    let whole = Vma { end: new_end, ..vma.clone() };
    let ops = moving(vma, (r.old, r.old_len), op, &whole, (r.old, new_end));
    changes.replace(inner, (end, new_end), [more], ops);
    true
}

fn move_to(inner: &mut MmInner, changes: &mut Changes, vma: Vma, r: Request) -> Result<u64> {
    // Splitting the old place and the new one.
    if inner.vmas.len() + 3 > MAX_MAP_COUNT {
        return Err(ENOMEM);
    }
    let fixed = r.flags & MREMAP_FIXED != 0;
    let new = if fixed {
        r.new
    } else {
        let hint = if r.flags & MREMAP_DONTUNMAP != 0 { r.new } else { 0 };
        inner.unmapped_area(hint & !(PAGE_SIZE - 1), r.new_len, false, PAGE_SIZE)?
    };
    let keeps_old = r.flags & MREMAP_DONTUNMAP != 0 || r.old_len == 0;
    let offset = match vma.backing {
        Backing::Anonymous => 0,
        _ => vma.offset + (r.old - vma.start),
    };
    let mut flags = vma.flags;
    if keeps_old {
        // What is left behind is unlocked; a duplicate begins so.
        flags.remove(VmFlags::LOCKED | VmFlags::LOCKONFAULT);
    }
    let moved = Vma { start: new, end: new + r.new_len, flags: vma.flags, offset, ..vma.clone() };
    let op = MemOp::Remap {
        old: r.old,
        old_len: r.old_len,
        new_len: r.new_len,
        new,
        dontunmap: keeps_old && r.old_len > 0,
    };
    let ops = moving(&vma, (r.old, r.old_len), op, &moved, (new, new + r.new_len));
    if r.old_len > 0 {
        let kept = keeps_old.then(|| Vma { start: r.old, end: r.old + r.old_len, offset, flags, ..vma });
        changes.replace(inner, (r.old, r.old + r.old_len), kept, []);
    }
    changes.replace(inner, (new, new + r.new_len), [moved], ops);
    Ok(new)
}

/// The operations around a move: where pages come in as they are touched, the host's mapping is in pieces, which must be
/// one to be moved.
fn moving(vma: &Vma, (old, old_len): (u64, u64), op: MemOp, new: &Vma, range: (u64, u64)) -> Vec<MemOp> {
    if vma.pager().is_none() || old_len == 0 {
        return vec![op];
    }
    let mut ops = vec![MemOp::Protect { addr: old, len: old_len, prot: 0 }, op];
    ops.extend(new.accessible(range.0, range.1));
    ops
}
