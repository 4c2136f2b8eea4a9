//! Guest memory.
//!
//! - [`Mm`] (here): an address space, and [`Mm::change`], the one way to change it.
//! - `vma.rs`: what is mapped where, the truth that the host's maps follow.
//! - `mmap.rs`, `mprotect.rs`, `mremap.rs`, `madvise.rs`, `mlock.rs`, `msync.rs`: the syscalls.
//! - `fault.rs`: page faults and growing stacks. `paged.rs`: mapped files that are only partly in memory;
//!   `reclaim.rs`: taking their pages back.
//! - `access.rs`: the kernel's own copies. `remote.rs`: other processes'.
//! - `filemap/`: the page cache of files on disks.
//! - `patch.rs`: text that is mapped from a patched copy (see `fastpath`).
//! - `overcommit.rs`, `account.rs`, `oom.rs`: how much memory there is. `shm.rs`: System V. `info.rs`: what /proc shows.
//!
//! Lock: `mmap_lock`, a sleeping lock a mm, over VMAs and layout. Files are asked to map before it is taken, and let go
//! after it is released: their own locks may be held by a copy that waits for it.
//!
//! A change is made in the VMA list and told to the stub as host operations. With one thread they are deferred: they
//! travel with the resume of the guest, and cost no handoff of their own. Where several threads share the mm, or the
//! result is needed, they are done at once, under `mmap_lock`, because another thread's must not overtake them. An
//! [`Undo`] keeps what the list was, in case the host refuses.

mod access;
pub mod account;
mod fault;
pub mod filemap;
pub mod info;
pub mod kmem;
pub mod madvise;
pub mod mlock;
pub mod mmap;
pub mod mprotect;
pub mod mremap;
pub mod msync;
pub mod oom;
pub mod overcommit;
pub mod paged;
mod patch;
mod reclaim;
pub mod remote;
pub mod shm;
pub mod vma;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use abi::errno::ESRCH;
use abi::{Errno, Result};
use host::stub::{AddressSpace, MemOp, StubThread, TASK_SIZE};

pub use access::send_late;
pub use fault::handle_fault;
pub use info::{MmStat, VM_FLAG_NAMES, VmaInfo};
pub use oom::{MemInfo, meminfo};
pub use vma::{Backing, VmFlags, Vma, VmaSet};

use crate::sync::{Mutex, MutexGuard, SpinLock, rank};
use crate::task::{Task, current};
use crate::vfs::File;

/// Lowest address that may be mapped: /proc/sys/vm/mmap_min_addr.
pub const MMAP_MIN_ADDR: u64 = 65536;
/// Most VMAs of a process: /proc/sys/vm/max_map_count. Below the host's own, which the stub's pages count in too.
pub const MAX_MAP_COUNT: usize = 65530 - 64;

/// An address space.
pub struct Mm {
    /// The stub process that holds it.
    pub space: Arc<AddressSpace>,
    /// Names it for private futexes; never used twice.
    pub id: u64,
    inner: Mutex<MmInner>,
    /// Tasks that run in it.
    users: AtomicUsize,
    /// Largest resident set seen, bytes.
    hiwater_rss: AtomicU64,
    /// Copies that the next resume makes, and whether there are any.
    late: SpinLock<access::Late>,
    late_pending: AtomicBool,
    /// Numbers of its threads that run at this moment.
    pub cids: Arc<crate::task::rseq::Cids>,
    /// The last fault that found nothing to mend.
    stuck: SpinLock<fault::Stuck>,
}

/// What `mmap_lock` guards.
#[derive(Clone, Default)]
pub struct MmInner {
    /// What is mapped.
    pub vmas: VmaSet,
    /// Where things are.
    pub layout: Layout,
    /// mlockall(MCL_FUTURE): flags of new VMAs.
    pub def_flags: Option<VmFlags>,
    /// The program, /proc/PID/exe.
    pub exe: Option<Arc<ExeFile>>,
    /// The auxiliary vector, for /proc/PID/auxv.
    pub auxv: Arc<[u64]>,
    charge: overcommit::Charge,
    /// Largest sum of all VMAs seen, bytes.
    hiwater_vm: u64,
}

