//! System V shared memory: shmget(2), shmat(2), shmdt(2), shmctl(2).
//!
//! A segment is a memory object. Its attachments are VMAs; it is destroyed with the last one once IPC_RMID has marked
//! it. Lock: IPC, over the table and the changing part of every segment.

use std::collections::BTreeMap;
use std::sync::Arc;

use abi::Result;
use abi::cred::{CAP_IPC_LOCK, CAP_IPC_OWNER, CAP_SYS_ADMIN};
use abi::errno::{EACCES, EEXIST, EIDRM, EINVAL, ENOENT, ENOMEM, ENOSPC, EPERM};
use abi::ipc::*;
use abi::mm::{PAGE_SIZE, page_aligned, page_up};
use abi::resource::RLIMIT_MEMLOCK;
use host::object::Object;
use host::stub::{MapSource, MemOp, TASK_SIZE};

use super::mmap::check_fixed;
use super::{Backing, VmFlags, Vma};
use crate::sync::{SpinLock, rank};
use crate::task::{Cred, current};
use crate::time;
use crate::uaccess::UserPtr;

/// Slots of the table: an id is its slot plus a multiple of this, so that an old id isn't taken for a new one.
const IPCMNI: i32 = 32768;

/// A segment.
pub struct Segment {
    id: i32,
    key: i32,
    size: u64,
    cpid: i32,
    object: Object,
}

/// What changes of a segment.
struct State {
    segment: Arc<Segment>,
    uid: u32,
    gid: u32,
    cuid: u32,
    cgid: u32,
    /// Permission bits, SHM_DEST, SHM_LOCKED.
    mode: u32,
    atime: i64,
    dtime: i64,
    ctime: i64,
    lpid: i32,
    nattch: u64,
}

struct Table {
    /// By slot.
    segments: BTreeMap<i32, State>,
    next_sequence: i32,
    /// Sum of all sizes, pages.
    pages: u64,
}

static TABLE: SpinLock<Table> =
    SpinLock::new(rank::IPC, Table { segments: BTreeMap::new(), next_sequence: 0, pages: 0 });

/// A VMA's hold on a segment.
pub struct ShmAttach(Arc<Segment>);

impl ShmAttach {
    /// The segment's id.
    pub fn id(&self) -> i32 {
        self.0.id
    }

    pub(super) fn same(&self, other: &ShmAttach) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// A hold on a segment in the table.
    fn new(state: &mut State) -> ShmAttach {
        state.nattch += 1;
        ShmAttach(state.segment.clone())
    }
}

impl Clone for ShmAttach {
    fn clone(&self) -> Self {
        if let Some(state) = TABLE.lock().of(&self.0) {
            state.nattch += 1;
        }
        ShmAttach(self.0.clone())
    }
}

impl Drop for ShmAttach {
    fn drop(&mut self) {
        let mut table = TABLE.lock();
        let Some(state) = table.of(&self.0) else { return };
        state.nattch -= 1;
        if state.nattch > 0 {
            return;
        }
        state.dtime = now();
        let gone = if state.mode & SHM_DEST != 0 { table.remove(self.0.id) } else { None };
        drop(table);
        drop(gone);
    }
}

impl Table {
    fn of(&mut self, segment: &Arc<Segment>) -> Option<&mut State> {
        self.segments.get_mut(&(segment.id % IPCMNI)).filter(|s| Arc::ptr_eq(&s.segment, segment))
    }

    /// By id; EINVAL, EIDRM.
    fn get(&mut self, id: i32) -> Result<&mut State> {
        let state = self.segments.get_mut(&id.checked_rem(IPCMNI).filter(|s| *s >= 0).ok_or(EINVAL)?);
        let state = state.ok_or(EINVAL)?;
        if state.segment.id == id { Ok(state) } else { Err(EIDRM) }
    }

    fn remove(&mut self, id: i32) -> Option<State> {
        let state = self.segments.remove(&(id % IPCMNI))?;
        self.pages -= state.segment.size / PAGE_SIZE;
        Some(state)
    }

    fn free_slot(&self) -> Result<i32> {
        (0..SHMMNI as i32).find(|slot| !self.segments.contains_key(slot)).ok_or(ENOSPC)
    }
}

