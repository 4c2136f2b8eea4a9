//! Mounting, remounting, unmounting.

use crate::buffer::BufferCache;
use crate::device::BlockDevice;
use crate::error::Errors;
use crate::features::{Compat, Incompat, RoCompat};
use crate::fs::Filesystem;
use crate::geometry::Geometry;
use crate::inode::cache::InodeCache;
use crate::journal::{JournalMap, JournalOptions, Run, Transactions, discard, recover};
use crate::layout::superblock::{RawSuperblock, STATE_ERROR, STATE_VALID, SUPER_MAGIC};
use crate::log::{Level, Log};
use crate::map::ExtentState;
use crate::options::{DataMode, ErrorsMode, MountOptions};
use crate::superblock::{SuperState, read_super};
use crate::{Result, balloc, group, ialloc, map, sync};
use abi::errno::{EINVAL, EROFS, EUCLEAN};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// How much of a file system is put together.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Enough to find the journal: metadata may be out of date.
    Journal,
    /// All of it.
    Full,
}

impl Filesystem {
    /// Mounts. The reason of a failure is logged.
    ///
    /// # Errors
    /// EINVAL: no ext2, ext3 or ext4, or one that this crate does not handle; EUCLEAN, EBADMSG: damaged; EROFS: the
    /// device is read-only but would have to be written; EIO.
    pub fn mount(
        device: Arc<dyn BlockDevice>,
        options: &MountOptions,
        log: Arc<dyn Log>,
    ) -> Result<Arc<Filesystem>> {
        let mut options = options.clone();
        if !options.read_only && device.is_readonly() {
            return Err(EROFS);
        }
        let mut raw = read_super(&*device)?;
        if raw.feature_ro_compat.get() & RoCompat::READONLY.bits() != 0 && !options.read_only {
            log.log(Level::Info, format_args!("filesystem is marked read-only: mounting read-only"));
            options.read_only = true;
        }
        let mut geometry = Geometry::from_superblock(&raw, device.len(), !options.read_only, &*log)?;
        let recovery = geometry.features.incompat.contains(Incompat::RECOVER);
        let mut journal = None;
        let mut damaged = false;
        if geometry.features.has_journal() && !options.noload {
            let (map, runs) = journal_map(&device, &geometry, &raw, &options, &log)?;
            if recovery {
                damaged = recover(&*device, &map, &*log)?.damaged;
                raw = read_super(&*device)?;
                geometry = Geometry::from_superblock(&raw, device.len(), !options.read_only, &*log)?;
            } else {
                discard(&*device, &map, &*log)?;
            }
            journal = Some((map, runs));
        } else if recovery && !options.read_only {
            log.log(
                Level::Error,
                format_args!("required journal recovery suppressed and not mounted read-only"),
            );
            return Err(EINVAL);
        }
        if journal.is_none() && options.data != DataMode::Ordered {
            log.log(Level::Error, format_args!("can't mount with data=, fs mounted w/o journal"));
            return Err(EINVAL);
        }
        let fs = Self::assemble(Stage::Full, &device, geometry, &raw, &options, &log, journal)?;
        balloc::load(&fs)?;
        ialloc::load(&fs)?;
        if damaged {
            fs.super_state.lock().error.note();
            log.log(Level::Error, format_args!("the journal was damaged: running e2fsck is recommended"));
        }
        fs.root()?;
        if !options.read_only {
            fs.start_writing()?;
        }
        Ok(fs)
    }

