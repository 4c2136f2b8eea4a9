//! Stands in for what the library lacks so far: attributes and trimming, refused.

use abi::Result;
use abi::errno::{ENODATA, EOPNOTSUPP};

pub(super) trait Xattrs {
    fn get_xattr(&self, _: &[u8]) -> Result<Vec<u8>> {
        Err(ENODATA)
    }
    fn set_xattr(&self, _: &[u8], _: &[u8], _: u32) -> Result<()> {
        Err(EOPNOTSUPP)
    }
    fn remove_xattr(&self, _: &[u8]) -> Result<()> {
        Err(EOPNOTSUPP)
    }
    fn list_xattrs(&self) -> Result<Vec<Vec<u8>>> {
        Ok(Vec::new())
    }
}
impl Xattrs for ext4::Inode {}

pub(super) trait Trim {
    fn trim(&self, _: u64, _: u64, _: u64) -> Result<u64> {
        Err(EOPNOTSUPP)
    }
}
impl Trim for ext4::Filesystem {}
