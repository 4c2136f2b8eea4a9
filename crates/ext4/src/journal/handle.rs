//! One operation's part in a transaction.

use super::{OnCommit, Shared, Tid, Transaction};
use crate::Result;
use crate::buffer::Buffer;
use abi::errno::ENOSPC;
use std::sync::Arc;

/// An open operation. Dropping it ends the operation; the transaction can't commit before.
pub struct Handle {
    shared: Arc<Shared>,
    tid: Tid,
    /// Blocks that may still be added.
    credits: usize,
    sync: bool,
    /// False once the handle has left its transaction.
    active: bool,
}

/// How a buffer remembers that it is in transaction `tid`.
fn mark(tid: Tid) -> u64 {
    u64::from(tid) + 1
}

impl Handle {
    pub(super) fn begin(shared: &Arc<Shared>, credits: usize) -> Result<Handle> {
        // Credits are log space; without a log nobody counts them.
        let credits = if shared.log.is_some() { credits } else { 0 };
        let tid = shared.join_running(credits)?;
        Ok(Handle { shared: shared.clone(), tid, credits, sync: false, active: true })
    }

    /// Changes a block by `change`, which runs under the buffer's data lock: it must neither sleep nor look at this
    /// buffer otherwise.
    ///
    /// # Errors
    /// `EROFS` after an abort.
    pub fn modify<R>(&mut self, buffer: &Arc<Buffer>, change: impl FnOnce(&mut [u8]) -> R) -> Result<R> {
        self.shared.check()?;
        if buffer.joined() != mark(self.tid) && self.shared.log.is_some() {
            self.join(buffer);
        }
        let result = buffer.modify(change);
        if self.shared.log.is_none() {
            self.shared.cache.mark_dirty(buffer);
        }
        Ok(result)
    }

    /// Fills a freshly allocated block, got by [`crate::BufferCache::get_zeroed`].
    ///
    /// # Errors
    /// `EROFS` after an abort.
    pub fn create<R>(&mut self, buffer: &Arc<Buffer>, change: impl FnOnce(&mut [u8]) -> R) -> Result<R> {
        self.modify(buffer, change)
    }

    /// Puts the buffer into the transaction.
    fn join(&mut self, buffer: &Arc<Buffer>) {
        let mut state = self.shared.state.lock();
        let running = &mut state.running;
        if running.buffers.insert(buffer.block(), buffer.clone()).is_none() && self.credits > 0 {
            self.credits -= 1;
            running.reserved -= 1;
        }
        // A revoke in this transaction would also hide the copy that it is about to log.
        running.revoked.remove(&buffer.block());
        buffer.set_joined(mark(self.tid));
    }

    /// A metadata block was freed: drops it from cache and transaction, and keeps older copies in the log from being
    /// replayed over what the block is used for next. It must not be allocated again before the commit
    /// ([`Handle::on_commit`]), except by this very transaction and as metadata.
    ///
    /// # Errors
    /// `EROFS` after an abort.
    pub fn forget(&mut self, block: u64) -> Result<()> {
        self.shared.check()?;
        if self.shared.log.is_some() {
            let mut state = self.shared.state.lock();
            if let Some(buffer) = state.running.buffers.remove(&block) {
                buffer.set_joined(0);
            }
            if state.space.newest.contains_key(&block) {
                state.running.revoked.insert(block);
            }
        }
        self.shared.cache.forget(block);
        Ok(())
    }

    /// Asks for room for `credits` more blocks. False if the transaction has none: then make the structures
    /// consistent and [`Handle::restart`].
    ///
    /// # Errors
    /// `EROFS` after an abort.
    pub fn extend(&mut self, credits: usize) -> Result<bool> {
        self.shared.check()?;
        if self.shared.log.is_none() {
            return Ok(true);
        }
        let mut state = self.shared.state.lock();
        if state.closing || !self.shared.has_room(&state, credits) {
            return Ok(false);
        }
        state.running.reserved += credits;
        self.credits += credits;
        Ok(true)
    }

