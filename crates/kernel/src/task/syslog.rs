//! syslog(2): the kernel log as dmesg(1) reads it.

use std::sync::atomic::{AtomicU64, Ordering};

use abi::Result;
use abi::cred::{CAP_SYS_ADMIN, CAP_SYSLOG};
use abi::errno::{EAGAIN, EINVAL, EPERM};
use abi::utsname::*;

use super::capable;
use crate::printk::{self, Record};
use crate::sync::{Sleep, wait_event};
use crate::uaccess::copy_to_user;
use crate::vfs::IovDest;

/// The next record that SYSLOG_ACTION_READ hands out.
static READ_FROM: AtomicU64 = AtomicU64::new(0);
/// The first that SYSLOG_ACTION_READ_ALL shows.
static CLEARED: AtomicU64 = AtomicU64::new(0);
/// The console level before SYSLOG_ACTION_CONSOLE_OFF, plus one; 0 while it is on.
static SAVED_LEVEL: AtomicU64 = AtomicU64::new(0);

/// syslog(2)
pub fn syslog(action: u32, buf: u64, len: i32) -> Result<usize> {
    let open_to_all = matches!(action, SYSLOG_ACTION_READ_ALL | SYSLOG_ACTION_SIZE_BUFFER);
    if !open_to_all && !capable(CAP_SYSLOG) && !capable(CAP_SYS_ADMIN) {
        return Err(EPERM);
    }
    match action {
        SYSLOG_ACTION_CLOSE | SYSLOG_ACTION_OPEN => Ok(0),
        SYSLOG_ACTION_READ => {
            let len = buffer(buf, len)?;
            if len == 0 {
                return Ok(0);
            }
            read(buf, len)
        }
        SYSLOG_ACTION_READ_ALL | SYSLOG_ACTION_READ_CLEAR => {
            let len = buffer(buf, len)?;
            let done = if len == 0 { 0 } else { read_all(buf, len)? };
            if action == SYSLOG_ACTION_READ_CLEAR {
                CLEARED.store(printk::bounds().1, Ordering::SeqCst);
            }
            Ok(done)
        }
        SYSLOG_ACTION_CLEAR => {
            CLEARED.store(printk::bounds().1, Ordering::SeqCst);
            Ok(0)
        }
        SYSLOG_ACTION_CONSOLE_OFF => {
            if SAVED_LEVEL.load(Ordering::SeqCst) == 0 {
                SAVED_LEVEL.store(u64::from(printk::console_level()) + 1, Ordering::SeqCst);
            }
            printk::set_console_level(1);
            Ok(0)
        }
        SYSLOG_ACTION_CONSOLE_ON => {
            let saved = SAVED_LEVEL.swap(0, Ordering::SeqCst);
            if saved > 0 {
                printk::set_console_level((saved - 1) as u8);
            }
            Ok(0)
        }
        SYSLOG_ACTION_CONSOLE_LEVEL => {
            if !(1..=8).contains(&len) {
                return Err(EINVAL);
            }
            printk::set_console_level(len as u8);
            SAVED_LEVEL.store(0, Ordering::SeqCst);
            Ok(0)
        }
        SYSLOG_ACTION_SIZE_UNREAD => {
            let from = READ_FROM.load(Ordering::SeqCst);
            Ok(records(from).map(|r| line(&r).len()).sum())
        }
        SYSLOG_ACTION_SIZE_BUFFER => Ok(printk::LOG_BUF_LEN),
        _ => Err(EINVAL),
    }
}

fn buffer(buf: u64, len: i32) -> Result<usize> {
    if buf == 0 { Err(EINVAL) } else { usize::try_from(len).map_err(|_| EINVAL) }
}

/// Records from `seq` on, as long as there are any.
fn records(mut seq: u64) -> impl Iterator<Item = Record> {
    core::iter::from_fn(move || {
        let record = printk::record_from(seq)?;
        seq = record.seq + 1;
        Some(record)
    })
}

fn line(record: &Record) -> String {
    let (seconds, micros) = (record.time / 1_000_000_000, record.time / 1000 % 1_000_000);
    let priority = u32::from(record.facility) << 3 | record.level as u32;
    format!("<{priority}>[{seconds:5}.{micros:06}] {}\n", record.text)
}

/// Whole records that are new to readers, at least one: waits for it.
fn read(buf: u64, len: usize) -> Result<usize> {
    wait_event(printk::readers(), Sleep::INTERRUPTIBLE, || has_unread().then_some(()))?;
    let (text, next) = unread(len);
    copy_to_user(buf, text.as_bytes())?;
    READ_FROM.store(next, Ordering::SeqCst);
    Ok(text.len())
}

/// Whether there is a record that is new to readers.
pub fn has_unread() -> bool {
    printk::record_from(READ_FROM.load(Ordering::SeqCst)).is_some()
}

/// The same for /proc/kmsg. EAGAIN if there is none.
pub fn take_unread(dest: &mut IovDest<'_>) -> Result<usize> {
    let (text, next) = unread(dest.remaining().min(printk::LOG_BUF_LEN));
    if text.is_empty() {
        return if dest.remaining() == 0 { Ok(0) } else { Err(EAGAIN) };
    }
    let n = dest.write(text.as_bytes())?;
    READ_FROM.store(next, Ordering::SeqCst);
    Ok(n)
}

/// New records, as many as fit in `len` bytes, and where the next ones begin.
fn unread(len: usize) -> (String, u64) {
    let from = READ_FROM.load(Ordering::SeqCst);
    let mut text = String::new();
    let mut next = from;
    for record in records(from) {
        let line = line(&record);
        if text.len() + line.len() > len {
            if text.is_empty() {
                // A buffer too small for one record gets its beginning.
                text.push_str(line.get(..len).unwrap_or_default());
                next = record.seq + 1;
            }
            break;
        }
        text.push_str(&line);
        next = record.seq + 1;
    }
    (text, next)
}

/// The newest records that fit.
fn read_all(buf: u64, len: usize) -> Result<usize> {
    let lines: Vec<String> = records(CLEARED.load(Ordering::SeqCst)).map(|r| line(&r)).collect();
    let mut room = len;
    let fitting = lines.iter().rev().take_while(|l| {
        let fits = l.len() <= room;
        room = room.saturating_sub(l.len());
        fits
    });
    let count = fitting.count();
    let text = lines[lines.len() - count..].concat();
    copy_to_user(buf, text.as_bytes())?;
    Ok(text.len())
}
