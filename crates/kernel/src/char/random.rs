//! /dev/random and /dev/urandom, random(4): the host's generator behind both.

use abi::Result;
use abi::errno::{ENOTTY, EPERM};
use abi::ioctl::{RNDADDENTROPY, RNDADDTOENTCNT, RNDCLEARPOOL, RNDGETENTCNT, RNDRESEEDCRNG, RNDZAPENTCNT};

use crate::sync::PollTable;
use crate::task::current;
use crate::uaccess::UserPtr;
use crate::vfs::{File, FileOps, IovDest, IovSource, PollEvents};

/// Bits that the pool is said to hold.
const POOL_BITS: i32 = 256;

/// Either device.
pub struct Random {
    /// /dev/random, which epoll(7) may watch.
    pub pollable: bool,
}

impl FileOps for Random {
    fn read(&self, _: &File, dest: &mut IovDest<'_>, _: &mut u64) -> Result<usize> {
        let mut done = 0;
        let mut buf = [0; 256];
        while dest.remaining() > 0 {
            // A large read gives way to a signal, but not without result.
            if done > 0 && current().signal_pending() {
                break;
            }
            let piece = &mut buf[..dest.remaining().min(256)];
            host::random::fill(piece);
            match dest.write(piece) {
                Ok(n) => done += n,
                Err(errno) if done == 0 => return Err(errno),
                Err(_) => break,
            }
        }
        Ok(done)
    }

    /// The host's generator needs no help: what is written is dropped.
    fn write(&self, _: &File, src: &mut IovSource<'_>, _: &mut u64) -> Result<usize> {
        let n = src.remaining();
        src.advance(n);
        Ok(n)
    }

    fn ioctl(&self, _: &File, cmd: u32, arg: u64) -> Result<u64> {
        match cmd {
            RNDGETENTCNT => UserPtr::<i32>::new(arg).write(&POOL_BITS).map(|()| 0),
            RNDADDTOENTCNT | RNDADDENTROPY | RNDZAPENTCNT | RNDCLEARPOOL | RNDRESEEDCRNG => {
                if current().cred().capable(abi::cred::CAP_SYS_ADMIN) { Ok(0) } else { Err(EPERM) }
            }
            _ => Err(ENOTTY),
        }
    }

    /// /dev/random has something to read, always; nothing is ever said of writing to it.
    fn poll(&self, _: &File, _: &mut PollTable) -> PollEvents {
        if self.pollable { PollEvents::READABLE } else { PollEvents::READABLE | PollEvents::WRITABLE }
    }

    fn can_poll(&self, _: &File) -> bool {
        self.pollable
    }

    fn seek(&self, _: &File, _: u64, _: i64, _: u32) -> Result<u64> {
        Ok(0)
    }
}
