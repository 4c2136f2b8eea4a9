//! The log on the device: where its blocks lie, its superblock, and reading and writing runs of log blocks.

use super::Tid;
use super::blocks::Format;
use super::format::{self, Superblock};
use crate::Result;
use crate::buffer::BufferCache;
use crate::device::BlockDevice;
use crate::log::{Level, Log};
use crate::sync;
use abi::Errno;
use abi::errno::{EBADMSG, EBUSY, EINVAL, EOPNOTSUPP, EUCLEAN};
use std::sync::Arc;
use zerocopy::byteorder::big_endian::U32;
use zerocopy::{FromBytes, IntoBytes};

/// Neighbouring device blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// First device block.
    pub physical: u64,
    /// How many blocks.
    pub len: u32,
}

/// Where the journal inode's blocks lie, in the file's order.
#[derive(Clone, Debug)]
pub struct JournalMap {
    /// First log block of each run, and the run.
    runs: Vec<(u32, Run)>,
    len: u32,
    block_size: usize,
}

impl JournalMap {
    /// The map of a journal whose file consists of `runs`, on a device of `device_len` bytes.
    ///
    /// # Errors
    /// `EUCLEAN` if a run is empty or leaves the device, or if there are too many blocks.
    pub fn new(runs: &[Run], block_size: usize, device_len: u64) -> Result<JournalMap> {
        let blocks = device_len / block_size as u64;
        let mut len = 0u32;
        let mut map = Vec::with_capacity(runs.len());
        for run in runs {
            let end = run.physical.checked_add(u64::from(run.len)).ok_or(EUCLEAN)?;
            if run.len == 0 || end > blocks {
                return Err(EUCLEAN);
            }
            map.push((len, *run));
            len = len.checked_add(run.len).ok_or(EUCLEAN)?;
        }
        Ok(JournalMap { runs: map, len, block_size })
    }

    /// Blocks of the journal file.
    pub fn blocks(&self) -> u32 {
        self.len
    }

    /// The device block of a log block, and how many follow it there.
    fn lookup(&self, block: u32) -> Result<(u64, u32)> {
        let index = self.runs.partition_point(|(first, _)| *first <= block).checked_sub(1).ok_or(EUCLEAN)?;
        let (first, run) = self.runs[index];
        let within = block - first;
        if within >= run.len {
            return Err(EUCLEAN);
        }
        Ok((run.physical + u64::from(within), run.len - within))
    }

    /// Reads consecutive log blocks into `buf`.
    pub(super) fn read(&self, device: &dyn BlockDevice, mut block: u32, mut buf: &mut [u8]) -> Result<()> {
        while !buf.is_empty() {
            let (physical, run) = self.lookup(block)?;
            let len = buf.len().min(run as usize * self.block_size);
            let (now, later) = buf.split_at_mut(len);
            device.read(physical * self.block_size as u64, now)?;
            block += (len / self.block_size) as u32;
            buf = later;
        }
        Ok(())
    }

    /// Writes consecutive log blocks.
    fn write(&self, device: &dyn BlockDevice, mut block: u32, mut blocks: &[&[u8]]) -> Result<()> {
        while !blocks.is_empty() {
            let (physical, run) = self.lookup(block)?;
            let (now, later) = blocks.split_at(blocks.len().min(run as usize));
            device.write(physical * self.block_size as u64, now)?;
            block += now.len() as u32;
            blocks = later;
        }
        Ok(())
    }

    /// Reads the journal's superblock, unchecked.
    pub(super) fn read_superblock(&self, device: &dyn BlockDevice) -> Result<Superblock> {
        let mut bytes = vec![0; size_of::<Superblock>()];
        device.read(self.lookup(0)?.0 * self.block_size as u64, &mut bytes)?;
        Superblock::read_from_bytes(&bytes).map_err(|_| EUCLEAN)
    }

    /// Writes the journal's superblock with its checksum.
    pub(super) fn write_superblock(
        &self,
        device: &dyn BlockDevice,
        superblock: &mut Superblock,
    ) -> Result<()> {
        superblock.checksum = U32::ZERO;
        if superblock.has_checksums() {
            superblock.checksum = U32::new(superblock.compute_checksum());
        }
        device.write(self.lookup(0)?.0 * self.block_size as u64, &[superblock.as_bytes()])
    }
}