fn now() -> i64 {
    time::now_realtime().tv_sec
}

impl State {
    /// Whether `cred` may do what `wanted` says, in the owner's bits (0400 read, 0200 write). EACCES.
    fn check(&self, cred: &Cred, wanted: u32) -> Result<()> {
        let wanted = wanted >> 6 & 7;
        let granted = if cred.euid == self.uid || cred.euid == self.cuid {
            self.mode >> 6
        } else if cred.in_group(self.gid) || cred.in_group(self.cgid) {
            self.mode >> 3
        } else {
            self.mode
        };
        if wanted & !granted & 7 == 0 || cred.capable(CAP_IPC_OWNER) { Ok(()) } else { Err(EACCES) }
    }

    fn owned_by(&self, cred: &Cred) -> Result<()> {
        let owner = cred.euid == self.uid || cred.euid == self.cuid;
        if owner || cred.capable(CAP_SYS_ADMIN) { Ok(()) } else { Err(EPERM) }
    }

    fn stat(&self) -> Shmid64Ds {
        Shmid64Ds {
            shm_perm: Ipc64Perm {
                key: self.segment.key,
                uid: self.uid,
                gid: self.gid,
                cuid: self.cuid,
                cgid: self.cgid,
                mode: self.mode,
                seq: (self.segment.id / IPCMNI) as u16,
                ..Ipc64Perm::default()
            },
            shm_segsz: self.segment.size,
            shm_atime: self.atime,
            shm_dtime: self.dtime,
            shm_ctime: self.ctime,
            shm_cpid: self.segment.cpid,
            shm_lpid: self.lpid,
            shm_nattch: self.nattch,
            ..Shmid64Ds::default()
        }
    }
}

/// shmget(2): the id.
pub fn shmget(key: i32, size: u64, flags: u32) -> Result<i32> {
    let cred = current().cred();
    let table = TABLE.lock();
    // A removed segment that is still attached has no key any more.
    let found = table
        .segments
        .values()
        .find(|s| key != IPC_PRIVATE && s.segment.key == key && s.mode & SHM_DEST == 0);
    if let Some(state) = found {
        if flags & (IPC_CREAT | IPC_EXCL) == IPC_CREAT | IPC_EXCL {
            return Err(EEXIST);
        }
        if size > state.segment.size {
            return Err(EINVAL);
        }
        state.check(&cred, (flags >> 6 | flags >> 3 | flags) & 7 << 6 | flags & 0o700)?;
        return Ok(state.segment.id);
    }
    if key != IPC_PRIVATE && flags & IPC_CREAT == 0 {
        return Err(ENOENT);
    }
    drop(table);
    create(key, size, flags, &cred)
}

fn create(key: i32, size: u64, flags: u32, cred: &Cred) -> Result<i32> {
    if !(SHMMIN..=SHMMAX).contains(&size) {
        return Err(EINVAL);
    }
    if flags & SHM_HUGETLB != 0 {
        // No huge pages are set aside.
        return Err(ENOMEM);
    }
    let len = page_up(size).ok_or(ENOSPC)?;
    if flags & SHM_NORESERVE == 0 {
        super::overcommit::check(len)?;
    }
    let object = Object::create("sysv")?;
    object.set_len(len)?;
    let mut table = TABLE.lock();
    if key != IPC_PRIVATE && table.segments.values().any(|s| s.segment.key == key && s.mode & SHM_DEST == 0) {
        // Somebody else made it meanwhile.
        drop(table);
        return shmget(key, size, flags);
    }
    let slot = table.free_slot()?;
    if table.pages.saturating_add(len / PAGE_SIZE) > SHMALL {
        return Err(ENOSPC);
    }
    let id = slot + table.next_sequence * IPCMNI;
    table.next_sequence = (table.next_sequence + 1) % (i32::MAX / IPCMNI);
    table.pages += len / PAGE_SIZE;
    let segment = Arc::new(Segment { id, key, size, cpid: current().tgid(), object });
    let state = State {
        segment,
        uid: cred.euid,
        gid: cred.egid,
        cuid: cred.euid,
        cgid: cred.egid,
        mode: flags & 0o777,
        atime: 0,
        dtime: 0,
        ctime: now(),
        lpid: 0,
        nattch: 0,
    };
    table.segments.insert(slot, state);
    Ok(id)
}

