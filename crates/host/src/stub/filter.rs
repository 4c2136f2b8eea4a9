//! The seccomp filters of the stubs, as classic BPF.
//!
//! Guest code can jump anywhere in the stub's text with any registers, so whatever the filter lets through there is what
//! a hostile guest can do: change its own memory below [`STUB_BASE`], wait on its own windows, and end itself. Outside
//! the text every call traps.

use super::abi::*;
use crate::bpf::*;
use libc::sock_filter;

const LD_MEM: u16 = 0x60;
const ST: u16 = 0x02;
const TAX: u16 = 0x07;
const ADD_X: u16 = 0x0c;
const ADD_K: u16 = 0x04;
const JGT: u16 = 0x25;
const JGE: u16 = 0x35;
const JGE_X: u16 = 0x3d;

const USER_NOTIF: u32 = libc::SECCOMP_RET_USER_NOTIF;
const BASE_HIGH: u32 = (STUB_BASE >> 32) as u32;
const SLOTS_HIGH: u32 = (SLOTS >> 32) as u32;
const STACK_HIGH: u32 = 0x7fff;

/// Offsets into seccomp_data.
const NR: u32 = 0;
const ARCH: u32 = 4;
const IP: u32 = 8;

const fn high(arg: u32) -> u32 {
    20 + 8 * arg
}

/// A jump target that is filled in when a rule is complete: the rule's end, where the call is not allowed by it.
const FAIL: u8 = 255;

/// One alternative under which a call is allowed: instructions that fall through where it holds and jump to `FAIL` where not.
#[derive(Default, Clone)]
struct Rule(Vec<sock_filter>);

impl Rule {
    fn insn(mut self, code: u16, jt: u8, jf: u8, k: u32) -> Rule {
        self.0.push(sock_filter { code, jt, jf, k });
        self
    }

    fn load(self, offset: u32) -> Rule {
        self.insn(LD_ABS, 0, 0, offset)
    }

    /// The whole 64-bit argument is `value`.
    fn eq(self, arg: u32, value: u64) -> Rule {
        self.load(high(arg)).insn(JEQ, 0, FAIL, (value >> 32) as u32).load(low(arg)).insn(
            JEQ,
            0,
            FAIL,
            value as u32,
        )
    }

    /// The argument's upper half is `value`.
    fn high_is(self, arg: u32, value: u32) -> Rule {
        self.load(high(arg)).insn(JEQ, 0, FAIL, value)
    }

    /// The argument's bits in `mask`, which lie in the lower half, are `value`.
    fn low_bits(self, arg: u32, mask: u32, value: u32) -> Rule {
        self.load(low(arg)).insn(AND_K, 0, 0, mask).insn(JEQ, 0, FAIL, value)
    }

    /// The argument has no bits but those of `mask`.
    fn only(self, arg: u32, mask: u32) -> Rule {
        self.high_is(arg, 0).load(low(arg)).insn(JSET, FAIL, 0, !mask)
    }

    /// Argument `addr` plus argument `len` does not exceed the guest's part of the address space.
    fn guest_range(self, addr: u32, len: u32) -> Rule {
        self.load(high(len))
            .insn(JGE, FAIL, 0, BASE_HIGH)
            .insn(TAX, 0, 0, 0)
            .load(high(addr))
            .insn(JGE, FAIL, 0, BASE_HIGH)
            .insn(ADD_X, 0, 0, 0)
            .insn(ST, 0, 0, 0)
            .load(low(len))
            .insn(TAX, 0, 0, 0)
            .load(low(addr))
            .insn(ADD_X, 0, 0, 0)
            .insn(ST, 0, 0, 1)
            // The lower halves' sum is less than either of them when it has overflowed.
            .insn(JGE_X, 3, 0, 0)
            .insn(LD_MEM, 0, 0, 0)
            .insn(ADD_K, 0, 0, 1)
            .insn(ST, 0, 0, 0)
            .insn(LD_MEM, 0, 0, 0)
            .insn(JGT, FAIL, 0, BASE_HIGH)
            .insn(JEQ, 0, 2, BASE_HIGH)
            .insn(LD_MEM, 0, 0, 1)
            .insn(JEQ, 0, FAIL, 0)
    }
}

fn any() -> Rule {
    Rule::default()
}

