//! Transactions over metadata blocks: JBD2 where the file system has a journal, plain write-back where it hasn't.
//!
//! An operation begins a [`Handle`], changes buffers through it and drops it. All handles between two commits form
//! one transaction, which becomes durable as a whole. Callers see no difference without a journal, but that a power
//! cut may leave half of it.
//!
//! Where is what: this file the interface and the transactions in memory; `handle` one operation's part; `commit`
//! closing a transaction and writing it to the log; `checkpoint` writing committed blocks to their places and freeing
//! log space; `log` the log's position and superblock; `format` the on-disk structures, `blocks` whole journal blocks with their checksums; `recovery`
//! replay after a crash.
//!
//! There is no journal thread: whoever needs a commit carries it out, and those who come meanwhile wait and share the
//! next one. [`Transactions::tick`] is for the kernel's timer.
//!
//! Locks: the commit lock (sleeping) → the checkpoint lock (sleeping) → the log's superblock (sleeping); the state
//! lock is short, nothing sleeps or is locked under it. No handle may be held by who calls anything that commits or
//! begins another handle.

mod blocks;
mod checkpoint;
mod commit;
mod format;
mod handle;
mod log;
mod recovery;

pub use handle::Handle;
pub use log::{JournalMap, JournalOptions, Run};
pub use recovery::{Recovered, discard, recover};

use crate::Result;
use crate::buffer::{BlockData, Buffer, BufferCache};
use crate::log::{Level, Log};
use crate::sync::{self, WaitQueue, platform};
use abi::Errno;
use abi::errno::{EIO, EROFS};
use hashbrown::{HashMap, HashSet};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

/// The number of a transaction. Counts up and wraps; compare with [`tid_reached`].
pub type Tid = u32;

/// Whether `tid` is `now` or was before it.
pub fn tid_reached(now: Tid, tid: Tid) -> bool {
    now.wrapping_sub(tid).cast_signed() >= 0
}

/// Runs when a transaction is durable. It may take short locks, but neither sleep nor begin a handle.
pub type OnCommit = Box<dyn FnOnce() + Send>;

/// All transactions of one file system.
pub struct Transactions {
    shared: Arc<Shared>,
}

/// What handles share with their [`Transactions`].
struct Shared {
    cache: Arc<BufferCache>,
    messages: Arc<dyn Log>,
    /// None without a journal.
    log: Option<log::JournalLog>,
    state: Mutex<State>,
    /// Woken when a handle ends in a closing transaction, a transaction opens, log space comes free, updates thaw.
    changed: WaitQueue,
    /// Held through a commit.
    commit: sync::Mutex<()>,
    /// Held while committed blocks are written to their places.
    checkpoint: sync::Mutex<()>,
    /// Flushes that commits have begun.
    flushes: AtomicU64,
    /// The errno that ended all writing, or 0.
    aborted: AtomicI32,
    /// Nanoseconds after which `tick` commits a transaction.
    interval: AtomicU64,
}

struct State {
    running: Transaction,
    /// The running transaction is being closed: no handle may join it.
    closing: bool,
    /// How many want no handle to begin at all.
    frozen: usize,
    /// The last transaction that is durable.
    committed: Tid,
    /// `commit_now` without waiting was asked for.
    wanted: bool,
    space: LogSpace,
}

/// The running transaction.
struct Transaction {
    tid: Tid,
    /// Open handles.
    updates: usize,
    /// Credits of open handles that aren't used yet.
    reserved: usize,
    /// Blocks to be logged. Empty without a journal.
    buffers: HashMap<u64, Arc<Buffer>>,
    /// Blocks whose older copies in the log must not be replayed.
    revoked: HashSet<u64>,
    callbacks: Vec<OnCommit>,
    /// When the first handle began.
    started: Option<u64>,
}

impl Transaction {
    fn new(tid: Tid) -> Transaction {
        Transaction {
            tid,
            updates: 0,
            reserved: 0,
            buffers: HashMap::new(),
            revoked: HashSet::new(),
            callbacks: Vec::new(),
            started: None,
        }
    }
}

/// What lies in the log, and what of it isn't in its place yet. Unused without a journal.
#[derive(Default)]
struct LogSpace {
    /// The next block of the log to be written.
    head: u32,
    /// Blocks that no transaction in the log needs.
    free: u32,
    /// Committed blocks are on their way to their places.
    placing: bool,
    /// Seconds and nanoseconds that the last commit block bears.
    last_commit_time: (u64, u32),
    /// Committed transactions, oldest first.
    logged: VecDeque<Logged>,
    /// Where the transaction that is being written begins.
    committing: Option<(Tid, u32)>,
    /// The newest transaction that logged a block, while it is in the log.
    newest: HashMap<u64, Tid>,
    /// Committed blocks that aren't in their place.
    dirty: HashMap<u64, Unplaced>,
}