/// shmat(2): the address.
pub fn shmat(id: i32, addr: u64, flags: u32) -> Result<u64> {
    if flags & !(SHM_RDONLY | SHM_RND | SHM_REMAP | SHM_EXEC) != 0 || id < 0 {
        return Err(EINVAL);
    }
    let mut at = addr;
    if flags & SHM_RND != 0 {
        at &= !(SHMLBA - 1);
    }
    if !page_aligned(at) || at == 0 && (addr != 0 || flags & SHM_REMAP != 0) {
        return Err(EINVAL);
    }
    let mut access =
        VmFlags::READ | VmFlags::SHARED | VmFlags::MAYSHARE | VmFlags::MAYREAD | VmFlags::MAYEXEC;
    let mut wanted = 0o400;
    if flags & SHM_RDONLY == 0 {
        access |= VmFlags::WRITE | VmFlags::MAYWRITE;
        wanted |= 0o200;
    }
    if flags & SHM_EXEC != 0 {
        access |= VmFlags::EXEC;
        wanted |= 0o100;
    }
    let task = current();
    let cred = task.cred();
    let attach = {
        let mut table = TABLE.lock();
        let state = table.get(id)?;
        state.check(&cred, wanted)?;
        state.atime = now();
        state.lpid = task.tgid();
        ShmAttach::new(state)
    };
    let segment = attach.0.clone();
    let fd = if flags & SHM_RDONLY != 0 { segment.object.readonly_fd()? } else { segment.object.fd() };
    let len = page_up(segment.size).ok_or(EINVAL)?;
    if at != 0 {
        check_fixed(at, len).map_err(|_| EINVAL)?;
    }
    task.mm()?.change(|inner, changes| {
        let start = if at == 0 { inner.free_area(len, PAGE_SIZE)? } else { at };
        let taken = inner.vmas.overlapping(start, start + len).next().is_some();
        if taken && flags & SHM_REMAP == 0 {
            return Err(EINVAL);
        }
        if !inner.may_expand(access, len) || inner.vmas.len() >= super::MAX_MAP_COUNT {
            return Err(ENOMEM);
        }
        let op = MemOp::Map {
            addr: start,
            len,
            prot: access.host_prot(),
            shared: true,
            noreserve: true,
            populate: false,
            source: MapSource::Object { fd, offset: 0 },
        };
        let range = (start, start + len);
        let backing = Backing::Shm(attach);
        changes.replace(inner, range, [Vma { start, end: range.1, flags: access, backing, offset: 0 }], [op]);
        Ok(start)
    })
}

/// shmdt(2): detaches the segment whose beginning is mapped at `addr`, all pieces of it.
pub fn shmdt(addr: u64) -> Result<()> {
    if !page_aligned(addr) || addr >= TASK_SIZE {
        return Err(EINVAL);
    }
    let task = current();
    let detached = task.mm()?.change(|inner, changes| {
        let first = inner.vmas.find_or_next(addr).cloned().ok_or(EINVAL)?;
        let Backing::Shm(attach) = &first.backing else { return Err(EINVAL) };
        if first.start < addr || first.start - addr != first.offset {
            return Err(EINVAL);
        }
        let end = addr.saturating_add(page_up(attach.0.size).unwrap_or(u64::MAX)).min(TASK_SIZE);
        let pieces: Vec<(u64, u64)> = inner
            .vmas
            .overlapping(addr, end)
            .filter(|v| matches!(&v.backing, Backing::Shm(a) if a.same(attach)) && v.start - addr == v.offset)
            .map(|v| (v.start, v.end))
            .collect();
        for (start, end) in pieces {
            inner.unmap(changes, start, end)?;
        }
        // The count must be right when this returns.
        changes.now();
        Ok(attach.clone())
    })?;
    if let Some(state) = TABLE.lock().of(&detached.0) {
        state.dtime = now();
        state.lpid = task.tgid();
    }
    Ok(())
}

