//! /dev/rtc0, rtc(4): the clock that goes on while the machine is off. It is the host's, in UTC; setting it lasts as long
//! as the machine.
//!
//! Lock: LEAF, over an open file's timer of the seconds.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::SeqCst};

use abi::Result;
use abi::cred::CAP_SYS_TIME;
use abi::errno::{EACCES, EAGAIN, EINVAL, ENOTTY};
use abi::ioctl::{io, ior, iow};
use abi::time::NSEC_PER_SEC;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::fs::sysfs::{attribute, device};
use crate::sched::Timer;
use crate::sync::{PollTable, SpinLock, WaitQueue, rank};
use crate::task::capable;
use crate::uaccess::UserPtr;
use crate::vfs::dev::register_chrdev;
use crate::vfs::{File, FileOps, FileType, IovDest, PollEvents};

/// Number of the device: the first of those that Linux gives out as it goes.
const RTC_MAJOR: u32 = 254;

/// `struct rtc_time`: as C's `struct tm`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
struct RtcTime {
    sec: i32,
    min: i32,
    hour: i32,
    mday: i32,
    mon: i32,
    year: i32,
    wday: i32,
    yday: i32,
    isdst: i32,
}

const RTC_UIE_ON: u32 = io(b'p', 0x03);
const RTC_UIE_OFF: u32 = io(b'p', 0x04);
const RTC_RD_TIME: u32 = ior::<RtcTime>(b'p', 0x09);
const RTC_SET_TIME: u32 = iow::<RtcTime>(b'p', 0x0a);
/// What a read answers: an update interrupt.
const RTC_IRQF: u64 = 0x80;
const RTC_UF: u64 = 0x10;
/// Years of `struct rtc_time` count from here, and 1970 is this many in.
const YEAR_0: i64 = 1900;
const DAY: i64 = 86_400;

/// Seconds that the clock is ahead of the host's.
static OFFSET: AtomicI64 = AtomicI64::new(0);

fn now() -> i64 {
    (host::clock::realtime() / NSEC_PER_SEC) as i64 + OFFSET.load(SeqCst)
}

/// Makes the device known. From a task.
pub fn init() {
    register_chrdev(RTC_MAJOR, 0, "rtc", |_, _| Ok(Box::new(Rtc::open())));
    if let Err(errno) =
        crate::fs::devtmpfs::add("rtc0", FileType::CharDev, abi::stat::makedev(RTC_MAJOR, 0), 0o600)
    {
        crate::pr_err!("rtc0: {errno}");
    }
    let date = || {
        let t = from_seconds(now());
        (
            format!("{:04}-{:02}-{:02}", t.year + 1900, t.mon + 1, t.mday),
            format!("{:02}:{:02}:{:02}", t.hour, t.min, t.sec),
        )
    };
    device::add(device::Device {
        parent: "devices/platform/rtc_cmos/rtc".to_owned(),
        subsystem: "rtc",
        name: "rtc0".to_owned(),
        number: Some((RTC_MAJOR, 0)),
        variables: Vec::new(),
        entries: vec![
            attribute("name", || "ruml"),
            attribute("date", move || date().0),
            attribute("time", move || date().1),
            attribute("since_epoch", now),
            attribute("hctosys", || 1),
            attribute("max_user_freq", || 64),
        ],
    });
}

/// Days from 1970 to the first of a month (0 to 11) of a year.
fn days_before(year: i64, month: i64) -> i64 {
    // Years begin with March here, so that the leap day is the last one.
    let (y, m) = if month < 2 { (year - 1, month + 10) } else { (year, month - 2) };
    let days = 365 * y + y.div_euclid(4) - y.div_euclid(100) + y.div_euclid(400) + (153 * m + 2) / 5;
    days - 719_468
}

fn from_seconds(seconds: i64) -> RtcTime {
    let (days, rest) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY));
    // At most a year too early.
    let mut year = 1970 + days.div_euclid(366);
    while days_before(year + 1, 0) <= days {
        year += 1;
    }
    let month = (0..12).rev().find(|&m| days_before(year, m) <= days).unwrap_or(0);
    RtcTime {
        sec: (rest % 60) as i32,
        min: (rest / 60 % 60) as i32,
        hour: (rest / 3600) as i32,
        mday: (days - days_before(year, month) + 1) as i32,
        mon: month as i32,
        year: (year - YEAR_0) as i32,
        wday: (days + 4).rem_euclid(7) as i32,
        yday: (days - days_before(year, 0)) as i32,
        isdst: 0,
    }
}