/// A transaction in the log.
struct Logged {
    tid: Tid,
    start: u32,
    /// Log blocks it takes.
    len: u32,
    blocks: Vec<u64>,
    /// When it was committed.
    time: u64,
}

/// A committed block that has to be written to its place.
struct Unplaced {
    tid: Tid,
    /// Keeps the buffer cached: the device has old content.
    _buffer: Arc<Buffer>,
    data: BlockData,
}

/// Default of the `commit=` mount option, in seconds.
pub const DEFAULT_COMMIT_INTERVAL: u64 = 5;

impl Transactions {
    /// Transactions of a file system without a journal.
    pub fn without_journal(cache: Arc<BufferCache>, messages: Arc<dyn Log>) -> Transactions {
        Transactions::new(cache, messages, None, 1, LogSpace::default())
    }

    /// Transactions in the journal that `map` gives, which [`recover`] has emptied.
    ///
    /// # Errors
    /// `EUCLEAN` and `EOPNOTSUPP` for a journal superblock that is damaged or asks for what isn't supported, `EBUSY`
    /// if the log isn't empty, device errors. The reason is logged.
    pub fn with_journal(
        cache: Arc<BufferCache>,
        messages: Arc<dyn Log>,
        map: JournalMap,
        options: &JournalOptions,
    ) -> Result<Transactions> {
        let (log, first_tid) = log::JournalLog::open(&cache, map, options, &*messages)?;
        let space = LogSpace { head: log.first(), free: log.capacity(), ..LogSpace::default() };
        Ok(Transactions::new(cache, messages, Some(log), first_tid, space))
    }

    fn new(
        cache: Arc<BufferCache>,
        messages: Arc<dyn Log>,
        log: Option<log::JournalLog>,
        first_tid: Tid,
        space: LogSpace,
    ) -> Transactions {
        let state = State {
            running: Transaction::new(first_tid),
            closing: false,
            frozen: 0,
            committed: first_tid.wrapping_sub(1),
            wanted: false,
            space,
        };
        Transactions {
            shared: Arc::new(Shared {
                cache,
                messages,
                log,
                state: Mutex::new(state),
                changed: WaitQueue::new(),
                commit: sync::Mutex::new(()),
                checkpoint: sync::Mutex::new(()),
                flushes: AtomicU64::new(0),
                aborted: AtomicI32::new(0),
                interval: AtomicU64::new(DEFAULT_COMMIT_INTERVAL * 1_000_000_000),
            }),
        }
    }

    /// Whether there is a journal.
    pub fn has_journal(&self) -> bool {
        self.shared.log.is_some()
    }

    /// The metadata cache that the transactions change.
    pub fn cache(&self) -> &Arc<BufferCache> {
        &self.shared.cache
    }

    /// Begins an operation that changes at most `credits` blocks. May wait for a commit.
    ///
    /// # Errors
    /// `EROFS` after an abort; `ENOSPC` if no transaction can hold that many blocks (see
    /// [`Transactions::max_credits`]); what a commit that was needed reports.
    pub fn begin(&self, credits: usize) -> Result<Handle> {
        Handle::begin(&self.shared, credits)
    }

    /// How many blocks one handle may change at most.
    pub fn max_credits(&self) -> usize {
        self.shared.max_credits()
    }

    /// Asks for a commit of what is running; with `wait`, returns when it is durable, its callbacks have run and
    /// everything that the device had completed before is durable too.
    ///
    /// # Errors
    /// `EIO` if the journal is or was aborted.
    pub fn commit_now(&self, wait: bool) -> Result<()> {
        if !wait {
            self.shared.state.lock().wanted = true;
            return Ok(());
        }
        let tid = self.shared.state.lock().running.tid;
        self.sync_tid(tid)
    }

    /// Returns when transaction `tid` is durable. Data that was written without joining a transaction may not be.
    ///
    /// # Errors
    /// `EIO` if the journal is or was aborted.
    pub fn commit_tid(&self, tid: Tid) -> Result<()> {
        self.shared.commit_tid(tid).map(drop)
    }

    /// Returns when transaction `tid`, and everything else that was written before the call, is durable: what
    /// fsync(2) needs. Costs a flush of its own only if no commit was needed.
    ///
    /// # Errors
    /// `EIO` if the journal is or was aborted; what the flush reports.
    pub fn sync_tid(&self, tid: Tid) -> Result<()> {
        if !self.shared.commit_tid(tid)? {
            self.shared.cache.device().flush()?;
        }
        Ok(())
    }

