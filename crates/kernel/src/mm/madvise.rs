//! madvise(2). Another process's memory: `remote.rs`.
//!
//! What frees or populates memory is the host's madvise; what is only a hint is kept as a VMA flag.

use abi::Result;
use abi::errno::{EACCES, EINVAL, ENOMEM, EOPNOTSUPP, EPERM};
use abi::mm::*;
use host::stub::{MemOp, TASK_SIZE};

use super::{Backing, Changes, MAX_MAP_COUNT, MmInner, VmFlags, Vma};
use crate::task::current;

/// madvise(2)
pub fn madvise(addr: u64, len: u64, advice: u32) -> Result<()> {
    known(advice)?;
    if !page_aligned(addr) {
        return Err(EINVAL);
    }
    let len = page_up(len).ok_or(EINVAL)?;
    let end = addr.checked_add(len).ok_or(EINVAL)?;
    if matches!(advice, MADV_HWPOISON | MADV_SOFT_OFFLINE) {
        // For root only, and this kernel has no pages that it could take offline.
        let root = current().cred().capable(abi::cred::CAP_SYS_ADMIN);
        return Err(if root { EINVAL } else { EPERM });
    }
    if len == 0 {
        return Ok(());
    }
    if end > TASK_SIZE {
        return Err(ENOMEM);
    }
    current().mm()?.change(|inner, changes| advise(inner, changes, (addr, end), advice))
}

pub(super) fn known(advice: u32) -> Result<()> {
    match advice {
        MADV_NORMAL..=MADV_DONTNEED
        | MADV_FREE..=MADV_COLLAPSE
        | MADV_HWPOISON
        | MADV_SOFT_OFFLINE
        | MADV_GUARD_INSTALL
        | MADV_GUARD_REMOVE => Ok(()),
        _ => Err(EINVAL),
    }
}

/// What to do for one VMA.
enum Action {
    /// Change flags and nothing else.
    Flags { set: VmFlags, clear: VmFlags },
    /// Change flags and tell the host, whose refusal doesn't matter (it may lack the feature).
    Host,
    /// Nothing.
    Nothing,
}

/// Goes on over holes, and answers ENOMEM at the end for them, as Linux does.
fn advise(inner: &mut MmInner, changes: &mut Changes, (start, end): (u64, u64), advice: u32) -> Result<()> {
    if inner.vmas.len() + 2 > MAX_MAP_COUNT {
        return Err(ENOMEM);
    }
    let mut outcome = Ok(());
    let mut at = start;
    let mut plan = Vec::new();
    for vma in inner.vmas.overlapping(start, end) {
        let (from, to) = (vma.start.max(start), vma.end.min(end));
        if from > at {
            outcome = Err(ENOMEM);
            if matches!(advice, MADV_POPULATE_READ | MADV_POPULATE_WRITE) {
                break;
            }
        }
        at = to;
        match action(vma, advice) {
            Ok(action) => plan.push((from, to, action)),
            Err(errno) => {
                outcome = Err(errno);
                at = end;
                break;
            }
        }
    }
    if at < end {
        outcome = Err(ENOMEM);
    }
    bring_in(inner, changes, (start, end.min(at)), advice);
    for (from, to, action) in plan {
        let op = MemOp::Advise { addr: from, len: to - from, advice: advice as i32 };
        match action {
            Action::Nothing => {}
            Action::Host => changes.op(op),
            Action::Flags { set, clear } => {
                let told = matches!(
                    advice,
                    MADV_DONTFORK
                        | MADV_DOFORK
                        | MADV_WIPEONFORK
                        | MADV_KEEPONFORK
                        | MADV_HUGEPAGE
                        | MADV_NOHUGEPAGE
                );
                let ops = told.then_some(op);
                changes.edit(inner, (from, to), |vma| vma.flags = (vma.flags - clear) | set, ops);
            }
        }
    }
    if !matches!(advice, MADV_DONTNEED | MADV_DONTFORK | MADV_DOFORK | MADV_WIPEONFORK | MADV_KEEPONFORK) {
        // The host's answer is ours, or it may lack the feature.
        changes.now();
    }
    outcome
}

