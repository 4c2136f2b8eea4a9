//! msync(2) and mincore(2).

use abi::Result;
use abi::errno::{EBUSY, EFAULT, EINVAL, EIO, ENOMEM};
use abi::mm::{MS_ASYNC, MS_INVALIDATE, MS_SYNC, PAGE_SIZE, page_aligned, page_up};
use host::stub::TASK_SIZE;

use super::{Backing, VmFlags};
use crate::task::current;
use crate::uaccess::copy_to_user;

/// Pages that mincore(2) asks the host about at once.
const MINCORE_CHUNK: u64 = 4096;

/// msync(2): MS_SYNC writes the files of shared mappings back. The mapping is the file's own memory, so for MS_ASYNC and
/// MS_INVALIDATE there is nothing to do.
pub fn msync(addr: u64, len: u64, flags: u32) -> Result<()> {
    if flags & !(MS_ASYNC | MS_INVALIDATE | MS_SYNC) != 0
        || flags & (MS_ASYNC | MS_SYNC) == MS_ASYNC | MS_SYNC
    {
        return Err(EINVAL);
    }
    if !page_aligned(addr) {
        return Err(EINVAL);
    }
    let end = page_up(len).and_then(|l| addr.checked_add(l)).ok_or(ENOMEM)?;
    let mut files = Vec::new();
    let covered = {
        let mm = current().mm()?;
        let inner = mm.lock();
        for vma in inner.vmas.overlapping(addr, end) {
            if flags & MS_INVALIDATE != 0 && vma.flags.contains(VmFlags::LOCKED) {
                return Err(EBUSY);
            }
            if vma.flags.contains(VmFlags::SHARED)
                && let Some(file) = vma.file()
            {
                let (from, to) = (vma.start.max(addr), vma.end.min(end));
                let offset = |at: u64| vma.offset + (at - vma.start);
                files.push((file.clone(), offset(from), offset(to)));
            }
        }
        inner.vmas.covers(addr, end)
    };
    if flags & MS_SYNC != 0 {
        for (file, start, end) in files {
            match file.ops.fsync_range(&file, start, end, false) {
                // A file without a disk has nothing to sync.
                Ok(()) | Err(EINVAL) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
    if covered { Ok(()) } else { Err(ENOMEM) }
}

/// mincore(2)
pub fn mincore(addr: u64, len: u64, vec: u64) -> Result<()> {
    if !page_aligned(addr) {
        return Err(EINVAL);
    }
    let len = page_up(len).filter(|&l| l <= TASK_SIZE && addr <= TASK_SIZE - l).ok_or(ENOMEM)?;
    let mm = current().mm()?;
    mm.flush()?;
    let pages = len / PAGE_SIZE;
    let mut done = 0;
    while done < pages {
        let count = MINCORE_CHUNK.min(pages - done);
        let (start, end) = (addr + done * PAGE_SIZE, addr + (done + count) * PAGE_SIZE);
        let mut answer = mm.space.present_pages(start, count as usize).ok_or(EIO)?;
        {
            let inner = mm.lock();
            if !inner.vmas.covers(start, end) {
                return Err(ENOMEM);
            }
            // A file's pages count when they are cached, mapped or not: where there is no pager, all are.
            for vma in inner.vmas.overlapping(start, end) {
                let (from, to) = (vma.start.max(start) - start, vma.end.min(end) - start);
                if let Some(pager) = vma.pager() {
                    let offset = |at: u64| vma.offset + (start + at - vma.start);
                    answer[(from / PAGE_SIZE) as usize..(to / PAGE_SIZE) as usize].fill(0);
                    for (a, b) in pager.present(offset(from), offset(to), false) {
                        let page = |at: u64| {
                            ((at.clamp(offset(from), offset(to)) - offset(from) + from) / PAGE_SIZE) as usize
                        };
                        answer[page(a)..page(b)].fill(1);
                    }
                } else if matches!(vma.backing, Backing::File(_) | Backing::Special(_)) {
                    answer[(from / PAGE_SIZE) as usize..(to / PAGE_SIZE) as usize].fill(1);
                }
            }
        }
        copy_to_user(vec.checked_add(done).ok_or(EFAULT)?, &answer)?;
        done += count;
    }
    Ok(())
}
