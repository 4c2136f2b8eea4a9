//! The x86-64 signal frame: ucontext, sigcontext and the software bytes of the FPU state (arch/x86 UAPI).
//!
//! On the guest's stack, from the handler's rsp upwards: [`RtSigFrame`], then (64-byte aligned) the FPU state.

use crate::signal::{SigAltStack, SigInfo, SigSet};

uapi! {
    /// `struct sigcontext`: the registers of the interrupted code.
    pub struct SigContext {
        pub r8: u64,
        pub r9: u64,
        pub r10: u64,
        pub r11: u64,
        pub r12: u64,
        pub r13: u64,
        pub r14: u64,
        pub r15: u64,
        pub di: u64,
        pub si: u64,
        pub bp: u64,
        pub bx: u64,
        pub dx: u64,
        pub ax: u64,
        pub cx: u64,
        pub sp: u64,
        pub ip: u64,
        pub flags: u64,
        pub cs: u16,
        pub gs: u16,
        pub fs: u16,
        pub ss: u16,
        pub err: u64,
        pub trapno: u64,
        pub oldmask: u64,
        pub cr2: u64,
        /// Address of the FPU state, zero for none.
        pub fpstate: u64,
        pub _reserved1: [u64; 8],
    }

    /// `struct ucontext` of the kernel.
    pub struct UContext {
        pub uc_flags: u64,
        pub uc_link: u64,
        pub uc_stack: SigAltStack,
        pub uc_mcontext: SigContext,
        pub uc_sigmask: SigSet,
    }

    /// `struct rt_sigframe`.
    pub struct RtSigFrame {
        /// The return address of the handler: `sa_restorer`.
        pub pretcode: u64,
        pub uc: UContext,
        pub info: SigInfo,
    }

    /// `struct _fpx_sw_bytes`, in the last 48 bytes of the 512-byte FXSAVE area.
    pub struct FpxSwBytes {
        /// [`FP_XSTATE_MAGIC1`] if an XSAVE area follows.
        pub magic1: u32,
        /// Bytes of the whole state, [`FP_XSTATE_MAGIC2`] behind it included.
        pub extended_size: u32,
        pub xfeatures: u64,
        /// Bytes of the XSAVE area.
        pub xstate_size: u32,
        pub _padding: [u32; 7],
    }
}

// uc_flags
consts! { u64;
    /// The FPU state has the extended (XSAVE) part.
    UC_FP_XSTATE = 1,
    /// The saved ss is valid.
    UC_SIGCONTEXT_SS = 2,
    /// sigreturn restores ss as it is saved.
    UC_STRICT_RESTORE_SS = 4,
}

consts! { u32;
    FP_XSTATE_MAGIC1 = 0x4650_5853,
    FP_XSTATE_MAGIC2 = 0x4650_5845,
}
/// Where [`FpxSwBytes`] lies in the FXSAVE area.
pub const FPX_SW_BYTES_OFFSET: usize = 464;
/// Bytes of the FXSAVE area.
pub const FXSAVE_SIZE: usize = 512;
/// Bytes below the guest's rsp that a leaf function may use without moving it.
pub const RED_ZONE: u64 = 128;

// x86 exception vectors, as in `trapno`
consts! { u64;
    X86_TRAP_DE = 0,
    X86_TRAP_DB = 1,
    X86_TRAP_NMI = 2,
    X86_TRAP_BP = 3,
    X86_TRAP_OF = 4,
    X86_TRAP_BR = 5,
    X86_TRAP_UD = 6,
    X86_TRAP_NM = 7,
    X86_TRAP_DF = 8,
    X86_TRAP_TS = 10,
    X86_TRAP_NP = 11,
    X86_TRAP_SS = 12,
    X86_TRAP_GP = 13,
    X86_TRAP_PF = 14,
    X86_TRAP_MF = 16,
    X86_TRAP_AC = 17,
    X86_TRAP_XF = 19,
    X86_TRAP_CP = 21,
}

// Page fault error code, as in `err`
consts! { u64;
    /// Set: protection; clear: no page there.
    X86_PF_PROT = 1 << 0,
    X86_PF_WRITE = 1 << 1,
    X86_PF_USER = 1 << 2,
    X86_PF_RSVD = 1 << 3,
    X86_PF_INSTR = 1 << 4,
    X86_PF_PK = 1 << 5,
}

// rflags
consts! { u64;
    X86_EFLAGS_CF = 1 << 0,
    X86_EFLAGS_FIXED = 1 << 1,
    X86_EFLAGS_PF = 1 << 2,
    X86_EFLAGS_AF = 1 << 4,
    X86_EFLAGS_ZF = 1 << 6,
    X86_EFLAGS_SF = 1 << 7,
    X86_EFLAGS_TF = 1 << 8,
    X86_EFLAGS_IF = 1 << 9,
    X86_EFLAGS_DF = 1 << 10,
    X86_EFLAGS_OF = 1 << 11,
    X86_EFLAGS_NT = 1 << 14,
    X86_EFLAGS_RF = 1 << 16,
    X86_EFLAGS_AC = 1 << 18,
    X86_EFLAGS_ID = 1 << 21,
}

// Segment selectors of user mode
consts! { u16;
    USER_CS = 0x33,
    USER_DS = 0x2b,
    USER32_CS = 0x23,
}
