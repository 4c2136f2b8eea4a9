//! rseq(2): restartable sequences.
//!
//! A thread registers an area of its memory. The kernel keeps in it which CPU the thread runs on, and when the thread is
//! preempted, migrated or gets a signal within the sequence of instructions that the area names, it goes on at the
//! sequence's abort handler. A vCPU that takes or leaves a task tells [`Rseq`] (`sched/vcpu.rs`); what follows from it is
//! done before the thread's next stretch in its program ([`before_user`], `run.rs`) or before a handler
//! (`signal/deliver.rs`). A thread that stays on its vCPU costs no access to its memory: a system call is no place within
//! a sequence, so only a stretch that ended otherwise is looked at.
//!
//! Lock: `area`, a leaf.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use abi::Result;
use abi::errno::{EBUSY, EFAULT, EINVAL, EPERM};
use abi::sched::{ORIG_RSEQ_SIZE, RSEQ_CPU_ID_UNINITIALIZED, RSEQ_FLAG_UNREGISTER, RseqCs};
use abi::signal::{SI_KERNEL, SIGSEGV, SigInfo};
use host::stub::TASK_SIZE;
use zerocopy::IntoBytes;

use super::{Task, current};
use crate::mm::Mm;
use crate::sync::{SpinLock, rank};
use crate::uaccess::UserPtr;
use crate::{sched, signal};

/// Bytes of the area that mean something: AT_RSEQ_FEATURE_SIZE.
pub const FEATURE_SIZE: u64 = 28;
/// AT_RSEQ_ALIGN
pub const ALIGN: u64 = 32;

// Offsets in `struct rseq`.
const CPU_IDS: u64 = 0;
const SEQUENCE: u64 = 8;
const FLAGS: u64 = 16;
const NODE_AND_CID: u64 = 20;

/// What the threads of an address space that run at this moment are numbered by: `mm_cid`, as low as can be.
#[derive(Default)]
pub struct Cids(AtomicU64);

impl Cids {
    /// The number that the thread had before if nobody has it now, else the lowest free one. None when 64 are taken.
    fn take(&self, before: Option<u32>) -> Option<u32> {
        let mut taken = self.0.load(Ordering::Relaxed);
        loop {
            let free = |n: &u32| taken & 1 << n == 0;
            let n = before.filter(free).unwrap_or_else(|| taken.trailing_ones());
            if n == u64::BITS {
                return None;
            }
            match self.0.compare_exchange(taken, taken | 1 << n, Ordering::SeqCst, Ordering::Relaxed) {
                Ok(_) => return Some(n),
                Err(now) => taken = now,
            }
        }
    }

    fn give_back(&self, n: u32) {
        self.0.fetch_and(!(1 << n), Ordering::SeqCst);
    }
}

/// A registered area.
struct Area {
    addr: u64,
    len: u32,
    signature: u32,
    cids: Arc<Cids>,
    /// The number that the thread has while it is on a vCPU, and the one that it had last.
    cid: Option<u32>,
    last_cid: Option<u32>,
    /// CPU and number that the area has; those that it should have.
    shown: Option<(u32, u32)>,
    now: (u32, u32),
}

impl Area {
    fn leave(&mut self) {
        if let Some(cid) = self.cid.take() {
            self.cids.give_back(cid);
        }
    }
}

/// A thread's registration.
pub struct Rseq {
    registered: AtomicBool,
    /// The thread has been off its vCPU, or a barrier asks for the same, since its area was looked at.
    switched: AtomicBool,
    /// Its last stretch in the program may have ended within a sequence.
    interrupted: AtomicBool,
    /// The stub has copies for the area.
    staged: AtomicBool,
    area: SpinLock<Option<Area>>,
}

impl Default for Rseq {
    fn default() -> Self {
        Rseq {
            registered: AtomicBool::new(false),
            switched: AtomicBool::new(false),
            interrupted: AtomicBool::new(false),
            staged: AtomicBool::new(false),
            area: SpinLock::new(rank::LEAF, None),
        }
    }
}

impl Rseq {
    /// Whether there is an area.
    pub fn is_registered(&self) -> bool {
        self.registered.load(Ordering::Relaxed)
    }

    /// Whether the area is to be looked at before the program goes on.
    pub fn is_due(&self) -> bool {
        self.switched.load(Ordering::SeqCst)
    }

    /// vCPU `cpu` takes the thread.
    pub fn switched_in(&self, cpu: usize) {
        if let Some(area) = &mut *self.area.lock() {
            // With more vCPUs than numbers the CPU's own serves: it is unique as well.
            area.cid = area.cids.take(area.last_cid);
            area.last_cid = area.cid;
            area.now = (cpu as u32, area.cid.unwrap_or(cpu as u32));
            self.switched.store(true, Ordering::SeqCst);
        }
    }

    /// The vCPU leaves the thread.
    pub fn switched_out(&self) {
        if let Some(area) = &mut *self.area.lock() {
            area.leave();
        }
    }

