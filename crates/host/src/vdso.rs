//! The guest's vDSO.

use crate::stub::MemOp;
use abi::Result;

/// Bytes of the data page and the image together, page aligned.
pub fn len() -> u64 {
    0x4000
}

/// The ELF image.
pub fn image() -> &'static [u8] {
    &[]
}

/// The operations that map data page and image at `addr` (page aligned): data first, then the image.
pub fn map_ops(addr: u64) -> Result<Vec<MemOp>> {
    let _ = addr;
    Ok(Vec::new())
}

/// Where the ELF image (AT_SYSINFO_EHDR) is when the whole is mapped at `addr`.
pub fn ehdr(addr: u64) -> u64 {
    addr
}

/// Offset of a symbol's code from [`ehdr`], if the image has it.
pub fn symbol(name: &str) -> Option<u64> {
    let _ = name;
    None
}

/// Sets what guests add to the host's clocks, ns: guest = host + offset, wrapping.
pub fn set_offsets(monotonic: i64, boottime: i64, realtime: i64) {
    let _ = (monotonic, boottime, realtime);
}

/// Bytes of the host's own vDSO image.
pub(crate) fn host_len() -> u64 {
    0x2000
}
