//! /proc/ruml: what only this kernel tells: syscalls that were asked for and aren't there, all threads, and how system
//! calls come in.

use std::sync::Arc;

use super::pid::{all_tasks, brief};
use super::put;
use crate::fs::kernfs::{Tree, dir, text};
use crate::syscall::unimplemented_counts;

pub(super) fn tree() -> Arc<Tree> {
    dir(
        "ruml",
        [
            text("tasks", tasks),
            text("unimplemented", unimplemented),
            text("fastpath", crate::fastpath::report),
        ],
    )
}

/// All threads with the state that the scheduler has of them.
pub(super) fn tasks() -> Vec<u8> {
    let mut out = b"    pid     tid state\n".to_vec();
    all_tasks().iter().for_each(|task| out.extend(brief(task)));
    out
}

fn unimplemented() -> String {
    let mut out = String::new();
    for (name, count) in unimplemented_counts() {
        put!(out, "{count:8} {name}\n");
    }
    out
}
