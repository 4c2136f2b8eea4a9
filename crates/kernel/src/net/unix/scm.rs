//! Descriptors in flight: sent in a message and not yet received (SCM_RIGHTS).

use std::sync::Arc;

use abi::Result;
use abi::cred::{CAP_SYS_ADMIN, CAP_SYS_RESOURCE};
use abi::errno::ETOOMANYREFS;
use abi::resource::RLIMIT_NOFILE;

use super::gc;
use crate::task::current;
use crate::vfs::File;

/// The files of one message. Dropped without being received, it closes them.
pub struct Rights {
    files: Vec<Arc<File>>,
    /// Whose descriptors they count among.
    uid: u32,
}

impl Rights {
    /// Puts files in flight for the current user. ETOOMANYREFS beyond RLIMIT_NOFILE. May sleep.
    pub fn new(files: Vec<Arc<File>>) -> Result<Rights> {
        let task = current();
        let cred = task.cred();
        let privileged = cred.capable(CAP_SYS_RESOURCE) || cred.capable(CAP_SYS_ADMIN);
        let limit = if privileged { u64::MAX } else { task.process.rlimit(RLIMIT_NOFILE) };
        gc::take_off(&files, cred.uid, limit).map_err(|()| ETOOMANYREFS)?;
        Ok(Rights { files, uid: cred.uid })
    }

    /// The files.
    pub fn files(&self) -> &[Arc<File>] {
        &self.files
    }

    /// Receives the files. The caller holds the flight lock since before the message left its queue.
    pub fn land(mut self, flights: &mut gc::Flights) -> Vec<Arc<File>> {
        let files = core::mem::take(&mut self.files);
        flights.land(&files, self.uid);
        files
    }
}

impl Drop for Rights {
    fn drop(&mut self) {
        if !self.files.is_empty() {
            let files = core::mem::take(&mut self.files);
            gc::flights().land(&files, self.uid);
            gc::close_later(files);
        }
    }
}