    /// The options that apply when a mount gives none: Linux's, then those in the superblock (tune2fs -o, -E
    /// mount_opts=). [`MountOptions::parse`] on top of them gives what mount(2) means.
    pub fn default_options(device: &dyn BlockDevice, log: &dyn Log) -> Result<MountOptions> {
        const WORDS: [(u32, &str); 3] = [(0x2, "grpid"), (0x100, "nobarrier"), (0x400, "discard")];
        let raw = read_super(device)?;
        if raw.magic.get() != SUPER_MAGIC {
            return Err(EINVAL);
        }
        let mut options = MountOptions::default();
        let defaults = raw.default_mount_opts.get();
        if raw.feature_compat.get() & Compat::HAS_JOURNAL.bits() != 0 {
            options.data = match defaults & 0x60 {
                0x20 => DataMode::Journal,
                0x60 => DataMode::Writeback,
                _ => DataMode::Ordered,
            };
        }
        for (_, word) in WORDS.iter().filter(|(flag, _)| defaults & flag != 0) {
            options.parse(word)?;
        }
        let end = raw.mount_opts.iter().position(|&byte| byte == 0).unwrap_or(raw.mount_opts.len());
        let mut more = options.clone();
        match core::str::from_utf8(&raw.mount_opts[..end]).map(|list| more.parse(list)) {
            Ok(Ok(())) => options = more,
            _ => log.log(Level::Warning, format_args!("failed to parse options in superblock")),
        }
        Ok(options)
    }

    fn assemble(
        stage: Stage,
        device: &Arc<dyn BlockDevice>,
        geometry: Geometry,
        raw: &RawSuperblock,
        options: &MountOptions,
        log: &Arc<dyn Log>,
        journal: Option<(JournalMap, Vec<Run>)>,
    ) -> Result<Arc<Filesystem>> {
        let cache = Arc::new(BufferCache::new(device.clone(), geometry.block_size));
        let group_descs = group::load(&geometry, &cache)?;
        let (system_zone, overhead) = match stage {
            Stage::Journal => (Vec::new(), 0),
            Stage::Full => {
                group::check(&geometry, &group_descs, !options.read_only, &**log)?;
                let runs = journal.as_ref().map_or(&[][..], |(_, runs)| runs);
                group::system_zone(&geometry, &group_descs, runs)
            }
        };
        let transactions = match journal {
            Some((map, _)) => {
                let journal_options = JournalOptions {
                    checksum: match geometry.features.metadata_csum() {
                        true => 3,
                        false => u8::from(options.journal_checksum),
                    },
                    wide: geometry.features.incompat.contains(Incompat::BIT64),
                    barrier: options.barrier,
                };
                Transactions::with_journal(cache.clone(), log.clone(), map, &journal_options)?
            }
            None => Transactions::without_journal(cache.clone(), log.clone()),
        };
        transactions.set_commit_interval(u64::from(options.commit_interval));
        let super_buffer = cache.read(geometry.first_data_block)?;
        let errors = options.errors.unwrap_or(match raw.errors.get() {
            2 => ErrorsMode::RemountRo,
            3 => ErrorsMode::Panic,
            _ => ErrorsMode::Continue,
        });
        Ok(Arc::new(Filesystem {
            device: device.clone(),
            transactions,
            options: parking_lot::RwLock::new(options.clone()),
            log: log.clone(),
            balloc: balloc::Allocator::new(&geometry),
            ialloc: ialloc::Allocator::new(&geometry),
            xattr_blocks: Default::default(),
            xattr_dying: Default::default(),
            inodes: InodeCache::new(),
            orphans: Default::default(),
            errors: Errors::new(errors),
            rename_lock: sync::RwLock::new(()),
            super_buffer,
            super_state: parking_lot::Mutex::new(SuperState::from_raw(raw)),
            group_descs,
            system_zone,
            overhead,
            read_only: AtomicBool::new(true),
            dead: AtomicBool::new(false),
            generation: AtomicU32::new(log.now().tv_nsec as u32),
            hash_seed: Default::default(),
            cache,
            geometry,
        }))
    }

    /// From read-only to writable.
    fn start_writing(self: &Arc<Self>) -> Result<()> {
        let state = self.super_state.lock().mount_state;
        if state & STATE_ERROR != 0 {
            self.log
                .log(Level::Warning, format_args!("mounting fs with errors, running e2fsck is recommended"));
        } else if state & STATE_VALID == 0 {
            self.log
                .log(Level::Warning, format_args!("mounting unchecked fs, running e2fsck is recommended"));
        }
        {
            let mut state = self.super_state.lock();
            state.mnt_count = state.mnt_count.saturating_add(1);
            state.mtime = self.log.now().tv_sec as u64;
        }
        self.write_super_mounted()?;
        self.read_only.store(false, Ordering::Relaxed);
        self.recover_orphans()?;
        if self.orphans.has_file() {
            self.write_super_mounted()?;
        }
        Ok(())
    }

