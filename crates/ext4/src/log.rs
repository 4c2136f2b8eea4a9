//! What the library asks of its caller beside the device: log lines, panics, the wall clock.

use abi::time::Timespec;
use core::fmt;

/// Severity of a log line, as printk has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// KERN_CRIT: the file system is damaged.
    Critical,
    /// KERN_ERR.
    Error,
    /// KERN_WARNING.
    Warning,
    /// KERN_INFO.
    Info,
}

/// The caller's side. None of these may sleep.
pub trait Log: Send + Sync {
    /// One line, without a newline; Linux's prefix `EXT4-fs (DEVICE): ` is the caller's to add.
    fn log(&self, level: Level, text: fmt::Arguments<'_>);

    /// `errors=panic` met an error. If this returns, the file system goes on as with `errors=remount-ro`.
    fn panic(&self, text: fmt::Arguments<'_>) {
        self.log(Level::Critical, text);
    }

    /// CLOCK_REALTIME, for timestamps.
    fn now(&self) -> Timespec {
        match std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH) {
            Ok(d) => Timespec { tv_sec: d.as_secs() as i64, tv_nsec: i64::from(d.subsec_nanos()) },
            Err(_) => Timespec { tv_sec: 0, tv_nsec: 0 },
        }
    }
}

/// Throws log lines away.
pub struct NoLog;

impl Log for NoLog {
    fn log(&self, _level: Level, _text: fmt::Arguments<'_>) {}
}