/// Has files read what is asked for.
fn bring_in(inner: &MmInner, changes: &mut Changes, (start, end): (u64, u64), advice: u32) {
    if !matches!(advice, MADV_WILLNEED | MADV_POPULATE_READ | MADV_POPULATE_WRITE) {
        return;
    }
    for vma in inner.vmas.overlapping(start, end) {
        let (from, to) = (vma.start.max(start), vma.end.min(end));
        if let Some(pager) = vma.pager() {
            let (first, last) = (vma.offset + (from - vma.start), vma.offset + (to - vma.start));
            if advice == MADV_WILLNEED {
                pager.will_need(first, last);
            } else {
                // The host fails where pages are missing all the same.
                let _ = pager.populate(first, last);
                vma.accessible(from, to).into_iter().for_each(|op| changes.op(op));
            }
        }
    }
}

fn action(vma: &Vma, advice: u32) -> Result<Action> {
    let flags = |set: VmFlags, clear: VmFlags| Ok(Action::Flags { set, clear });
    let none = VmFlags::empty();
    let read_hints = VmFlags::SEQ_READ | VmFlags::RAND_READ;
    let locked = vma.flags.contains(VmFlags::LOCKED);
    let special = matches!(vma.backing, Backing::Special(_));
    let private_anonymous = matches!(vma.backing, Backing::Anonymous);
    match advice {
        MADV_NORMAL => flags(none, read_hints),
        MADV_RANDOM => flags(VmFlags::RAND_READ, VmFlags::SEQ_READ),
        MADV_SEQUENTIAL => flags(VmFlags::SEQ_READ, VmFlags::RAND_READ),
        MADV_DONTFORK => flags(VmFlags::DONTCOPY, none),
        MADV_DOFORK if special => Err(EINVAL),
        MADV_DOFORK => flags(none, VmFlags::DONTCOPY),
        MADV_WIPEONFORK if !private_anonymous => Err(EINVAL),
        MADV_WIPEONFORK => flags(VmFlags::WIPEONFORK, none),
        MADV_KEEPONFORK => flags(none, VmFlags::WIPEONFORK),
        MADV_DONTDUMP => flags(VmFlags::DONTDUMP, none),
        MADV_DODUMP if special => Err(EINVAL),
        MADV_DODUMP => flags(none, VmFlags::DONTDUMP),
        MADV_HUGEPAGE => flags(VmFlags::HUGEPAGE, VmFlags::NOHUGEPAGE),
        MADV_NOHUGEPAGE => flags(VmFlags::NOHUGEPAGE, VmFlags::HUGEPAGE),
        // Merging equal pages would tell guests about each other: the flag is kept, nothing is merged.
        MADV_MERGEABLE => flags(VmFlags::MERGEABLE, none),
        MADV_UNMERGEABLE => flags(none, VmFlags::MERGEABLE),
        MADV_DONTNEED if locked => Err(EINVAL),
        MADV_FREE if locked || !private_anonymous => Err(EINVAL),
        MADV_COLD | MADV_PAGEOUT if locked => Err(EINVAL),
        MADV_REMOVE if locked || private_anonymous || special => Err(EINVAL),
        MADV_REMOVE if !vma.flags.contains(VmFlags::SHARED | VmFlags::WRITE) => Err(EACCES),
        MADV_REMOVE if vma.pager().is_some() => Err(EOPNOTSUPP),
        MADV_GUARD_INSTALL if locked || special => Err(EINVAL),
        // Asked of the file before; and there is no swap.
        MADV_WILLNEED => Ok(Action::Nothing),
        _ => Ok(Action::Host),
    }
}
