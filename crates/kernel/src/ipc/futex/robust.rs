//! Robust lists: the locks that a thread held when it died, get_robust_list(2).
//!
//! The list is the guest's, so it is walked with a bound, and what makes no sense ends the walk.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use abi::Result;
use abi::errno::EINVAL;
use abi::futex::{FUTEX_OWNER_DIED, FUTEX_TID_MASK, FUTEX_WAITERS, ROBUST_LIST_LIMIT, RobustListHead};
use zerocopy::{FromZeros, IntoBytes};

use super::{check_address, pi, wake, word};
use crate::mm::Mm;
use crate::task::{self, Task, current, rlimit};
use crate::uaccess::UserPtr;

/// set_robust_list(2)
pub fn set_robust_list(head: u64, len: usize) -> Result<()> {
    if len != size_of::<RobustListHead>() {
        return Err(EINVAL);
    }
    current().robust_list.store(head, Ordering::Relaxed);
    Ok(())
}

/// get_robust_list(2)
pub fn get_robust_list(tid: i32, head: UserPtr<u64>, len: UserPtr<u64>) -> Result<()> {
    let task = rlimit::task_or_self(tid)?;
    task::ptrace_access(&task)?;
    let at = task.robust_list.load(Ordering::Relaxed);
    len.write(&(size_of::<RobustListHead>() as u64))?;
    head.write(&at)
}

/// Marks the locks that an exiting (or exec'ing) thread holds as left by a dead owner, and wakes one waiter of each.
pub fn exit_robust_list(task: &Arc<Task>) {
    let at = task.robust_list.swap(0, Ordering::Relaxed);
    let Ok(mm) = task.mm() else { return };
    if at != 0 {
        walk(&mm, at, task.tid());
    }
}

fn walk(mm: &Arc<Mm>, at: u64, tid: i32) -> Option<()> {
    let mut head = RobustListHead::new_zeroed();
    if mm.read(at, head.as_mut_bytes()) != size_of::<RobustListHead>() {
        return None;
    }
    let futex_of = |entry: u64| (entry & !1).wrapping_add(head.futex_offset as u64);
    let pending = head.list_op_pending;
    let mut entry = head.list;
    for _ in 0..ROBUST_LIST_LIMIT {
        if entry & !1 == at {
            break;
        }
        // Read before the lock is given up: then it may be another's.
        let next = read_word(mm, entry & !1);
        if entry & !1 != pending & !1 {
            handle_death(mm, futex_of(entry), tid, entry & 1 != 0, false)?;
        }
        entry = next?;
    }
    if pending & !1 != 0 {
        handle_death(mm, futex_of(pending), tid, pending & 1 != 0, true)?;
    }
    Some(())
}

fn read_word(mm: &Arc<Mm>, at: u64) -> Option<u64> {
    let mut bytes = [0; 8];
    (mm.read(at, &mut bytes) == 8).then(|| u64::from_ne_bytes(bytes))
}

/// One lock. None ends the walk.
fn handle_death(mm: &Arc<Mm>, addr: u64, tid: i32, is_pi: bool, pending: bool) -> Option<()> {
    check_address(addr).ok()?;
    let word = word::read(mm, addr).ok()?;
    // It was being released or taken when its thread died: a waiter may have missed its wake-up.
    if pending && !is_pi && word & FUTEX_TID_MASK == 0 {
        wake(mm, addr, 1);
        return Some(());
    }
    if word & FUTEX_TID_MASK != tid as u32 {
        return Some(());
    }
    if is_pi && pi::hand_over_dead(mm, addr, tid) {
        return Some(());
    }
    let mine = |w: u32| w & FUTEX_TID_MASK == tid as u32;
    let old = word::update(mm, addr, |w| mine(w).then_some(w & FUTEX_WAITERS | FUTEX_OWNER_DIED)).ok()?;
    if mine(old) && !is_pi && old & FUTEX_WAITERS != 0 {
        wake(mm, addr, 1);
    }
    Some(())
}
