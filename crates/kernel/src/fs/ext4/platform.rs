//! What the `ext4` library needs of this kernel: how to sleep, a disk, and a place for its messages.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use abi::Result;
use abi::time::Timespec;
use ext4::sync::{Platform, Thread};
use ext4::{BlockDevice, Level, Log};

use crate::block::Claim;
use crate::sync::{Interruptible, Sleep, wait_until};
use crate::task::{Task, current};

/// Tasks park as fibers.
pub(super) struct Fibers;

struct Sleeper(Arc<Task>);

impl Thread for Sleeper {
    fn unpark(&self) {
        self.0.unparked.store(true, Ordering::SeqCst);
        self.0.wake_up();
    }
}

impl Platform for Fibers {
    fn current(&self) -> Arc<dyn Thread> {
        Arc::new(Sleeper(current()))
    }

    fn park(&self) {
        let sleep = Sleep { interruptible: Interruptible::No, deadline: None };
        let task = current();
        let _ = wait_until(sleep, |_| task.unparked.swap(false, Ordering::SeqCst).then_some(()));
    }

    fn now(&self) -> u64 {
        host::clock::monotonic()
    }
}

/// A disk of the kernel's, held by the file system.
pub(super) struct Disk(pub Claim);

impl BlockDevice for Disk {
    fn len(&self) -> u64 {
        self.0.bdev().len()
    }

    fn is_readonly(&self) -> bool {
        self.0.bdev().is_readonly()
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.0.bdev().read(offset, buf)
    }

    fn write(&self, offset: u64, bufs: &[&[u8]]) -> Result<()> {
        self.0.bdev().write(offset, bufs)
    }

    fn flush(&self) -> Result<()> {
        self.0.bdev().flush()
    }

    fn discard(&self, offset: u64, len: u64) -> Result<()> {
        self.0.bdev().discard(offset, len)
    }
}

/// Messages go to the kernel's log, with the name of the disk.
pub(super) struct Messages(pub String);

impl Log for Messages {
    fn log(&self, level: Level, text: fmt::Arguments<'_>) {
        let device = &self.0;
        match level {
            Level::Critical => crate::pr_err!("EXT4-fs error (device {device}): {text}"),
            Level::Error => crate::pr_err!("EXT4-fs ({device}): {text}"),
            Level::Warning => crate::pr_warn!("EXT4-fs warning (device {device}): {text}"),
            Level::Info => crate::pr_info!("EXT4-fs ({device}): {text}"),
        }
    }

    fn panic(&self, text: fmt::Arguments<'_>) {
        crate::boot::panic(&format!("EXT4-fs (device {}): panic forced after error: {text}", self.0));
    }

    fn now(&self) -> Timespec {
        crate::time::now_realtime()
    }
}
