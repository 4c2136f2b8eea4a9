//! The metadata buffer cache: one [`Buffer`] a device block, found by block number.
//!
//! A buffer's bytes are an immutable, shared snapshot: [`Buffer::data`] hands out the present one and holds no lock,
//! and a change makes a new one only if somebody still looks at the old one. So the copy that a committing
//! transaction writes to the log costs nothing unless the block is changed meanwhile.
//!
//! Changes go through [`crate::journal::Handle`], never past it. Buffers that others hold, and those that a
//! transaction, the log or the dirty list still needs, stay cached; the rest goes by [`BufferCache::shrink`].
//!
//! Locks: a buffer's loading lock (sleeping) → a shard of the map → the dirty list; a buffer's data lock is taken
//! with none of them after it.

use crate::Result;
use crate::device::BlockDevice;
use crate::sync;
use abi::errno::{EIO, EUCLEAN};
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// The bytes of one block at one time.
#[derive(Clone)]
pub struct BlockData(Arc<[u8]>);

impl Deref for BlockData {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// One cached block.
pub struct Buffer {
    block: u64,
    data: Mutex<Arc<[u8]>>,
    /// Held while the block is read.
    loading: sync::Mutex<()>,
    uptodate: AtomicBool,
    verified: AtomicBool,
    dirty: AtomicBool,
    /// Looked up since the last look of `shrink`.
    referenced: AtomicBool,
    /// The transaction that the buffer joined last, plus one; 0 for none.
    joined: AtomicU64,
}

impl Buffer {
    fn new(block: u64, data: Arc<[u8]>, uptodate: bool) -> Arc<Buffer> {
        Arc::new(Buffer {
            block,
            data: Mutex::new(data),
            loading: sync::Mutex::new(()),
            uptodate: AtomicBool::new(uptodate),
            verified: AtomicBool::new(false),
            dirty: AtomicBool::new(false),
            referenced: AtomicBool::new(true),
            joined: AtomicU64::new(0),
        })
    }

    /// The device block.
    pub fn block(&self) -> u64 {
        self.block
    }

    /// The block's present bytes. What others change afterwards isn't seen in them.
    pub fn data(&self) -> BlockData {
        BlockData(self.data.lock().clone())
    }

    /// Whether the content was found good already: its checksum, its structure.
    pub fn verified(&self) -> bool {
        self.verified.load(Ordering::Acquire)
    }

    /// Remembers that the content is good, until it is read again from the device.
    pub fn set_verified(&self) {
        self.verified.store(true, Ordering::Release);
    }

    /// Changes the bytes. `change` runs under the data lock: it must neither sleep nor look at this buffer.
    pub(crate) fn modify<R>(&self, change: impl FnOnce(&mut [u8]) -> R) -> R {
        let mut data = self.data.lock();
        change(Arc::make_mut(&mut data))
    }

    /// The transaction that the buffer joined last, in the words of `set_joined`.
    pub(crate) fn joined(&self) -> u64 {
        self.joined.load(Ordering::Acquire)
    }

    pub(crate) fn set_joined(&self, mark: u64) {
        self.joined.store(mark, Ordering::Release);
    }
}

const SHARDS: usize = 32;

type Shard = HashMap<u64, Arc<Buffer>>;

/// All buffers of one file system.
pub struct BufferCache {
    device: Arc<dyn BlockDevice>,
    block_size: usize,
    blocks: u64,
    zeros: Arc<[u8]>,
    shards: [Mutex<Shard>; SHARDS],
    count: AtomicUsize,
    /// Without a journal: what has to be written, by block.
    dirty: Mutex<BTreeMap<u64, Arc<Buffer>>>,
}

impl BufferCache {
    /// An empty cache over `device` with blocks of `block_size` bytes.
    pub fn new(device: Arc<dyn BlockDevice>, block_size: usize) -> BufferCache {
        BufferCache {
            blocks: device.len() / block_size as u64,
            device,
            block_size,
            zeros: std::iter::repeat_n(0, block_size).collect(),
            shards: Default::default(),
            count: AtomicUsize::new(0),
            dirty: Mutex::default(),
        }
    }

    /// The device below.
    pub fn device(&self) -> &Arc<dyn BlockDevice> {
        &self.device
    }

    /// Bytes in a block.
    pub fn block_size(&self) -> usize {
        self.block_size
    }

    fn shard(&self, block: u64) -> &Mutex<Shard> {
        &self.shards[(block.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 59) as usize % SHARDS]
    }

    /// The block's buffer, made by `make` if there is none.
    fn entry(&self, block: u64, make: impl FnOnce() -> Arc<Buffer>) -> Arc<Buffer> {
        let mut shard = self.shard(block).lock();
        let buffer = shard.entry(block).or_insert_with(|| {
            self.count.fetch_add(1, Ordering::Relaxed);
            make()
        });
        buffer.referenced.store(true, Ordering::Relaxed);
        buffer.clone()
    }