/// What the mount options and the file system's features want of the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalOptions {
    /// The checksum version: 3 for metadata_csum, 1 for the mount option `journal_checksum` without it, else 0.
    pub checksum: u8,
    /// The file system has 64-bit block numbers.
    pub wide: bool,
    /// Flush the device around commits; false for the mount option `nobarrier`.
    pub barrier: bool,
}

/// The smallest log that Linux takes, in blocks.
const MIN_LOG: u32 = 1024;

/// Checks that the superblock is one that this code understands. Logs the reason if not.
pub(super) fn check_superblock(superblock: &Superblock, map: &JournalMap, messages: &dyn Log) -> Result<()> {
    let refuse = |errno: Errno, reason: &str| {
        messages.log(Level::Error, format_args!("journal: {reason}"));
        Err(errno)
    };
    let blocktype = superblock.header.blocktype.get();
    if superblock.header.magic.get() != format::MAGIC {
        return refuse(EUCLEAN, "no superblock (bad magic)");
    }
    if !matches!(blocktype, format::SUPERBLOCK_V1 | format::SUPERBLOCK_V2) {
        return refuse(EUCLEAN, "unrecognised superblock type");
    }
    if superblock.blocksize.get() as usize != map.block_size {
        return refuse(EUCLEAN, "block size differs from the file system's");
    }
    if superblock.maxlen.get() > map.len {
        return refuse(EUCLEAN, "journal file too short");
    }
    if blocktype == format::SUPERBLOCK_V2 {
        if superblock.feature_incompat.get() & !format::INCOMPAT_KNOWN != 0
            || superblock.feature_ro_compat.get() != 0
        {
            return refuse(EOPNOTSUPP, "unknown features");
        }
        let versions = format::INCOMPAT_CSUM_V2 | format::INCOMPAT_CSUM_V3;
        let both = superblock.feature_incompat.get() & versions == versions;
        let old = superblock.feature_compat.get() & format::COMPAT_CHECKSUM != 0;
        if both || old && superblock.has_checksums() {
            return refuse(EUCLEAN, "more than one checksum version at once");
        }
        if superblock.has_checksums() {
            if superblock.checksum_type != format::CRC32C_TYPE {
                return refuse(EOPNOTSUPP, "unknown checksum type");
            }
            if superblock.checksum.get() != superblock.compute_checksum() {
                return refuse(EBADMSG, "superblock checksum wrong");
            }
        }
    }
    let (first, end) = (superblock.first.get(), superblock.log_end());
    let start = superblock.start.get();
    if first == 0 || first >= end || start != 0 && !(first..end).contains(&start) {
        return refuse(EUCLEAN, "log outside the journal");
    }
    Ok(())
}

/// The journal of a mounted file system, with an empty log at first.
pub(super) struct JournalLog {
    device: Arc<dyn BlockDevice>,
    map: JournalMap,
    format: Format,
    first: u32,
    end: u32,
    barrier: bool,
    superblock: sync::Mutex<Superblock>,
}

impl JournalLog {
    /// Opens the journal with an empty log, and sets its features as `options` want. Returns the first transaction's
    /// number too.
    pub fn open(
        cache: &BufferCache,
        map: JournalMap,
        options: &JournalOptions,
        messages: &dyn Log,
    ) -> Result<(JournalLog, Tid)> {
        let device = cache.device().clone();
        let mut superblock = map.read_superblock(&*device)?;
        check_superblock(&superblock, &map, messages)?;
        if superblock.start.get() != 0 {
            return Err(EBUSY);
        }
        set_features(&mut superblock, options)?;
        let (first, end) = (superblock.first.get(), superblock.log_end());
        if end - first < MIN_LOG - 1 {
            messages.log(Level::Error, format_args!("journal: too short ({} blocks)", end));
            return Err(EINVAL);
        }
        let tid = superblock.sequence.get();
        let format = Format::new(&superblock, cache.block_size());
        let superblock = sync::Mutex::new(superblock);
        let barrier = options.barrier;
        Ok((JournalLog { device, map, format, first, end, barrier, superblock }, tid))
    }

