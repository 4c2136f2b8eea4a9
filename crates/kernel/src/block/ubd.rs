//! User-Mode Linux's disks: `ubdN[rscdt]=FILE[,BACKING][,SERIAL]`, /dev/ubda and so on, major 98.
//!
//! `config.rs` reads the option. [`open`] opens the host's files, before the machine runs, so that what is wrong with
//! them is told where the user sees it; [`add`] makes the disks known to the guest.

mod config;

use std::sync::Arc;

use abi::Result;
use abi::errno::{EIO, EPERM};
use host::block::{Disk, Format, Image, Op, OpenOptions, Request};

pub use config::{MAX_DEVICES, Setup, UbdConfig};

use super::buffers::{self, PIECE};
use super::{DiskOps, DiskParts, Gendisk, Limits, Pending, SECTOR};
use crate::sched;

/// Major number.
pub const UBD_MAJOR: u32 = 98;
/// Minor numbers of a disk: itself and 15 partitions.
const MINORS: u32 = 16;
/// Most bytes that are written by one call of the host.
const CALL_MAX: usize = 1 << 20;
/// How long a flush, or a read of the host's disk, may be expected to take, ns.
const LINGER: u64 = 1_000_000;
/// Requests of one call that are under way at a time.
const WINDOW: usize = 8;

/// A disk whose host file is open.
pub struct Ubd {
    config: UbdConfig,
    image: Image,
}

/// The disk's driver.
pub struct UbdDisk {
    name: String,
    disk: Arc<dyn Disk>,
    serial: Option<String>,
    /// The next start would look at the first bytes to tell what the file is.
    probed: bool,
}

/// Opens the files of a disk.
///
/// # Errors
/// In words for the user.
pub fn open(config: UbdConfig) -> core::result::Result<Ubd, String> {
    let name = config.name();
    let options = OpenOptions {
        read_only: config.read_only,
        sync: config.sync,
        shared: config.shared,
        no_trim: config.no_trim,
    };
    let failed = |message: String| format!("{name}: {message}");
    if config.no_cow {
        if config.backing.is_some() {
            return Err(failed("'d' takes the file for a plain disk, which has no backing file".to_owned()));
        }
        let disk = host::block::open(&config.file, options, config.engine).map_err(failed)?;
        let image = Image { disk, format: Format::Raw, backing: None };
        return Ok(Ubd { config, image });
    }
    let image = host::block::open_image(&config.file, config.backing.as_deref(), options, config.engine)
        .map_err(failed)?;
    Ok(Ubd { config, image })
}

/// Makes a disk known to the guest. From a task.
pub fn add(ubd: Ubd) {
    let (name, index) = (ubd.config.name(), ubd.config.index);
    let Image { disk, format, backing } = ubd.image;
    let len = disk.len();
    let read_only = if disk.is_read_only() { ", read-only" } else { "" };
    let format = match format {
        Format::Raw => "",
        Format::Cow => ", copy-on-write",
        Format::Qcow2 => ", qcow2",
    };
    let backing = backing.map_or(String::new(), |file| format!(" over {file}"));
    crate::pr_info!("{name}: {} 512-byte sectors{read_only}{format}{backing}", len / SECTOR);
    let probed = format.is_empty() && !ubd.config.no_cow;
    let parts = DiskParts {
        name: name.clone(),
        sys_parent: format!("devices/platform/uml-blkdev.{index}/block"),
        major: UBD_MAJOR,
        first_minor: index * MINORS,
        minors: MINORS,
        ops: Box::new(UbdDisk { name, disk, serial: ubd.config.serial, probed }),
    };
    Gendisk::add(parts, true);
}

/// Hands a request to the host's side.
fn start(disk: &dyn Disk, op: Op, offset: u64, data: Vec<u8>) -> Pending {
    start_range(disk, op, offset, data.len() as u64, data)
}

fn start_range(disk: &dyn Disk, op: Op, offset: u64, len: u64, data: Vec<u8>) -> Pending {
    let (pending, complete) = Pending::new();
    let done = Box::new(move |outcome, data| complete.complete(outcome, data));
    disk.submit(Request { op, offset, len, data, done });
    pending
}

/// What is done of a piece, in whole sectors.
fn whole(done: usize) -> usize {
    done / SECTOR as usize * SECTOR as usize
}

impl UbdDisk {
    /// The serial number of the command line.
    pub fn serial(&self) -> Option<&str> {
        self.serial.as_deref()
    }

    /// Whether a write would make the file look like another kind of image, which could name any file of the host as
    /// part of this disk.
    fn refuse_header(&self, offset: u64, bufs: &[&[u8]]) -> Result<()> {
        if offset > 0 || !self.probed {
            return Ok(());
        }
        let mut start = [0; 4];
        let bytes = bufs.iter().flat_map(|buf| buf.iter());
        start.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        if !host::block::is_header(start) {
            return Ok(());
        }
        crate::pr_err!(
            "{0}: a copy-on-write or qcow2 header is not written to the start of a plain disk (the flag 'd' allows it: {0}d=)",
            self.name
        );
        Err(EPERM)
    }

    /// A read on the vCPU's own thread, if nobody else wants that: then it is quicker than to have others wait.
    fn read_here(&self, offset: u64, buf: &mut [u8]) -> Option<Result<()>> {
        if sched::may_linger(LINGER) { self.disk.read_here(offset, buf) } else { None }
    }

    fn command(&self, op: Op, offset: u64, len: u64) -> Result<()> {
        start_range(&*self.disk, op, offset, len, Vec::new()).wait().0
    }
}

