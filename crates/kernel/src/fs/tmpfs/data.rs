//! Contents of a regular file: sparse pages on the kernel's heap, or a host memory object.
//!
//! Most files are small and never mapped, and a host descriptor for each would exhaust them. The first mmap(2), or a
//! large size, turns the pages into an object, for good.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use abi::Result;
use abi::errno::{ENOMEM, ENXIO};
use host::object::Object;

use super::Tmpfs;

/// Bytes in a page.
pub const PAGE: usize = 4096;
/// A file that grows beyond this many bytes becomes an object: a tree of pages is slow for it.
const OBJECT_SIZE: u64 = 4 << 20;

/// Pages on the kernel's heap, of all files.
static HEAP_PAGES: AtomicU64 = AtomicU64::new(0);

/// Bytes that files have on the kernel's heap; what they have in objects is the host's to count.
pub fn heap_bytes() -> u64 {
    HEAP_PAGES.load(Ordering::Relaxed) * PAGE as u64
}

/// A page on the kernel's heap.
struct Page(Box<[u8; PAGE]>);

impl Page {
    fn zeroed() -> Page {
        HEAP_PAGES.fetch_add(1, Ordering::Relaxed);
        Page(Box::new([0; PAGE]))
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        HEAP_PAGES.fetch_sub(1, Ordering::Relaxed);
    }
}

enum Store {
    Pages(BTreeMap<u64, Page>),
    Object(Object),
}

/// A file's bytes; absent pages read as zeros.
pub struct Data {
    store: Store,
    size: u64,
    /// Pages charged to the file system.
    charged: u64,
}

impl Data {
    /// An empty file.
    pub fn new() -> Data {
        Data { store: Store::Pages(BTreeMap::new()), size: 0, charged: 0 }
    }

    /// Length, bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Pages in use.
    pub fn pages(&self) -> u64 {
        self.charged
    }

    /// Copies from `offset` on; short at the end of the file.
    pub fn read(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let len = (buf.len() as u64).min(self.size.saturating_sub(offset)) as usize;
        let buf = &mut buf[..len];
        match &self.store {
            Store::Object(object) => {
                let mut done = 0;
                while done < len {
                    match object.pread(offset + done as u64, &mut buf[done..])? {
                        0 => break,
                        n => done += n,
                    }
                }
                Ok(done)
            }
            Store::Pages(pages) => {
                let mut done = 0;
                while done < len {
                    let at = offset + done as u64;
                    let (index, within) = (at / PAGE as u64, (at % PAGE as u64) as usize);
                    let n = (PAGE - within).min(len - done);
                    let part = &mut buf[done..done + n];
                    match pages.get(&index) {
                        Some(page) => part.copy_from_slice(&page.0[within..within + n]),
                        None => part.fill(0),
                    }
                    done += n;
                }
                Ok(done)
            }
        }
    }

    /// Writes at `offset`, growing the file. ENOSPC with nothing written, or short.
    pub fn write(&mut self, fs: &Tmpfs, offset: u64, data: &[u8]) -> Result<usize> {
        let end = offset.checked_add(data.len() as u64).ok_or(abi::errno::EFBIG)?;
        if end > OBJECT_SIZE && end > self.size {
            self.become_object()?;
        }
        match &mut self.store {
            Store::Object(object) => {
                // As many pages as may become resident; what was there already is given back below.
                let touched = end.div_ceil(PAGE as u64) - offset / PAGE as u64;
                fs.charge(touched)?;
                self.charged += touched;
                let mut done = 0;
                if end > self.size {
                    object.set_len(end)?;
                    self.size = end;
                }
                while done < data.len() {
                    done += object.pwrite(offset + done as u64, &data[done..])?;
                }
                self.recount(fs)?;
                Ok(done)
            }
            Store::Pages(pages) => {
                let mut done = 0;
                while done < data.len() {
                    let at = offset + done as u64;
                    let (index, within) = (at / PAGE as u64, (at % PAGE as u64) as usize);
                    let n = (PAGE - within).min(data.len() - done);
                    let page = match pages.entry(index) {
                        std::collections::btree_map::Entry::Occupied(page) => page.into_mut(),
                        std::collections::btree_map::Entry::Vacant(slot) => match fs.charge(1) {
                            Ok(()) => {
                                self.charged += 1;
                                slot.insert(Page::zeroed())
                            }
                            Err(errno) if done == 0 => return Err(errno),
                            Err(_) => break,
                        },
                    };
                    page.0[within..within + n].copy_from_slice(&data[done..done + n]);
                    done += n;
                    self.size = self.size.max(at + n as u64);
                }
                Ok(done)
            }
        }
    }

    /// Sets the length; what lies beyond is gone, and zeros if the file grows again.
    pub fn truncate(&mut self, fs: &Tmpfs, size: u64) -> Result<()> {
        if size > OBJECT_SIZE && matches!(&self.store, Store::Pages(p) if !p.is_empty()) && size > self.size {
            self.become_object()?;
        }
        let keep = size.div_ceil(PAGE as u64);
        match &mut self.store {
            Store::Object(object) => {
                object.set_len(size)?;
                self.recount(fs)?;
            }
            Store::Pages(pages) => {
                let removed = pages.split_off(&keep).len() as u64;
                let within = (size % PAGE as u64) as usize;
                if within != 0
                    && size < self.size
                    && let Some(page) = pages.get_mut(&(size / PAGE as u64))
                {
                    page.0[within..].fill(0);
                }
                fs.uncharge(removed);
                self.charged -= removed;
            }
        }
        self.size = size;
        Ok(())
    }