/// EINVAL for a day that isn't there.
fn to_seconds(t: &RtcTime) -> Result<i64> {
    let in_range = (0..60).contains(&t.sec) && (0..60).contains(&t.min) && (0..24).contains(&t.hour);
    if !in_range || !(0..12).contains(&t.mon) || !(70..1100).contains(&t.year) || t.mday < 1 {
        return Err(EINVAL);
    }
    let (year, month) = (i64::from(t.year) + YEAR_0, i64::from(t.mon));
    let first = days_before(year, month);
    let next = if month == 11 { days_before(year + 1, 0) } else { days_before(year, month + 1) };
    let day = first + i64::from(t.mday) - 1;
    if day >= next {
        return Err(EINVAL);
    }
    Ok(day * DAY + i64::from(t.hour) * 3600 + i64::from(t.min) * 60 + i64::from(t.sec))
}

/// An open device.
struct Rtc {
    /// An interrupt each second is wanted.
    update: AtomicBool,
    /// The second that was told of last.
    told: AtomicU64,
    queue: WaitQueue,
    timer: SpinLock<Option<Timer>>,
}

impl Rtc {
    fn open() -> Rtc {
        Rtc {
            update: AtomicBool::new(false),
            told: AtomicU64::new(0),
            queue: WaitQueue::new(),
            timer: SpinLock::new(rank::LEAF, None),
        }
    }

    /// Seconds that have begun since the last look.
    fn pending(&self) -> u64 {
        if !self.update.load(SeqCst) {
            return 0;
        }
        (now() as u64).saturating_sub(self.told.load(SeqCst))
    }

    /// Wakes who waits when the next second begins.
    fn arm(&self) {
        let left = NSEC_PER_SEC - host::clock::realtime() % NSEC_PER_SEC;
        let queue = self.queue.clone();
        let timer = Timer::start(host::clock::monotonic() + left, move || queue.wake(PollEvents::READABLE));
        let old = self.timer.lock().replace(timer);
        drop(old);
    }
}

impl FileOps for Rtc {
    fn read(&self, _: &File, dest: &mut IovDest<'_>, _: &mut u64) -> Result<usize> {
        if dest.remaining() < 4 {
            return Err(EINVAL);
        }
        let count = self.pending();
        if count == 0 {
            return Err(EAGAIN);
        }
        self.told.store(now() as u64, SeqCst);
        let word = count << 8 | RTC_UF | RTC_IRQF;
        if dest.remaining() < 8 {
            dest.write(&(word as u32).to_ne_bytes())
        } else {
            dest.write(&word.to_ne_bytes())
        }
    }

    fn poll(&self, _: &File, table: &mut PollTable) -> PollEvents {
        table.register(&self.queue);
        if self.pending() > 0 {
            return PollEvents::READABLE;
        }
        if self.update.load(SeqCst) {
            self.arm();
        }
        PollEvents::empty()
    }

    fn ioctl(&self, _: &File, cmd: u32, arg: u64) -> Result<u64> {
        match cmd {
            RTC_RD_TIME => UserPtr::new(arg).write(&from_seconds(now()))?,
            RTC_SET_TIME => {
                if !capable(CAP_SYS_TIME) {
                    return Err(EACCES);
                }
                let wanted = to_seconds(&UserPtr::<RtcTime>::new(arg).read()?)?;
                OFFSET.fetch_add(wanted - now(), SeqCst);
            }
            RTC_UIE_ON => {
                self.told.store(now() as u64, SeqCst);
                self.update.store(true, SeqCst);
            }
            RTC_UIE_OFF => self.update.store(false, SeqCst),
            // No alarm, no other interrupts.
            _ => return Err(ENOTTY),
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_seconds_agree() {
        let t = from_seconds(951_782_399);
        assert_eq!(
            (t.year, t.mon, t.mday, t.hour, t.min, t.sec, t.wday, t.yday),
            (100, 1, 28, 23, 59, 59, 1, 58)
        );
        for seconds in [0, 951_782_400, 951_868_800, 1_709_164_800, 4_107_542_399, 1_800_000_000] {
            assert_eq!(to_seconds(&from_seconds(seconds)), Ok(seconds));
        }
        let bad = RtcTime { mday: 30, mon: 1, year: 124, ..RtcTime::default() };
        assert_eq!(to_seconds(&bad), Err(EINVAL));
    }
}
