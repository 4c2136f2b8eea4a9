//! The registers of a guest thread.

use super::abi::{FS_BASE, GS_BASE, Window};
use std::sync::atomic::Ordering::Relaxed;

/// A guest thread's registers, in the order of `user_regs_struct`.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the processor's")]
pub struct Regs {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub rbp: u64,
    pub rbx: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rax: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
    /// The system call number as the guest gave it, at an [`Event::Syscall`]; -1 otherwise.
    pub orig_rax: u64,
    pub rip: u64,
    pub cs: u64,
    pub eflags: u64,
    pub rsp: u64,
    pub ss: u64,
    pub fs_base: u64,
    pub gs_base: u64,
}

/// The 64-bit user code segment.
pub const USER_CS: u64 = 0x33;
/// The 32-bit user code segment.
pub const USER32_CS: u64 = 0x23;
/// The user data segment.
pub const USER_DS: u64 = 0x2b;

/// What user code can set: CF PF AF ZF SF TF DF OF NT RF AC ID; and what is always set: bit 1 and IF.
const EFLAGS_USER: u64 = 0x25_4dd5;
const EFLAGS_FIXED: u64 = 0x202;
/// TF: the processor traps after each instruction.
const EFLAGS_TRAP: u64 = 0x100;

// Indices in gregset_t.
const CSGSFS: usize = 18;
pub(super) const ERR: usize = 19;
pub(super) const TRAPNO: usize = 20;

fn canonical(address: u64) -> u64 {
    ((address << 16) as i64 >> 16) as u64
}

impl Regs {
    /// The registers in `gregset_t`'s order, with the index of each.
    fn words(&mut self) -> [(usize, &mut u64); 18] {
        [
            (0, &mut self.r8),
            (1, &mut self.r9),
            (2, &mut self.r10),
            (3, &mut self.r11),
            (4, &mut self.r12),
            (5, &mut self.r13),
            (6, &mut self.r14),
            (7, &mut self.r15),
            (8, &mut self.rdi),
            (9, &mut self.rsi),
            (10, &mut self.rbp),
            (11, &mut self.rbx),
            (12, &mut self.rdx),
            (13, &mut self.rax),
            (14, &mut self.rcx),
            (15, &mut self.rsp),
            (16, &mut self.rip),
            (17, &mut self.eflags),
        ]
    }

    /// What a new program starts with, but for instruction and stack pointer.
    pub(super) fn initial() -> Regs {
        Regs { orig_rax: !0, cs: USER_CS, ss: USER_DS, eflags: EFLAGS_FIXED, ..Regs::default() }
    }

    /// Makes every word one that the processor accepts from user code.
    pub(super) fn sanitize(&mut self) {
        self.eflags = self.eflags & EFLAGS_USER | EFLAGS_FIXED;
        self.cs = if self.cs & 0xffff == USER32_CS { USER32_CS } else { USER_CS };
        self.ss = USER_DS;
        self.fs_base = canonical(self.fs_base);
        self.gs_base = canonical(self.gs_base);
    }

    /// Whether the guest cannot go on with these without a signal frame, if its FS and GS bases are `bases`.
    #[inline]
    pub(super) fn needs_frame(&self, bases: (u64, u64)) -> bool {
        (self.fs_base, self.gs_base) != bases || self.cs != USER_CS || self.eflags & EFLAGS_TRAP != 0
    }

    #[inline]
    pub(super) fn load(&mut self, window: &Window) {
        for (i, word) in self.words() {
            *word = window.regs[i].load(Relaxed);
        }
        self.cs = window.regs[CSGSFS].load(Relaxed);
        self.fs_base = window.regs[FS_BASE].load(Relaxed);
        self.gs_base = window.regs[GS_BASE].load(Relaxed);
        self.sanitize();
    }

    #[inline]
    pub(super) fn store(&mut self, window: &Window) {
        self.sanitize();
        for (i, word) in self.words() {
            window.regs[i].store(*word, Relaxed);
        }
        window.regs[CSGSFS].store(self.cs | self.ss << 48, Relaxed);
        window.regs[FS_BASE].store(self.fs_base, Relaxed);
        window.regs[GS_BASE].store(self.gs_base, Relaxed);
    }
}
