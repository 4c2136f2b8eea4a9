//! Linux user-space ABI for x86-64: numbers, structures, flags and errno. No logic.
//!
//! Names are Linux's own. Structures derive zerocopy's traits, so that the kernel reads and writes guest memory
//! without unsafe code; their layouts are asserted against libc in tests.
//!
//! Types of constants: flags, commands and signal numbers are `u32`, syscall numbers `u64`; whatever Linux compares
//! as a signed number (clock ids, `si_code`, special descriptors) is `i32`. Times are in the unit their name says.
#![deny(unsafe_code)]
#![expect(
    missing_docs,
    reason = "constants and fields bear Linux's names; the man page is their documentation"
)]

#[macro_use]
mod macros;

pub mod cred;
pub mod elf;
pub mod errno;
pub mod fcntl;
pub mod futex;
pub mod inet;
pub mod inotify;
pub mod ioctl;
pub mod ipc;
pub mod mm;
pub mod mount;
pub mod net;
pub mod netlink;
pub mod nr;
pub mod poll;
pub mod prctl;
pub mod ptrace;
pub mod resource;
pub mod sched;
pub mod seccomp;
pub mod sigframe;
pub mod siginfo;
pub mod signal;
pub mod stat;
pub mod time;
pub mod tty;
pub mod uio;
pub mod utsname;
pub mod wait;
pub mod xattr;

#[cfg(test)]
mod tests;

pub use errno::{Errno, Result};