    /// From writable to read-only; nobody may be writing.
    fn stop_writing(&self) -> Result<()> {
        self.write_pending_error();
        if self.is_read_only() {
            return Ok(());
        }
        crate::xattr::reap(self);
        self.transactions.close()?;
        self.read_only.store(true, Ordering::Relaxed);
        self.write_super_clean()
    }

    /// mount(2) with MS_REMOUNT: takes over `options`. The caller has seen to it that nobody writes when it becomes
    /// read-only. EROFS if writing isn't possible, EINVAL for what can't be changed.
    pub fn remount(self: &Arc<Self>, options: &MountOptions) -> Result<()> {
        if options.data != self.options.read().data || options.noload != self.options.read().noload {
            return Err(EINVAL);
        }
        let was_read_only = self.options.read().read_only;
        match (was_read_only, options.read_only) {
            (false, true) => self.stop_writing()?,
            (true, false) => {
                let unjournaled = self.geometry.features.has_journal() && !self.transactions.has_journal();
                let marked = self.geometry.features.ro_compat.contains(RoCompat::READONLY);
                if self.device.is_readonly() || self.transactions.is_aborted() || unjournaled || marked {
                    return Err(EROFS);
                }
                let raw = read_super(&*self.device)?;
                Geometry::from_superblock(&raw, self.device.len(), true, &*self.log)?;
                group::check(&self.geometry, &self.group_descs, true, &*self.log)?;
                self.start_writing()?;
            }
            _ => {}
        }
        if let Some(mode) = options.errors {
            self.errors.set_mode(mode);
        }
        self.transactions.set_commit_interval(u64::from(options.commit_interval));
        *self.options.write() = options.clone();
        Ok(())
    }

    /// Unmounts: everything is in its place and the file system is marked clean. Inodes that are still held become
    /// useless; unlinked ones among them are deleted by the next mount.
    pub fn unmount(&self) -> Result<()> {
        if self.dead.load(Ordering::Relaxed) {
            return Ok(());
        }
        let result = self.stop_writing();
        self.read_only.store(true, Ordering::Relaxed);
        self.dead.store(true, Ordering::Relaxed);
        result
    }
}

/// The most blocks of a journal that mke2fs makes.
const JOURNAL_MAX: u32 = 10_240_000;

/// Where the journal's blocks are.
fn journal_map(
    device: &Arc<dyn BlockDevice>,
    geometry: &Geometry,
    raw: &RawSuperblock,
    options: &MountOptions,
    log: &Arc<dyn Log>,
) -> Result<(JournalMap, Vec<Run>)> {
    let ino = raw.journal_inum.get();
    if ino == 0 {
        log.log(Level::Error, format_args!("couldn't mount: an external journal is not supported"));
        return Err(EINVAL);
    }
    let options = MountOptions { errors: Some(ErrorsMode::Continue), ..options.clone() };
    let fs = Filesystem::assemble(Stage::Journal, device, geometry.clone(), raw, &options, log, None)?;
    let inode = fs.load_inode(ino, false).inspect_err(|_| {
        log.log(Level::Error, format_args!("no journal found"));
    })?;
    let state = inode.state.read();
    let blocks = u32::try_from(state.size >> geometry.block_bits).map_err(|_| EUCLEAN)?;
    if blocks > JOURNAL_MAX || u64::from(blocks) > geometry.blocks_count {
        log.log(Level::Error, format_args!("journal inode {ino} is too large"));
        return Err(EUCLEAN);
    }
    let mut runs = Vec::new();
    let mut at = 0;
    while at < blocks {
        let extent = map::lookup(&inode, &state, at, blocks - at)?;
        if !state.is_file() || extent.state != ExtentState::Written || extent.len == 0 {
            log.log(Level::Error, format_args!("journal inode {ino} has a hole"));
            return Err(EUCLEAN);
        }
        runs.push(Run { physical: extent.pblk, len: extent.len });
        at += extent.len;
    }
    Ok((JournalMap::new(&runs, geometry.block_size, device.len())?, runs))
}
