//! Copies between the kernel and the current guest process.
//!
//! Guest addresses are claims: a copy that meets memory which the guest itself could not use answers EFAULT. Every
//! structure is read once, into kernel memory, before any of it is looked at.

use core::marker::PhantomData;

use abi::Result;
use abi::errno::{EFAULT, EINVAL, ENAMETOOLONG};
use abi::uio::Iovec;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

use crate::task::current;
use crate::vfs::{IovDest, IovSource};

/// Longest path name with its final zero: PATH_MAX.
pub const PATH_MAX: usize = 4096;
/// Most segments of readv(2): IOV_MAX.
pub const UIO_MAXIOV: usize = 1024;
/// Most bytes of one read(2) or write(2).
pub const MAX_RW_COUNT: usize = 0x7fff_f000;

/// A guest address of a `T`, or null.
pub struct UserPtr<T> {
    addr: u64,
    of: PhantomData<fn() -> T>,
}

impl<T> Clone for UserPtr<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for UserPtr<T> {}

impl<T> UserPtr<T> {
    /// The pointer to `addr`.
    pub const fn new(addr: u64) -> UserPtr<T> {
        UserPtr { addr, of: PhantomData }
    }

    /// The address.
    pub fn addr(self) -> u64 {
        self.addr
    }

    /// Whether it is null.
    pub fn is_null(self) -> bool {
        self.addr == 0
    }

    /// None for null, else itself.
    pub fn non_null(self) -> Option<UserPtr<T>> {
        (self.addr != 0).then_some(self)
    }

    /// The `index`-th element of an array.
    pub fn at(self, index: usize) -> UserPtr<T> {
        UserPtr::new(self.addr.wrapping_add((index as u64).wrapping_mul(size_of::<T>() as u64)))
    }

    /// As a pointer to something else.
    pub fn cast<U>(self) -> UserPtr<U> {
        UserPtr::new(self.addr)
    }
}

impl<T: FromBytes + IntoBytes> UserPtr<T> {
    /// Reads the value. EFAULT.
    pub fn read(self) -> Result<T> {
        let mut value = T::new_zeroed();
        copy_from_user(self.addr, value.as_mut_bytes())?;
        Ok(value)
    }

    /// Reads `count` values. The caller bounds `count`. EFAULT.
    pub fn read_array(self, count: usize) -> Result<Vec<T>> {
        let mut values = Vec::new();
        values.resize_with(count, T::new_zeroed);
        copy_from_user(self.addr, values.as_mut_slice().as_mut_bytes())?;
        Ok(values)
    }
}

impl<T: IntoBytes + Immutable> UserPtr<T> {
    /// Writes the value. EFAULT.
    pub fn write(self, value: &T) -> Result<()> {
        copy_to_user(self.addr, value.as_bytes())
    }

    /// Writes the value unless the pointer is null.
    pub fn write_if(self, value: &T) -> Result<()> {
        if self.is_null() { Ok(()) } else { self.write(value) }
    }
}

/// Fills `buf` from guest memory. EFAULT.
pub fn copy_from_user(addr: u64, buf: &mut [u8]) -> Result<()> {
    if current().mm()?.read(addr, buf) == buf.len() { Ok(()) } else { Err(EFAULT) }
}

/// Copies `data` to guest memory. EFAULT, with some of it possibly written.
pub fn copy_to_user(addr: u64, data: &[u8]) -> Result<()> {
    if current().mm()?.write(addr, data) == data.len() { Ok(()) } else { Err(EFAULT) }
}

/// Reads a zero-terminated string of at most `max` bytes, the zero included. EFAULT; ENAMETOOLONG.
pub fn strncpy_from_user(addr: u64, max: usize) -> Result<Vec<u8>> {
    let mm = current().mm()?;
    let mut string = Vec::new();
    let mut at = addr;
    while string.len() < max {
        // Up to the end of the page, so that a string that ends before an unmapped page is read whole.
        let page_left = 4096 - (at & 4095) as usize;
        let want = page_left.min(max - string.len()).min(256.max(string.len()));
        let mut chunk = vec![0; want];
        let got = mm.read(at, &mut chunk);
        if let Some(end) = chunk[..got].iter().position(|&b| b == 0) {
            string.extend_from_slice(&chunk[..end]);
            return Ok(string);
        }
        if got < want {
            return Err(EFAULT);
        }
        string.extend_from_slice(&chunk);
        at = at.wrapping_add(got as u64);
    }
    Err(ENAMETOOLONG)
}

/// Reads a path name. EFAULT; ENAMETOOLONG.
pub fn path_from_user(addr: u64) -> Result<Vec<u8>> {
    strncpy_from_user(addr, PATH_MAX)
}

/// The destination of read(2).
pub fn user_dest(addr: u64, len: usize) -> Result<IovDest<'static>> {
    Ok(IovDest::user_one(current().mm()?, (addr, len.min(MAX_RW_COUNT))))
}

/// The source of write(2).
pub fn user_source(addr: u64, len: usize) -> Result<IovSource<'static>> {
    Ok(IovSource::user_one(current().mm()?, (addr, len.min(MAX_RW_COUNT))))
}

/// Reads an array of `struct iovec`: addresses and lengths, cut at [`MAX_RW_COUNT`]. EINVAL for more than IOV_MAX or a
/// negative length; EFAULT.
pub fn iovec_from_user(iov: UserPtr<Iovec>, count: usize) -> Result<Vec<(u64, usize)>> {
    if count > UIO_MAXIOV {
        return Err(EINVAL);
    }
    let mut bytes = vec![0u8; count * size_of::<Iovec>()];
    copy_from_user(iov.addr(), &mut bytes)?;
    let mut left = MAX_RW_COUNT;
    let mut segments = Vec::with_capacity(count);
    for piece in bytes.chunks_exact(size_of::<Iovec>()) {
        let iov = Iovec::read_from_bytes(piece).map_err(|_| EINVAL)?;
        if iov.iov_len > i64::MAX as u64 {
            return Err(EINVAL);
        }
        let len = left.min(usize::try_from(iov.iov_len).unwrap_or(usize::MAX));
        left -= len;
        segments.push((iov.iov_base, len));
    }
    Ok(segments)
}

/// The zero value of a structure that is filled field by field.
pub fn zeroed<T: FromZeros>() -> T {
    T::new_zeroed()
}
