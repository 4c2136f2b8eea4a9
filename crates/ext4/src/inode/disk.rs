//! Reading and writing the inode table.

use super::{Inode, InodeState, S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG, S_IFSOCK};
use crate::buffer::Buffer;
use crate::csum::{crc32c, inode_seed};
use crate::features::{Compat, Incompat, RoCompat};
use crate::fs::Filesystem;
use crate::journal::Handle;
use crate::layout::inode::{GOOD_OLD_INODE_SIZE, InodeFlags, RawInode, RawInodeExtra};
use crate::layout::{U16, U32};
use crate::orphan::Orphan;
use crate::{Result, orphan};
use abi::errno::{EFBIG, ESTALE};
use abi::time::Timespec;
use std::sync::Arc;
use zerocopy::{FromBytes, IntoBytes};

/// Blocks of the inode table that are read together.
const READ_AHEAD: u32 = 32;
const CHECKSUM_LO: usize = 0x7C;
const CHECKSUM_HI: usize = 0x82;
const GOOD: usize = GOOD_OLD_INODE_SIZE;
/// `i_extra_isize` from which on the field is there.
const HAS_CHECKSUM_HI: u16 = 4;
const HAS_CTIME: u16 = 8;
const HAS_MTIME: u16 = 12;
const HAS_ATIME: u16 = 16;
const HAS_CRTIME: u16 = 20;
const HAS_CRTIME_EXTRA: u16 = 24;
const HAS_VERSION_HI: u16 = 28;
pub(super) const HAS_PROJECT: u16 = 32;

/// Seconds and nanoseconds of a 32-bit time and its extra word.
fn decode_time(seconds: U32, extra: Option<U32>) -> Timespec {
    let low = i64::from(seconds.get().cast_signed());
    match extra.map(U32::get) {
        None => Timespec { tv_sec: low, tv_nsec: 0 },
        Some(extra) => Timespec {
            tv_sec: low + (i64::from(extra & 3) << 32),
            tv_nsec: i64::from((extra >> 2).min(999_999_999)),
        },
    }
}

/// The 32-bit time and its extra word. A time that does not fit is clamped, as Linux does.
fn encode_time(time: Timespec, wide: bool) -> (U32, U32) {
    let last = if wide { (3i64 << 32) + i64::from(i32::MAX) } else { i64::from(i32::MAX) };
    let seconds = time.tv_sec.clamp(i64::from(i32::MIN), last);
    let low = seconds as i32;
    let epoch = ((seconds - i64::from(low)) >> 32) as u32 & 3;
    (U32::new(low.cast_unsigned()), U32::new(epoch | (time.tv_nsec as u32) << 2))
}

/// The checksum of an inode's bytes, both halves.
fn inode_checksum(fs_seed: u32, ino: u32, bytes: &[u8]) -> u32 {
    let generation = u32::from_le_bytes(bytes[0x64..0x68].try_into().expect("four bytes"));
    let mut crc = inode_seed(fs_seed, ino, generation);
    crc = crc32c(crc, &bytes[..CHECKSUM_LO]);
    crc = crc32c(crc, &[0, 0]);
    crc = crc32c(crc, &bytes[CHECKSUM_LO + 2..GOOD]);
    if bytes.len() > GOOD {
        crc = crc32c(crc, &bytes[GOOD..CHECKSUM_HI]);
        let mut rest = CHECKSUM_HI;
        if has_checksum_hi(bytes) {
            crc = crc32c(crc, &[0, 0]);
            rest += 2;
        }
        crc = crc32c(crc, &bytes[rest..]);
    }
    crc
}

fn has_checksum_hi(bytes: &[u8]) -> bool {
    bytes.len() > GOOD && u16::from_le_bytes([bytes[GOOD], bytes[GOOD + 1]]) >= HAS_CHECKSUM_HI
}

/// Sets the checksum in an inode's bytes.
pub(crate) fn set_inode_checksum(fs: &Filesystem, ino: u32, bytes: &mut [u8]) {
    if !fs.geometry.features.metadata_csum() {
        return;
    }
    let crc = inode_checksum(fs.geometry.csum_seed, ino, bytes);
    bytes[CHECKSUM_LO..CHECKSUM_LO + 2].copy_from_slice(&(crc as u16).to_le_bytes());
    if has_checksum_hi(bytes) {
        bytes[CHECKSUM_HI..CHECKSUM_HI + 2].copy_from_slice(&((crc >> 16) as u16).to_le_bytes());
    }
}

