//! One guest thread: its orders to the stub, but for running the guest (`run`) and its vector state (`fp`).

use super::TASK_SIZE;
use super::abi::*;
use super::notify::{Order, Ordered};
use super::op::{Descriptors, MemOp};
use super::pace::Pace;
use super::process::{self, PROCESS_VM};
use super::progress::{LOOK_NS, LOOKS, answered};
use super::regs::Regs;
use super::space::{AddressSpace, Parked, ThreadEnd, Usage};
use super::undertaker;
use super::window::{Mapping, Woke};
use crate::{clock, random, sys};
use abi::errno::*;
use abi::{Errno, Result};
use parking_lot::Mutex;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// How long to sleep at a time for a child that may have died unseen, ns.
const ORPHAN_NS: u64 = 10_000_000;
/// How many times as long as usual the stub looks for its turn at most.
const LONGER: u32 = 20;

/// One guest thread: a host thread in a stub process. Owned by its guest task; dropped, the host thread exits.
pub struct StubThread {
    pub(super) regs: Regs,
    pub(super) space: Arc<AddressSpace>,
    pub(super) mapping: Arc<Mapping>,
    pub(super) slot: u32,
    pub(super) tid: i32,
    /// The process's first thread, whose id is the process's.
    pub(super) leader: bool,
    pub(super) deferred: Vec<MemOp>,
    /// Where its signal frame's vector state is.
    pub(super) fpstate: u64,
    /// The core it is pinned to.
    pub(super) core: Option<usize>,
    /// Whether it last ran on another core than its vCPU, so that both sides spin.
    pub(super) spin: bool,
    /// What of guest memory the last system call's arguments point to, as far as it came with the call: address, length.
    pub(super) argument: (u64, usize),
    /// What the address space has used, as far as it came with the last event.
    pub(super) usage: Option<Usage>,
    /// How many copies to guest memory are staged for the next resume.
    pub(super) copies: usize,
    /// New siblings that still spin on this thread's core.
    pub(super) newborn: Vec<Arc<Mapping>>,
    /// It has been told to unmap everything, and has not been heard of since.
    pub(super) emptying: bool,
    /// The last event came the fast way: there is no signal frame.
    pub(super) light: bool,
    /// FS and GS base as they were then.
    pub(super) bases: (u64, u64),
    /// Which record of answers it has.
    pub(super) record: u32,
    /// How many answers it has counted.
    pub(super) answered: u64,
    /// How it has behaved of late.
    pub(super) pace: Pace,
}

/// Why an order was not carried out.
#[derive(Debug)]
pub(super) enum Failure {
    /// The operation with this index among those staged failed.
    Op(usize, Errno),
    /// The stub is lost.
    Dead,
}

impl StubThread {
    /// An empty address space from the pool, and its first thread: nothing below [`TASK_SIZE`](super::TASK_SIZE) is
    /// mapped.
    pub fn fresh() -> Result<(Arc<AddressSpace>, StubThread)> {
        super::zygote::fresh()
    }

    /// Gives it up. If it was the last of its process, that ends now, and not when there is nothing better to do.
    pub fn end(mut self) {
        self.spin = false;
    }

    /// The registers. Only while stopped, which is whenever the caller has it.
    pub fn regs(&self) -> &Regs {
        &self.regs
    }

    /// The registers, to change.
    pub fn regs_mut(&mut self) -> &mut Regs {
        &mut self.regs
    }

    /// The guest has run for so long, ns, until its last event.
    #[inline]
    pub fn has_run(&mut self, ns: u64) {
        self.pace.note(ns);
    }

    /// The address space it runs in.
    pub fn address_space(&self) -> &Arc<AddressSpace> {
        &self.space
    }

    /// Queues an operation that is done, in order, before the guest runs again, in the same handoff.
    pub fn defer(&mut self, op: MemOp) {
        self.deferred.push(op);
    }

    /// Does operations now, after the deferred ones. An error names the operation by its place among all of them;
    /// ESRCH with place 0 if the process is dead.
    pub fn batch(&mut self, ops: Vec<MemOp>) -> Result<(), (usize, Errno)> {
        self.deferred.extend(ops);
        match self.flush() {
            Ok(()) => Ok(()),
            Err(Failure::Op(index, errno)) => Err((index, errno)),
            Err(Failure::Dead) => Err((0, ESRCH)),
        }
    }

