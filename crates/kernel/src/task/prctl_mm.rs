//! prctl(2)'s PR_SET_MM and PR_GET_AUXV: what /proc says of an address space.

use abi::Result;
use abi::cred::CAP_SYS_RESOURCE;
use abi::errno::{EFAULT, EINVAL, EPERM};
use abi::prctl::*;
use host::stub::TASK_SIZE;
use zerocopy::IntoBytes;

use super::{capable, current};
use crate::mm::MMAP_MIN_ADDR;
use crate::uaccess::copy_to_user;

/// PR_SET_MM. Replacing the whole map or the program's file, as checkpoints do, is not built in: EINVAL.
pub fn set_mm(option: u64, addr: u64, unused: [u64; 2]) -> Result<()> {
    let option = u32::try_from(option).map_err(|_| EINVAL)?;
    if unused != [0, 0] {
        return Err(EINVAL);
    }
    if !capable(CAP_SYS_RESOURCE) {
        return Err(EPERM);
    }
    if !(MMAP_MIN_ADDR..TASK_SIZE).contains(&addr) {
        return Err(EINVAL);
    }
    let mm = current().mm()?;
    let mut inner = mm.lock();
    let mapped = inner.vmas.find(addr).is_some();
    let layout = &mut inner.layout;
    let mut new = *layout;
    let needs_memory = match option {
        PR_SET_MM_START_CODE => set(&mut new.start_code, addr, false),
        PR_SET_MM_END_CODE => set(&mut new.end_code, addr, false),
        PR_SET_MM_START_DATA => set(&mut new.start_data, addr, false),
        PR_SET_MM_END_DATA => set(&mut new.end_data, addr, false),
        PR_SET_MM_START_STACK => set(&mut new.start_stack, addr, true),
        PR_SET_MM_START_BRK => set(&mut new.start_brk, addr, false),
        PR_SET_MM_BRK => set(&mut new.brk, addr, false),
        PR_SET_MM_ARG_START => set(&mut new.arg_start, addr, true),
        PR_SET_MM_ARG_END => set(&mut new.arg_end, addr, true),
        PR_SET_MM_ENV_START => set(&mut new.env_start, addr, true),
        PR_SET_MM_ENV_END => set(&mut new.env_end, addr, true),
        _ => return Err(EINVAL),
    };
    // The end of a range may be the first address after its memory.
    if needs_memory && !mapped && inner.vmas.find(addr - 1).is_none() {
        return Err(EFAULT);
    }
    let ordered = new.start_code <= new.end_code
        && new.start_data <= new.end_data
        && new.start_brk <= new.brk
        && new.arg_start <= new.arg_end
        && new.env_start <= new.env_end;
    if !ordered {
        return Err(EINVAL);
    }
    inner.layout = new;
    Ok(())
}

fn set(field: &mut u64, addr: u64, needs_memory: bool) -> bool {
    *field = addr;
    needs_memory
}

/// PR_GET_AUXV: as much of the auxiliary vector as fits; its whole length.
pub fn get_auxv(addr: u64, len: u64, unused: [u64; 2]) -> Result<u64> {
    if unused != [0, 0] {
        return Err(EINVAL);
    }
    let auxv = current().mm()?.lock().auxv.clone();
    let bytes = auxv.as_bytes();
    let fits = usize::try_from(len).unwrap_or(usize::MAX).min(bytes.len());
    copy_to_user(addr, &bytes[..fits])?;
    Ok(bytes.len() as u64)
}