fn checksum_matches(fs: &Filesystem, ino: u32, bytes: &[u8]) -> bool {
    if !fs.geometry.features.metadata_csum() {
        return true;
    }
    let crc = inode_checksum(fs.geometry.csum_seed, ino, bytes);
    bytes[CHECKSUM_LO..CHECKSUM_LO + 2] == (crc as u16).to_le_bytes()
        && (!has_checksum_hi(bytes)
            || bytes[CHECKSUM_HI..CHECKSUM_HI + 2] == ((crc >> 16) as u16).to_le_bytes())
}

impl Filesystem {
    /// The table block of an inode and the byte offset in it. EUCLEAN for a number that doesn't exist.
    pub(crate) fn inode_place(&self, ino: u32) -> Result<(Arc<Buffer>, usize)> {
        let geometry = &self.geometry;
        if ino == 0 || ino > geometry.inodes_count {
            return Err(self.corrupted("get_inode_loc", ino, 0, format_args!("no such inode")));
        }
        let (group, index) = geometry.inode_group(ino);
        let per_block = (geometry.block_size / geometry.inode_size) as u32;
        let desc = self.group_desc(group)?;
        let block = desc.inode_table + u64::from(index / per_block);
        if block >= geometry.blocks_count {
            return Err(self.corrupted("get_inode_loc", ino, block, format_args!("inode table outside")));
        }
        if self.cache.peek(block).is_none() {
            // Neighbours are wanted soon, but not those that were never used.
            let used = geometry.inodes_per_group.saturating_sub(desc.itable_unused).div_ceil(per_block);
            let first = (index / per_block) & !(READ_AHEAD - 1);
            let end = (first + READ_AHEAD).min(used);
            if end > first + 1 {
                self.cache.read_ahead(desc.inode_table + u64::from(first), end - first);
            }
        }
        let buffer = self.cache.read(block).inspect_err(|_| {
            self.io_error("get_inode_loc", ino, block, format_args!("unable to read itable block"));
        })?;
        Ok((buffer, (index % per_block) as usize * geometry.inode_size))
    }

    /// Reads an inode. ESTALE for one that is not in use; `unlinked` allows one without links.
    pub(crate) fn read_inode(&self, ino: u32, unlinked: bool) -> Result<InodeState> {
        let (buffer, offset) = self.inode_place(ino)?;
        let data = buffer.data();
        let bytes = &data[offset..offset + self.geometry.inode_size];
        let links = u16::from_le_bytes([bytes[0x1A], bytes[0x1B]]);
        let mode = u16::from_le_bytes([bytes[0], bytes[1]]);
        if links == 0 && (!unlinked || mode == 0) {
            return Err(ESTALE);
        }
        if !checksum_matches(self, ino, bytes) {
            return Err(self.bad_checksum("iget", ino, buffer.block()));
        }
        let state = self.decode_inode(ino, bytes)?;
        self.check_inode(ino, &state)?;
        Ok(state)
    }

    fn decode_inode(&self, ino: u32, bytes: &[u8]) -> Result<InodeState> {
        let features = &self.geometry.features;
        let (raw, rest) = RawInode::read_from_prefix(bytes).expect("an inode has 128 bytes");
        let room = rest.len() as u16;
        let mut extra = RawInodeExtra::default();
        let mut extra_isize = 0;
        if room > 0 {
            extra_isize = u16::from_le_bytes([rest[0], rest[1]]);
            if extra_isize > room || extra_isize % 4 != 0 {
                return Err(self.corrupted(
                    "iget",
                    ino,
                    0,
                    format_args!("bad extra_isize {extra_isize} (inode size {})", bytes.len()),
                ));
            }
            let covered = usize::from(extra_isize).min(size_of::<RawInodeExtra>());
            extra.as_mut_bytes()[..covered].copy_from_slice(&rest[..covered]);
        }
        let has = |bound| extra_isize >= bound;
        let flags = InodeFlags::from_bits_retain(raw.flags.get());
        let mode = raw.mode.get();
        let high_size = mode & S_IFMT == S_IFREG || features.incompat.contains(Incompat::LARGEDIR);
        let size =
            u64::from(raw.size_lo.get()) | if high_size { u64::from(raw.size_high.get()) << 32 } else { 0 };
        let mut blocks = u64::from(raw.blocks_lo.get());
        if features.ro_compat.contains(RoCompat::HUGE_FILE) {
            blocks |= u64::from(raw.blocks_high.get()) << 32;
            if flags.contains(InodeFlags::HUGE_FILE) {
                blocks <<= self.geometry.block_bits - 9;
            }
        }
        let acl_high = if features.incompat.contains(Incompat::BIT64) { raw.file_acl_high.get() } else { 0 };
        // Room that an inode doesn't claim yet is claimed with its first store.
        let unclaimed = room > 0 && extra_isize == 0;
        let claimed = if unclaimed { self.geometry.want_extra_isize } else { extra_isize };
        let xattrs = if unclaimed {
            vec![0; usize::from(room - claimed)]
        } else {
            rest[usize::from(claimed)..].to_vec()
        };
        Ok(InodeState {
            mode,
            uid: u32::from(raw.uid.get()) | u32::from(raw.uid_high.get()) << 16,
            gid: u32::from(raw.gid.get()) | u32::from(raw.gid_high.get()) << 16,
            project: if has(HAS_PROJECT) { extra.projid.get() } else { 0 },
            links: u32::from(raw.links_count.get()),
            size,
            blocks,
            atime: decode_time(raw.atime, has(HAS_ATIME).then_some(extra.atime_extra)),
            ctime: decode_time(raw.ctime, has(HAS_CTIME).then_some(extra.ctime_extra)),
            mtime: decode_time(raw.mtime, has(HAS_MTIME).then_some(extra.mtime_extra)),
            crtime: decode_time(extra.crtime, has(HAS_CRTIME_EXTRA).then_some(extra.crtime_extra)),
            dtime: raw.dtime.get(),
            flags,
            version: u64::from(raw.version.get()) | u64::from(extra.version_hi.get()) << 32,
            generation: raw.generation.get(),
            file_acl: u64::from(raw.file_acl_lo.get()) | u64::from(acl_high) << 32,
            block: raw.block,
            extra_isize: claimed,
            xattrs,
            data: Default::default(),
            orphan: Orphan::No,
            linkable: false,
        })
    }

