//! [`IovDest`] and [`IovSource`]: where read(2) puts bytes and where write(2) takes them.
//!
//! File systems copy through these and don't know whether a guest's buffers or the kernel's own are behind them. A
//! cursor moves with each copy; a fault after some bytes ends the copy short, and only one before any is EFAULT.

use std::sync::Arc;

use abi::Result;
use abi::errno::EFAULT;
use abi::fcntl::OpenFlags;

use super::File;
use crate::mm::Mm;
use crate::sched;

/// Copies of so many bytes are steps of something that may go on for long.
const LONG: usize = 4096;

/// One piece of guest memory: address and length.
pub type Segment = (u64, usize);

/// Pieces of guest memory. Most calls have one, which needs no allocation.
enum Segments {
    One([Segment; 1]),
    Many(Vec<Segment>),
}

impl core::ops::Deref for Segments {
    type Target = [Segment];
    fn deref(&self) -> &[Segment] {
        match self {
            Segments::One(one) => one,
            Segments::Many(many) => many,
        }
    }
}

impl From<Segment> for Segments {
    fn from(one: Segment) -> Segments {
        Segments::One([one])
    }
}

impl From<Vec<Segment>> for Segments {
    fn from(many: Vec<Segment>) -> Segments {
        Segments::Many(many)
    }
}

enum Memory<B> {
    User { mm: Arc<Mm>, segments: Segments },
    Kernel(B),
}

/// Destination of a read.
pub struct IovDest<'a> {
    memory: Memory<&'a mut [u8]>,
    /// Index of the segment and offset in it.
    at: (usize, usize),
    remaining: usize,
}

/// Source of a write.
pub struct IovSource<'a> {
    memory: Memory<&'a [u8]>,
    at: (usize, usize),
    remaining: usize,
    /// RWF_APPEND, RWF_NOAPPEND: instead of the file's O_APPEND.
    append: Option<bool>,
}

impl<'a> IovDest<'a> {
    /// Guest memory: `segments` lie in `mm`.
    pub fn user(mm: Arc<Mm>, segments: Vec<Segment>) -> IovDest<'static> {
        let remaining = segments.iter().map(|s| s.1).sum();
        IovDest { memory: Memory::User { mm, segments: segments.into() }, at: (0, 0), remaining }
    }

    /// Guest memory in one piece.
    pub fn user_one(mm: Arc<Mm>, segment: Segment) -> IovDest<'static> {
        let remaining = segment.1;
        IovDest { memory: Memory::User { mm, segments: segment.into() }, at: (0, 0), remaining }
    }

    /// A buffer of the kernel.
    pub fn kernel(buf: &'a mut [u8]) -> IovDest<'a> {
        IovDest { remaining: buf.len(), memory: Memory::Kernel(buf), at: (0, 0) }
    }

    /// Bytes of room left.
    pub fn remaining(&self) -> usize {
        self.remaining
    }

    /// Lets no more than `len` further bytes in.
    pub fn truncate(&mut self, len: usize) {
        self.remaining = self.remaining.min(len);
    }

    /// Copies as much of `data` as there is room for. EFAULT if not even one byte could be written.
    pub fn write(&mut self, data: &[u8]) -> Result<usize> {
        let want = data.len().min(self.remaining);
        let mut done = 0;
        while done < want {
            let copied = match &mut self.memory {
                Memory::Kernel(buf) => {
                    buf[self.at.1..self.at.1 + want].copy_from_slice(&data[..want]);
                    self.at.1 += want;
                    want
                }
                Memory::User { mm, segments } => {
                    let Some(&(addr, len)) = segments.get(self.at.0) else { break };
                    let n = (len - self.at.1).min(want - done);
                    if n == 0 {
                        self.at = (self.at.0 + 1, 0);
                        continue;
                    }
                    if n >= LONG
                        && let Err(e) = sched::cond_resched()
                    {
                        return if done == 0 { Err(e) } else { Ok(done) };
                    }
                    let copied = mm.write(addr.wrapping_add(self.at.1 as u64), &data[done..done + n]);
                    self.at.1 += copied;
                    if copied < n {
                        done += copied;
                        self.remaining -= copied;
                        return if done == 0 { Err(EFAULT) } else { Ok(done) };
                    }
                    copied
                }
            };
            done += copied;
            self.remaining -= copied;
        }
        Ok(done)
    }

    /// Writes `len` zero bytes, or as many as there is room for.
    pub fn write_zeros(&mut self, len: usize) -> Result<usize> {
        const ZEROS: [u8; 4096] = [0; 4096];
        let mut done = 0;
        while done < len.min(self.remaining + done) && self.remaining > 0 {
            match self.write(&ZEROS[..(len - done).min(ZEROS.len())]) {
                Ok(n) => done += n,
                Err(e) if done == 0 => return Err(e),
                Err(_) => break,
            }
        }
        Ok(done)
    }
}

