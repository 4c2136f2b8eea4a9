//! Typed syscall arguments and results.

use core::fmt::Write;

use abi::Result;
use abi::fcntl::OpenFlags;

use crate::uaccess::{UserPtr, path_from_user, strncpy_from_user};
use crate::vfs::Fd;

/// A type that an argument register is read as.
pub trait Arg: Sized {
    /// Takes the register. Any word is acceptable here; handlers validate.
    fn from_raw(raw: u64) -> Self;
    /// Shows it in a trace.
    fn show(raw: u64, out: &mut String);
}

/// Writes a trace of arguments.
pub trait Show {
    /// Appends a readable form.
    fn show(&self, out: &mut String);
}

macro_rules! integers {
    ($($ty:ty),*) => {
        $(impl Arg for $ty {
            fn from_raw(raw: u64) -> Self {
                raw as $ty
            }
            fn show(raw: u64, out: &mut String) {
                // Large unsigned words are mostly addresses or masks.
                let value = raw as $ty;
                let _ = if (value as i128) > 0xffff { write!(out, "{value:#x}") } else { write!(out, "{value}") };
            }
        })*
    };
}

integers!(i32, u32, i64, u64, usize, isize);

impl<T> Arg for UserPtr<T> {
    fn from_raw(raw: u64) -> Self {
        UserPtr::new(raw)
    }
    fn show(raw: u64, out: &mut String) {
        let _ = if raw == 0 { out.write_str("NULL") } else { write!(out, "{raw:#x}") };
    }
}

impl Arg for Fd {
    fn from_raw(raw: u64) -> Self {
        Fd(raw as i32)
    }
    fn show(raw: u64, out: &mut String) {
        let fd = raw as i32;
        let _ = if fd == Fd::CWD.0 { out.write_str("AT_FDCWD") } else { write!(out, "{fd}") };
    }
}

/// A guest address of a path name.
#[derive(Clone, Copy)]
pub struct UserPath(pub u64);

impl UserPath {
    /// Reads the name: EFAULT, ENAMETOOLONG.
    pub fn read(self) -> Result<Vec<u8>> {
        path_from_user(self.0)
    }

    /// Whether it is null.
    pub fn is_null(self) -> bool {
        self.0 == 0
    }
}

impl Arg for UserPath {
    fn from_raw(raw: u64) -> Self {
        UserPath(raw)
    }
    fn show(raw: u64, out: &mut String) {
        let _ = match strncpy_from_user(raw, 256) {
            _ if raw == 0 => out.write_str("NULL"),
            Ok(name) => write!(out, "\"{}\"", name.escape_ascii()),
            Err(_) => write!(out, "{raw:#x}"),
        };
    }
}

impl Arg for OpenFlags {
    fn from_raw(raw: u64) -> Self {
        OpenFlags::from_bits_retain(raw as u32)
    }
    fn show(raw: u64, out: &mut String) {
        let access = ["O_RDONLY", "O_WRONLY", "O_RDWR", "O_ACCMODE"][(raw & 3) as usize];
        out.push_str(access);
        for (name, _) in OpenFlags::from_bits_retain(raw as u32 & !3).iter_names() {
            let _ = write!(out, "|O_{name}");
        }
    }
}

/// A type that a handler returns.
pub trait Ret {
    /// The value of `rax` on success.
    fn to_rax(self) -> u64;
}

impl Ret for () {
    fn to_rax(self) -> u64 {
        0
    }
}

impl Ret for u64 {
    fn to_rax(self) -> u64 {
        self
    }
}

impl Ret for usize {
    fn to_rax(self) -> u64 {
        self as u64
    }
}

impl Ret for i64 {
    fn to_rax(self) -> u64 {
        self as u64
    }
}

impl Ret for i32 {
    fn to_rax(self) -> u64 {
        i64::from(self) as u64
    }
}

impl Ret for u32 {
    fn to_rax(self) -> u64 {
        u64::from(self)
    }
}

impl Ret for Fd {
    fn to_rax(self) -> u64 {
        i64::from(self.0) as u64
    }
}

/// A function that can stand in the table: up to six typed arguments, a fallible result.
pub trait Handler<Args>: Copy {
    /// Calls it with argument registers.
    fn call(self, args: &[u64; 6]) -> Result<u64>;
    /// Shows the arguments, `names` in order.
    fn show(args: &[u64; 6], names: &[&str], out: &mut String);
}

macro_rules! handlers {
    ($($($ty:ident $index:literal),*;)*) => {
        $(impl<F, R, $($ty),*> Handler<($($ty,)*)> for F
        where
            F: Fn($($ty),*) -> Result<R> + Copy,
            R: Ret,
            $($ty: Arg,)*
        {
            #[expect(clippy::allow_attributes, reason = "only the version without arguments leaves them unused")]
            #[allow(unused_variables, reason = "as above")]
            fn call(self, args: &[u64; 6]) -> Result<u64> {
                self($($ty::from_raw(args[$index])),*).map(Ret::to_rax)
            }
            #[expect(clippy::allow_attributes, reason = "only the version without arguments leaves them unused")]
            #[allow(unused_variables, reason = "as above")]
            fn show(args: &[u64; 6], names: &[&str], out: &mut String) {
                $(
                    if $index > 0 {
                        out.push_str(", ");
                    }
                    if let Some(name) = names.get($index) {
                        let _ = write!(out, "{name}=");
                    }
                    $ty::show(args[$index], out);
                )*
            }
        })*
    };
}

handlers! {
    ;
    A 0;
    A 0, B 1;
    A 0, B 1, C 2;
    A 0, B 1, C 2, D 3;
    A 0, B 1, C 2, D 3, E 4;
    A 0, B 1, C 2, D 3, E 4, G 5;
}

/// Shows the arguments of `handler`; the table's closures name its type by passing it.
pub fn show_args<Args, H: Handler<Args>>(_handler: H, args: &[u64; 6], names: &[&str], out: &mut String) {
    H::show(args, names, out);
}
