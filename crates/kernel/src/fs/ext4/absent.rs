//! Stands in for what the library lacks so far: trimming, refused.

use abi::Result;
use abi::errno::EOPNOTSUPP;

pub(super) trait Trim {
    fn trim(&self, _: u64, _: u64, _: u64) -> Result<u64> {
        Err(EOPNOTSUPP)
    }
}
impl Trim for ext4::Filesystem {}
