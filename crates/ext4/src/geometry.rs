//! The fixed facts of a file system: the superblock, checked once so that nothing later divides by zero or points
//! outside the device.

use crate::Result;
use crate::csum::crc32c;
use crate::features::{Compat, Features, INCOMPAT_SUPPORTED, Incompat, RO_COMPAT_SUPPORTED, RoCompat};
use crate::layout::inode::GOOD_OLD_INODE_SIZE;
use crate::layout::superblock::{FLAG_UNSIGNED_HASH, RawSuperblock, SUPER_MAGIC};
use crate::log::{Level, Log};
use abi::errno::{EBADMSG, EINVAL};
use zerocopy::IntoBytes;

/// Fixed facts of a file system, from the superblock.
#[derive(Clone, Debug)]
pub struct Geometry {
    /// Bytes in a block: 1024 to 65536.
    pub block_size: usize,
    /// log2 of `block_size`.
    pub block_bits: u32,
    /// Blocks of the file system.
    pub blocks_count: u64,
    /// Inodes.
    pub inodes_count: u32,
    /// First block of group 0: 1 with 1 KiB blocks, else 0.
    pub first_data_block: u64,
    /// Blocks in a group.
    pub blocks_per_group: u32,
    /// Inodes in a group.
    pub inodes_per_group: u32,
    /// Blocks of a group's inode table.
    pub inode_table_blocks: u32,
    /// Groups.
    pub groups: u32,
    /// Bytes of an inode on disk.
    pub inode_size: usize,
    /// First inode that is not reserved.
    pub first_ino: u32,
    /// Bytes of a group descriptor: 32, or 64 and up.
    pub desc_size: usize,
    /// log2 of the groups in a flex group; 0 without flex_bg.
    pub log_groups_per_flex: u32,
    /// Blocks kept for root.
    pub reserved_blocks: u64,
    /// What new inodes have as `i_extra_isize`.
    pub want_extra_isize: u16,
    /// Feature words as mounted.
    pub features: Features,
    /// Seed of every metadata checksum.
    pub csum_seed: u32,
    /// The volume's UUID.
    pub uuid: [u8; 16],
    /// Seed of directory hashes.
    pub hash_seed: [u32; 4],
    /// Hash of new hash trees (0 legacy, 1 half-md4, 2 tea).
    pub def_hash_version: u8,
    /// Directory hashes treat bytes as unsigned.
    pub unsigned_hash: bool,
    /// First block group that uses meta_bg's layout.
    pub first_meta_bg: u32,
    /// Blocks kept after the descriptors for growth.
    pub reserved_gdt_blocks: u32,
    /// RAID stride and stripe width in blocks (0: none), hints for allocation.
    pub stripe: (u32, u32),
    /// Largest size of a file with an extent tree, in bytes.
    pub max_extent_size: u64,
    /// Groups with a copy of the superblock when sparse_super2 is on.
    pub backup_groups: [u32; 2],
}

impl Geometry {
    /// Checks a superblock. `device_len` in bytes; `writable` demands that every feature can be written.
    pub fn from_superblock(
        raw: &RawSuperblock,
        device_len: u64,
        writable: bool,
        log: &dyn Log,
    ) -> Result<Geometry> {
        if raw.magic.get() != SUPER_MAGIC {
            log.log(Level::Error, format_args!("VFS: Can't find ext4 filesystem"));
            return Err(EINVAL);
        }
        let features = Features {
            compat: Compat::from_bits_retain(raw.feature_compat.get()),
            incompat: Incompat::from_bits_retain(raw.feature_incompat.get()),
            ro_compat: RoCompat::from_bits_retain(raw.feature_ro_compat.get()),
        };
        if features.metadata_csum() && superblock_checksum(raw) != raw.checksum.get() {
            log.log(
                Level::Error,
                format_args!("VFS: Found ext4 filesystem with invalid superblock checksum.  Run e2fsck?"),
            );
            return Err(EBADMSG);
        }
        check_features(&features, writable, log)?;
        let geometry = Self::decode(raw, features).ok_or_else(|| {
            log.log(Level::Error, format_args!("bad geometry: the superblock makes no sense"));
            EINVAL
        })?;
        if geometry.blocks_count > device_len >> geometry.block_bits {
            log.log(
                Level::Warning,
                format_args!(
                    "bad geometry: block count {} exceeds size of device ({} blocks)",
                    geometry.blocks_count,
                    device_len >> geometry.block_bits
                ),
            );
            return Err(EINVAL);
        }
        Ok(geometry)
    }

