//! Group descriptors, and which blocks belong to the file system itself.

use crate::Result;
use crate::buffer::{Buffer, BufferCache};
use crate::csum::{crc16, crc32c};
use crate::features::Incompat;
use crate::fs::Filesystem;
use crate::geometry::Geometry;
use crate::journal::{Handle, Run};
use crate::layout::group::{CHECKSUM_OFFSET, GroupDesc};
use crate::log::{Level, Log};
use abi::errno::{EBADMSG, EUCLEAN};
use std::sync::Arc;

/// The checksum of a descriptor's bytes (`desc_size` of them); none without such a feature.
fn desc_checksum(geometry: &Geometry, group: u32, bytes: &[u8]) -> Option<u16> {
    let rest = &bytes[CHECKSUM_OFFSET + 2..];
    if geometry.features.metadata_csum() {
        let mut crc = crc32c(geometry.csum_seed, &group.to_le_bytes());
        crc = crc32c(crc, &bytes[..CHECKSUM_OFFSET]);
        crc = crc32c(crc, &[0, 0]);
        Some(crc32c(crc, rest) as u16)
    } else if geometry.features.group_csum() {
        let mut crc = crc16(!0, &geometry.uuid);
        crc = crc16(crc, &group.to_le_bytes());
        crc = crc16(crc, &bytes[..CHECKSUM_OFFSET]);
        Some(if geometry.features.incompat.contains(Incompat::BIT64) { crc16(crc, rest) } else { crc })
    } else {
        None
    }
}

/// Reads every descriptor block.
pub(crate) fn load(geometry: &Geometry, cache: &BufferCache) -> Result<Vec<Arc<Buffer>>> {
    (0..geometry.desc_blocks())
        .map(|index| {
            let block = geometry.desc_block(index);
            if block >= geometry.blocks_count {
                return Err(EUCLEAN);
            }
            cache.read(block)
        })
        .collect()
}

/// Checks every descriptor; `strict` is for a mount that writes.
pub(crate) fn check(geometry: &Geometry, descs: &[Arc<Buffer>], strict: bool, log: &dyn Log) -> Result<()> {
    let flex = geometry.features.incompat.contains(Incompat::FLEX_BG);
    let last = geometry.blocks_count - 1;
    for group in 0..geometry.groups {
        let (index, offset) = desc_place(geometry, group);
        let data = descs[index].data();
        let bytes = &data[offset..offset + geometry.desc_size];
        if let Some(sum) = desc_checksum(geometry, group, bytes)
            && bytes[CHECKSUM_OFFSET..CHECKSUM_OFFSET + 2] != sum.to_le_bytes()
        {
            log.log(Level::Error, format_args!("ext4_check_descriptors: Checksum for group {group} failed"));
            if strict {
                return Err(EBADMSG);
            }
        }
        let desc = GroupDesc::decode(bytes);
        let (low, high) = match flex {
            true => (geometry.first_data_block, last),
            false => {
                let first = geometry.group_first_block(group);
                (first, first + u64::from(geometry.group_blocks(group)) - 1)
            }
        };
        let table = u64::from(geometry.inode_table_blocks);
        for (name, first, len) in [
            ("Block bitmap", desc.block_bitmap, 1),
            ("Inode bitmap", desc.inode_bitmap, 1),
            ("Inode table", desc.inode_table, table),
        ] {
            let end = first.checked_add(len - 1);
            if first < low || end.is_none_or(|end| end > high) {
                log.log(
                    Level::Error,
                    format_args!(
                        "ext4_check_descriptors: {name} for group {group} not in group (block {first})!"
                    ),
                );
                return Err(EUCLEAN);
            }
            let descs_end = geometry.first_data_block + u64::from(geometry.group_base_metadata(0));
            if first < descs_end && end.is_some_and(|end| end >= geometry.first_data_block) {
                log.log(
                    Level::Error,
                    format_args!(
                        "ext4_check_descriptors: {name} for group {group} overlaps superblock or descriptors"
                    ),
                );
                return Err(EUCLEAN);
            }
        }
    }
    Ok(())
}

