//! JBD2's on-disk structures, all big-endian: constants, the superblock, the commit block's header. `blocks` makes and
//! reads whole blocks.

use crate::csum::crc32c;
use core::mem::offset_of;
use zerocopy::byteorder::big_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// First word of every journal block but logged data.
pub const MAGIC: u32 = 0xC03B_3998;

pub const DESCRIPTOR: u32 = 1;
pub const COMMIT: u32 = 2;
pub const SUPERBLOCK_V1: u32 = 3;
pub const SUPERBLOCK_V2: u32 = 4;
pub const REVOKE: u32 = 5;

pub const COMPAT_CHECKSUM: u32 = 0x1;
pub const INCOMPAT_REVOKE: u32 = 0x1;
pub const INCOMPAT_64BIT: u32 = 0x2;
pub const INCOMPAT_ASYNC_COMMIT: u32 = 0x4;
pub const INCOMPAT_CSUM_V2: u32 = 0x8;
pub const INCOMPAT_CSUM_V3: u32 = 0x10;
pub const INCOMPAT_FAST_COMMIT: u32 = 0x20;
pub const INCOMPAT_KNOWN: u32 = INCOMPAT_REVOKE
    | INCOMPAT_64BIT
    | INCOMPAT_ASYNC_COMMIT
    | INCOMPAT_CSUM_V2
    | INCOMPAT_CSUM_V3
    | INCOMPAT_FAST_COMMIT;

pub const TAG_ESCAPED: u32 = 0x1;
pub const TAG_SAME_UUID: u32 = 0x2;
pub const TAG_LAST: u32 = 0x8;

pub const CRC32_TYPE: u8 = 1;
pub const CRC32C_TYPE: u8 = 4;

/// Fast-commit blocks where the superblock doesn't say.
pub const DEFAULT_FAST_COMMIT_BLOCKS: u32 = 256;

/// `journal_header_t`: the start of every journal block but logged data.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Header {
    pub magic: U32,
    pub blocktype: U32,
    pub sequence: U32,
}

/// `journal_superblock_t`.
#[derive(Clone, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Superblock {
    pub header: Header,
    pub blocksize: U32,
    /// Blocks in the journal.
    pub maxlen: U32,
    /// First block of the log.
    pub first: U32,
    /// The first transaction expected in the log.
    pub sequence: U32,
    /// Where it starts; 0 for an empty log.
    pub start: U32,
    /// A negative errno from an abort.
    pub errno: U32,
    pub feature_compat: U32,
    pub feature_incompat: U32,
    pub feature_ro_compat: U32,
    pub uuid: [u8; 16],
    pub nr_users: U32,
    pub dynsuper: U32,
    pub max_transaction: U32,
    pub max_trans_data: U32,
    pub checksum_type: u8,
    pub padding2: [u8; 3],
    pub num_fc_blocks: U32,
    pub head: U32,
    pub padding: [u8; 160],
    pub checksum: U32,
    pub users: [u8; 768],
}

const _: () = assert!(size_of::<Superblock>() == 1024 && offset_of!(Superblock, checksum) == 0xFC);

impl Superblock {
    /// The checksum that belongs into `checksum`.
    pub fn compute_checksum(&self) -> u32 {
        let mut copy = self.clone();
        copy.checksum = U32::ZERO;
        crc32c(!0, copy.as_bytes())
    }

    pub fn has_incompat(&self, feature: u32) -> bool {
        self.feature_incompat.get() & feature != 0
    }

    /// Whether blocks carry crc32c checksums.
    pub fn has_checksums(&self) -> bool {
        self.has_incompat(INCOMPAT_CSUM_V2 | INCOMPAT_CSUM_V3)
    }

    /// The first block behind the log proper.
    pub fn log_end(&self) -> u32 {
        let maxlen = self.maxlen.get();
        if !self.has_incompat(INCOMPAT_FAST_COMMIT) {
            return maxlen;
        }
        let blocks = match self.num_fc_blocks.get() {
            0 => DEFAULT_FAST_COMMIT_BLOCKS,
            blocks => blocks,
        };
        maxlen.saturating_sub(blocks)
    }
}

/// The start of a commit block.
#[derive(Clone, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CommitHeader {
    pub header: Header,
    pub checksum_type: u8,
    pub checksum_size: u8,
    pub padding: [u8; 2],
    pub checksum: [U32; 8],
    /// Seconds since 1970.
    pub seconds: U64,
    pub nanoseconds: U32,
}

/// Where a commit block keeps its checksum.
pub const COMMIT_CHECKSUM: usize = offset_of!(CommitHeader, checksum);

const _: () = assert!(COMMIT_CHECKSUM == 0x10 && offset_of!(CommitHeader, seconds) == 0x30);

/// Bytes of a revoke block before the block numbers: header and count.
pub const REVOKE_HEADER: usize = 16;
/// Bytes of the checksum at the end of descriptor and revoke blocks.
pub const TAIL: usize = 4;
pub const HEADER: usize = size_of::<Header>();
pub const UUID: usize = 16;