    /// Commits what is older than the commit interval and places what has been in the log for long. To be called
    /// about once a second with [`sync::Platform::now`].
    ///
    /// # Errors
    /// `EIO` if the journal is or was aborted.
    pub fn tick(&self, now: u64) -> Result<()> {
        let interval = self.shared.interval.load(Ordering::Relaxed);
        let due = {
            let state = self.shared.state.lock();
            let old = state.running.started.is_some_and(|since| since.saturating_add(interval) <= now);
            (old || state.wanted).then_some(state.running.tid)
        };
        if let Some(tid) = due {
            self.commit_tid(tid)?;
        }
        self.shared.place_old(now)
    }

    /// The transaction that a handle would join now. Whatever was done so far is durable when that is.
    pub fn running_tid(&self) -> Tid {
        self.shared.state.lock().running.tid
    }

    /// Sets the age at which `tick` commits, in seconds; 0 for the default.
    pub fn set_commit_interval(&self, seconds: u64) {
        let seconds = if seconds == 0 { DEFAULT_COMMIT_INTERVAL } else { seconds };
        self.shared.interval.store(seconds.saturating_mul(1_000_000_000), Ordering::Relaxed);
    }

    /// Commits, writes every committed block to its place and empties the log on the device: without the journal the
    /// file system is complete then.
    ///
    /// # Errors
    /// `EIO` if the journal is or was aborted; device errors.
    pub fn checkpoint_all(&self) -> Result<()> {
        self.commit_now(true)?;
        self.shared.place_all()?;
        self.shared.mark_empty()
    }

    /// Lets no handle begin, waits for those that are open, and does `checkpoint_all`. Handles begin again after
    /// [`Transactions::thaw`].
    ///
    /// # Errors
    /// As `checkpoint_all`; updates aren't frozen then.
    pub fn freeze(&self) -> Result<()> {
        self.shared.state.lock().frozen += 1;
        self.shared.changed.wait_for(|| (self.shared.state.lock().running.updates == 0).then_some(()));
        self.checkpoint_all().inspect_err(|_| self.thaw())
    }

    /// Undoes one `freeze`.
    pub fn thaw(&self) {
        {
            let mut state = self.shared.state.lock();
            state.frozen = state.frozen.saturating_sub(1);
        }
        self.shared.changed.wake_all();
    }

    /// Ends all writing: nothing that isn't committed will be, and handles fail with `EROFS`. The journal's
    /// superblock remembers the error for the next mount.
    pub fn abort(&self, errno: Errno) {
        self.shared.abort(errno);
    }

    /// Whether writing was ended by an error.
    pub fn is_aborted(&self) -> bool {
        self.shared.check().is_err()
    }

    /// The error that the journal's superblock brought from the last mount, if any; cleared on the device by
    /// [`Transactions::clear_error`].
    pub fn recorded_error(&self) -> Option<Errno> {
        self.shared.log.as_ref().and_then(|log| log.recorded_error())
    }

    /// Clears the error in the journal's superblock.
    ///
    /// # Errors
    /// Device errors.
    pub fn clear_error(&self) -> Result<()> {
        self.shared.log.as_ref().map_or(Ok(()), |log| log.record_error(None))
    }

    /// Does `checkpoint_all`, after which the transactions aren't to be used.
    ///
    /// # Errors
    /// As `checkpoint_all`; the log keeps what it has then, for the next mount's replay.
    pub fn close(&self) -> Result<()> {
        self.checkpoint_all()
    }
}

impl Shared {
    /// `EROFS` after an abort.
    fn check(&self) -> Result<()> {
        if self.aborted.load(Ordering::Acquire) == 0 { Ok(()) } else { Err(EROFS) }
    }

    fn abort(&self, errno: Errno) {
        if self.aborted.compare_exchange(0, errno.raw(), Ordering::AcqRel, Ordering::Acquire).is_err() {
            return;
        }
        self.messages.log(Level::Critical, format_args!("aborting journal: {errno}"));
        if let Some(log) = &self.log
            && let Err(error) = log.record_error(Some(errno))
        {
            self.messages.log(Level::Error, format_args!("journal superblock not written: {error}"));
        }
        self.changed.wake_all();
    }

    fn max_credits(&self) -> usize {
        self.log.as_ref().map_or(usize::MAX, |log| log.max_transaction())
    }

    /// Commits `tid` if it isn't durable. Returns whether a flush began and ended meanwhile.
    fn commit_tid(&self, tid: Tid) -> Result<bool> {
        let flushes = self.flushes.load(Ordering::SeqCst);
        let done = || tid_reached(self.state.lock().committed, tid);
        if done() {
            return Ok(false);
        }
        let commit = self.commit.lock();
        if !done() {
            if self.check().is_err() {
                return Err(EIO);
            }
            self.commit_running()?;
        }
        drop(commit);
        Ok(self.flushes.load(Ordering::SeqCst) != flushes)
    }

    fn now() -> u64 {
        platform().now()
    }
}
