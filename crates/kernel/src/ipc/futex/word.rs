//! Reading and changing futex words in guest memory.

use std::sync::Arc;

use abi::Result;
use abi::errno::EFAULT;

use crate::mm::Mm;

/// The word, brought into memory if need be. May sleep. EFAULT.
pub fn read(mm: &Arc<Mm>, addr: u64) -> Result<u32> {
    let mut bytes = [0; 4];
    if mm.read(addr, &mut bytes) == 4 { Ok(u32::from_ne_bytes(bytes)) } else { Err(EFAULT) }
}

/// The word if the host can read it at once. Doesn't sleep.
pub fn peek(mm: &Arc<Mm>, addr: u64) -> Option<u32> {
    let mut bytes = [0; 4];
    (mm.space.read(addr, &mut bytes) == 4).then(|| u32::from_ne_bytes(bytes))
}

/// Changes the word to what `f` makes of it, unless that is None; the old value. EFAULT.
pub fn update(mm: &Arc<Mm>, addr: u64, mut f: impl FnMut(u32) -> Option<u32>) -> Result<u32> {
    loop {
        let old = read(mm, addr)?;
        let Some(new) = f(old) else { return Ok(old) };
        if cmpxchg(mm, addr, old, new)? {
            return Ok(old);
        }
    }
}

/// Writes `new` if the word is still `old`.
fn cmpxchg(mm: &Arc<Mm>, addr: u64, old: u32, new: u32) -> Result<bool> {
    if read(mm, addr)? != old {
        return Ok(false);
    }
    if mm.write(addr, &new.to_ne_bytes()) == 4 { Ok(true) } else { Err(EFAULT) }
}