    /// The buffer if the block is cached with content.
    pub fn peek(&self, block: u64) -> Option<Arc<Buffer>> {
        let buffer = self.shard(block).lock().get(&block).cloned()?;
        buffer.uptodate.load(Ordering::Acquire).then_some(buffer)
    }

    /// The block's buffer, read from the device unless cached.
    ///
    /// # Errors
    /// `EUCLEAN` for a block past the device's end; what the device reports.
    pub fn read(&self, block: u64) -> Result<Arc<Buffer>> {
        if block >= self.blocks {
            return Err(EUCLEAN);
        }
        let buffer = self.entry(block, || Buffer::new(block, self.zeros.clone(), false));
        if buffer.uptodate.load(Ordering::Acquire) {
            return Ok(buffer);
        }
        let loading = buffer.loading.lock();
        if !buffer.uptodate.load(Ordering::Acquire) {
            let read = self.load(block, 1).map(|mut data| data.pop());
            match read {
                Ok(Some(data)) => buffer.loaded(data),
                Ok(None) => return Err(EIO),
                Err(error) => {
                    drop(loading);
                    self.remove(&buffer);
                    return Err(error);
                }
            }
        }
        drop(loading);
        Ok(buffer)
    }

    /// The buffer of a block whose old content is of no interest: all zeros, not read.
    ///
    /// # Errors
    /// `EUCLEAN` for a block past the device's end.
    pub fn get_zeroed(&self, block: u64) -> Result<Arc<Buffer>> {
        if block >= self.blocks {
            return Err(EUCLEAN);
        }
        let buffer = self.entry(block, || Buffer::new(block, self.zeros.clone(), true));
        let loading = buffer.loading.lock();
        buffer.loaded(self.zeros.clone());
        drop(loading);
        Ok(buffer)
    }

    /// Reads what isn't cached yet of `count` blocks from `first` in few large requests. Errors show later, in `read`.
    pub fn read_ahead(&self, first: u64, count: u32) {
        let end = first.saturating_add(u64::from(count)).min(self.blocks);
        let mut next = first;
        while next < end {
            // A run of absent blocks, each held by its loading lock so that nobody reads it twice.
            let mut run: Vec<Arc<Buffer>> = Vec::new();
            while next < end && run.len() < MAX_READ_AHEAD {
                let buffer = self.entry(next, || Buffer::new(next, self.zeros.clone(), false));
                if buffer.uptodate.load(Ordering::Acquire) {
                    break;
                }
                run.push(buffer);
                next += 1;
            }
            if run.is_empty() {
                next += 1;
                continue;
            }
            self.load_run(&run);
        }
    }

    fn load_run(&self, run: &[Arc<Buffer>]) {
        let _loading: Vec<_> = run.iter().map(|buffer| buffer.loading.lock()).collect();
        match self.load(run[0].block, run.len()) {
            Ok(blocks) => {
                for (buffer, data) in run.iter().zip(blocks) {
                    if !buffer.uptodate.load(Ordering::Acquire) {
                        buffer.loaded(data);
                    }
                }
            }
            Err(_) => run.iter().for_each(|buffer| self.remove(buffer)),
        }
    }

    /// Reads blocks from the device.
    fn load(&self, first: u64, count: usize) -> Result<Vec<Arc<[u8]>>> {
        if count == 1 {
            let mut data: Arc<[u8]> = std::iter::repeat_n(0, self.block_size).collect();
            if let Some(bytes) = Arc::get_mut(&mut data) {
                self.device.read(first * self.block_size as u64, bytes)?;
            }
            return Ok(vec![data]);
        }
        let mut bytes = vec![0; count * self.block_size];
        self.device.read(first * self.block_size as u64, &mut bytes)?;
        Ok(bytes.chunks_exact(self.block_size).map(Arc::from).collect())
    }

