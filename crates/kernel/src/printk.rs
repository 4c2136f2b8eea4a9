//! The kernel log: a ring of records, `dmesg` and /dev/kmsg, and the console that shows them.
//!
//! Lock: PRINTK, a leaf: anything may log. Console output is written under it, so it must not log itself.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::sync::{SpinLock, WaitQueue, rank};

/// Severity, syslog(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// System is unusable.
    Emerg = 0,
    /// Act now.
    Alert = 1,
    /// Critical.
    Crit = 2,
    /// Error.
    Err = 3,
    /// Warning.
    Warning = 4,
    /// Normal but significant.
    Notice = 5,
    /// Informational.
    Info = 6,
    /// Debugging.
    Debug = 7,
}

impl Level {
    /// The level of a number; its three low bits count.
    pub fn from_number(n: u32) -> Level {
        [
            Level::Emerg,
            Level::Alert,
            Level::Crit,
            Level::Err,
            Level::Warning,
            Level::Notice,
            Level::Info,
            Level::Debug,
        ][(n & 7) as usize]
    }
}

/// One message.
#[derive(Clone, Debug)]
pub struct Record {
    /// Sequence number from 0.
    pub seq: u64,
    /// Since boot, ns.
    pub time: u64,
    /// Severity.
    pub level: Level,
    /// Facility, 0 for the kernel; user space writes others through /dev/kmsg.
    pub facility: u8,
    /// One line without its newline.
    pub text: String,
}

/// Where messages are shown: gets complete lines.
pub type Sink = Box<dyn FnMut(&str) + Send>;

struct Log {
    records: VecDeque<Record>,
    bytes: usize,
    next_seq: u64,
    console: Option<Sink>,
}

/// Text kept, bytes.
pub const LOG_BUF_LEN: usize = 256 * 1024;
/// Longest record.
const RECORD_MAX: usize = 1024;

static LOG: SpinLock<Log> =
    SpinLock::new(rank::PRINTK, Log { records: VecDeque::new(), bytes: 0, next_seq: 0, console: None });
/// Messages below this number go to the console: `loglevel=`, `quiet`.
static CONSOLE_LEVEL: AtomicU8 = AtomicU8::new(7);

/// Readers of /dev/kmsg wait here.
pub fn readers() -> &'static WaitQueue {
    static READERS: std::sync::OnceLock<WaitQueue> = std::sync::OnceLock::new();
    READERS.get_or_init(WaitQueue::new)
}

/// Sets where messages are shown.
pub fn set_console(sink: Option<Sink>) {
    LOG.lock().console = sink;
}

/// Sets the console level: messages with a smaller number are shown.
pub fn set_console_level(level: u8) {
    CONSOLE_LEVEL.store(level, Ordering::Relaxed);
}

/// The console level.
pub fn console_level() -> u8 {
    CONSOLE_LEVEL.load(Ordering::Relaxed)
}

/// Adds a message; lines of `text` become records of their own.
pub fn log(level: Level, facility: u8, text: &str) {
    let time = crate::time::since_boot();
    if crate::syscall::trace_enabled() {
        // They may go to the same place.
        crate::syscall::trace::break_line();
    }
    {
        let mut log = LOG.lock();
        for line in text.lines() {
            let mut end = line.len().min(RECORD_MAX);
            while !line.is_char_boundary(end) {
                end -= 1;
            }
            let record = Record { seq: log.next_seq, time, level, facility, text: line[..end].to_owned() };
            log.next_seq += 1;
            log.bytes += record.text.len();
            if (level as u8) < CONSOLE_LEVEL.load(Ordering::Relaxed)
                && let Some(console) = &mut log.console
            {
                console(&format!(
                    "[{:5}.{:06}] {}\n",
                    time / 1_000_000_000,
                    time / 1000 % 1_000_000,
                    record.text
                ));
            }
            log.records.push_back(record);
            while log.bytes > LOG_BUF_LEN {
                let Some(old) = log.records.pop_front() else { break };
                log.bytes -= old.text.len();
            }
        }
    }
    readers().wake_all();
}

/// The first record with sequence number `seq` or later.
pub fn record_from(seq: u64) -> Option<Record> {
    let log = LOG.lock();
    let at = log.records.partition_point(|r| r.seq < seq);
    log.records.get(at).cloned()
}

/// Sequence numbers of the oldest record and of the next one.
pub fn bounds() -> (u64, u64) {
    let log = LOG.lock();
    (log.records.front().map_or(log.next_seq, |r| r.seq), log.next_seq)
}

/// Logs at [`Level::Info`].
#[macro_export]
macro_rules! pr_info {
    ($($arg:tt)*) => { $crate::printk::log($crate::printk::Level::Info, 0, &format!($($arg)*)) };
}

/// Logs at [`Level::Warning`].
#[macro_export]
macro_rules! pr_warn {
    ($($arg:tt)*) => { $crate::printk::log($crate::printk::Level::Warning, 0, &format!($($arg)*)) };
}

/// Logs at [`Level::Err`].
#[macro_export]
macro_rules! pr_err {
    ($($arg:tt)*) => { $crate::printk::log($crate::printk::Level::Err, 0, &format!($($arg)*)) };
}

/// Logs at [`Level::Emerg`].
#[macro_export]
macro_rules! pr_emerg {
    ($($arg:tt)*) => { $crate::printk::log($crate::printk::Level::Emerg, 0, &format!($($arg)*)) };
}