    /// Turns a range into zeros without changing the length; whole pages are freed.
    pub fn punch_hole(&mut self, fs: &Tmpfs, offset: u64, len: u64) -> Result<()> {
        let end = offset.saturating_add(len).min(self.size);
        if offset >= end {
            return Ok(());
        }
        match &mut self.store {
            Store::Object(object) => {
                object.punch_hole(offset, end - offset)?;
                self.recount(fs)
            }
            Store::Pages(pages) => {
                let range = offset / PAGE as u64..end.div_ceil(PAGE as u64);
                let touched: Vec<u64> = pages.range(range).map(|(i, _)| *i).collect();
                for index in touched {
                    let start = index * PAGE as u64;
                    if start >= offset && start + PAGE as u64 <= end {
                        pages.remove(&index);
                        fs.uncharge(1);
                        self.charged -= 1;
                    } else if let Some(page) = pages.get_mut(&index) {
                        let from = offset.saturating_sub(start) as usize;
                        let to = (end - start).min(PAGE as u64) as usize;
                        page.0[from..to].fill(0);
                    }
                }
                Ok(())
            }
        }
    }

    /// Reserves room for a range, growing the file unless `keep_size`. ENOSPC with nothing changed.
    pub fn allocate(&mut self, fs: &Tmpfs, offset: u64, len: u64, keep_size: bool) -> Result<()> {
        let end = offset.checked_add(len).ok_or(abi::errno::EFBIG)?;
        if end > OBJECT_SIZE {
            self.become_object()?;
        }
        match &mut self.store {
            Store::Object(object) => {
                let pages = end.div_ceil(PAGE as u64) - offset / PAGE as u64;
                fs.charge(pages)?;
                self.charged += pages;
                let allocated = object.allocate(offset, len, keep_size);
                self.recount(fs)?;
                allocated?;
            }
            Store::Pages(pages) => {
                let range = offset / PAGE as u64..end.div_ceil(PAGE as u64);
                let missing: Vec<u64> = range.filter(|i| !pages.contains_key(i)).collect();
                fs.charge(missing.len() as u64)?;
                self.charged += missing.len() as u64;
                pages.extend(missing.into_iter().map(|i| (i, Page::zeroed())));
            }
        }
        if !keep_size {
            self.size = self.size.max(end);
        }
        Ok(())
    }

    /// SEEK_DATA (`data`) or SEEK_HOLE from `offset`: ENXIO beyond the end.
    pub fn seek(&self, offset: u64, data: bool) -> Result<u64> {
        if offset >= self.size {
            return Err(ENXIO);
        }
        match &self.store {
            Store::Object(object) => {
                if data {
                    object.seek_data(offset)
                } else {
                    object.seek_hole(offset)
                }
            }
            Store::Pages(pages) => {
                let first = offset / PAGE as u64;
                let found = if data {
                    pages
                        .range(first..)
                        .next()
                        .map(|(i, _)| *i * PAGE as u64)
                        .filter(|&at| at < self.size)
                        .ok_or(ENXIO)?
                } else {
                    let mut index = first;
                    while pages.contains_key(&index) {
                        index += 1;
                    }
                    (index * PAGE as u64).min(self.size)
                };
                Ok(found.max(offset))
            }
        }
    }

    /// Charges what an object holds at this moment. Guests' mappings add pages behind our back: they are counted with
    /// the next change of the file, whatever the limit.
    fn recount(&mut self, fs: &Tmpfs) -> Result<()> {
        if let Store::Object(object) = &self.store {
            let resident = object.resident()?.div_ceil(PAGE as u64);
            fs.recharge(self.charged, resident);
            self.charged = resident;
        }
        Ok(())
    }

    /// The host object that guests map. The file is one from now on.
    pub fn object(&mut self) -> Result<&Object> {
        self.become_object()?;
        match &self.store {
            Store::Object(object) => Ok(object),
            Store::Pages(_) => Err(ENOMEM),
        }
    }

    /// The host object if the file is one already.
    pub fn existing_object(&self) -> Option<&Object> {
        match &self.store {
            Store::Object(object) => Some(object),
            Store::Pages(_) => None,
        }
    }

    fn become_object(&mut self) -> Result<()> {
        let Store::Pages(pages) = &mut self.store else { return Ok(()) };
        let object = Object::create("tmpfs")?;
        object.set_len(self.size)?;
        for (index, page) in pages.iter() {
            let at = index * PAGE as u64;
            // Pages that fallocate put beyond the end stay a reservation only.
            let len = self.size.saturating_sub(at).min(PAGE as u64) as usize;
            if len > 0 {
                object.pwrite(at, &page.0[..len])?;
            }
        }
        self.store = Store::Object(object);
        Ok(())
    }

    /// Gives back what is charged; the file is going away.
    pub fn free(&mut self, fs: &Tmpfs) {
        fs.uncharge(self.charged);
        self.charged = 0;
    }
}
