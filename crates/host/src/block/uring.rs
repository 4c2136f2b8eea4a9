//! Requests by io_uring: one ring for all disks, started from any thread, its completions taken by a thread of its own.
//!
//! A request's buffer and file stay in the table of flights until the host is done with them.

use std::collections::VecDeque;
use std::os::fd::AsRawFd;
use std::sync::{Arc, OnceLock};

use abi::errno::{EAGAIN, EINTR, EINVAL, EIO, ENODEV, ENOSYS, EOPNOTSUPP};
use abi::{Errno, Result};
use io_uring::{IoUring, cqueue, opcode, squeue, types};
use parking_lot::Mutex;

use super::file::HostFile;
use super::{Blocking, Op, Request, pool};

/// Most requests that the host has at a time; others wait here.
const DEPTH: usize = 256;

struct Flight {
    file: Arc<HostFile>,
    request: Request,
    /// Bytes that are done.
    done: usize,
}

struct Flights {
    table: Vec<Option<Flight>>,
    free: Vec<usize>,
    waiting: VecDeque<Flight>,
}

pub(super) struct Ring {
    ring: IoUring,
    /// Also serialises the submission queue.
    flights: Mutex<Flights>,
}

/// The ring, made when it is first asked for; an error where the host has none.
pub(super) fn ring() -> Result<&'static Ring> {
    static RING: OnceLock<Result<Ring>> = OnceLock::new();
    let make = || {
        let ring = IoUring::builder().dontfork().build(DEPTH as u32).map_err(|e| errno_of(&e))?;
        let free = (0..DEPTH).rev().collect();
        let table = (0..DEPTH).map(|_| None).collect();
        let spawned = std::thread::Builder::new().name("block-uring".to_owned()).spawn(complete_forever);
        spawned.map_err(|e| errno_of(&e))?;
        Ok(Ring { ring, flights: Mutex::new(Flights { table, free, waiting: VecDeque::new() }) })
    };
    RING.get_or_init(make).as_ref().map_err(|e| *e)
}

fn errno_of(error: &std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}

impl Ring {
    /// Starts a request on a file.
    pub(super) fn start(&self, file: &Arc<HostFile>, request: Request) {
        let by_call = file.is_device() && matches!(request.op, Op::Discard | Op::WriteZeroes { .. });
        let flight = Flight { file: file.clone(), request, done: 0 };
        if by_call { by_thread(flight) } else { self.launch(flight) }
    }

    fn launch(&self, flight: Flight) {
        let mut flights = self.flights.lock();
        match flights.free.pop() {
            Some(slot) => self.push(&mut flights, slot, flight),
            None => flights.waiting.push_back(flight),
        }
    }

    /// Gives a flight with its place in the table to the host.
    fn push(&self, flights: &mut Flights, slot: usize, flight: Flight) {
        let entry = flights.table[slot].insert(flight).entry().user_data(slot as u64);
        // SAFETY: the table's lock is held, so nobody else uses the submission queue. What the entry points to is the
        // flight's buffer, which stays in the table, unmoved, until its completion is taken.
        unsafe {
            // There are as many places in the queue as in the table.
            let _ = self.ring.submission_shared().push(&entry);
        }
        while let Err(error) = self.ring.submit() {
            if !matches!(errno_of(&error), EINTR | EAGAIN | abi::errno::EBUSY) {
                break;
            }
            std::thread::yield_now();
        }
    }

    fn complete(&self, slot: usize, outcome: i32) {
        let finished = {
            let mut flights = self.flights.lock();
            let Some(mut flight) = flights.table.get_mut(slot).and_then(Option::take) else { return };
            let verdict = flight.landed(outcome);
            if matches!(verdict, Verdict::Again) {
                self.push(&mut flights, slot, flight);
                return;
            }
            match flights.waiting.pop_front() {
                Some(next) => self.push(&mut flights, slot, next),
                None => flights.free.push(slot),
            }
            (flight, verdict)
        };
        match finished {
            (flight, Verdict::Done(outcome)) => flight.request.finish(outcome),
            (flight, _) => by_thread(flight),
        }
    }
}

