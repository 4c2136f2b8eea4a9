//! Classic BPF, as sockets (SO_ATTACH_FILTER) and seccomp(2) run it on a packet or a call.
//!
//! A program is checked once: every jump leads forwards and inside, every scratch word is one of sixteen, it ends with a
//! return. So a run ends, and needs no bounds but those of the data.

use abi::Result;
use abi::errno::EINVAL;
use abi::net::{BPF_MAXINSNS, SockFilter, SockFprog};
use abi::seccomp::*;

use crate::uaccess::UserPtr;

/// Words of scratch memory.
const MEMWORDS: u32 = 16;
/// The offset from which a socket's filter asks for more than the packet's bytes.
const SKF_AD_OFF: u32 = -0x1000i32 as u32;
/// `SKF_AD_OFF + SKF_AD_ALU_XOR_X`: an instruction in the shape of a load, A ^= X.
const AD_ALU_XOR_X: u32 = SKF_AD_OFF.wrapping_add(40);
/// `SKF_AD_OFF + SKF_AD_CPU`: the processor's number.
const AD_CPU: u32 = SKF_AD_OFF.wrapping_add(36);
/// The end of what a filter can ask for: `SKF_AD_MAX`.
const AD_MAX: u32 = 64;

/// What a program is run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A packet: its bytes, words big-endian.
    Socket,
    /// A `struct seccomp_data`, whose words alone can be read.
    Seccomp,
}

/// A checked program.
#[derive(Debug)]
pub struct Program {
    insns: Vec<SockFilter>,
    kind: Kind,
}

/// The parts of an instruction's code.
const fn class(code: u16) -> u16 {
    code & 0x07
}

impl Program {
    /// Reads a program of the current task's. EINVAL; EFAULT.
    pub fn from_user(prog: &SockFprog, kind: Kind) -> Result<Program> {
        if prog.len == 0 || usize::from(prog.len) > BPF_MAXINSNS {
            return Err(EINVAL);
        }
        let insns = UserPtr::<SockFilter>::new(prog.filter).read_array(usize::from(prog.len))?;
        Program::new(insns, kind)
    }

    /// Checks a program. EINVAL.
    pub fn new(insns: Vec<SockFilter>, kind: Kind) -> Result<Program> {
        if insns.is_empty() || insns.len() > BPF_MAXINSNS {
            return Err(EINVAL);
        }
        for (at, insn) in insns.iter().enumerate() {
            check(insn, insns.len() - at - 1, kind)?;
        }
        if insns.last().is_none_or(|i| class(i.code) != BPF_RET) {
            return Err(EINVAL);
        }
        check_scratch(&insns)?;
        Ok(Program { insns, kind })
    }

    /// Instructions.
    pub fn len(&self) -> usize {
        self.insns.len()
    }

    /// Never: a program returns.
    pub fn is_empty(&self) -> bool {
        self.insns.is_empty()
    }

    /// The instructions themselves.
    pub fn insns(&self) -> &[SockFilter] {
        &self.insns
    }

    /// Runs it. A load outside the data ends it with 0, as does a division by zero.
    pub fn run(&self, data: &[u8]) -> u32 {
        let (mut a, mut x, mut mem) = (0u32, 0u32, [0u32; MEMWORDS as usize]);
        let mut pc = 0usize;
        while let Some(insn) = self.insns.get(pc) {
            pc += 1;
            let k = insn.k;
            let operand = if insn.code & BPF_X != 0 { x } else { k };
            match class(insn.code) {
                BPF_LD => match self.load(insn.code, k, x, data, &mem, &mut a) {
                    Some(value) => a = value,
                    None => return 0,
                },
                BPF_LDX => match insn.code & 0xe0 {
                    BPF_IMM => x = k,
                    BPF_MEM => x = mem[(k % MEMWORDS) as usize],
                    BPF_LEN => x = data.len() as u32,
                    _ => match byte(data, k) {
                        Some(value) => x = (value & 0xf) << 2,
                        None => return 0,
                    },
                },
                BPF_ST => mem[(k % MEMWORDS) as usize] = a,
                BPF_STX => mem[(k % MEMWORDS) as usize] = x,
                BPF_ALU => match alu(insn.code & 0xf0, a, operand) {
                    Some(value) => a = value,
                    None => return 0,
                },
                BPF_JMP => pc = pc.saturating_add(jump(insn, a, operand)),
                BPF_RET => return if insn.code & 0x18 == BPF_A { a } else { k },
                _ => match insn.code & 0xf8 {
                    BPF_TXA => a = x,
                    _ => x = a,
                },
            }
        }
        0
    }

