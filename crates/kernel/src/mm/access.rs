//! The kernel's own copies from and to guest memory.
//!
//! The host copies what the guest itself could use. Where it stops short, memory may still be missing for a reason that
//! a fault of the guest would mend: a stack to grow, an operation that is still deferred. That is tried once.

use super::{Mm, VmFlags, fault};

impl Mm {
    /// Copies from guest memory; the number of bytes before the first that cannot be read.
    pub fn read(&self, addr: u64, buf: &mut [u8]) -> usize {
        let mut done = self.space.read(addr, buf);
        // Each round mends one place; a copy over two (a stack, then a deferred mapping) needs no more than that.
        for _ in 0..2 {
            if done >= buf.len() || !self.mend(addr.wrapping_add(done as u64), VmFlags::READ) {
                break;
            }
            done += self.space.read(addr.wrapping_add(done as u64), &mut buf[done..]);
        }
        done
    }

    /// Copies to guest memory; the number of bytes before the first that cannot be written.
    pub fn write(&self, addr: u64, data: &[u8]) -> usize {
        let mut done = self.space.write(addr, data);
        for _ in 0..2 {
            if done >= data.len() || !self.mend(addr.wrapping_add(done as u64), VmFlags::WRITE) {
                break;
            }
            done += self.space.write(addr.wrapping_add(done as u64), &data[done..]);
        }
        done
    }

    /// Does what a write of the guest at `addr` would need. Whether a second attempt may get further.
    pub fn fault_in(&self, addr: u64) -> bool {
        self.mend(addr, VmFlags::WRITE)
    }

    /// Does what a fault of the guest at `addr` would do. Whether a second attempt may get further.
    fn mend(&self, addr: u64, access: VmFlags) -> bool {
        if !self.is_current() {
            return false;
        }
        let deferred = crate::task::current().undo.is_pending();
        if deferred && self.flush().is_err() {
            return false;
        }
        match fault::resolve(self, addr, access) {
            fault::Outcome::Grown => true,
            fault::Outcome::Allowed => deferred,
            fault::Outcome::Unmapped | fault::Outcome::Forbidden => false,
        }
    }
}
