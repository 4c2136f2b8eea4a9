//! ext2, ext3 and ext4 on a block device: the `ext4` library under this kernel's VFS and page cache.
//!
//! - [`Volume`] (here): a mounted file system, its types and its super block. `platform.rs`: what the library needs.
//! - `node.rs`: inodes. `xattr.rs`: their attributes of any name. `acl.rs`: access control lists. `data.rs`: contents, for the page cache.
//! - `file.rs`: open files. `dir.rs`: open directories. `ioctl.rs`: chattr(1), fstrim(8), filefrag(8), fsfreeze(8).
//!
//! The page cache owns a file's length in memory; the library's follows as pages are written. One VFS inode for each
//! number is kept in `inodes`, and its page cache beside it, which may outlive it while pages are dirty.
//!
//! Locks: the VFS's (rwsem of directories and files) → the page cache's `io` → the library's own. INODE_TABLE guards the
//! table of inodes; MOUNTED (sleeping) the list of volumes.

mod acl;
mod data;
mod dir;
mod file;
mod ioctl;
mod node;
mod platform;
mod xattr;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Weak};

use abi::Result;
use abi::errno::{EACCES, EBUSY, EINVAL, EROFS};
use abi::mount::{MS_DIRSYNC, MS_RDONLY, MS_SYNCHRONOUS};
use abi::stat::Statfs;
use ext4::{DataMode, ErrorsMode, Filesystem, MountOptions};

use crate::block::{self, BlockDevice};
use crate::mm::filemap::{PageCache, writeback};
use crate::mm::oom;
use crate::sync::{Mutex, SpinLock, WaitQueue, rank};
use crate::task::Cred;
use crate::task::kthread::{self, KThread, KThreadCtx};
use crate::vfs::{FsType, Inode, SuperBlock, SuperOps, register_filesystem};

const fn fs_type(name: &'static str) -> FsType {
    FsType { name, nodev: false, cache_negative: true, mount }
}

/// ext4
pub static EXT4: FsType = fs_type("ext4");
/// ext3: with a journal, without ext4's features.
pub static EXT3: FsType = fs_type("ext3");
/// ext2: without a journal.
pub static EXT2: FsType = fs_type("ext2");

const EXT4_SUPER_MAGIC: i64 = 0xef53;
/// Commits come this often where nothing else is said, seconds.
const COMMIT_INTERVAL: u32 = 5;

/// Makes the types known.
pub fn register() {
    // As Linux orders them: a root whose type is not given is tried as each.
    for fs_type in [&EXT3, &EXT2, &EXT4] {
        register_filesystem(fs_type);
    }
    ext4::sync::set_platform(&platform::Fibers);
    oom::register_shrinker(oom::Shrinker { held: buffer_bytes, shrink: shrink_buffers, in_call: false });
}

/// A mounted file system.
pub struct Volume {
    pub(in crate::fs::ext4) fs: Arc<Filesystem>,
    bdev: Arc<BlockDevice>,
    /// VFS inodes and page caches by number.
    inodes: SpinLock<HashMap<u32, Known>>,
    /// Something may wait for a commit.
    dirty: AtomicBool,
    commit_queue: WaitQueue,
    commit_thread: SpinLock<Option<KThread>>,
    frozen: Mutex<bool>,
    /// Files opened since the mount, for the sweep of the table.
    loads: AtomicU64,
}

#[derive(Default)]
struct Known {
    inode: Weak<Inode>,
    cache: Weak<PageCache>,
}

/// Super blocks by device number.
type Mounted = Vec<(u64, Weak<SuperBlock>)>;

static MOUNTED: LazyLock<Mutex<Mounted>> = LazyLock::new(|| Mutex::new(Vec::new()));
/// For the shrinker, which may not wait.
static VOLUMES: SpinLock<Vec<Weak<Volume>>> = SpinLock::new(rank::LEAF, Vec::new());

fn volumes() -> Vec<Arc<Volume>> {
    VOLUMES.lock().iter().filter_map(Weak::upgrade).collect()
}

fn buffer_bytes() -> u64 {
    volumes().iter().map(|v| v.fs.buffers().bytes() as u64).sum()
}

fn shrink_buffers(wanted: u64) -> u64 {
    let mut freed = 0;
    for volume in volumes() {
        if freed < wanted {
            freed += volume.fs.buffers().shrink((wanted - freed) as usize) as u64;
        }
    }
    freed
}