    /// A stretch in the program has ended: by a system call, or anywhere.
    pub fn stretch_ended(&self, by_syscall: bool) {
        self.interrupted.store(!by_syscall, Ordering::Relaxed);
    }

    /// membarrier(2): a sequence that the thread is in begins anew.
    pub fn restart(&self) {
        if self.is_registered() {
            self.switched.store(true, Ordering::SeqCst);
        }
    }

    /// Forgets the area: execve(2), exit(2).
    pub fn clear(&self) {
        let area = self.area.lock().take();
        self.registered.store(false, Ordering::Relaxed);
        self.switched.store(false, Ordering::SeqCst);
        if let Some(mut area) = area {
            area.leave();
        }
    }

    /// The child of a fork, in its own copy `mm` of the memory, has the same area.
    pub fn inherit(&self, parent: &Rseq, mm: &Mm) {
        let area = parent.area.lock().as_ref().map(|a| Area {
            cids: mm.cids.clone(),
            cid: None,
            last_cid: None,
            // The copy has what the parent's has.
            ..*a
        });
        self.registered.store(area.is_some(), Ordering::Relaxed);
        *self.area.lock() = area;
    }

    /// Gives the stub the copies, where other threads run in the memory too: nobody but the thread itself looks at its
    /// area. Whether the stub takes them.
    fn stage(&self, task: &Task, pieces: &Pieces<'_>) -> bool {
        let shared = task.mm().is_ok_and(|mm| mm.users() > 1);
        let ranges = pieces.map(|(addr, data)| (addr, data.len()));
        let bytes = [pieces[0].1, pieces[1].1].concat();
        let taken = shared && task.user.lock().as_mut().is_some_and(|stub| stub.copy_later(&ranges, &bytes));
        self.staged.store(taken, Ordering::Relaxed);
        taken
    }

    /// The stub could not make copies of the last resume: whether they were for the area, which is SIGSEGV.
    pub fn copy_failed(&self, task: &Task) -> bool {
        let own = self.staged.swap(false, Ordering::Relaxed);
        if own {
            signal::force(task, SigInfo::new(SIGSEGV, SI_KERNEL));
        }
        own
    }

    /// Address, length and signature.
    pub fn registration(&self) -> Option<(u64, u32, u32)> {
        self.area.lock().as_ref().map(|a| (a.addr, a.len, a.signature))
    }
}

/// rseq(2)
pub fn rseq(addr: u64, len: u32, flags: u32, signature: u32) -> Result<()> {
    let task = current();
    let known = task.rseq.registration();
    let same = |(own_addr, own_len, own_signature)| match () {
        () if (own_addr, own_len) != (addr, len) => Err(EINVAL),
        () if own_signature != signature => Err(EPERM),
        () => Ok(()),
    };
    if flags & RSEQ_FLAG_UNREGISTER != 0 {
        if flags != RSEQ_FLAG_UNREGISTER {
            return Err(EINVAL);
        }
        same(known.ok_or(EINVAL)?)?;
        write(&pieces(addr, &[0, RSEQ_CPU_ID_UNINITIALIZED, 0, 0], &[0, 0], false))?;
        task.rseq.clear();
        return Ok(());
    }
    if flags != 0 {
        return Err(EINVAL);
    }
    if let Some(known) = known {
        return same(known).and(Err(EBUSY));
    }
    if (len as usize) < ORIG_RSEQ_SIZE || !addr.is_multiple_of(ALIGN) {
        return Err(EINVAL);
    }
    if addr.checked_add(u64::from(len)).is_none_or(|end| end > TASK_SIZE) {
        return Err(EFAULT);
    }
    if addr == 0 {
        // As on Linux: no error, and no registration.
        return Ok(());
    }
    let cids = task.mm()?.cids.clone();
    let area = Area { addr, len, signature, cids, cid: None, last_cid: None, shown: None, now: (0, 0) };
    *task.rseq.area.lock() = Some(area);
    task.rseq.registered.store(true, Ordering::Relaxed);
    task.rseq.switched_in(sched::current_vcpu().map_or(0, |vcpu| vcpu.id));
    Ok(())
}

/// What is to be written where.
type Pieces<'a> = [(u64, &'a [u8]); 2];

/// `cpu_id_start` and `cpu_id`, `node_id` and `mm_cid`, and with the first of them that there is no sequence.
fn pieces<'a>(addr: u64, ids: &'a [u32; 4], node_and_cid: &'a [u32; 2], first: bool) -> Pieces<'a> {
    let ids = if first { ids.as_bytes() } else { ids[..2].as_bytes() };
    [(addr + CPU_IDS, ids), (addr + NODE_AND_CID, node_and_cid.as_bytes())]
}

fn write(pieces: &[(u64, &[u8])]) -> Result<()> {
    if current().mm()?.write_pieces(pieces) { Ok(()) } else { Err(EFAULT) }
}

