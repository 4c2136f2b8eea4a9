//! The host calls that the stub makes.

use crate::abi::{CONTROL, FDS, SLOTS, turn};
use core::arch::asm;
use core::sync::atomic::{AtomicU32, Ordering};

pub const SYS_READ: u64 = 0;
pub const SYS_OPEN: u64 = 2;
pub const SYS_MMAP: u64 = 9;
pub const SYS_MPROTECT: u64 = 10;
pub const SYS_MUNMAP: u64 = 11;
pub const SYS_RT_SIGACTION: u64 = 13;
pub const SYS_SCHED_YIELD: u64 = 24;
pub const SYS_MREMAP: u64 = 25;
pub const SYS_MADVISE: u64 = 28;
pub const SYS_CLOSE: u64 = 3;
pub const SYS_SENDMSG: u64 = 46;
pub const SYS_RECVMSG: u64 = 47;
pub const SYS_EXIT_GROUP: u64 = 231;
pub const SYS_SIGALTSTACK: u64 = 131;
pub const SYS_PRCTL: u64 = 157;
pub const SYS_ARCH_PRCTL: u64 = 158;
pub const SYS_GETRUSAGE: u64 = 98;
pub const SYS_GETTIMEOFDAY: u64 = 96;
pub const SYS_TIME: u64 = 201;
pub const SYS_FUTEX: u64 = 202;
pub const SYS_CLOCK_GETTIME: u64 = 228;
pub const SYS_CLOCK_GETRES: u64 = 229;
pub const SYS_DUP3: u64 = 292;
pub const SYS_GETCPU: u64 = 309;
pub const SYS_SECCOMP: u64 = 317;

pub const SIGTRAP: i32 = 5;
pub const SIGBUS: i32 = 7;
pub const SIGSEGV: i32 = 11;
pub const SIGSYS: i32 = 31;
pub const PROT_RW: u64 = 3;
pub const MAP_SHARED: u64 = 1;
pub const MAP_PRIVATE: u64 = 2;
pub const MAP_FIXED: u64 = 0x10;
pub const MAP_ANONYMOUS: u64 = 0x20;
pub const MADV_DONTFORK: u64 = 10;

const ARCH_SET_GS: u64 = 0x1001;
const ARCH_SET_FS: u64 = 0x1002;
const ARCH_GET_FS: u64 = 0x1003;
const ARCH_GET_GS: u64 = 0x1004;

