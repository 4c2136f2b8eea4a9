//! Faults of the guest program: stacks that grow, and the signals for what may not be.
//!
//! Demand zeroing and copy on write are the host's, so a fault that arrives here is mostly the guest's error.

use std::sync::Arc;

use abi::mm::{PAGE_SIZE, page_down};
use abi::resource::{RLIMIT_MEMLOCK, RLIMIT_STACK};
use abi::signal::{BUS_ADRERR, SEGV_ACCERR, SEGV_MAPERR, SIGBUS, SIGSEGV, SigInfo};
use host::stub::{Fault, MapSource, MemOp};

use super::paged::Absent;
use super::vma::STACK_GUARD_GAP;
use super::{Mm, MmInner, VmFlags, overcommit};
use crate::signal;
use crate::task::{Task, current};

/// A stack grows by at least this, bytes: page by page would cost a handoff each.
const STACK_STEP: u64 = 128 * 1024;
/// A fault that the VMA allows is left to the host this often at one address before it counts as an error.
const MAX_STUCK: u32 = 16;
/// Faults further apart than this, ns, have nothing to do with each other.
const STUCK_WINDOW: u64 = 10_000_000;

/// The exception number of a page fault.
const TRAP_PAGE_FAULT: u64 = 14;
/// Bits of a page fault's error code.
const FAULT_WRITE: u64 = 2;
const FAULT_FETCH: u64 = 16;
const FAULT_PKEY: u64 = 32;

/// Faults that nothing explains.
#[derive(Default)]
pub(super) struct Stuck {
    addr: u64,
    last: u64,
    count: u32,
}

/// What the VMA list says about an access.
pub(super) enum Outcome {
    /// A stack has grown to hold the address.
    Grown,
    /// The access is allowed.
    Allowed,
    /// The access is allowed, to a page that may have to be brought in.
    Absent(Absent),
    /// Nothing is mapped there.
    Unmapped,
    /// What is mapped there does not allow it.
    Forbidden,
}

/// Serves a fault of the guest program: grows a stack, or sends the signal that it deserves.
pub fn handle_fault(task: &Arc<Task>, fault: &Fault) {
    let Ok(mm) = task.mm() else { return };
    let signal = fault.signal as u32;
    let paging = fault.trapno == TRAP_PAGE_FAULT && fault.error_code & FAULT_PKEY == 0;
    if !paging || signal != SIGSEGV && signal != SIGBUS {
        return signal::force_fault(task, fault, SigInfo::fault(signal, fault.code, fault.addr));
    }
    task.min_flt.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let access = match fault.error_code {
        e if e & FAULT_FETCH != 0 => VmFlags::EXEC,
        e if e & FAULT_WRITE != 0 => VmFlags::WRITE,
        _ => VmFlags::READ,
    };
    let info = match resolve(&mm, fault.addr, access) {
        Outcome::Grown => return,
        Outcome::Absent(page) if page.page_in(&mm, false).is_ok() && mm.first_times_at(fault.addr) => return,
        Outcome::Absent(_) => SigInfo::fault(SIGBUS, BUS_ADRERR, fault.addr),
        // The host has said that the file ends before the page.
        Outcome::Allowed if signal == SIGBUS => SigInfo::fault(SIGBUS, BUS_ADRERR, fault.addr),
        // Another thread was changing the mapping while this one ran into it: by now it is done.
        Outcome::Allowed if mm.first_times_at(fault.addr) => return,
        Outcome::Allowed => {
            crate::pr_warn!(
                "{}[{}]: host has no memory at {:#x}",
                task.comm().escape_ascii(),
                task.tid(),
                fault.addr
            );
            SigInfo::fault(SIGBUS, BUS_ADRERR, fault.addr)
        }
        Outcome::Unmapped => SigInfo::fault(SIGSEGV, SEGV_MAPERR, fault.addr),
        Outcome::Forbidden => SigInfo::fault(SIGSEGV, SEGV_ACCERR, fault.addr),
    };
    signal::force_fault(task, fault, info);
}

