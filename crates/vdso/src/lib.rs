//! The guest's vDSO: clocks without a system call.
//!
//! It calls the host's own vDSO, which every stub keeps mapped above the guest's part of the address space, and adds the
//! guest's offset. What the host's cannot tell (CPU clocks, the guest's CPU number) is a system call, as it would be
//! natively. Like any vDSO it has no relocations and no data but the page before it.
#![no_std]

#[expect(dead_code, reason = "the kernel uses the rest")]
mod data;

use core::arch::asm;
use core::sync::atomic::{AtomicI64, Ordering::Relaxed};
use data::Data;

const SYS_GETTIMEOFDAY: u64 = 96;
const SYS_CLOCK_GETTIME: u64 = 228;
const SYS_CLOCK_GETRES: u64 = 229;
const SYS_GETCPU: u64 = 309;

const CLOCK_REALTIME: i32 = 0;
const CLOCK_MONOTONIC: i32 = 1;
const CLOCK_REALTIME_COARSE: i32 = 5;
const CLOCK_MONOTONIC_COARSE: i32 = 6;
const CLOCK_BOOTTIME: i32 = 7;
const CLOCK_TAI: i32 = 11;
const NS: i64 = 1_000_000_000;

/// `struct timespec` (or, with microseconds, `struct timeval`).
#[repr(C)]
pub struct Timespec {
    sec: i64,
    nsec: i64,
}

#[inline(always)]
fn page() -> &'static Data {
    let data: *const Data;
    // SAFETY: only computes an address; the kernel maps the data page right before the image's first byte.
    unsafe {
        asm!("lea {}, [rip + __ehdr_start - 4096]", out(reg) data, options(nomem, nostack, preserves_flags));
        &*data
    }
}

#[inline(always)]
fn syscall(nr: u64, a: u64, b: u64, c: u64) -> i64 {
    let ret: i64;
    // SAFETY: a system call on the caller's own arguments.
    unsafe {
        asm!("syscall", inlateout("rax") nr => ret, in("rdi") a, in("rsi") b, in("rdx") c,
            lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    ret
}

/// The offset of a clock that the host's vDSO can tell. The raw clock drifts against the others: the kernel tells it.
#[inline(always)]
fn offset(data: &Data, clock: i32) -> Option<&AtomicI64> {
    if clock as u32 > 11 {
        return None;
    }
    match 1 << clock {
        m if m & (1 << CLOCK_REALTIME | 1 << CLOCK_REALTIME_COARSE | 1 << CLOCK_TAI) != 0 => {
            Some(&data.realtime)
        }
        m if m & (1 << CLOCK_MONOTONIC | 1 << CLOCK_MONOTONIC_COARSE) != 0 => Some(&data.monotonic),
        m if m & (1 << CLOCK_BOOTTIME) != 0 => Some(&data.boottime),
        _ => None,
    }
}

/// Calls one of the host's vDSO functions; None if there is none.
#[inline(always)]
unsafe fn host(function: u64, clock: i32, to: *mut Timespec) -> Option<i64> {
    if function == 0 {
        return None;
    }
    // SAFETY: the kernel has put the address of a function of this type here.
    let function: unsafe extern "C" fn(i32, *mut Timespec) -> i32 = unsafe { core::mem::transmute(function) };
    // SAFETY: `to` is writable, or null where the caller of the vDSO passed null.
    Some(i64::from(unsafe { function(clock, to) }))
}

#[inline(always)]
fn read(clock: i32) -> Option<Timespec> {
    let data = page();
    let offset = offset(data, clock)?.load(Relaxed);
    let mut ts = Timespec { sec: 0, nsec: 0 };
    // SAFETY: `ts` is writable.
    if unsafe { host(data.clock_gettime.load(Relaxed), clock, &mut ts)? } != 0 {
        return None;
    }
    let total = ts.sec.wrapping_mul(NS).wrapping_add(ts.nsec).wrapping_add(offset);
    Some(Timespec { sec: total.div_euclid(NS), nsec: total.rem_euclid(NS) })
}

/// clock_gettime(2).
///
/// # Safety
/// `to` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __vdso_clock_gettime(clock: i32, to: *mut Timespec) -> i64 {
    let Some(ts) = read(clock) else { return syscall(SYS_CLOCK_GETTIME, clock as u64, to as u64, 0) };
    // SAFETY: the caller's promise.
    unsafe { to.write(ts) };
    0
}

/// clock_getres(2).
///
/// # Safety
/// `to` is writable or null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __vdso_clock_getres(clock: i32, to: *mut Timespec) -> i64 {
    let data = page();
    if offset(data, clock).is_some() {
        // SAFETY: the caller's promise.
        if let Some(0) = unsafe { host(data.clock_getres.load(Relaxed), clock, to) } {
            return 0;
        }
    }
    syscall(SYS_CLOCK_GETRES, clock as u64, to as u64, 0)
}

/// gettimeofday(2).
///
/// # Safety
/// Both are writable or null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __vdso_gettimeofday(tv: *mut Timespec, tz: *mut [u32; 2]) -> i64 {
    let Some(mut ts) = read(CLOCK_REALTIME) else {
        return syscall(SYS_GETTIMEOFDAY, tv as u64, tz as u64, 0);
    };
    ts.nsec /= 1000;
    // SAFETY: the caller's promise.
    unsafe {
        if !tv.is_null() {
            tv.write(ts);
        }
        if !tz.is_null() {
            let data = page();
            tz.write([data.minutes_west.load(Relaxed), data.dst.load(Relaxed)]);
        }
    }
    0
}

/// time(2).
///
/// # Safety
/// `to` is writable or null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __vdso_time(to: *mut i64) -> i64 {
    let sec = match read(CLOCK_REALTIME_COARSE) {
        Some(ts) => ts.sec,
        None => {
            let mut ts = Timespec { sec: 0, nsec: 0 };
            syscall(SYS_CLOCK_GETTIME, CLOCK_REALTIME as u64, &raw mut ts as u64, 0);
            ts.sec
        }
    };
    if !to.is_null() {
        // SAFETY: the caller's promise.
        unsafe { to.write(sec) };
    }
    sec
}

/// getcpu(2): which guest CPU this is only the kernel knows.
///
/// # Safety
/// Both are writable or null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __vdso_getcpu(cpu: *mut u32, node: *mut u32, _unused: *mut u8) -> i64 {
    syscall(SYS_GETCPU, cpu as u64, node as u64, 0)
}
