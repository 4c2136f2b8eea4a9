//! ruml locks itself in: what a guest that got hold of the kernel's process could still do to the host.
//!
//! - `landlock.rs`: of the host's files only the folders that the guest is shown, and /proc.
//! - `seccomp.rs`: only the host calls that this program needs; no exec, no fork, no ptrace, no new executable memory.
//!
//! Landlock holds for a thread and those it starts, and a process inside has no access to the memory of one outside: so
//! it comes first of all, and the stub processes are inside ([`Ruleset::enter`]). seccomp holds for all threads at once
//! and comes right before the first guest program ([`seal`]), when the terminal and what else needs a fork is set up; the
//! first stub has been started by then, and stubs have a stricter filter of their own.

mod landlock;
mod seccomp;

pub use landlock::{Policy, Ruleset};
pub use seccomp::seal;

#[cfg(test)]
mod tests;
