//! Socket addresses between the guest and the kernel.

use abi::Result;
use abi::errno::{EFAULT, EINVAL};
use abi::net::SockaddrStorage;

use crate::uaccess::{UserPtr, copy_from_user, copy_to_user};

/// Reads an address of `len` bytes. EINVAL for a length beyond `sockaddr_storage`.
pub fn read(addr: u64, len: i32) -> Result<Vec<u8>> {
    let len = usize::try_from(len).ok().filter(|&n| n <= size_of::<SockaddrStorage>()).ok_or(EINVAL)?;
    let mut bytes = vec![0; len];
    if len > 0 {
        copy_from_user(addr, &mut bytes)?;
    }
    Ok(bytes)
}

/// Writes an address to a buffer whose size stands at `len`, cut if need be; its full length replaces the size.
/// Nothing is written for a null buffer.
pub fn write(value: &[u8], addr: u64, len: UserPtr<i32>) -> Result<()> {
    if addr == 0 {
        return Ok(());
    }
    if len.is_null() {
        return Err(EFAULT);
    }
    let room = usize::try_from(len.read()?).map_err(|_| EINVAL)?;
    copy_to_user(addr, &value[..value.len().min(room)])?;
    len.write(&(value.len() as i32))
}

/// The family of an address; EINVAL if it is too short to have one.
pub fn family(addr: &[u8]) -> Result<u16> {
    addr.first_chunk().map(|b| u16::from_ne_bytes(*b)).ok_or(EINVAL)
}