    fn decode(raw: &RawSuperblock, features: Features) -> Option<Geometry> {
        let bits64 = features.incompat.contains(Incompat::BIT64);
        let block_bits = raw.log_block_size.get().checked_add(10).filter(|&b| b <= 16)?;
        let block_size = 1usize << block_bits;
        if raw.log_cluster_size.get() != raw.log_block_size.get() && raw.log_cluster_size.get() != 0 {
            return None;
        }
        let wide = |lo: u32, hi: u32| u64::from(lo) | if bits64 { u64::from(hi) << 32 } else { 0 };
        let blocks_count = wide(raw.blocks_count_lo.get(), raw.blocks_count_hi.get());
        let reserved_blocks = wide(raw.r_blocks_count_lo.get(), raw.r_blocks_count_hi.get());
        let (inode_size, first_ino) = match raw.rev_level.get() {
            0 => (GOOD_OLD_INODE_SIZE, 11),
            _ => (usize::from(raw.inode_size.get()), raw.first_ino.get()),
        };
        let inode_fits =
            inode_size.is_power_of_two() && (GOOD_OLD_INODE_SIZE..=block_size).contains(&inode_size);
        if !inode_fits || first_ino < 11 {
            return None;
        }
        let desc_size = if bits64 { usize::from(raw.desc_size.get()) } else { 32 };
        if !desc_size.is_power_of_two() || desc_size > 1024 || (bits64 && desc_size < 64) {
            return None;
        }
        let first_data_block = u64::from(raw.first_data_block.get());
        if first_data_block != u64::from(block_bits == 10) || blocks_count <= first_data_block {
            return None;
        }
        let bits_in_block = (block_size * 8) as u32;
        let blocks_per_group = raw.blocks_per_group.get();
        let inodes_per_group = raw.inodes_per_group.get();
        let inodes_per_block = (block_size / inode_size) as u32;
        if !(8..=bits_in_block).contains(&blocks_per_group)
            || !(inodes_per_block..=bits_in_block).contains(&inodes_per_group)
            || raw.clusters_per_group.get() != blocks_per_group
        {
            return None;
        }
        let groups = (blocks_count - first_data_block).div_ceil(u64::from(blocks_per_group));
        let inodes_count = raw.inodes_count.get();
        if groups.checked_mul(u64::from(inodes_per_group)) != Some(u64::from(inodes_count))
            || inodes_count < first_ino
        {
            return None;
        }
        let inode_table_blocks = inodes_per_group.div_ceil(inodes_per_block);
        if inode_table_blocks >= blocks_per_group && !features.incompat.contains(Incompat::FLEX_BG) {
            return None;
        }
        let reserved_gdt_blocks = u32::from(raw.reserved_gdt_blocks.get());
        if reserved_gdt_blocks as usize > block_size / 4 || reserved_blocks > blocks_count {
            return None;
        }
        let log_groups_per_flex = match features.incompat.contains(Incompat::FLEX_BG) {
            true if raw.log_groups_per_flex < 32 => u32::from(raw.log_groups_per_flex),
            _ => 0,
        };
        let csum_seed = match features.incompat.contains(Incompat::CSUM_SEED) {
            true => raw.checksum_seed.get(),
            false => crc32c(!0, &raw.uuid),
        };
        let room = (inode_size - GOOD_OLD_INODE_SIZE) as u16;
        let want = raw.want_extra_isize.get().max(raw.min_extra_isize.get()).max(32);
        let want_extra_isize = if want > room || !want.is_multiple_of(4) { room.min(32) } else { want };
        Some(Geometry {
            block_size,
            block_bits,
            blocks_count,
            inodes_count,
            first_data_block,
            blocks_per_group,
            inodes_per_group,
            inode_table_blocks,
            groups: groups as u32,
            inode_size,
            first_ino,
            desc_size,
            log_groups_per_flex,
            reserved_blocks,
            want_extra_isize,
            features,
            csum_seed,
            uuid: raw.uuid,
            hash_seed: raw.hash_seed.map(|word| word.get()),
            def_hash_version: raw.def_hash_version,
            unsigned_hash: raw.flags.get() & FLAG_UNSIGNED_HASH != 0,
            first_meta_bg: raw.first_meta_bg.get(),
            reserved_gdt_blocks,
            stripe: (u32::from(raw.raid_stride.get()), raw.raid_stripe_width.get()),
            max_extent_size: (1u64 << 32) * block_size as u64 - block_size as u64,
            backup_groups: raw.backup_bgs.map(|group| group.get()),
        })
    }

    /// First block of `group`.
    pub fn group_first_block(&self, group: u32) -> u64 {
        self.first_data_block + u64::from(group) * u64::from(self.blocks_per_group)
    }

    /// Blocks in `group`: the last one may be short.
    pub fn group_blocks(&self, group: u32) -> u32 {
        let first = self.group_first_block(group);
        (self.blocks_count.saturating_sub(first)).min(u64::from(self.blocks_per_group)) as u32
    }

    /// Group and offset in it of `block`; the caller knows that the block is in range.
    pub fn block_group(&self, block: u64) -> (u32, u32) {
        let rel = block.saturating_sub(self.first_data_block);
        let per = u64::from(self.blocks_per_group);
        ((rel / per) as u32, (rel % per) as u32)
    }

