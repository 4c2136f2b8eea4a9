//! Path names, path_resolution(7).

use abi::Result;
use abi::errno::ENOSYS;

use super::{Access, Fd, Inode, Path};
use crate::task::Cred;

/// Reading.
pub const MAY_READ: Access = 4;
/// Running.
pub const MAY_EXEC: Access = 1;

bitflags::bitflags! {
    /// How a name is looked up.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct LookupFlags: u32 {
        /// Follow a symbolic link in the last place.
        const FOLLOW = 1;
    }
}

/// Where `name` leads.
pub fn path_at(_dirfd: Fd, _name: &[u8], _flags: LookupFlags) -> Result<Path> {
    Err(ENOSYS)
}

/// Follow flags of a call.
pub fn lookup_flags(_at_flags: u32, _others: u32) -> Result<LookupFlags> {
    Ok(LookupFlags::FOLLOW)
}

/// Whether `cred` may access `inode`.
pub fn permission(_inode: &Inode, _access: Access, _cred: &Cred) -> Result<()> {
    Err(ENOSYS)
}
