//! The fast way into the kernel: system calls without a signal.
//!
//! The `syscall` instruction of a guest is a SIGSYS of its stub, which costs ten times as much as the call. So where a
//! program makes many, the instruction before it is replaced by a jump to a slot: the slot does what the instruction did,
//! and jumps into the stub (`crates/stub/src/fast.rs`), which hands over without a signal. The `syscall` instruction stays
//! where it is: whoever jumps to it traps as ever, and so does a thread that has a GS base of its own.
//!
//! - `plan.rs`: which instruction a site can be patched at, and what its slot holds.
//! - `text.rs`: patched copies of files' text, each made once and mapped instead of the file's by whoever runs it.
//! - `site.rs`: what happens at a trap, and where a guest is that an event has met in a slot.
//!
//! A copy never changes once somebody maps it, so no thread can run through an instruction while it is replaced: the copy
//! takes the file's place by mmap(2), and a thread crosses a page fault, which serializes, to see the new bytes. Slots lie
//! [`SHADOW`] above the text that they belong to. That distance is the same wherever a process has the text, so all of
//! them share the copy; and what belongs to different text can't overlap. A process where something else lies there
//! does without.
//!
//! Lock: the files that are known (`text::FILES`, a leaf).

mod plan;
mod site;
mod text;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

pub use site::{slots_of, texts_below, trapped, where_it_is};
pub use text::{Patched, of_file};

/// How far above its text a slot is: within reach of a jump, beyond most programs' heap.
pub const SHADOW: u64 = 0x7000_0000;

static OFF: AtomicBool = AtomicBool::new(false);
/// Sites that are patched, and those that were tried and can't be.
static SITES: AtomicU64 = AtomicU64::new(0);
static REFUSED: AtomicU64 = AtomicU64::new(0);

/// `fastpath=off`: nothing is patched from now on.
pub fn switch_off() {
    OFF.store(true, Relaxed);
}

/// /proc/ruml/fastpath
pub fn report() -> String {
    let calls = host::stub::counts();
    let (files, bytes) = text::known();
    let rows = [
        ("patched_sites", SITES.load(Relaxed)),
        ("unpatchable_sites", REFUSED.load(Relaxed)),
        ("patched_texts", files),
        ("patched_bytes", bytes),
        ("calls_fast", calls.fast),
        ("calls_trapped", calls.trapped),
        ("calls_answered", calls.answered),
    ];
    rows.map(|(name, value)| format!("{name} {value}\n")).concat()
}
