//! Host threads whose guest threads have ended.
//!
//! A few of them stay, asleep, for the next guest threads of the same process: to wake one costs less than to end it and to
//! make another. What the others leave mapped is kept out of children before a fork, when it is much.

use super::abi::*;
use super::fp;
use super::progress::answered;
use super::space::Parked;
use super::thread::{Failure, StubThread, errno_of, introduce};
use abi::Result;
use abi::errno::*;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

/// Slots of ended threads that a fork may find.
const FEW: usize = 8;

impl StubThread {
    /// Whether its host thread may serve another guest thread: it stands in the call that ended this one, in the handler of
    /// a signal.
    pub(super) fn can_park(&self) -> bool {
        self.usage.is_some() && !self.space.is_dead() && self.mapping.has_turn()
    }

    /// Puts the host thread to sleep until it is [`revive`](StubThread::revive)d.
    pub(super) fn park(&mut self) -> Parked {
        let window = self.mapping.get();
        window.op_count.store(0, Relaxed);
        window.fd_count.store(0, Relaxed);
        self.forget_copies();
        self.mapping.give_way(false);
        Parked {
            slot: self.slot,
            mapping: self.mapping.clone(),
            tid: self.tid,
            core: self.core,
            fpstate: self.fpstate,
        }
    }

    /// Has a host thread that sleeps begin like a new one: with this thread's vector state, ready for its first order.
    pub(super) fn revive(&mut self, parked: &Parked) -> Result<()> {
        let (window, own) = (parked.mapping.get(), self.mapping.get());
        introduce(own, window, self.spin);
        // It may run before this one, which is to go on as soon as the other is ready.
        parked.mapping.give_way(self.spin);
        window.command.store(command::BATCH, Relaxed);
        window.turn.store(0, SeqCst);
        own.slot.store(parked.slot, Relaxed);
        own.addr.store(parked.fpstate, Relaxed);
        own.len.store(fp::image_len().ok_or(ENOSYS)? as u64, Relaxed);
        own.command.store(command::REVIVE, Relaxed);
        if self.space.is_dead() {
            return Err(ESRCH);
        }
        // The other runs on this one's core first.
        self.mapping.release_giving_way(self.spin);
        self.result(0).map_err(errno_of)?;
        if answered(&self.space.process, &parked.mapping, parked.tid, self.spin) {
            Ok(())
        } else {
            Err(ESRCH)
        }
    }

    /// Keeps the stacks of ended threads out of children, if there are many: the host would copy each at every fork.
    pub(super) fn vacate_slots(&mut self) -> Result<(), Failure> {
        let slots = self.space.take_vacant(FEW);
        for slots in slots.chunks(OPS) {
            let window = self.mapping.get();
            for (op, slot) in window.ops.iter().zip(slots) {
                let stack = SLOTS + u64::from(*slot) * SLOT_LEN + STACK_OFFSET;
                let advice = libc::MADV_DONTFORK as u64;
                for (to, from) in op.iter().zip([libc::SYS_madvise as u64, stack, STACK_LEN, advice, 0, 0, 0])
                {
                    to.store(from, Relaxed);
                }
            }
            window.op_count.store(slots.len() as u32, Relaxed);
            window.fd_count.store(0, Relaxed);
            self.order(command::BATCH, 0)?;
        }
        self.space.give_vacant(slots);
        Ok(())
    }
}
