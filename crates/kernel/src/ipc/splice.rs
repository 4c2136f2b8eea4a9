//! splice(2), tee(2), vmsplice(2): bytes between pipes and files without a buffer of the caller's.
//!
//! The bytes are copied. A pipe's ring stays locked while a file is read or written on its behalf, so that a byte is
//! taken out of the pipe exactly if it went into the file; a stream on the other side is only tried under that lock,
//! and waited for without it.

use std::sync::Arc;

use abi::Result;
use abi::errno::{EAGAIN, EBADF, EINVAL, ENOMEM, ESPIPE};
use abi::fcntl::{OpenFlags, SPLICE_F_GIFT, SPLICE_F_MORE, SPLICE_F_MOVE, SPLICE_F_NONBLOCK};
use abi::uio::Iovec;

use super::pipe::{Pipe, SLOT, broken_pipe};
use crate::mm::kmem::is_exhausted;
use crate::sync::{Sleep, wait_event, wait_until};
use crate::task::current;
use crate::uaccess::{MAX_RW_COUNT, UserPtr, iovec_from_user};
use crate::vfs::read_write::{do_read, do_write};
use crate::vfs::{Fd, File, FileMode, IovDest, IovSource, PollEvents};

const KNOWN_FLAGS: u32 = SPLICE_F_MOVE | SPLICE_F_NONBLOCK | SPLICE_F_MORE | SPLICE_F_GIFT;
/// Bytes moved in one step.
const CHUNK: usize = 64 * 1024;

/// splice(2)
pub fn splice(
    fd_in: Fd,
    off_in: UserPtr<i64>,
    fd_out: Fd,
    off_out: UserPtr<i64>,
    len: usize,
    flags: u32,
) -> Result<usize> {
    if flags & !KNOWN_FLAGS != 0 {
        return Err(EINVAL);
    }
    if len == 0 {
        return Ok(0);
    }
    let len = len.min(MAX_RW_COUNT);
    let (input, output) = (fd_in.io()?, fd_out.io()?);
    if !input.mode.contains(FileMode::READ) || !output.mode.contains(FileMode::WRITE) {
        return Err(EBADF);
    }
    let nonblock = flags & SPLICE_F_NONBLOCK != 0;
    match (Pipe::of(&input), Pipe::of(&output)) {
        (Some(from), Some(to)) => {
            if !off_in.is_null() || !off_out.is_null() {
                return Err(ESPIPE);
            }
            pipe_to_pipe(from, to, len, nonblock || input.nonblock() || output.nonblock(), true)
        }
        (Some(from), None) => {
            if !off_in.is_null() {
                return Err(ESPIPE);
            }
            let mut pos = offset(&output, off_out)?;
            if output.flags().contains(OpenFlags::APPEND) {
                return Err(EINVAL);
            }
            let moved = pipe_to_file(from, &output, &mut pos, len, nonblock || input.nonblock());
            store(off_out, pos)?;
            moved
        }
        (None, Some(to)) => {
            if !off_out.is_null() {
                return Err(ESPIPE);
            }
            let mut pos = offset(&input, off_in)?;
            if input.inode().is_dir() {
                return Err(EINVAL);
            }
            let moved = file_to_pipe(&input, to, &mut pos, len, nonblock || output.nonblock());
            store(off_in, pos)?;
            moved
        }
        (None, None) => Err(EINVAL),
    }
}

fn offset(file: &File, user: UserPtr<i64>) -> Result<Option<u64>> {
    let Some(user) = user.non_null() else { return Ok(None) };
    if !file.mode.contains(FileMode::SEEK) {
        return Err(EINVAL);
    }
    u64::try_from(user.read()?).map(Some).map_err(|_| EINVAL)
}

fn store(user: UserPtr<i64>, pos: Option<u64>) -> Result<()> {
    match pos {
        Some(pos) => user.write(&(pos as i64)),
        None => Ok(()),
    }
}

