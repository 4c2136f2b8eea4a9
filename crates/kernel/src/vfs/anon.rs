//! Files without a name: anon_inodefs.

use std::sync::Arc;

use abi::Result;
use abi::errno::ENOSYS;
use abi::fcntl::OpenFlags;

use super::{File, FileMode, FileOps};

/// An open file that is in no directory.
pub fn anon_file(
    _name: &str,
    _ops: Box<dyn FileOps>,
    _flags: OpenFlags,
    _mode: FileMode,
) -> Result<Arc<File>> {
    Err(ENOSYS)
}