    /// The guest memory that came with the last system call, which can be had without a host call: address and length.
    #[inline]
    pub fn argument(&self) -> (u64, usize) {
        self.argument
    }

    /// What the address space has used, if the last event was a system call by which a program ends. What it says is the
    /// guest's own claim.
    pub fn usage(&self) -> Option<Usage> {
        self.usage.map(|usage| self.space.since_baseline(usage))
    }

    /// Copies from that memory; false if not all of it is there.
    pub fn read_argument(&self, addr: u64, buf: &mut [u8]) -> bool {
        let (start, len) = self.argument;
        let offset = usize::try_from(addr.wrapping_sub(start)).unwrap_or(usize::MAX);
        if offset.checked_add(buf.len()).is_none_or(|end| end > len) {
            return false;
        }
        self.mapping.read_data(offset, buf);
        true
    }

    /// The call at hand may take longer than the stub looks for its turn, but not by much: to wake it up then takes about
    /// as long as a megabyte to copy. So it looks for longer, this once.
    pub fn look_longer(&self) {
        if self.spin {
            let looks = super::window::stub_looks().saturating_mul(LONGER);
            self.mapping.get().spin.store(looks, Relaxed);
        }
    }

    /// Has `bytes` written to guest memory before the guest goes on, in the same handoff: to each address the next so
    /// many of them. False if that is too much, or such copies are staged already; then nothing is.
    pub fn copy_later(&mut self, pieces: &[(u64, usize)], bytes: &[u8]) -> bool {
        let sound =
            |&(addr, len): &(u64, usize)| addr.checked_add(len as u64).is_some_and(|end| end <= TASK_SIZE);
        let fits = pieces.len() <= COPIES && bytes.len() <= COPY_LEN as usize && pieces.iter().all(sound);
        if self.copies != 0 || !fits || pieces.iter().map(|piece| piece.1).sum::<usize>() != bytes.len() {
            return false;
        }
        let window = self.mapping.get();
        for (to, (addr, len)) in window.copies.iter().zip(pieces) {
            to[0].store(*addr, Relaxed);
            to[1].store(*len as u64, Relaxed);
        }
        self.mapping.write_data(ARG_LEN as usize, bytes);
        window.copy_count.store(pieces.len() as u64, Relaxed);
        self.copies = pieces.len();
        true
    }

    /// Replaces the word at the guest address `addr` by `new` if it is `old`, in one atomic step; what was there. EFAULT
    /// where the guest could not write, EINVAL for an unaligned address.
    pub fn compare_exchange(&mut self, addr: u64, old: u32, new: u32) -> Result<u32> {
        if addr & 3 != 0 {
            return Err(EINVAL);
        }
        if addr >= TASK_SIZE {
            return Err(EFAULT);
        }
        let window = self.mapping.get();
        window.addr.store(addr, Relaxed);
        window.len.store(u64::from(old) | u64::from(new) << 32, Relaxed);
        match self.order(command::COMPARE_EXCHANGE, 0) {
            Ok(found) => u32::try_from(found).map_err(|_| EFAULT),
            Err(Failure::Op(_, errno)) => Err(errno),
            Err(Failure::Dead) => Err(ESRCH),
        }
    }

    /// Nothing is staged any more for the next resume.
    pub(super) fn forget_copies(&mut self) {
        self.mapping.get().copy_count.store(0, Relaxed);
        self.copies = 0;
    }

