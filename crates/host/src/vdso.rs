//! The guest's vDSO: its image, its data page, and what the host's own vDSO offers.
//!
//! Both lie in one memory object, data page first, that every guest maps read-only. See the `vdso` crate for the code.

#[path = "../../vdso/src/data.rs"]
mod data;

use crate::answers;
use crate::object::Object;
use crate::stub::{MapSource, MemOp};
use abi::Result;
use abi::errno::*;
use data::{DATA_LEN, Data};
use std::os::fd::AsRawFd;
use std::ptr::{self, NonNull};
use std::sync::OnceLock;
use std::sync::atomic::Ordering::Relaxed;

static IMAGE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/vdso.so"));
const PAGE: u64 = 4096;

/// The object that guests map, and the kernel's own mapping of the data page.
struct Shared {
    object: Object,
    data: NonNull<Data>,
}

// SAFETY: every field of the data page is atomic, and it stays mapped.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

static SHARED: OnceLock<Shared> = OnceLock::new();

/// Bytes of the data page and the image together, page aligned.
pub fn len() -> u64 {
    DATA_LEN + (IMAGE.len() as u64).next_multiple_of(PAGE)
}

/// The ELF image.
pub fn image() -> &'static [u8] {
    IMAGE
}

/// The operations that map data page and image at `addr` (page aligned): data first, then the image. ENOSYS before
/// `machine::init`.
pub fn map_ops(addr: u64) -> Result<Vec<MemOp>> {
    let fd = SHARED.get().ok_or(ENOSYS)?.object.readonly_fd()?;
    let map = |addr, len, prot, shared, offset| MemOp::Map {
        addr,
        len,
        prot,
        shared,
        noreserve: false,
        populate: false,
        source: MapSource::Object { fd: fd.clone(), offset },
    };
    let text = addr.checked_add(DATA_LEN).ok_or(EINVAL)?;
    Ok(vec![map(addr, DATA_LEN, 1, true, 0), map(text, len() - DATA_LEN, 5, false, DATA_LEN)])
}

/// Where the ELF image (AT_SYSINFO_EHDR) is when the whole is mapped at `addr`.
pub fn ehdr(addr: u64) -> u64 {
    addr.wrapping_add(DATA_LEN)
}

/// Offset of a symbol's code from [`ehdr`], if the image has it.
pub fn symbol(name: &str) -> Option<u64> {
    find(IMAGE, name)
}

/// Sets what guests add to the host's clocks, ns: guest = host + offset, wrapping. Seen by every running guest at once.
pub fn set_offsets(monotonic: i64, boottime: i64, realtime: i64) {
    answers::set_offsets(monotonic, boottime, realtime);
    if let Some(shared) = SHARED.get() {
        // SAFETY: the data page stays mapped, and its fields are atomic.
        let data = unsafe { shared.data.as_ref() };
        data.monotonic.store(monotonic, Relaxed);
        data.boottime.store(boottime, Relaxed);
        data.realtime.store(realtime, Relaxed);
    }
}

/// Sets the time zone that gettimeofday(2) reports, as settimeofday(2) was told.
pub fn set_timezone(minutes_west: i32, dst: i32) {
    answers::set_timezone(minutes_west, dst);
    if let Some(shared) = SHARED.get() {
        // SAFETY: the data page stays mapped, and its fields are atomic.
        let data = unsafe { shared.data.as_ref() };
        data.minutes_west.store(minutes_west as u32, Relaxed);
        data.dst.store(dst as u32, Relaxed);
    }
}

