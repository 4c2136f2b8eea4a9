//! Where a system call's site can be patched, and what its slot holds.
//!
//! The instruction that is replaced is one of five bytes or more: the jump fits it, and no thread can be, and no branch
//! lead, between its bytes. What comes between it and the `syscall` stays as it is, for those who get there by another
//! way, and is repeated in the slot. The boundaries come from the decoder, started at many places before the site: x86
//! code read from a wrong place falls into step within a few instructions, and only where nearly all agree is anything
//! patched.

use iced_x86::{
    BlockEncoder, BlockEncoderOptions, Code, Decoder, DecoderOptions, FlowControl, Instruction,
    InstructionBlock, Register,
};

/// Bytes of the jump.
pub const JUMP: usize = 5;
/// Bytes of a `syscall` instruction.
pub const SYSCALL: usize = 2;

/// How far before the site decoding begins, and at how many places.
const LEAD: usize = 96;
const STARTS: usize = 32;
/// Most instructions in a slot.
const MOVED: usize = 6;
/// rt_sigreturn(2): unwinders know a signal's return by these very bytes.
const SIGRETURN: u64 = 15;
/// Numbers that a table of system calls may have.
const NUMBERS: u64 = 512;

/// A site that can be patched.
#[derive(Debug, PartialEq, Eq)]
pub struct Site {
    /// Where the replaced instruction begins.
    pub at: u64,
    /// Its length.
    pub len: usize,
    /// The slot's code.
    pub slot: Vec<u8>,
    /// For each instruction in the slot, the offset at which it begins, and where it was; the last is the `syscall`.
    pub origins: Vec<(u32, u64)>,
}

/// Text, and the address of its first byte.
#[derive(Clone, Copy)]
pub struct Text<'a> {
    pub bytes: &'a [u8],
    pub base: u64,
}

impl Text<'_> {
    /// The instructions from `start` up to `end`, if one begins there; those after the last that is none.
    fn decode(&self, start: u64, end: u64) -> Option<Vec<Instruction>> {
        let bytes = self.bytes.get(usize::try_from(start - self.base).ok()?..)?;
        let mut decoder = Decoder::with_ip(64, bytes, start, DecoderOptions::NONE);
        let mut found = Vec::new();
        while decoder.ip() < end {
            let (ip, position) = (decoder.ip(), decoder.position());
            let instruction = decoder.decode();
            if instruction.is_invalid() {
                found.clear();
                decoder.set_position(position + 1).ok()?;
                decoder.set_ip(ip + 1);
            } else {
                found.push(instruction);
            }
        }
        (decoder.ip() == end).then_some(found)
    }

    /// The instructions before `site`, the last of which ends there, as far as there is no doubt about them.
    fn before(&self, site: u64) -> Option<Vec<Instruction>> {
        let room = usize::try_from(site - self.base).ok()?;
        if room < LEAD {
            // The text begins with an instruction.
            return self.decode(self.base, site);
        }
        let starts = (LEAD..=room.min(LEAD + STARTS)).map(|back| site - back as u64);
        let (mut tried, mut chains) = (0, Vec::new());
        for start in starts {
            tried += 1;
            chains.extend(self.decode(start, site));
        }
        // One of those that fell into step.
        let nth =
            |chain: &Vec<Instruction>, back: usize| chain.len().checked_sub(back).map(|i| chain[i].ip());
        let votes = |chain: &Vec<Instruction>, back: usize| {
            chains.iter().filter(|other| nth(other, back) == nth(chain, back)).count()
        };
        let chain = chains.iter().find(|chain| votes(chain, 1) * 8 >= tried * 7)?;
        let sure = (1..=MOVED.min(chain.len())).take_while(|back| votes(chain, *back) * 8 >= tried * 7);
        Some(chain[chain.len() - sure.count()..].to_vec())
    }

    /// The site whose `syscall` instruction is at `syscall`, with its slot at `slot`, which finds the way into the stub at
    /// `entry`. A site that was `seen` to make a system call needs no other evidence that it is one.
    pub fn site(&self, syscall: u64, seen: bool, slot: u64, entry: u64) -> Option<Site> {
        let chain = self.before(syscall)?;
        let movable = chain.iter().rev().take_while(|i| can_move(i, syscall)).count();
        let chain = &chain[chain.len() - movable..];
        let number = chain.iter().rev().find_map(number);
        if number == Some(SIGRETURN) || !seen && number.is_none_or(|n| n >= NUMBERS) {
            return None;
        }
        let first = chain.iter().rposition(|i| i.len() >= JUMP)?;
        let chain = &chain[first..];
        let block = InstructionBlock::new(chain, slot);
        let encoded =
            BlockEncoder::encode(64, block, BlockEncoderOptions::RETURN_NEW_INSTRUCTION_OFFSETS).ok()?;
        let mut code = encoded.code_buffer;
        let mut origins: Vec<(u32, u64)> =
            encoded.new_instruction_offsets.iter().copied().zip(chain.iter().map(Instruction::ip)).collect();
        if origins.iter().any(|(offset, _)| *offset == u32::MAX) {
            return None;
        }
        origins.push((code.len() as u32, syscall));
        // lea r11, [rip + back]; jmp [rip + entry]
        let displacement = |target: u64, end: u64| i32::try_from(target.wrapping_sub(end) as i64).ok();
        let back = displacement(syscall + SYSCALL as u64, slot + code.len() as u64 + 7)?;
        code.extend([0x4c, 0x8d, 0x1d]);
        code.extend(back.to_le_bytes());
        let entry = displacement(entry, slot + code.len() as u64 + 6)?;
        code.extend([0xff, 0x25]);
        code.extend(entry.to_le_bytes());
        Some(Site { at: chain[0].ip(), len: chain[0].len(), slot: code, origins })
    }
}

