//! Linux user-space ABI for x86-64: numbers, structures, flags and errno. No logic.
//!
//! Names are Linux's own. Structures derive zerocopy's traits, so that the kernel reads and writes guest memory
//! without unsafe code; their layouts are asserted against libc in tests.
#![deny(unsafe_code)]

pub mod errno;

pub use errno::{Errno, Result};