/// Which calls are allowed from the stub's text, each with the alternatives of its arguments.
fn calls() -> Vec<(libc::c_long, Vec<Rule>)> {
    let map_flags = libc::MAP_SHARED
        | libc::MAP_PRIVATE
        | libc::MAP_FIXED
        | libc::MAP_ANONYMOUS
        | libc::MAP_NORESERVE
        | libc::MAP_POPULATE;
    let fixed = libc::MAP_FIXED as u32;
    let window = any()
        .high_is(0, SLOTS_HIGH)
        .low_bits(0, SLOT_LEN as u32 - 1, 0)
        .eq(1, WINDOW_LEN)
        .eq(2, 3)
        .eq(3, (libc::MAP_SHARED | libc::MAP_FIXED) as u64)
        .eq(5, 0);
    let stack = any()
        .high_is(0, SLOTS_HIGH)
        .low_bits(0, SLOT_LEN as u32 - 1, STACK_OFFSET as u32)
        .eq(1, STACK_LEN)
        .eq(2, 3)
        .eq(3, (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED) as u64);
    let map = || any().guest_range(0, 1).only(2, 7).only(3, map_flags as u32);
    let (shared, anonymous) = (libc::MAP_SHARED as u32, libc::MAP_ANONYMOUS as u32);
    // Shared anonymous memory could be left allocated where no account sees it: unmapped pages of a mapping count nowhere.
    let private = map().low_bits(3, fixed | shared, fixed);
    let object = map().low_bits(3, fixed | anonymous, fixed);
    // A higher clock is another process's, or a descriptor's.
    let clock = || any().load(low(0)).insn(JSET, FAIL, 0, !15);
    let remap = (libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED) as u64;
    let moved = || any().guest_range(0, 1).guest_range(4, 2);
    let clone = |flags| any().eq(0, flags).eq(2, 0).eq(3, 0).eq(4, 0);
    vec![
        (libc::SYS_rt_sigreturn, vec![any()]),
        (libc::SYS_futex, vec![any().high_is(0, SLOTS_HIGH).only(1, 1)]),
        (libc::SYS_sched_yield, vec![any()]),
        (libc::SYS_mmap, vec![private, object, window, stack]),
        (libc::SYS_munmap, vec![any().guest_range(0, 1), any().high_is(0, STACK_HIGH)]),
        (libc::SYS_mprotect, vec![any().guest_range(0, 1).only(2, 7)]),
        (
            libc::SYS_madvise,
            vec![
                any().guest_range(0, 1).only(2, 31),
                any().high_is(0, SLOTS_HIGH).eq(2, libc::MADV_DONTFORK as u64),
            ],
        ),
        (
            libc::SYS_mremap,
            vec![
                any().guest_range(0, 1).guest_range(0, 2).eq(3, 0),
                moved().eq(3, remap),
                moved().eq(3, remap | libc::MREMAP_DONTUNMAP as u64),
            ],
        ),
        (libc::SYS_recvmsg, vec![any().eq(0, CONTROL as u64)]),
        (libc::SYS_close, vec![any()]),
        (libc::SYS_dup3, vec![any().eq(1, CONTROL as u64)]),
        (libc::SYS_clone, vec![clone(FORK_FLAGS).eq(1, 0), clone(THREAD_FLAGS).high_is(1, SLOTS_HIGH)]),
        (libc::SYS_prctl, vec![any().eq(0, libc::PR_SET_PDEATHSIG as u64).eq(1, libc::SIGKILL as u64)]),
        (libc::SYS_getppid, vec![any()]),
        (libc::SYS_getrusage, vec![any().eq(0, libc::RUSAGE_SELF as u64)]),
        // ARCH_SET_GS, ARCH_SET_FS, ARCH_GET_FS, ARCH_GET_GS
        (libc::SYS_arch_prctl, vec![any().high_is(0, 0).load(low(0)).insn(JGT, FAIL, 0, 0x1004)]),
        (libc::SYS_clock_gettime, vec![clock()]),
        (libc::SYS_clock_getres, vec![clock()]),
        (libc::SYS_gettimeofday, vec![any()]),
        (libc::SYS_time, vec![any()]),
        (libc::SYS_getcpu, vec![any()]),
        (libc::SYS_exit, vec![any()]),
        (libc::SYS_exit_group, vec![any()]),
    ]
}

/// A rule followed by its verdict; where the rule fails, control falls to what follows.
fn complete(rule: Rule, verdict: u32, out: &mut Vec<sock_filter>) {
    let rule = rule.insn(RET, 0, 0, verdict);
    let len = rule.0.len();
    for (i, mut insn) in rule.0.into_iter().enumerate() {
        let rest = (len - i - 1) as u8;
        if insn.jt == FAIL {
            insn.jt = rest;
        }
        if insn.jf == FAIL {
            insn.jf = rest;
        }
        out.push(insn);
    }
}

/// The instruction pointer is in the stub's text.
fn in_text() -> Rule {
    let text = any().load(IP + 4).insn(JEQ, 0, FAIL, BASE_HIGH);
    text.load(IP).insn(JGE, FAIL, 0, TEXT_LEN as u32)
}

/// What a stub may call: all else is a SIGSYS, which is how guest system calls arrive.
pub(super) fn strict() -> Vec<sock_filter> {
    let mut calls_code = Vec::new();
    for (nr, rules) in calls() {
        let mut body = Vec::new();
        for rule in rules {
            complete(rule, ALLOW, &mut body);
        }
        body.push(insn(RET, 0, 0, TRAP));
        let skip = u8::try_from(body.len()).expect("rules of one call fit a jump");
        calls_code.push(insn(LD_ABS, 0, 0, NR));
        calls_code.push(insn(JEQ, 0, skip, nr as u32));
        calls_code.extend(body);
    }
    // Guest code first: it is the hot way.
    let mut out = vec![
        insn(LD_ABS, 0, 0, IP + 4),
        insn(JEQ, 1, 0, BASE_HIGH),
        insn(RET, 0, 0, TRAP),
        insn(LD_ABS, 0, 0, IP),
        insn(JGE, 0, 1, TEXT_LEN as u32),
        insn(RET, 0, 0, TRAP),
        insn(LD_ABS, 0, 0, ARCH),
        insn(JEQ, 1, 0, ARCH_X86_64),
        insn(RET, 0, 0, TRAP),
    ];
    out.append(&mut calls_code);
    out.push(insn(RET, 0, 0, TRAP));
    out
}

/// The filter with the listener: a clone from the text waits for the kernel's word; all else is the other filter's.
pub(super) fn listener() -> Vec<sock_filter> {
    let mut out = Vec::new();
    let rule = in_text().load(ARCH).insn(JEQ, 0, FAIL, ARCH_X86_64).load(NR);
    complete(rule.insn(JEQ, 0, FAIL, libc::SYS_clone as u32), USER_NOTIF, &mut out);
    out.push(insn(RET, 0, 0, ALLOW));
    out
}

#[cfg(test)]
mod tests;
