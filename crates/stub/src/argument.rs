//! What a system call's arguments point to: copied to the window on the way into the kernel, which then need not ask the
//! host for it.

use crate::abi::{ARG_LEN, Window};
use crate::sys::{SYS_GETRUSAGE, syscall3};
use crate::{RDI, RSI, copy};
use core::sync::atomic::Ordering::Relaxed;

pub const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;

/// The most that is copied of a path name: most are shorter.
const PATH: u64 = 256;

const RDX: usize = 12;
const R10: usize = 2;

/// Copies what a system call points to, if it is a call for which that is worth it.
pub fn fetch(window: &Window, nr: u32, regs: &[u64; 23]) {
    // exit exit_group execve execveat: who does it now spares the kernel a look at /proc.
    if matches!(nr, 60 | 231 | 59 | 322) {
        count_usage(window);
    }
    let (addr, len) = range(nr, |i| regs[i]);
    copy(window, addr, len);
}

/// The same on the fast way, with the registers that are in the window.
pub fn fetch_fast(window: &Window, nr: u32) {
    let (addr, len) = range(nr, |i| window.regs[i].load(Relaxed));
    copy(window, addr, len);
}

fn copy(window: &Window, addr: u64, len: u64) {
    let mut count = 0;
    if len != 0 {
        count = copy::argument(window, addr, len);
        window.arg_addr.store(addr, Relaxed);
    }
    window.arg_len.store(count, Relaxed);
}

fn count_usage(window: &Window) {
    // struct rusage: two times of two words; ru_maxrss is the fifth word, ru_minflt and ru_majflt the ninth and tenth.
    let mut rusage = [0u64; 18];
    syscall3(SYS_GETRUSAGE, 0, rusage.as_mut_ptr() as u64, 0);
    for (to, from) in window.usage.iter().zip([rusage[8], rusage[9], rusage[4]]) {
        to.store(from, Relaxed);
    }
}

/// Where the call's main argument is. Not for futex words and the like: when they are read matters.
#[inline(always)]
fn range(nr: u32, reg: impl Fn(usize) -> u64) -> (u64, u64) {
    match nr {
        // write pwrite64 sendto: what is longer goes by one host call anyway.
        1 | 18 | 44 => buffer(reg(RSI), reg(RDX)),
        // open stat lstat access execve chdir rename mkdir rmdir creat unlink readlink chmod chown statfs
        2 | 4 | 6 | 21 | 59 | 80 | 82 | 83 | 84 | 85 | 87 | 89 | 90 | 92 | 137 => path(reg(RDI)),
        // openat mkdirat newfstatat unlinkat readlinkat faccessat statx faccessat2
        257 | 258 | 262 | 263 | 267 | 269 | 332 | 439 => path(reg(RSI)),
        // rt_sigaction (struct sigaction), rt_sigprocmask (sigset_t)
        13 => buffer(reg(RSI), if reg(RSI) == 0 { 0 } else { 32 }),
        14 => buffer(reg(RSI), if reg(RSI) == 0 { 0 } else { 8 }),
        // nanosleep clock_nanosleep (struct timespec)
        35 => buffer(reg(RDI), 16),
        230 => buffer(reg(RDX), 16),
        // poll (struct pollfd)
        7 => buffer(reg(RDI), reg(RSI).saturating_mul(8)),
        // writev (struct iovec)
        20 => buffer(reg(RSI), reg(RDX).saturating_mul(16)),
        // epoll_ctl (struct epoll_event)
        233 => buffer(reg(R10), if reg(R10) == 0 { 0 } else { 12 }),
        // clone3
        435 => buffer(reg(RDI), reg(RSI)),
        _ => (0, 0),
    }
}

fn buffer(addr: u64, len: u64) -> (u64, u64) {
    if len > ARG_LEN { (0, 0) } else { (addr, len) }
}

/// To the end of the page, as the kernel reads it: the next may not be there.
fn path(addr: u64) -> (u64, u64) {
    (addr, PATH.min(0x1000 - (addr & 0xfff)))
}