/// Runs of blocks of superblock copies, descriptors, bitmaps, inode tables and the journal: sorted, merged; and their
/// number.
pub(crate) fn system_zone(
    geometry: &Geometry,
    descs: &[Arc<Buffer>],
    journal: &[Run],
) -> (Vec<(u64, u64)>, u64) {
    let mut runs = Vec::with_capacity(geometry.groups as usize * 2);
    runs.extend(journal.iter().map(|run| (run.physical, run.physical + u64::from(run.len))));
    let mut snapshot = None;
    for group in 0..geometry.groups {
        let base = u64::from(geometry.group_base_metadata(group).min(geometry.group_blocks(group)));
        if base > 0 {
            let first = geometry.group_first_block(group);
            runs.push((first, first + base));
        }
        let (index, offset) = desc_place(geometry, group);
        let data = match &snapshot {
            Some((at, data)) if *at == index => data,
            _ => &snapshot.insert((index, descs[index].data())).1,
        };
        let desc = GroupDesc::decode(&data[offset..offset + geometry.desc_size]);
        runs.push((desc.block_bitmap, desc.block_bitmap.saturating_add(1)));
        runs.push((desc.inode_bitmap, desc.inode_bitmap.saturating_add(1)));
        let table = desc.inode_table;
        runs.push((table, table.saturating_add(u64::from(geometry.inode_table_blocks))));
    }
    runs.sort_unstable();
    let mut merged: Vec<(u64, u64)> = Vec::new();
    for (first, end) in runs {
        match merged.last_mut() {
            Some(last) if first <= last.1 => last.1 = last.1.max(end),
            _ => merged.push((first, end)),
        }
    }
    let blocks = merged.iter().map(|(first, end)| end - first).sum::<u64>() + geometry.first_data_block;
    (merged, blocks)
}

/// Which descriptor block, and where in it.
fn desc_place(geometry: &Geometry, group: u32) -> (usize, usize) {
    let per = geometry.descs_per_block();
    ((group / per) as usize, (group % per) as usize * geometry.desc_size)
}

impl Filesystem {
    /// The buffer and byte offset of `group`'s descriptor. EUCLEAN if there is no such group.
    pub(crate) fn group_desc_buffer(&self, group: u32) -> Result<(&Arc<Buffer>, usize)> {
        let (index, offset) = desc_place(&self.geometry, group);
        match self.group_descs.get(index) {
            Some(buffer) if group < self.geometry.groups => Ok((buffer, offset)),
            _ => Err(self.corrupted("get_group_desc", 0, 0, format_args!("no group {group}"))),
        }
    }

    /// `group`'s descriptor. EUCLEAN if there is no such group.
    pub(crate) fn group_desc(&self, group: u32) -> Result<GroupDesc> {
        let (buffer, offset) = self.group_desc_buffer(group)?;
        Ok(GroupDesc::decode(&buffer.data()[offset..offset + self.geometry.desc_size]))
    }

    /// Changes `group`'s descriptor in `handle`'s transaction and sets its checksum. `change` runs under the
    /// buffer's data lock: it must not sleep.
    pub(crate) fn update_group_desc<R>(
        &self,
        group: u32,
        handle: &mut Handle,
        change: impl FnOnce(&mut GroupDesc) -> R,
    ) -> Result<R> {
        let (buffer, offset) = self.group_desc_buffer(group)?;
        let geometry = &self.geometry;
        handle.modify(buffer, |block| {
            let bytes = &mut block[offset..offset + geometry.desc_size];
            let mut desc = GroupDesc::decode(bytes);
            let result = change(&mut desc);
            desc.encode(bytes);
            if let Some(sum) = desc_checksum(geometry, group, bytes) {
                bytes[CHECKSUM_OFFSET..CHECKSUM_OFFSET + 2].copy_from_slice(&sum.to_le_bytes());
            }
            result
        })
    }

    /// Whether `count` blocks from `block` are inside the file system and not its own structures: what a pointer in
    /// an inode may point to.
    pub(crate) fn valid_blocks(&self, block: u64, count: u32) -> bool {
        let Some(end) = block.checked_add(u64::from(count)) else { return false };
        if block <= self.geometry.first_data_block || end > self.geometry.blocks_count || count == 0 {
            return false;
        }
        let at = self.system_zone.partition_point(|zone| zone.1 <= block);
        self.system_zone.get(at).is_none_or(|zone| zone.0 >= end)
    }
}