/// Does what is due before the current task returns to its program. A bad area is SIGSEGV: then it does not return yet.
#[inline]
pub fn before_user(task: &Task) -> bool {
    !task.rseq.is_due() || look(task)
}

fn look(task: &Task) -> bool {
    // To write may mean to sleep, and then to be somewhere else.
    while task.rseq.switched.swap(false, Ordering::SeqCst) && !task.fatal_signal_pending() {
        let within = task.rseq.interrupted.load(Ordering::Relaxed);
        let outcome = if within { abort_sequence(task) } else { Ok(()) };
        if outcome.and_then(|()| update(task)).is_err() {
            signal::force(task, SigInfo::new(SIGSEGV, SI_KERNEL));
            return false;
        }
    }
    true
}

/// Before the current task enters a signal handler: a sequence that it was in is over.
pub fn before_handler(task: &Task) -> Result<()> {
    if task.rseq.is_registered() && task.rseq.interrupted.load(Ordering::Relaxed) {
        abort_sequence(task)?;
    }
    Ok(())
}

/// Writes what the area should have and has not, with the resume that follows if that can be.
fn update(task: &Task) -> Result<()> {
    let stale = {
        let area = task.rseq.area.lock();
        area.as_ref().filter(|a| a.shown != Some(a.now)).map(|a| (a.addr, a.now, a.shown.is_none()))
    };
    let Some((addr, (cpu, cid), first)) = stale else { return Ok(()) };
    let (ids, node_and_cid) = ([cpu, cpu, 0, 0], [0, cid]);
    let pieces = pieces(addr, &ids, &node_and_cid, first);
    if !task.rseq.stage(task, &pieces) {
        write(&pieces)?;
    }
    if let Some(area) = &mut *task.rseq.area.lock() {
        area.shown = Some((cpu, cid));
    }
    Ok(())
}

/// Sends the program to the abort handler if it is within the sequence that its area names; the area names none then.
fn abort_sequence(task: &Task) -> Result<()> {
    let Some((addr, _, signature)) = task.rseq.registration() else { return Ok(()) };
    let pointer = UserPtr::<u64>::new(addr + SEQUENCE);
    let at = pointer.read()?;
    if at == 0 {
        return Ok(());
    }
    if at >= TASK_SIZE {
        return Err(EINVAL);
    }
    let sequence = UserPtr::<RseqCs>::new(at).read()?;
    check(&sequence)?;
    if UserPtr::<u32>::new(sequence.abort_ip - 4).read()? != signature {
        return Err(EINVAL);
    }
    let ip = task.with_regs(|r| r.rip)?;
    if ip.wrapping_sub(sequence.start_ip) >= sequence.post_commit_offset {
        return pointer.write(&0);
    }
    // Flags that forbid restarts are no longer known.
    if sequence.flags != 0 || UserPtr::<u32>::new(addr + FLAGS).read()? != 0 {
        return Err(EINVAL);
    }
    pointer.write(&0)?;
    task.with_regs(|r| r.rip = sequence.abort_ip)
}

/// EINVAL for a sequence that makes no sense.
fn check(sequence: &RseqCs) -> Result<()> {
    let end = sequence.start_ip.checked_add(sequence.post_commit_offset);
    let whole = sequence.start_ip < TASK_SIZE && end.is_some_and(|end| end < TASK_SIZE);
    let outside = sequence.abort_ip.wrapping_sub(sequence.start_ip) >= sequence.post_commit_offset;
    let known = sequence.version == 0 && (4..TASK_SIZE).contains(&sequence.abort_ip);
    if whole && outside && known { Ok(()) } else { Err(EINVAL) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_low_and_kept() {
        let cids = Cids::default();
        assert_eq!((cids.take(None), cids.take(None)), (Some(0), Some(1)));
        cids.give_back(0);
        assert_eq!(cids.take(Some(1)), Some(0));
        cids.give_back(1);
        cids.give_back(0);
        assert_eq!(cids.take(Some(1)), Some(1));
        assert_eq!(cids.take(Some(1)), Some(0));
        for n in 2..64 {
            assert_eq!(cids.take(None), Some(n));
        }
        assert_eq!(cids.take(Some(7)), None);
    }

    #[test]
    fn sequences_are_checked() {
        let good =
            RseqCs { version: 0, flags: 0, start_ip: 0x1000, post_commit_offset: 0x10, abort_ip: 0x1010 };
        assert_eq!(check(&good), Ok(()));
        for bad in [
            RseqCs { version: 1, ..good },
            RseqCs { abort_ip: 0x100f, ..good },
            RseqCs { abort_ip: 0x1000, ..good },
            RseqCs { abort_ip: TASK_SIZE, ..good },
            RseqCs { abort_ip: 3, start_ip: 0x1000, ..good },
            RseqCs { post_commit_offset: u64::MAX, ..good },
            RseqCs { start_ip: TASK_SIZE, ..good },
        ] {
            assert_eq!(check(&bad), Err(EINVAL));
        }
    }
}
