//! Swap areas: swapon(2), swapoff(2), /proc/swaps.
//!
//! An area is taken, held and shown, so that scripts and /etc/fstab work; nothing is ever written to it. Guest memory is
//! the host's to swap.
//!
//! Lock: LEAF, over the list.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use abi::Result;
use abi::cred::CAP_SYS_ADMIN;
use abi::errno::{EBUSY, EINVAL, EPERM};
use abi::fcntl::OpenFlags;
use abi::mm::PAGE_SIZE;

use super::{Claim, file};
use crate::sync::{SpinLock, rank};
use crate::syscall::UserPath;
use crate::task::current;
use crate::vfs::namei::d_path;
use crate::vfs::open::filp_open;
use crate::vfs::{File, FileType};

const SWAP_FLAG_PREFER: u32 = 0x8000;
const SWAP_FLAG_PRIO_MASK: u32 = 0x7fff;
const SWAP_FLAG_DISCARD: u32 = 0x1_0000;
const SWAP_FLAG_DISCARD_ONCE: u32 = 0x2_0000;
const SWAP_FLAG_DISCARD_PAGES: u32 = 0x4_0000;
const SWAP_FLAGS_VALID: u32 = SWAP_FLAG_PREFER
    | SWAP_FLAG_PRIO_MASK
    | SWAP_FLAG_DISCARD
    | SWAP_FLAG_DISCARD_ONCE
    | SWAP_FLAG_DISCARD_PAGES;
/// Areas that there may be, as on Linux.
const MAX_SWAPFILES: usize = 28;
/// Priority of the first area without one of its own; later ones are below.
const FIRST_PRIORITY: i32 = -2;

struct Area {
    file: Arc<File>,
    _claim: Option<Claim>,
    /// Bytes.
    size: u64,
    priority: i32,
}

static AREAS: SpinLock<Vec<Arc<Area>>> = SpinLock::new(rank::LEAF, Vec::new());

fn areas() -> Vec<Arc<Area>> {
    AREAS.lock().clone()
}

/// swapon(2). EINVAL for a file without a swap header; EBUSY.
pub fn swapon(path: UserPath, flags: u32) -> Result<()> {
    if flags & !SWAP_FLAGS_VALID != 0 {
        return Err(EINVAL);
    }
    if !current().cred().capable(CAP_SYS_ADMIN) {
        return Err(EPERM);
    }
    let file = filp_open(&path.read()?, OpenFlags::RDWR, 0)?;
    if areas().iter().any(|a| Arc::ptr_eq(a.file.inode(), file.inode())) {
        return Err(EBUSY);
    }
    let (claim, len) = match file.inode().kind {
        FileType::BlockDev => {
            let bdev = file::bdev_of(&file).ok_or(EINVAL)?;
            (Some(bdev.claim()?), bdev.len())
        }
        FileType::Regular => (None, file.inode().getattr()?.size),
        _ => return Err(EINVAL),
    };
    let mut header = vec![0; PAGE_SIZE as usize];
    if file.kernel_read(&mut header, 0)? < header.len() {
        return Err(EINVAL);
    }
    let size = area_size(&header, len)?;
    let area = |priority| Arc::new(Area { file, _claim: claim, size, priority });
    let full = {
        let mut all = AREAS.lock();
        if all.len() < MAX_SWAPFILES {
            let below = all.iter().map(|a| a.priority).min().unwrap_or(0).min(FIRST_PRIORITY + 1) - 1;
            let chosen = flags & SWAP_FLAG_PREFER != 0;
            all.push(area(if chosen { (flags & SWAP_FLAG_PRIO_MASK) as i32 } else { below }));
            false
        } else {
            true
        }
    };
    if full {
        return Err(EPERM);
    }
    static SAID: AtomicBool = AtomicBool::new(false);
    if !SAID.swap(true, Ordering::Relaxed) {
        crate::pr_info!("swap areas are only shown: the host swaps the guest's memory");
    }
    Ok(())
}

/// swapoff(2). EINVAL for what isn't an area.
pub fn swapoff(path: UserPath) -> Result<()> {
    if !current().cred().capable(CAP_SYS_ADMIN) {
        return Err(EPERM);
    }
    let file = filp_open(&path.read()?, OpenFlags::RDONLY, 0)?;
    let gone = {
        let mut all = AREAS.lock();
        let rdev_inode = |a: &Arc<Area>| Arc::ptr_eq(a.file.inode(), file.inode());
        let at = all.iter().position(rdev_inode).ok_or(EINVAL)?;
        all.remove(at)
    };
    drop(gone);
    Ok(())
}

/// Bytes that may be used, from the header in the first page. EINVAL.
fn area_size(header: &[u8], len: u64) -> Result<u64> {
    let word = |at: usize| {
        header.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes).ok_or(EINVAL)
    };
    let page = PAGE_SIZE as usize;
    if header.get(page - 10..page) != Some(b"SWAPSPACE2") || word(1024)? != 1 {
        return Err(EINVAL);
    }
    // Pages are counted with the header's, and up to the last one.
    let (last, bad) = (u64::from(word(1028)?), u64::from(word(1032)?));
    if last == 0 || bad >= last || (last + 1) * PAGE_SIZE > len {
        return Err(EINVAL);
    }
    Ok((last - bad) * PAGE_SIZE)
}

/// Bytes of all areas.
pub fn total() -> u64 {
    AREAS.lock().iter().map(|a| a.size).sum()
}

/// /proc/swaps
pub fn proc_lines() -> String {
    let mut out = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n".to_owned();
    let root = current().fs().root();
    for area in areas() {
        let name = String::from_utf8_lossy(&d_path(&area.file.path, &root)).into_owned();
        let kind = if area.file.inode().kind == FileType::BlockDev { "partition" } else { "file\t" };
        let kib = area.size >> 10;
        let tab = if kib < 10_000_000 { "\t" } else { "" };
        let gap = 40usize.saturating_sub(name.len()).max(1);
        let _ = writeln!(out, "{name}{:gap$}{kind}\t{kib}\t{tab}0\t\t{}", "", area.priority);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers() {
        let mut header = vec![0; 4096];
        assert_eq!(area_size(&header, 1 << 20), Err(EINVAL));
        header[4086..].copy_from_slice(b"SWAPSPACE2");
        header[1024] = 1;
        header[1028] = 255;
        assert_eq!(area_size(&header, 1 << 20), Ok(255 * 4096));
        assert_eq!(area_size(&header, (1 << 20) - 1), Err(EINVAL));
        header[1032] = 255;
        assert_eq!(area_size(&header, 1 << 20), Err(EINVAL));
        header[1028..1032].fill(0xff);
        assert_eq!(area_size(&header, 1 << 20), Err(EINVAL));
    }
}