    /// Group and index in it of inode `ino` (from 1).
    pub fn inode_group(&self, ino: u32) -> (u32, u32) {
        let i = ino.wrapping_sub(1);
        (i / self.inodes_per_group, i % self.inodes_per_group)
    }

    /// Whether `group` has a copy of the superblock.
    pub fn group_has_super(&self, group: u32) -> bool {
        if group == 0 {
            return true;
        }
        if self.features.compat.contains(Compat::SPARSE_SUPER2) {
            return self.backup_groups.contains(&group);
        }
        if group == 1 || !self.features.ro_compat.contains(RoCompat::SPARSE_SUPER) {
            return true;
        }
        let power_of = |base: u32| {
            let mut power = u64::from(base);
            while power < u64::from(group) {
                power *= u64::from(base);
            }
            power == u64::from(group)
        };
        group % 2 == 1 && (power_of(3) || power_of(5) || power_of(7))
    }

    /// Group descriptors in a block.
    pub(crate) fn descs_per_block(&self) -> u32 {
        (self.block_size / self.desc_size) as u32
    }

    /// Blocks of group descriptors.
    pub(crate) fn desc_blocks(&self) -> u32 {
        self.groups.div_ceil(self.descs_per_block())
    }

    fn meta_bg(&self) -> bool {
        self.features.incompat.contains(Incompat::META_BG)
    }

    /// The block that holds descriptor block `index`.
    pub(crate) fn desc_block(&self, index: u32) -> u64 {
        if !self.meta_bg() || index < self.first_meta_bg {
            return self.first_data_block + 1 + u64::from(index);
        }
        let group = index.saturating_mul(self.descs_per_block());
        self.group_first_block(group) + u64::from(self.group_has_super(group))
    }

    /// How many blocks at the start of `group` hold the superblock's copy, descriptors and their reserve.
    pub(crate) fn group_base_metadata(&self, group: u32) -> u32 {
        let has_super = self.group_has_super(group);
        let per = self.descs_per_block();
        if self.meta_bg() && group / per >= self.first_meta_bg {
            let place = group % per;
            let has_desc = place == 0 || place == 1 || place == per - 1;
            return u32::from(has_super) + u32::from(has_desc);
        }
        if !has_super {
            return 0;
        }
        let descs =
            if self.meta_bg() { self.first_meta_bg.min(self.desc_blocks()) } else { self.desc_blocks() };
        1 + descs + self.reserved_gdt_blocks
    }
}

/// The superblock's own checksum.
pub(crate) fn superblock_checksum(raw: &RawSuperblock) -> u32 {
    crc32c(!0, &raw.as_bytes()[..0x3FC])
}

fn check_features(features: &Features, writable: bool, log: &dyn Log) -> Result<()> {
    let refused = [
        (Incompat::JOURNAL_DEV, "journal device"),
        (Incompat::COMPRESSION, "compression"),
        (Incompat::MMP, "mmp"),
        (Incompat::DIRDATA, "dirdata"),
        (Incompat::ENCRYPT, "encrypt"),
        (Incompat::CASEFOLD, "casefold"),
    ];
    let mut bad = features.incompat.difference(INCOMPAT_SUPPORTED);
    for (flag, name) in refused {
        if bad.contains(flag) {
            log.log(Level::Error, format_args!("couldn't mount: the {name} feature is not supported"));
            bad.remove(flag);
        }
    }
    if !bad.is_empty() {
        log.log(
            Level::Error,
            format_args!("Couldn't mount because of unsupported optional features ({:x})", bad.bits()),
        );
    }
    if !INCOMPAT_SUPPORTED.contains(features.incompat) {
        return Err(EINVAL);
    }
    // A cluster is another unit for every count on the disk: even reading must know it.
    if features.ro_compat.contains(RoCompat::BIGALLOC) {
        log.log(Level::Error, format_args!("couldn't mount: the bigalloc feature is not supported"));
        return Err(EINVAL);
    }
    let unwritable = features.ro_compat.difference(RO_COMPAT_SUPPORTED.union(RoCompat::READONLY));
    if writable && !unwritable.is_empty() {
        for (flag, name) in
            [(RoCompat::QUOTA, "quota"), (RoCompat::PROJECT, "project"), (RoCompat::VERITY, "verity")]
        {
            if unwritable.contains(flag) {
                log.log(
                    Level::Error,
                    format_args!("couldn't mount RDWR: the {name} feature is not supported"),
                );
            }
        }
        log.log(
            Level::Error,
            format_args!(
                "couldn't mount RDWR because of unsupported optional features ({:x})",
                unwritable.bits()
            ),
        );
        return Err(EINVAL);
    }
    if features.ro_compat.contains(RoCompat::METADATA_CSUM.union(RoCompat::GDT_CSUM)) {
        log.log(
            Level::Warning,
            format_args!("metadata_csum and uninit_bg are redundant flags; please run fsck."),
        );
    }
    Ok(())
}
