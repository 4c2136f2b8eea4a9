//! adjtimex(2): the clock's discipline.
//!
//! The host disciplines its clock, and the guest's follows. So the guest may step its clock and keep its books (status,
//! errors, TAI), but not slew or change the frequency: EOPNOTSUPP.

use abi::Result;
use abi::errno::{EINVAL, EOPNOTSUPP};
use abi::time::*;

use super::calls::may_set_time;
use super::clock::{Clock, ClockId, set_realtime, set_tai_offset, tai_offset};
use crate::sync::{SpinLock, rank};
use crate::uaccess::UserPtr;

/// What the guest has noted.
struct Books {
    status: i32,
    maxerror: i64,
    esterror: i64,
    constant: i64,
}

/// µs: an unsynchronised clock's errors.
const NTP_PHASE_LIMIT: i64 = 16_000_000;
/// Largest frequency change, ppm times 2^16.
const TOLERANCE: i64 = 500 << 16;
/// µs in a tick of USER_HZ.
const TICK: i64 = 10_000;
const KNOWN: u32 = ADJ_OFFSET
    | ADJ_FREQUENCY
    | ADJ_MAXERROR
    | ADJ_ESTERROR
    | ADJ_STATUS
    | ADJ_TIMECONST
    | ADJ_TAI
    | ADJ_SETOFFSET
    | ADJ_MICRO
    | ADJ_NANO
    | ADJ_TICK;
/// Status bits that user space may not set.
const STA_RONLY: i32 = 0xff00;

static BOOKS: SpinLock<Books> = SpinLock::new(
    rank::LEAF,
    Books { status: STA_UNSYNC, maxerror: NTP_PHASE_LIMIT, esterror: NTP_PHASE_LIMIT, constant: 2 },
);

/// adjtimex(2)
pub fn adjtimex(buf: UserPtr<Timex>) -> Result<i32> {
    clock_adjtime(ClockId(CLOCK_REALTIME), buf)
}

/// clock_adjtime(2)
pub fn clock_adjtime(clockid: ClockId, buf: UserPtr<Timex>) -> Result<i32> {
    if clockid.0 != CLOCK_REALTIME {
        Clock::from_id(clockid)?;
        return Err(EOPNOTSUPP);
    }
    let mut tx = buf.read()?;
    change(&tx)?;
    let state = report(&mut tx);
    buf.write(&tx)?;
    Ok(state)
}

fn change(tx: &Timex) -> Result<()> {
    let modes = tx.modes;
    if modes == 0 || modes == ADJ_OFFSET_SS_READ {
        return Ok(());
    }
    may_set_time()?;
    if modes == ADJ_OFFSET_SINGLESHOT {
        return if tx.offset == 0 { Ok(()) } else { Err(EOPNOTSUPP) };
    }
    if modes & !KNOWN != 0 || (modes & ADJ_MICRO != 0 && modes & ADJ_NANO != 0) {
        return Err(EINVAL);
    }
    if modes & ADJ_TICK != 0 && !(TICK * 9 / 10..=TICK * 11 / 10).contains(&tx.tick) {
        return Err(EINVAL);
    }
    let slews = (modes & ADJ_OFFSET != 0 && tx.offset != 0)
        || (modes & ADJ_FREQUENCY != 0 && tx.freq != 0)
        || (modes & ADJ_TICK != 0 && tx.tick != TICK);
    if slews {
        return Err(EOPNOTSUPP);
    }
    if modes & ADJ_SETOFFSET != 0 {
        step(tx)?;
    }
    if modes & ADJ_TAI != 0 {
        set_tai_offset(i32::try_from(tx.constant).ok().filter(|&t| t >= 0).ok_or(EINVAL)?);
    }
    note(tx);
    Ok(())
}

fn note(tx: &Timex) {
    let mut books = BOOKS.lock();
    let modes = tx.modes;
    if modes & ADJ_STATUS != 0 {
        books.status = books.status & STA_RONLY | tx.status & !STA_RONLY;
    }
    if modes & ADJ_NANO != 0 {
        books.status |= STA_NANO;
    }
    if modes & ADJ_MICRO != 0 {
        books.status &= !STA_NANO;
    }
    if modes & ADJ_MAXERROR != 0 {
        books.maxerror = tx.maxerror.clamp(0, NTP_PHASE_LIMIT);
    }
    if modes & ADJ_ESTERROR != 0 {
        books.esterror = tx.esterror.clamp(0, NTP_PHASE_LIMIT);
    }
    if modes & ADJ_TIMECONST != 0 {
        books.constant = tx.constant.clamp(0, 10);
    }
}

/// ADJ_SETOFFSET: moves the clock by a signed time whose fraction is not negative.
fn step(tx: &Timex) -> Result<()> {
    let (unit, limit) =
        if tx.modes & ADJ_NANO != 0 { (1, NSEC_PER_SEC as i64) } else { (1000, USEC_PER_SEC as i64) };
    let fraction = tx.time.tv_usec;
    if !(0..limit).contains(&fraction) {
        return Err(EINVAL);
    }
    let seconds = tx.time.tv_sec.checked_mul(NSEC_PER_SEC as i64).ok_or(EINVAL)?;
    let by = seconds.checked_add(fraction * unit).ok_or(EINVAL)?;
    set_realtime(Clock::Realtime.now().checked_add_signed(by).ok_or(EINVAL)?)
}

fn report(tx: &mut Timex) -> i32 {
    let now = Clock::Realtime.now();
    let books = BOOKS.lock();
    let nano = books.status & STA_NANO != 0;
    let fraction = now % NSEC_PER_SEC;
    *tx = Timex {
        modes: tx.modes,
        status: books.status,
        maxerror: books.maxerror,
        esterror: books.esterror,
        constant: books.constant,
        precision: 1,
        tolerance: TOLERANCE,
        time: Timeval {
            tv_sec: (now / NSEC_PER_SEC) as i64,
            tv_usec: if nano { fraction } else { fraction / 1000 } as i64,
        },
        tick: TICK,
        tai: tai_offset(),
        ..Timex::default()
    };
    if books.status & STA_UNSYNC != 0 { TIME_ERROR } else { TIME_OK }
}