pub fn syscall6(nr: u64, a: u64, b: u64, c: u64, d: u64, e: u64, f: u64) -> i64 {
    let ret: i64;
    // SAFETY: the seccomp filter bounds what any call from here can do; callers pass pointers to memory that is theirs.
    unsafe {
        asm!("syscall", inlateout("rax") nr => ret, in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e,
            in("r9") f, lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    ret
}

pub fn syscall3(nr: u64, a: u64, b: u64, c: u64) -> i64 {
    syscall6(nr, a, b, c, 0, 0, 0)
}

pub fn futex_wait(word: &AtomicU32, value: u32) {
    syscall6(SYS_FUTEX, word.as_ptr() as u64, 0, u64::from(value), 0, 0, 0);
}

pub fn futex_wake(word: &AtomicU32) {
    syscall6(SYS_FUTEX, word.as_ptr() as u64, 1, 1, 0, 0, 0);
}

pub fn exit_group() -> ! {
    loop {
        syscall3(SYS_EXIT_GROUP, 1, 0, 0);
    }
}

/// Tells the kernel that the stack is free to be used again, and ends the thread without touching it any more.
pub fn leave(word: &AtomicU32) -> ! {
    // SAFETY: after the store nothing but registers is used.
    unsafe {
        asm!("mov dword ptr [{word}], {gone}", "2:", "mov eax, 60", "xor edi, edi", "syscall", "jmp 2b",
            word = in(reg) word.as_ptr(), gone = const turn::KERNEL | turn::GONE, options(noreturn));
    }
}

#[repr(C)]
struct MsgHdr {
    name: u64,
    name_len: u64,
    iov: *mut [u64; 2],
    iov_len: u64,
    control: *mut Control,
    control_len: u64,
    flags: u64,
}

#[repr(C)]
struct Control {
    len: u64,
    level: i32,
    kind: i32,
    fds: [i32; FDS],
}

const EINTR: i64 = -4;
const SOL_SOCKET: i32 = 1;
const SCM_RIGHTS: i32 = 1;

/// Receives a message's bytes into `bytes` and its descriptors into `fds`; the call's result.
pub fn receive_message(bytes: &mut [u8], fds: &mut [i32; FDS]) -> i64 {
    let mut iov = [bytes.as_mut_ptr() as u64, bytes.len() as u64];
    let mut control = Control { len: 0, level: 0, kind: 0, fds: [-1; FDS] };
    let mut message = MsgHdr {
        name: 0,
        name_len: 0,
        iov: &mut iov,
        iov_len: 1,
        control: &mut control,
        control_len: size_of::<Control>() as u64,
        flags: 0,
    };
    let ret = syscall3(SYS_RECVMSG, CONTROL as u64, &raw mut message as u64, 0);
    if ret >= 0 && message.control_len >= 16 && control.level == SOL_SOCKET && control.kind == SCM_RIGHTS {
        let count = (control.len as usize).saturating_sub(16) / 4;
        fds[..count.min(FDS)].copy_from_slice(&control.fds[..count.min(FDS)]);
    }
    ret
}

/// Receives the descriptors that travel with a command.
pub fn receive(fds: &mut [i32; FDS]) {
    let mut byte = [0];
    loop {
        match receive_message(&mut byte, fds) {
            // On the fast way no signal is blocked.
            EINTR => {}
            n if n > 0 => return,
            _ => exit_group(),
        }
    }
}

/// Sends bytes and one descriptor.
pub fn send_message(bytes: &[u8], fd: Option<i32>) -> i64 {
    let mut iov = [bytes.as_ptr() as u64, bytes.len() as u64];
    let mut control = Control { len: 20, level: SOL_SOCKET, kind: SCM_RIGHTS, fds: [fd.unwrap_or(-1); FDS] };
    let message = MsgHdr {
        name: 0,
        name_len: 0,
        iov: &mut iov,
        iov_len: 1,
        control: &mut control,
        control_len: if fd.is_some() { 24 } else { 0 },
        flags: 0,
    };
    syscall3(SYS_SENDMSG, CONTROL as u64, &raw const message as u64, 0)
}

pub fn close_all(fds: &[i32; FDS]) {
    for fd in fds {
        if *fd >= 0 {
            syscall3(SYS_CLOSE, *fd as u64, 0, 0);
        }
    }
}

/// FS and GS base.
///
/// A guest that has none of its own runs with its window as GS base, for the fast way, and does not hear of it.
pub fn bases(by_instruction: bool) -> (u64, u64) {
    let (mut fs, mut gs) = (0u64, 0u64);
    if by_instruction {
        // SAFETY: the kernel says that the host lets user code use these instructions.
        unsafe {
            asm!("rdfsbase {fs}", "rdgsbase {gs}", fs = out(reg) fs, gs = out(reg) gs, options(nomem, nostack));
        }
    } else {
        syscall3(SYS_ARCH_PRCTL, ARCH_GET_FS, &raw mut fs as u64, 0);
        syscall3(SYS_ARCH_PRCTL, ARCH_GET_GS, &raw mut gs as u64, 0);
    }
    (fs, if gs >> 32 == SLOTS >> 32 { 0 } else { gs })
}

/// FS base, if it can be had without a system call: the guest cannot change it without one either, else.
pub fn fs_base(by_instruction: bool) -> Option<u64> {
    let fs;
    if !by_instruction {
        return None;
    }
    // SAFETY: as above.
    unsafe { asm!("rdfsbase {}", out(reg) fs, options(nomem, nostack, preserves_flags)) };
    Some(fs)
}

/// Sets FS and GS base; the kernel has made them canonical. `window` takes the place of a GS base that is not set.
pub fn set_bases(by_instruction: bool, fs: u64, gs: u64, window: u64) {
    let gs = if gs == 0 { window } else { gs };
    if by_instruction {
        // SAFETY: as above; nothing in the stub uses FS, and GS only where it is known to be the window.
        unsafe { asm!("wrfsbase {fs}", "wrgsbase {gs}", fs = in(reg) fs, gs = in(reg) gs, options(nostack)) };
    } else {
        syscall3(SYS_ARCH_PRCTL, ARCH_SET_FS, fs, 0);
        syscall3(SYS_ARCH_PRCTL, ARCH_SET_GS, gs, 0);
    }
}

/// A full fence between plain stores and what the kernel does next.
pub fn fence() {
    core::sync::atomic::fence(Ordering::SeqCst);
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    exit_group()
}