/// Looks an access up, and grows the stack that it is meant for.
pub(super) fn resolve(mm: &Mm, addr: u64, access: VmFlags) -> Outcome {
    {
        let inner = mm.lock();
        if let Some(vma) = inner.vmas.find(addr) {
            if !allows(vma.flags, access) {
                return Outcome::Forbidden;
            }
            return Absent::at(vma, addr, access).map_or(Outcome::Allowed, Outcome::Absent);
        }
        if !inner.vmas.find_or_next(addr).is_some_and(|v| v.flags.contains(VmFlags::GROWSDOWN)) {
            return Outcome::Unmapped;
        }
    }
    match mm.change(|inner, changes| Ok(grow_stack(inner, addr, changes))) {
        Ok(true) => Outcome::Grown,
        _ => Outcome::Unmapped,
    }
}

/// x86 can read whatever it can write or execute.
fn allows(flags: VmFlags, access: VmFlags) -> bool {
    match access {
        VmFlags::READ => flags.intersects(VmFlags::READ | VmFlags::WRITE | VmFlags::EXEC),
        access => flags.contains(access),
    }
}

/// Extends the stack above `addr` down to it. False where limits or the guard gap forbid that.
fn grow_stack(inner: &mut MmInner, addr: u64, changes: &mut super::Changes) -> bool {
    let Some(stack) = inner.vmas.find_or_next(addr).cloned() else { return false };
    if stack.start <= addr {
        // Another thread was faster.
        return allows(stack.flags, VmFlags::READ);
    }
    if !stack.flags.contains(VmFlags::GROWSDOWN) || !allows(stack.flags, VmFlags::READ) {
        return false;
    }
    let process = &current().process;
    let wanted = page_down(addr);
    // An accessible mapping below keeps the gap; an inaccessible one is a guard that the program made itself.
    let below = inner.vmas.before(wanted.saturating_add(PAGE_SIZE)).map_or(super::MMAP_MIN_ADDR, |v| {
        let accessible = v.flags.intersects(VmFlags::READ | VmFlags::WRITE | VmFlags::EXEC);
        if accessible { v.end.saturating_add(STACK_GUARD_GAP) } else { v.end }
    });
    // The limit counts from the top of the stack.
    let by_limit = stack.end.saturating_sub(process.rlimit(RLIMIT_STACK));
    let floor = below.max(abi::mm::page_up(by_limit).unwrap_or(u64::MAX));
    if wanted < floor {
        return false;
    }
    let start = stack.start.saturating_sub(STACK_STEP).min(wanted).max(floor);
    let len = stack.start - start;
    let locked = stack.flags.contains(VmFlags::LOCKED)
        && inner.vmas.totals().locked.saturating_add(len) > process.rlimit(RLIMIT_MEMLOCK)
        && !current().cred().capable(abi::cred::CAP_IPC_LOCK);
    if locked || !inner.may_expand(stack.flags, len) || overcommit::check(len).is_err() {
        return false;
    }
    let op = MemOp::Map {
        addr: start,
        len,
        prot: stack.flags.host_prot(),
        shared: false,
        noreserve: true,
        populate: false,
        source: MapSource::Anonymous,
    };
    let range = (start, stack.start);
    changes.replace(inner, range, [super::Vma { start, end: range.1, ..stack }], [op]);
    changes.now();
    true
}

impl Mm {
    /// Counts faults at one address, one right after the other, that nothing here explains. False once there are too
    /// many of them.
    fn first_times_at(&self, addr: u64) -> bool {
        let now = host::clock::monotonic();
        let mut stuck = self.stuck.lock();
        let again = stuck.addr == addr && now.saturating_sub(stuck.last) < STUCK_WINDOW;
        *stuck = Stuck { addr, last: now, count: if again { stuck.count + 1 } else { 1 } };
        stuck.count <= MAX_STUCK
    }
}
