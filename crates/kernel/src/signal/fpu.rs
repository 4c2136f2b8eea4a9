//! The vector and floating-point state in a signal frame.
//!
//! The host gives and takes an XSAVE image as a frame has it, FP_XSTATE_MAGIC2 behind it included; and it judges what a
//! guest gives back.

use abi::Result;
use abi::errno::{EINVAL, ESRCH};
use abi::sigframe::{FP_XSTATE_MAGIC1, FP_XSTATE_MAGIC2, FPX_SW_BYTES_OFFSET, FXSAVE_SIZE, FpxSwBytes};
use zerocopy::FromBytes;

use crate::task::Task;
use crate::uaccess::copy_from_user;

/// FXSAVE area and XSAVE header.
const XSAVE_MIN: usize = FXSAVE_SIZE + 64;
/// No processor's state is larger.
const XSAVE_MAX: usize = 64 << 10;
const MAGIC2_SIZE: usize = 4;

/// Guest memory that was read ahead in one go: a frame and, as a rule, the state above it.
pub(super) struct Fetched {
    addr: u64,
    bytes: Vec<u8>,
}

impl Fetched {
    /// Reads what there is of the `len` bytes at `addr`.
    pub fn read(task: &Task, addr: u64, len: usize) -> Result<Fetched> {
        let mut bytes = vec![0; len];
        let got = task.mm()?.read(addr, &mut bytes);
        bytes.truncate(got);
        Ok(Fetched { addr, bytes })
    }

    /// Copies from it, or from guest memory where it has not all of it. EFAULT.
    pub fn copy(&self, addr: u64, buf: &mut [u8]) -> Result<()> {
        let at = addr.checked_sub(self.addr).and_then(|at| usize::try_from(at).ok());
        let here = at.and_then(|at| self.bytes.get(at..at.checked_add(buf.len())?));
        match here {
            Some(bytes) => buf.copy_from_slice(bytes),
            None => copy_from_user(addr, buf)?,
        }
        Ok(())
    }
}

/// The state of the current task as its frame has it, and whether that has the extended part.
pub(super) fn save(task: &Task) -> Result<(Vec<u8>, bool)> {
    let image = task.user.lock().as_mut().ok_or(ESRCH)?.fpstate()?;
    let extended = xstate_size(&image).is_some();
    Ok((image, extended))
}

/// Takes the state from guest memory at `addr`, 0 for the initial one. EFAULT; EINVAL for one that the processor refuses.
pub(super) fn restore(task: &Task, memory: &Fetched, addr: u64) -> Result<()> {
    let image = if addr == 0 { None } else { Some(read(memory, addr)?) };
    let mut user = task.user.lock();
    let stub = user.as_mut().ok_or(ESRCH)?;
    match image {
        None => stub.reset_fpstate(),
        Some(image) => stub.set_fpstate(&image)?,
    }
    Ok(())
}

/// A whole image with its second magic number; or the legacy part, if the guest has left no more in order.
fn read(memory: &Fetched, addr: u64) -> Result<Vec<u8>> {
    if !addr.is_multiple_of(64) {
        return Err(EINVAL);
    }
    let mut image = vec![0; FXSAVE_SIZE];
    memory.copy(addr, &mut image)?;
    let Some(len) = xstate_size(&image) else { return Ok(image) };
    image.resize(len + MAGIC2_SIZE, 0);
    memory.copy(addr.wrapping_add(FXSAVE_SIZE as u64), &mut image[FXSAVE_SIZE..])?;
    if image[len..] != FP_XSTATE_MAGIC2.to_le_bytes() {
        image.truncate(FXSAVE_SIZE);
    }
    Ok(image)
}

/// Bytes of the XSAVE image that begins with this FXSAVE area, if it says that there is one and makes sense.
fn xstate_size(image: &[u8]) -> Option<usize> {
    let bytes = image.get(FPX_SW_BYTES_OFFSET..FPX_SW_BYTES_OFFSET + size_of::<FpxSwBytes>())?;
    let sw = FpxSwBytes::read_from_bytes(bytes).ok()?;
    let len = sw.xstate_size as usize;
    let sound = sw.magic1 == FP_XSTATE_MAGIC1
        && (XSAVE_MIN..=XSAVE_MAX).contains(&len)
        && sw.xstate_size <= sw.extended_size;
    sound.then_some(len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::IntoBytes;

    fn with(sw: FpxSwBytes) -> Vec<u8> {
        let mut image = vec![0; FXSAVE_SIZE];
        image[FPX_SW_BYTES_OFFSET..].copy_from_slice(sw.as_bytes());
        image
    }

    #[test]
    fn only_a_sound_description_is_believed() {
        let good = FpxSwBytes {
            magic1: FP_XSTATE_MAGIC1,
            extended_size: 836,
            xstate_size: 832,
            ..FpxSwBytes::default()
        };
        assert_eq!(xstate_size(&with(good)), Some(832));
        assert_eq!(xstate_size(&with(FpxSwBytes { magic1: 0, ..good })), None);
        assert_eq!(xstate_size(&with(FpxSwBytes { xstate_size: 575, ..good })), None);
        assert_eq!(xstate_size(&with(FpxSwBytes { xstate_size: u32::MAX, ..good })), None);
        assert_eq!(xstate_size(&with(FpxSwBytes { extended_size: 831, ..good })), None);
        assert_eq!(xstate_size(&[0; 100]), None);
    }
}