/// Addresses that execve(2) settles; prctl(PR_SET_MM) changes them.
#[derive(Clone, Copy, Debug, Default)]
#[expect(missing_docs, reason = "names of mm_struct; ends are exclusive")]
pub struct Layout {
    pub mmap_base: u64,
    pub start_code: u64,
    pub end_code: u64,
    pub start_data: u64,
    pub end_data: u64,
    pub start_brk: u64,
    pub brk: u64,
    pub start_stack: u64,
    pub arg_start: u64,
    pub arg_end: u64,
    pub env_start: u64,
    pub env_end: u64,
    /// Where the vDSO's ELF header is; 0 for none.
    pub vdso: u64,
}

/// The program that a process runs: while it does, nobody may open it for writing.
pub struct ExeFile {
    /// The open file.
    pub file: Arc<File>,
}

impl ExeFile {
    /// Denies write access until it is dropped. ETXTBSY.
    pub fn new(file: Arc<File>) -> Result<Arc<ExeFile>> {
        file.inode().deny_write_access()?;
        Ok(Arc::new(ExeFile { file }))
    }
}

impl Drop for ExeFile {
    fn drop(&mut self) {
        self.file.inode().allow_write_access();
    }
}

/// A change that the host has not confirmed, and how to take it back.
pub struct Undo {
    start: u64,
    end: u64,
    /// What was mapped there.
    old: Vec<Vma>,
    /// How many host operations belong to it.
    ops: usize,
    /// brk(2) answers the old break instead of an error.
    brk: Option<u64>,
}

/// Deferred changes of a task.
pub struct UndoLog {
    pending: AtomicBool,
    entries: SpinLock<Vec<Undo>>,
}

impl Default for UndoLog {
    fn default() -> Self {
        UndoLog { pending: AtomicBool::new(false), entries: SpinLock::new(rank::LEAF, Vec::new()) }
    }
}

impl UndoLog {
    /// Whether the host has operations of the task still to do.
    pub fn is_pending(&self) -> bool {
        self.pending.load(Ordering::Relaxed)
    }
}

/// Host operations of one change, with what undoes them.
#[derive(Default)]
pub struct Changes {
    undo: Vec<Undo>,
    ops: Vec<MemOp>,
    now: bool,
}

impl Changes {
    /// Replaces what is mapped in `start..end` by `new`, and orders `ops` of the host.
    pub fn replace(
        &mut self,
        inner: &mut MmInner,
        (start, end): (u64, u64),
        new: impl IntoIterator<Item = Vma>,
        ops: impl IntoIterator<Item = MemOp>,
    ) {
        self.unpatch(inner, (start, end), true);
        let old = inner.vmas.remove(start, end);
        for vma in new {
            inner.vmas.insert(vma);
        }
        let before = self.ops.len();
        self.ops.extend(ops);
        self.undo.push(Undo { start, end, old, ops: self.ops.len() - before, brk: None });
    }

    /// Changes each VMA of `start..end` by `edit`, and orders `ops`.
    pub fn edit(
        &mut self,
        inner: &mut MmInner,
        (start, end): (u64, u64),
        edit: impl Fn(&mut Vma),
        ops: impl IntoIterator<Item = MemOp>,
    ) {
        let becomes_writable = |vma: &Vma| {
            let mut after = vma.clone();
            edit(&mut after);
            after.flags.contains(VmFlags::WRITE)
        };
        if inner.vmas.overlapping(start, end).any(|vma| vma.patched().is_some() && becomes_writable(vma)) {
            self.unpatch(inner, (start, end), false);
        }
        let old = inner.vmas.remove(start, end);
        for mut vma in old.iter().cloned() {
            edit(&mut vma);
            inner.vmas.insert(vma);
        }
        let before = self.ops.len();
        self.ops.extend(ops);
        self.undo.push(Undo { start, end, old, ops: self.ops.len() - before, brk: None });
    }