fn mount(fs_type: &'static FsType, source: &[u8], flags: u32, data: &[u8]) -> Result<Arc<SuperBlock>> {
    let bdev = block::by_path(source)?;
    let read_only = u64::from(flags) & MS_RDONLY != 0;
    let mut mounted = MOUNTED.lock();
    mounted.retain(|(_, sb)| sb.strong_count() > 0);
    if let Some(sb) = mounted.iter().find(|(dev, _)| *dev == bdev.dev).and_then(|(_, sb)| sb.upgrade())
        && sb.root().is_ok()
    {
        // The same file system in another place.
        if !core::ptr::eq(sb.fs_type, fs_type) || sb.is_readonly() != read_only {
            return Err(EBUSY);
        }
        return Ok(sb);
    }
    if bdev.is_readonly() && !read_only {
        return Err(EACCES);
    }
    check_type(fs_type, &bdev, read_only)?;
    let options = options(MountOptions::default(), flags, data)?;
    let claim = bdev.claim()?;
    let disk = Arc::new(platform::Disk(claim));
    let messages = Arc::new(platform::Messages(bdev.name.clone()));
    let fs = Filesystem::mount(disk, &options, messages)?;
    let volume = Arc::new(Volume {
        fs,
        bdev: bdev.clone(),
        inodes: SpinLock::new(rank::INODE_TABLE, HashMap::new()),
        dirty: AtomicBool::new(false),
        commit_queue: WaitQueue::new(),
        commit_thread: SpinLock::new(rank::LEAF, None),
        frozen: Mutex::new(false),
        loads: AtomicU64::new(0),
    });
    let sb = SuperBlock::new(fs_type, bdev.dev, source, Box::new(Super(volume.clone())));
    if volume.fs.is_read_only() {
        sb.flags.fetch_or(MS_RDONLY as u32, Ordering::SeqCst);
    }
    let root = volume.fs.root().and_then(|root| volume.inode(&sb, root));
    let root = match root {
        Ok(root) => root,
        Err(errno) => {
            // Whatever stands in the way of that: the first error is the one to tell.
            let _ = volume.fs.unmount();
            return Err(errno);
        }
    };
    sb.set_root(root);
    volume.start_commits();
    VOLUMES.lock().push(Arc::downgrade(&volume));
    mounted.push((bdev.dev, Arc::downgrade(&sb)));
    drop(mounted);
    crate::pr_info!(
        "EXT4-fs ({}): mounted filesystem {} {} with {}. Quota mode: none.",
        bdev.name,
        volume.uuid(),
        if volume.fs.is_read_only() { "ro" } else { "r/w" },
        volume.data_mode(),
    );
    Ok(sb)
}

/// MS_* and the option string on top of `options`.
fn options(mut options: MountOptions, flags: u32, data: &[u8]) -> Result<MountOptions> {
    let text = core::str::from_utf8(data).map_err(|_| EINVAL)?;
    options.parse(text)?;
    let flags = u64::from(flags);
    options.read_only = flags & MS_RDONLY != 0;
    options.sync |= flags & MS_SYNCHRONOUS != 0;
    options.dirsync |= flags & MS_DIRSYNC != 0;
    Ok(options)
}

/// What older drivers would not take is refused under their names, as Linux's ext4 does when it stands in for them.
/// EINVAL, also for what is no such file system at all.
fn check_type(fs_type: &FsType, bdev: &BlockDevice, read_only: bool) -> Result<()> {
    const FILETYPE_RECOVER_META_BG: u32 = 0x2 | 0x4 | 0x10;
    const SPARSE_LARGE_BTREE: u32 = 0x1 | 0x2 | 0x4;
    const HAS_JOURNAL: u32 = 0x4;
    let mut raw = [0; 1024];
    if bdev.len() < 2048 {
        return Err(EINVAL);
    }
    bdev.read(1024, &mut raw)?;
    let word = |at: usize| u32::from_le_bytes([raw[at], raw[at + 1], raw[at + 2], raw[at + 3]]);
    if raw[56..58] != [0x53, 0xef] {
        return Err(EINVAL);
    }
    let (compat, incompat, ro_compat) = (word(92), word(96), word(100));
    let old =
        incompat & !FILETYPE_RECOVER_META_BG == 0 && (read_only || ro_compat & !SPARSE_LARGE_BTREE == 0);
    let journal = compat & HAS_JOURNAL != 0;
    let fits = match fs_type.name {
        "ext2" => old && !journal,
        "ext3" => old && journal,
        _ => true,
    };
    if fits { Ok(()) } else { Err(EINVAL) }
}

impl Volume {
    /// Name of the disk.
    fn name(&self) -> &str {
        &self.bdev.name
    }

    /// Device number: names its page caches.
    fn dev(&self) -> u64 {
        self.bdev.dev
    }

    fn uuid(&self) -> String {
        let hex = |part: &[u8]| part.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let uuid = &self.fs.geometry().uuid;
        [&uuid[..4], &uuid[4..6], &uuid[6..8], &uuid[8..10], &uuid[10..]].map(hex).join("-")
    }

