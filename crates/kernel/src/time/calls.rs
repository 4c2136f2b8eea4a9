//! Reading and setting clocks: clock_gettime(2), clock_settime(2), clock_getres(2), gettimeofday(2), settimeofday(2),
//! time(2).

use std::sync::atomic::{AtomicI32, Ordering};

use abi::Result;
use abi::cred::CAP_SYS_TIME;
use abi::errno::{EINVAL, EPERM};
use abi::time::{CLOCK_REALTIME, NSEC_PER_SEC, Timespec, Timeval, Timezone};

use super::clock::{Clock, ClockId, set_realtime};
use crate::task::current;
use crate::uaccess::UserPtr;

/// settimeofday(2)'s time zone: minutes west of Greenwich, and DST_*.
static TIMEZONE: (AtomicI32, AtomicI32) = (AtomicI32::new(0), AtomicI32::new(0));

/// clock_gettime(2)
pub fn clock_gettime(clockid: ClockId, tp: UserPtr<Timespec>) -> Result<()> {
    tp.write(&Timespec::from_ns(Clock::from_id(clockid)?.now()))
}

/// clock_getres(2)
pub fn clock_getres(clockid: ClockId, res: UserPtr<Timespec>) -> Result<()> {
    let resolution = Clock::from_id(clockid)?.resolution();
    res.write_if(&Timespec::from_ns(resolution))
}

/// clock_settime(2)
pub fn clock_settime(clockid: ClockId, tp: UserPtr<Timespec>) -> Result<()> {
    // Known clocks that cannot be set answer the same as unknown ones.
    if clockid.0 != CLOCK_REALTIME {
        return Err(EINVAL);
    }
    let time = tp.read()?.to_ns().ok_or(EINVAL)?;
    may_set_time()?;
    set_realtime(time)
}

/// CAP_SYS_TIME; EPERM.
pub(super) fn may_set_time() -> Result<()> {
    if current().cred().capable(CAP_SYS_TIME) { Ok(()) } else { Err(EPERM) }
}

/// gettimeofday(2)
pub fn gettimeofday(tv: UserPtr<Timeval>, tz: UserPtr<Timezone>) -> Result<()> {
    tv.write_if(&Timeval::from_ns(Clock::Realtime.now()))?;
    tz.write_if(&Timezone {
        tz_minuteswest: TIMEZONE.0.load(Ordering::Relaxed),
        tz_dsttime: TIMEZONE.1.load(Ordering::Relaxed),
    })
}

/// settimeofday(2)
pub fn settimeofday(tv: UserPtr<Timeval>, tz: UserPtr<Timezone>) -> Result<()> {
    let time = match tv.is_null() {
        true => None,
        false => Some(tv.read()?.to_ns().ok_or(EINVAL)?),
    };
    let zone = if tz.is_null() { None } else { Some(tz.read()?) };
    may_set_time()?;
    if let Some(zone) = zone {
        if !(-15 * 60..=15 * 60).contains(&zone.tz_minuteswest) {
            return Err(EINVAL);
        }
        TIMEZONE.0.store(zone.tz_minuteswest, Ordering::Relaxed);
        TIMEZONE.1.store(zone.tz_dsttime, Ordering::Relaxed);
        host::vdso::set_timezone(zone.tz_minuteswest, zone.tz_dsttime);
    }
    time.map_or(Ok(()), set_realtime)
}

/// time(2)
pub fn time(tloc: UserPtr<i64>) -> Result<i64> {
    let seconds = (Clock::Realtime.now() / NSEC_PER_SEC) as i64;
    tloc.write_if(&seconds)?;
    Ok(seconds)
}
