//! Another process's memory: process_vm_readv(2), process_vm_writev(2), process_madvise(2).

use std::sync::Arc;

use abi::Result;
use abi::errno::{EAGAIN, EBADF, EFAULT, EINVAL, EPERM};
use abi::mm::{MADV_COLD, MADV_COLLAPSE, MADV_PAGEOUT, MADV_WILLNEED};
use abi::uio::Iovec;

use super::{Mm, madvise};
use crate::task::{current, pid, pidfd, ptrace_access};
use crate::uaccess::{UserPtr, iovec_from_user};
use crate::vfs::Fd;

/// Bytes that go through the kernel at once.
const CHUNK: usize = 64 * 1024;

/// process_vm_readv(2)
pub fn process_vm_readv(
    pid: i32,
    local: UserPtr<Iovec>,
    local_count: usize,
    remote: UserPtr<Iovec>,
    remote_count: usize,
    flags: u64,
) -> Result<usize> {
    let (local, remote) = ranges(local, local_count, remote, remote_count, flags)?;
    let (own, other) = (current().mm()?, other_mm(pid)?);
    transfer((&other, remote), (&own, local))
}

/// process_vm_writev(2)
pub fn process_vm_writev(
    pid: i32,
    local: UserPtr<Iovec>,
    local_count: usize,
    remote: UserPtr<Iovec>,
    remote_count: usize,
    flags: u64,
) -> Result<usize> {
    let (local, remote) = ranges(local, local_count, remote, remote_count, flags)?;
    let (own, other) = (current().mm()?, other_mm(pid)?);
    transfer((&own, local), (&other, remote))
}

type Ranges = Vec<(u64, usize)>;

fn ranges(
    local: UserPtr<Iovec>,
    local_count: usize,
    remote: UserPtr<Iovec>,
    remote_count: usize,
    flags: u64,
) -> Result<(Ranges, Ranges)> {
    if flags != 0 {
        return Err(EINVAL);
    }
    Ok((iovec_from_user(local, local_count)?, iovec_from_user(remote, remote_count)?))
}

fn other_mm(number: i32) -> Result<Arc<Mm>> {
    let task = pid::find_task(number)?;
    ptrace_access(&task)?;
    task.mm()
}

/// Copies from one to the other until either is used up or a page cannot be had. EFAULT if that is the first.
fn transfer((from, source): (&Mm, Ranges), (to, dest): (&Mm, Ranges)) -> Result<usize> {
    let mut source = Cursor::new(source);
    let mut dest = Cursor::new(dest);
    let mut buffer = vec![0; CHUNK.min(source.left).min(dest.left)];
    let mut done = 0;
    while let (Some((src, a)), Some((dst, b))) = (source.piece(), dest.piece()) {
        let want = a.min(b).min(CHUNK);
        let got = from.read_unpatched(src, &mut buffer[..want]);
        let put = to.write(dst, &buffer[..got]);
        done += put;
        if put < want {
            return if done == 0 { Err(EFAULT) } else { Ok(done) };
        }
        source.skip(want);
        dest.skip(want);
    }
    Ok(done)
}

struct Cursor {
    ranges: Ranges,
    index: usize,
    offset: usize,
    left: usize,
}

impl Cursor {
    fn new(ranges: Ranges) -> Cursor {
        let left = ranges.iter().map(|r| r.1).sum();
        Cursor { ranges, index: 0, offset: 0, left }
    }

    /// The rest of the range it stands in.
    fn piece(&mut self) -> Option<(u64, usize)> {
        while let Some(&(addr, len)) = self.ranges.get(self.index) {
            if self.offset < len {
                return Some((addr.wrapping_add(self.offset as u64), len - self.offset));
            }
            self.index += 1;
            self.offset = 0;
        }
        None
    }

    fn skip(&mut self, bytes: usize) {
        self.offset += bytes;
        self.left -= bytes;
    }
}

/// process_madvise(2): hints for another process, anything for the caller's own. The bytes advised.
pub fn process_madvise(
    pidfd: Fd,
    vec: UserPtr<Iovec>,
    count: usize,
    advice: u32,
    flags: u32,
) -> Result<usize> {
    if flags != 0 {
        return Err(EINVAL);
    }
    let ranges = iovec_from_user(vec, count)?;
    let process = pidfd::process_of(&*pidfd.file()?).ok_or(EBADF)?;
    madvise::known(advice)?;
    let own = core::ptr::eq(&*process, &*current().process);
    let hint = matches!(advice, MADV_COLD | MADV_PAGEOUT | MADV_WILLNEED | MADV_COLLAPSE);
    if !own && !hint {
        return Err(EINVAL);
    }
    if !own && !current().cred().capable(abi::cred::CAP_SYS_NICE) {
        return Err(EPERM);
    }
    let mut done = 0;
    for (addr, len) in ranges {
        // Of another process's memory the host takes no hints from us: they are noted and have no effect.
        let outcome = if own { madvise::madvise(addr, len as u64, advice) } else { Ok(()) };
        match outcome {
            Ok(()) => done += len,
            Err(EAGAIN) => break,
            Err(errno) if done == 0 => return Err(errno),
            Err(_) => break,
        }
    }
    Ok(done)
}
