//! Text that is mapped from a patched copy, see [`crate::fastpath`], and the slots that belong to it.
//!
//! The VMA stays the file's. Slots are in no VMA: nobody sees them, and whatever is mapped in their place takes it, with
//! the text going back to the file's bytes first. The same happens before text is moved, cut or made writable.

use std::sync::Arc;

use abi::Result;
use host::stub::{MapSource, MemOp, TASK_SIZE};

use super::{Backing, Changes, Mm, MmInner, Undo, VmFlags, Vma};
use crate::fastpath::{Patched, slots_of, texts_below};

impl MmInner {
    /// Notes that `vma`, which is mapped as the file has it, gets the copy; the operations that do it. None where the
    /// copy does not fit, or something is where its slots would be.
    fn plan_patch(&self, vma: &Vma, patched: &Arc<Patched>) -> Option<(Vma, [MemOp; 2])> {
        let fits = vma.offset >= patched.start && vma.offset + vma.len() <= patched.end;
        let (start, end) = slots_of(vma, patched)?;
        if !fits || end > TASK_SIZE || !self.vmas.is_free(start, end) {
            return None;
        }
        let map = |addr, len, offset| MemOp::Map {
            addr,
            len,
            prot: abi::mm::PROT_READ | abi::mm::PROT_EXEC,
            shared: false,
            noreserve: true,
            populate: false,
            source: MapSource::Object { fd: patched.fd.clone(), offset },
        };
        let ops = [map(start, end - start, patched.slots.0), map(vma.start, vma.len(), vma.offset)];
        Some((vma.with_copy(patched.clone()), ops))
    }

    /// Replaces text that a new program has just mapped at `start` by its copy; the operations that do it.
    pub fn patch(&mut self, start: u64, patched: &Arc<Patched>) -> Vec<MemOp> {
        let Some(vma) = self.vmas.find(start).cloned() else { return Vec::new() };
        let Some((new, ops)) = self.plan_patch(&vma, patched) else { return Vec::new() };
        self.vmas.remove(vma.start, vma.end);
        self.vmas.insert(new);
        ops.into()
    }
}

impl Mm {
    /// [`Mm::read`] without what a patched copy has changed.
    pub fn read_unpatched(&self, addr: u64, buf: &mut [u8]) -> usize {
        let got = self.read(addr, buf);
        self.hide_patches(addr, &mut buf[..got]);
        got
    }

    /// Puts back what a patched copy has changed, in bytes that were read from `addr` on.
    pub fn hide_patches(&self, addr: u64, buf: &mut [u8]) {
        let end = addr.saturating_add(buf.len() as u64);
        let inner = self.lock();
        for vma in inner.vmas.overlapping(addr, end) {
            let Some(patched) = vma.patched() else { continue };
            let (from, to) = (vma.start.max(addr), vma.end.min(end));
            patched.restore(
                vma.offset + (from - vma.start),
                &mut buf[(from - addr) as usize..(to - addr) as usize],
            );
        }
    }

    /// Before a tracer writes `len` bytes at `addr`, over what the program itself may not write: text there is the file's
    /// again, and is not patched any more, since it won't be the file's much longer.
    pub fn disown_patches(&self, addr: u64, len: u64) -> Result<()> {
        let end = addr.saturating_add(len);
        if !self.lock().vmas.overlapping(addr, end).any(|vma| !vma.flags.contains(VmFlags::WRITTEN)) {
            return Ok(());
        }
        self.change(|inner, changes| {
            changes.unpatch(inner, (addr, end), false);
            let start = inner.vmas.overlapping(addr, end).next().map_or(addr, |vma| vma.start);
            let end = inner.vmas.overlapping(addr, end).last().map_or(end, |vma| vma.end);
            changes.edit(inner, (start, end), |vma| vma.flags |= VmFlags::WRITTEN, []);
            Ok(())
        })
    }
}

impl Changes {
    /// Maps the copy instead of the file that is mapped at `start`, where that can be.
    pub fn patch(&mut self, inner: &mut MmInner, start: u64, patched: &Arc<Patched>) {
        let Some(vma) = inner.vmas.find(start).cloned() else { return };
        if let Some((new, ops)) = inner.plan_patch(&vma, patched) {
            self.swap(inner, &vma, new, ops);
        }
    }

    fn swap(&mut self, inner: &mut MmInner, vma: &Vma, new: Vma, ops: impl IntoIterator<Item = MemOp>) {
        let old = inner.vmas.remove(vma.start, vma.end);
        inner.vmas.insert(new);
        let before = self.ops.len();
        self.ops.extend(ops);
        let ops = self.ops.len() - before;
        self.undo.push(Undo { start: vma.start, end: vma.end, old, ops, brk: None });
    }

    /// Before `range` changes: text in it, and text whose slots are in it, goes back to the file's. What goes as a
    /// whole (`gone`) need not.
    pub(super) fn unpatch(&mut self, inner: &mut MmInner, (start, end): (u64, u64), gone: bool) {
        let own = inner.vmas.overlapping(start, end).filter(|vma| {
            let whole = gone && start <= vma.start && vma.end <= end;
            vma.patched().is_some() && !whole
        });
        let shadowed = texts_below(inner, start, end).map(|(vma, ..)| vma);
        let mut all: Vec<Vma> = own.chain(shadowed).cloned().collect();
        all.sort_by_key(|vma| vma.start);
        all.dedup_by_key(|vma| vma.start);
        for vma in all {
            let plain = vma.plain();
            let Backing::File(mapped) = &plain.backing else { continue };
            let Some(fd) = mapped.fd.clone() else { continue };
            let source = MapSource::Object { fd, offset: vma.offset };
            let ops = plain.map_ops(source, false);
            self.swap(inner, &vma, plain, ops);
        }
    }
}
