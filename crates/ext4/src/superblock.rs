//! Writing the superblock: inside transactions, and directly at mount, unmount and after errors.
//!
//! Some fields live in memory (`SuperState`) and are laid over whatever is written, so that a copy in the journal and
//! the one on the device never disagree about them.

use crate::Result;
use crate::device::BlockDevice;
use crate::error::ErrorRecord;
use crate::features::{Incompat, RoCompat};
use crate::fs::Filesystem;
use crate::geometry::superblock_checksum;
use crate::journal::Handle;
use crate::layout::superblock::{RawSuperblock, STATE_ERROR, STATE_VALID, SUPERBLOCK_OFFSET};
use crate::layout::{U16, U32, U64};
use zerocopy::{FromBytes, IntoBytes};

/// What is laid over the superblock whenever it is written.
#[derive(Clone, Debug)]
pub(crate) struct SuperState {
    /// `s_state` as found at mount; VALID is given back at unmount if it was there.
    pub mount_state: u16,
    /// Mounted for writing: the journal, if any, may hold transactions.
    pub active: bool,
    /// The orphan file may hold inodes.
    pub orphan_present: bool,
    /// Mount count.
    pub mnt_count: u16,
    /// Mount time in seconds.
    pub mtime: u64,
    /// Errors that were found.
    pub error: ErrorRecord,
    /// large_file was found necessary.
    pub large_file: bool,
}

/// Reads the superblock of a device.
pub(crate) fn read_super(device: &dyn BlockDevice) -> Result<RawSuperblock> {
    let mut bytes = [0u8; 1024];
    device.read(SUPERBLOCK_OFFSET, &mut bytes)?;
    Ok(zerocopy::transmute!(bytes))
}

impl SuperState {
    pub(crate) fn from_raw(raw: &RawSuperblock) -> SuperState {
        SuperState {
            mount_state: raw.state.get(),
            active: false,
            orphan_present: false,
            mnt_count: raw.mnt_count.get(),
            mtime: u64::from(raw.mtime.get()) | u64::from(raw.mtime_hi) << 32,
            error: ErrorRecord::from_raw(raw),
            large_file: false,
        }
    }

    fn apply(&self, fs: &Filesystem, raw: &mut RawSuperblock) {
        let has_journal = fs.transactions.has_journal();
        let mut incompat = Incompat::from_bits_retain(raw.feature_incompat.get());
        incompat.set(Incompat::RECOVER, self.active && has_journal);
        raw.feature_incompat = U32::new(incompat.bits());
        let mut ro_compat = RoCompat::from_bits_retain(raw.feature_ro_compat.get());
        ro_compat.set(RoCompat::ORPHAN_PRESENT, self.orphan_present);
        if self.large_file {
            ro_compat.insert(RoCompat::LARGE_FILE);
        }
        raw.feature_ro_compat = U32::new(ro_compat.bits());
        // A journal makes an interrupted mount good again: the state stays valid then.
        let valid = self.mount_state & STATE_VALID != 0 && (has_journal || !self.active);
        let error = if self.error.count > 0 { STATE_ERROR } else { 0 };
        raw.state = U16::new(self.mount_state & !STATE_VALID | error | u16::from(valid));
        raw.mnt_count = U16::new(self.mnt_count);
        raw.mtime = U32::new(self.mtime as u32);
        raw.mtime_hi = (self.mtime >> 32) as u8;
        self.error.apply(raw);
        let now = fs.log.now().tv_sec as u64;
        raw.wtime = U32::new(now as u32);
        raw.wtime_hi = (now >> 32) as u8;
        let free = fs.balloc.free_blocks();
        raw.free_blocks_count_lo = U32::new(free as u32);
        if incompat.contains(Incompat::BIT64) {
            raw.free_blocks_count_hi = U32::new((free >> 32) as u32);
        }
        raw.free_inodes_count = U32::new(fs.ialloc.free_inodes() as u32);
        if fs.geometry.features.metadata_csum() {
            raw.checksum = U32::new(superblock_checksum(raw));
        }
    }
}

impl Filesystem {
    /// Byte offset of the superblock in its block.
    fn super_offset(&self) -> usize {
        if self.geometry.block_size == 1024 { 0 } else { 1024 }
    }

    /// Changes the superblock in `handle`'s transaction (one credit).
    pub(crate) fn update_super<R>(
        &self,
        handle: &mut Handle,
        change: impl FnOnce(&mut RawSuperblock) -> R,
    ) -> Result<R> {
        let state = self.super_state.lock().clone();
        let offset = self.super_offset();
        handle.modify(&self.super_buffer, |block| {
            let bytes = &mut block[offset..offset + 1024];
            let raw = RawSuperblock::mut_from_bytes(bytes).expect("1024 bytes, no alignment");
            let result = change(raw);
            state.apply(self, raw);
            result
        })
    }

    /// Notes that a file needs the large_file feature.
    pub(crate) fn note_large_file(&self, handle: &mut Handle) -> Result<()> {
        if self.geometry.features.ro_compat.contains(RoCompat::LARGE_FILE)
            || self.super_state.lock().large_file
        {
            return Ok(());
        }
        self.super_state.lock().large_file = true;
        self.update_super(handle, |_| ())
    }

    /// Lays the state in memory over the superblock on the device, past the journal.
    pub(crate) fn write_super(&self) -> Result<()> {
        if self.device.is_readonly() {
            return Ok(());
        }
        let mut raw = read_super(&*self.device)?;
        let state = self.super_state.lock().clone();
        state.apply(self, &mut raw);
        self.device.write(SUPERBLOCK_OFFSET, &[raw.as_bytes()])?;
        self.device.flush()
    }

    /// Marks the file system as in use.
    pub(crate) fn write_super_mounted(&self) -> Result<()> {
        {
            let mut state = self.super_state.lock();
            state.active = true;
            state.orphan_present |= self.orphans.has_file();
        }
        self.write_super()
    }

    /// Marks the file system as clean: everything is in its place.
    pub(crate) fn write_super_clean(&self) -> Result<()> {
        {
            let mut state = self.super_state.lock();
            state.active = false;
            state.orphan_present = state.orphan_present && !self.orphans.file_is_empty();
        }
        self.write_super()
    }
}

impl ErrorRecord {
    fn from_raw(raw: &RawSuperblock) -> ErrorRecord {
        ErrorRecord {
            count: if raw.state.get() & STATE_ERROR != 0 { raw.error_count.get().max(1) } else { 0 },
            new: 0,
            first: None,
            last: None,
        }
    }

    fn apply(&self, raw: &mut RawSuperblock) {
        if self.new == 0 {
            return;
        }
        raw.error_count = U32::new(self.count);
        if let Some(first) = &self.first
            && raw.first_error_time.get() == 0
        {
            raw.first_error_time = U32::new(first.time as u32);
            raw.first_error_time_hi = (first.time >> 32) as u8;
            raw.first_error_ino = U32::new(first.ino);
            raw.first_error_block = U64::new(first.block);
            raw.first_error_func = first.place;
            raw.first_error_errcode = first.code;
        }
        if let Some(last) = &self.last {
            raw.last_error_time = U32::new(last.time as u32);
            raw.last_error_time_hi = (last.time >> 32) as u8;
            raw.last_error_ino = U32::new(last.ino);
            raw.last_error_block = U64::new(last.block);
            raw.last_error_func = last.place;
            raw.last_error_errcode = last.code;
        }
    }
}