/// Waits until the pipe has bytes, or never will again. EAGAIN, ERESTARTSYS.
fn wait_for_input(pipe: &Pipe, nonblock: bool) -> Result<()> {
    if !pipe.has_input() {
        if nonblock {
            return Err(EAGAIN);
        }
        wait_event(pipe.read_queue(), Sleep::INTERRUPTIBLE, || pipe.has_input().then_some(()))?;
    }
    Ok(())
}

/// Waits until the pipe has a free slot. EPIPE with SIGPIPE, EAGAIN, ENOMEM, ERESTARTSYS.
fn wait_for_room(pipe: &Pipe, nonblock: bool) -> Result<()> {
    if !pipe.has_room() {
        if nonblock {
            return Err(EAGAIN);
        }
        wait_event(pipe.write_queue(), Sleep::INTERRUPTIBLE, || pipe.has_room().then_some(()))?;
    }
    match () {
        () if pipe.no_readers() => Err(broken_pipe()),
        () if is_exhausted() => Err(ENOMEM),
        () => Ok(()),
    }
}

/// Moves bytes until `len` are done or the pipe is empty.
fn pipe_to_file(
    from: &Arc<Pipe>,
    output: &Arc<File>,
    pos: &mut Option<u64>,
    len: usize,
    nonblock: bool,
) -> Result<usize> {
    let mut buf = vec![0; len.min(CHUNK)];
    let mut done = 0;
    while done < len {
        let step =
            pipe_to_file_step(from, output, pos, &mut buf[..(len - done).min(CHUNK)], nonblock, done == 0);
        match step {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(errno) if done == 0 => return Err(errno),
            Err(_) => break,
        }
    }
    Ok(done)
}

fn pipe_to_file_step(
    from: &Arc<Pipe>,
    output: &Arc<File>,
    pos: &mut Option<u64>,
    buf: &mut [u8],
    nonblock: bool,
    wait: bool,
) -> Result<usize> {
    loop {
        if wait {
            wait_for_input(from, nonblock)?;
        }
        let mut ring = from.lock();
        if ring.is_empty() {
            if from.no_writers() || !wait {
                return Ok(0);
            }
            continue;
        }
        let was_full = ring.is_full();
        let (n, packet) = ring.peek(buf);
        let mut src = IovSource::kernel(&buf[..n]);
        let stream = output.mode.contains(FileMode::STREAM);
        let written = match stream {
            true => output.ops.write(output, &mut src, &mut 0),
            false => do_write(output, &mut src, *pos),
        };
        if let Ok(n) = written {
            let whole = if packet { ring.first_len() } else { n };
            ring.consume(whole);
            if let Some(pos) = pos {
                *pos += n as u64;
            }
        }
        from.done(ring, false, was_full);
        if written != Err(EAGAIN) || nonblock || output.nonblock() {
            return written;
        }
        let ready = PollEvents::OUT | PollEvents::ALWAYS;
        wait_until(Sleep::INTERRUPTIBLE, |table| {
            output.ops.poll(output, table).intersects(ready).then_some(())
        })?;
    }
}

/// Reads once into the room that the pipe has.
fn file_to_pipe(
    input: &Arc<File>,
    to: &Arc<Pipe>,
    pos: &mut Option<u64>,
    len: usize,
    nonblock: bool,
) -> Result<usize> {
    let mut buf = vec![0; len.min(CHUNK)];
    loop {
        wait_for_room(to, nonblock)?;
        let mut ring = to.lock();
        if to.no_readers() {
            drop(ring);
            return Err(broken_pipe());
        }
        let room = (ring.capacity() - ring.used()) * SLOT;
        let want = buf.len().min(room);
        if want == 0 {
            continue;
        }
        let mut dest = IovDest::kernel(&mut buf[..want]);
        let read = match input.mode.contains(FileMode::STREAM) {
            true => input.ops.read(input, &mut dest, &mut 0),
            false => do_read(input, &mut dest, *pos),
        };
        match read {
            Ok(0) => return Ok(0),
            Ok(n) => {
                let put = ring.write(&mut IovSource::kernel(&buf[..n]), false);
                to.done(ring, true, false);
                if let Some(pos) = pos {
                    *pos += n as u64;
                }
                return put;
            }
            Err(EAGAIN) if !nonblock && !input.nonblock() => drop(ring),
            Err(errno) => return Err(errno),
        }
        let ready = PollEvents::IN | PollEvents::RDHUP | PollEvents::ALWAYS;
        wait_until(Sleep::INTERRUPTIBLE, |table| {
            input.ops.poll(input, table).intersects(ready).then_some(())
        })?;
    }
}

