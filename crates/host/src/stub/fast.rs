//! Calls that came the fast way, without a signal frame, and those that the stub answers itself (`stub/src/fast.rs`,
//! `stub/src/answer.rs`).

use super::abi::*;
use super::count;
use super::run::argument;
use super::thread::errno_of;
use super::{Event, StubThread, SyscallAbi};
use crate::answers::Record;
use abi::Result;
use std::sync::atomic::Ordering::Relaxed;

impl StubThread {
    /// Whether its last system call came without a signal.
    #[inline]
    pub fn came_fast(&self) -> bool {
        self.light
    }

    /// A system call that came the fast way.
    pub(super) fn fast(&mut self) -> Event {
        let window = self.mapping.get();
        self.regs.load(window);
        self.regs.orig_rax = self.regs.rax;
        self.light = true;
        self.bases = (self.regs.fs_base, self.regs.gs_base);
        self.argument = argument(window);
        self.count_answers();
        count::fast();
        Event::Syscall { abi: SyscallAbi::X86_64 }
    }

    /// Counts what the stub has answered since the last look, as far as that makes sense.
    #[inline]
    pub(super) fn count_answers(&mut self) {
        let now = self.mapping.get().answered.load(Relaxed);
        if now != self.answered {
            count::answered(now.wrapping_sub(self.answered).min(u64::from(u32::MAX)));
            self.answered = now;
        }
    }

    /// Sees to it that there is a signal frame. ESRCH.
    pub(super) fn framed(&mut self) -> Result<()> {
        if self.light {
            let window = self.mapping.get();
            window.op_count.store(0, Relaxed);
            window.fd_count.store(0, Relaxed);
            self.order(command::BATCH, 0).map_err(errno_of)?;
        }
        Ok(())
    }

    /// Has the stub answer for itself from `record`; true if that is still to be filled in.
    #[inline]
    pub fn answer_from(&mut self, record: &Record) -> bool {
        let new = self.record != record.index() || !record.is_set();
        if new {
            self.record = record.index();
            self.mapping.get().answers.store(self.record, Relaxed);
        }
        new
    }
}
