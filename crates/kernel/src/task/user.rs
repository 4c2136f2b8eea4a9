//! How many tasks each real user has, for RLIMIT_NPROC.

use std::collections::BTreeMap;

use abi::Result;
use abi::cred::{CAP_SYS_ADMIN, CAP_SYS_RESOURCE};
use abi::errno::EAGAIN;

use super::Cred;
use crate::sync::{SpinLock, rank};

static TASKS: SpinLock<BTreeMap<u32, u64>> = SpinLock::new(rank::LEAF, BTreeMap::new());

/// One task counted for its real user; dropping it ends that.
pub struct NprocCharge {
    uid: u32,
}

impl NprocCharge {
    /// Counts one more task of `cred`'s real user. EAGAIN beyond `limit`, unless the user is root or privileged.
    pub fn new(cred: &Cred, limit: u64) -> Result<NprocCharge> {
        let exempt = cred.uid == 0 || cred.capable(CAP_SYS_RESOURCE) || cred.capable(CAP_SYS_ADMIN);
        let mut tasks = TASKS.lock();
        let count = tasks.get(&cred.uid).copied().unwrap_or(0);
        if count >= limit && !exempt {
            return Err(EAGAIN);
        }
        tasks.insert(cred.uid, count + 1);
        Ok(NprocCharge { uid: cred.uid })
    }

    /// The task's real user has changed.
    pub fn set_uid(&mut self, uid: u32) {
        let mut tasks = TASKS.lock();
        take(&mut tasks, self.uid);
        *tasks.entry(uid).or_insert(0) += 1;
        self.uid = uid;
    }
}

impl Drop for NprocCharge {
    fn drop(&mut self) {
        take(&mut TASKS.lock(), self.uid);
    }
}

fn take(tasks: &mut BTreeMap<u32, u64>, uid: u32) {
    if let Some(count) = tasks.get_mut(&uid) {
        *count -= 1;
        if *count == 0 {
            tasks.remove(&uid);
        }
    }
}

#[cfg(test)]
fn count(uid: u32) -> u64 {
    TASKS.lock().get(&uid).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limit_counts_per_user_and_follows_a_change() {
        let (a, b) = (4_000_001, 4_000_002);
        let first = NprocCharge::new(&Cred::user(a, a), 2);
        let mut second = NprocCharge::new(&Cred::user(a, a), 2).unwrap();
        assert!(NprocCharge::new(&Cred::user(a, a), 2).is_err());
        second.set_uid(b);
        assert_eq!((count(a), count(b)), (1, 1));
        let third = NprocCharge::new(&Cred::user(a, a), 2);
        assert!(third.is_ok());
        drop((first, second, third));
        assert_eq!((count(a), count(b)), (0, 0));
    }
}