    fn load(&self, code: u16, k: u32, x: u32, data: &[u8], mem: &[u32], a: &mut u32) -> Option<u32> {
        let at = match code & 0xe0 {
            BPF_IMM => return Some(k),
            BPF_MEM => return mem.get(k as usize).copied(),
            BPF_LEN => return Some(data.len() as u32),
            BPF_ABS if self.kind == Kind::Seccomp => {
                let word = data.get(k as usize..)?.first_chunk()?;
                return Some(u32::from_ne_bytes(*word));
            }
            BPF_ABS if k == AD_ALU_XOR_X => return Some(*a ^ x),
            BPF_ABS if k == AD_CPU => return Some(crate::sched::current_vcpu().map_or(0, |v| v.id as u32)),
            // The other facts about a packet: it has no interface, no mark, no hash.
            BPF_ABS if k >= SKF_AD_OFF => return Some(0),
            BPF_ABS => k,
            _ => k.checked_add(x)?,
        };
        match code & 0x18 {
            BPF_W => Some(u32::from_be_bytes(*data.get(at as usize..)?.first_chunk()?)),
            BPF_H => Some(u32::from(u16::from_be_bytes(*data.get(at as usize..)?.first_chunk()?))),
            _ => byte(data, at),
        }
    }
}

fn byte(data: &[u8], at: u32) -> Option<u32> {
    data.get(at as usize).map(|&b| u32::from(b))
}

fn alu(op: u16, a: u32, b: u32) -> Option<u32> {
    Some(match op {
        BPF_ADD => a.wrapping_add(b),
        BPF_SUB => a.wrapping_sub(b),
        BPF_MUL => a.wrapping_mul(b),
        BPF_DIV => a.checked_div(b)?,
        BPF_MOD => a.checked_rem(b)?,
        BPF_OR => a | b,
        BPF_AND => a & b,
        BPF_XOR => a ^ b,
        BPF_LSH => a.wrapping_shl(b),
        BPF_RSH => a.wrapping_shr(b),
        _ => a.wrapping_neg(),
    })
}

fn jump(insn: &SockFilter, a: u32, b: u32) -> usize {
    let taken = match insn.code & 0xf0 {
        BPF_JA => return insn.k as usize,
        BPF_JEQ => a == b,
        BPF_JGT => a > b,
        BPF_JGE => a >= b,
        _ => a & b != 0,
    };
    usize::from(if taken { insn.jt } else { insn.jf })
}

/// One instruction with `after` behind it. EINVAL.
fn check(insn: &SockFilter, after: usize, kind: Kind) -> Result<()> {
    let SockFilter { code, jt, jf, k } = *insn;
    let scratch = k < MEMWORDS;
    let source = code & 0xf8 & !BPF_X;
    let fits = match class(code) {
        BPF_LD => match (code & 0xe0, code & 0x18) {
            (BPF_IMM | BPF_LEN, BPF_W) => true,
            (BPF_MEM, BPF_W) => scratch,
            (BPF_ABS, BPF_W) if kind == Kind::Seccomp => {
                k.is_multiple_of(4) && (k as usize) < size_of::<SeccompData>()
            }
            (BPF_ABS, BPF_W | BPF_H | BPF_B) => kind == Kind::Socket && k < SKF_AD_OFF + AD_MAX,
            (BPF_IND, BPF_W | BPF_H | BPF_B) => kind == Kind::Socket,
            _ => false,
        },
        BPF_LDX => match (code & 0xe0, code & 0x18) {
            (BPF_IMM | BPF_LEN, BPF_W) => true,
            (BPF_MEM, BPF_W) => scratch,
            (BPF_MSH, BPF_B) => kind == Kind::Socket,
            _ => false,
        },
        BPF_ST | BPF_STX => code & !0x07 == 0 && scratch,
        BPF_ALU => match source {
            BPF_NEG => code & BPF_X == 0,
            BPF_MOD if kind == Kind::Seccomp => false,
            BPF_DIV | BPF_MOD => code & BPF_X != 0 || k != 0,
            BPF_LSH | BPF_RSH => code & BPF_X != 0 || k < 32,
            BPF_ADD | BPF_SUB | BPF_MUL | BPF_OR | BPF_AND | BPF_XOR => true,
            _ => false,
        },
        BPF_JMP => match source {
            BPF_JA => code & BPF_X == 0 && (k as usize) < after,
            BPF_JEQ | BPF_JGT | BPF_JGE | BPF_JSET => usize::from(jt) < after && usize::from(jf) < after,
            _ => false,
        },
        BPF_RET => matches!(code & 0xf8, BPF_K | BPF_A),
        _ => matches!(code & 0xf8, BPF_TAX | BPF_TXA),
    };
    if fits && code <= 0xff { Ok(()) } else { Err(EINVAL) }
}

