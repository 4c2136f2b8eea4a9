//! /dev/kmsg: the kernel log a record at a time.

use std::sync::atomic::{AtomicU64, Ordering};

use abi::Result;
use abi::errno::{EAGAIN, EINVAL, EPIPE, ESPIPE};
use abi::fcntl::{OpenFlags, SEEK_DATA, SEEK_END, SEEK_SET};

use crate::printk::{self, Level, Record};
use crate::sync::PollTable;
use crate::vfs::{File, FileOps, IovDest, IovSource, PollEvents};

/// Longest record that user space may write.
const LINE_MAX: usize = 1024;

/// A reader's place in the log.
pub struct Kmsg {
    next: AtomicU64,
}

impl Kmsg {
    /// At the oldest record.
    pub fn open(_: OpenFlags) -> Kmsg {
        Kmsg { next: AtomicU64::new(printk::bounds().0) }
    }
}

fn format(record: &Record) -> String {
    let prefix = u32::from(record.facility) << 3 | record.level as u32;
    let mut line = format!("{prefix},{},{},-;", record.seq, record.time / 1000);
    for c in record.text.chars() {
        // Control characters would break the one-record-a-line form.
        if c.is_control() || c == '\\' { line += &format!("\\x{:02x}", c as u32) } else { line.push(c) }
    }
    line.push('\n');
    line
}

impl FileOps for Kmsg {
    fn read(&self, _: &File, dest: &mut IovDest<'_>, _: &mut u64) -> Result<usize> {
        let seq = self.next.load(Ordering::SeqCst);
        let record = printk::record_from(seq).ok_or(EAGAIN)?;
        self.next.store(record.seq + 1, Ordering::SeqCst);
        if record.seq > seq {
            // Records in between were overwritten: said once.
            self.next.store(record.seq, Ordering::SeqCst);
            return Err(EPIPE);
        }
        let line = format(&record);
        if line.len() > dest.remaining() {
            self.next.store(seq, Ordering::SeqCst);
            return Err(EINVAL);
        }
        dest.write(line.as_bytes())
    }

    fn write(&self, _: &File, src: &mut IovSource<'_>, _: &mut u64) -> Result<usize> {
        let len = src.remaining();
        if len > LINE_MAX {
            return Err(EINVAL);
        }
        let mut buf = vec![0; len];
        src.read(&mut buf)?;
        let text = String::from_utf8_lossy(&buf);
        let (prefix, text) = match text.strip_prefix('<').and_then(|t| t.split_once('>')) {
            Some((number, rest)) => (number.parse::<u32>().map_err(|_| EINVAL)?, rest),
            None => (1 << 3 | Level::Warning as u32, text.as_ref()),
        };
        // User space cannot pose as the kernel.
        let facility = match (prefix >> 3) as u8 {
            0 => 1,
            facility => facility,
        };
        printk::log(Level::from_number(prefix & 7), facility, text);
        Ok(len)
    }

    fn poll(&self, _: &File, table: &mut PollTable) -> PollEvents {
        table.register(printk::readers());
        let writable = PollEvents::WRITABLE;
        match printk::record_from(self.next.load(Ordering::SeqCst)) {
            Some(_) => writable | PollEvents::READABLE,
            None => writable,
        }
    }

    fn seek(&self, _: &File, _: u64, offset: i64, whence: u32) -> Result<u64> {
        if offset != 0 {
            return Err(ESPIPE);
        }
        let (oldest, next) = printk::bounds();
        let at = match whence {
            // SEEK_DATA is "after the last clear"; there is no separate mark, so it is the start.
            SEEK_SET | SEEK_DATA => oldest,
            SEEK_END => next,
            _ => return Err(EINVAL),
        };
        self.next.store(at, Ordering::SeqCst);
        Ok(0)
    }
}