/// What the plain calls do better: ranges of devices, and what this host's ring refuses.
fn by_thread(mut flight: Flight) {
    pool::run(Box::new(move || {
        let outcome = flight.file.perform(&mut flight.request);
        flight.request.finish(outcome);
    }));
}

fn complete_forever() {
    crate::place::unpin();
    let Ok(ring) = ring() else { return };
    let mut batch: Vec<(usize, i32)> = Vec::with_capacity(DEPTH);
    loop {
        // SAFETY: no argument is passed; the call only waits for a completion.
        let waited = unsafe { ring.ring.submitter().enter::<libc::sigset_t>(0, 1, GETEVENTS, None) };
        if let Err(error) = waited
            && !matches!(errno_of(&error), EINTR | EAGAIN | abi::errno::EBUSY)
        {
            // Not possible with a ring that was made by this program; rather slow than silent.
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        // SAFETY: only this thread takes completions.
        let completions = unsafe { ring.ring.completion_shared() };
        batch.extend(completions.map(|c: cqueue::Entry| (c.user_data() as usize, c.result())));
        batch.drain(..).for_each(|(slot, outcome)| ring.complete(slot, outcome));
    }
}

/// IORING_ENTER_GETEVENTS
const GETEVENTS: u32 = 1;

enum Verdict {
    Done(Result<()>),
    /// The rest is still to do.
    Again,
    /// The ring can't: by plain calls.
    Refused,
}

impl Flight {
    /// What the host is to do next.
    fn entry(&mut self) -> squeue::Entry {
        let fd = types::Fd(self.file.fd().as_raw_fd());
        let Request { op, offset, len, ref mut data, .. } = self.request;
        let keep = libc::FALLOC_FL_KEEP_SIZE;
        match op {
            Op::Read => {
                let rest = &mut data[self.done..];
                opcode::Read::new(fd, rest.as_mut_ptr(), rest.len() as u32)
                    .offset(offset + self.done as u64)
                    .build()
            }
            Op::Write { fua } => {
                let rest = &data[self.done..];
                self.file.note_write(offset, len);
                opcode::Write::new(fd, rest.as_ptr(), rest.len() as u32)
                    .offset(offset + self.done as u64)
                    .rw_flags(if fua { libc::RWF_DSYNC } else { 0 })
                    .build()
            }
            Op::Flush => opcode::Fsync::new(fd).flags(types::FsyncFlags::DATASYNC).build(),
            Op::Discard => {
                opcode::Fallocate::new(fd, len).offset(offset).mode(keep | libc::FALLOC_FL_PUNCH_HOLE).build()
            }
            Op::WriteZeroes { unmap } => {
                let mode = if unmap && self.file.limits().discard {
                    libc::FALLOC_FL_PUNCH_HOLE
                } else {
                    libc::FALLOC_FL_ZERO_RANGE
                };
                opcode::Fallocate::new(fd, len).offset(offset).mode(keep | mode).build()
            }
        }
    }

    /// The host answers.
    fn landed(&mut self, outcome: i32) -> Verdict {
        let transfer = matches!(self.request.op, Op::Read | Op::Write { .. });
        if matches!(self.request.op, Op::Write { .. }) {
            self.file.note_write(self.request.offset, self.request.len);
        }
        match (outcome, self.request.op) {
            // The end of a file whose size is no multiple of a sector.
            (0, Op::Read) => {
                self.request.data[self.done..].fill(0);
                Verdict::Done(Ok(()))
            }
            (0, Op::Write { .. }) => Verdict::Done(Err(EIO)),
            (n @ 0.., _) if transfer => {
                self.done += n as usize;
                if self.done < self.request.data.len() { Verdict::Again } else { Verdict::Done(Ok(())) }
            }
            (0.., _) => Verdict::Done(Ok(())),
            (error, op) => match Errno::from_raw(-error) {
                EINTR | EAGAIN => Verdict::Again,
                EOPNOTSUPP | ENOSYS | ENODEV if op == Op::Discard => Verdict::Done(Err(EOPNOTSUPP)),
                EINVAL | EOPNOTSUPP | ENOSYS | ENODEV => Verdict::Refused,
                errno => Verdict::Done(Err(errno)),
            },
        }
    }
}