    /// Ends the operation here and begins another with `credits`, perhaps in the next transaction. What was changed so
    /// far may become durable without what follows.
    ///
    /// # Errors
    /// As [`super::Transactions::begin`]; the handle is of no use then.
    pub fn restart(&mut self, credits: usize) -> Result<()> {
        self.leave();
        let credits = if self.shared.log.is_some() { credits } else { 0 };
        self.tid = self.shared.join_running(credits)?;
        self.credits = credits;
        self.active = true;
        Ok(())
    }

    /// Blocks that the handle may still add.
    pub fn credits(&self) -> usize {
        self.credits
    }

    /// The transaction.
    pub fn tid(&self) -> Tid {
        self.tid
    }

    /// Runs `callback` once the transaction is durable; never if it is lost by an abort.
    pub fn on_commit(&mut self, callback: OnCommit) {
        self.shared.state.lock().running.callbacks.push(callback);
    }

    /// Makes the end of the operation wait until it is durable (O_SYNC, `sync`, dirsync).
    pub fn set_sync(&mut self) {
        self.sync = true;
    }

    /// Ends the operation, and reports what a drop can't.
    ///
    /// # Errors
    /// After [`Handle::set_sync`], `EIO` if the commit failed.
    pub fn stop(mut self) -> Result<()> {
        self.leave();
        let sync = std::mem::take(&mut self.sync);
        if sync { self.shared.commit_tid(self.tid).map(drop) } else { Ok(()) }
    }

    fn leave(&mut self) {
        if !std::mem::take(&mut self.active) {
            return;
        }
        let wake = {
            let mut state = self.shared.state.lock();
            state.running.updates -= 1;
            state.running.reserved -= self.credits;
            state.running.updates == 0 && (state.closing || state.frozen > 0)
        };
        self.credits = 0;
        if wake {
            self.shared.changed.wake_all();
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.leave();
        if self.sync {
            // The error stays known as an abort.
            let _ = self.shared.commit_tid(self.tid);
        }
    }
}

impl Transaction {
    /// Blocks that the transaction will log at most, if nobody adds credits.
    pub(super) fn size(&self) -> usize {
        self.buffers.len() + self.reserved
    }
}

/// What stands between an operation and its handle.
enum Obstacle {
    /// The transaction is closing, or updates are frozen.
    Closed,
    /// The running transaction is full.
    Full(Tid),
    /// The log is full.
    NoSpace,
}

impl Shared {
    /// Enters the running transaction with `credits` once it has room for them.
    fn join_running(&self, credits: usize) -> Result<Tid> {
        if credits > self.max_credits() {
            return Err(ENOSPC);
        }
        loop {
            self.check()?;
            match self.try_join(credits) {
                Ok(tid) => return Ok(tid),
                Err(Obstacle::Closed) => self.changed.wait_for(|| {
                    let state = self.state.lock();
                    let open = !state.closing && state.frozen == 0;
                    (open || self.check().is_err()).then_some(())
                }),
                Err(Obstacle::Full(tid)) => drop(self.commit_tid(tid)?),
                Err(Obstacle::NoSpace) => self.make_space()?,
            }
        }
    }

    fn try_join(&self, credits: usize) -> core::result::Result<Tid, Obstacle> {
        let mut state = self.state.lock();
        if state.closing || state.frozen > 0 {
            return Err(Obstacle::Closed);
        }
        let running = &state.running;
        if running.size() > 0 && running.size() + credits > self.max_credits() {
            return Err(Obstacle::Full(running.tid));
        }
        if !self.has_room(&state, credits) {
            return Err(Obstacle::NoSpace);
        }
        let running = &mut state.running;
        running.updates += 1;
        running.reserved += credits;
        running.started.get_or_insert_with(Shared::now);
        Ok(running.tid)
    }
}