/// Makes the object. `host` is where the host's vDSO lies in every stub, 0 for nowhere: then guests make system calls.
pub(crate) fn init(host: u64) -> Result<()> {
    let object = Object::create("ruml-vdso")?;
    object.set_len(len())?;
    object.pwrite(DATA_LEN, IMAGE)?;
    let prot = libc::PROT_READ | libc::PROT_WRITE;
    let fd = object.fd();
    // SAFETY: the host chooses a free place for the mapping, which is never undone.
    let at =
        unsafe { libc::mmap(ptr::null_mut(), DATA_LEN as usize, prot, libc::MAP_SHARED, fd.as_raw_fd(), 0) };
    if at == libc::MAP_FAILED {
        return Err(crate::sys::errno());
    }
    let data = NonNull::new(at.cast::<Data>()).ok_or(ENOMEM)?;
    let function = |name| match (host, host_image().and_then(|image| find(image, name))) {
        (0, _) | (_, None) => 0,
        (base, Some(offset)) => base + offset,
    };
    // SAFETY: the page is mapped, and zeros are values of its atomics.
    let page = unsafe { data.as_ref() };
    page.clock_gettime.store(function("__vdso_clock_gettime"), Relaxed);
    answers::set_clock_gettime(function("__vdso_clock_gettime"));
    page.clock_getres.store(function("__vdso_clock_getres"), Relaxed);
    SHARED.set(Shared { object, data }).map_err(|_| EBUSY)
}

/// Bytes of the host's own vDSO image; 0 if it has none.
pub(crate) fn host_len() -> u64 {
    host_image().map_or(0, |image| (image.len() as u64).next_multiple_of(PAGE))
}

/// The host's vDSO as this program has it, which is the same as every stub has.
fn host_image() -> Option<&'static [u8]> {
    // SAFETY: getauxval has no preconditions.
    let base = unsafe { libc::getauxval(libc::AT_SYSINFO_EHDR) } as *const u8;
    if base.is_null() {
        return None;
    }
    // SAFETY: the host maps at least the image's first page there, for good.
    let header = unsafe { std::slice::from_raw_parts(base, 64) };
    let sections = word(header, 40, 8)? + word(header, 58, 2)? * word(header, 60, 2)?;
    let len = (sections as usize).next_multiple_of(PAGE as usize);
    // SAFETY: the host maps the whole file, at whose end the section headers are.
    (len <= 1 << 20).then(|| unsafe { std::slice::from_raw_parts(base, len) })
}

/// A little-endian word of `len` bytes.
fn word(bytes: &[u8], at: u64, len: usize) -> Option<u64> {
    let at = usize::try_from(at).ok()?;
    let bytes = bytes.get(at..at.checked_add(len)?)?;
    Some(bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

/// The value of a dynamic symbol in an ELF image.
fn find(elf: &[u8], name: &str) -> Option<u64> {
    const SHT_DYNSYM: u64 = 11;
    let (table, size, count) = (word(elf, 40, 8)?, word(elf, 58, 2)?, word(elf, 60, 2)?);
    let section = |i: u64| table.checked_add(i.checked_mul(size)?);
    let dynsym = (0..count).filter_map(section).find(|at| word(elf, at + 4, 4) == Some(SHT_DYNSYM))?;
    let strings = section(word(elf, dynsym + 40, 4)?)?;
    let (symbols, bytes) = (word(elf, dynsym + 24, 8)?, word(elf, dynsym + 32, 8)?);
    let strings = word(elf, strings + 24, 8)?;
    let mut symbol = (0..bytes / 24).map(|i| symbols + i * 24).filter(|at| {
        let start = word(elf, *at, 4).and_then(|at| usize::try_from(strings.checked_add(at)?).ok());
        let text = start.and_then(|start| elf.get(start..));
        text.is_some_and(|text| {
            text.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first() == Some(&0))
        })
    });
    word(elf, symbol.next()? + 8, 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_are_found() {
        for name in ["clock_gettime", "clock_getres", "gettimeofday", "time", "getcpu"] {
            let prefixed = symbol(&format!("__vdso_{name}")).unwrap();
            assert_eq!(symbol(name), Some(prefixed));
            assert!((64..IMAGE.len() as u64).contains(&prefixed));
        }
        assert_eq!(symbol("__vdso_time_"), None);
        assert_eq!(symbol("__vdso_tim"), None);
    }

    #[test]
    fn the_host_has_one() {
        let image = host_image().unwrap();
        assert_eq!(image[..4], *b"\x7fELF");
        assert!(find(image, "__vdso_clock_gettime").is_some());
    }
}
