//! Signals that wait to be delivered, and how many a user may have waiting.
//!
//! Lock: LEAF over the counts of users. The pending sets themselves are guarded by their owners, see [`super`].

use std::collections::BTreeMap;
use std::sync::Weak;

use abi::signal::{SIGRTMIN, SigInfo, SigSet};

use crate::sync::{SpinLock, rank};
use crate::time::PosixTimer;

static COUNTS: SpinLock<BTreeMap<u32, u64>> = SpinLock::new(rank::LEAF, BTreeMap::new());

/// One queued signal in the account of a real user (RLIMIT_SIGPENDING); given back on drop.
pub struct Charge {
    uid: u32,
}

impl Charge {
    /// Charges user `uid` unless that makes more than `limit`.
    pub fn take(uid: u32, limit: u64) -> Option<Charge> {
        let mut counts = COUNTS.lock();
        let count = counts.entry(uid).or_insert(0);
        if *count >= limit {
            return None;
        }
        *count += 1;
        Some(Charge { uid })
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        let mut counts = COUNTS.lock();
        if let Some(count) = counts.get_mut(&self.uid) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(&self.uid);
            }
        }
    }
}

/// Queued signals of user `uid`: SigQ in /proc/PID/status.
pub fn pending_of_user(uid: u32) -> u64 {
    COUNTS.lock().get(&uid).copied().unwrap_or(0)
}

/// A signal on its way.
pub struct Queued {
    /// What the handler is told.
    pub info: SigInfo,
    /// Its place in the user's account.
    pub charge: Option<Charge>,
    /// The POSIX timer that sent it and waits for its delivery.
    pub timer: Option<Weak<PosixTimer>>,
}

impl Queued {
    /// A plain signal.
    pub fn new(info: SigInfo) -> Queued {
        Queued { info, charge: None, timer: None }
    }

    /// Its number.
    pub fn sig(&self) -> u32 {
        self.info.si_signo as u32
    }
}

/// Signals that are waiting to be delivered to a thread or to a process.
#[derive(Default)]
pub struct SigPending {
    /// Which.
    pub set: SigSet,
    /// Details, in the order of arrival. A standard signal is here once at most; one that found no room is in `set` alone.
    queue: Vec<Queued>,
}

impl SigPending {
    /// Whether another instance of `sig` would be dropped: standard signals don't queue.
    pub fn is_duplicate(&self, sig: u32) -> bool {
        sig < SIGRTMIN && self.set.contains(sig)
    }

    /// Adds a signal with its details.
    pub fn push(&mut self, queued: Queued) {
        self.set.insert(queued.sig());
        self.queue.push(queued);
    }

    /// Takes the next signal that isn't in `blocked`: those of faults first, then the lowest number.
    pub fn take(&mut self, blocked: SigSet) -> Option<Queued> {
        let ready = self.set.difference(blocked);
        let sig = ready.intersection(SigSet::SYNCHRONOUS).first().or(ready.first())?;
        Some(self.take_signal(sig))
    }

    /// Takes the next signal that the running instruction raised (and nobody's kill(2)).
    pub fn take_synchronous(&mut self, blocked: SigSet) -> Option<Queued> {
        let ready = self.set.difference(blocked).intersection(SigSet::SYNCHRONOUS);
        if ready.is_empty() {
            return None;
        }
        let at = self.queue.iter().position(|q| ready.contains(q.sig()) && q.info.si_code > 0)?;
        let queued = self.queue.remove(at);
        self.note_gone(queued.sig());
        Some(queued)
    }

    fn take_signal(&mut self, sig: u32) -> Queued {
        let Some(at) = self.queue.iter().position(|q| q.sig() == sig) else {
            // Its details found no room: what Linux says then.
            self.set.remove(sig);
            return Queued::new(SigInfo::kill(sig, abi::signal::SI_USER, 0, 0));
        };
        let queued = self.queue.remove(at);
        self.note_gone(sig);
        queued
    }

    fn note_gone(&mut self, sig: u32) {
        if !self.queue.iter().any(|q| q.sig() == sig) {
            self.set.remove(sig);
        }
    }

    /// Details of all that have some, in the order of their coming.
    pub fn infos(&self) -> Vec<SigInfo> {
        self.queue.iter().map(|q| q.info).collect()
    }

    /// Drops every instance of the signals in `which`.
    pub fn flush(&mut self, which: SigSet) {
        if self.set.intersection(which).is_empty() {
            return;
        }
        self.set = self.set.difference(which);
        self.queue.retain(|q| !which.contains(q.sig()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use abi::signal::{SEGV_MAPERR, SI_QUEUE, SI_USER, SIGHUP, SIGSEGV, SIGUSR1};

    fn kill(sig: u32) -> Queued {
        Queued::new(SigInfo::kill(sig, SI_USER, 1, 0))
    }

    #[test]
    fn faults_first_then_by_number() {
        let mut pending = SigPending::default();
        pending.push(kill(40));
        pending.push(kill(SIGUSR1));
        pending.push(kill(SIGHUP));
        pending.push(Queued::new(SigInfo::fault(SIGSEGV, SEGV_MAPERR, 8)));
        let order: Vec<_> =
            core::iter::from_fn(|| pending.take(SigSet::of(&[SIGUSR1])).map(|q| q.sig())).collect();
        assert_eq!(order, [SIGSEGV, SIGHUP, 40]);
        assert_eq!(pending.set, SigSet::of(&[SIGUSR1]));
    }

    #[test]
    fn real_time_signals_queue_in_order() {
        let mut pending = SigPending::default();
        for value in 1..=3 {
            assert!(!pending.is_duplicate(34));
            pending.push(Queued::new(SigInfo::rt(34, SI_QUEUE, 1, 0, value)));
        }
        for value in 1..=3 {
            assert_eq!(pending.take(SigSet::EMPTY).unwrap().info.si_value(), value);
        }
        assert!(pending.set.is_empty());
        pending.push(kill(SIGHUP));
        assert!(pending.is_duplicate(SIGHUP));
    }

    #[test]
    fn synchronous_means_raised_by_the_instruction() {
        let mut pending = SigPending::default();
        pending.push(kill(SIGSEGV));
        assert!(pending.take_synchronous(SigSet::EMPTY).is_none());
        pending.push(Queued::new(SigInfo::fault(SIGSEGV, SEGV_MAPERR, 8)));
        assert_eq!(pending.take_synchronous(SigSet::EMPTY).unwrap().info.si_addr(), 8);
        assert!(pending.set.contains(SIGSEGV));
    }

    #[test]
    fn without_details_it_still_arrives() {
        let mut pending = SigPending::default();
        pending.set.insert(35);
        let queued = pending.take(SigSet::EMPTY).unwrap();
        assert_eq!((queued.sig(), queued.info.si_pid()), (35, 0));
        assert!(pending.set.is_empty());
    }

    #[test]
    fn charges_are_bounded_and_returned() {
        let uid = 0x7fff_1234;
        let first = Charge::take(uid, 1);
        assert!(first.is_some());
        assert!(Charge::take(uid, 1).is_none());
        drop(first);
        assert_eq!(pending_of_user(uid), 0);
        assert!(Charge::take(uid, 1).is_some());
    }
}