    /// What an inode must fulfil before anything is done with it.
    fn check_inode(&self, ino: u32, state: &InodeState) -> Result<()> {
        let features = &self.geometry.features;
        let bad = |text: &str| Err(self.corrupted("iget", ino, 0, format_args!("{text}")));
        if !matches!(
            state.mode & S_IFMT,
            S_IFREG | S_IFDIR | S_IFLNK | S_IFCHR | S_IFBLK | S_IFIFO | S_IFSOCK
        ) {
            return bad("bogus i_mode");
        }
        if state.size > i64::MAX as u64 {
            return bad("bad i_size value");
        }
        if state.file_acl != 0 && !self.valid_blocks(state.file_acl, 1) {
            return bad("bad extended attribute block");
        }
        let flags = state.flags;
        if flags.contains(InodeFlags::INDEX) && state.is_dir() && !features.compat.contains(Compat::DIR_INDEX)
        {
            return bad("directory with htree data on filesystem without dir_index feature");
        }
        if flags.contains(InodeFlags::INLINE_DATA)
            && (!features.incompat.contains(Incompat::INLINE_DATA) || flags.contains(InodeFlags::EXTENTS))
        {
            return bad("inline data without the feature, or with extents");
        }
        if flags.intersects(InodeFlags::ENCRYPT | InodeFlags::CASEFOLD) {
            return bad("encrypted or case-folded without the feature");
        }
        if state.is_dir() && !state.is_inline() {
            // A directory is a whole number of blocks; its block numbers have 28 bits in a hash tree.
            let mask = self.geometry.block_size as u64 - 1;
            let blocks = state.size >> self.geometry.block_bits;
            if state.size & mask != 0 || blocks > 1 << 28 || blocks > self.geometry.blocks_count {
                return bad("bad directory size");
            }
        }
        Ok(())
    }
}

impl Inode {
    /// Writes the fields into the inode's table block, in `handle`'s transaction (one credit; one more when a file
    /// first grows past 2 GiB on an old file system).
    pub(crate) fn store(&self, state: &InodeState, handle: &mut Handle) -> Result<()> {
        self.store_with(state, handle, false)
    }

    /// Like [`Self::store`] for an inode that was just allocated: nothing of the old contents stays.
    pub(crate) fn store_new(&self, state: &InodeState, handle: &mut Handle) -> Result<()> {
        self.store_with(state, handle, true)
    }

    fn store_with(&self, state: &InodeState, handle: &mut Handle, new: bool) -> Result<()> {
        let fs = &*self.fs;
        let blocks = encode_blocks(fs, state)?;
        if state.is_file() && state.size > i32::MAX as u64 {
            fs.note_large_file(handle)?;
        }
        self.data.note(handle.tid(), new);
        let (buffer, offset) = fs.inode_place(self.ino)?;
        let size = fs.geometry.inode_size;
        orphan::with_dtime(fs, self.ino, state, |dtime| {
            handle.modify(&buffer, |block| {
                let bytes = &mut block[offset..offset + size];
                if new {
                    bytes.fill(0);
                }
                encode_inode(fs, state, blocks, dtime, bytes);
                set_inode_checksum(fs, self.ino, bytes);
            })
        })
    }
}

