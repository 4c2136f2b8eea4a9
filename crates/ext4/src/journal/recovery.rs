//! Replay: what a crash left in the log is written to its places, and the log is emptied.
//!
//! A first pass over the log finds the last transaction that is complete and all revoked blocks; a second finds each
//! block's newest copy; then the copies are written in the device's order. The log may be hostile: nothing in it is
//! trusted beyond what its checksums and bounds say.

use super::blocks::{self, Checksum, Format, Tag, crc32_be};
use super::format::{self, CommitHeader, Header, Superblock, TAG_ESCAPED};
use super::log::{JournalMap, check_superblock};
use super::{Tid, tid_reached};
use crate::Result;
use crate::device::BlockDevice;
use crate::log::{Level, Log};
use abi::errno::{EOPNOTSUPP, EROFS, EUCLEAN};
use hashbrown::HashMap;
use std::collections::BTreeMap;
use zerocopy::FromBytes;
use zerocopy::byteorder::big_endian::U32;

/// What a replay did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Transactions replayed.
    pub transactions: u32,
    /// Blocks written.
    pub blocks: usize,
    /// Copies that weren't written because a later transaction had freed the block.
    pub revoked: usize,
    /// Something that had been committed was unreadable: the file system needs a check.
    pub damaged: bool,
}

/// Replays the journal at `map` and empties it. Nothing of the file system may be cached. An empty journal is left
/// untouched.
///
/// # Errors
/// `EROFS` if there is something to replay and the device is read-only; `EUCLEAN`, `EBADMSG`, `EOPNOTSUPP` for a
/// journal that is damaged or needs what isn't supported, which includes fast commits; device errors. The reason is
/// logged, and the journal is as it was.
pub fn recover(device: &dyn BlockDevice, map: &JournalMap, messages: &dyn Log) -> Result<Recovered> {
    let mut superblock = map.read_superblock(device)?;
    check_superblock(&superblock, map, messages)?;
    if superblock.start.get() == 0 {
        return Ok(Recovered::default());
    }
    if device.is_readonly() {
        messages.log(Level::Error, format_args!("journal needs replay, but the device is read-only"));
        return Err(EROFS);
    }
    let replay = Replay::new(device, map, &superblock, messages);
    let scan = replay.scan()?;
    replay.refuse_fast_commits(&superblock, scan.end)?;
    let mut done =
        Recovered { damaged: scan.damaged, transactions: scan.transactions, ..Recovered::default() };
    replay.write(&scan, &mut done)?;
    device.flush()?;
    // One number is left out: blocks of the transaction that the crash interrupted bear it.
    superblock.sequence = U32::new(scan.end.wrapping_add(1));
    superblock.start = U32::ZERO;
    map.write_superblock(device, &mut superblock)?;
    device.flush()?;
    messages.log(
        Level::Info,
        format_args!("recovery complete: {} transactions, {} blocks", done.transactions, done.blocks),
    );
    Ok(done)
}

/// Empties the journal at `map` without replaying it: for a file system whose superblock says that there is nothing to
/// recover, so that what the journal has is older than the file system.
///
/// # Errors
/// As [`recover`].
pub fn discard(device: &dyn BlockDevice, map: &JournalMap, messages: &dyn Log) -> Result<()> {
    let mut superblock = map.read_superblock(device)?;
    check_superblock(&superblock, map, messages)?;
    if superblock.start.get() == 0 || device.is_readonly() {
        return Ok(());
    }
    messages
        .log(Level::Warning, format_args!("the journal has transactions, but nothing is to be recovered"));
    let scan = Replay::new(device, map, &superblock, messages).scan()?;
    superblock.sequence = U32::new(scan.end.wrapping_add(1));
    superblock.start = U32::ZERO;
    map.write_superblock(device, &mut superblock)?;
    device.flush()
}

struct Replay<'a> {
    device: &'a dyn BlockDevice,
    map: &'a JournalMap,
    messages: &'a dyn Log,
    format: Format,
    /// Blocks of the file system.
    blocks: u64,
    first: u32,
    end: u32,
    start: u32,
    start_tid: Tid,
}

/// What the first pass found.
struct Scan {
    /// The first transaction that isn't complete.
    end: Tid,
    transactions: u32,
    /// The last transaction that revoked each block.
    revoked: HashMap<u64, Tid>,
    damaged: bool,
}

