//! Calls that the stub answers itself, from memory that the kernel keeps current and the guest can only read.

use crate::abi::{ANSWER_COUNT, ANSWER_CPUS, ANSWERS, ANSWERS_VALID, AnswerHead, Answers, Window};
use crate::{RDI, RSI, copy};
use core::sync::atomic::{AtomicI64, Ordering::Relaxed};

const NS: i64 = 1_000_000_000;
const EFAULT: i64 = -14;

const CLOCK_REALTIME: u32 = 0;
const CLOCK_REALTIME_COARSE: u32 = 5;

/// The call's result; none if the kernel is to be asked.
#[inline(always)]
pub fn find(window: &Window, nr: u64) -> Option<i64> {
    if !matches!(nr, 24 | 39 | 96 | 102 | 104 | 107 | 108 | 110 | 111 | 186 | 201 | 228 | 309) {
        return None;
    }
    // SAFETY: mapped for good before the first guest ran, and atomic.
    let head = unsafe { &*(ANSWERS as *const AnswerHead) };
    let index = window.answers.load(Relaxed) as usize % ANSWER_COUNT;
    // SAFETY: as above; the index is within what is mapped.
    let own = unsafe { &*((ANSWERS + 0x1000) as *const Answers).add(index) };
    if head.on.load(Relaxed) == 0 || own.on.load(Relaxed) != ANSWERS_VALID {
        return None;
    }
    let word = match nr {
        39 => &own.pid,
        186 => &own.tid,
        110 => &own.ppid,
        111 => &own.pgrp,
        102 => &own.uid,
        107 => &own.euid,
        104 => &own.gid,
        108 => &own.egid,
        _ => return other(window, head, own, nr),
    };
    Some(i64::from(word.load(Relaxed)))
}

fn other(window: &Window, head: &AnswerHead, own: &Answers, nr: u64) -> Option<i64> {
    let (first, second) = (window.regs[RDI].load(Relaxed), window.regs[RSI].load(Relaxed));
    let cpu = own.cpu.load(Relaxed);
    match nr {
        // sched_yield: with nothing else to run.
        24 => (head.queued[cpu as usize % ANSWER_CPUS].load(Relaxed) == 0).then_some(0),
        // getcpu: the machine is one node.
        309 => Some(if put(first, &cpu.to_ne_bytes()) && put(second, &[0; 4]) { 0 } else { EFAULT }),
        228 => {
            let [sec, nsec] = time(head, first as u32)?;
            // Unlike the other pointers this one may not be null.
            let ok = second != 0 && put(second, &words(sec, nsec));
            Some(if ok { 0 } else { EFAULT })
        }
        96 => {
            let [sec, nsec] = time(head, CLOCK_REALTIME)?;
            let zone = u64::from(head.minutes_west.load(Relaxed)) | u64::from(head.dst.load(Relaxed)) << 32;
            let ok = put(first, &words(sec, nsec / 1000)) && put(second, &zone.to_ne_bytes());
            Some(if ok { 0 } else { EFAULT })
        }
        201 => {
            let [sec, _] = time(head, CLOCK_REALTIME_COARSE)?;
            Some(if put(first, &sec.to_ne_bytes()) { sec } else { EFAULT })
        }
        _ => None,
    }
}

fn words(sec: i64, rest: i64) -> [u8; 16] {
    (sec as u64 as u128 | (rest as u64 as u128) << 64).to_ne_bytes()
}

/// Copies to the guest, if it has given an address. False where it may not write.
fn put(to: u64, bytes: &[u8]) -> bool {
    to == 0 || copy::out(to, bytes)
}

/// A clock that the host's vDSO can tell.
fn time(head: &AnswerHead, clock: u32) -> Option<[i64; 2]> {
    let offset: &AtomicI64 = match clock {
        0 | 5 | 11 => &head.realtime,
        1 | 6 => &head.monotonic,
        7 => &head.boottime,
        _ => return None,
    };
    let function = head.clock_gettime.load(Relaxed);
    if function == 0 {
        return None;
    }
    // SAFETY: the kernel has put the address of a function of this type here, and the guest cannot change it.
    let function: unsafe extern "C" fn(u32, *mut [i64; 2]) -> i32 = unsafe { core::mem::transmute(function) };
    let mut time = [0i64; 2];
    // SAFETY: `time` is writable.
    if unsafe { function(clock, &mut time) } != 0 {
        return None;
    }
    let total = time[0].wrapping_mul(NS).wrapping_add(time[1]).wrapping_add(offset.load(Relaxed));
    Some([total.div_euclid(NS), total.rem_euclid(NS)])
}
