//! Copies between guest memory and the data area, for hosts that refuse process_vm_readv, and the memory functions that
//! the compiler calls.

use crate::abi::{ARG_LEN, COPIES, COPY_LEN, DATA_LEN, DATA_OFFSET, Window};
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

unsafe extern "C" {
    /// Copies `len` bytes; how many are left where a page may not be touched (see [`fixup`]).
    fn stub_copy(to: u64, from: u64, len: u64) -> u64;
    fn stub_copy_insn();
    fn stub_copy_done();
}

global_asm!(
    ".globl stub_copy",
    ".globl stub_copy_insn",
    ".globl stub_copy_done",
    "stub_copy:",
    "mov rcx, rdx",
    "stub_copy_insn:",
    "rep movsb",
    "stub_copy_done:",
    "mov rax, rcx",
    "ret",
);

/// Copies between the data area and guest memory, up to the first byte that the guest may not touch; the count.
pub fn guest(window: &Window, to_guest: bool) -> u64 {
    let data = window as *const Window as u64 + DATA_OFFSET;
    let addr = window.addr.load(Relaxed);
    let len = window.len.load(Relaxed).min(DATA_LEN);
    let (to, from) = if to_guest { (addr, data) } else { (data, addr) };
    // SAFETY: whatever the address is, it is the guest's memory; a fault ends the copy.
    len - unsafe { stub_copy(to, from, len) }
}

/// Copies to guest memory. False where the guest may not write.
pub fn out(addr: u64, bytes: &[u8]) -> bool {
    // SAFETY: whatever the address is, it is the guest's memory; a fault ends the copy.
    (unsafe { stub_copy(addr, bytes.as_ptr() as u64, bytes.len() as u64) }) == 0
}

/// Copies up to [`ARG_LEN`] bytes of guest memory to the beginning of the data area, as far as the guest may read them;
/// the count.
pub fn argument(window: &Window, addr: u64, len: u64) -> u64 {
    let data = window as *const Window as u64 + DATA_OFFSET;
    let len = len.min(ARG_LEN);
    // SAFETY: whatever the address is, it is the guest's memory; a fault ends the copy.
    len - unsafe { stub_copy(data, addr, len) }
}

/// Writes what the kernel has to say to guest memory. False where the guest may not write there.
pub fn results(window: &Window) -> bool {
    let count = (window.copy_count.load(Relaxed) as usize).min(COPIES);
    let mut data = window as *const Window as u64 + DATA_OFFSET + ARG_LEN;
    let mut room = COPY_LEN;
    for copy in &window.copies[..count] {
        let [addr, len] = copy.each_ref().map(|word| word.load(Relaxed));
        let len = len.min(room);
        // SAFETY: whatever the address is, it is the guest's memory; a fault ends the copy.
        if unsafe { stub_copy(addr, data, len) } != 0 {
            return false;
        }
        data += len;
        room -= len;
    }
    true
}

unsafe extern "C" {
    /// Compares and exchanges a word; what was there, or minus EFAULT where the page may not be written.
    fn stub_cmpxchg(addr: u64, old: u32, new: u32) -> u64;
    fn stub_cmpxchg_insn();
    fn stub_cmpxchg_fault();
}

global_asm!(
    ".globl stub_cmpxchg",
    ".globl stub_cmpxchg_insn",
    ".globl stub_cmpxchg_fault",
    "stub_cmpxchg:",
    "mov eax, esi",
    "stub_cmpxchg_insn:",
    "lock cmpxchg dword ptr [rdi], edx",
    "mov eax, eax",
    "ret",
    "stub_cmpxchg_fault:",
    "mov rax, -14",
    "ret",
);

/// The compare-and-exchange that the window asks for, on guest memory.
pub fn compare_exchange(window: &Window) -> u64 {
    let words = window.len.load(Relaxed);
    // SAFETY: whatever the address is, it is the guest's memory; a fault ends the attempt.
    unsafe { stub_cmpxchg(window.addr.load(Relaxed), words as u32, (words >> 32) as u32) }
}

/// Where to go on after a fault at `rip` in the stub's text; none if no fault is expected there.
pub fn fixup(rip: u64) -> Option<u64> {
    match rip {
        _ if rip == stub_copy_insn as *const () as u64 => Some(stub_copy_done as *const () as u64),
        _ if rip == stub_cmpxchg_insn as *const () as u64 => Some(stub_cmpxchg_fault as *const () as u64),
        _ => None,
    }
}