/// Every scratch word must be written on all ways to where it is read. EINVAL.
fn check_scratch(insns: &[SockFilter]) -> Result<()> {
    // Words written on every way to an instruction; jumps only lead forwards, so one pass finds them.
    let mut at: Vec<u16> = vec![u16::MAX; insns.len()];
    let mut valid = 0u16;
    for (pc, insn) in insns.iter().enumerate() {
        valid &= at[pc];
        let word = 1u16.checked_shl(insn.k).unwrap_or(0);
        let mut reach = |ahead: usize, valid: u16| {
            if let Some(mask) = at.get_mut(pc.saturating_add(1).saturating_add(ahead)) {
                *mask &= valid;
            }
        };
        match class(insn.code) {
            BPF_ST | BPF_STX => valid |= word,
            BPF_LD | BPF_LDX if insn.code & 0xe0 == BPF_MEM && valid & word == 0 => return Err(EINVAL),
            BPF_JMP if insn.code & 0xf0 == BPF_JA => {
                reach(insn.k as usize, valid);
                valid = u16::MAX;
            }
            BPF_JMP => {
                reach(usize::from(insn.jt), valid);
                reach(usize::from(insn.jf), valid);
                valid = u16::MAX;
            }
            BPF_RET => valid = u16::MAX,
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insn(code: u16, jt: u8, jf: u8, k: u32) -> SockFilter {
        SockFilter { code, jt, jf, k }
    }

    #[test]
    fn a_filter_reads_the_packet_big_endian_and_calls_in_their_own_order() {
        let ret_a = insn(BPF_RET | BPF_A, 0, 0, 0);
        let load = |at| vec![insn(BPF_LD | BPF_W | BPF_ABS, 0, 0, at), ret_a];
        let socket = Program::new(load(1), Kind::Socket).unwrap();
        assert_eq!(socket.run(&[9, 1, 2, 3, 4]), 0x0102_0304);
        assert_eq!(socket.run(&[9, 1, 2, 3]), 0);
        let call = Program::new(load(4), Kind::Seccomp).unwrap();
        assert_eq!(call.run(&[0, 0, 0, 0, 4, 3, 2, 1]), 0x0102_0304);
        assert!(Program::new(load(64), Kind::Seccomp).is_err());
        assert!(Program::new(load(2), Kind::Seccomp).is_err());
    }

    #[test]
    fn jumps_stay_inside() {
        let ret = insn(BPF_RET | BPF_K, 0, 0, 7);
        let jeq = |jt, jf| vec![insn(BPF_JMP | BPF_JEQ, jt, jf, 0), insn(BPF_RET, 0, 0, 1), ret];
        assert_eq!(Program::new(jeq(1, 0), Kind::Socket).unwrap().run(&[]), 7);
        assert_eq!(Program::new(jeq(0, 1), Kind::Socket).unwrap().run(&[]), 1);
        assert!(Program::new(jeq(2, 0), Kind::Socket).is_err());
        assert!(Program::new(vec![insn(BPF_JMP | BPF_JA, 0, 0, u32::MAX), ret], Kind::Socket).is_err());
        assert!(Program::new(vec![insn(BPF_LD, 0, 0, 0)], Kind::Socket).is_err());
    }

    #[test]
    fn scratch_is_written_before_it_is_read() {
        let (st, ld) = (insn(BPF_ST, 0, 0, 3), insn(BPF_LD | BPF_MEM, 0, 0, 3));
        let ret = insn(BPF_RET | BPF_A, 0, 0, 0);
        assert!(Program::new(vec![st, ld, ret], Kind::Seccomp).is_ok());
        assert!(Program::new(vec![ld, ret], Kind::Seccomp).is_err());
        // One of two ways leaves the word out.
        let fork = insn(BPF_JMP | BPF_JEQ, 0, 1, 0);
        assert!(Program::new(vec![fork, st, ld, ret], Kind::Seccomp).is_err());
        assert!(Program::new(vec![insn(BPF_ST, 0, 0, 16), ret], Kind::Seccomp).is_err());
    }

    #[test]
    fn arithmetic_never_panics() {
        let x = |op| {
            vec![
                insn(BPF_LD | BPF_IMM, 0, 0, 5),
                insn(BPF_ALU | op | BPF_X, 0, 0, 0),
                insn(BPF_RET | BPF_A, 0, 0, 0),
            ]
        };
        assert_eq!(Program::new(x(BPF_DIV), Kind::Socket).unwrap().run(&[]), 0);
        assert_eq!(Program::new(x(BPF_SUB), Kind::Socket).unwrap().run(&[]), 5);
        let by_zero = vec![insn(BPF_ALU | BPF_DIV, 0, 0, 0), insn(BPF_RET, 0, 0, 0)];
        assert!(Program::new(by_zero, Kind::Socket).is_err());
    }
}