    /// Orders a host operation that changes no VMA.
    pub fn op(&mut self, op: MemOp) {
        self.ops.push(op);
        self.undo.push(Undo { start: 0, end: 0, old: Vec::new(), ops: 1, brk: None });
    }

    /// The last change moved the break from `old`.
    pub fn moves_brk_from(&mut self, old: u64) {
        if let Some(undo) = self.undo.last_mut() {
            undo.brk = Some(old);
        }
    }

    /// The host does it before the change returns, and its error is the change's.
    pub fn now(&mut self) {
        self.now = true;
    }
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

impl Mm {
    /// An address space that `inner` describes and no task uses yet.
    pub fn new(space: Arc<AddressSpace>, mut inner: MmInner) -> Arc<Mm> {
        inner.settle();
        Arc::new(Mm {
            space,
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            inner: Mutex::new(inner),
            users: AtomicUsize::new(0),
            hiwater_rss: AtomicU64::new(0),
            late: SpinLock::new(rank::LEAF, access::Late::default()),
            late_pending: AtomicBool::new(false),
            cids: Arc::default(),
            stuck: SpinLock::new(rank::LEAF, fault::Stuck::default()),
        })
    }

    /// Takes `mmap_lock`.
    pub fn lock(&self) -> MutexGuard<'_, MmInner> {
        self.inner.lock()
    }

    /// A task begins to use it.
    pub fn add_user(&self) {
        self.users.fetch_add(1, Ordering::SeqCst);
    }

    /// A task no longer uses it.
    pub fn remove_user(&self) {
        self.users.fetch_sub(1, Ordering::SeqCst);
    }

    /// Tasks that run in it.
    pub fn users(&self) -> usize {
        self.users.load(Ordering::SeqCst)
    }

    /// Whether the current task runs in it.
    pub fn is_current(&self) -> bool {
        let mm = crate::task::try_current().and_then(|t| t.mm().ok());
        mm.is_some_and(|mm| core::ptr::eq(&*mm, self))
    }

    /// Changes the current task's address space. What `f` has changed by its error stays changed, as with mprotect(2)
    /// over a hole. Errors of the host, where they are not deferred: ENOMEM as a rule.
    pub fn change<R>(&self, f: impl FnOnce(&mut MmInner, &mut Changes) -> Result<R>) -> Result<R> {
        self.change_then(f, |_| ())
    }

    /// The same; once the host has done it (or will, if it is deferred), `then` is called, still under `mmap_lock`.
    fn change_then<R>(
        &self,
        f: impl FnOnce(&mut MmInner, &mut Changes) -> Result<R>,
        then: impl FnOnce(&R),
    ) -> Result<R> {
        let task = current();
        let mut inner = self.lock();
        let mut changes = Changes::default();
        let result = f(&mut inner, &mut changes);
        let (landed, garbage) = self.commit(&task, &mut inner, changes);
        inner.settle();
        if let (Ok(()), Ok(value)) = (&landed, &result) {
            then(value);
        }
        drop(inner);
        // Files go without the lock.
        drop(garbage);
        landed.and(result)
    }

    fn commit(&self, task: &Task, inner: &mut MmInner, changes: Changes) -> (Result<()>, Vec<Vma>) {
        let Changes { undo, ops, now } = changes;
        if ops.is_empty() && !task.undo.is_pending() {
            return (Ok(()), undo.into_iter().flat_map(|u| u.old).collect());
        }
        let mut user = task.user.lock();
        let Some(stub) = user.as_mut() else {
            return (Err(ESRCH), inner.undo(undo, 0));
        };
        if !now && self.users() <= 1 {
            for op in ops {
                stub.defer(op);
            }
            task.undo.pending.store(true, Ordering::Relaxed);
            task.undo.entries.lock().extend(undo);
            return (Ok(()), Vec::new());
        }
        let result = stub.batch(ops);
        drop(user);
        task.undo.pending.store(false, Ordering::Relaxed);
        let mut log = core::mem::take(&mut *task.undo.entries.lock());
        log.extend(undo);
        match result {
            Ok(()) => (Ok(()), log.into_iter().flat_map(|u| u.old).collect()),
            Err((index, errno)) => (Err(errno), inner.undo(log, index)),
        }
    }