    /// Drops a block that was freed: neither cached nor written any more. With a journal, [`crate::journal::Handle`]
    /// has its own `forget`, which is the one to call.
    pub fn forget(&self, block: u64) {
        if let Some(buffer) = self.dirty.lock().remove(&block) {
            buffer.dirty.store(false, Ordering::Release);
        }
        if self.shard(block).lock().remove(&block).is_some() {
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Takes this very buffer out of the map.
    fn remove(&self, buffer: &Arc<Buffer>) {
        let mut shard = self.shard(buffer.block).lock();
        let same = shard.get(&buffer.block).is_some_and(|present| Arc::ptr_eq(present, buffer));
        if same && !buffer.uptodate.load(Ordering::Acquire) {
            shard.remove(&buffer.block);
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Forgets everything, for when the device was changed below the cache (journal replay). Nothing may be dirty.
    pub fn invalidate(&self) {
        for shard in &self.shards {
            let mut shard = shard.lock();
            self.count.fetch_sub(shard.len(), Ordering::Relaxed);
            shard.clear();
        }
    }

    /// Puts a changed buffer on the list of `take_dirty`.
    pub(crate) fn mark_dirty(&self, buffer: &Arc<Buffer>) {
        if !buffer.dirty.swap(true, Ordering::AcqRel) {
            self.dirty.lock().insert(buffer.block, buffer.clone());
        }
    }

    /// Empties the list of dirty buffers: each with its number and its bytes, ascending.
    pub(crate) fn take_dirty(&self) -> Vec<(u64, Arc<Buffer>, BlockData)> {
        let dirty = std::mem::take(&mut *self.dirty.lock());
        let freeze = |(block, buffer): (u64, Arc<Buffer>)| {
            // First the flag: a change after the snapshot puts the buffer on the list again.
            buffer.dirty.store(false, Ordering::Release);
            let data = buffer.data();
            (block, buffer, data)
        };
        dirty.into_iter().map(freeze).collect()
    }

    /// Bytes that the cache holds.
    pub fn bytes(&self) -> usize {
        self.count.load(Ordering::Relaxed) * (self.block_size + size_of::<Buffer>())
    }

    /// Frees up to `bytes` of unused buffers and returns how many it freed.
    pub fn shrink(&self, bytes: usize) -> usize {
        let each = self.block_size + size_of::<Buffer>();
        let mut freed = 0;
        // Two rounds: the first takes what nobody looked up since the last time.
        for _ in 0..2 {
            for shard in &self.shards {
                if freed >= bytes {
                    return freed;
                }
                shard.lock().retain(|_, buffer| {
                    let unused = Arc::strong_count(buffer) == 1 && freed < bytes;
                    let evict = unused && !buffer.referenced.swap(false, Ordering::Relaxed);
                    if evict {
                        freed += each;
                        self.count.fetch_sub(1, Ordering::Relaxed);
                    }
                    !evict
                });
            }
        }
        freed
    }
}

/// Blocks in one read-ahead request at most.
const MAX_READ_AHEAD: usize = 64;
/// Blocks in one write request at most.
const MAX_WRITE: usize = 256;

/// Writes blocks, neighbours in one request. `blocks` ascend.
pub(crate) fn write_blocks(
    device: &dyn BlockDevice,
    block_size: usize,
    blocks: &[(u64, BlockData)],
) -> Result<()> {
    let mut rest = blocks;
    while let Some((first, _)) = rest.first() {
        let run = rest
            .iter()
            .take(MAX_WRITE)
            .enumerate()
            .take_while(|(n, (block, _))| first.checked_add(*n as u64) == Some(*block))
            .count();
        let (now, later) = rest.split_at(run);
        let slices: Vec<&[u8]> = now.iter().map(|(_, data)| &**data).collect();
        device.write(first * block_size as u64, &slices)?;
        rest = later;
    }
    Ok(())
}

impl Buffer {
    /// Takes over what was read, or zeros.
    fn loaded(&self, data: Arc<[u8]>) {
        *self.data.lock() = data;
        self.verified.store(false, Ordering::Release);
        self.uptodate.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::MemoryDevice;

    fn cache() -> BufferCache {
        let bytes = (0..64u8).flat_map(|n| [n; 1024]).collect();
        BufferCache::new(Arc::new(MemoryDevice::new(bytes)), 1024)
    }

    #[test]
    fn snapshots_do_not_change() {
        let cache = cache();
        let buffer = cache.read(3).unwrap();
        let before = buffer.data();
        buffer.modify(|data| data[0] = 99);
        assert_eq!((before[0], buffer.data()[0], cache.read(3).unwrap().data()[0]), (3, 99, 99));
    }

    #[test]
    fn dirty_blocks_reach_the_device_in_runs() {
        let cache = cache();
        for block in [9, 5, 6, 7] {
            let buffer = cache.get_zeroed(block).unwrap();
            buffer.modify(|data| data[1] = block as u8);
            cache.mark_dirty(&buffer);
        }
        cache.forget(9);
        let dirty: Vec<_> = cache.take_dirty().into_iter().map(|(block, _, data)| (block, data)).collect();
        write_blocks(&*cache.device, 1024, &dirty).unwrap();
        let mut bytes = vec![0; 5 * 1024];
        cache.device.read(5 * 1024, &mut bytes).unwrap();
        assert_eq!([bytes[0], bytes[1], bytes[1024 + 1], bytes[2048 + 1]], [0, 5, 6, 7]);
        assert_eq!(bytes[4 * 1024 + 1], 9, "a forgotten block must not be written");
    }

    #[test]
    fn shrink_spares_what_is_in_use() {
        let cache = cache();
        let held = cache.read(1).unwrap();
        cache.read_ahead(10, 20);
        held.modify(|data| data[0] = 42);
        assert!(cache.shrink(usize::MAX) > 0);
        assert_eq!(cache.read(1).unwrap().data()[0], 42);
        assert_eq!(cache.count.load(Ordering::Relaxed), 1);
        assert_eq!(cache.read(64).err(), Some(EUCLEAN));
    }
}
