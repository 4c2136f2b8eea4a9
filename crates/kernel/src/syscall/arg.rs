//! Typed syscall arguments and results.

use abi::Result;
use abi::fcntl::OpenFlags;

use super::trace::{Decoder, Line};
use crate::uaccess::{UserPtr, path_from_user};
use crate::vfs::Fd;

/// A type that an argument register is read as.
pub trait Arg: Sized {
    /// Takes the register. Any word is acceptable here; handlers validate.
    fn from_raw(raw: u64) -> Self;
    /// Shows it in a trace, where the table names no decoder.
    fn show(raw: u64, line: &mut Line<'_>);
}

macro_rules! integers {
    ($($ty:ty),*) => {
        $(impl Arg for $ty {
            fn from_raw(raw: u64) -> Self {
                raw as $ty
            }
            fn show(raw: u64, line: &mut Line<'_>) {
                write!(line, "{}", raw as $ty);
            }
        })*
    };
}

integers!(i32, u32, i64, usize, isize);

impl Arg for u64 {
    fn from_raw(raw: u64) -> Self {
        raw
    }
    fn show(raw: u64, line: &mut Line<'_>) {
        // Large ones are mostly addresses or masks.
        if raw > 0xffff { write!(line, "{raw:#x}") } else { write!(line, "{raw}") }
    }
}

impl<T> Arg for UserPtr<T> {
    fn from_raw(raw: u64) -> Self {
        UserPtr::new(raw)
    }
    fn show(raw: u64, line: &mut Line<'_>) {
        line.put_addr(raw);
    }
}

impl Arg for Fd {
    fn from_raw(raw: u64) -> Self {
        Fd(raw as i32)
    }
    fn show(raw: u64, line: &mut Line<'_>) {
        let fd = raw as i32;
        if fd == Fd::CWD.0 { write!(line, "AT_FDCWD") } else { write!(line, "{fd}") }
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
    fn show(raw: u64, line: &mut Line<'_>) {
        line.string(raw);
    }
}

impl Arg for OpenFlags {
    fn from_raw(raw: u64) -> Self {
        OpenFlags::from_bits_retain(raw as u32)
    }
    fn show(raw: u64, line: &mut Line<'_>) {
        let access = ["O_RDONLY", "O_WRONLY", "O_RDWR", "O_ACCMODE"][(raw & 3) as usize];
        line.put(access);
        for (name, _) in OpenFlags::from_bits_retain(raw as u32 & !3).iter_names() {
            write!(line, "|O_{name}");
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
    /// How its arguments are shown by their types, in order.
    const SHOW: &'static [Decoder];
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
            const SHOW: &'static [Decoder] = &[$($ty::show),*];
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

/// How the arguments of `handler` are shown by their types; the table's closures name its type by passing it.
pub fn shown_by_type<Args, H: Handler<Args>>(_handler: H) -> &'static [Decoder] {
    H::SHOW
}