    fn data_mode(&self) -> &'static str {
        if !self.fs.geometry().features.has_journal() {
            return "no journal";
        }
        match self.fs.data_mode() {
            DataMode::Ordered => "ordered data mode",
            DataMode::Writeback => "writeback data mode",
            DataMode::Journal => "journalled data mode",
        }
    }

    fn may_use_reserve(&self, cred: &Cred) -> bool {
        let options = self.fs.options();
        cred.capable(abi::cred::CAP_SYS_RESOURCE)
            || options.resuid.is_some_and(|uid| uid == cred.fsuid)
            || options.resgid.is_some_and(|gid| gid != 0 && cred.in_group(gid))
    }

    /// EROFS where nothing may be written.
    fn writable(&self) -> Result<()> {
        if self.fs.is_read_only() { Err(EROFS) } else { Ok(()) }
    }

    /// Something was changed: it is committed before long.
    fn changed(&self) {
        if !self.dirty.swap(true, Ordering::SeqCst) {
            self.commit_queue.wake_all();
        }
    }

    /// The VFS inode of a library's inode: always the same while anybody has it.
    fn inode(self: &Arc<Self>, sb: &Arc<SuperBlock>, inode: Arc<ext4::Inode>) -> Result<Arc<Inode>> {
        let ino = inode.ino();
        if let Some(found) = self.inodes.lock().get(&ino).and_then(|known| known.inode.upgrade()) {
            return Ok(found);
        }
        let cache = self.inodes.lock().get(&ino).and_then(|known| known.cache.upgrade());
        let made = node::make(self, sb, inode, cache)?;
        let mut dead = Vec::new();
        let answer = {
            let mut inodes = self.inodes.lock();
            let known = inodes.entry(ino).or_default();
            match known.inode.upgrade() {
                // Another task was faster.
                Some(found) => {
                    dead.push(made);
                    found
                }
                None => {
                    known.inode = Arc::downgrade(&made);
                    known.cache = node::Node::of(&made).cache().map_or_else(Weak::new, Arc::downgrade);
                    made
                }
            }
        };
        if self.loads.fetch_add(1, Ordering::Relaxed).is_multiple_of(1024) {
            self.sweep();
        }
        drop(dead);
        Ok(answer)
    }

    /// Takes out of the table what nobody has any more.
    fn sweep(&self) {
        self.inodes
            .lock()
            .retain(|_, known| known.inode.strong_count() > 0 || known.cache.strong_count() > 0);
    }

    fn start_commits(self: &Arc<Self>) {
        if self.fs.is_read_only() || self.commit_thread.lock().is_some() {
            return;
        }
        let name = match self.fs.geometry().features.has_journal() {
            true => format!("jbd2/{}-8", self.name()),
            false => format!("ext4/{}", self.name()),
        };
        let volume = Arc::downgrade(self);
        match kthread::kthread(&name, move |ctx| commit_loop(ctx, &volume)) {
            Ok(thread) => *self.commit_thread.lock() = Some(thread),
            Err(errno) => crate::pr_err!("EXT4-fs ({}): no commit thread: {errno}", self.name()),
        }
    }

    fn stop_commits(&self) {
        let thread = self.commit_thread.lock().take();
        if let Some(thread) = thread {
            thread.stop();
        }
    }

    /// Writes everything, durably.
    fn sync(&self) -> Result<()> {
        let written = writeback::write_group(self.dev());
        written.and(self.fs.sync())
    }

    /// FIFREEZE: EBUSY if it is frozen already.
    fn freeze(&self) -> Result<()> {
        let mut frozen = self.frozen.lock();
        if *frozen {
            return Err(EBUSY);
        }
        writeback::write_group(self.dev())?;
        self.fs.freeze()?;
        *frozen = true;
        Ok(())
    }

    /// FITHAW: EINVAL if it isn't frozen.
    fn thaw(&self) -> Result<()> {
        let mut frozen = self.frozen.lock();
        if !*frozen {
            return Err(EINVAL);
        }
        self.fs.thaw()?;
        *frozen = false;
        Ok(())
    }
}