    /// A copy for fork(2), and the stub thread of the child. The caller is the parent's `task`.
    pub fn fork(&self, task: &Task) -> Result<(Arc<Mm>, StubThread)> {
        self.land();
        let inner = self.lock();
        overcommit::check(inner.vmas.totals().account)?;
        let (space, stub) = task.user.lock().as_mut().ok_or(ESRCH)?.fork()?;
        let mut child = inner.clone();
        drop(inner);
        child.def_flags = None;
        child.forget_uninherited();
        let mm = Mm::new(space, child);
        Ok((mm, stub))
    }

    /// Does deferred operations of the current task's now. Their failure is the syscall's.
    pub fn flush(&self) -> Result<()> {
        if !current().undo.pending.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.change(|_, changes| {
            changes.undo.push(Undo { start: 0, end: 0, old: Vec::new(), ops: 0, brk: None });
            changes.now();
            Ok(())
        })
    }
}

impl MmInner {
    /// Takes back the change that operation `index` belongs to, and all that came after it. Answers what is to be
    /// dropped without the lock.
    fn undo(&mut self, log: Vec<Undo>, index: usize) -> Vec<Vma> {
        let mut done = 0;
        let mut garbage = Vec::new();
        let mut failed = Vec::new();
        for entry in log {
            done += entry.ops;
            if failed.is_empty() && done <= index { garbage.extend(entry.old) } else { failed.push(entry) }
        }
        for entry in failed.into_iter().rev() {
            garbage.extend(self.vmas.remove(entry.start, entry.end));
            for vma in entry.old {
                self.vmas.insert(vma);
            }
            if let Some(brk) = entry.brk {
                self.layout.brk = brk;
            }
        }
        garbage
    }

    /// What fork(2) does not hand on: MADV_DONTFORK, locks. (The host empties MADV_WIPEONFORK memory itself.)
    fn forget_uninherited(&mut self) {
        let all: Vec<Vma> = self.vmas.remove(0, TASK_SIZE);
        for mut vma in all {
            if !vma.flags.contains(VmFlags::DONTCOPY) {
                vma.flags.remove(VmFlags::LOCKED | VmFlags::LOCKONFAULT);
                self.vmas.insert(vma);
            }
        }
    }

    /// Whether `len` more bytes with `flags` keep within RLIMIT_AS and RLIMIT_DATA.
    pub fn may_expand(&self, flags: VmFlags, len: u64) -> bool {
        let process = &current().process;
        let totals = self.vmas.totals();
        let fits = |sum: u64, which: usize| sum.saturating_add(len) <= process.rlimit(which);
        fits(totals.total, abi::resource::RLIMIT_AS)
            && (!Vma::is_data(flags) || fits(totals.data, abi::resource::RLIMIT_DATA))
    }
}

/// The host has done what was deferred: what it undoes is no longer needed.
pub fn batch_landed(task: &Task) {
    if task.undo.pending.load(Ordering::Relaxed) {
        task.undo.pending.store(false, Ordering::Relaxed);
        let entries = core::mem::take(&mut *task.undo.entries.lock());
        drop(entries);
    }
}

/// A memory operation that travelled with the resume failed: undoes it in the VMA list and makes its syscall fail.
pub fn batch_failed(task: &Arc<Task>, index: usize, errno: Errno) {
    task.undo.pending.store(false, Ordering::Relaxed);
    let log = core::mem::take(&mut *task.undo.entries.lock());
    let Ok(mm) = task.mm() else { return };
    let brk = log.iter().find_map(|u| u.brk);
    let mut inner = mm.lock();
    let garbage = inner.undo(log, index);
    inner.settle();
    drop(inner);
    drop(garbage);
    let _ = task.with_regs(|r| r.rax = brk.unwrap_or_else(|| errno.to_rax()));
}