/// Moves, or with tee(2) copies, what is in one pipe and fits into the other.
fn pipe_to_pipe(from: &Arc<Pipe>, to: &Arc<Pipe>, len: usize, nonblock: bool, take: bool) -> Result<usize> {
    if Arc::ptr_eq(from, to) {
        return Err(EINVAL);
    }
    let mut buf = vec![0; len.min(CHUNK)];
    loop {
        wait_for_input(from, nonblock)?;
        wait_for_room(to, nonblock)?;
        // By address, as every two pipes are locked.
        let (mut source, mut target) = if Arc::as_ptr(from) < Arc::as_ptr(to) {
            let source = from.lock();
            (source, to.lock())
        } else {
            let target = to.lock();
            (from.lock(), target)
        };
        if source.is_empty() {
            if from.no_writers() {
                return Ok(0);
            }
            continue;
        }
        if to.no_readers() {
            drop((source, target));
            return Err(broken_pipe());
        }
        let was_full = source.is_full();
        let (n, packet) = source.peek(&mut buf);
        let put = match target.write(&mut IovSource::kernel(&buf[..n]), packet) {
            Err(EAGAIN) => continue,
            other => other?,
        };
        if take {
            source.consume(put);
        }
        to.done(target, true, false);
        from.done(source, false, was_full);
        return Ok(put);
    }
}

/// tee(2)
pub fn tee(fd_in: Fd, fd_out: Fd, len: usize, flags: u32) -> Result<usize> {
    if flags & !KNOWN_FLAGS != 0 {
        return Err(EINVAL);
    }
    if len == 0 {
        return Ok(0);
    }
    let (input, output) = (fd_in.io()?, fd_out.io()?);
    if !input.mode.contains(FileMode::READ) || !output.mode.contains(FileMode::WRITE) {
        return Err(EBADF);
    }
    let (Some(from), Some(to)) = (Pipe::of(&input), Pipe::of(&output)) else { return Err(EINVAL) };
    let nonblock = flags & SPLICE_F_NONBLOCK != 0 || input.nonblock() || output.nonblock();
    pipe_to_pipe(from, to, len.min(MAX_RW_COUNT), nonblock, false)
}

/// vmsplice(2): into a pipe if the descriptor is open for writing, else out of it.
pub fn vmsplice(fd: Fd, iov: UserPtr<Iovec>, count: usize, flags: u32) -> Result<usize> {
    if flags & !KNOWN_FLAGS != 0 {
        return Err(EINVAL);
    }
    let file = fd.io()?;
    if !file.mode.intersects(FileMode::READ | FileMode::WRITE) || Pipe::of(&file).is_none() {
        return Err(EBADF);
    }
    let mm = current().mm()?;
    let segments = iovec_from_user(iov, count)?;
    if segments.iter().all(|s| s.1 == 0) {
        return Ok(0);
    }
    let nonblock = flags & SPLICE_F_NONBLOCK != 0 || file.nonblock();
    if file.mode.contains(FileMode::WRITE) {
        let mut src = IovSource::user(mm, segments);
        file.retry(PollEvents::OUT, nonblock, None, || file.ops.write(&file, &mut src, &mut 0))
    } else {
        let mut dest = IovDest::user(mm, segments);
        file.retry(PollEvents::IN, nonblock, None, || file.ops.read(&file, &mut dest, &mut 0))
    }
}