impl<'a> IovSource<'a> {
    /// Guest memory: `segments` lie in `mm`.
    pub fn user(mm: Arc<Mm>, segments: Vec<Segment>) -> IovSource<'static> {
        let remaining = segments.iter().map(|s| s.1).sum();
        IovSource {
            memory: Memory::User { mm, segments: segments.into() },
            at: (0, 0),
            remaining,
            append: None,
        }
    }

    /// Guest memory in one piece.
    pub fn user_one(mm: Arc<Mm>, segment: Segment) -> IovSource<'static> {
        let remaining = segment.1;
        IovSource {
            memory: Memory::User { mm, segments: segment.into() },
            at: (0, 0),
            remaining,
            append: None,
        }
    }

    /// A buffer of the kernel.
    pub fn kernel(buf: &'a [u8]) -> IovSource<'a> {
        IovSource { remaining: buf.len(), memory: Memory::Kernel(buf), at: (0, 0), append: None }
    }

    /// Bytes left.
    pub fn remaining(&self) -> usize {
        self.remaining
    }

    /// Whether something has been taken out of it.
    pub fn is_begun(&self) -> bool {
        self.at != (0, 0)
    }

    /// Whether this write goes to the end of `file`, wherever its position is.
    pub fn appends(&self, file: &File) -> bool {
        self.append.unwrap_or_else(|| file.flags().contains(OpenFlags::APPEND))
    }

    /// RWF_APPEND, or RWF_NOAPPEND if false.
    pub fn set_append(&mut self, append: bool) {
        self.append = Some(append);
    }

    /// Gives out no more than `len` further bytes.
    pub fn truncate(&mut self, len: usize) {
        self.remaining = self.remaining.min(len);
    }

    /// Fills `buf` as far as there are bytes. EFAULT if not even one could be read.
    pub fn read(&mut self, buf: &mut [u8]) -> Result<usize> {
        let n = self.peek(buf)?;
        self.advance(n);
        Ok(n)
    }

    /// The same without moving on.
    pub fn peek(&self, buf: &mut [u8]) -> Result<usize> {
        let want = buf.len().min(self.remaining);
        let mut done = 0;
        let mut at = self.at;
        while done < want {
            match &self.memory {
                Memory::Kernel(data) => {
                    buf[..want].copy_from_slice(&data[at.1..at.1 + want]);
                    done = want;
                }
                Memory::User { mm, segments } => {
                    let Some(&(addr, len)) = segments.get(at.0) else { break };
                    let n = (len - at.1).min(want - done);
                    if n == 0 {
                        at = (at.0 + 1, 0);
                        continue;
                    }
                    if n >= LONG
                        && let Err(e) = sched::cond_resched()
                    {
                        return if done == 0 { Err(e) } else { Ok(done) };
                    }
                    let copied = mm.read(addr.wrapping_add(at.1 as u64), &mut buf[done..done + n]);
                    done += copied;
                    at.1 += copied;
                    if copied < n {
                        return if done == 0 { Err(EFAULT) } else { Ok(done) };
                    }
                }
            }
        }
        Ok(done)
    }

    /// Moves on by `n` bytes (at most what is left).
    pub fn advance(&mut self, n: usize) {
        let mut n = n.min(self.remaining);
        self.remaining -= n;
        match &self.memory {
            Memory::Kernel(_) => self.at.1 += n,
            Memory::User { segments, .. } => {
                while n > 0 {
                    let Some(&(_, len)) = segments.get(self.at.0) else { return };
                    let step = (len - self.at.1).min(n);
                    self.at.1 += step;
                    n -= step;
                    if self.at.1 == len {
                        self.at = (self.at.0 + 1, 0);
                    }
                }
            }
        }
    }
}
