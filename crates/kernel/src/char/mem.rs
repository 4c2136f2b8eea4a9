//! /dev/null, /dev/zero, /dev/full.

use abi::Result;
use abi::errno::ENOSPC;

use crate::vfs::{File, FileOps, IovDest, IovSource, Mapping, MmapRequest};

fn swallow(src: &mut IovSource<'_>) -> Result<usize> {
    let n = src.remaining();
    src.advance(n);
    Ok(n)
}

/// Devices seek to any place and stay where they are.
fn anywhere() -> Result<u64> {
    Ok(0)
}

/// Reads as empty, takes everything.
pub struct Null;

impl FileOps for Null {
    fn read(&self, _: &File, _: &mut IovDest<'_>, _: &mut u64) -> Result<usize> {
        Ok(0)
    }
    fn write(&self, _: &File, src: &mut IovSource<'_>, _: &mut u64) -> Result<usize> {
        swallow(src)
    }
    fn seek(&self, _: &File, _: u64, _: i64, _: u32) -> Result<u64> {
        anywhere()
    }
    fn can_poll(&self, _: &File) -> bool {
        false
    }
}

/// Reads as zeros, takes everything; its mappings are fresh memory.
pub struct Zero;

impl FileOps for Zero {
    fn read(&self, _: &File, dest: &mut IovDest<'_>, _: &mut u64) -> Result<usize> {
        dest.write_zeros(dest.remaining())
    }
    fn write(&self, _: &File, src: &mut IovSource<'_>, _: &mut u64) -> Result<usize> {
        swallow(src)
    }
    fn seek(&self, _: &File, _: u64, _: i64, _: u32) -> Result<u64> {
        anywhere()
    }
    fn can_poll(&self, _: &File) -> bool {
        false
    }
    fn mmap(&self, _: &File, _: MmapRequest) -> Result<Mapping> {
        Ok(Mapping::Anonymous)
    }
}

/// Reads as zeros, takes nothing.
pub struct Full;

impl FileOps for Full {
    fn read(&self, _: &File, dest: &mut IovDest<'_>, _: &mut u64) -> Result<usize> {
        dest.write_zeros(dest.remaining())
    }
    fn write(&self, _: &File, _: &mut IovSource<'_>, _: &mut u64) -> Result<usize> {
        Err(ENOSPC)
    }
    fn seek(&self, _: &File, _: u64, _: i64, _: u32) -> Result<u64> {
        anywhere()
    }
    fn can_poll(&self, _: &File) -> bool {
        false
    }
}