/// Commits what is older than `commit=`. Sleeps for good while nothing changes.
fn commit_loop(ctx: &KThreadCtx, volume: &Weak<Volume>) {
    while !ctx.should_stop() {
        let Some(queue) = volume.upgrade().map(|v| v.commit_queue.clone()) else { return };
        let is_dirty = || volume.upgrade().is_some_and(|v| v.dirty.load(Ordering::SeqCst));
        if !ctx.wait(None, &[&queue], is_dirty) {
            continue;
        }
        let Some(interval) = volume.upgrade().map(|v| {
            v.dirty.store(false, Ordering::SeqCst);
            match v.fs.options().commit_interval {
                0 => COMMIT_INTERVAL,
                seconds => seconds,
            }
        }) else {
            return;
        };
        let deadline = host::clock::monotonic() + u64::from(interval) * 1_000_000_000;
        ctx.wait(Some(deadline), &[], || false);
        if let Some(volume) = volume.upgrade()
            && let Err(errno) = volume.fs.tick(host::clock::monotonic())
        {
            crate::pr_err!("EXT4-fs ({}): commit failed: {errno}", volume.name());
        }
    }
}

/// The machine ends: every volume is left clean on its disk, whoever still has files open.
pub fn shutdown() {
    // What was mounted last may lie in a file of what was mounted before.
    for volume in volumes().into_iter().rev() {
        if volume.fs.is_read_only() || *volume.frozen.lock() {
            continue;
        }
        if let Err(errno) = volume.freeze() {
            crate::pr_err!("EXT4-fs ({}): writing back at the end failed: {errno}", volume.name());
        }
    }
}

/// The super block's part.
struct Super(Arc<Volume>);

/// The volume of a super block of this file system.
///
/// # Panics
/// For another's; the VFS never mixes them.
fn volume_of(sb: &SuperBlock) -> &Arc<Volume> {
    &sb.ops_as::<Super>().expect("a super block of ext4").0
}

impl SuperOps for Super {
    fn statfs(&self, sb: &SuperBlock) -> Result<Statfs> {
        let stat = self.0.fs.statfs();
        let readonly = if sb.is_readonly() { MS_RDONLY as i64 } else { 0 };
        Ok(Statfs {
            f_type: EXT4_SUPER_MAGIC,
            f_bsize: i64::from(stat.block_size),
            f_frsize: i64::from(stat.block_size),
            f_blocks: stat.blocks,
            f_bfree: stat.blocks_free,
            f_bavail: stat.blocks_available,
            f_files: stat.files,
            f_ffree: stat.files_free,
            f_fsid: [stat.fsid as i32, (stat.fsid >> 32) as i32],
            f_namelen: 255,
            f_flags: readonly,
            ..Default::default()
        })
    }

    fn sync(&self, _: &SuperBlock) -> Result<()> {
        if self.0.fs.is_read_only() { Ok(()) } else { self.0.sync() }
    }

    fn remount(&self, _: &SuperBlock, flags: u32, data: &[u8]) -> Result<()> {
        let volume = &self.0;
        let mut base = volume.fs.options();
        base.sync = false;
        let options = options(base, flags, data)?;
        if volume.bdev.is_readonly() && !options.read_only {
            return Err(EROFS);
        }
        if options.read_only {
            volume.stop_commits();
        }
        let outcome = volume.fs.remount(&options);
        volume.start_commits();
        outcome
    }

    fn show_options(&self, _: &SuperBlock) -> String {
        let options = self.0.fs.options();
        let mut text = String::new();
        let mut add = |on: bool, word: &str| {
            if on {
                text.push(',');
                text.push_str(word);
            }
        };
        add(options.errors == Some(ErrorsMode::RemountRo), "errors=remount-ro");
        add(options.errors == Some(ErrorsMode::Panic), "errors=panic");
        add(options.errors == Some(ErrorsMode::Continue), "errors=continue");
        add(!options.barrier, "nobarrier");
        add(options.discard, "discard");
        add(options.noload, "norecovery");
        add(options.grpid, "grpid");
        add(!options.acl, "noacl");
        add(!options.user_xattr, "nouser_xattr");
        add(options.commit_interval != 0, &format!("commit={}", options.commit_interval));
        add(options.resuid.is_some(), &format!("resuid={}", options.resuid.unwrap_or(0)));
        add(options.resgid.is_some(), &format!("resgid={}", options.resgid.unwrap_or(0)));
        let journal = self.0.fs.geometry().features.has_journal();
        add(journal && self.0.fs.data_mode() == DataMode::Writeback, "data=writeback");
        add(journal && self.0.fs.data_mode() == DataMode::Journal, "data=journal");
        text
    }

    fn umount(&self, _: &SuperBlock) {
        let volume = &self.0;
        if *volume.frozen.lock() {
            // A frozen file system is clean, and thaws as it goes.
            let _ = volume.thaw();
        }
        volume.stop_commits();
        volume.sweep();
        if let Err(errno) = volume.fs.unmount() {
            crate::pr_err!("EXT4-fs ({}): unmount failed: {errno}", volume.name());
        }
        crate::pr_info!("EXT4-fs ({}): unmounting filesystem {}.", volume.name(), volume.uuid());
    }
}
