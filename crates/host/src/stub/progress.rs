//! Whether a host thread that has the turn still means to give it back.
//!
//! Time alone doesn't tell: on a busy host a thread may wait long for a core, and a host that is itself a virtual machine
//! may stop for seconds, with a clock that goes on. So this looks, and looks again, at what the host says of the thread.
//! One that computes on when it is told to stop, that clones of its own accord, or that sleeps where nothing that it may have
//! been told makes it sleep, has been taken over by its guest, and its process is given up.

use super::notify;
use super::process::Process;
use super::window::{Mapping, Woke};
use crate::clock;

/// How often to look, ns.
pub(super) const LOOK_NS: u64 = 100_000_000;
/// How many looks a thread may take in any case.
pub(super) const LOOKS: u32 = 300;
/// How long it may compute, in clock ticks (10 ms): what takes long is done by the host's kernel.
const BUSY_TICKS: u64 = 15;
/// How long it may be busy in the host's kernel, in clock ticks, if it was only told to stop: a guest that keeps its stub
/// from it by endless calls computes little. Memory operations that came before may take longer than faults.
const CALL_TICKS: u64 = 30;
const OPERATION_TICKS: u64 = 200;
/// How many looks in a row may find it asleep.
const ASLEEP: u32 = 2;

/// What a thread is seen doing.
#[derive(Default)]
pub(super) struct Progress {
    looks: u32,
    asleep: u32,
    /// Its ticks when it was first looked at, outside and inside the host's kernel.
    ticks: Option<(u64, u64)>,
    /// How often it had been refused to clone by then.
    refusals: u32,
    /// What it may use inside the host's kernel, if that is bounded.
    most: Option<u64>,
}

impl Progress {
    /// Of a thread that runs its guest's code, perhaps after memory operations, and was told to stop.
    pub(super) fn of_guest(operations: bool) -> Progress {
        let most = if operations { OPERATION_TICKS } else { CALL_TICKS };
        Progress { most: Some(most), ..Progress::default() }
    }

    /// Looks once more. An error says why the thread is lost.
    pub(super) fn look(&mut self, process: &Process, tid: i32) -> Result<(), &'static str> {
        let Some((asleep, outside, inside)) = process.activity(tid) else {
            return Err("the host has killed it");
        };
        self.looks += 1;
        // Who clones sleeps until the notary answers, which may not have got a core yet.
        self.asleep = if asleep && notify::is_idle() { self.asleep + 1 } else { 0 };
        let refusals = notify::refusals(tid);
        let before = *self.ticks.get_or_insert_with(|| {
            self.refusals = refusals;
            (outside, inside)
        });
        let inside = inside.saturating_sub(before.1);
        if outside.saturating_sub(before.0) >= BUSY_TICKS {
            Err("it computes on")
        } else if refusals > self.refusals {
            Err("it clones without having been told to")
        } else if self.most.is_some_and(|most| inside >= most) {
            Err("it makes calls without end")
        } else if self.asleep > ASLEEP {
            Err("it sleeps")
        } else if self.looks > LOOKS {
            Err("it does not answer")
        } else {
            Ok(())
        }
    }
}

/// Waits until a thread that was given an order hands back. False if it is lost, and its process then given up.
pub(super) fn answered(process: &Process, mapping: &Mapping, tid: i32, spin: bool) -> bool {
    let mut progress = Progress::default();
    loop {
        let late = Some(clock::monotonic() + LOOK_NS);
        let why = match mapping.wait(None, spin, late, &|| process.is_dead()) {
            Woke::Turn => return true,
            Woke::Late => match progress.look(process, tid) {
                Ok(()) => continue,
                Err(why) => why,
            },
            Woke::Kicked | Woke::Dead => "the host has killed it",
        };
        process.give_up(why, mapping.get());
        return false;
    }
}
