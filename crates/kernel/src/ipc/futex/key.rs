//! [`Key`]: two addresses are the same futex if their keys are equal.

use std::sync::Arc;

use abi::Result;

use super::check_address;
use crate::mm::Mm;

/// The name of a futex word: where it is, whoever maps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The address space, or the memory object.
    space: u64,
    /// Address or offset.
    offset: u64,
    shared: bool,
}

impl Key {
    /// The futex at `addr`. `shared` asks for the memory object behind a shared mapping. EINVAL, EFAULT.
    pub fn new(mm: &Arc<Mm>, addr: u64, shared: bool) -> Result<Key> {
        check_address(addr)?;
        if shared && let Some((space, offset)) = mm.futex_key(addr)? {
            return Ok(Key { space, offset, shared: true });
        }
        Ok(Key { space: mm.id, offset: addr, shared: false })
    }

    /// Spreads keys over `n` buckets.
    pub fn bucket(&self, n: usize) -> usize {
        let mixed = (self.space ^ self.offset >> 2).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> 32) as usize % n
    }
}