    /// Waits until a stub that empties itself is done.
    fn finish_emptying(&mut self) -> Result<(), Failure> {
        if core::mem::take(&mut self.emptying) {
            self.result(0)?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Failure> {
        self.finish_emptying()?;
        let mut done = 0;
        while !self.deferred.is_empty() {
            let count = self.stage_or_fail(done)?;
            self.order(command::BATCH, done)?;
            self.deferred.drain(..count);
            done += count;
        }
        Ok(())
    }

    /// Does deferred operations until those left fit one handoff, and stages these; how many are done.
    pub(super) fn stage_deferred(&mut self) -> Result<usize, Failure> {
        self.finish_emptying()?;
        let mut done = 0;
        loop {
            let count = self.stage_or_fail(done)?;
            if count == self.deferred.len() {
                return Ok(done);
            }
            self.order(command::BATCH, done)?;
            self.deferred.drain(..count);
            done += count;
        }
    }

    fn stage_or_fail(&mut self, done: usize) -> Result<usize, Failure> {
        let staged = self.stage();
        if let Err(Failure::Op(0, errno)) = staged {
            self.deferred.clear();
            return Err(Failure::Op(done, errno));
        }
        staged
    }

    /// Puts as many deferred operations into the window as fit; how many. `Op(0, …)` if not even the first is sound.
    fn stage(&mut self) -> Result<usize, Failure> {
        let window = self.mapping.get();
        let mut fds = Descriptors::default();
        let mut count = 0;
        for (slot, op) in window.ops.iter().zip(&self.deferred) {
            let (mut words, fd) = match op.encode() {
                Ok(encoded) => encoded,
                // The sound ones before it are done first.
                Err(_) if count > 0 => break,
                Err(errno) => return Err(Failure::Op(0, errno)),
            };
            if let Some(fd) = fd {
                let Some(index) = fds.index(fd) else { break };
                words[5] = index as u64;
            }
            for (to, from) in slot.iter().zip(words) {
                to.store(from, Relaxed);
            }
            count += 1;
        }
        self.send(fds.as_slice())?;
        window.op_count.store(count as u32, Relaxed);
        Ok(count)
    }

    /// Sends the descriptors that travel with the next command.
    fn send(&self, fds: &[RawFd]) -> Result<(), Failure> {
        self.mapping.get().fd_count.store(fds.len() as u32, Relaxed);
        if fds.is_empty() {
            return Ok(());
        }
        sys::send_fds(&self.space.socket, &[0], fds)
            .map_err(|errno| self.lost(&format!("it takes no descriptors: {errno}")))
    }

    /// The stub makes no sense or is gone: kills the process.
    pub(super) fn lost(&self, why: &str) -> Failure {
        self.space.process.give_up(why, self.mapping.get());
        Failure::Dead
    }

    /// Has the stub carry out a command other than to resume; its result. `done` operations came before those staged.
    pub(super) fn order(&mut self, command: u32, done: usize) -> Result<i64, Failure> {
        self.mapping.get().command.store(command, Relaxed);
        self.light = false;
        if self.space.is_dead() {
            return Err(Failure::Dead);
        }
        self.mapping.release(self.spin);
        self.result(done)
    }

    /// Waits for a command's result.
    pub(super) fn result(&mut self, done: usize) -> Result<i64, Failure> {
        let answered = answered(&self.space.process, &self.mapping, self.tid, self.spin);
        self.hush();
        if !answered {
            return Err(Failure::Dead);
        }
        let window = self.mapping.get();
        // A call that came the fast way has got a frame for the order.
        self.fpstate = window.fpstate.load(Relaxed);
        window.op_count.store(0, Relaxed);
        window.fd_count.store(0, Relaxed);
        match window.event.load(Relaxed) {
            event::DONE => Ok(window.ret.load(Relaxed) as i64),
            event::OP_FAILED => {
                self.deferred.clear();
                Err(self.op_failure(done))
            }
            _ => Err(self.lost("its answer makes no sense")),
        }
    }

    pub(super) fn op_failure(&self, done: usize) -> Failure {
        let window = self.mapping.get();
        let index = (window.index.load(Relaxed) as usize).min(OPS);
        let errno = (window.ret.load(Relaxed) as i64).wrapping_neg();
        Failure::Op(done + index, Errno::from_raw(i32::try_from(errno).unwrap_or(libc::EINVAL)))
    }

    /// New siblings that wait for their first order stop spinning: their core is wanted.
    pub(super) fn hush(&mut self) {
        for mapping in self.newborn.drain(..) {
            mapping.give_way(self.spin);
        }
    }

    /// Whoever has its core next may have it now: the thread's system call takes long.
    pub fn rest(&self) {
        self.mapping.give_way(self.spin);
    }

    /// A copy of the whole address space with a copy of this thread, as fork(2).
    pub fn fork(&mut self) -> Result<(Arc<AddressSpace>, StubThread)> {
        self.framed()?;
        self.flush().map_err(errno_of)?;
        self.vacate_slots().map_err(errno_of)?;
        let Birth { socket, theirs, mapping, memory, nonce } = Birth::take()?;
        introduce(self.mapping.get(), mapping.get(), self.spin);
        self.send(&[theirs.as_raw_fd(), memory.as_raw_fd()]).map_err(errno_of)?;
        self.mapping.get().command.store(command::FORK, Relaxed);
        let ordered = self.start_clone(FORK_FLAGS, None)?;
        drop((theirs, memory));
        Birth::prepare();
        undertaker::end_one();
        // The child comes second: one wait is enough, and the parent need wake nobody. Where there is none the parent tells.
        let parent = self.mapping.clone();
        let failed = || parent.has_turn() && (parent.get().ret.load(Relaxed) as i64) <= 0;
        let _ = mapping.wait(None, self.spin, Some(clock::monotonic() + ORPHAN_NS), &failed);
        let pid = self.finish_clone(ordered)?;
        let (mut looks, most) = (0, u64::from(LOOKS) * LOOK_NS / ORPHAN_NS);
        loop {
            // Nobody watches over a process that is not adopted yet, so this looks now and then.
            let deadline = clock::monotonic() + ORPHAN_NS;
            match mapping.wait(None, self.spin, Some(deadline), &|| false) {
                Woke::Turn => break,
                Woke::Late if looks < most && !process::has_exited(pid) => looks += 1,
                _ => {
                    self.lost("its child does not answer");
                    return Err(ESRCH);
                }
            }
        }
        let base = SLOTS + u64::from(self.slot) * SLOT_LEN;
        let process = process::adopt(pid, &mapping, base, nonce)
            .map_err(|_| errno_of(self.lost("its child is not what was ordered")))?;
        self.newborn.push(mapping.clone());
        let space = AddressSpace::new(process, socket, self.slot);
        let mut child = StubThread {
            space: space.clone(),
            mapping,
            tid: pid,
            leader: true,
            deferred: Vec::new(),
            argument: (0, 0),
            usage: None,
            copies: 0,
            newborn: Vec::new(),
            emptying: false,
            record: 0,
            answered: 0,
            pace: Pace::default(),
            ..*self
        };
        child.make_copier()?;
        Ok((space, child))
    }

    /// Another thread in the same address space, with a copy of this one's registers.
    pub fn spawn(&mut self) -> Result<StubThread> {
        self.framed()?;
        self.flush().map_err(errno_of)?;
        let parked = match self.space.take_parked() {
            Some(parked) => {
                self.revive(&parked)?;
                parked
            }
            None => {
                let (slot, mapping, tid) = self.sibling()?;
                let base = SLOTS + u64::from(slot) * SLOT_LEN;
                let fpstate = base + (self.fpstate & (SLOT_LEN - 1));
                Parked { slot, mapping, tid, core: self.core, fpstate }
            }
        };
        let Parked { slot, mapping, tid, core, fpstate } = parked;
        self.newborn.push(mapping.clone());
        Ok(StubThread {
            space: self.space.clone(),
            mapping,
            slot,
            tid,
            leader: false,
            deferred: Vec::new(),
            core,
            fpstate,
            argument: (0, 0),
            usage: None,
            copies: 0,
            newborn: Vec::new(),
            emptying: false,
            record: 0,
            answered: 0,
            pace: Pace::default(),
            ..*self
        })
    }

    /// Gives the address space its thread for copies, where the host does not copy for us.
    pub(super) fn make_copier(&mut self) -> Result<()> {
        if PROCESS_VM.load(Relaxed) {
            return Ok(());
        }
        let (_, mapping, tid) = self.sibling()?;
        mapping.get().spin.store(0, Relaxed);
        self.space.set_copier(mapping, tid);
        Ok(())
    }

    /// A new host thread that waits for its first order: its slot, window and id.
    fn sibling(&mut self) -> Result<(u32, Arc<Mapping>, i32)> {
        self.flush().map_err(errno_of)?;
        let (slot, window) = self.space.take_slot()?;
        let made = self.sibling_in(slot, window);
        match &made {
            Ok(_) => {}
            // Nothing came of it, and the slot is lost.
            Err(_) => self.space.forget_thread(),
        }
        made.map(|(mapping, tid)| (slot, mapping, tid))
    }

    fn sibling_in(&mut self, slot: u32, window: Option<Arc<Mapping>>) -> Result<(Arc<Mapping>, i32)> {
        let mapping = match window {
            Some(window) => window,
            None => {
                let (mapping, memory) = Mapping::new()?;
                self.send(&[memory.as_raw_fd()]).map_err(errno_of)?;
                self.space.process.watch(&mapping);
                mapping
            }
        };
        mapping.get().turn.store(0, Relaxed);
        introduce(self.mapping.get(), mapping.get(), self.spin);
        let window = self.mapping.get();
        window.slot.store(slot, Relaxed);
        window.command.store(command::THREAD, Relaxed);
        let ordered = self.start_clone(THREAD_FLAGS, Some(slot))?;
        let tid = self.finish_clone(ordered)?;
        let process = &self.space.process;
        if process.signal_thread(tid, 0).is_err() {
            self.lost("its thread is not what was ordered");
            return Err(ESRCH);
        }
        if !answered(process, &mapping, tid, self.spin) {
            return Err(ESRCH);
        }
        Ok((mapping, tid))
    }

    /// Has the stub clone.
    fn start_clone(&mut self, flags: u64, slot: Option<u32>) -> Result<Ordered> {
        if self.space.is_dead() {
            return Err(ESRCH);
        }
        let ordered = Ordered::new(Order { tid: self.tid, flags, slot }, self.core);
        self.mapping.get().ret.store(0, Relaxed);
        // Its core is the newcomer's next.
        self.mapping.release_giving_way(self.spin);
        Ok(ordered)
    }

    /// The new process or thread id.
    fn finish_clone(&mut self, ordered: Ordered) -> Result<i32> {
        let ret = self.result(0).map_err(errno_of)?;
        drop(ordered);
        match i32::try_from(ret) {
            Ok(id) if id > 0 => Ok(id),
            Ok(error) if error < 0 => Err(Errno::from_raw(-error)),
            _ => Err(EIO),
        }
    }
}

/// What a new stub process needs of its own.
struct Birth {
    socket: OwnedFd,
    theirs: OwnedFd,
    mapping: Arc<Mapping>,
    memory: OwnedFd,
    nonce: u64,
}

/// For the next fork. A leaf lock.
static NEXT_BIRTH: Mutex<Option<Birth>> = Mutex::new(None);

impl Birth {
    fn new() -> Result<Birth> {
        let (socket, theirs) = sys::socket_pair()?;
        let (mapping, memory) = Mapping::new()?;
        let mut nonce = [0; 8];
        random::fill(&mut nonce);
        let nonce = u64::from_ne_bytes(nonce);
        mapping.get().nonce.store(nonce, Relaxed);
        Ok(Birth { socket, theirs, mapping, memory, nonce })
    }

    fn take() -> Result<Birth> {
        let ready = NEXT_BIRTH.lock().take();
        ready.map_or_else(Birth::new, Ok)
    }

    /// Makes the next one ready. A failure will show when it is needed.
    fn prepare() {
        if let Ok(birth) = Birth::new() {
            let unused = NEXT_BIRTH.lock().replace(birth);
            drop(unused);
        }
    }
}

pub(super) fn errno_of(failure: Failure) -> Errno {
    match failure {
        Failure::Op(_, errno) => errno,
        Failure::Dead => ESRCH,
    }
}

/// What a new window says before its thread first looks at it.
pub(super) fn introduce(from: &Window, to: &Window, spin: bool) {
    to.copy_count.store(0, Relaxed);
    to.answers.store(0, Relaxed);
    to.answered.store(0, Relaxed);
    to.phase.store(0, Relaxed);
    to.vdso.store(from.vdso.load(Relaxed), Relaxed);
    to.vdso_end.store(from.vdso_end.load(Relaxed), Relaxed);
    to.fsgsbase.store(from.fsgsbase.load(Relaxed), Relaxed);
    to.parent.store(sys::own_pid(), Relaxed);
    to.spin.store(if spin { super::window::stub_looks() } else { 0 }, Relaxed);
}

impl Drop for StubThread {
    fn drop(&mut self) {
        self.hush();
        let parked = if self.can_park() && !self.leader { Some(self.park()) } else { None };
        let window = self.mapping.get();
        match self.space.end_thread(self.slot, &self.mapping, self.leader, parked) {
            ThreadEnd::Process if self.spin && !self.space.is_dead() => {
                undertaker::later(self.space.clone(), self.mapping.clone());
            }
            ThreadEnd::Process => self.space.kill(),
            ThreadEnd::Exits if !self.space.is_dead() && self.mapping.has_turn() => {
                window.op_count.store(0, Relaxed);
                window.fd_count.store(0, Relaxed);
                window.command.store(command::EXIT, Relaxed);
                self.mapping.release(false);
            }
            ThreadEnd::Exits | ThreadEnd::Parks => window.spin.store(0, Relaxed),
        }
    }
}
