//! Clocks and timers.

use abi::stat::{UTIME_NOW, UTIME_OMIT};
use abi::time::{Itimerspec, Itimerval, Timespec, Timeval, Utimbuf};

use super::super::line::Line;
use super::signal_name;

flags! {
    /// clock_nanosleep(2), timer_settime(2)
    timer_flags(u32) in time { TIMER_ABSTIME }
    /// timerfd_settime(2)
    timerfd_set_flags(u32) in time { TFD_TIMER_ABSTIME TFD_TIMER_CANCEL_ON_SET }
    /// timerfd_create(2)
    timerfd_flags(u32) in time { TFD_CLOEXEC TFD_NONBLOCK }
}

values! {
    /// setitimer(2)
    itimer_which(u32) in time { ITIMER_REAL ITIMER_VIRTUAL ITIMER_PROF }
    sigev_notify(i32) in signal { SIGEV_SIGNAL SIGEV_NONE SIGEV_THREAD SIGEV_THREAD_ID }
}

pub(super) fn timespec_fields(time: &Timespec, line: &mut Line<'_>) {
    write!(line, "{{tv_sec={}, tv_nsec={}}}", time.tv_sec, time.tv_nsec);
}

pub(super) fn timeval_fields(time: &Timeval, line: &mut Line<'_>) {
    write!(line, "{{tv_sec={}, tv_usec={}}}", time.tv_sec, time.tv_usec);
}

/// `struct timespec`
pub fn timespec(raw: u64, line: &mut Line<'_>) {
    line.object(raw, timespec_fields);
}

/// `struct timeval`
pub fn timeval(raw: u64, line: &mut Line<'_>) {
    line.object(raw, timeval_fields);
}

/// `struct itimerspec`
pub fn itimerspec(raw: u64, line: &mut Line<'_>) {
    line.object(raw, |timer: &Itimerspec, line| {
        line.put("{it_interval=");
        timespec_fields(&timer.it_interval, line);
        line.put(", it_value=");
        timespec_fields(&timer.it_value, line);
        line.put("}");
    });
}

/// `struct itimerval`
pub fn itimerval(raw: u64, line: &mut Line<'_>) {
    line.object(raw, |timer: &Itimerval, line| {
        line.put("{it_interval=");
        timeval_fields(&timer.it_interval, line);
        line.put(", it_value=");
        timeval_fields(&timer.it_value, line);
        line.put("}");
    });
}

/// The two times of utimensat(2).
pub fn utime_specs(raw: u64, line: &mut Line<'_>) {
    line.object(raw, |times: &[Timespec; 2], line| {
        for (time, before) in times.iter().zip(["[", ", "]) {
            line.put(before);
            match time.tv_nsec {
                UTIME_NOW => line.put("UTIME_NOW"),
                UTIME_OMIT => line.put("UTIME_OMIT"),
                _ => timespec_fields(time, line),
            }
        }
        line.put("]");
    });
}

/// The two times of utimes(2).
pub fn utime_vals(raw: u64, line: &mut Line<'_>) {
    line.array(raw, if raw == 0 { 0 } else { 2 }, timeval_fields);
}

/// `struct utimbuf`
pub fn utimbuf(raw: u64, line: &mut Line<'_>) {
    line.object(raw, |times: &Utimbuf, line| {
        write!(line, "{{actime={}, modtime={}}}", times.actime, times.modtime);
    });
}

/// `struct sigevent`
pub fn sigevent(raw: u64, line: &mut Line<'_>) {
    line.object(raw, |event: &abi::signal::SigEvent, line| {
        line.put("{sigev_signo=");
        signal_name(event.sigev_signo as u64, line);
        line.put(", sigev_notify=");
        sigev_notify(event.sigev_notify as u64, line);
        line.put("}");
    });
}
