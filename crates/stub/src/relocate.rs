//! Moves the host's vDSO out of the guest's part of the address space.
//!
//! Nothing here may panic, for the stub has no place for what that links in. Without address randomisation the host puts it high. Where a container forbids to switch that off, it may lie anywhere.

use crate::abi::{STUB_BASE, VDSO_HOME};
use crate::sys::*;

const MAYMOVE_FIXED: u64 = 3;

/// A mapping that belongs to the vDSO.
#[derive(Clone, Copy)]
struct Range {
    start: u64,
    len: u64,
}

/// Clears the guest's part of the address space; where the vDSO is now, 0 if it could not be kept. Minus an errno where
/// something is left.
pub fn vdso(base: u64) -> Result<u64, i64> {
    let at = if base >= VDSO_HOME { base } else { moved(base).unwrap_or(0) };
    match syscall3(SYS_MUNMAP, 0, STUB_BASE, 0) {
        ret if ret < 0 => Err(ret),
        _ => Ok(at),
    }
}

fn moved(base: u64) -> Option<u64> {
    let mut text = [0; 8192];
    let mut ranges = [Range { start: 0, len: 0 }; 8];
    let count = find(read_maps(&mut text)?, &mut ranges)?;
    let ranges = ranges.get(..count)?;
    let delta = VDSO_HOME - ranges.first()?.start;
    for range in ranges {
        let to = range.start + delta;
        if syscall6(SYS_MREMAP, range.start, range.len, range.len, MAYMOVE_FIXED, to, 0) != to as i64 {
            return None;
        }
    }
    Some(base + delta)
}

fn read_maps(text: &mut [u8]) -> Option<&[u8]> {
    let path = b"/proc/self/maps\0";
    let fd = syscall3(SYS_OPEN, path.as_ptr() as u64, 0, 0);
    if fd < 0 {
        return None;
    }
    let mut len = 0;
    loop {
        let rest = text.get_mut(len..)?;
        let n = syscall3(SYS_READ, fd as u64, rest.as_mut_ptr() as u64, rest.len() as u64);
        if n <= 0 {
            break;
        }
        len += n as usize;
    }
    syscall3(SYS_CLOSE, fd as u64, 0, 0);
    text.get(..len)
}

/// The vDSO's mappings in ascending order; how many.
fn find(text: &[u8], ranges: &mut [Range]) -> Option<usize> {
    let mut count = 0;
    for line in text.split(|byte| *byte == b'\n') {
        let name = line.iter().position(|byte| *byte == b'[').and_then(|at| line.get(at..));
        if !name.is_some_and(|name| name.starts_with(b"[vvar") || name.starts_with(b"[vdso]")) {
            continue;
        }
        let (start, rest) = hex(line);
        let (end, _) = hex(rest.get(1..)?);
        *ranges.get_mut(count)? = Range { start, len: end - start };
        count += 1;
    }
    Some(count)
}

/// A hexadecimal number, and what follows it.
fn hex(text: &[u8]) -> (u64, &[u8]) {
    let mut value = 0u64;
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => break,
        };
        value = value << 4 | u64::from(digit);
        rest = after;
    }
    (value, rest)
}
