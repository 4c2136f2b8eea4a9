//! Running guest code: one handoff to the stub and back for each event.

use super::abi::*;
use super::count;
use super::progress::{LOOK_NS, Progress};
use super::regs::{ERR, Regs, TRAPNO};
use super::space::Usage;
use super::thread::{Failure, StubThread};
use super::window::Woke;
use super::{Event, Fault, SyscallAbi, TASK_SIZE, Wait};
use crate::bpf::ARCH_X86_64;
use crate::cpu::Cpu;
use crate::{clock, place};
use std::sync::atomic::Ordering::Relaxed;

const ARCH_I386: u32 = 0x4000_0003;
/// System calls by which a program leaves its memory.
const LAST_CALLS: [libc::c_long; 4] =
    [libc::SYS_exit, libc::SYS_exit_group, libc::SYS_execve, libc::SYS_execveat];
/// How often `tick` is called while a stub that was told to stop doesn't, ns.
const TICK_NS: u64 = 10_000_000;

/// si_code of a SIGSYS from seccomp.
const SYS_SECCOMP: i32 = 1;

impl StubThread {
    /// Lets the guest run until an event, on the calling vCPU's time. `tick` is called when `wait` expires or the cpu is
    /// kicked, and its answer is the new wait.
    pub fn run(&mut self, cpu: &Cpu, wait: Wait, tick: &mut dyn FnMut() -> Wait) -> Event {
        let mut done = 0;
        self.usage = None;
        self.mapping.get().full.store(0, Relaxed);
        if !self.deferred.is_empty() {
            match self.stage_deferred() {
                Ok(before) => done = before,
                Err(Failure::Op(index, errno)) => return Event::BatchFailed { index, errno },
                Err(Failure::Dead) => return Event::Dead,
            }
        }
        self.settle(cpu);
        let window = self.mapping.get();
        self.regs.store(window);
        if self.light {
            let full = self.regs.needs_frame(self.bases);
            if full {
                window.full.store(1, Relaxed);
            }
            self.light = !full;
        }
        loop {
            if self.space.is_dead() {
                return Event::Dead;
            }
            self.mapping.get().command.store(command::RESUME, Relaxed);
            self.mapping.release(self.spin);
            cpu.runs(&self.mapping, self.spin);
            if !self.newborn.is_empty() {
                self.hush();
            }
            let Some(interrupting) = self.attend(cpu, wait, tick) else { return Event::Dead };
            let window = self.mapping.get();
            let event = window.event.load(Relaxed);
            self.fpstate = window.fpstate.load(Relaxed);
            if !self.deferred.is_empty() {
                window.op_count.store(0, Relaxed);
                window.fd_count.store(0, Relaxed);
                self.deferred.clear();
            }
            if self.copies != 0 && event != event::OP_FAILED {
                window.copy_count.store(0, Relaxed);
                self.copies = 0;
            }
            match event {
                event::SIGNAL => self.light = false,
                event::FAST => return self.fast(),
                event::COPY_FAILED => return Event::CopyFailed,
                event::OP_FAILED => match self.op_failure(done) {
                    Failure::Op(index, errno) => return Event::BatchFailed { index, errno },
                    Failure::Dead => return Event::Dead,
                },
                _ => return self.nonsense(),
            }
            self.regs.load(window);
            self.regs.orig_rax = !0;
            let signal = window.signal.load(Relaxed) as i32;
            self.count_answers();
            if signal == PREEMPT {
                if interrupting {
                    return Event::Interrupted;
                }
                // Sent earlier, and overtaken by another event: nobody waits for it now.
                self.regs.store(self.mapping.get());
                continue;
            }
            return self.signal();
        }
    }