/// The system call number that an instruction puts into eax.
fn number(instruction: &Instruction) -> Option<u64> {
    let eax = matches!(instruction.op0_register(), Register::EAX | Register::RAX);
    match instruction.code() {
        Code::Mov_r32_imm32 | Code::Mov_rm32_imm32 | Code::Mov_rm64_imm32 | Code::Mov_r64_imm64 if eax => {
            Some(instruction.immediate(1))
        }
        Code::Xor_r32_rm32 | Code::Xor_rm32_r32 if eax && instruction.op1_register() == Register::EAX => {
            Some(0)
        }
        _ => None,
    }
}

/// Whether an instruction does the same in a slot. Branches may lead away, but not into what the slot repeats.
fn can_move(instruction: &Instruction, syscall: u64) -> bool {
    match instruction.flow_control() {
        FlowControl::Next => true,
        FlowControl::ConditionalBranch if instruction.is_jcc_short_or_near() => {
            let target = instruction.near_branch_target();
            target > syscall || target < syscall - 128
        }
        _ => false,
    }
}

/// The jump from `at` to `slot`; none if it is out of reach.
pub fn jump(at: u64, slot: u64) -> Option<[u8; JUMP]> {
    let distance = i32::try_from(slot.wrapping_sub(at + JUMP as u64) as i64).ok()?;
    let [a, b, c, d] = distance.to_le_bytes();
    Some([0xe9, a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: u64 = 0x40_0000;
    const SLOT: u64 = BASE + 0x7000_0010;

    /// The plan for `code`, which ends in a syscall, after plenty of instructions of one byte.
    fn plan(code: &[u8], seen: bool) -> Option<Site> {
        let mut bytes = vec![0x90; LEAD + 4];
        bytes.extend(code);
        let syscall = BASE + bytes.len() as u64 - 2;
        bytes.extend([0xc3; 16]);
        Text { bytes: &bytes, base: BASE }.site(syscall, seen, SLOT, SLOT - 16)
    }

    #[test]
    fn a_number_in_eax() {
        let site = plan(&[0xb8, 39, 0, 0, 0, 0x0f, 5], false).unwrap();
        assert_eq!((site.at, site.len), (BASE + 100, 5));
        assert_eq!(site.slot[..5], [0xb8, 39, 0, 0, 0]);
        assert_eq!(site.slot.len(), 5 + 7 + 6);
        assert_eq!(site.origins, [(0, BASE + 100), (5, BASE + 105)]);
        // Back to the instruction after the syscall.
        let back = i32::from_le_bytes(site.slot[8..12].try_into().unwrap());
        assert_eq!((SLOT + 12).wrapping_add_signed(back.into()), BASE + 107);
    }

    #[test]
    fn another_register_is_not_eax() {
        // mov $39,%r8d: the same bytes after a prefix.
        let site = plan(&[0x41, 0xb8, 39, 0, 0, 0, 0x0f, 5], true).unwrap();
        assert_eq!((site.at, site.len), (BASE + 100, 6));
        assert!(plan(&[0x41, 0xb8, 39, 0, 0, 0, 0x0f, 5], false).is_none());
        // movl $39,-0x48(%rbp)
        let site = plan(&[0xc7, 0x45, 0xb8, 39, 0, 0, 0, 0x0f, 5], true).unwrap();
        assert_eq!((site.at, site.len), (BASE + 100, 7));
    }

    #[test]
    fn short_ones_are_repeated() {
        // cmpb $0,0x1000(%rip); je +0x20; xor %eax,%eax; syscall: read(2) in glibc.
        let code = [0x80, 0x3d, 0, 0x10, 0, 0, 0, 0x74, 0x20, 0x31, 0xc0, 0x0f, 5];
        let site = plan(&code, false).unwrap();
        assert_eq!((site.at, site.len, site.origins.len()), (BASE + 100, 7, 4));
        let again = Text { bytes: &site.slot, base: SLOT };
        let moved = again.decode(SLOT, SLOT + u64::from(site.origins[3].0)).unwrap();
        assert_eq!(moved[0].memory_displacement64(), BASE + 107 + 0x1000);
        assert_eq!(moved[1].near_branch_target(), BASE + 109 + 0x20);
    }

    #[test]
    fn the_generic_call() {
        // mov 8(%rsp),%r9; syscall
        let code = [0x4c, 0x8b, 0x4c, 0x24, 8, 0x0f, 5];
        assert_eq!(plan(&code, true).unwrap().slot[..5], code[..5]);
        assert!(plan(&code, false).is_none());
    }

    #[test]
    fn what_cannot_be() {
        // A signal's return; nothing long enough; a call; a branch back.
        assert!(plan(&[0x48, 0xc7, 0xc0, 15, 0, 0, 0, 0x0f, 5], true).is_none());
        assert!(plan(&[0x31, 0xc0, 0x0f, 5], true).is_none());
        assert!(plan(&[0xe8, 0, 0, 0, 0, 0x0f, 5], true).is_none());
        assert!(plan(&[0x48, 0xc7, 0xc0, 1, 0, 0, 0, 0x75, 0xf7, 0x0f, 5], true).is_none());
        // Another syscall in between.
        assert!(plan(&[0xb8, 1, 0, 0, 0, 0x0f, 5, 0x90, 0x0f, 5], true).is_none());
    }

    #[test]
    fn the_beginning_of_a_text() {
        let bytes = [0xb8, 60, 0, 0, 0, 0x0f, 5];
        assert!(Text { bytes: &bytes, base: BASE }.site(BASE + 5, false, SLOT, SLOT - 16).is_some());
    }
}