impl DiskOps for UbdDisk {
    fn len(&self) -> u64 {
        self.disk.len()
    }

    fn is_read_only(&self) -> bool {
        self.disk.is_read_only()
    }

    fn limits(&self) -> Limits {
        self.disk.limits()
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let done = whole(self.disk.read_now(offset, buf));
        let rest = &mut buf[done..];
        if rest.is_empty() {
            return Ok(());
        }
        let mut at = offset + done as u64;
        if let Some(outcome) = self.read_here(at, rest) {
            return outcome;
        }
        for group in rest.chunks_mut(PIECE * WINDOW) {
            let pending: Vec<_> = group
                .chunks(PIECE)
                .map(|piece| {
                    let pending = start(&*self.disk, Op::Read, at, buffers::take(piece.len()));
                    at += piece.len() as u64;
                    pending
                })
                .collect();
            // Each is waited for, also after an error.
            let outcomes = pending.into_iter().zip(group.chunks_mut(PIECE)).map(|(pending, piece)| {
                let (outcome, data) = pending.wait();
                if outcome.is_ok() {
                    piece.copy_from_slice(data.get(..piece.len()).ok_or(EIO)?);
                }
                buffers::give(data);
                outcome
            });
            outcomes.fold(Ok(()), Result::and)?;
        }
        Ok(())
    }

    fn write(&self, offset: u64, bufs: &[&[u8]], fua: bool) -> Result<()> {
        self.refuse_header(offset, bufs)?;
        if bufs.iter().any(|buf| !(buf.len() as u64).is_multiple_of(SECTOR)) {
            // Together they are whole sectors, and a request is nothing less.
            return self.write(offset, &[&bufs.concat()], fua);
        }
        let mut at = offset;
        let mut pending = Vec::new();
        let mut rest = bufs;
        while !rest.is_empty() {
            let (group, len) = take_group(&mut rest);
            let now = if fua { 0 } else { whole(self.disk.write_now(at, group)) };
            if now < len {
                for from in (now..len).step_by(PIECE) {
                    let mut data = buffers::take(PIECE.min(len - from));
                    gather(group, from, &mut data);
                    pending.push(start(&*self.disk, Op::Write { fua }, at + from as u64, data));
                    if pending.len() >= WINDOW {
                        wait_all(&mut pending)?;
                    }
                }
            }
            at += len as u64;
        }
        wait_all(&mut pending)
    }

    fn flush(&self) -> Result<()> {
        // Nobody else wants this thread: to wait on it is quicker than to have others wait.
        if sched::may_linger(LINGER)
            && let Some(outcome) = self.disk.flush_now()
        {
            return outcome;
        }
        self.command(Op::Flush, 0, 0)
    }

    fn discard(&self, offset: u64, len: u64) -> Result<()> {
        self.command(Op::Discard, offset, len)
    }

    fn write_zeroes(&self, offset: u64, len: u64, unmap: bool) -> Result<()> {
        self.command(Op::WriteZeroes { unmap }, offset, len)
    }

    fn start_read(&self, offset: u64, mut buf: Vec<u8>) -> Pending {
        let done = whole(self.disk.read_now(offset, &mut buf));
        if done == buf.len() {
            return Pending::ready(Ok(()), buf);
        }
        if let Some(outcome) = self.read_here(offset + done as u64, &mut buf[done..]) {
            return Pending::ready(outcome, buf);
        }
        start(&*self.disk, Op::Read, offset, buf)
    }

    fn start_write(&self, offset: u64, data: Vec<u8>) -> Pending {
        if let Err(errno) = self.refuse_header(offset, &[&data]) {
            return Pending::ready(Err(errno), data);
        }
        if self.disk.write_now(offset, &[&data]) == data.len() {
            return Pending::ready(Ok(()), data);
        }
        start(&*self.disk, Op::Write { fua: false }, offset, data)
    }

    fn geometry(&self) -> Option<(u8, u8)> {
        Some((128, 32))
    }
}

/// The next buffers that make one request, and their bytes.
fn take_group<'a, 'b>(rest: &mut &'b [&'a [u8]]) -> (&'b [&'a [u8]], usize) {
    let mut len = 0;
    let fit = rest.iter().take_while(|buf| {
        len += buf.len();
        len <= CALL_MAX
    });
    let count = fit.count().max(1);
    let (group, later) = rest.split_at(count);
    *rest = later;
    (group, group.iter().map(|buf| buf.len()).sum())
}

/// Fills `to` with what the buffers hold from `skip` on.
fn gather(bufs: &[&[u8]], mut skip: usize, mut to: &mut [u8]) {
    for buf in bufs {
        let part = buf.get(skip..).unwrap_or(&[]);
        skip = skip.saturating_sub(buf.len());
        let n = part.len().min(to.len());
        to[..n].copy_from_slice(&part[..n]);
        to = &mut to[n..];
    }
}

fn wait_all(pending: &mut Vec<Pending>) -> Result<()> {
    let finish = |one: Pending| {
        let (outcome, data) = one.wait();
        buffers::give(data);
        outcome
    };
    pending.drain(..).map(finish).fold(Ok(()), Result::and)
}

#[cfg(test)]
mod tests {
    use super::gather;

    #[test]
    fn pieces_are_gathered_across_buffers() {
        let bufs: [&[u8]; 4] = [b"abc", b"", b"defg", b"h"];
        let all = b"abcdefgh";
        for from in 0..all.len() {
            for to in from..=all.len() {
                let mut piece = vec![0; to - from];
                gather(&bufs, from, &mut piece);
                assert_eq!(piece, &all[from..to]);
            }
        }
    }
}
