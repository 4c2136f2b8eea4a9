//! mprotect(2), and protection keys, pkeys(7), which this machine lacks.

use abi::Result;
use abi::errno::{EACCES, EINVAL, ENOMEM, ENOSPC};
use abi::mm::{
    PROT_EXEC, PROT_GROWSDOWN, PROT_GROWSUP, PROT_READ, PROT_SEM, PROT_WRITE, page_aligned, page_up,
};
use abi::prctl::READ_IMPLIES_EXEC;
use host::stub::{MemOp, TASK_SIZE};
use std::sync::atomic::Ordering;

use super::{Changes, MAX_MAP_COUNT, MmInner, VmFlags, Vma, overcommit};
use crate::task::current;

/// mprotect(2)
pub fn mprotect(addr: u64, len: u64, prot: u32) -> Result<()> {
    let grows = prot & (PROT_GROWSDOWN | PROT_GROWSUP);
    let prot = prot & !(PROT_GROWSDOWN | PROT_GROWSUP);
    if grows == PROT_GROWSDOWN | PROT_GROWSUP || !page_aligned(addr) {
        return Err(EINVAL);
    }
    if len == 0 {
        return Ok(());
    }
    let end = page_up(len).and_then(|l| addr.checked_add(l)).filter(|&e| e > addr).ok_or(ENOMEM)?;
    if prot & !(PROT_READ | PROT_WRITE | PROT_EXEC | PROT_SEM) != 0 {
        return Err(EINVAL);
    }
    if end > TASK_SIZE {
        return Err(ENOMEM);
    }
    let task = current();
    let implies_exec = task.personality.load(Ordering::Relaxed) & READ_IMPLIES_EXEC != 0;
    let implied = if implies_exec && prot & PROT_READ != 0 { PROT_EXEC } else { 0 };
    task.mm()?.change(|inner, changes| {
        let start = match grows {
            0 => addr,
            PROT_GROWSDOWN => {
                let vma = inner.vmas.find_or_next(addr).filter(|v| v.start < end).ok_or(ENOMEM)?;
                if !vma.flags.contains(VmFlags::GROWSDOWN) {
                    return Err(EINVAL);
                }
                vma.start
            }
            // x86 has no stacks that grow up.
            _ => return Err(EINVAL),
        };
        protect(inner, changes, (start, end), prot, implied)
    })
}

/// Changes VMA by VMA up to the first that cannot be: what comes before it is changed, as on Linux.
fn protect(
    inner: &mut MmInner,
    changes: &mut Changes,
    (start, end): (u64, u64),
    prot: u32,
    implied: u32,
) -> Result<()> {
    let mut plan = Vec::new();
    let mut at = start;
    let mut outcome = Ok(());
    let mut account = 0;
    for vma in inner.vmas.overlapping(start, end) {
        if vma.start > at {
            break;
        }
        let new = VmFlags::from_prot(prot | if vma.flags.contains(VmFlags::MAYEXEC) { implied } else { 0 });
        let (from, to) = (vma.start.max(start), vma.end.min(end));
        match check(inner, vma, new, to - from, account) {
            Ok(more) => {
                account += more;
                plan.push((from, to, new, more > 0));
                at = to;
            }
            Err(errno) => {
                outcome = Err(errno);
                break;
            }
        }
    }
    if outcome.is_ok() && at < end {
        outcome = Err(ENOMEM);
    }
    if inner.vmas.len() + 2 > MAX_MAP_COUNT {
        return Err(ENOMEM);
    }
    // One host operation for neighbours that end up alike.
    let mut rest = &plan[..];
    while let Some(&(from, _, new, _)) = rest.first() {
        let alike = rest.iter().take_while(|p| p.2 == new).count();
        let (group, later) = rest.split_at(alike);
        rest = later;
        let to = group[alike - 1].1;
        let accounted: Vec<_> = group.iter().filter(|p| p.3).map(|p| (p.0, p.1)).collect();
        let with_new = |vma: &Vma| {
            let flags = (vma.flags - (VmFlags::READ | VmFlags::WRITE | VmFlags::EXEC)) | new;
            Vma { flags, ..vma.clone() }
        };
        let mut ops = Vec::new();
        if inner.vmas.overlapping(from, to).any(|v| v.pager().is_some()) {
            for vma in inner.vmas.overlapping(from, to) {
                ops.extend(with_new(vma).protect_ops(vma.start.max(from), vma.end.min(to)));
            }
        } else {
            ops.push(MemOp::Protect { addr: from, len: to - from, prot: new.host_prot() });
        }
        changes.edit(
            inner,
            (from, to),
            |vma| {
                if (vma.flags | new).contains(VmFlags::WRITE) {
                    vma.flags |= VmFlags::WRITTEN;
                }
                vma.flags = (vma.flags - (VmFlags::READ | VmFlags::WRITE | VmFlags::EXEC)) | new;
                if accounted.iter().any(|r| r.0 <= vma.start && vma.end <= r.1) {
                    vma.flags |= VmFlags::ACCOUNT;
                }
            },
            ops,
        );
    }
    outcome
}

/// Whether `vma` may get `new`, for `len` bytes of it; the bytes that are to be accounted for, `before` being so already.
fn check(inner: &MmInner, vma: &Vma, new: VmFlags, len: u64, before: u64) -> Result<u64> {
    let may = VmFlags::from_bits_truncate((vma.flags & VmFlags::MAY).bits() >> 4);
    if !may.contains(new) {
        return Err(EACCES);
    }
    if !new.contains(VmFlags::WRITE) || vma.flags.contains(VmFlags::WRITE) {
        return Ok(0);
    }
    let becomes = vma.flags | new;
    if Vma::is_data(becomes) {
        let data = inner.vmas.totals().data.saturating_add(before + len);
        if data > current().process.rlimit(abi::resource::RLIMIT_DATA) {
            return Err(ENOMEM);
        }
    }
    if vma.flags.intersects(VmFlags::ACCOUNT | VmFlags::SHARED | VmFlags::NORESERVE) {
        return Ok(0);
    }
    overcommit::check(before + len)?;
    Ok(len)
}

/// pkey_alloc(2): the processor of this machine has none. EINVAL for bad arguments comes first.
pub fn pkey_alloc(flags: u64, init_val: u64) -> Result<i32> {
    let known = u64::from(abi::mm::PKEY_DISABLE_ACCESS | abi::mm::PKEY_DISABLE_WRITE);
    if flags != 0 || init_val & !known != 0 { Err(EINVAL) } else { Err(ENOSPC) }
}

/// pkey_free(2)
pub fn pkey_free(_pkey: i32) -> Result<()> {
    Err(EINVAL)
}

/// pkey_mprotect(2): with the key -1 it is mprotect(2).
pub fn pkey_mprotect(addr: u64, len: u64, prot: u32, pkey: i32) -> Result<()> {
    if pkey == -1 { mprotect(addr, len, prot) } else { Err(EINVAL) }
}
