//! What happens when the disk makes no sense: the log line, `errors=`, the record in the superblock.
//!
//! [`Filesystem::corrupted`] may be called anywhere: it touches memory only. The superblock is written by the next
//! operation that starts or the next sync.

use crate::fs::Filesystem;
use crate::log::Level;
use crate::options::ErrorsMode;
use abi::Errno;
use abi::errno::{EBADMSG, EIO, EUCLEAN};
use core::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

/// One error as the superblock remembers it.
#[derive(Clone, Debug)]
pub(crate) struct ErrorPlace {
    pub time: u64,
    pub ino: u32,
    pub block: u64,
    pub place: [u8; 32],
    /// EXT4_ERR_*.
    pub code: u8,
}

/// The errors of a file system.
#[derive(Clone, Debug)]
pub(crate) struct ErrorRecord {
    /// Errors ever.
    pub count: u32,
    /// Errors of this mount.
    pub new: u32,
    pub first: Option<ErrorPlace>,
    pub last: Option<ErrorPlace>,
}

impl ErrorRecord {
    /// Counts an error that has no place.
    pub(crate) fn note(&mut self) {
        self.count = self.count.saturating_add(1);
        self.new = self.new.saturating_add(1);
    }
}

/// Per mount.
pub(crate) struct Errors {
    mode: parking_lot::Mutex<ErrorsMode>,
    /// The superblock on the device doesn't know the last error yet.
    pending: AtomicBool,
}

const EXT4_ERR_EIO: u8 = 2;
const EXT4_ERR_EFSBADCRC: u8 = 4;
const EXT4_ERR_EFSCORRUPTED: u8 = 5;

impl Errors {
    pub(crate) fn new(mode: ErrorsMode) -> Errors {
        Errors { mode: parking_lot::Mutex::new(mode), pending: AtomicBool::new(false) }
    }

    pub(crate) fn set_mode(&self, mode: ErrorsMode) {
        *self.mode.lock() = mode;
    }
}

impl Filesystem {
    /// A damaged structure was found: logs, applies `errors=`, marks the superblock. `place` is the function or the
    /// structure, `ino` and `block` are 0 where there is none. Returns EUCLEAN.
    pub(crate) fn corrupted(&self, place: &str, ino: u32, block: u64, text: fmt::Arguments<'_>) -> Errno {
        self.report(place, ino, block, text, EXT4_ERR_EFSCORRUPTED);
        EUCLEAN
    }

    /// Like [`Self::corrupted`] for a checksum that is wrong. Returns EBADMSG.
    pub(crate) fn bad_checksum(&self, place: &str, ino: u32, block: u64) -> Errno {
        self.report(place, ino, block, format_args!("checksum invalid"), EXT4_ERR_EFSBADCRC);
        EBADMSG
    }

    /// Like [`Self::corrupted`] for metadata that the device won't read or write. Returns EIO.
    pub(crate) fn io_error(&self, place: &str, ino: u32, block: u64, text: fmt::Arguments<'_>) -> Errno {
        self.report(place, ino, block, text, EXT4_ERR_EIO);
        EIO
    }

    fn report(&self, place: &str, ino: u32, block: u64, text: fmt::Arguments<'_>, code: u8) {
        match (ino, block) {
            (0, 0) => self.log.log(Level::Critical, format_args!("error: {place}: {text}")),
            (0, _) => self.log.log(Level::Critical, format_args!("error: {place}: block {block}: {text}")),
            (_, 0) => self.log.log(Level::Critical, format_args!("error: {place}: inode #{ino}: {text}")),
            _ => self
                .log
                .log(Level::Critical, format_args!("error: {place}: inode #{ino}: block {block}: {text}")),
        }
        let mut name = [0u8; 32];
        let len = place.len().min(31);
        name[..len].copy_from_slice(&place.as_bytes()[..len]);
        let error = ErrorPlace { time: self.log.now().tv_sec as u64, ino, block, place: name, code };
        {
            let mut state = self.super_state.lock();
            state.error.count = state.error.count.saturating_add(1);
            state.error.new = state.error.new.saturating_add(1);
            state.error.first.get_or_insert_with(|| error.clone());
            state.error.last = Some(error);
        }
        self.errors.pending.store(true, Ordering::Release);
        let mode = *self.errors.mode.lock();
        if mode == ErrorsMode::Continue || self.read_only.swap(true, Ordering::Relaxed) {
            return;
        }
        if mode == ErrorsMode::Panic {
            self.log.panic(format_args!("panic forced after error: {place}: {text}"));
        }
        self.log.log(Level::Critical, format_args!("Remounting filesystem read-only"));
        self.transactions.abort(EIO);
    }

    /// Brings an error that was found meanwhile to the superblock on the device.
    pub(crate) fn write_pending_error(&self) {
        if !self.errors.pending.load(Ordering::Relaxed) || !self.errors.pending.swap(false, Ordering::Acquire)
        {
            return;
        }
        if let Err(errno) = self.write_super() {
            self.log.log(Level::Error, format_args!("I/O error while writing superblock: {errno}"));
        }
    }
}
