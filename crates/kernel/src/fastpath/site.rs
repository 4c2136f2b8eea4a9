//! What happens at a trap, and where a guest is that an event has met in a slot.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use host::stub::Fault;

use super::plan::SYSCALL;
use super::text::MAX_TEXT;
use super::{OFF, Patched, SHADOW, text};
use crate::mm::{Backing, MmInner, VmFlags, Vma};
use crate::task::Task;

/// Only every so many traps are looked into, standing for all of them.
const SAMPLE: u64 = 8;

/// A trap is for a debugger, or single-stepping.
const TRAP_TRACE: i32 = 2;

/// A call of the current task has come by a signal.
pub fn trapped(task: &Task) {
    let count = task.traps.fetch_add(1, Relaxed);
    if !count.is_multiple_of(SAMPLE) || OFF.load(Relaxed) {
        return;
    }
    let Ok((rip, gs)) = task.with_regs(|r| (r.rip, r.gs_base)) else { return };
    // Who has a GS base of its own traps at patched sites too.
    if gs == 0 {
        consider(task, rip.wrapping_sub(SYSCALL as u64));
    }
}

/// The text at `site`, if it may be mapped from a copy.
fn eligible(vma: &Vma, site: u64) -> Option<(&Backing, u64)> {
    let wrong = VmFlags::WRITE | VmFlags::MAYSHARE | VmFlags::WRITTEN | VmFlags::LOCKED | VmFlags::GROWSDOWN;
    let right = VmFlags::READ | VmFlags::EXEC;
    let fits = vma.flags & (wrong | right) == right;
    fits.then(|| (&vma.backing, vma.offset + (site - vma.start)))
}

fn consider(task: &Task, site: u64) {
    let Ok(mm) = task.mm() else { return };
    let found = {
        let inner = mm.lock();
        let Some(vma) = inner.vmas.find(site) else { return };
        let Some((Backing::File(mapped), at)) = eligible(vma, site) else { return };
        (mapped.clone(), at, (vma.offset, vma.len()))
    };
    let (mapped, at, range) = found;
    let wanted = match &mapped.patched {
        Some((copy, _)) => text::missed(&mapped.file, copy, at, SAMPLE),
        None => text::count(&mapped.file, range, at, SAMPLE),
    };
    let Some(patched) = wanted else { return };
    // A refusal of the host undoes it.
    let _ = mm.change(|inner, changes| {
        let vma = inner.vmas.find(site).filter(|vma| eligible(vma, site).is_some()).cloned();
        if let Some(vma) = vma
            && let Backing::File(now) = &vma.backing
            && Arc::ptr_eq(now, &mapped)
        {
            changes.patch(inner, vma.start, &patched);
        }
        Ok(())
    });
}

/// Where the slots of `patched` are for text that is mapped as `vma`.
pub fn slots_of(vma: &Vma, patched: &Patched) -> Option<(u64, u64)> {
    // The text's beginning may have been unmapped: then this is not where the mapping begins.
    let text = vma.start.checked_sub(vma.offset.checked_sub(patched.start)?)?;
    let start = text.checked_add(SHADOW)?;
    Some((start, start.checked_add(patched.slots.1)?))
}

/// The pieces of text whose slots overlap `start..end`, with their copies and where their slots begin.
pub fn texts_below(inner: &MmInner, start: u64, end: u64) -> impl Iterator<Item = (&Vma, &Patched, u64)> {
    // Slots are at most as long as their text, of which the piece may be any part.
    let from = start.saturating_sub(SHADOW + MAX_TEXT);
    let to = end.saturating_sub(SHADOW).saturating_add(MAX_TEXT);
    inner.vmas.overlapping(from, to).filter_map(move |vma| {
        let patched = vma.patched()?;
        let slots = slots_of(vma, patched)?;
        (slots.0 < end && start < slots.1).then_some((vma, &**patched, slots.0))
    })
}

/// Makes the registers of a guest that has been stopped say what they would without the slot that it is in. True if the
/// event is none: a step that only went into a slot.
pub fn where_it_is(task: &Task, fault: Option<&mut Fault>) -> bool {
    let Ok(rip) = task.with_regs(|r| r.rip) else { return false };
    let Ok(mm) = task.mm() else { return false };
    let found = {
        let inner = mm.lock();
        texts_below(&inner, rip, rip.saturating_add(1)).find_map(|(vma, patched, slots)| {
            let (origin, first) = patched.origin(rip - slots)?;
            Some((vma.start.wrapping_add(origin.wrapping_sub(vma.offset)), first))
        })
    };
    let Some((origin, first)) = found else { return false };
    if let Some(fault) = fault {
        if first && fault.signal as u32 == abi::signal::SIGTRAP && fault.code == TRAP_TRACE {
            return true;
        }
        if fault.addr == rip {
            fault.addr = origin;
        }
    }
    let _ = task.with_regs(|r| r.rip = origin);
    false
}