/// `i_blocks` as stored: low, high, and whether in file system blocks.
fn encode_blocks(fs: &Filesystem, state: &InodeState) -> Result<(u32, u16, bool)> {
    let blocks = state.blocks;
    if let Ok(low) = u32::try_from(blocks) {
        return Ok((low, 0, false));
    }
    if !fs.geometry.features.ro_compat.contains(RoCompat::HUGE_FILE) {
        return Err(EFBIG);
    }
    if blocks < 1 << 48 {
        return Ok((blocks as u32, (blocks >> 32) as u16, false));
    }
    let units = blocks >> (fs.geometry.block_bits - 9);
    if units < 1 << 48 { Ok((units as u32, (units >> 32) as u16, true)) } else { Err(EFBIG) }
}

fn encode_inode(fs: &Filesystem, state: &InodeState, blocks: (u32, u16, bool), dtime: u32, bytes: &mut [u8]) {
    let (raw, rest) = RawInode::mut_from_prefix(bytes).expect("an inode has 128 bytes");
    let extra_isize = state.extra_isize.min(rest.len() as u16);
    let has = |bound| extra_isize >= bound;
    let (atime, atime_extra) = encode_time(state.atime, has(HAS_ATIME));
    let (ctime, ctime_extra) = encode_time(state.ctime, has(HAS_CTIME));
    let (mtime, mtime_extra) = encode_time(state.mtime, has(HAS_MTIME));
    let mut flags = state.flags;
    flags.set(InodeFlags::HUGE_FILE, blocks.2);
    raw.mode = U16::new(state.mode);
    raw.uid = U16::new(state.uid as u16);
    raw.uid_high = U16::new((state.uid >> 16) as u16);
    raw.gid = U16::new(state.gid as u16);
    raw.gid_high = U16::new((state.gid >> 16) as u16);
    raw.size_lo = U32::new(state.size as u32);
    raw.size_high = U32::new((state.size >> 32) as u32);
    raw.atime = atime;
    raw.ctime = ctime;
    raw.mtime = mtime;
    raw.dtime = U32::new(dtime);
    raw.links_count = U16::new(state.links as u16);
    raw.blocks_lo = U32::new(blocks.0);
    raw.blocks_high = U16::new(blocks.1);
    raw.flags = U32::new(flags.bits());
    raw.version = U32::new(state.version as u32);
    raw.block = state.block;
    raw.generation = U32::new(state.generation);
    raw.file_acl_lo = U32::new(state.file_acl as u32);
    if fs.geometry.features.incompat.contains(Incompat::BIT64) {
        raw.file_acl_high = U16::new((state.file_acl >> 32) as u16);
    }
    if rest.is_empty() {
        return;
    }
    let (crtime, crtime_extra) = encode_time(state.crtime, has(HAS_CRTIME_EXTRA));
    let mut extra = RawInodeExtra::default();
    let covered = usize::from(extra_isize).min(size_of::<RawInodeExtra>());
    extra.as_mut_bytes()[..covered].copy_from_slice(&rest[..covered]);
    extra.extra_isize = U16::new(extra_isize);
    extra.ctime_extra = ctime_extra;
    extra.mtime_extra = mtime_extra;
    extra.atime_extra = atime_extra;
    if has(HAS_CRTIME) {
        extra.crtime = crtime;
        extra.crtime_extra = crtime_extra;
    }
    if has(HAS_VERSION_HI) {
        extra.version_hi = U32::new((state.version >> 32) as u32);
    }
    extra.projid = U32::new(state.project);
    rest[..covered].copy_from_slice(&extra.as_bytes()[..covered]);
    let space = &mut rest[usize::from(extra_isize)..];
    let len = space.len().min(state.xattrs.len());
    space[..len].copy_from_slice(&state.xattrs[..len]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_go_beyond_2038_and_before_1970() {
        for seconds in [0, -1, i64::from(i32::MIN), 1 << 31, (1 << 32) + 5, (3 << 32) + i64::from(i32::MAX)] {
            let time = Timespec { tv_sec: seconds, tv_nsec: 123_456_789 };
            let (low, extra) = encode_time(time, true);
            let back = decode_time(low, Some(extra));
            assert_eq!((back.tv_sec, back.tv_nsec), (seconds, 123_456_789));
        }
        let (low, _) = encode_time(Timespec { tv_sec: 1 << 40, tv_nsec: 0 }, false);
        assert_eq!(decode_time(low, None).tv_sec, i64::from(i32::MAX));
    }
}
