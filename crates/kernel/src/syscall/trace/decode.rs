//! Decoders: what arguments and results of syscalls mean. The table names them.
//!
//! `flags!` and `values!` make one from names of constants; what needs more is written out in the file of its area.

use super::line::Line;

/// Decoders for words of bits.
macro_rules! flags {
    ($($(#[$meta:meta])* $name:ident($ty:ty) in $module:ident { $($constant:ident)* })*) => {
        $($(#[$meta])* pub fn $name(raw: u64, line: &mut Line<'_>) {
            line.flags(raw as $ty as u64, &[$((abi::$module::$constant as $ty as u64, stringify!($constant))),*]);
        })*
    };
}

/// Decoders for numbers with names.
macro_rules! values {
    ($($(#[$meta:meta])* $name:ident($ty:ty) in $module:ident { $($constant:ident)* })*) => {
        $($(#[$meta])* pub fn $name(raw: u64, line: &mut Line<'_>) {
            line.one_of(raw as $ty as u64, &[$((abi::$module::$constant as $ty as u64, stringify!($constant))),*]);
        })*
    };
}

mod event;
mod file;
mod ioctl;
mod ipc;
mod memory;
mod mount;
mod net;
mod process;
mod sched;
mod signal;
mod time;

pub use event::*;
pub use file::*;
pub use ioctl::*;
pub use ipc::*;
pub use memory::*;
pub use mount::*;
pub use net::*;
pub use process::*;
pub use sched::*;
pub use signal::*;
pub use time::*;

/// An address.
pub fn address(raw: u64, line: &mut Line<'_>) {
    line.put_addr(raw);
}

/// A signed number.
pub fn signed(raw: u64, line: &mut Line<'_>) {
    write!(line, "{}", raw as i64);
}

/// A number in hexadecimal.
pub fn hex(raw: u64, line: &mut Line<'_>) {
    write!(line, "{raw:#x}");
}

/// A mode or mask in octal.
pub fn octal(raw: u64, line: &mut Line<'_>) {
    if raw as u32 == 0 { write!(line, "000") } else { write!(line, "0{:o}", raw as u32) }
}

/// A user or group; -1 leaves it as it is.
pub fn id(raw: u64, line: &mut Line<'_>) {
    if raw as u32 == u32::MAX { write!(line, "-1") } else { write!(line, "{}", raw as u32) }
}

/// The result of a call that does not return.
pub fn never(_raw: u64, line: &mut Line<'_>) {
    line.put("?");
}

/// A buffer whose length is the next argument.
pub fn bytes(raw: u64, line: &mut Line<'_>) {
    let len = line.next_arg();
    line.bytes(raw, len);
}

/// A buffer that the call has filled: as much as it returned.
pub fn filled(raw: u64, line: &mut Line<'_>) {
    let len = line.result().unwrap_or(0);
    line.bytes(raw, len);
}

/// A zero-terminated string.
pub fn string(raw: u64, line: &mut Line<'_>) {
    line.string(raw);
}

/// One number in memory.
pub fn int_at(raw: u64, line: &mut Line<'_>) {
    line.object(raw, |value: &i32, line| write!(line, "[{value}]"));
}

/// One 64-bit number in memory.
pub fn long_at(raw: u64, line: &mut Line<'_>) {
    line.object(raw, |value: &i64, line| write!(line, "[{value}]"));
}

/// Two descriptors in memory.
pub fn fd_pair(raw: u64, line: &mut Line<'_>) {
    line.object(raw, |fds: &[i32; 2], line| write!(line, "[{}, {}]", fds[0], fds[1]));
}
