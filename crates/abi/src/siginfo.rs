//! What `siginfo_t` says for each kind of sender: constructors and accessors of [`SigInfo`]'s union (sigaction(2)).

use crate::signal::{SI_TIMER, SIGCHLD, SIGSYS, SYS_SECCOMP, SigInfo};

/// Two 32-bit fields of the union as they lie in memory: `low` first.
const fn pair(low: u32, high: u32) -> u64 {
    low as u64 | (high as u64) << 32
}

impl SigInfo {
    /// Any signal with nothing but a code, such as `SI_KERNEL`.
    pub const fn new(sig: u32, code: i32) -> SigInfo {
        SigInfo { si_signo: sig as i32, si_errno: 0, si_code: code, _pad: 0, fields: [0; 14] }
    }

    /// kill(2), tgkill(2): who sent it.
    pub const fn kill(sig: u32, code: i32, pid: i32, uid: u32) -> SigInfo {
        let mut info = SigInfo::new(sig, code);
        info.fields[0] = pair(pid as u32, uid);
        info
    }

    /// sigqueue(3), mq_notify(3): who sent it, and the value.
    pub const fn rt(sig: u32, code: i32, pid: i32, uid: u32, value: u64) -> SigInfo {
        let mut info = SigInfo::kill(sig, code, pid, uid);
        info.fields[1] = value;
        info
    }

    /// A POSIX timer: its id, how often it ran out since, and the value of its sigevent.
    pub const fn timer(sig: u32, timerid: i32, overrun: i32, value: u64) -> SigInfo {
        let mut info = SigInfo::new(sig, SI_TIMER);
        info.fields[0] = pair(timerid as u32, overrun as u32);
        info.fields[1] = value;
        info
    }

    /// SIGCHLD. `status` is the exit code for `CLD_EXITED`, else the signal; times are in ticks of `USER_HZ`.
    pub const fn chld(code: i32, pid: i32, uid: u32, status: i32, utime: u64, stime: u64) -> SigInfo {
        let mut info = SigInfo::kill(SIGCHLD, code, pid, uid);
        info.fields[1] = pair(status as u32, 0);
        info.fields[2] = utime;
        info.fields[3] = stime;
        info
    }

    /// A fault of the running instruction at `addr`.
    pub const fn fault(sig: u32, code: i32, addr: u64) -> SigInfo {
        let mut info = SigInfo::new(sig, code);
        info.fields[0] = addr;
        info
    }

    /// SIGIO: the event in `band` (`POLL*` bits) and the descriptor.
    pub const fn poll(sig: u32, code: i32, band: i64, fd: i32) -> SigInfo {
        let mut info = SigInfo::new(sig, code);
        info.fields[0] = band as u64;
        info.fields[1] = pair(fd as u32, 0);
        info
    }

    /// SIGSYS from a seccomp filter: the address after the call, its number, the `AUDIT_ARCH_*`, the filter's data.
    pub const fn sys(call_addr: u64, syscall: i32, arch: u32, data: i32) -> SigInfo {
        let mut info = SigInfo::new(SIGSYS, SYS_SECCOMP);
        info.si_errno = data;
        info.fields[0] = call_addr;
        info.fields[1] = pair(syscall as u32, arch);
        info
    }

    /// The sender's process (kill, rt, chld).
    pub const fn si_pid(&self) -> i32 {
        self.fields[0] as i32
    }

    /// The sender's real user (kill, rt, chld).
    pub const fn si_uid(&self) -> u32 {
        (self.fields[0] >> 32) as u32
    }

    /// The value that came with it (rt, timer).
    pub const fn si_value(&self) -> u64 {
        self.fields[1]
    }

    /// The timer (timer).
    pub const fn si_timerid(&self) -> i32 {
        self.fields[0] as i32
    }

    /// How often the timer ran out beyond the one delivered (timer).
    pub const fn si_overrun(&self) -> i32 {
        (self.fields[0] >> 32) as i32
    }

    /// Sets the overrun, known only when a timer's signal is delivered.
    pub const fn set_overrun(&mut self, overrun: i32) {
        self.fields[0] = pair(self.fields[0] as u32, overrun as u32);
    }

    /// Exit code or signal (chld).
    pub const fn si_status(&self) -> i32 {
        self.fields[1] as i32
    }

    /// User time in ticks (chld).
    pub const fn si_utime(&self) -> u64 {
        self.fields[2]
    }

    /// System time in ticks (chld).
    pub const fn si_stime(&self) -> u64 {
        self.fields[3]
    }

    /// The faulting address (fault).
    pub const fn si_addr(&self) -> u64 {
        self.fields[0]
    }

    /// The event bits (poll).
    pub const fn si_band(&self) -> i64 {
        self.fields[0] as i64
    }

    /// The descriptor (poll).
    pub const fn si_fd(&self) -> i32 {
        self.fields[1] as i32
    }

    /// The address after the call (sys).
    pub const fn si_call_addr(&self) -> u64 {
        self.fields[0]
    }

    /// The number of the call (sys).
    pub const fn si_syscall(&self) -> i32 {
        self.fields[1] as i32
    }

    /// The architecture of the call, an `AUDIT_ARCH_*` (sys).
    pub const fn si_arch(&self) -> u32 {
        (self.fields[1] >> 32) as u32
    }
}