/// A block's copy in the log.
struct Copy {
    tid: Tid,
    at: u32,
    tag: Tag,
}

/// A journal block that belongs to the transaction that is expected.
enum Item {
    /// Tags, the log block of the first one's data, and whether the checksum was right.
    Descriptor(Vec<Tag>, u32, bool),
    Revoke(Vec<u64>, bool),
    Commit(Vec<u8>),
}

impl<'a> Replay<'a> {
    fn new(
        device: &'a dyn BlockDevice,
        map: &'a JournalMap,
        superblock: &Superblock,
        messages: &'a dyn Log,
    ) -> Replay<'a> {
        let block_size = superblock.blocksize.get() as usize;
        Replay {
            device,
            map,
            messages,
            format: Format::new(superblock, block_size),
            blocks: device.len() / block_size as u64,
            first: superblock.first.get(),
            end: superblock.log_end(),
            start: superblock.start.get(),
            start_tid: superblock.sequence.get(),
        }
    }

    fn read(&self, block: u32) -> Result<Vec<u8>> {
        let mut data = vec![0; self.format.block_size];
        self.map.read(self.device, block, &mut data)?;
        Ok(data)
    }

    fn advance(&self, block: u32, count: u32) -> u32 {
        let len = u64::from(self.end - self.first);
        self.first + ((u64::from(block - self.first) + u64::from(count)) % len) as u32
    }

    /// Reads the journal block at `at` if it belongs to transaction `tid`, with its raw bytes. `at` moves behind it and
    /// the logged data that it describes.
    fn next(&self, at: &mut u32, left: &mut u32, tid: Tid) -> Result<Option<(Item, Vec<u8>)>> {
        if *left == 0 {
            return Ok(None);
        }
        let block = self.read(*at)?;
        let Ok((header, _)) = Header::read_from_prefix(&block) else {
            return Ok(None);
        };
        if header.magic.get() != format::MAGIC || header.sequence.get() != tid {
            return Ok(None);
        }
        let behind = self.advance(*at, 1);
        let (item, taken) = match header.blocktype.get() {
            format::DESCRIPTOR => {
                let tags = self.format.tags(&block);
                let taken = 1 + tags.len() as u32;
                (Item::Descriptor(tags, behind, self.format.tail_matches(&block)), taken)
            }
            format::REVOKE => {
                (Item::Revoke(self.format.revoked(&block), self.format.tail_matches(&block)), 1)
            }
            format::COMMIT => (Item::Commit(block.clone()), 1),
            _ => return Ok(None),
        };
        // More than the whole log: blocks that describe each other in a ring.
        if taken > *left {
            return Ok(None);
        }
        *left -= taken;
        *at = self.advance(*at, taken);
        Ok(Some((item, block)))
    }

    /// Blocks of the log.
    fn len(&self) -> u32 {
        self.end - self.first
    }

    /// Finds the end of the log and the revoked blocks.
    fn scan(&self) -> Result<Scan> {
        let mut scan = Scan { end: self.start_tid, transactions: 0, revoked: HashMap::new(), damaged: false };
        let (mut at, mut left) = (self.start, self.len());
        let mut pending: Vec<u64> = Vec::new();
        // Of the transaction that is being read: version 1's checksum, and whether a block's own was wrong.
        let (mut crc, mut wrong) = (!0, false);
        let mut last_time = 0;
        while let Some((item, block)) = self.next(&mut at, &mut left, scan.end)? {
            match item {
                Item::Descriptor(tags, data, good) => {
                    wrong |= !good;
                    if self.format.checksum == Checksum::V1 {
                        crc = self.add_to_crc(crc, &block, data, tags.len() as u32)?;
                    }
                }
                Item::Revoke(blocks, good) => {
                    wrong |= !good;
                    pending.extend(blocks);
                }
                Item::Commit(block) => {
                    let Ok((commit, _)) = CommitHeader::read_from_prefix(&block) else {
                        break;
                    };
                    if !self.commit_matches(&commit, &block, crc) {
                        // Torn by the crash, as the commit block comes last.
                        self.messages
                            .log(Level::Warning, format_args!("transaction {} is not complete", scan.end));
                        break;
                    }
                    if wrong {
                        // Blocks from before the log was last emptied also look like this, but are older.
                        scan.damaged = commit.seconds.get() >= last_time;
                        self.messages.log(
                            Level::Error,
                            format_args!(
                                "transaction {} has a wrong checksum: replay ends before it",
                                scan.end
                            ),
                        );
                        break;
                    }
                    last_time = commit.seconds.get();
                    for block in pending.drain(..) {
                        scan.revoked.insert(block, scan.end);
                    }
                    scan.end = scan.end.wrapping_add(1);
                    scan.transactions += 1;
                    crc = !0;
                }
            }
        }
        Ok(scan)
    }

    fn add_to_crc(&self, crc: u32, descriptor: &[u8], data: u32, count: u32) -> Result<u32> {
        let mut crc = crc32_be(crc, descriptor);
        for n in 0..count {
            crc = crc32_be(crc, &self.read(self.advance(data, n))?);
        }
        Ok(crc)
    }

    fn commit_matches(&self, commit: &CommitHeader, block: &[u8], crc: u32) -> bool {
        let stored = commit.checksum[0].get();
        match self.format.checksum {
            Checksum::None => true,
            Checksum::V1 => match (commit.checksum_type, commit.checksum_size) {
                // Written before checksums were switched on.
                (0, 0) => stored == 0,
                (kind, size) => kind == format::CRC32_TYPE && size == 4 && stored == crc,
            },
            Checksum::V2 | Checksum::V3 => stored == self.format.commit_checksum(block),
        }
    }

    /// Writes the newest copy of each block that isn't revoked.
    fn write(&self, scan: &Scan, done: &mut Recovered) -> Result<()> {
        let mut newest: BTreeMap<u64, Copy> = BTreeMap::new();
        let (mut at, mut left, mut tid) = (self.start, self.len(), self.start_tid);
        while tid != scan.end {
            let Some((item, _)) = self.next(&mut at, &mut left, tid)? else {
                return Err(EUCLEAN);
            };
            match item {
                Item::Commit(_) => tid = tid.wrapping_add(1),
                Item::Revoke(..) => {}
                Item::Descriptor(tags, data, _) => {
                    for (n, tag) in tags.into_iter().enumerate() {
                        if scan.revoked.get(&tag.block).is_some_and(|revoker| tid_reached(*revoker, tid)) {
                            done.revoked += 1;
                        } else {
                            newest.insert(tag.block, Copy { tid, at: self.advance(data, n as u32), tag });
                        }
                    }
                }
            }
        }
        for (block, copy) in newest {
            self.write_block(block, &copy, done)?;
        }
        Ok(())
    }

    fn write_block(&self, block: u64, copy: &Copy, done: &mut Recovered) -> Result<()> {
        let mut data = self.read(copy.at)?;
        if block >= self.blocks || !self.format.data_matches(&copy.tag, copy.tid, &data) {
            self.messages.log(
                Level::Error,
                format_args!("block {block} of transaction {} is damaged and was not replayed", copy.tid),
            );
            done.damaged = true;
            return Ok(());
        }
        if copy.tag.flags & TAG_ESCAPED != 0 {
            data[..4].copy_from_slice(&format::MAGIC.to_be_bytes());
        }
        self.device.write(block * self.format.block_size as u64, &[&data])?;
        done.blocks += 1;
        Ok(())
    }

    /// Refuses a journal with fast commits that follow transaction `end - 1`.
    fn refuse_fast_commits(&self, superblock: &Superblock, end: Tid) -> Result<()> {
        if !superblock.has_incompat(format::INCOMPAT_FAST_COMMIT) {
            return Ok(());
        }
        const TAG_TAIL: u16 = 8;
        const TAG_HEAD: u16 = 9;
        // Tags are little-endian: type, length, and in the head features and transaction, in the tail transaction.
        let word = |block: &[u8], at: usize| blocks::get(block, at).swap_bytes();
        for at in superblock.log_end()..superblock.maxlen.get() {
            let block = self.read(at)?;
            let mut tag = 0;
            while tag + 4 <= block.len() {
                let (kind, len) = (word(&block, tag) as u16, (word(&block, tag) >> 16) as usize);
                match kind {
                    TAG_HEAD if word(&block, tag + 8) != end => return Ok(()),
                    TAG_TAIL if word(&block, tag + 4) == end => {
                        self.messages.log(
                            Level::Error,
                            format_args!("journal has fast commits, which are not supported: run e2fsck"),
                        );
                        return Err(EOPNOTSUPP);
                    }
                    0 => return Ok(()),
                    _ => {}
                }
                tag += 4 + len;
            }
        }
        Ok(())
    }
}
