//! Words of classic BPF, in which seccomp filters are written: opcodes, verdicts, and where seccomp_data has what.

use libc::sock_filter;

pub(crate) const LD_ABS: u16 = 0x20;
pub(crate) const AND_K: u16 = 0x54;
pub(crate) const JEQ: u16 = 0x15;
pub(crate) const JSET: u16 = 0x45;
pub(crate) const RET: u16 = 0x06;

pub(crate) const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
pub(crate) const TRAP: u32 = libc::SECCOMP_RET_TRAP;

/// AUDIT_ARCH_X86_64
pub(crate) const ARCH_X86_64: u32 = 0xc000_003e;

pub(crate) const fn insn(code: u16, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

/// Where seccomp_data has the lower half of an argument.
pub(crate) const fn low(arg: u32) -> u32 {
    16 + 8 * arg
}
