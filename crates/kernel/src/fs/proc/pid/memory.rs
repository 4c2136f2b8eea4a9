//! /proc/PID/cmdline, environ, auxv, and mem.

use std::sync::{Arc, Weak};

use abi::Result;
use abi::errno::{EINVAL, EIO};
use abi::fcntl::OpenFlags;
use abi::mm::PAGE_SIZE;

use super::Who;
use crate::mm::Mm;
use crate::task::{Task, ptrace};
use crate::vfs::{self, FileOps, IovDest, IovSource};

/// Bytes copied at a time.
const CHUNK: usize = 64 * 1024;

/// /proc/PID/cmdline
pub(super) fn cmdline(who: &Who) -> Result<Vec<u8>> {
    Ok(who.mm()?.map_or(Vec::new(), |mm| mm.cmdline()))
}

/// /proc/PID/environ
pub(super) fn environ(who: &Who) -> Result<Vec<u8>> {
    who.accessible()?;
    Ok(who.mm()?.map_or(Vec::new(), |mm| mm.environ()))
}

/// /proc/PID/auxv
pub(super) fn auxv(who: &Who) -> Result<Vec<u8>> {
    who.accessible()?;
    let Some(mm) = who.mm()? else { return Ok(Vec::new()) };
    Ok(mm.auxv().iter().flat_map(|word| word.to_le_bytes()).collect())
}

/// Opens /proc/PID/mem: whoever may look into the process now may do so as long as the file is open.
pub(super) fn open_mem(who: &Who, _: OpenFlags) -> Result<Box<dyn FileOps>> {
    who.accessible()?;
    let task = who.task().map(|t| Arc::downgrade(&t)).unwrap_or_default();
    Ok(Box::new(Mem { mm: who.mm()?, task }))
}

struct Mem {
    mm: Option<Arc<Mm>>,
    /// The thread that it was opened for, which helps its tracer.
    task: Weak<Task>,
}

impl Mem {
    /// The address space while somebody runs in it; afterwards there is nothing to see.
    fn mm(&self) -> Option<&Arc<Mm>> {
        self.mm.as_ref().filter(|mm| mm.users() > 0)
    }

    /// Up to the end of a page, from a stopped tracee of the current task's.
    fn read_by_tracee(&self, addr: u64, buf: &mut [u8]) -> usize {
        let Some(task) = self.task.upgrade() else { return 0 };
        let n = buf.len().min((PAGE_SIZE - addr % PAGE_SIZE) as usize);
        ptrace::force_read(&task, addr, &mut buf[..n]).map_or(0, |()| n)
    }
}

impl FileOps for Mem {
    fn read(&self, _: &vfs::File, dest: &mut IovDest<'_>, pos: &mut u64) -> Result<usize> {
        let Some(mm) = self.mm() else { return Ok(0) };
        let mut buf = vec![0; dest.remaining().min(CHUNK)];
        let mut done = 0;
        while dest.remaining() > 0 {
            let want = dest.remaining().min(CHUNK);
            let mut got = mm.read_unpatched(*pos, &mut buf[..want]);
            if got == 0 {
                got = self.read_by_tracee(*pos, &mut buf[..want]);
            }
            if got == 0 {
                return if done > 0 { Ok(done) } else { Err(EIO) };
            }
            let n = match dest.write(&buf[..got]) {
                Ok(n) => n,
                Err(_) if done > 0 => return Ok(done),
                Err(errno) => return Err(errno),
            };
            *pos = pos.wrapping_add(n as u64);
            done += n;
            if n < want {
                break;
            }
        }
        Ok(done)
    }

    fn write(&self, _: &vfs::File, src: &mut IovSource<'_>, pos: &mut u64) -> Result<usize> {
        let Some(mm) = self.mm() else { return Ok(0) };
        let mut buf = vec![0; src.remaining().min(CHUNK)];
        let mut done = 0;
        while src.remaining() > 0 {
            let got = match src.peek(&mut buf) {
                Ok(got) => got,
                Err(_) if done > 0 => return Ok(done),
                Err(errno) => return Err(errno),
            };
            let mut n = mm.write(*pos, &buf[..got]);
            if n == 0 {
                n = self
                    .task
                    .upgrade()
                    .and_then(|t| ptrace::force_write(&t, *pos, &buf[..got]).ok())
                    .unwrap_or(0);
            }
            if n == 0 {
                return if done > 0 { Ok(done) } else { Err(EIO) };
            }
            src.advance(n);
            *pos = pos.wrapping_add(n as u64);
            done += n;
        }
        Ok(done)
    }

    fn seek(&self, _: &vfs::File, pos: u64, offset: i64, whence: u32) -> Result<u64> {
        // Addresses beyond the sign bit are positions as well.
        match whence {
            abi::fcntl::SEEK_SET => Ok(offset as u64),
            abi::fcntl::SEEK_CUR => Ok(pos.wrapping_add_signed(offset)),
            _ => Err(EINVAL),
        }
    }
}