/// shmctl(2)
pub fn shmctl(id: i32, cmd: u32, buf: u64) -> Result<i32> {
    if id < 0 {
        return Err(EINVAL);
    }
    match cmd {
        IPC_INFO => info(buf),
        SHM_INFO => usage(buf),
        IPC_STAT | SHM_STAT | SHM_STAT_ANY => stat(id, cmd, buf),
        IPC_SET => set(id, UserPtr::<Shmid64Ds>::new(buf).read()?),
        IPC_RMID => remove(id),
        SHM_LOCK | SHM_UNLOCK => lock(id, cmd == SHM_LOCK),
        _ => Err(EINVAL),
    }
}

fn highest_slot() -> i32 {
    TABLE.lock().segments.keys().next_back().copied().unwrap_or(0)
}

fn info(buf: u64) -> Result<i32> {
    let info = Shminfo64 {
        shmmax: SHMMAX,
        shmmin: SHMMIN,
        shmmni: SHMMNI,
        shmseg: SHMMNI,
        shmall: SHMALL,
        ..Shminfo64::default()
    };
    UserPtr::new(buf).write(&info)?;
    Ok(highest_slot())
}

fn usage(buf: u64) -> Result<i32> {
    let (used_ids, shm_tot, segments) = {
        let table = TABLE.lock();
        let segments: Vec<_> = table.segments.values().map(|s| s.segment.clone()).collect();
        (segments.len() as i32, table.pages, segments)
    };
    let resident: u64 = segments.iter().map(|s| s.object.resident().unwrap_or(0)).sum();
    let info = ShmInfo { used_ids, shm_tot, shm_rss: resident / PAGE_SIZE, ..ShmInfo::default() };
    UserPtr::new(buf).write(&info)?;
    Ok(highest_slot())
}

/// IPC_STAT by id answers 0; the others take a slot and answer the id.
fn stat(id: i32, cmd: u32, buf: u64) -> Result<i32> {
    let cred = current().cred();
    let (stat, answer) = {
        let mut table = TABLE.lock();
        let state = match cmd {
            IPC_STAT => table.get(id)?,
            _ => table.segments.get_mut(&id).ok_or(EINVAL)?,
        };
        if cmd != SHM_STAT_ANY {
            state.check(&cred, 0o400)?;
        }
        (state.stat(), if cmd == IPC_STAT { 0 } else { state.segment.id })
    };
    UserPtr::new(buf).write(&stat)?;
    Ok(answer)
}

fn set(id: i32, new: Shmid64Ds) -> Result<i32> {
    let cred = current().cred();
    let mut table = TABLE.lock();
    let state = table.get(id)?;
    state.owned_by(&cred)?;
    (state.uid, state.gid) = (new.shm_perm.uid, new.shm_perm.gid);
    state.mode = state.mode & !0o777 | new.shm_perm.mode & 0o777;
    state.ctime = now();
    Ok(0)
}

fn remove(id: i32) -> Result<i32> {
    let cred = current().cred();
    let mut table = TABLE.lock();
    let state = table.get(id)?;
    state.owned_by(&cred)?;
    state.mode |= SHM_DEST;
    let gone = if state.nattch == 0 { table.remove(id) } else { None };
    drop(table);
    drop(gone);
    Ok(0)
}

fn lock(id: i32, on: bool) -> Result<i32> {
    let task = current();
    let cred = task.cred();
    let mut table = TABLE.lock();
    let state = table.get(id)?;
    if !cred.capable(CAP_IPC_LOCK) {
        if cred.euid != state.uid && cred.euid != state.cuid {
            return Err(EPERM);
        }
        if on && task.process.rlimit(RLIMIT_MEMLOCK) == 0 {
            return Err(EPERM);
        }
    }
    // Nothing is ever swapped out.
    state.mode = if on { state.mode | SHM_LOCKED } else { state.mode & !SHM_LOCKED };
    Ok(0)
}

/// What /proc/sysvipc/shm shows: id, state and resident bytes of every segment.
pub fn list() -> Vec<(i32, Shmid64Ds, u64)> {
    let all: Vec<_> = {
        let table = TABLE.lock();
        table.segments.values().map(|s| (s.segment.clone(), s.stat())).collect()
    };
    all.into_iter().map(|(s, stat)| (s.id, stat, s.object.resident().unwrap_or(0))).collect()
}
