//! A mounted file system: what the superblock says, group descriptors, mount options, errors.

use crate::buffer::{Buffer, BufferCache};
use crate::device::BlockDevice;
use crate::features::Features;
use crate::inode::Inode;
use crate::journal::{Handle, Transactions};
use crate::layout::group::GroupDesc;
use crate::log::Log;
use crate::{Result, balloc, ialloc};
use std::sync::Arc;

/// `data=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum DataMode {
    /// Data is on the device before the transaction that makes it reachable commits.
    #[default]
    Ordered,
    /// No order between data and metadata.
    Writeback,
    /// Data goes through the journal.
    Journal,
}

/// `errors=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorsMode {
    /// Log and go on.
    Continue,
    /// No more writes.
    RemountRo,
    /// [`Log::panic`].
    Panic,
}

/// Mount options, see ext4(5). `Default` is what Linux does without any.
#[derive(Clone, Debug)]
pub struct MountOptions {
    /// `ro`.
    pub read_only: bool,
    /// `data=`.
    pub data: DataMode,
    /// `errors=`; none: what the superblock says.
    pub errors: Option<ErrorsMode>,
    /// `commit=` in seconds; 0 is the default of 5.
    pub commit_interval: u32,
    /// `barrier`: flush the device at commits.
    pub barrier: bool,
    /// `discard`: tell the device about freed blocks after each commit.
    pub discard: bool,
    /// `noload`: mount without replaying the journal (read-only).
    pub noload: bool,
    /// `sync`: every operation waits for its commit.
    pub sync: bool,
    /// `dirsync`.
    pub dirsync: bool,
    /// `user_xattr`.
    pub user_xattr: bool,
    /// `acl`.
    pub acl: bool,
    /// `grpid`: new files have the directory's group.
    pub grpid: bool,
    /// `resuid=`: may use the reserved blocks; none: what the superblock says.
    pub resuid: Option<u32>,
    /// `resgid=`.
    pub resgid: Option<u32>,
    /// `max_dir_size_kb=`, 0 for none.
    pub max_dir_size_kb: u32,
}

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
}

/// statfs(2)'s figures.
#[derive(Clone, Copy, Debug)]
pub struct StatFs {
    /// Bytes in a block.
    pub block_size: u32,
    /// Blocks without the file system's own.
    pub blocks: u64,
    /// Free blocks.
    pub blocks_free: u64,
    /// Free blocks without the reserved ones.
    pub blocks_available: u64,
    /// Inodes.
    pub files: u64,
    /// Free inodes.
    pub files_free: u64,
    /// From the UUID.
    pub fsid: u64,
}

/// A mounted file system.
pub struct Filesystem {
    pub(crate) device: Arc<dyn BlockDevice>,
    pub(crate) cache: Arc<BufferCache>,
    pub(crate) transactions: Arc<Transactions>,
    pub(crate) geometry: Geometry,
    pub(crate) options: parking_lot::RwLock<MountOptions>,
    pub(crate) log: Arc<dyn Log>,
    pub(crate) balloc: balloc::Allocator,
    pub(crate) ialloc: ialloc::Allocator,
}

impl Filesystem {
    /// The facts of the superblock.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Starts a transaction handle for changing up to `credits` metadata blocks. EROFS if the mount is read-only or
    /// was made so by an error.
    pub(crate) fn begin(&self, credits: usize) -> Result<Handle> {
        self.transactions.begin(credits)
    }

    /// The buffer and byte offset of `group`'s descriptor.
    pub(crate) fn group_desc_buffer(&self, group: u32) -> Result<(&Arc<Buffer>, usize)> {
        let _ = group;
        Err(abi::errno::ENOSYS)
    }

    /// `group`'s descriptor. EUCLEAN if there is no such group.
    pub(crate) fn group_desc(&self, group: u32) -> Result<GroupDesc> {
        let _ = group;
        Err(abi::errno::ENOSYS)
    }

    /// Changes `group`'s descriptor in `handle`'s transaction and sets its checksum. `change` runs under the
    /// buffer's data lock: it must not sleep.
    pub(crate) fn update_group_desc<R>(
        &self,
        group: u32,
        handle: &mut Handle,
        change: impl FnOnce(&mut GroupDesc) -> R,
    ) -> Result<R> {
        let _ = (group, handle, change);
        Err(abi::errno::ENOSYS)
    }

    /// Whether `count` blocks from `block` are inside the file system and not the superblock or group descriptors:
    /// what a pointer on disk may point to.
    pub(crate) fn valid_blocks(&self, block: u64, count: u32) -> bool {
        let _ = (block, count);
        false
    }

    /// A damaged structure was found: logs, applies `errors=`, marks the superblock. `place` is the function or the
    /// structure, `ino` and `block` are 0 where there is none. Returns EUCLEAN.
    pub(crate) fn corrupted(
        &self,
        place: &str,
        ino: u32,
        block: u64,
        text: core::fmt::Arguments<'_>,
    ) -> abi::Errno {
        let _ = (place, ino, block, text);
        abi::errno::EUCLEAN
    }

    /// Like [`Self::corrupted`] for a checksum that is wrong. Returns EBADMSG.
    pub(crate) fn bad_checksum(&self, place: &str, ino: u32, block: u64) -> abi::Errno {
        let _ = (place, ino, block);
        abi::errno::EBADMSG
    }

    /// The inode `ino`, from the cache or the disk. ESTALE if it is not in use, EUCLEAN if it makes no sense.
    pub fn iget(self: &Arc<Self>, ino: u32) -> Result<Arc<Inode>> {
        let _ = ino;
        Err(abi::errno::ENOSYS)
    }
}
