//! Reading and changing futex words in guest memory.

use std::sync::Arc;

use abi::Result;
use abi::errno::EFAULT;

use crate::mm::Mm;
use crate::task::current;

/// The word, brought into memory if need be. May sleep. EFAULT.
pub fn read(mm: &Arc<Mm>, addr: u64) -> Result<u32> {
    let mut bytes = [0; 4];
    if mm.read(addr, &mut bytes) == 4 { Ok(u32::from_ne_bytes(bytes)) } else { Err(EFAULT) }
}

/// The word if the host can read it at once. Doesn't sleep.
pub fn peek(mm: &Arc<Mm>, addr: u64) -> Option<u32> {
    let mut bytes = [0; 4];
    (mm.peek(addr, &mut bytes) == 4).then(|| u32::from_ne_bytes(bytes))
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

/// Writes `new` if the word is still `old`; whether it was. In one atomic step where the memory is the current task's:
/// its stub does it. Elsewhere (a lock shared between processes whose owner dies) as well as the kernel can.
fn cmpxchg(mm: &Arc<Mm>, addr: u64, old: u32, new: u32) -> Result<bool> {
    if !mm.is_current() {
        let unchanged = read(mm, addr)? == old;
        let written = unchanged && mm.write(addr, &new.to_ne_bytes()) == 4;
        return if unchanged && !written { Err(EFAULT) } else { Ok(unchanged) };
    }
    let task = current();
    let exchange =
        || task.user.lock().as_mut().map_or(Err(EFAULT), |stub| stub.compare_exchange(addr, old, new));
    let found = match exchange() {
        Err(EFAULT) if mm.fault_in(addr) => exchange()?,
        other => other?,
    };
    Ok(found == old)
}