    /// The event that the window's signal stands for.
    fn signal(&mut self) -> Event {
        let window = self.mapping.get();
        let signal = window.signal.load(Relaxed) as i32;
        let code = window.code.load(Relaxed) as i32;
        let addr = window.addr.load(Relaxed);
        match signal {
            libc::SIGSYS if code == SYS_SECCOMP => {
                let abi = match window.arch.load(Relaxed) {
                    ARCH_X86_64 => SyscallAbi::X86_64,
                    ARCH_I386 => SyscallAbi::I386,
                    _ => return self.nonsense(),
                };
                syscall(&mut self.regs, abi, window.syscall.load(Relaxed), addr);
                self.argument = argument(window);
                count::trapped();
                if LAST_CALLS.contains(&(self.regs.rax as libc::c_long)) {
                    self.usage = Some(usage(window));
                }
                Event::Syscall { abi }
            }
            libc::SIGSEGV | libc::SIGBUS | libc::SIGFPE | libc::SIGILL | libc::SIGTRAP => {
                let trapno = window.regs[TRAPNO].load(Relaxed);
                let error_code = window.regs[ERR].load(Relaxed);
                Event::Fault(Fault { signal, code, addr, trapno, error_code })
            }
            _ => self.nonsense(),
        }
    }

    fn nonsense(&self) -> Event {
        self.lost("what it says makes no sense");
        Event::Dead
    }

    /// Waits for the stub, asking `tick` as it goes: whether the guest was told to stop. None if the stub is lost.
    fn attend(&mut self, cpu: &Cpu, mut wait: Wait, tick: &mut dyn FnMut() -> Wait) -> Option<bool> {
        let mut told = None;
        let mut look_at = 0;
        loop {
            let deadline = match (&told, wait) {
                (Some(_), _) => Some(look_at.min(clock::monotonic() + TICK_NS)),
                (None, Wait::Forever) => None,
                (None, Wait::Until(deadline)) => Some(deadline),
                (None, Wait::Interrupt) => {
                    if self.space.process.signal_thread(self.tid, PREEMPT).is_err() {
                        self.lost("the host has killed its thread");
                        return None;
                    }
                    told = Some(Progress::of_guest(!self.deferred.is_empty()));
                    look_at = clock::monotonic() + LOOK_NS;
                    continue;
                }
            };
            let space = &self.space;
            match self.mapping.wait(Some(cpu), self.spin, deadline, &|| space.is_dead()) {
                Woke::Turn => return Some(told.is_some()),
                Woke::Dead => return None,
                Woke::Late | Woke::Kicked if told.is_some() && clock::monotonic() < look_at => {
                    // Others' timers go on, and others' vCPUs may take what is queued here.
                    tick();
                }
                Woke::Late | Woke::Kicked if let Some(progress) = &mut told => {
                    if let Err(why) = progress.look(&self.space.process, self.tid) {
                        self.lost(why);
                        return None;
                    }
                    look_at = clock::monotonic() + LOOK_NS;
                }
                Woke::Late | Woke::Kicked => wait = tick(),
            }
        }
    }

    /// Moves the stub thread to where this vCPU wants it.
    #[inline]
    fn settle(&mut self, cpu: &Cpu) {
        let (core, spin) = cpu.place(self.pace.slow());
        self.spin = spin;
        if core.is_some() && core != self.core {
            self.core = core;
            if let Some(core) = core {
                let tid = self.tid;
                self.space.process.with_pid(|_| place::pin(tid, core));
            }
        }
    }
}

/// What the window says a process has used, within what can be.
fn usage(window: &Window) -> Usage {
    let [minor_faults, major_faults, kib] =
        window.usage.each_ref().map(|word| word.load(Relaxed).min(u64::from(u32::MAX)));
    Usage { minor_faults, major_faults, resident: kib * 1024 }
}

/// The guest memory that came with a system call, if what the window says of it makes sense.
pub(super) fn argument(window: &Window) -> (u64, usize) {
    let len = window.arg_len.load(Relaxed);
    if len == 0 {
        return (0, 0);
    }
    let addr = window.arg_addr.load(Relaxed);
    let guest = len <= ARG_LEN && addr.checked_add(len).is_some_and(|end| end <= TASK_SIZE);
    if guest { (addr, len as usize) } else { (0, 0) }
}

/// What a system call leaves in the registers. The host treats the number like a call's result when it delivers the
/// signal, and a number that looks like a restart code changes rax and rip: siginfo has what was there before.
fn syscall(regs: &mut Regs, abi: SyscallAbi, number: u32, after: u64) {
    if regs.rip == after.wrapping_sub(2) {
        regs.rip = after;
    }
    if regs.rax as u32 != number {
        regs.rax = number as i32 as i64 as u64;
    }
    if abi == SyscallAbi::I386 {
        regs.rax &= 0xffff_ffff;
    }
    regs.orig_rax = regs.rax;
}
