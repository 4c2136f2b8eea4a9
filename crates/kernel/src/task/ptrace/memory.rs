//! The tracee's memory. What the host doesn't give at once – pages that are not in yet, text that the program itself may
//! not write – the stopped tracee gets by itself, as a [`Job`] of its tracer's.

use std::sync::Arc;

use abi::Result;
use abi::errno::{EIO, ESRCH};
use abi::mm::{PAGE_SIZE, PROT_READ, PROT_WRITE};
use host::stub::MemOp;

use super::stopped;
use crate::mm::{Mm, VmFlags};
use crate::sync::{Interruptible, Sleep, wait_event};
use crate::task::{Task, TaskState, current};

/// What a tracee does for its tracer while it is stopped.
pub(super) enum Job {
    /// Reads so many bytes.
    Read(u64, usize),
    /// Writes these.
    Write(u64, Vec<u8>),
}

/// What came of it.
pub(super) enum Answer {
    Read(Vec<u8>),
    Wrote(usize),
}

/// Has a stopped tracee do something. ESRCH if it dies meanwhile.
fn order(task: &Arc<Task>, job: Job) -> Result<Answer> {
    stopped(task)?;
    {
        let mut state = task.ptrace.state.lock();
        state.done = None;
        state.job = Some(job);
    }
    task.wake_if(|s| s == TaskState::Traced);
    let queue = current().process.wait_chldexit.clone();
    let sleep = Sleep { interruptible: Interruptible::Killable, deadline: None };
    let outcome = wait_event(&queue, sleep, || {
        let mut state = task.ptrace.state.lock();
        match state.done.take() {
            Some(answer) => Some(Ok(answer)),
            None if state.stop.is_none() => Some(Err(ESRCH)),
            None => None,
        }
    });
    outcome.map_err(|_| ESRCH)?
}

/// Reads the memory of a stopped tracee: all of it, or EIO.
pub fn force_read(task: &Arc<Task>, addr: u64, buf: &mut [u8]) -> Result<()> {
    let mm = task.mm()?;
    if mm.peek(addr, buf) < buf.len() {
        match order(task, Job::Read(addr, buf.len()))? {
            Answer::Read(data) if data.len() == buf.len() => buf.copy_from_slice(&data),
            _ => return Err(EIO),
        }
    }
    mm.hide_patches(addr, buf);
    Ok(())
}

/// Writes the memory of a stopped tracee, also what it may not write itself. The bytes written; EIO for none.
pub fn force_write(task: &Arc<Task>, addr: u64, data: &[u8]) -> Result<usize> {
    match order(task, Job::Write(addr, data.to_vec()))? {
        Answer::Wrote(0) if !data.is_empty() => Err(EIO),
        Answer::Wrote(n) => Ok(n),
        Answer::Read(_) => Err(EIO),
    }
}

/// The tracee's part.
pub(super) fn run(task: &Task, job: Job) -> Answer {
    let Ok(mm) = task.mm() else { return Answer::Wrote(0) };
    match job {
        Job::Read(addr, len) => {
            let mut buf = vec![0; len];
            let mut done = mm.read(addr, &mut buf);
            while done < len {
                let at = addr.wrapping_add(done as u64);
                let n = page_rest(at).min(len - done);
                let got = opened(&mm, at, false, |mm| mm.peek(at, &mut buf[done..done + n]));
                if got < n {
                    break;
                }
                done += n;
            }
            buf.truncate(done);
            Answer::Read(buf)
        }
        Job::Write(addr, data) => {
            let mut done = 0;
            // A breakpoint goes into the program's own text.
            if mm.disown_patches(addr, data.len() as u64).is_err() {
                return Answer::Wrote(0);
            }
            while done < data.len() {
                let at = addr.wrapping_add(done as u64);
                let piece = &data[done..data.len().min(done + page_rest(at))];
                let mut n = mm.write(at, piece);
                mm.land();
                if n < piece.len() {
                    // In, so that only its protection is left to overcome.
                    let _ = mm.read(at, &mut [0]);
                    n = opened(&mm, at, true, |mm| mm.space.write(at, piece));
                }
                done += n;
                if n < piece.len() {
                    break;
                }
            }
            Answer::Wrote(done)
        }
    }
}

fn page_rest(addr: u64) -> usize {
    (PAGE_SIZE - addr % PAGE_SIZE) as usize
}

/// Copies from or to a page that the program itself has no access to: the host's protection is lifted for a moment. Writes
/// go to private copies alone.
fn opened(mm: &Mm, addr: u64, write: bool, copy: impl FnOnce(&Mm) -> usize) -> usize {
    let found = mm.lock().vmas.find(addr).map(|v| v.flags);
    let Some(flags) = found else { return 0 };
    if write && flags.intersects(VmFlags::SHARED | VmFlags::MAYSHARE) {
        return 0;
    }
    let protect = |prot: u32| {
        let page = addr - addr % PAGE_SIZE;
        mm.change(|_, changes| {
            changes.op(MemOp::Protect { addr: page, len: PAGE_SIZE, prot });
            changes.now();
            Ok(())
        })
    };
    let own = flags.host_prot();
    let extra = if write { PROT_READ | PROT_WRITE } else { PROT_READ };
    if protect(own | extra).is_err() {
        return 0;
    }
    let done = copy(mm);
    let _ = protect(own);
    done
}