    pub fn device(&self) -> &dyn BlockDevice {
        &*self.device
    }

    pub fn format(&self) -> &Format {
        &self.format
    }

    /// The log's first block.
    pub fn first(&self) -> u32 {
        self.first
    }

    /// Blocks that transactions can take. One stays free, so that a full log differs from an empty one.
    pub fn capacity(&self) -> u32 {
        self.end - self.first - 1
    }

    /// Blocks in one transaction at most, without descriptors. A quarter of the log, so that committing, running and
    /// checkpointed transactions fit.
    pub fn max_transaction(&self) -> usize {
        self.capacity() as usize / 4
    }

    /// The log block `count` blocks after `block`.
    pub fn advance(&self, block: u32, count: u32) -> u32 {
        let len = self.end - self.first;
        self.first + (block - self.first + count) % len
    }

    /// Writes blocks from log block `start` on, around the end of the log if need be. Returns the block after them.
    pub fn write(&self, start: u32, blocks: &[&[u8]]) -> Result<u32> {
        let before_end = (self.end - start) as usize;
        let (now, later) = blocks.split_at(blocks.len().min(before_end));
        self.map.write(&*self.device, start, now)?;
        self.map.write(&*self.device, self.first, later)?;
        Ok(self.advance(start, blocks.len() as u32))
    }

    /// Notes in the superblock where the oldest transaction is; not flushed. With `only_if_empty`, only if the log
    /// was empty so far.
    pub fn set_tail(&self, start: u32, tid: Tid, only_if_empty: bool) -> Result<()> {
        let mut superblock = self.superblock.lock();
        if only_if_empty && superblock.start.get() != 0 {
            return Ok(());
        }
        superblock.start = U32::new(start);
        superblock.sequence = U32::new(tid);
        self.map.write_superblock(&*self.device, &mut superblock)
    }

    /// Whether barriers are on.
    pub fn barrier(&self) -> bool {
        self.barrier
    }

    /// Whether the superblock says that the log is empty.
    pub fn is_marked_empty(&self) -> bool {
        self.superblock.lock().start.get() == 0
    }

    /// The errno of the abort that ended the last mount.
    pub fn recorded_error(&self) -> Option<Errno> {
        match self.superblock.lock().errno.get().cast_signed() {
            0 => None,
            errno => Some(Errno::from_raw(errno.saturating_abs())),
        }
    }

    /// Writes an errno to the superblock and flushes.
    pub fn record_error(&self, errno: Option<Errno>) -> Result<()> {
        let mut superblock = self.superblock.lock();
        superblock.errno = U32::new(errno.map_or(0, |errno| (-errno.raw()).cast_unsigned()));
        self.map.write_superblock(&*self.device, &mut superblock)?;
        self.device.flush()
    }
}

/// Sets the features of an empty journal. The caller writes the superblock with the first transaction.
fn set_features(superblock: &mut Superblock, options: &JournalOptions) -> Result<()> {
    if superblock.header.blocktype.get() == format::SUPERBLOCK_V1 {
        // Everything after errno is undefined in version 1.
        let start = core::mem::offset_of!(Superblock, feature_compat);
        superblock.as_mut_bytes()[start..].fill(0);
        superblock.header.blocktype = U32::new(format::SUPERBLOCK_V2);
        superblock.nr_users = U32::new(1);
    }
    let (compat, mut incompat) = match options.checksum {
        0 => (0, 0),
        1 => (format::COMPAT_CHECKSUM, 0),
        2 => (0, format::INCOMPAT_CSUM_V2),
        3 => (0, format::INCOMPAT_CSUM_V3),
        _ => return Err(EINVAL),
    };
    incompat |= format::INCOMPAT_REVOKE;
    if options.wide {
        incompat |= format::INCOMPAT_64BIT;
    }
    superblock.feature_compat = U32::new(compat);
    superblock.feature_incompat = U32::new(incompat);
    superblock.checksum_type = if options.checksum >= 2 { format::CRC32C_TYPE } else { 0 };
    Ok(())
}
